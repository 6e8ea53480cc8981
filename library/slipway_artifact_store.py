#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to filling an artifact store; what is written in which order is in module_utils/slipway/host/artifact_store.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_artifact_store
short_description: Publish releases to a directory that a web server serves
description:
  - Adds what is missing of the catalogue's releases to an artifact store, from which hosts fetch it (C(release_source)).
  - Objects come before the list of them, and both before the manifest; each gets its name by one rename when its bytes are on disk. So a
    store can be served while it is filled, and a name never gets other content.
  - The action plugin of the same name runs on the controller. It sends what the store lacks to the host that this task runs on.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be added and adds nothing.
options:
  path:
    description: Directory of the store on the host; made when it is missing.
    type: path
    required: true
  application:
    description: Name of the application.
    type: str
    required: true
  catalogue:
    description: Directory of the catalogue on the controller.
    type: path
  release_id:
    description: The release. Without one, every release of the application in the catalogue.
    type: str
  verified:
    description: Also read what is published already, and mend what is damaged. Without it, a release whose manifest is there is left alone.
    type: bool
    default: false
  tree:
    description: SHA-256 of the release's file list. The action plugin fills it in. Not for playbooks.
    type: str
  pack:
    description: Path on the host of the pack that the action plugin sent. Not for playbooks.
    type: path
"""

EXAMPLES = r"""
- name: Publish what is new
  slipway_artifact_store:
    path: /var/www/slipway
    application: shop
    catalogue: .slipway/catalogue
"""

RETURN = r"""
published:
  description: The SHA-256 of the manifests that the store has, by release.
  returned: success
  type: dict
added:
  description: The releases that were added or mended, or would be.
  returned: success
  type: list
  elements: str
missing:
  description: SHA-256 of objects that are still missing; empty when all is there.
  returned: success
  type: list
  elements: str
objects:
  description: How many objects the store lacked.
  returned: success
  type: int
bytes:
  description: How many bytes the store lacked.
  returned: success
  type: int
reason:
  description: Stable code of a refusal, e.g. release_unknown, release_id_taken, catalogue_damaged, disk_full.
  returned: failure
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

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.host.artifact_store import publish

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "application": {"type": "str", "required": True},
    "catalogue": {"type": "path"},
    "release_id": {"type": "str"},
    "verified": {"type": "bool", "default": False},
    "tree": {"type": "str"},
    "pack": {"type": "path"},
}


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=lambda params, check: publish(params, check=check))


if __name__ == "__main__":
    main()
