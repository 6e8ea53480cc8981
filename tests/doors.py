# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of library/ in this process, with real parameters in and its real answer out."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

# What AnsibleModule adds by itself, the latter to every answer that has a path.
EVERYWHERE = {"changed", "failed", "msg", "diff"}
ABOUT_PATHS = {"uid", "gid", "owner", "group", "mode", "size", "state"}
LIBRARY = Path(__file__).resolve().parent.parent / "library"


def load(name: str) -> ModuleType:
    """Import the module's file."""
    specification = importlib.util.spec_from_file_location(name, LIBRARY / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run(name: str, /, *, check: bool = False, **parameters: Any) -> dict[str, Any]:
    """Return what the module answers; `failed` is in it when it failed, and its exit code agrees."""
    given = {key: str(value) if isinstance(value, Path) else value for key, value in parameters.items()}
    answer = io.StringIO()
    arguments = {**given, "_ansible_check_mode": check, "_ansible_module_name": name}
    with patch_module_args(arguments), contextlib.redirect_stdout(answer), pytest.raises(SystemExit) as ended:
        load(name).main()
    result = json.loads(answer.getvalue())
    result.pop("invocation", None)
    assert (ended.value.code != 0) is bool(result.get("failed"))
    return result


def documented_returns(name: str) -> set[str]:
    """The keys that the module's RETURN names."""
    return set(yaml.safe_load(load(name).RETURN))


def undocumented(name: str, result: dict[str, Any]) -> set[str]:
    """The keys of an answer that RETURN does not name, those that Ansible itself adds apart."""
    return set(result) - documented_returns(name) - EVERYWHERE - ABOUT_PATHS
