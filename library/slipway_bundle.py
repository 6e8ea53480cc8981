#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to making a release; what a release is made of is in module_utils/slipway/controller/bundle.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_bundle
short_description: Make a signed release from a directory or an archive
description:
  - Reads the source once and puts a release into the catalogue - the contents of its files, the list of them, and a manifest
    (an in-toto Statement in a DSSE envelope) that the builder's key signs.
  - The source has a file C(slipway.yml) at its root, which says what application this is and which members it must have.
    It is itself not shipped, and neither is C(.git).
  - Refused are files that two systems could understand differently or that reach out of the release, such as links out of the
    tree, special files, set-uid bits, twins in case or Unicode form; missing or invalid members, all named at once; and a
    release id that is taken by other content.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Reads and judges everything, says what would be made, and keeps nothing.
  diff_mode:
    support: full
    description: Shows the files that differ from the newest release in the catalogue.
options:
  source:
    description: A directory, or an archive (C(.tar), C(.tar.gz), C(.tgz) or C(.zip)).
    type: path
    required: true
  catalogue:
    description: Directory of the catalogue; made when it is missing.
    type: path
    required: true
  builder_key:
    description: Path of the builder's private key, readable by its owner only.
    type: path
    required: true
  job:
    description: The number of the job of AWX that this is, empty elsewhere. It names the credential type that a job without the builder's key lacks.
    type: str
    default: ""
  project_revision:
    description: The commit of this repository that it has to be made from, 7 to 40 hex digits; empty for any.
    type: str
    default: ""
  job_revision:
    description: The commit that AWX says its project is at; empty where it says none. A checkout in O(root) counts more.
    type: str
    default: ""
  root:
    description: The root of this repository.
    type: path
  passphrase:
    description: Opens the builder's key when it is encrypted.
    type: str
  trust_policy:
    description: Path of the signed trust policy, which must know the builder's key.
    type: path
    required: true
  release_id:
    description:
      - Name of the release, for example v1.2.3. Without one it is C(release_<UTC date>_<time>).
      - With the name of a release of the same content nothing changes.
    type: str
  version:
    description: The version. Without one it is what C(slipway.yml) or a member with a C(version_key) says, else the release id.
    type: str
  candidate:
    description: Whether this is only to be judged by hosts in check mode; they never take a candidate for real.
    type: bool
    default: false
  release_type:
    description: What kind of release it is.
    type: str
    choices: [major, minor, hotfix]
    default: minor
  audit:
    description:
      - Directory of a validated audit bundle of this source (M(slipway_audit_bundle), M(slipway_validation)). It is verified
        again, and its digest goes into the manifest with its build and tickets.
      - Without one the release carries no evidence.
    type: path
  build_id:
    description: Which build this is. An audit says it already, and no other is accepted beside one.
    type: str
  tickets:
    description: The tickets that this release is about. An audit says them already, and no others are accepted beside one.
    type: list
    elements: str
    default: []
  valid_days:
    description: How long the release may be activated by a deploy. Running and going back to it have no end.
    type: int
    default: 365
  max_bytes:
    description: The most bytes that an archive may unpack to.
    type: int
    default: 17179869184
"""

EXAMPLES = r"""
- name: Make a release of a directory, named by the time
  slipway_bundle:
    source: examples/hello
    catalogue: .slipway/catalogue
    builder_key: .slipway/keys/builder.pem
    trust_policy: .slipway/trust/trust-policy.dsse.json

- name: Make release v1.2.3 of an archive
  slipway_bundle:
    source: dist/shop-1.2.3.tar.gz
    catalogue: .slipway/catalogue
    builder_key: .slipway/keys/builder.pem
    trust_policy: .slipway/trust/trust-policy.dsse.json
    release_id: v1.2.3
    version: 1.2.3

- name: Make a hotfix with its evidence
  slipway_bundle:
    source: ../shop
    catalogue: .slipway/catalogue
    builder_key: .slipway/keys/builder.pem
    trust_policy: .slipway/trust/trust-policy.dsse.json
    release_type: hotfix
    audit: release/audit_20261121_041607
"""

RETURN = r"""
application:
  description: Whose release it is.
  returned: success
  type: str
  sample: shop
release_id:
  description: The name of the release.
  returned: success
  type: str
  sample: v1.2.3
version:
  description: The version that it carries.
  returned: success
  type: str
  sample: 1.2.3
sequence:
  description: The order of the application's releases, the time of making in Unix seconds.
  returned: success
  type: int
  sample: 1795234567
created:
  description: When it was made.
  returned: success
  type: str
  sample: "2026-11-21T04:16:07Z"
expires:
  description: Until when a deploy may activate it.
  returned: success
  type: str
  sample: "2027-11-21T04:16:07Z"
files:
  description: How many files it has.
  returned: success
  type: int
  sample: 2000
