# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job is given and came with, judged by the real ansible-playbook before a host is asked anything: no connection is opened here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import repository
import yaml
from ansible.module_utils.slipway.controller.awx_surveys import variables_of

TOOLS = Path(sys.executable).parent
# Nobody is at these addresses (RFC 5737); a test that got there would find no answer.
INVENTORY = """
[staging]
staging-1 ansible_host=192.0.2.1
[prod]
prod-1 ansible_host=192.0.2.2
"""
JOB = {"awx_job_id": 41, "awx_user_name": "anna", "awx_project_revision": "0123456789abcdef0123456789abcdef01234567"}


@dataclass
class Done:
    """How a run ended, and what it said in one line."""

    code: int
    output: str

    def refused(self, *parts: str) -> None:
        """It ended badly, said all of this, and asked no host: it never came to the task that does."""
        text = re.sub(r"\s+", " ", self.output)
        assert self.code not in (0, None), self.output
        assert [part for part in parts if part not in text] == [], self.output
        assert "Ask every host" not in text


@pytest.fixture
def play(tmp_path) -> Callable[..., Done]:
    """A function that runs a playbook of this tree with an inventory of two environments, and nothing of this machine's user."""
    (tmp_path / "hosts").write_text(INVENTORY)
    home = tmp_path / "home"
    home.mkdir()
    bare = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    environment = {
        **bare,
        "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"),
        "ANSIBLE_SSH_ARGS": "-o ConnectTimeout=1",
    }

    def run(playbook, *words, state="state"):
        given = ["-i", tmp_path / "hosts", "-e", f"slipway_state_directory={tmp_path / state}"]
        command = [TOOLS / "ansible-playbook", playbook, *given, *words]
        done = subprocess.run(
            command,
            cwd=repository.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout + done.stderr)

    return run


# values that Ansible would evaluate


def command(tmp_path) -> str:
    """A template that leaves a file when it is evaluated."""
    return f"{{{{ lookup('pipe', 'touch {tmp_path}/evaluated; echo v1') }}}}"


def tagged(value: str) -> str:
    """As AWX writes it."""
    return f"!unsafe 'release_id': !unsafe {json.dumps(value)}\n"


