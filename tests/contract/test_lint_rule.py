# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rule for ansible-lint, run by ansible-lint itself: what shows a secret is found, what does not is left in peace, and this repository obeys it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import repository
import yaml

LOOKUP = "{{ lookup('slipway_secret', 'database/main', field='password') }}"
VARIABLES = {
    "plain": "a",
    "password": LOOKUP,
    "url": "postgres://shop:{{ password }}@db",
    "nested": {"a": ["{{ url }}"]},
    "settings": {"db": {"host": "db.example", "password": LOOKUP}},
}
QUIET = {"no_log": True, "diff": False}
TEMPLATE = {"src": "a.j2", "dest": "/a", "mode": "0600"}

GOOD = {
    "nothing of a secret": {"ansible.builtin.debug": {"msg": "{{ plain }}"}},
    "a name that only looks like one": {"ansible.builtin.debug": {"msg": "{{ my_password }} {{ a.password }} {{ 'password' }} password"}},
    "an attribute of that name": {"ansible.builtin.debug": {"msg": "{{ other.password }} {{ settings.db.host }} {{ 'my password' ~ plain }}"}},
    "whether it is defined": {"ansible.builtin.debug": {"msg": "there"}, "when": "password is defined"},
    "what a role is given": {"ansible.builtin.include_role": {"name": "a"}, "vars": {"a_password": "{{ password }}"}},
    "a block that hides": {"block": [{"name": "In it", "ansible.builtin.copy": {"content": "{{ password }}", "dest": "/a", "mode": "0600"}}], **QUIET},
    "the text of the lookup": {"ansible.builtin.debug": {"msg": "lookup('slipway_secret', 'a')"}},
    "a file from a variable": {"ansible.builtin.copy": {"content": "{{ password }}", "dest": "/a", "mode": "0600"}, **QUIET},
    "a file with a variable of the task": {"ansible.builtin.template": TEMPLATE, "vars": {"own": LOOKUP}, **QUIET},
    "standard input": {"ansible.builtin.command": {"argv": ["psql"], "stdin": "{{ password }}"}, "changed_when": True, **QUIET},
    "a fact for this run": {"ansible.builtin.set_fact": {"kept": "{{ password }}"}, "no_log": True},
    "an assertion": {"ansible.builtin.assert": {"that": ["password | length > 8"]}, "no_log": True},
    "a request": {"ansible.builtin.uri": {"url": "https://a.example", "url_password": "{{ nested.a[0] }}"}, "no_log": True},
}  # fmt: skip
BAD = {
    "a file without no_log": ({"ansible.builtin.copy": {"content": LOOKUP, "dest": "/a", "mode": "0600"}, "diff": False}, "no_log: true is missing"),
    "no_log that is false": ({"ansible.builtin.template": TEMPLATE, "vars": {"own": LOOKUP}, "no_log": False, "diff": False}, "no_log: true is missing"),
    "no_log that depends": (
        {"ansible.builtin.copy": {"content": "{{ password }}", "dest": "/a", "mode": "0600"}, "no_log": "{{ quiet }}", "diff": False},
        "no_log: true is missing",
    ),
    "a file without diff": ({"ansible.builtin.copy": {"content": "{{ password }}", "dest": "/a", "mode": "0600"}, "no_log": True}, "diff: false is missing"),
    "a template that uses it": ({"ansible.builtin.template": {**TEMPLATE, "src": "b.j2"}, "diff": False}, "no_log: true is missing"),
    "a variable of a variable": ({"ansible.builtin.uri": {"url": "https://a.example", "body": "{{ nested }}"}}, "no_log: true is missing"),
    "a loop": ({"ansible.builtin.uri": {"url": "https://a.example/{{ item }}"}, "loop": ["{{ url }}"]}, "no_log: true is missing"),
    "a query": ({"ansible.builtin.uri": {"url": "https://a.example"}, "loop": "{{ query('slipway_secret', 'a', 'b') }}"}, "no_log: true is missing"),
    "a condition": ({"ansible.builtin.assert": {"that": ["password != ''"]}}, "no_log: true is missing"),
    "a condition of the task": ({"ansible.builtin.uri": {"url": "https://a.example"}, "when": "url is match('x')"}, "no_log: true is missing"),
    "a name": ({"name": "Use {{ password }}", "ansible.builtin.uri": {"url": "https://a.example"}, "no_log": True}, "its name has a secret"),
    "a label": (
        {"ansible.builtin.uri": {"url": "https://a.example"}, "loop": [1, 2], "loop_control": {"label": "{{ password }}"}, "no_log": True},
        "its loop label has a secret",
    ),
    "an environment": (
        {"ansible.builtin.command": {"argv": ["psql"]}, "environment": {"PGPASSWORD": "{{ password }}"}, "changed_when": True, **QUIET},
        "a variable of its environment",
    ),
    "a command line": ({"ansible.builtin.command": {"argv": ["psql", "{{ url }}"]}, "changed_when": True, **QUIET}, "a part of a command line"),
    "a fact that is cached": ({"ansible.builtin.set_fact": {"kept": LOOKUP, "cacheable": True}, "no_log": True}, "a fact that is cached"),
    "a message": ({"ansible.builtin.debug": {"msg": "{{ password }}"}, "no_log": True}, "it prints a secret"),
    "fields": ({"slipway_secret": {"name": "a", "fields": {"value": "{{ typed }}"}}}, "no_log: true is missing"),
    "what another task registered": ({"ansible.builtin.uri": {"url": "https://a.example/{{ answer.stdout }}"}}, "no_log: true is missing"),
    "a variable by its host": ({"ansible.builtin.uri": {"url": "https://a.example/{{ hostvars['a']['password'] }}"}}, "no_log: true is missing"),
    "a variable by its host's attribute": ({"ansible.builtin.uri": {"url": "https://a.example/{{ hostvars.a.password }}"}}, "no_log: true is missing"),
    "a variable by the lookup of variables": ({"ansible.builtin.uri": {"url": "https://a.example/{{ lookup('vars', 'password') }}"}}, "no_log: true is missing"),
    "a variable of all": ({"ansible.builtin.uri": {"url": "https://a.example/{{ vars['password'] }}"}}, "no_log: true is missing"),
    "a part of a variable": ({"ansible.builtin.uri": {"url": "https://a.example/{{ settings['db'].password }}"}}, "no_log: true is missing"),
    "a name that is put together": ({"ansible.builtin.uri": {"url": "https://a.example/{{ lookup('slipway' ~ '_secret', 'a') }}"}}, "no_log: true is missing"),
    "a lookup with a space": ({"ansible.builtin.uri": {"url": "https://a.example/{{ lookup ('slipway_secret', 'a') }}"}}, "no_log: true is missing"),
    "a template in a template": ({"ansible.builtin.template": {**TEMPLATE, "src": "c.j2"}, "diff": False}, "no_log: true is missing"),
    "a template of a loop": ({"ansible.builtin.template": {**TEMPLATE, "src": "{{ item }}"}, "loop": ["b.j2"], "diff": False}, "no_log: true is missing"),
    "a template by its lookup": ({"ansible.builtin.uri": {"url": "https://a.example/{{ lookup('template', 'b.j2') }}"}}, "no_log: true is missing"),
    "a template in one line": ({"ansible.builtin.template": "src=b.j2 dest=/a mode=0600", "diff": False}, "no_log: true is missing"),
    "a file of variables": ({"ansible.builtin.uri": {"url": "https://a.example/{{ of_a_file }}"}}, "no_log: true is missing"),
    "variables beside playbooks": ({"ansible.builtin.uri": {"url": "https://a.example/{{ of_a_playbook }}"}}, "no_log: true is missing"),
    "a debug of a variable": ({"ansible.builtin.debug": {"var": "settings.db"}, "no_log": True}, "it prints a secret"),
    "a debug of what was registered": ({"ansible.builtin.debug": {"var": "answer.stdout"}}, "it prints a secret"),
    "statistics": ({"ansible.builtin.set_stats": {"data": {"a": "{{ password }}"}}, "no_log": True}, "what set_stats keeps"),
    "a group": ({"ansible.builtin.group_by": {"key": "a_{{ password }}"}, "no_log": True}, "the name of a group"),
    "a command line as an action": ({"action": "ansible.builtin.shell echo {{ password }}", "changed_when": True, **QUIET}, "a part of a command line"),
    "an address of git": ({"ansible.builtin.git": {"repo": "https://{{ password }}@a.example/b", "dest": "/a", "version": "main"}, **QUIET}, "a part of a command line"),
    "a block with an environment": (
        {"block": [{"name": "In it", "ansible.builtin.command": {"argv": ["psql"]}, "changed_when": True}], "environment": {"A": "{{ password }}"}},
        "a variable of its environment",
    ),
    "what another task set": ({"ansible.builtin.uri": {"url": "https://a.example/{{ as_fact }}"}}, "no_log: true is missing"),
}  # fmt: skip
EARLIER = [
    {"name": "Ask", "ansible.builtin.command": {"argv": ["psql"], "stdin": "{{ password }}"}, "register": "answer", "changed_when": True, **QUIET},
    {"name": "Set", "ansible.builtin.set_fact": {"as_fact": "{{ password }}"}, "no_log": True},
]  # fmt: skip


