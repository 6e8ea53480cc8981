# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of AWX says which one it is, and is refused before it asks a host anything when it came without what it needs."""

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import repository
from ansible.module_utils.slipway.base import operator
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import job
from ansible.module_utils.slipway.controller.job import Job

OURS = Job("42")
REVISION = "0123456789abcdef0123456789abcdef01234567"


def refused(call, *arguments, **named) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.mark.parametrize("prefix", ["awx", "tower"])
def test_a_job_is_known_by_what_awx_says(prefix):
    said = {f"{prefix}_job_id": 42, f"{prefix}_project_revision": REVISION, f"{prefix}_user_name": "anna"}
    assert Job.of(said) == Job("42", REVISION)
    assert operator.deployer(said) == "anna (job 42)"


def test_a_job_without_a_revision_is_one_and_a_run_without_a_number_is_none():
    assert Job.of({"awx_job_id": 7}) == Job("7")
    assert Job.of({"awx_project_revision": REVISION, "awx_job_id": None}) is None


def test_a_user_without_a_name_is_called_by_the_number(monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)

    def nameless():
        raise KeyError("getpwuid(): uid not found: 1000660000")

    monkeypatch.setattr(operator.getpass, "getuser", nameless)
    assert operator.deployer({}) == f"uid {os.geteuid()}"


# the revision


