# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks of the controller, run for real: keys, the trust policy, and an audited release of the example."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust import verify
from ansible.module_utils.slipway.trust.keys import PublicKey, generate_private_key, load_private_key
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
            [*command, *state, *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
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
    signed_for = state / "catalogue/hello/manifests/v1.dsse.json"
    assert (tmp_path / "release/manifests/v1.dsse.json").read_bytes() == signed_for.read_bytes()
    assert play("release", "-e", "release_id=v1")[:2] == (0, 0)

    policy = read_policy(state / "trust/trust-policy.dsse.json")
    envelope = Catalogue(state / "catalogue").manifest_bytes("hello", "v1")
    now = verify.parse_manifest(envelope).sequence
    for environment in ("staging", "prod"):
        manifest = verify.verify_manifest(policy, envelope, application="hello", environment=environment, now=now)
        verify.require_current(manifest, policy, environment, now)
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


def approve(play, key, *words, role="engineering-lead"):
    asked = (
        "-e",
        "release_id=v1",
        "-e",
        "approval_environment=prod",
        "-e",
        f"approval_role={role}",
        "-e",
        f"approval_key={key}",
    )
    return play("approve", *asked, *words)


def given(state):
    return sorted(path.name.split(".")[:3] for path in state.glob("catalogue/hello/approvals/*/*"))


def test_an_approval_is_given_sent_and_taken_in(play, tmp_path):
    state = tmp_path / "state"
    play("keys")
    assert play("release", "-e", "release_id=v1")[0] == 0
    code, _, output = approve(play, state / "keys/lead.pem")
    assert code != 0
    assert "not_confirmed" in output
    assert "you sign     an approval for prod" in output
    assert given(state) == []

    assert approve(play, state / "keys/lead.pem", "-e", "approval_confirmed=yes", "--check")[:2] == (0, 1)
    assert given(state) == []
    assert approve(play, state / "keys/lead.pem", "-e", "approval_confirmed=yes")[:2] == (0, 1)
    assert given(state) == [["prod", "engineering-lead", "lead"]]

    output = play("approvals", "-e", "release_id=v1")[2]
    assert re.search(r"prod +engineering-lead +1 of 1 +\S.* until 20", output)
    assert re.search(r"prod +risk-manager +0 of 1 +- ", output)

    sent = tmp_path / "sent.json"
    elsewhere = (
        "-e",
        f"approval_manifest={state}/catalogue/hello/manifests/v1.dsse.json",
        "-e",
        f"approval_output={sent}",
    )
    assert (
        approve(play, state / "keys/risk.pem", "-e", "approval_confirmed=yes", *elsewhere, role="risk-manager")[0] == 0
    )
    assert len(given(state)) == 1
    assert play("approval_add", "-e", f"approval_file={sent}")[:2] == (0, 1)
    assert play("approval_add", "-e", f"approval_file={sent}")[:2] == (0, 0)
    assert given(state) == [["prod", "engineering-lead", "lead"], ["prod", "risk-manager", "risk"]]


def test_a_key_that_may_not_approve_is_refused_before_anybody_is_asked(play, tmp_path):
    play("keys")
    assert play("release", "-e", "release_id=v1")[0] == 0
    code, _, output = approve(play, tmp_path / "state/keys/builder.pem")
    assert code != 0
    assert "key_unknown" in output
    assert "Ask for a yes" not in output


def typed(words, environment, *answers, seconds=90):
    """Run ansible-playbook at a terminal of its own; type each answer when its question waits. Returns (exit code, output)."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *words], cwd=REPOSITORY, env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    said, left, typed_at, end = "", list(answers), 0.0, time.monotonic() + seconds
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        assert time.monotonic() < end, said
        if select.select([master], [], [], 0.05)[0]:
            said += os.read(master, 65536).decode(errors="replace")
        waits = not termios.tcgetattr(slave)[3] & termios.ICANON
        if left and not waits and typed_at:
            typed_at, _ = 0.0, left.pop(0)
        # What is typed before a prompt has emptied the terminal's buffer is lost to it.
        if left and waits and left[0][0] in said and time.monotonic() > typed_at + 2:
            typed_at = time.monotonic()
            os.write(master, f"{left[0][1]}\r".encode())
    os.close(master)
    os.close(slave)
    return process.returncode, said


@pytest.mark.parametrize("answer", ["yes", "y"])
def test_at_a_terminal_the_passphrase_and_a_yes_are_asked_for(play, tmp_path, answer):
    state = tmp_path / "state"
    generate_private_key(state / "keys/lead.pem", b"correct horse")
    public = PublicKey.of(load_private_key(state / "keys/lead.pem", b"correct horse")).hex
    keys = yaml.safe_load((REPOSITORY / "group_vars/all/trust.yml").read_text())["trust_keys"]
    changed = [
        {"holder": "lead", "role": "engineering-lead", "public_key": public} if key["holder"] == "lead" else key
        for key in keys
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"trust_keys": changed}))
    assert play("keys", "-e", f"@{tmp_path}/keys.json")[0] == 0
    assert play("release", "-e", "release_id=v1")[0] == 0
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path)}
    code, said = typed(
        [
            str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/approve.yml", "-i", "localhost,", "-e", f"slipway_state_directory={state}",
            "-e", "release_id=v1", "-e", "approval_environment=prod", "-e", "approval_role=engineering-lead", "-e", f"approval_key={state}/keys/lead.pem", "-v",
        ],
        environment, ("Passphrase of", "correct horse"), ("Type 'yes' to sign", answer),
    )  # fmt: skip
    assert "correct horse" not in said
    assert (code == 0, given(state)) == (
        (True, [["prod", "engineering-lead", "lead"]]) if answer == "yes" else (False, [])
    ), said


def test_a_public_key_is_told_for_the_trust_policy(play, tmp_path):
    generate_private_key(tmp_path / "lead.pem")
    public = PublicKey.of(load_private_key(tmp_path / "lead.pem")).hex
    code, changed, output = play("key", "-e", f"approval_key={tmp_path}/lead.pem")
    assert (code, changed) == (0, 0)
    assert f"public_key: {public}" in output


def test_the_pages_are_written_anew_when_a_name_is_erased(play, tmp_path):
    play("keys")
    assert play("release", "-e", "release_id=v1")[0] == 0
    page = tmp_path / "release/manifests/v1.yaml"
    assert "build-server@slipway.example" in page.read_text()
    assert play("pages")[:2] == (0, 0)
    assert play("pages", "-e", '{"trust_holders": {}}')[:2] == (0, 1)
    assert "build-server@slipway.example" not in page.read_text()
    assert "builder: build-server" in page.read_text()


HELD = """
- hosts: localhost
  gather_facts: false
  tasks:
    - slipway_gate:
        state_directory: {state}
        run_id: run_at_a_terminal
        wave: 1
        why: "wave 1: release_pause_after"
        seconds: 60
      register: gate
    - debug: {{msg: "the gate says {{{{ gate.msg }}}}"}}
"""


@pytest.mark.parametrize(("typed_line", "decision"), [("yes", "promoted"), ("abort", "aborted")])
def test_a_run_that_is_held_is_answered_at_its_own_terminal(tmp_path, typed_line, decision):
    """ansible-playbook's worker has no terminal: it reads that of its parent."""
    (tmp_path / "held.yml").write_text(HELD.format(state=tmp_path / "state"))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path)}
    master, slave = pty.openpty()
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    words = ["setsid", "--ctty", program, "-i", "localhost,", "-c", "local", str(tmp_path / "held.yml")]
    process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdin=slave, stdout=slave, stderr=slave)
    said, typed_at, end = "", False, time.monotonic() + 60
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        assert time.monotonic() < end, said
        if select.select([master], [], [], 0.05)[0]:
            said += os.read(master, 65536).decode(errors="replace")
        if "Without an answer" in said and not typed_at:
            typed_at = bool(os.write(master, f"{typed_line}\n".encode()))
    os.close(master)
    os.close(slave)
    assert process.returncode == 0, said
    assert "Type 'yes' to go on" in said
    assert f"the gate says {decision}: by " in said