def linted(directory, *files):
    """What the rule has to say, as {line: message}."""
    program = Path(sys.executable).with_name("ansible-lint")
    command = [
        program,
        "--offline",
        "-q",
        "-f",
        "json",
        "-R",
        "-r",
        str(repository.ROOT / "lint_rules"),
        "-t",
        "security",
        *files,
    ]
    environment = {**os.environ, "ANSIBLE_INVENTORY": "localhost,", "ANSIBLE_LIBRARY": str(repository.ROOT / "library")}
    environment.pop("ANSIBLE_CONFIG", None)
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("["), done.stderr
    ours = [each for each in json.loads(done.stdout) if each["check_name"].startswith("slipway-secrets")]
    return {
        each["location"]["lines"]["begin"]
        if "lines" in each["location"]
        else each["location"]["positions"]["begin"]["line"]: each
        for each in ours
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What it says of each case, by its name; all of them in one run."""
    directory = tmp_path_factory.mktemp("linted")
    (directory / "group_vars").mkdir()
    (directory / "group_vars/all.yml").write_text(yaml.safe_dump(VARIABLES))
    (directory / "ansible.cfg").touch()
    (directory / "a.j2").touch()
    (directory / "templates").mkdir()
    (directory / "templates/b.j2").write_text("url={{ url }}\n")
    (directory / "templates/c.j2").write_text("{% include 'b.j2' %}\n")
    (directory / "more.yml").write_text(yaml.safe_dump({"of_a_file": LOOKUP}))
    (directory / "playbooks/group_vars").mkdir(parents=True)
    (directory / "playbooks/group_vars/all.yml").write_text(yaml.safe_dump({"of_a_playbook": LOOKUP}))
    cases = {**GOOD, **{name: task for name, (task, _message) in BAD.items()}}
    tasks = [*EARLIER, *({"name": f"Case {name}", **task} for name, task in cases.items())]
    text = yaml.safe_dump(
        [{"name": "Play", "hosts": "all", "vars_files": ["more.yml"], "tasks": tasks}], sort_keys=False, width=1000
    )
    (directory / "play.yml").write_text(text)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith("  - name:")][len(EARLIER) :]
    said = linted(directory, "play.yml")
    messages = {}
    for name, start, end in zip(cases, lines, [*lines[1:], 10**6], strict=True):
        messages[name] = " ".join(str(each) for line, each in said.items() if start <= line < end)
    return messages


@pytest.mark.parametrize("case", GOOD)
def test_what_shows_nothing_is_left_in_peace(found, case):
    assert found[case] == ""


def test_the_environment_of_a_play_is_every_process_of_it(tmp_path):
    play = {"name": "Play", "hosts": "all", "environment": {"PGPASSWORD": LOOKUP}, "tasks": []}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    assert "a variable of its environment" in str(linted(tmp_path, "play.yml"))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**play, "environment": {"PGHOST": "db.example"}}]))
    assert linted(tmp_path, "play.yml") == {}


@pytest.mark.parametrize("case", BAD)
def test_what_shows_a_secret_is_found(found, case):
    assert BAD[case][1] in found[case]


def test_this_repository_is_linted_by_it():
    settings = repository.load(".ansible-lint")
    assert "lint_rules/" in settings["rulesdir"]
    assert settings["use_default_rules"] is True
    assert "slipway-secrets" in settings["enable_list"]
    source = (repository.ROOT / "lint_rules/slipway_secrets.py").read_text(encoding="utf-8")
    assert re.search(r'id = "slipway-secrets"', source)