bytes:
  description: How many bytes are in them.
  returned: success
  type: int
  sample: 33554432
release_type:
  description: What kind of release it is.
  returned: success
  type: str
  sample: minor
audit:
  description: The audit bundle, as {name, sha256, validation_result, validation_sha256}; null for a release without evidence.
  returned: success
  type: dict
artifacts:
  description: What is promoted, each as {kind, path, sha256, version}, the version only where one is stated.
  returned: success
  type: list
  elements: dict
metadata:
  description: Where the release comes from, as {git_branch, git_tag, build_id, tickets}, without what is not known.
  returned: success
  type: dict
manifest_digest:
  description: SHA-256 of the manifest, its name in approvals and in every history.
  returned: success
  type: str
  sample: 3ba12b366ef482099f12caf9d2587bb2788add795cec3106e56cb5b3e988a560
tree_digest:
  description: SHA-256 of the file list.
  returned: success
  type: str
  sample: 16f034ff170e3d10c6f1b26078cad6baab862b8c45d675ea2bb5b5e54b3a1b0f
bundle_digest:
  description: SHA-256 of the release as one tar stream.
  returned: success
  type: str
  sample: 961cc9c5954bc6f300301b4a94ce31721991d80deda3aeb24336bbc6e8b44ff3
manifest_path:
  description: Where the signed manifest is.
  returned: success
  type: str
  sample: .slipway/catalogue/shop/manifests/v1.2.3.dsse.json
reason:
  description: Stable code of a refusal, e.g. members_invalid, link_outside, path_twin, release_exists, key_unknown, audit_altered
    or validation_missing.
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
from ansible.module_utils.slipway.controller.bundle import Request, listing, make
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.job import Job, require_builder, require_revision
from ansible.module_utils.slipway.trust.keys import load_private_key
from ansible.module_utils.slipway.trust.policy import read_policy

ARGUMENT_SPEC = {
    "source": {"type": "path", "required": True},
    "catalogue": {"type": "path", "required": True},
    "builder_key": {"type": "path", "required": True, "no_log": False},
    "job": {"type": "str", "default": ""},
    "project_revision": {"type": "str", "default": ""},
    "job_revision": {"type": "str", "default": ""},
    "root": {"type": "path"},
    "passphrase": {"type": "str", "no_log": True},
    "trust_policy": {"type": "path", "required": True},
    "release_id": {"type": "str"},
    "version": {"type": "str"},
    "candidate": {"type": "bool", "default": False},
    "release_type": {"type": "str", "choices": ["major", "minor", "hotfix"], "default": "minor"},
    "audit": {"type": "path"},
    "build_id": {"type": "str"},
    "tickets": {"type": "list", "elements": "str", "default": []},
    "valid_days": {"type": "int", "default": 365},
    "max_bytes": {"type": "int", "default": 17179869184},
}
REPORTED = ("application", "release_id", "version", "sequence", "created", "expires", "tree_digest", "bundle_digest")


def request_of(params):
    """The domain's request for the module's parameters."""
    passphrase = params["passphrase"].encode() if params["passphrase"] else None
    job = Job(params["job"], params["job_revision"]) if params["job"] else None
    require_revision(params["project_revision"], Path(params["root"] or "."), job)
    require_builder(job, Path(params["builder_key"]))
    return Request(
        source=Path(params["source"]),
        builder_key=load_private_key(Path(params["builder_key"]), passphrase),
        policy=read_policy(Path(params["trust_policy"])),
        now=int(time.time()),
        release_id=params["release_id"],
        version=params["version"],
        candidate=params["candidate"],
        release_type=params["release_type"],
        audit=Path(params["audit"]) if params["audit"] else None,
        build_id=params["build_id"],
        tickets=tuple(ticket.strip() for ticket in params["tickets"]),
        valid_seconds=params["valid_days"] * 86400,
        max_bytes=params["max_bytes"],
    )


def handle(params, check):
    """Make the release and report it, with the file lists of the newest release and this one as the diff."""
    made = make(request_of(params), Catalogue(Path(params["catalogue"])), check=check)
    manifest = made.manifest
    return {
        "changed": made.changed,
        **{name: getattr(manifest, name) for name in REPORTED},
        "files": manifest.limits.files,
        "bytes": manifest.limits.bytes,
        "release_type": manifest.promotion.release_type,
        "audit": manifest.promotion.audit.as_dict() if manifest.promotion.audit else None,
        "artifacts": [artifact.as_dict() for artifact in manifest.promotion.artifacts],
        "metadata": manifest.promotion.metadata.as_dict(),
        "manifest_digest": manifest.digest,
        "manifest_path": str(made.path),
        "diff": {
            "before": listing(made.previous),
            "after": listing(made.file_list),
            "before_header": "the newest release in the catalogue",
            "after_header": f"{manifest.application} {manifest.release_id}",
        },
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
