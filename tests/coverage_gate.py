# SPDX-License-Identifier: GPL-3.0-or-later
"""Every line of the code that deploys, rolls back and keeps the history is run by a test, or this fails.

coverage json -q -o - | python tests/coverage_gate.py
"""

from __future__ import annotations

import json
import sys

GATED = (
    *(
        f"module_utils/slipway/{name}.py"
        for name in (
            "audit", "backup", "bundle", "checklist", "checkout", "configuration", "database", "deployment",
            "descriptor", "evidence", "handler", "history", "journal", "junit", "lease", "manifest_view",
            "migrations", "pack", "ports", "preflight", "promotion", "readiness", "release", "report",
            "rollback_plan", "runs", "sbom", "selection", "service", "settings", "shared", "source", "status",
            "store", "story", "transaction", "trial", "unit", "unit_file", "validation", "verify",
        )
    ),
    *(
        f"library/slipway_{name}.py"
        for name in ("application_info", "audit_bundle", "bundle", "history_info", "release", "validation")
    ),
)  # fmt: skip


def main() -> int:
    files = json.load(sys.stdin)["files"]
    failures = []
    for name in GATED:
        if name not in files:
            failures.append(f"{name}: no test ran any of it")
        elif files[name]["missing_lines"]:
            failures.append(f"{name}: lines {', '.join(map(str, files[name]['missing_lines']))} were not run")
    print("\n".join(failures) or f"every line of {len(GATED)} files was run")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
