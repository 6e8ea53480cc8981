# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/awx.yml with the collection's real modules, against an AWX in this process: what it makes, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import repository
import yaml
from awx_stand_in import StandIn
from leaks import Canary

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
MARK = "[slipway: Slipway]"
CHANNELS = ["Slack", "PagerDuty", "E-mail", "Webhook"]
SMALL = {
    "organizations": [{"name": "Slipway"}],
    "credentials": [{"name": "machine", "credential_type": "Machine", "inputs": {"username": "deploy"}, "secrets": ["ssh_key_data"]}],
    "execution_environments": [{"name": "runs", "image": "registry.example/runs"}],
    "teams": [{"name": "Operators", "description": "Run"}],
    "notification_templates": [
        {"name": "Slack", "notification_type": "slack", "notification_configuration": {"channels": ["#r"]}, "secrets": ["token"]}
    ],
    "projects": [{"name": "repo", "scm_type": "git", "scm_url": "https://git.example/repo.git"}],
    "inventories": [{"name": "prod"}],
    "job_templates": [
        {"name": "Deploy", "playbook": "deploy.yml", "project": "repo", "inventory": "prod", "execution_environment": "runs", "credentials": ["machine"]}
    ],
    "grants": [{"team": "Operators", "role": "execute", "job_templates": ["Deploy"]}],
}  # fmt: skip


