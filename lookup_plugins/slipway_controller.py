# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to where a play of the controller's own runs; the rule is in module_utils/slipway/controller/given.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway_controller
short_description: Get the host of a play that runs on the controller
description:
  - It is C(localhost), or what an extra variable names instead.
  - Ansible skips a play none of whose hosts the limit (C(-l)) has, and that ends well. So a limit that leaves this host out is refused.
version_added: 0.1.0
author: The Slipway founders
options:
  _terms:
    description: The extra variable that may name another host.
"""

EXAMPLES = r"""
- name: Make a release
  hosts: "{{ lookup('slipway_controller') }}"

- name: Publish releases
  hosts: "{{ lookup('slipway_controller', 'release_store_host') }}"
"""

RETURN = r"""
_raw:
  description: The host.
  type: list
  elements: str
"""

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import given
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars


class LookupModule(LookupBase):
    """What Ansible calls for lookup('slipway_controller', …)."""

    def run(self, terms, variables=None, **kwargs):
        extra = load_extra_vars(self._loader)
        try:
            given.require_plain(extra)
            host = next((extra[name] for name in terms if extra.get(name)), "localhost")
            given.require_not_left_out(host, context.CLIARGS.get("subset"))
        except Refusal as refusal:
            raise AnsibleLookupError(str(refusal)) from None
        return [host]
