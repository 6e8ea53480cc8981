# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever answers at a host's address has to have its key, whatever the environment of a run says: the real Ansible with the real ssh."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from contextlib import closing

import pytest
import repository
from awx_environment import SETTINGS

TOOLS = os.path.dirname(sys.executable)
# (playbook, environment, what ssh then does with a key it does not know): group_vars are found from both places of playbooks.
RUNS = {
    "AWX's own settings": ("deploy.yml", SETTINGS, "true"),
    "all names, and arguments without a word of it": (
        "playbooks/status.yml",
        {**SETTINGS, "ANSIBLE_SSH_HOST_KEY_CHECKING": "False", "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto"},
        "ask",
    ),
}


@pytest.fixture
def play(tmp_path):
    """A function that runs a playbook for a host at whose port nobody listens, and returns (exit code, output)."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    host = (
        f"prod-1 ansible_host=127.0.0.1 ansible_port={port} ansible_user=deploy ansible_ssh_private_key_file=/dev/null"
    )
    (tmp_path / "hosts").write_text(f"[prod]\n{host}\n")
    bare = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}

    def run(playbook, **environment):
        done = subprocess.run(
            ["ansible-playbook", playbook, "-i", tmp_path / "hosts", "-l", "prod", "-vvv", "-e", f"slipway_state_directory={tmp_path}/state"],
            cwd=repository.ROOT, env={**bare, "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"), **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def how_keys_are_checked(output):
    """What ssh itself makes of each command line that Ansible gave it."""
    commands = [shlex.split(line) for line in re.findall(r"SSH: EXEC (ssh .*)", output)]
    asked = []
    for words in commands:
        about = ["ssh", "-F", "none", "-G", *words[1 : words.index("127.0.0.1") + 1]]
        said = subprocess.run(about, check=True, capture_output=True, text=True).stdout
        asked += re.findall(r"^stricthostkeychecking (.*)$", said, re.MULTILINE)
    assert len(asked) == len(commands) > 0, output
    return set(asked)


@pytest.mark.parametrize("environment", RUNS)
def test_a_host_has_to_have_its_key_whatever_the_environment_says(play, environment):
    playbook, variables, checked = RUNS[environment]
    _code, output = play(playbook, **variables)
    assert how_keys_are_checked(output) == {checked}


def test_arguments_for_ssh_that_would_believe_anybody_are_refused(play):
    code, output = play("deploy.yml", ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o StrictHostKeyChecking=no")
    assert code != 0
    assert "host_keys_unchecked: expected" in " ".join(output.split())
    assert "TASK [" not in output
    assert "SSH: EXEC" not in output