@pytest.fixture
def play(awx, tmp_path):
    """A function that runs the playbook against ``awx`` and returns (exit code, output in one line)."""
    state = {
        "slipway_state_directory": str(tmp_path / "state"), "slipway_environment": "development", "secrets_swap_accepted": True, "secrets_chain": ["env"],
        "secrets_declared": {"ssh/deploy": {"variables": {"key": "DEPLOY_KEY"}}, "chat": {"variables": {"token": "CHAT_TOKEN"}}},
        "secrets_providers": {"env": {"type": "env", "path": str(tmp_path / ".env")}},
    }  # fmt: skip
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SECRETS_", "CONTROLLER_", "TOWER_"))
    }
    environment |= {
        "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"),
        "HOME": str(tmp_path),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        "SECRETS_MODE": "plain",
    }
    connection = {"CONTROLLER_HOST": awx.url, "CONTROLLER_OAUTH_TOKEN": awx.token}

    def run(*options, data=None, env=None, **given):
        if data is not None:
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data/all.yml").write_text(yaml.safe_dump(data))
            given["awx_directory"] = str(tmp_path / "data")
        (tmp_path / "given.json").write_text(json.dumps(state | given))
        awx.asked.clear()
        done = subprocess.run(
            [PLAYBOOK, "-i", "localhost,", "-e", f"@{tmp_path}/given.json", *options, "playbooks/awx.yml"], cwd=repository.ROOT,
            env=environment | (connection if env is None else env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


def changed(output):
    return re.findall(r"changed: \[localhost\] => \(item=([^)]*)\)", output)


def small(**changes):
    return {**SMALL, **changes}


def test_all_of_awx_is_made_once_and_then_is_as_it_should_be(play, awx, tmp_path):
    key, token = Canary("key"), Canary("token")
    (tmp_path / ".env").write_text(
        f"DEPLOY_KEY='-----BEGIN OPENSSH PRIVATE KEY----- {key.plain}'\nCHAT_TOKEN='{token.plain}'\n"
    )
    (tmp_path / ".env").chmod(0o600)
    secrets = {
        "credentials": {"Slipway machine": {"ssh_key_data": {"secret": "ssh/deploy", "field": "key"}}},
        "notification_templates": {
            "Slack": {"token": {"secret": "chat"}},
            "PagerDuty": {"service_key": {"secret": "chat"}},
        },
    }
    given = {"awx_notifications": CHANNELS, "awx_secrets": secrets}
    code, output = play("-vv", **given)
    assert code == 0, output
    first = output

    assert awx.names("job_templates") == {
        each["name"] for each in repository.load("awx/job_templates.yml")["job_templates"]
    }
    assert awx.names("teams") == {"Builders", "Approvers", "Operators", "Auditors"}
    assert awx.row("credentials", "Slipway machine")["inputs"]["ssh_key_data"].endswith(key.plain)
    assert awx.row("notification_templates", "Slack")["notification_configuration"]["token"] == token.plain
    assert awx.row("notification_templates", "E-mail")["notification_configuration"]["password"] == ""
    assert "Slipway trust: trust_policy" in output
    assert "Slipway machine: ssh_key_data" not in output

    code, output = play("-vv", **given)
    assert code == 0, output
    assert awx.sent() == []
    assert changed(output) == []
    assert "0 created, 0 updated, 0 removed" in output
    for canary in (key, token):
        found = [name for name, needle in canary.needles.items() if needle in (first + output).encode()]
        assert found == [], canary.name
    _goes_from_a_source_to_prod(awx)


def _goes_from_a_source_to_prod(awx):
    """What was made is started: by the button, with a yes, with a no, and with a failure."""
    started = {"release_source": "examples/hello", "release_id": "v1"}
    jobs, approvals = launch(awx, started, "approve")
    asked = ["Make a release", "Deploy to staging", "Show the approvals"]
    assert jobs == [*asked, "Judge the approvals", "Stage on prod", "Deploy to prod", "Verify the fleet"]
    assert approvals == ["Deploy to prod?"]
    assert launch(awx, started, "deny") == (asked, ["Deploy to prod?"])
    jobs, _approvals = launch(awx, started, "approve", **{"Judge the approvals": "failed"})
    assert jobs == [*asked, "Judge the approvals"]
    jobs, _approvals = launch(awx, started, "approve", **{"Deploy to prod": "failed"})
    assert jobs[4:] == ["Stage on prod", "Deploy to prod", "Undo on prod"]
    jobs, approvals = launch(awx, started, **{"Deploy to staging": "failed"})
    assert (jobs, approvals) == (["Make a release", "Deploy to staging", "Undo on staging"], [])
    undo = [job for job in awx.tables["jobs"].values() if job["name"] == "Undo on staging"]
    assert json.loads(undo[-1]["extra_vars"])["release_id"] == "v1"
    assert json.loads(awx.row("job_templates", "Undo on staging")["extra_vars"])["release_undone"] is True


def ask(awx, method, path, data=None):
    code, content = awx.answer(method, f"/api/v2/{path}/", f"Bearer {awx.token}", json.dumps(data or {}).encode())
    assert code < 300, content
    return content


def launch(awx, variables, *answers, **outcomes):
    """Start the workflow and answer what it asks in this order; returns the names of the jobs and of the approvals, as they came."""
    awx.outcomes = outcomes
    workflow = awx.row("workflow_job_templates", "Release to prod")
    job = ask(awx, "POST", f"workflow_job_templates/{workflow['id']}/launch", {"extra_vars": variables})["workflow_job"]
    answered = []
    for _round in range(60):
        if ask(awx, "GET", f"workflow_jobs/{job}")["finished"]:
            break
        waiting = [
            each
            for each in awx.tables["workflow_approvals"].values()
            if each["workflow_job"] == job and each["status"] == "pending"
        ]
        if waiting and len(answered) < len(answers):
            ask(awx, "POST", f"workflow_approvals/{waiting[0]['id']}/{answers[len(answered)]}")
            answered.append(waiting[0]["name"])
    assert awx.tables["workflow_jobs"][job]["finished"], awx.tables["workflow_jobs"][job]
    assert {each["status"] for each in awx.tables["workflow_approvals"].values()} <= {"successful", "failed"}
    runs = sorted(awx.tables["workflow_jobs"][job]["nodes"].values(), key=lambda run: run[1])
    return [awx.tables[kind][number]["name"] for kind, number in runs if kind == "jobs"], answered


def test_check_mode_only_reads(play, awx):
    code, output = play("--check", data=SMALL, awx_notifications=["Slack"])
    assert code == 0, output
    assert "8 created, 1 updated, 0 removed, 0 as they should be; nothing was sent" in output
    assert awx.sent() == []
    assert awx.names("organizations") == set()


def test_what_differs_is_shown_then_changed_and_nothing_else(play, awx):
    assert play(data=SMALL)[0] == 0
    template = small(job_templates=[{**SMALL["job_templates"][0], "forks": 50}])
    awx.row("teams", "Operators")["description"] = "somebody wrote this"
    for options, sent in ((("--check",), False), ((), True)):
        code, output = play(*options, data=template)
        assert code == 0, output
        assert changed(output) == ["team Operators", "job_template Deploy"]
        assert bool(awx.sent()) is sent
    assert awx.row("job_templates", "Deploy")["forks"] == 50
    assert awx.row("teams", "Operators")["description"] == f"Run {MARK}"


def test_what_a_person_entered_stays(play, awx):
    assert play(data=SMALL, awx_notifications=["Slack"])[0] == 0
    awx.row("credentials", "machine")["inputs"]["ssh_key_data"] = "-----BEGIN PRIVATE KEY-----"
    awx.row("notification_templates", "Slack")["notification_configuration"]["token"] = "entered"
    code, output = play(data=SMALL, awx_notifications=["Slack"])
    assert (code, awx.sent()) == (0, []), output
    assert "To be entered" not in output

    other = small(
        notification_templates=[
            {**SMALL["notification_templates"][0], "notification_configuration": {"channels": ["#other"]}}
        ]
    )
    code, output = play(data=other, awx_notifications=["Slack"])
    assert (code, changed(output)) == (0, ["notification_template Slack"])
    assert awx.row("notification_templates", "Slack")["notification_configuration"] == {
        "channels": ["#other"],
        "token": "entered",
    }
    assert awx.row("credentials", "machine")["inputs"] == {
        "username": "deploy",
        "ssh_key_data": "-----BEGIN PRIVATE KEY-----",
    }


def test_what_is_private_is_read_with_a_credential_of_its_own(play, awx):
    other = awx.insert("organizations", name="Other")["id"]
    kind = awx.row("credential_types", "Source Control")["id"]
    awx.insert("credentials", name="repository", organization=other, credential_type=kind)
    registry = {"host": "registry.example", "username": "pull", "verify_ssl": True}
    private = {
        "organizations": SMALL["organizations"],
        "credentials": [
            {"name": "repository", "credential_type": "Source Control", "inputs": {"username": "read"}, "secrets": ["password"]},
            {"name": "registry", "credential_type": "Container Registry", "inputs": registry, "secrets": ["password"]},
            {"name": "spare", "credential_type": "Source Control", "secrets": ["ssh_key_data"]},
        ],
        "execution_environments": [{**SMALL["execution_environments"][0], "credential": "registry"}],
        "projects": [{**SMALL["projects"][0], "credential": "repository"}],
    }  # fmt: skip
    code, output = play(data=private)
    assert code == 0, output
    ours = {
        each["name"]: each for each in awx.tables["credentials"].values() if each["organization"] not in (None, other)
    }
    assert awx.row("projects", "repo")["credential"] == ours["repository"]["id"]
    assert awx.row("execution_environments", "runs")["credential"] == ours["registry"]["id"]
    assert re.findall(r"- '(\w+: \w+)'", output) == ["repository: password", "registry: password"]
    ours["spare"]["inputs"]["password"] = "entered"
    ours["registry"]["inputs"]["password"] = "entered"
    code, output = play(data=private)
    assert (code, awx.sent()) == (0, []), output
    assert "registry: password" not in output


def test_what_is_left_over_is_shown_first_and_removed_when_told_to(play, awx):
    assert play(data=SMALL)[0] == 0
    organization = awx.row("organizations", "Slipway")["id"]
    awx.insert("teams", name="Theirs", organization=organization, description="of somebody else")
    less = {kind: items for kind, items in SMALL.items() if kind not in ("job_templates", "grants", "projects")}
    code, output = play(data=less)
    assert (code, awx.sent()) == (0, [])
    assert "kept; -e awx_left_over=removed removes it" in output
    assert "grants Operators: execute job_templates Deploy" in output
    assert "Theirs" not in output

    code, output = play("--check", "-e", "awx_left_over=removed", data=less)
    assert (code, awx.sent()) == (0, []), output
    assert "3 removed" in output
    code, output = play("-e", "awx_left_over=removed", data=less)
    assert code == 0, output
    assert (awx.names("job_templates"), awx.names("projects"), awx.names("teams")) == (
        set(),
        set(),
        {"Operators", "Theirs"},
    )
    code, output = play("-e", "awx_left_over=gone", data=less)
    assert (code, awx.asked, "awx_left_over_invalid" in output) == (2, [], True)


def test_a_key_that_awx_refuses_is_not_repeated(play, awx, tmp_path):
    canary = Canary("key")
    (tmp_path / ".env").write_text(f"DEPLOY_KEY='{canary.plain}'\n")
    (tmp_path / ".env").chmod(0o600)
    secrets = {"credentials": {"machine": {"ssh_key_data": {"secret": "ssh/deploy"}}}}
    code, output = play("-vvv", data=SMALL, awx_secrets=secrets)
    assert code == 2
    assert "awx_refused" in output
    assert "a refusal that names ssh_key_data" in output
    assert [name for name, needle in canary.needles.items() if needle in output.encode()] == []
    assert awx.names("job_templates") == set(), "it goes on with what cannot work"


def test_without_an_awx_that_takes_the_token_nothing_is_sent(play, awx):
    for env, reason, secret in (
        ({}, "awx_address_missing", None),
        (
            {"CONTROLLER_HOST": "http://awx.example", "CONTROLLER_OAUTH_TOKEN": "canary-token"},
            "awx_address_insecure",
            "canary-token",
        ),
        ({"CONTROLLER_HOST": awx.url, "CONTROLLER_OAUTH_TOKEN": "canary-token"}, "awx_token_invalid", "canary-token"),
        (
            {"CONTROLLER_HOST": "http://127.0.0.1:9", "CONTROLLER_OAUTH_TOKEN": "canary-token"},
            "awx_unreachable",
            "canary-token",
        ),
    ):
        code, output = play(data=SMALL, env=env)
        assert (code, reason in output) == (2, True), output
        assert awx.sent() == []
        assert not secret or secret not in output


def test_a_collection_that_is_not_there_is_named(play, awx):
    code, output = play(data=SMALL, awx_collection="ansible.controller")
    assert (code, "awx_collection_missing: expected ansible.controller." in output, awx.asked) == (
        2,
        True,
        [],
    )


def test_the_successor_of_the_collection_does_the_same(play, awx, tmp_path):
    """The same modules under their other name, as their makers build them: the API has another path there."""
    source = next(
        Path(each) / "ansible_collections/awx/awx"
        for each in sys.path
        if (Path(each) / "ansible_collections/awx/awx").is_dir()
    )
    target = tmp_path / "collections/ansible_collections/ansible/controller"
    shutil.copytree(source, target)
    api = target / "plugins/module_utils/controller_api.py"
    text = api.read_text()
    assert text.count('_COLLECTION_TYPE = "awx"') == 1
    api.write_text(text.replace('_COLLECTION_TYPE = "awx"', '_COLLECTION_TYPE = "controller"'))
    for plugin in target.rglob("*.py"):
        plugin.write_text(plugin.read_text().replace("awx.awx.auth", "ansible.controller.auth"))
    platform = StandIn(repository.PLAYBOOKS, prefix="/api/controller/")
    env = {
        "CONTROLLER_HOST": platform.url,
        "CONTROLLER_OAUTH_TOKEN": platform.token,
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
    }
    only = {kind: SMALL[kind] for kind in ("organizations", "teams")}
    code, output = play(data=only, env=env, awx_collection="ansible.controller")
    platform.close()
    assert code == 0, output
    assert platform.names("teams") == {"Operators"}
