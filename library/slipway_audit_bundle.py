#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to making an audit bundle; what is in one is in module_utils/slipway/controller/audit.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_audit_bundle
short_description: Make an audit bundle of a source before it becomes a release
description:
  - Runs the tests that the source's C(slipway.yml) declares and keeps how they ended with versions, the git commit, branch and
    tag, build and tickets, an SBOM (CycloneDX 1.6) of the locked requirements, and the promotion checklist with who ticked what.
  - The bundle is a directory with C(audit.json), which names every other file by its SHA-256. It gets its name when it is whole.
  - Refused are tests that fail, hang, flood their output or change the source, all of them named at once; then no bundle stays.
    A checklist with open items is recorded as it is; M(slipway_validation) refuses it.
  - A whole bundle of the same source under this name is left alone, and its tests are not run again.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Reads and judges everything, says what would be run, and runs and keeps nothing.
options:
  source:
    description: A directory, or an archive (C(.tar), C(.tar.gz), C(.tgz) or C(.zip)).
    type: path
    required: true
  path:
    description: Directory of the bundle, which must not be there yet. Its last part is the name that a manifest has of it.
    type: path
    required: true
  version:
    description: The version. Without one it is what C(slipway.yml) or a member with a C(version_key) says, else none is known yet.
    type: str
  build_id:
    description: Which build of your continuous integration this is.
    type: str
  tickets:
    description: The tickets that this release is about.
    type: list
    elements: str
    default: []
  max_bytes:
    description: The most bytes that an archive may unpack to.
    type: int
    default: 17179869184
"""

EXAMPLES = r"""
- name: Audit the shop
  slipway_audit_bundle:
    source: ../shop
    path: release/audit_20261121_041607
    build_id: build_12345
    tickets: [SHOP-123, SHOP-124]
"""

RETURN = r"""
bundle:
  description: Where the bundle is.
  returned: success
  type: str
  sample: release/audit_20261121_041607
sha256:
  description: SHA-256 of C(audit.json), null in check mode when there is no bundle yet.
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
created:
  description: When it was made.
  returned: success
  type: str
  sample: "2026-11-21T04:16:07Z"
source:
  description: What was audited, as {kind, name, tree_digest, descriptor_digest, git_commit, git_branch, git_tag, is_clean}.
  returned: success
  type: dict
build_id:
  description: The build, null for none.
  returned: success
  type: str
  sample: build_12345
tickets:
  description: The tickets.
  returned: success
  type: list
  elements: str
tests:
  description: Each test as {name, argv, ended, exit_code, milliseconds, output, log, junit, counts, result}; in check mode only
    its name and command.
  returned: success
  type: list
  elements: dict
sbom:
  description: The SBOM, as {path, sha256, components, made_from}.
  returned: success
  type: dict
checklist:
  description: The promotion checklist, as {path, sha256, version, items}, null for none.
  returned: success
  type: dict
not_declared:
  description: What the source does not declare, of checklist, dependencies and tests.
  returned: success
  type: list
  elements: str
reason:
  description: Stable code of a refusal, e.g. audit_test_failed, audit_of_another_source, checklist_invalid or requirements_invalid.
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
from ansible.module_utils.slipway.controller.audit import Request, create

ARGUMENT_SPEC = {
    "source": {"type": "path", "required": True},
    "path": {"type": "path", "required": True},
    "version": {"type": "str"},
    "build_id": {"type": "str"},
    "tickets": {"type": "list", "elements": "str", "default": []},
    "max_bytes": {"type": "int", "default": 17179869184},
}
REPORTED = (
    "application", "version", "created", "source", "build_id", "tickets", "tests", "sbom", "checklist", "not_declared",
)  # fmt: skip


def handle(params, check):
    """Make the bundle and report what is in it."""
    request = Request(
        source=Path(params["source"]),
        path=Path(params["path"]),
        now=int(time.time()),
        version=params["version"],
        build_id=params["build_id"],
        tickets=tuple(ticket.strip() for ticket in params["tickets"]),
        max_bytes=params["max_bytes"],
    )
    made = create(request, check=check)
    return {
        "changed": made.changed,
        "bundle": str(made.path),
        "sha256": made.digest,
        **{name: made.document[name] for name in REPORTED},
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
