# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to secrets by their names; who is asked and what an answer means is in module_utils/slipway/secrets/keeper.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway_secret
short_description: Get a field of a secret by its name
description:
  - Asks the providers of C(secrets_chain) in their order and returns the value of one field. The next provider is asked only when one is
    unreachable, sealed or times out, which is said in a warning; that it denies the access or does not know the name is an answer.
  - Answers are kept in memory for C(secrets_cache_seconds), shared by all processes and hosts of a run and by the next run. Each access
    is a line of the access log in C(slipway_state_directory), never with the value.
  - Tasks that use a value need C(no_log) and C(diff=false); a value belongs into no task name, C(set_fact) or command line.
version_added: 0.1.0
author: The Slipway founders
options:
  _terms:
    description: Names of secrets, such as C(database/main).
    required: true
  field:
    description: The field whose value is wanted; not needed where a secret has only one.
    type: str
  version:
    description: A certain version, as its provider calls it. Only the first provider is asked then.
    type: str
  default:
    description: What to return when no provider of the chain knows the name. It does not hide that one denies the access or does not answer.
    type: str
"""

EXAMPLES = r"""
# in group_vars, or where a template needs it
shop_database_password: "{{ lookup('slipway_secret', 'database/main', field='password') }}"
shop_proxy_password: "{{ lookup('slipway_secret', 'proxy', default='') }}"
"""

RETURN = r"""
_raw:
  description: The values, in the order of the names.
  type: list
  elements: str
"""

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.errors import AnsibleLookupError
from ansible.module_utils.slipway._secrets import keeper_of, require_options
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.keeper import NO_DEFAULT
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """What Ansible calls for lookup('slipway_secret', …)."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        field, version = self.get_option("field"), self.get_option("version")
        default = self.get_option("default") if "default" in kwargs else NO_DEFAULT
        try:
            require_options(kwargs, set(self.option_definitions) - {"_terms"})
            keeper = keeper_of(variables or {}, self._templar.template, self._loader)
            return [keeper.read(term, field, version, default) for term in terms]
        except Refusal as refusal:
            raise AnsibleLookupError(str(refusal)) from None
