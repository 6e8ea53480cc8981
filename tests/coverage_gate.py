# SPDX-License-Identifier: GPL-3.0-or-later
"""Every line of the code that deploys, rolls back, watches, keeps the history and handles secrets is run by a test, or this fails.

coverage json -q -o - | python tests/coverage_gate.py
"""

from __future__ import annotations

import json
import sys

GATED = (
    *(
        f"module_utils/slipway/{room}/{name}.py"
        for room, names in {
            "trust": "approval authorization consent promotion quorum rotation statement verify",
            "application": "configuration database ports preflight rollback_plan service settings unit",
            "host": "backup bootstrap deadman evidence exchange handler history integrity journal judgement lease log pack readiness recovery release server_group shared staging status store transaction trust_update two_instances unit_file",
            "watch": (
                "agent agent_memory alert alert_history channels check circuit commands delivery escalation events exporter facts hook metrics "
                "probes release_metrics window"
            ),
            "secrets": (
                "access_log ansible_vault aws break_glass candidate circuit_breaker credential env_file halves keeper known_values local_store login provider redaction retries "
                "rotation_policy rotation_record secret secret_age secret_cache secret_file secret_kind secret_maker secret_rotation secret_report secret_settings "
                "store_commands store_key vault vault_access vault_roles volatile wrapped_secret_id"
            ),
            "controller": (
                "alert_routing authority canary canary_run failover job_api job_launch monitoring_files prometheus_query regions scraping watch_rules "
                "audit bundle checklist checkout deployment descriptor given job junit manifest_view migrations permission report runs sbom "
                "notice policy_draft rollout wave_verdict gate secret_run selection source story trial trust_chain validation verification"
            ),
        }.items()
        for name in names.split()
    ),
    *(
        f"library/slipway_{name}.py"
        for name in ("application_info", "audit_bundle", "bundle", "history_info", "release", "validation")
    ),
)


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