WAYS = {
    "as a word": lambda value, _path: f"release_id={json.dumps(value)}",
    "as JSON": lambda value, _path: json.dumps({"release_id": value}),
    "as YAML": lambda value, _path: yaml.safe_dump({"release_id": value}, default_flow_style=True),
    "in a file": lambda value, path: path.write_text(yaml.safe_dump({"release_id": value})) and f"@{path}",
    "in a file, tagged by AWX": lambda value, path: path.write_text(tagged(value)) and f"@{path}",
    "deep in a description": lambda value, _path: json.dumps({"slipway_applications": {"shop": {"unit": [value]}}}),
    "as a name": lambda value, _path: json.dumps({value: "x"}),
    "for a variable of nobody's": lambda value, _path: json.dumps({"nobody": value}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_value_that_is_a_template_is_never_evaluated_however_it_comes(play, tmp_path, way):
    given = WAYS[way](command(tmp_path), tmp_path / "extravars")
    done = play("deploy.yml", "-l", "prod", "-e", given)
    done.refused("variable_templated: expected", "Write the value itself.")
    assert "TASK [" not in done.output
    assert not (tmp_path / "evaluated").exists()


KEYWORDS = {
    name: sorted(
        set(re.findall(r"lookup\('slipway_(?:given|controller)', '(\w+)'", (repository.ROOT / name).read_text()))
    )
    for name in repository.PLAYBOOKS
}
ASKING = {(name, variable) for name, variables in KEYWORDS.items() for variable in variables}


@pytest.mark.parametrize(("playbook", "variable"), sorted(ASKING))
def test_nor_is_one_that_a_play_needs_before_its_first_task(play, tmp_path, playbook, variable):
    done = play(playbook, "-e", json.dumps({variable: command(tmp_path)}))
    done.refused("variable_templated: expected", f"found {variable} with {{{{")
    assert not (tmp_path / "evaluated").exists()


def test_the_places_that_slipway_names_itself_may_begin_a_path(play, tmp_path):
    words = ("-e", "release_source=examples/hello", "-e", "release_catalogue='{{ slipway_state_directory }}/candidate'")
    play("playbooks/release.yml", "--check", *words).refused("key_invalid: expected")  # it came as far as that


# answers of a survey that are out of bounds, or have a shell's marks

OUT_OF_BOUNDS = [
    ("deploy.yml", {"release_id": "v1; touch {0}"}, "release_id_invalid"),
    ("deploy.yml", {"release_id": "$(touch {0})"}, "release_id_invalid"),
    ("deploy.yml", {"release_id": "../../etc/passwd"}, "release_id_invalid"),
    ("deploy.yml", {"release_id": "v" * 129}, "release_id_invalid"),
    ("rollback.yml", {"release_id": "`touch {0}`"}, "release_id_invalid"),
    ("deploy.yml", {"application": "hello`touch {0}`"}, "application_unknown"),
    ("deploy.yml", {"release_retry": "perhaps"}, "release_retry"),
    ("deploy.yml", {"release_pause_seconds": "1; touch {0}"}, "release_pause_seconds"),
    ("playbooks/status.yml", {"release_status_format": "xml"}, "release_status_format"),
    ("deploy.yml", {"release_environment": "staging"}, "environment_not_meant"),
]


@pytest.mark.parametrize(("playbook", "given", "said"), OUT_OF_BOUNDS, ids=lambda value: str(value)[:40])
def test_an_answer_out_of_bounds_is_refused_and_no_shell_sees_it(play, tmp_path, playbook, given, said):
    answers = {name: value.replace("{0}", str(tmp_path / "evaluated")) for name, value in given.items()}
    play(playbook, "-l", "prod", "-e", json.dumps(answers)).refused(said)
    assert not (tmp_path / "evaluated").exists()


# limits


@pytest.mark.parametrize("limit", ["nobody", "prod-1,nobody", "prod:nobody", "prod:&nobody"])
def test_a_limit_of_which_a_part_matches_nothing_is_no_success(play, limit):
    play("deploy.yml", "-l", limit).refused("Could not match supplied host pattern")


def test_a_limit_that_leaves_nobody_is_no_success(play):
    play("deploy.yml", "-l", "prod:!prod-1").refused("no hosts to target")


@pytest.mark.parametrize(
    "playbook",
    sorted(name for name in repository.PLAYBOOKS if "'slipway_controller'" in (repository.ROOT / name).read_text()),
)
def test_a_limit_that_leaves_the_controller_out_is_no_success(play, playbook):
    play(playbook, "-l", "prod").refused("limit_unwanted: expected no limit (-l)", "found 'prod'")


def test_no_playbook_has_the_controller_as_its_host_and_lets_a_limit_skip_it():
    plays = [(name, str(play.get("hosts"))) for name in repository.PLAYBOOKS for play in repository.load(name)]
    assert [each for each in plays if "localhost" in each[1]] == []


def test_two_environments_are_refused(play):
    play("deploy.yml").refused("environments_mixed: expected the hosts of one environment; found prod and staging.")


# what a job came with


@pytest.fixture
def state(tmp_path):
    """A controller's directory with a trust policy; nobody reads it here."""
    policy = tmp_path / "state/trust/trust-policy.dsse.json"
    policy.parent.mkdir(parents=True)
    policy.write_text("{}")
    return policy


def test_a_job_without_a_key_names_the_credential_that_has_one(play, state):
    done = play("deploy.yml", "-l", "prod", "-e", json.dumps(JOB))
    done.refused(
        "job_credential_missing: expected an ssh key for prod-1; found none, or an empty one, in job 41.",
        "credential of type Machine",
    )


def test_a_play_on_the_controller_needs_no_key_though_the_inventory_names_it(play, state, tmp_path):
    (tmp_path / "state/catalogue").mkdir()
    words = ["-i", "localhost,", "-e", json.dumps({**JOB, "release_store_path": str(tmp_path / "store")})]
    done = play("playbooks/publish.yml", *words)
    assert "job_credential_missing" not in done.output
    assert "TASK [Add to the store what it lacks]" in done.output


def test_a_job_without_a_trust_policy_names_the_credential_that_has_it(play, tmp_path):
    done = play("deploy.yml", "-l", "prod", "-e", json.dumps(JOB))
    done.refused("job_credential_missing: expected the signed trust policy", "credential of type Slipway trust")
    assert not (tmp_path / "state").exists()


def test_a_job_that_signs_without_a_key_names_the_credential_that_has_one(play):
    done = play("playbooks/release.yml", "-e", json.dumps({**JOB, "release_source": "examples/hello"}))
    done.refused("job_credential_missing: expected the builder's private key at", "type Slipway builder")
    assert "keys.yml" not in done.output


def test_a_job_that_reads_secrets_without_an_approle_names_the_credential_that_has_one(play, tmp_path):
    """Also what is only looked up; a chain of other providers, or a person, needs none."""
    (tmp_path / "read.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [{"debug": {"msg": "{{ lookup('slipway_secret', 'a') }}"}}]}])
    )  # fmt: skip
    vault = {
        "type": "vault", "url": "https://192.0.2.9:8200", "auth": "approle",
        "role_id_path": str(tmp_path / "role-id"), "secret_id_path": str(tmp_path / "secret-id"),
    }  # fmt: skip
    settings = {"secrets_providers": {"vault": vault}, "secrets_chain": ["vault"], "slipway_environment": "prod"}
    read = str(tmp_path / "read.yml")
    done = play(read, "-e", json.dumps({**JOB, **settings}))
    done.refused("job_credential_missing: expected the role id of vault", "type Slipway Vault AppRole")
    play(read, "-e", json.dumps(settings)).refused("secret_credential_missing: expected the role id of vault")


# the commit that it is from


JUDGING = {
    "deploy.yml": ("-l", "prod"),
    "rollback.yml": ("-l", "prod"),
    "playbooks/stage.yml": ("-l", "prod"),
    "playbooks/release.yml": ("-e", "release_source=examples/hello"),
}
REVISION = "slipway_project_revision"
STALE = "project_revision_stale: expected to run from the commit {}"


@pytest.mark.parametrize("playbook", JUDGING)
def test_a_job_of_another_commit_than_was_asked_for_is_refused(play, state, playbook):
    asked = "f" * 40
    done = play(playbook, *JUDGING[playbook], "-e", json.dumps({**JOB, REVISION: asked}))
    done.refused(f"{STALE.format(asked)}; found one of", "Sync the project in AWX")


def test_surveys_ask_for_the_commit_where_it_is_judged_and_nowhere_else():
    asking = [each for each in repository.load("awx/job_templates.yml")["job_templates"] if REVISION in each["survey"]]
    assert {each["playbook"] for each in asking} == set(JUDGING)
    left_out = [each for each in repository.load("awx/job_templates.yml")["job_templates"] if each not in asking]
    assert {each["name"] for each in left_out if each["playbook"] in JUDGING} == {"Undo on staging", "Undo on prod"}
    assert all(REVISION in variables_of(repository.ROOT, playbook) for playbook in JUDGING)
    assert [
        name for name in set(repository.PLAYBOOKS) - set(JUDGING) if REVISION in variables_of(repository.ROOT, name)
    ] == []


IN_WORKFLOW = {**JOB, "awx_workflow_job_id": 40, "ansible_ssh_private_key_file": "/nowhere"}


@pytest.mark.parametrize("playbook", ["deploy.yml", "playbooks/stage.yml"])
def test_a_deployment_is_refused_when_the_project_moved_since_another_of_its_workflow(play, state, playbook):
    done = play(playbook, "-l", "prod", "-e", json.dumps({**IN_WORKFLOW, "slipway_workflow_revision": "f" * 40}))
    done.refused(
        f"{STALE.format('f' * 40)}, as earlier jobs of this workflow did; found one of", "Launch the workflow again"
    )


def test_what_a_workflow_has_brought_is_taken_back_from_wherever_the_project_is_by_then(play, state):
    moved = {"slipway_workflow_revision": "f" * 40, "slipway_project_revision": "f" * 40, "release_undone": True}
    done = play("rollback.yml", "-l", "prod", "-e", json.dumps({**IN_WORKFLOW, **moved, "release_id": "v1"}))
    assert "project_revision" not in done.output
    assert "TASK [release : Ask every host" in done.output
