#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to validating an audited source; see module_utils/slipway/controller/validation.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_validation
short_description: Validate an audited source, and keep how that ended in its audit bundle
description:
  - Verifies that the audit bundle is whole and of the source as it is now, byte by byte and commit by commit, and that its
    promotion checklist is complete and was ticked for this version.
  - Runs the C(validation) command that the source's C(slipway.yml) declares, for example a dry run, in the source's directory, and
    adds C(validation.json) and C(validation.log) to the bundle. A command that fails, hangs or floods its output is kept as
    evidence and refused; no release can be made with it.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Verifies everything, says which command would be run, and runs and keeps nothing.
options:
  source:
    description: A directory, or an archive (C(.tar), C(.tar.gz), C(.tgz) or C(.zip)).
    type: path
    required: true
  audit:
    description: Directory of the audit bundle that M(slipway_audit_bundle) made of this source. Without one it is refused.
    type: path
  version:
    description: The version, if one was given for the audit.
    type: str
  max_bytes:
    description: The most bytes that an archive may unpack to.
    type: int
    default: 17179869184
"""

EXAMPLES = r"""
- name: Validate the shop
  slipway_validation:
    source: ../shop
    audit: release/audit_20261121_041607
"""

RETURN = r"""
bundle:
  description: Where the bundle is.
  returned: success
  type: str
  sample: release/audit_20261121_041607
audit_sha256:
  description: SHA-256 of its C(audit.json).
  returned: success
  type: str
  sample: 3ba12b366ef482099f12caf9d2587bb2788add795cec3106e56cb5b3e988a560
application:
  description: Whose source it is.
  returned: success
  type: str
  sample: shop
version:
  description: The version that the source states, null for none.
  returned: success
  type: str
  sample: 1.2.3
argv:
  description: The command, empty when none is declared.
  returned: success
  type: list
  elements: str
  sample: [bin/backtest, --dry-run]
checklist:
  description: C(complete), or C(not_declared).
  returned: success
  type: str
  sample: complete
result:
  description: C(passed), C(not_declared), or null in check mode.
  returned: success
  type: str
  sample: passed
command:
  description: How the command ended, as {argv, ended, exit_code, milliseconds, output, timeout_seconds}; null when none was run.
  returned: success
  type: dict
reason:
  description: Stable code of a refusal, e.g. validation_failed, checklist_incomplete, audit_altered or audit_of_another_source.
  returned: refusal
  type: str
expected:
  description: What should have been there.
  returned: refusal
  type: str
found:
  description: What was there instead.
  returned: refusal
  type: str
remedy:
  description: What to do.
  returned: refusal
  type: str
"""

import time
from pathlib import Path

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.controller.validation import Request, validate

ARGUMENT_SPEC = {
    "source": {"type": "path", "required": True},
    "audit": {"type": "path"},
    "version": {"type": "str"},
    "max_bytes": {"type": "int", "default": 17179869184},
}


def handle(params, check):
    """Validate the source and report how that ended."""
    request = Request(
        source=Path(params["source"]),
        audit=Path(params["audit"]) if params["audit"] else None,
        now=int(time.time()),
        version=params["version"],
        max_bytes=params["max_bytes"],
    )
    done = validate(request, check=check)
    evidence = done.evidence or {}
    return {
        "changed": True,
        "bundle": str(done.audit.path),
        "audit_sha256": done.audit.digest,
        "application": done.audit.application,
        "version": done.audit.version,
        "argv": list(done.argv),
        "checklist": "complete" if done.audit.checklist else "not_declared",
        "result": evidence.get("result"),
        "command": evidence.get("command"),
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
