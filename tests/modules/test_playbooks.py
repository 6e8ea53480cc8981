# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks of the controller, run for real: keys, the trust policy, and an audited release of the example."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust import verify
from ansible.module_utils.slipway.trust.policy import read_policy

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def play(tmp_path):
    """A function that runs a playbook with its state below tmp_path; returns (exit code, changed, output)."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path)}

    def run(name, *arguments):
        command = [str(Path(sys.executable).with_name("ansible-playbook")), f"playbooks/{name}.yml", "-i", "localhost,"]
        state = ["-e", f"slipway_state_directory={tmp_path}/state slipway_release_directory={tmp_path}/release"]
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

    relative = ("-e", "release_source=examples/hello")  # to where the operator stands
    assert play("release", "-e", "release_id=v1", *relative, "--check")[:2] == (0, 1)
    assert not (state / "catalogue").exists()
    code, changed, output = play("release", "-e", "release_id=v1")
    assert (code, changed) == (0, 2)  # the release and its page
    assert (tmp_path / "release/manifests/v1.yaml").exists()
    assert play("release", "-e", "release_id=v1")[:2] == (0, 0)

    policy = read_policy(state / "trust/trust-policy.dsse.json")
    envelope = Catalogue(state / "catalogue").manifest_bytes("hello", "v1")
    now = verify.parse_manifest(envelope).sequence
    for environment in ("staging", "prod"):
        manifest = verify.verify_manifest(policy, envelope, application="hello", environment=environment, now=now)
        verify.require_fresh(manifest, policy, environment, now)
    assert manifest.digest in output
    assert "release_id: v1" in output


@pytest.fixture
def hello(tmp_path):
    return Path(shutil.copytree(REPOSITORY / "examples/hello", tmp_path / "hello"))


def test_a_release_carries_its_audit_and_its_validation(play, tmp_path, hello):
    state, bundle = tmp_path / "state", tmp_path / "release/audit_1"
    given = ("-e", f"release_source={hello}", "-e", f"release_audit={bundle}")
    build = ("-e", "release_build_id=build_7", "-e", "release_tickets=A-1,A-2")
    play("keys")
    assert play("validate", *given)[0] != 0
    assert play("audit", *given, *build, "--check")[:2] == (0, 1)
    assert not bundle.parent.exists()
    code, changed, output = play("audit", *given, *build)
    assert (code, changed) == (0, 1)
    assert "way-back-tried" in output
    assert re.search(r"not_declared:\s+- dependencies", output)

    assert play("validate", *given, "--check")[:2] == (0, 1)
    assert not (state / "candidate").exists()
    for _ in range(2):
        assert play("validate", *given)[0] == 0
        (candidate,) = Catalogue(state / "candidate").releases("hello")
        assert candidate.release_id.startswith("candidate_20")
        assert verify.seconds_of(candidate.expires) - candidate.sequence == 86400

    # What make gives is there although it may be empty.
    release = ("-e", "release_id=v1", "-e", "release_type=hotfix", "-e", "release_build_id=", "-e", "release_tickets=")
    code, changed, output = play("release", *given, *release)
    assert (code, changed) == (0, 2)
    promotion = Catalogue(state / "catalogue").manifest("hello", "v1").promotion
    assert promotion.release_type == "hotfix"
    assert promotion.audit.name == "audit_1"
    assert promotion.audit.sha256 == hashlib.sha256((bundle / "audit.json").read_bytes()).hexdigest()
    assert promotion.audit.validation_result == "passed"
    assert promotion.metadata.build_id == "build_7"
    assert promotion.metadata.tickets == ("A-1", "A-2")
    assert [artifact.kind for artifact in promotion.artifacts] == ["programs", "configs"]
    assert promotion.verification_steps
    assert promotion.monitoring.alert_thresholds["intraday_hit_ratio_drop"] == "0.05"


def test_nothing_is_released_of_evidence_that_does_not_hold(play, tmp_path, hello):
    bundle = tmp_path / "release/audit_1"
    given = ("-e", f"release_source={hello}", "-e", f"release_audit={bundle}")
    checklist = hello / "promotion.yml"
    ticked = checklist.read_text()
    checklist.write_text(re.sub(r", by: j.smith, at: [^}]+", "", ticked))
    play("keys")
    assert play("audit", *given)[0] == 0
    code, _, output = play("validate", *given)
    assert code != 0
    assert "checklist_incomplete" in output
    assert "configuration-reviewed" in output
    assert "way-back-tried" in output
    assert not (tmp_path / "state/candidate").exists()
    (bundle / "checklist.yml").write_text(ticked)
    code, _, output = play("release", *given)
    assert code != 0
    assert "audit_altered" in output
    assert not (tmp_path / "state/catalogue/hello/manifests").exists()


def test_a_release_without_keys_says_how_to_make_them(play, tmp_path):
    code, _, output = play("release")
    assert code != 0
    assert "key_invalid" in output
    assert "playbooks/keys.yml" in " ".join(output.split())
    assert not (tmp_path / "state").exists()
