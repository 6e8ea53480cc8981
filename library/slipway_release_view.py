#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_release_view
short_description: The page of a release, for people
description:
  - Writes C(<directory>/<release_id>.yaml), which joins what the signed manifest says with what the hosts recorded of the
    release's deployments. M(slipway_run_report) adds those records.
  - Puts the signed manifest beside it, C(<directory>/<release_id>.dsse.json), for those who are to approve the release.
  - The page is a view. Proof are the manifest in the catalogue and the histories on the hosts.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says which pages would change, writes none.
options:
  catalogue:
    description: Where releases come from. A release that is not there gets no page.
    type: path
    required: true
  application:
    description: Name of the application.
    type: str
    required: true
  directory:
    description: Where the pages are.
    type: path
    required: true
  release_id:
    description: The release. Without one the pages of all releases in the catalogue are written anew.
    type: str
  holders:
    description: The people behind holder ids, each C(name) and C(email) by id. They stand in the page and nowhere else.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the page of a release that was just made
  slipway_release_view:
    catalogue: .slipway/catalogue
    application: shop
    directory: release/manifests
    release_id: v1.2.3
  run_once: true

- name: Write all pages anew, after a name was corrected or erased
  slipway_release_view:
    catalogue: .slipway/catalogue
    application: shop
    directory: release/manifests
    holders: "{{ trust_holders }}"
  run_once: true
"""

RETURN = r"""
pages:
  description: The pages, of which those that differed were written.
  returned: success
  type: list
  elements: str
  sample: [release/manifests/v1.2.3.yaml]
reason:
  description: Stable code of a refusal, e.g. application_unknown.
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

from ansible.module_utils.slipway._module import run_on_controller_only


def main():
    run_on_controller_only()


if __name__ == "__main__":
    main()
