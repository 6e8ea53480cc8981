# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks of the controller, run for real: keys, the trust policy, and a release of the example application."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.slipway import verify
from ansible.module_utils.slipway.catalogue import Catalogue
from ansible.module_utils.slipway.policy import read_policy

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def play(tmp_path):
    """A function that runs a playbook with its state below tmp_path; returns (exit code, changed, output)."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path)}

    def run(name, *arguments):
        command = [str(Path(sys.executable).with_name("ansible-playbook")), f"playbooks/{name}.yml", "-i", "localhost,"]
        state = ["-e", f"slipway_state_directory={tmp_path}/state"]
        done = subprocess.run(
            [*command, *state, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        changed = re.search(r"changed=(\d+)", done.stdout)
        return done.returncode, int(changed[1]) if changed else None, done.stdout + done.stderr

    return run


def test_keys_and_a_release_are_made_once(play, tmp_path):
    state = tmp_path / "state"
    assert play("keys", "--check")[:2] == (0, 1)
    assert not state.exists()
    assert play("keys")[:2] == (0, 2)
    assert play("keys")[:2] == (0, 0)

    assert play("release", "-e", "release_id=v1", "--check")[:2] == (0, 1)
    assert not (state / "catalogue").exists()
    code, changed, output = play("release", "-e", "release_id=v1")
    assert (code, changed) == (0, 1)
    assert play("release", "-e", "release_id=v1")[:2] == (0, 0)

    policy = read_policy(state / "trust/trust-policy.dsse.json")
    envelope = Catalogue(state / "catalogue").manifest_bytes("hello", "v1")
    now = verify.parse_manifest(envelope).sequence
    for environment in ("staging", "prod"):
        manifest = verify.verify_manifest(policy, envelope, application="hello", environment=environment, now=now)
        verify.require_fresh(manifest, policy, environment, now)
    assert manifest.digest in output
    assert "release_id: v1" in output


def test_a_release_without_keys_says_how_to_make_them(play, tmp_path):
    code, _, output = play("release")
    assert code != 0
    assert "key_invalid" in output
    assert "playbooks/keys.yml" in " ".join(output.split())
    assert not (tmp_path / "state").exists()
