# SPDX-License-Identifier: GPL-3.0-or-later
"""The stories that operators start, and where variables may stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import repository

STORIES = ("deploy.yml", "rollback.yml")
INVENTORIES = sorted(path.name for path in (repository.ROOT / "inventories").iterdir())


@pytest.mark.parametrize("name", repository.PLAYBOOKS)
def test_every_playbook_passes_the_syntax_check(name):
    playbook = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg")}
    checked = subprocess.run(
        [playbook, "--syntax-check", "-i", "localhost,", name],
        cwd=repository.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr.replace(IGNORED, "")) == (0, "")


# The group of a run is made by its first play.
IGNORED = "[WARNING]: Could not match supplied host pattern, ignoring: slipway_run\n"


def test_the_two_stories_are_among_the_playbooks():
    assert set(STORIES) < set(repository.PLAYBOOKS)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_has_no_play_for_localhost_which_a_limit_would_skip(name):
    assert [play["name"] for play in repository.load(name) if "localhost" in str(play["hosts"])] == []


@pytest.mark.parametrize("name", STORIES)
def test_the_plays_of_a_story_stand_inline_so_that_group_vars_are_read(name):
    imported = [play for play in repository.load(name) if any("import_playbook" in keyword for keyword in play)]
    assert imported == []


@pytest.mark.parametrize("name", repository.PLAYBOOKS)
def test_every_play_and_every_task_has_a_name(name):
    assert [item for item in repository.tasks_below(repository.load(name)) if not item.get("name")] == []


def test_playbooks_read_the_group_vars_of_the_root():
    link = repository.ROOT / "playbooks/group_vars"
    assert link.is_symlink()
    assert os.readlink(link) == "../group_vars"


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_an_inventory_is_one_file_called_hosts(inventory):
    directory = repository.ROOT / "inventories" / inventory
    assert [path.name for path in sorted(directory.iterdir())] == ["hosts"]


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_an_inventory_has_connection_variables_only(inventory):
    text = (repository.ROOT / "inventories" / inventory / "hosts").read_text(encoding="utf-8")
    lines = [line.partition("#")[0] for line in text.splitlines()]
    # The lab's is a program; what it prints is set as `"ansible_…":`, others are written as `ansible_…=`.
    names = re.findall(r"(?<![\w.])(\w+)=(?!=)", "\n".join(lines)) if not text.startswith("#!") else []
    assert [name for name in names if not name.startswith("ansible_")] == []


@pytest.mark.parametrize("directory", sorted(path.name for path in (repository.ROOT / "group_vars").iterdir()))
def test_group_vars_belong_to_an_environment_with_an_inventory(directory):
    assert directory in {"all", *INVENTORIES}


def test_nothing_comes_from_galaxy():
    assert repository.load("requirements.yml") == {"collections": []}