@pytest.fixture
def project(tmp_path):
    """A checkout, and its commit."""
    root = tmp_path / "project"
    root.mkdir()
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "One"]):
        subprocess.run([*git, *words], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return root, done.stdout.strip()


@pytest.mark.parametrize("length", [7, 12, 40])
def test_the_commit_that_was_asked_for_passes(project, length):
    root, commit = project
    job.require_revision(commit[:length], root, OURS)


def test_where_nothing_was_asked_for_any_commit_passes(tmp_path):
    job.require_revision("", tmp_path, None)


def test_another_commit_is_refused_whatever_awx_says(project):
    root, commit = project
    refusal = refused(job.require_revision, REVISION, root, Job("42", REVISION))
    assert (refusal.reason, refusal.found) == ("project_revision_stale", f"one of {commit}")
    assert "Sync the project" in refusal.remedy


def test_without_a_checkout_awx_is_believed(tmp_path):
    job.require_revision(REVISION, tmp_path, Job("42", REVISION))
    other = Job("42", "f" * 40)
    assert refused(job.require_revision, REVISION, tmp_path, other).reason == "project_revision_stale"


def test_a_checkout_that_this_is_only_a_part_of_does_not_count(project):
    root, commit = project
    (root / "below").mkdir()
    assert refused(job.require_revision, commit, root / "below", None).reason == "project_revision_unknown"


@pytest.mark.parametrize("asked", ["main", "012345", "0" * 41, "0123456; id", "0123456\n", "ABCDEF0"])
def test_what_is_no_commit_is_refused(tmp_path, asked):
    assert refused(job.require_revision, asked, tmp_path, None).reason == "project_revision_invalid"


IN_WORKFLOW = Job("42", REVISION, is_of_workflow=True)


def test_a_job_of_a_workflow_hands_on_the_commit_that_it_runs_from(project, tmp_path):
    root, commit = project
    assert job.same_in_workflow("", root, IN_WORKFLOW) == commit
    assert job.same_in_workflow(commit, root, IN_WORKFLOW) == commit
    assert job.same_in_workflow(REVISION, tmp_path, IN_WORKFLOW) == REVISION  # no checkout, so AWX is believed


@pytest.mark.parametrize("ours", [None, OURS])
def test_any_other_run_hands_nothing_on(project, ours):
    assert job.same_in_workflow("", project[0], ours) == ""


def test_nor_does_one_that_cannot_say_what_it_runs_from(tmp_path):
    assert job.same_in_workflow("", tmp_path, Job("42", is_of_workflow=True)) == ""


def test_a_job_is_refused_when_the_project_moved_since_an_earlier_one_of_its_workflow(project):
    refusal = refused(job.same_in_workflow, REVISION, project[0], IN_WORKFLOW)
    assert (refusal.reason, refusal.found) == ("project_revision_stale", f"one of {project[1]}")
    assert (REVISION in refusal.expected, "Launch the workflow again" in refusal.remedy) == (True, True)


def test_and_when_nobody_can_say_whether_it_did(tmp_path):
    refusal = refused(job.same_in_workflow, REVISION, tmp_path, Job("42", is_of_workflow=True))
    assert refusal.reason == "project_revision_unknown"


@pytest.mark.parametrize("before", ["main", REVISION[:12], f"{REVISION}\n", "{{ x }}"])
def test_what_no_job_hands_on_is_refused(tmp_path, before):
    refusal = refused(job.same_in_workflow, before, tmp_path, IN_WORKFLOW)
    assert (refusal.reason, "slipway_workflow_revision" in refusal.expected) == ("project_revision_invalid", True)


@pytest.mark.parametrize("name", ["", "77", "release-v9.1:prod_2", "x" * 64])
def test_what_joins_runs_is_one_word(name):
    assert job.require_run_group(name) == name


@pytest.mark.parametrize("name", ["7 7", "{{ x }}", "77\n", "a/b", "x" * 65, "ä"])
def test_what_is_none_is_refused(name):
    assert refused(job.require_run_group, name).reason == "run_group_invalid"


# what it came with


def test_a_job_without_a_trust_policy_is_told_which_credential_has_it(tmp_path):
    refusal = refused(job.require_trust, OURS, tmp_path / "trust-policy.dsse.json")
    assert refusal.reason == "job_credential_missing"
    assert refusal.found == "none, or an empty one, in job 42"
    assert f"type {job.TRUST} to the job template" in refusal.remedy


def test_a_job_without_a_builders_key_makes_none_and_names_the_credential(tmp_path):
    key = tmp_path / "builder.pem"
    refusal = refused(job.require_builder, OURS, key)
    assert (refusal.reason, refusal.expected) == ("job_credential_missing", f"the builder's private key at {key}")
    assert f"type {job.BUILDER} to the job template" in refusal.remedy
    job.require_builder(None, key)
    key.write_text("-----BEGIN PRIVATE KEY-----\n")
    job.require_builder(OURS, key)


@pytest.mark.parametrize("required", [job.require_trust, job.require_builder])
@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_a_credential_that_nobody_filled_in_is_none(tmp_path, required, content):
    """AWX launches a job with one, and writes a file of nothing."""
    (tmp_path / "credential").write_text(content)
    refusal = refused(required, OURS, tmp_path / "credential")
    assert refusal.reason == "job_credential_missing"
    assert "and fill it in" in refusal.remedy


def test_the_types_that_are_named_are_those_that_awx_gets():
    made = {each["name"] for each in repository.load("awx/credentials.yml")["credential_types"]}
    assert {job.TRUST, job.BUILDER, job.APPROLE} <= made


def test_with_one_it_passes_and_without_a_job_the_plan_decides(tmp_path):
    (tmp_path / "policy").write_text("{}")
    job.require_trust(OURS, tmp_path / "policy")
    job.require_trust(None, tmp_path / "none")


def test_a_directory_that_can_be_made_is_writable(tmp_path):
    job.require_writable(tmp_path / "a/b/c")
    job.require_writable(tmp_path)


def test_one_that_cannot_be_written_to_is_named_with_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(job.os, "access", lambda path, _mode: Path(path) != tmp_path)  # root may write anywhere
    refusal = refused(job.require_writable, tmp_path / "state")
    assert refusal.reason == "state_directory_read_only"
    assert refusal.found.startswith(f"{tmp_path}, which belongs to user {os.geteuid()}")


BARE = {"prod-1": {}, "prod-2": {"ansible_connection": "ansible.builtin.ssh"}}


def none() -> bool:
    return False


def test_a_job_without_a_key_is_told_so_before_hosts_say_permission_denied():
    refusal = refused(job.require_machine, OURS, BARE, default="ssh", has_keys=none)
    assert (refusal.reason, refusal.expected) == ("job_credential_missing", "an ssh key for prod-1, prod-2")
    assert f"type {job.MACHINE} to the job template" in refusal.remedy


def test_of_many_hosts_the_first_are_named():
    many = {f"prod-{number}": {} for number in range(1, 9)}
    refusal = refused(job.require_machine, OURS, many, default="smart", has_keys=none)
    assert refusal.expected == "an ssh key for prod-1, prod-2, prod-3, prod-4, prod-5 and 3 more"


@pytest.mark.parametrize("variable", job.IDENTIFIED_BY)
def test_a_host_that_has_one_of_its_own_passes(variable):
    job.require_machine(OURS, {"prod-1": {variable: "x"}}, default="ssh", has_keys=none)


@pytest.mark.parametrize("connection", ["local", "ansible.builtin.local", "podman"])
def test_a_connection_that_is_not_ssh_needs_none(connection):
    job.require_machine(OURS, {"prod-1": {"ansible_connection": connection}}, default="ssh", has_keys=none)
    job.require_machine(OURS, {"prod-1": {}}, default=connection, has_keys=none)


def test_with_keys_it_passes_and_without_a_job_ssh_decides():
    job.require_machine(OURS, BARE, default="ssh", has_keys=lambda: True)
    job.require_machine(None, BARE, default="ssh", has_keys=none)


def test_keys_are_found_at_home_and_in_the_agent(tmp_path):
    assert not job.has_keys(tmp_path, lambda: 0)
    assert job.has_keys(tmp_path, lambda: 1)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").touch()
    assert job.has_keys(tmp_path, lambda: 0)


def test_the_keys_of_a_real_agent_are_counted(tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert job.keys_of_agent() == 0
    socket, key = tmp_path / "agent", tmp_path / "key"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        while subprocess.run(["ssh-add", "-l"], capture_output=True, check=False).returncode == 2:
            assert agent.poll() is None
        assert job.keys_of_agent() == 0
        subprocess.run(["ssh-add", "-q", key], check=True)
        assert job.keys_of_agent() == 1
    finally:
        agent.kill()
        agent.wait()
    assert job.keys_of_agent() == 0  # its socket is still there


def test_an_agent_that_gives_no_list_has_no_keys(tmp_path, monkeypatch):
    """It is locked, or no agent at all."""
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def fail():
            caller, _ = listener.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(b"\0\0\0\1\5")  # SSH_AGENT_FAILURE

        answering = threading.Thread(target=fail)
        answering.start()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        assert job.keys_of_agent() == 0
        answering.join()


def test_a_job_that_cannot_log_in_to_vault_is_told_which_credential_brings_that():
    refusal = job.without_approle(job.Job("41"), "the role id of vault in /nowhere")
    assert (refusal.reason, refusal.expected) == ("job_credential_missing", "the role id of vault in /nowhere")
    assert job.APPROLE in refusal.remedy
