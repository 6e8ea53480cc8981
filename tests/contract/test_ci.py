# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pipeline runs on a tag: the script as a command, and the examples that call it."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import repository
import yaml
from jobs_stand_in import TOKEN, Template, running

SCRIPT = repository.ROOT / "ci/on-tag"
BIN = Path(sys.executable).parent
EXAMPLES = {
    "github.yml": ("--builtin-schema", "vendor.github-workflows"),
    "gitlab.yml": ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
}
CLEAN = {name: value for name, value in os.environ.items() if not re.match(r"CONTROLLER_|GITHUB_|CI_", name)}


def environment(awx, **changes):
    about = {
        "CONTROLLER_HOST": awx.url,
        "CONTROLLER_OAUTH_TOKEN": TOKEN,
        "GITHUB_RUN_ID": "12345",
        "GITHUB_RUN_ATTEMPT": "1",
    }
    return {**CLEAN, "PATH": f"{BIN}:{os.environ['PATH']}", **about, **changes}


def on_tag(awx, *words, **changes):
    command = [sys.executable, SCRIPT, "--tag", "v1.2.3", *words]
    return subprocess.run(
        command, env=environment(awx, **changes), capture_output=True, text=True, check=False, timeout=120
    )


def test_a_template_is_launched_with_the_tag_and_followed(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with running(Template("deploy", statuses=("successful",), output=("PLAY",))) as awx:
        done = on_tag(
            awx, "--template", "deploy", "--variable", "reason=a b", CONTROLLER_OAUTH_TOKEN="", CONTROLLER_OAUTH_TOKEN_FILE=str(tmp_path / "token")
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f"| PLAY\njob 100: successful\nsuccessful: {awx.url}/#/jobs/playbook/100/output\n")
        assert json.loads(awx.jobs[0]["extra_vars"]) == {
            "release_id": "v1.2.3", "reason": "a b", "slipway_launch_key": "github-12345-1-v1.2.3",
        }  # fmt: skip
    assert TOKEN not in done.stdout


@pytest.mark.parametrize(
    ("words", "changes", "code", "said"),
    [
        (["--template", "other"], {}, 4, "template_unknown"),
        (["--template", "deploy"], {}, 1, "failed: "),
        (["--template", "deploy", "--limit", "prod"], {}, 8, "prompts_not_allowed"),
        (["--template", "deploy"], {"CONTROLLER_OAUTH_TOKEN": "wrong"}, 4, "awx_unauthenticated"),
        (["--template", "deploy"], {"CONTROLLER_OAUTH_TOKEN": ""}, 4, "awx_token_missing"),
        (["--template", "deploy"], {"CONTROLLER_OAUTH_TOKEN_FILE": "/nowhere/token"}, 2, "FileNotFoundError"),
        (["--template", "deploy"], {"CONTROLLER_HOST": "http://awx.example"}, 4, "awx_address_invalid"),
        (["--template", "deploy"], {"GITHUB_RUN_ID": ""}, 2, "expected a key"),
        (["--template", "deploy", "--variable", "x"], {}, 2, "--variable NAME=VALUE"),
        (["--template", "deploy", "--tag", "v1/{{ x }}"], {}, 2, "--tag to name a release"),
        (["--template", "deploy", "--store", "{{ x }}"], {}, 2, "as they are"),
        (["--template", "deploy", "--deadline-seconds", "1"], {"CONTROLLER_HOST": "https://127.0.0.1:1"}, 6, "awx_unreachable"),
        (["--mistake"], {}, 2, "unrecognized arguments"),
    ],
)  # fmt: skip
def test_the_exit_code_says_what_went_wrong(words, changes, code, said):
    with running(Template("deploy", statuses=("failed",), asks_limit=False)) as awx:
        done = on_tag(awx, *words, **changes)
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
        assert len(awx.jobs) == (code == 1)
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(("when", "canceled"), [("leave", []), ("cancel", [100])])
def test_a_signal_leaves_the_job_unless_it_is_to_be_cancelled(when, canceled):
    with running(Template("deploy", statuses=("running",))) as awx:
        command = [sys.executable, SCRIPT, "--tag", "v1", "--template", "deploy", "--when-stopped", when]
        with subprocess.Popen(command, env=environment(awx), stdout=subprocess.PIPE, text=True) as process:
            lines = iter(process.stdout.readline, "")
            assert any(line == "job 100: running\n" for line in lines)
            process.send_signal(signal.SIGTERM)
            last = process.stdout.read()
        assert (process.returncode, awx.canceled) == (143, canceled)
    assert ("the job goes on" in last) is (when == "leave")


def test_on_a_tag_a_release_is_made_signed_published_and_deployed(tmp_path):
    """With the real playbooks. None of them gets the token."""
    state, store = tmp_path / "state", tmp_path / "store"
    about = ["-e", f"slipway_state_directory={state}"]
    env = {
        **CLEAN,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"),
    }
    subprocess.run(
        [BIN / "ansible-playbook", "-i", "localhost,", "playbooks/keys.yml", *about],
        cwd=repository.ROOT,
        env=env,
        check=True,
        capture_output=True,
    )
    words = [
        "--source",
        str(repository.ROOT / "examples/hello"),
        "--state-directory",
        str(state),
        "--store",
        str(store),
        "--template",
        "deploy",
    ]
    seen, program = tmp_path / "environment", tmp_path / "bin/ansible-playbook"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nenv >> {seen}\nexec {BIN}/ansible-playbook "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{BIN}:{os.environ['PATH']}"
    with running(Template("deploy", statuses=("successful",))) as awx:
        done = on_tag(awx, *words, PATH=path)
        assert done.returncode == 0, done.stdout + done.stderr
        again = on_tag(awx, *words, "--store", "")
        assert (again.returncode, len(awx.jobs), "launched before with the key" in again.stdout) == (0, 1, True)
        lost = on_tag(awx, *words, "--source", str(tmp_path / "nothing"), GITHUB_RUN_ATTEMPT="2")
        assert (lost.returncode, len(awx.jobs)) == (9, 1)
    assert (state / "catalogue/hello/manifests/v1.2.3.dsse.json").is_file()
    assert list(store.rglob("v1.2.3*"))
    assert TOKEN not in done.stdout + done.stderr + seen.read_text()


def test_the_exit_codes_are_those_that_are_documented():
    told = ast.get_docstring(ast.parse(SCRIPT.read_text(encoding="utf-8")))
    page = (repository.ROOT / "docs/howto/ci-cd.md").read_text(encoding="utf-8")
    codes = re.findall(r"(?:^|; |: )(\d+) ", told.replace("\n", " ").partition("Exit codes")[2])
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == codes
    assert len(codes) == 11


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_keeps_to_the_schema_of_its_ci(name):
    command = [BIN / "check-jsonschema", *EXAMPLES[name], repository.ROOT / "examples/ci" / name]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_calls_the_script_with_options_that_it_has(name):
    text = (repository.ROOT / "examples/ci" / name).read_text(encoding="utf-8")
    (call,) = re.findall(r"slipway/ci/on-tag ((?:--.*(?:\\\n)?\s*)+)", text)
    options = {word for word in shlex.split(call.replace("\\\n", " ")) if word.startswith("--")}
    told = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert {"--tag", "--template", "--source"} <= options
    assert {option for option in options if option not in told} == set()
    assert "TOKEN" not in call


def test_the_example_for_github_pins_actions_and_has_the_least_permissions():
    text = (repository.ROOT / "examples/ci/github.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each)] == []
    assert (workflow["permissions"], job["permissions"]) == ({}, {"contents": "read"})
    assert not workflow["concurrency"]["cancel-in-progress"]
    runs = "".join(step.get("run", "") for step in job["steps"])
    assert "${{" not in runs  # what somebody names a tag is no part of a script
    assert all(step["with"]["persist-credentials"] is False for step in job["steps"] if "with" in step)
