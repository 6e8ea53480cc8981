# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to what a run is given from outside, for keywords of plays; the rule is in module_utils/slipway/controller/given.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway_given
short_description: Get an extra variable as it was given
description:
  - A play's own keywords, such as C(hosts), are evaluated before anything else of a run, and with them every extra variable that they name. Here the
    variable is read as it was written, and refused when Ansible would evaluate it.
  - It knows extra variables alone. Tasks need it for nothing.
version_added: 0.1.0
author: The Slipway founders
options:
  _terms:
    description: Names of extra variables.
    required: true
  default:
    description: What to return for one that was not given, or is empty.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Publish releases
  hosts: "{{ lookup('slipway_given', 'release_store_host', default='localhost') }}"
"""

RETURN = r"""
_raw:
  description: The values, in the order of the names.
  type: list
"""

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.errors import AnsibleLookupError
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.given import require_plain
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars


class LookupModule(LookupBase):
    """What Ansible calls for lookup('slipway_given', …)."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        extra = load_extra_vars(self._loader)
        try:
            require_plain(extra)
        except Refusal as refusal:
            raise AnsibleLookupError(str(refusal)) from None
        return [extra.get(name) or self.get_option("default") for name in terms]
