# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the domain meets Ansible: the only file of this package that imports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .base.errors import Refusal

Handler = Callable[[Mapping[str, Any], bool], dict[str, Any]]


def run_module(*, argument_spec: Mapping[str, Any], handler: Handler, **options: Any) -> None:
    """Run one module: ``handler(params, check)`` returns the result; a Refusal, or a result with ``failed``, fails it.

    ``options`` go to AnsibleModule (required_if and the like). Every module supports check mode.
    """
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **options)
    try:
        result = handler(module.params, module.check_mode)
    except Refusal as refusal:
        module.fail_json(msg=str(refusal), **refusal.as_dict())
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def run_on_controller_only() -> None:
    """For a module that is only the documentation of an action plugin: say so when the plugin was not found."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.fail_json(
        msg="This runs on the controller as an action plugin, which was not found: is action_plugins/ beside the playbook?"
    )
