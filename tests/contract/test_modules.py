# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module documents is what it takes; each can be checked before it is run, and reads well in ansible-doc."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import doors
import plugins
import pytest
import repository
import yaml
from ansible.module_utils.slipway._action import ControllerAction, documented_spec
from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.host.options import MODULES
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase

COMPARED = ("type", "elements", "required", "default", "choices")


def plugin(name):
    """The class of the action plugin of that name, None where there is none."""
    return plugins.load(name).ActionModule if (plugins.PLUGINS / f"{name}.py").exists() else None


CONTROLLER_ONLY = [name for name in repository.MODULES if issubclass(plugin(name) or object, ControllerAction)]
WITH_A_SPEC = [name for name in repository.MODULES if name not in CONTROLLER_ONLY]


def comparable(options, nested):
    """Options as {name: {type, required …}}, with what is left out filled in, so that two spellings are equal."""
    return {
        name: {
            "type": "str",
            "required": False,
            **{key: option[key] for key in COMPARED if key in option},
            nested: comparable(option.get(nested) or {}, nested),
        }
        for name, option in options.items()
    }


def renamed(options):
    """An argument spec calls `options` what documentation calls `suboptions`."""
    changed = {}
    for name, option in options.items():
        rest = {key: value for key, value in option.items() if key != "options"}
        changed[name] = {**rest, "suboptions": renamed(option.get("options", {}))}
    return changed


@pytest.mark.parametrize("name", WITH_A_SPEC)
def test_the_documented_options_are_the_argument_spec(name):
    spec = MODULES[name].argument_spec if name in MODULES else doors.load(name).ARGUMENT_SPEC
    documented = repository.documentation(name)["options"]
    assert comparable(documented, "suboptions") == comparable(renamed(spec), "suboptions")


@pytest.mark.parametrize("name", CONTROLLER_ONLY)
def test_what_runs_on_the_controller_takes_what_its_module_documents(name):
    assert plugin(name).name == name
    assert set(documented_spec(name)) == set(repository.documentation(name)["options"])
    assert doors.run(name)["msg"].startswith("This runs on the controller as an action plugin")


def test_both_kinds_of_modules_are_there():
    assert CONTROLLER_ONLY
    assert WITH_A_SPEC
    assert set(MODULES) < set(WITH_A_SPEC)


@pytest.mark.parametrize("name", repository.MODULES)
def test_a_module_is_documented_under_its_own_name(name):
    document = repository.documentation(name)
    assert document["module"] == name
    assert document["short_description"]
    assert not document["short_description"].endswith(".")


def described(options):
    """Each description in options or answers, nested ones included."""
    for name, option in options.items():
        yield name, option["description"]
        yield from described(option.get("suboptions") or option.get("contains") or {})


@pytest.mark.parametrize("part", ["DOCUMENTATION", "RETURN"])
@pytest.mark.parametrize("name", repository.MODULES)
def test_every_description_is_whole_sentences(name, part):
    document = repository.documentation(name, part)
    texts = dict(described(document["options"] if part == "DOCUMENTATION" else document))
    if part == "DOCUMENTATION":
        texts["the module"] = document["description"]
    lines = {key: [text] if isinstance(text, str) else text for key, text in texts.items()}
    # A colon inside of an unquoted list item makes a mapping of it.
    assert {key: each for key, each in lines.items() if not all(isinstance(line, str) for line in each)} == {}
    assert {key: each for key, each in lines.items() if not all(line.strip().endswith(".") for line in each)} == {}


@pytest.mark.parametrize("name", repository.MODULES)
def test_examples_are_tasks_with_documented_options(name):
    options = repository.documentation(name)["options"]
    module = ast.parse((repository.ROOT / f"library/{name}.py").read_text(encoding="utf-8"))
    text = next(
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES"
    )
    used = [task[name] for task in yaml.safe_load(text) if name in task]
    assert used
    required = {option for option, value in options.items() if value.get("required")}
    for arguments in used:
        assert required <= set(arguments) <= set(options)


@pytest.mark.parametrize("name", repository.MODULES)
def test_every_module_documents_full_support_of_check_mode(name):
    assert repository.documentation(name)["attributes"]["check_mode"]["support"] == "full"


@pytest.mark.parametrize("name", repository.MODULES)
def test_no_module_makes_its_own_ansible_module(name):
    tree = ast.parse((repository.ROOT / f"library/{name}.py").read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "AnsibleModule" not in names
    assert names & {"run_module", "run_on_controller_only"}


@pytest.mark.parametrize("check", [False, True])
def test_the_one_door_hands_check_mode_to_every_handler(check):
    printed = io.StringIO()
    with (
        patch_module_args({"_ansible_check_mode": check}),
        contextlib.redirect_stdout(printed),
        pytest.raises(SystemExit),
    ):
        run_module(argument_spec={}, handler=lambda params, check: {"changed": False, "checked": check})
    answer = json.loads(printed.getvalue())
    assert (answer["checked"], "skipped" in answer) == (check, False)


@pytest.mark.parametrize("path", sorted((repository.ROOT / "action_plugins").glob("*.py")), ids=lambda path: path.stem)
def test_no_action_plugin_is_skipped_in_check_mode(path):
    action = plugin(path.stem)
    assert issubclass(action, ActionBase)
    assert action._supports_check_mode is True


@pytest.fixture(scope="module")
def rendered():
    """What ansible-doc prints for all modules."""
    program = Path(sys.executable).with_name("ansible-doc")
    command = [program, "-t", "module", "-M", "library", *repository.MODULES]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "true"}
    return subprocess.run(command, cwd=repository.ROOT, env=environment, capture_output=True, text=True, check=False)


def test_ansible_doc_has_nothing_to_say_against_any_module(rendered):
    assert (rendered.returncode, rendered.stderr) == (0, "")


@pytest.mark.parametrize("name", repository.MODULES)
def test_ansible_doc_renders_each_module(rendered, name):
    page = next(page for page in rendered.stdout.split("> MODULE ")[1:] if page.startswith(f"{name} "))
    missing = [option for option in repository.documentation(name)["options"] if option not in page]
    assert missing == []
    assert "EXAMPLES:" in page
    assert "RETURN VALUES:" in page
