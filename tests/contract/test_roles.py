# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says about itself is true: its defaults are its argument specs, and its main.yml is a table of contents."""

from __future__ import annotations

import re

import pytest
import repository
from jinja2 import Environment, nodes

ENTRIES = [
    pytest.param(role, entry, id=f"{role}-{entry}")
    for role in repository.ROLES
    for entry in repository.load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
]
FILES_WITH_TASKS = repository.task_files("roles/", "playbooks/", "molecule/", "deploy.yml", "rollback.yml")
FILES_OF_PRODUCT = repository.task_files("roles/", "playbooks/", "deploy.yml", "rollback.yml")


def specs(role):
    return repository.load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]


def options(role):
    return {name: option for entry in specs(role).values() for name, option in entry["options"].items()}


def defaults(role):
    return repository.load(f"roles/{role}/defaults/main.yml")


@pytest.mark.parametrize("role", repository.ROLES)
def test_defaults_and_argument_specs_have_the_same_names(role):
    assert set(defaults(role)) == {name for name, option in options(role).items() if "default" in option}


@pytest.mark.parametrize("role", repository.ROLES)
def test_defaults_and_argument_specs_have_the_same_values(role):
    documented = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert {name: (type(value), value) for name, value in defaults(role).items()} == {
        name: (type(value), value) for name, value in documented.items()
    }


@pytest.mark.parametrize("role", repository.ROLES)
def test_a_required_option_has_no_default(role):
    required = {name for name, option in options(role).items() if option.get("required")}
    assert required.isdisjoint(defaults(role))
    assert {name for name, option in options(role).items() if "default" not in option} == required


@pytest.mark.parametrize("role", repository.ROLES)
def test_every_option_has_a_type_and_a_description(role):
    assert [
        name for name, option in options(role).items() if not (option.get("type") and option.get("description"))
    ] == []


@pytest.mark.parametrize("role", repository.ROLES)
def test_all_entry_points_of_a_role_share_their_options(role):
    entries = specs(role)
    first = next(iter(entries.values()))["options"]
    assert [name for name, entry in entries.items() if entry["options"] != first] == []


@pytest.mark.parametrize(("role", "entry"), ENTRIES)
def test_every_entry_point_is_described_and_has_its_task_file(role, entry):
    described = specs(role)[entry]
    assert described["short_description"]
    assert described["description"]
    assert (repository.ROOT / f"roles/{role}/tasks/{entry}.yml").is_file()


def test_every_entry_point_that_a_playbook_takes_is_described():
    taken = set()
    for name in repository.PLAYBOOKS:
        for play in repository.load(name):
            taken |= {(role["role"], "main") for role in play.get("roles", [])}
        for task in repository.tasks_of(name):
            if arguments := repository.used_module(task, "import_role", "include_role"):
                taken.add((arguments["name"], arguments.get("tasks_from", "main")))
    described = {tuple(parameter.values) for parameter in ENTRIES}
    assert taken
    assert taken - described == set()


@pytest.mark.parametrize("role", repository.ROLES)
def test_public_names_begin_with_the_role_or_the_product_and_private_ones_with_underscores(role):
    assert [name for name in options(role) if not name.startswith((f"{role}_", "slipway_"))] == []
    private = set()
    for path in sorted((repository.ROOT / f"roles/{role}").rglob("*.yml")):
        text = path.read_text(encoding="utf-8")
        private |= set(re.findall(r"(?:register|loop_var): (\w+)", text))
        if path.parent.name == "vars":
            private |= set(repository.load(path))
    assert [name for name in private if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("name", FILES_OF_PRODUCT)
def test_no_task_sets_a_public_variable(name):
    facts = [repository.used_module(task, "set_fact") or {} for task in repository.tasks_of(name)]
    assert [key for arguments in facts for key in arguments if not key.startswith("__")] == []


@pytest.mark.parametrize("role", repository.ROLES)
def test_the_table_of_contents_of_a_role_fits_on_a_page(role):
    main = repository.ROOT / f"roles/{role}/tasks/main.yml"
    lengths = {main.name: len(main.read_text(encoding="utf-8").splitlines())} if main.exists() else {}
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert main.exists() or "main" not in specs(role)


@pytest.mark.parametrize("name", FILES_WITH_TASKS)
def test_every_task_that_makes_a_file_says_its_mode(name):
    silent = []
    for task in repository.tasks_of(name):
        arguments = repository.used_module(
            task, "copy", "template", "file", "get_url", "unarchive", "assemble", "blockinfile", "lineinfile", "replace"
        )
        if arguments is None or arguments.get("state") in ("absent", "link", "hard"):
            continue
        edits = repository.used_module(task, "blockinfile", "lineinfile", "replace") is not None
        if "mode" not in arguments and not (edits and not arguments.get("create")):
            silent.append(task.get("name"))
    assert silent == []


@pytest.mark.parametrize("name", FILES_WITH_TASKS)
def test_no_task_ignores_its_errors(name):
    assert [task.get("name") for task in repository.tasks_of(name) if "ignore_errors" in task] == []
    assert [play.get("name") for play in repository.load(name) if "ignore_errors" in play] == []


@pytest.mark.parametrize("name", FILES_OF_PRODUCT)
def test_no_task_runs_a_shell(name):
    shells = [
        task.get("name") for task in repository.tasks_of(name) if repository.used_module(task, "shell") is not None
    ]
    assert shells == []


# Variables of an inventory that a task of each host has read before, where what is wrong with them fails that task.
READ_BEFORE = {"slipway_application", "slipway_applications", "release_balancers"}
MAGIC = {"inventory_hostname", "hostvars", "ansible_play_hosts_all"}


@pytest.mark.parametrize("name", FILES_OF_PRODUCT)
def test_a_condition_of_a_meta_task_names_nothing_that_an_inventory_could_break(name):
    """Ansible evaluates it outside of any task: an error there ends the whole run, past every rescue and without a report."""
    conditions = [
        str(task["when"]) for task in repository.tasks_of(name) if "ansible.builtin.meta" in task and "when" in task
    ]
    named = {
        variable.name
        for condition in conditions
        for variable in Environment().parse(f"{{{{ {condition} }}}}").find_all(nodes.Name)
        if not variable.name.startswith("__")
    }
    assert named <= READ_BEFORE | MAGIC


def test_parts_of_a_role_are_imported_without_a_validation_that_they_have_not():
    tasks = [task for name in repository.task_files("roles/") for task in repository.tasks_of(name)]
    imports = [part for task in tasks if (part := repository.used_module(task, "import_role"))]
    parts = [part for part in imports if part["tasks_from"] not in specs(part["name"])]
    assert len(parts) > 15
    assert [part for part in parts if part.get("rolespec_validate") is not False] == []
