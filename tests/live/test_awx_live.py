# SPDX-License-Identifier: GPL-3.0-or-later
"""All of awx/ against a live AWX: AWX_URL, AWX_TOKEN of an administrator, and AWX_PROJECT_URL (and _BRANCH), where it reads this repository from.

It makes an organization of its own, beside whatever is there, and removes all of it in the end.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import repository
import yaml

BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ, "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"), "CONTROLLER_HOST": os.environ["AWX_URL"],
    "CONTROLLER_OAUTH_TOKEN": os.environ.get("AWX_TOKEN", ""),
}  # fmt: skip


@pytest.fixture
def own(tmp_path):
    """A copy of awx/ under a name of its own, with the project's address; whatever was made of it is removed afterwards."""
    name = f"Slipway test {secrets.token_hex(4)}"
    for path in (repository.ROOT / "awx").glob("*.yml"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8").replace("Slipway", name), encoding="utf-8")
    project = {"scm_url": os.environ["AWX_PROJECT_URL"], "scm_branch": os.environ.get("AWX_PROJECT_BRANCH", "")}
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/given.yml").write_text(
        yaml.safe_dump({"awx_directory": str(tmp_path), "awx_settings": {"projects": {name: project}}})
    )
    yield tmp_path
    for kind, options in (
        ("organization", f"name='{name}' state=absent"),
        ("execution_environment", f"name='{name}' state=absent"),
    ):
        done = subprocess.run(
            [BIN / "ansible", "localhost", "-i", "localhost,", "-c", "local", "-m", f"awx.awx.{kind}", "-a", options], env=ENVIRONMENT, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def play(directory, *options):
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", "localhost,", "-e", f"@{directory}/settings/given.yml", *options, "playbooks/awx.yml"], cwd=repository.ROOT,
        env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, output
    return output


def test_all_of_it_is_made_once_and_removed_when_told_to(own):
    assert "nothing was sent" in play(own, "--check")
    assert " 0 created" not in play(own)
    again = play(own)
    assert re.findall(r"changed: \[localhost\] => \(item=([^)]*)\)", again) == []
    assert "0 created, 0 updated, 0 removed" in again

    for path in own.glob("*.yml"):
        if path.name != "organization.yml":
            path.unlink()
    (own / "settings/given.yml").write_text(yaml.safe_dump({"awx_directory": str(own)}))
    assert "kept; -e awx_left_over=removed removes it" in play(own)
    assert " 0 removed" not in play(own, "-e", "awx_left_over=removed")
    assert "no data any more" not in play(own)
