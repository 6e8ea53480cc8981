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
from ansible.module_utils.slipway.controller import awx_data
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.job_launch import KEY_VARIABLE
from jobs_stand_in import TOKEN, Template, running

SCRIPT = repository.ROOT / "ci/on-tag"
BIN = Path(sys.executable).parent
EXAMPLES = {
    "github.yml": ("--builtin-schema", "vendor.github-workflows"),
    "gitlab.yml": ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
}
# The script, which looks at a job more often than every five seconds.
HASTY = f"""import runpy, sys
main = runpy.run_path({str(SCRIPT)!r})["main"]
sys.modules["slipway.controller.job_launch"].POLL_SECONDS = 0.01
sys.exit(main())"""
CLEAN = {name: value for name, value in os.environ.items() if not re.match(r"CONTROLLER_|GITHUB_|CI_", name)}


def environment(awx, **changes):
    about = {
        "CONTROLLER_HOST": awx.url,
        "CONTROLLER_OAUTH_TOKEN": TOKEN,
        "GITHUB_RUN_ID": "12345",
        "GITHUB_RUN_ATTEMPT": "1",
    }
    return {**CLEAN, "PATH": f"{BIN}:{os.environ['PATH']}", **about, **changes}


def on_tag(awx, *words, script=("-c", HASTY), **changes):
    command = [sys.executable, *script, "--tag", "v1.2.3", *words]
    return subprocess.run(
        command, env=environment(awx, **changes), capture_output=True, text=True, check=False, timeout=120
    )


def test_a_template_is_launched_with_the_tag_and_followed(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with running(Template("deploy", statuses=("successful",), output=("PLAY",))) as awx:
        done = on_tag(
            awx, "--template", "deploy", "--variable", "reason=a b", script=[SCRIPT],
            CONTROLLER_OAUTH_TOKEN="", CONTROLLER_OAUTH_TOKEN_FILE=str(tmp_path / "token"),
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
        (["--template", "deploy", "--source", ".", "--store", "{{ x }}"], {}, 2, "braces in --store"),
        (["--template", "deploy", "--source", ".", "--state-directory", "{{ x }}"], {}, 2, "braces in --state-directory"),
        (["--template", "deploy", "--limit", "{{ x }}"], {}, 2, "found --limit"),
        ([], {}, 2, "nothing to do"),
        (["--template", ""], {}, 2, "argument --template: expected a text"),
        (["--template", "deploy", "--source", "", "--store", "/srv"], {}, 2, "argument --source: expected a text"),
        (["--template", "deploy", "--store", "/srv"], {}, 2, "expected --source with --store"),
        (["--template", "deploy", "--source", ".", "--store-host", "x"], {}, 2, "expected --store with --store-host"),
        (["--source", ".", "--limit", "prod"], {}, 2, "expected --template with --limit"),
        (["--template", "deploy", "--variable", "release_id=v9"], {}, 2, "release_id by --tag alone"),
        (["--template", "deploy", "--variable", "a=1", "--variable", "a=2"], {}, 2, "each --variable once"),
        (["--template", "deploy", "--deadline-seconds", "1"], {"CONTROLLER_HOST": "https://127.0.0.1:1"}, 6, "awx_unreachable"),
        (["--template", "deploy", "--deadline-seconds", "-5"], {}, 2, "expected a number of seconds from 1"),
        (["--template", "deploy", "--deadline-seconds", "0"], {}, 2, "expected a number of seconds from 1"),
        (["--mistake"], {}, 2, "unrecognized arguments"),
    ],
)  # fmt: skip
def test_the_exit_code_says_what_went_wrong(words, changes, code, said):
    with running(Template("deploy", statuses=("failed",), asks_limit=False)) as awx:
        done = on_tag(awx, *words, **changes)
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
        assert len(awx.jobs) == (code == 1)
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "changes", "code", "said"),
    [
        (["--template", "other"], {}, 4, "template_unknown"),
        (["--template", "deploy", "--kind", "workflow"], {}, 4, "template_unknown"),
        (["--template", "twice"], {}, 7, "template_ambiguous"),
        (["--template", "deploy", "--limit", "prod"], {}, 8, "limit is not taken"),
        (["--template", "asking"], {}, 8, "why is asked for"),
        (["--template", "deploy"], {"CONTROLLER_OAUTH_TOKEN": "wrong"}, 4, "awx_unauthenticated"),
        (["--template", "deploy", "--key", "used-before"], {}, 2, "launch_differs"),
        (["--template", "deploy", "--deadline-seconds", "1"], {"CONTROLLER_HOST": "https://127.0.0.1:1"}, 6, "awx_unreachable"),
    ],
)  # fmt: skip
def test_what_the_awx_would_refuse_is_refused_before_anything_is_made(tmp_path, words, changes, code, said):
    """Making is never reached: it would end with another code, as there is no trust policy, and leave its state's directory."""
    twice = (Template("twice"), Template("twice", organization="Other"))
    with running(Template("deploy", asks_limit=False), Template("asking", needed=("why",)), *twice) as awx:
        assert on_tag(awx, "--template", "deploy", "--key", "used-before", "--tag", "v1.2.2").returncode == 0
        about = ["--source", str(repository.ROOT / "examples/hello"), "--state-directory", str(tmp_path / "state")]
        done = on_tag(awx, *about, *words, **changes)
        assert (done.returncode, said in done.stderr) == (code, True), done.stdout + done.stderr
        assert ("release.yml" in done.stdout, len(awx.jobs)) == (False, 1)
    assert not (tmp_path / "state").exists()


RAW = awx_data.read(repository.ROOT / "awx")
DATA = awx_data.judged(RAW, root=repository.ROOT, settings={}, notifications=[], secrets={})
ASKED = {
    each.name: {question["variable"]: question for question in each.options["survey_spec"].get("spec", [])}
    for kind in ("job_templates", "workflow_job_templates")
    for each in DATA.of(kind)
}
LAUNCHED = sorted(name for name, asked in ASKED.items() if "release_id" in asked)
WORKFLOWS = {each.name for each in DATA.of("workflow_job_templates")}
WORKFLOW = "Release to prod"
YES = {"Deploy to prod?": "successful"}


def launched_at(awx, *words):
    """The script, at an AWX that has what awx/ has."""
    return on_tag(awx, *words, CONTROLLER_OAUTH_TOKEN=awx.token)


def needed(name):
    answers = {variable for variable, question in ASKED[name].items() if question["required"]} - {"release_id"}
    return [word for variable in sorted(answers) for word in ("--variable", f"{variable}=some/where")]


def test_whatever_asks_for_a_release_can_be_launched_by_a_pipeline():
    assert {*WORKFLOWS, "Make a release", "Deploy to staging", "Roll back prod"} <= set(LAUNCHED)
    assert [name for name in LAUNCHED if KEY_VARIABLE not in ASKED[name]] == []
    assert [name for name in LAUNCHED if ASKED[name][KEY_VARIABLE]["required"]] == []


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_template_of_awx_is_launched_once_with_the_tag_and_followed(awx, name):
    awx.load(DATA)
    awx.outcomes = YES
    done = launched_at(awx, "--template", name, "--organization", "Slipway", *needed(name))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    kind = "workflow_jobs" if name in WORKFLOWS else "jobs"
    (job,) = [each for each in awx.tables[kind].values() if each["name"] == name]
    given = json.loads(job["extra_vars"])
    assert (given["release_id"], given[KEY_VARIABLE]) == ("v1.2.3", "github-12345-1-v1.2.3")


@pytest.mark.parametrize("name", [WORKFLOW, "Deploy to staging"])
def test_what_was_launched_at_awx_with_the_same_key_is_followed(awx, name):
    awx.load(DATA)
    awx.outcomes = YES
    assert launched_at(awx, "--template", name, *needed(name)).returncode == 0
    before = len(awx.tables["jobs"])
    again = launched_at(awx, "--template", name, *needed(name))
    assert (again.returncode, len(awx.tables["jobs"])) == (0, before)
    assert again.stdout.startswith("launched before with the key github-12345-1-v1.2.3: ")


def test_a_template_that_a_workflow_ran_with_the_same_key_is_launched_all_the_same(awx):
    awx.load(DATA)
    awx.outcomes = YES
    assert launched_at(awx, "--template", WORKFLOW, *needed(WORKFLOW)).returncode == 0
    before = len(awx.tables["jobs"])
    assert launched_at(awx, "--template", "Deploy to staging").returncode == 0
    assert len(awx.tables["jobs"]) == before + 1


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({"Deploy to staging": "failed"}, "failed: Deploy to staging failed; what follows on that was successful: "),
        ({**YES, "Deploy to prod": "failed"}, "Deploy to prod failed"),
    ],
)
def test_a_deployment_that_was_taken_back_by_the_workflow_of_awx_has_failed(awx, outcomes, said):
    awx.load(DATA)
    awx.outcomes = outcomes
    done = launched_at(awx, "--template", WORKFLOW, "--kind", "workflow", *needed(WORKFLOW))
    (job,) = awx.tables["workflow_jobs"].values()
    assert (done.returncode, job["status"]) == (1, "successful"), done.stdout
    assert said in done.stdout.splitlines()[-1]


def test_a_template_that_is_sliced_is_followed_to_the_end_of_its_slices_and_takes_no_limit(awx):
    awx.load(DATA)
    awx.hosts, awx.outcomes = {"prod": ["prod-1", "prod-2"]}, {"Stage on prod": "failed"}
    done = launched_at(awx, "--template", "Stage on prod", "--limit", "prod-1")
    assert (done.returncode, "limit is not taken" in done.stderr, awx.tables["jobs"]) == (8, True, {})
    done = launched_at(awx, "--template", "Stage on prod")
    assert (done.returncode, len(awx.tables["jobs"])) == (1, 2), done.stdout
    assert done.stdout.count("  Stage on prod: failed") == 2
    again = launched_at(awx, "--template", "Stage on prod")
    assert again.stdout.startswith("launched before with the key github-12345-1-v1.2.3: ")


CALLS = {
    f"{name}, {number}": shlex.split(call.replace("\\\n", " "))
    for name in ("docs/howto/ci-cd.md", "examples/ci/github.yml", "examples/ci/gitlab.yml")
    for number, call in enumerate(
        re.findall(r"ci/on-tag ((?:--(?!help).*(?:\n +(?=--)|\\\n\s*)?)+)", (repository.ROOT / name).read_text(encoding="utf-8")), 1
    )
}  # fmt: skip


@pytest.mark.parametrize("place", CALLS)
def test_a_call_that_is_documented_launches_what_awx_has(awx, place):
    """Without what makes the release, which another test does."""
    awx.load(DATA)
    awx.outcomes = YES
    words, made = (
        CALLS[place],
        {"--tag", "--source", "--builder-key", "--state-directory", "--inventory", "--store", "--store-host"},
    )
    kept = [
        word
        for option, value in zip(words[::2], words[1::2], strict=True)
        if option not in made
        for word in (option, value)
    ]
    assert "--template" in kept
    done = launched_at(awx, *kept)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_every_page_and_example_documents_a_call():
    assert len(CALLS) >= 4


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
        again = on_tag(awx, "--template", "deploy")
        assert (again.returncode, len(awx.jobs), "launched before with the key" in again.stdout) == (0, 1, True)
        lost = on_tag(awx, *words, "--source", str(tmp_path / "nothing"), GITHUB_RUN_ATTEMPT="2")
        assert (lost.returncode, len(awx.jobs)) == (9, 1)
    assert (state / "catalogue/hello/manifests/v1.2.3.dsse.json").is_file()
    assert Catalogue(store).release_ids("hello") == ["v1.2.3"]  # so a store can be the catalogue that AWX's jobs have
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
    (call,) = re.findall(r"slipway/ci/on-tag ((?:--(?!help).*(?:\\\n)?\s*)+)", text)
    options = {word for word in shlex.split(call.replace("\\\n", " ")) if word.startswith("--")}
    told = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert {"--tag", "--template", "--source"} <= options
    assert {option for option in options if option not in told} == set()
    assert "TOKEN" not in call


def steps_of(name):
    """What an example runs, in its order, and all of its text."""
    text = (repository.ROOT / "examples/ci" / name).read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    if name == "github.yml":
        return [step.get("run", "") for step in data["jobs"]["release"]["steps"]], text
    job = data["release"]
    return [*job["before_script"], *job["script"], *job["after_script"]], text


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_puts_keys_where_only_its_job_finds_them_and_removes_them(name):
    steps, _text = steps_of(name)
    lines = [line for step in steps for line in step.splitlines()]
    made = [number for number, line in enumerate(lines) if re.search(r"(>|cp .*) \"\$work/", line)]
    assert len(made) >= 4
    assert lines.index(next(line for line in lines if line.startswith("umask 077"))) < made[0]
    assert any("mktemp -d" in line or '"/tmp/slipway-$CI_JOB_ID"' in line for line in lines[: made[0]])
    assert re.search(r"rm -rf .*slipway[.-]", lines[-1])
    (call,) = [line for line in lines if "--builder-key" in line]
    assert re.search(r"--builder-key \"\$(work|WORK)/keys/builder\.pem\"", call)
    assert "CI_BUILDS_DIR" not in "".join(lines)


def test_keys_of_gitlab_that_everybody_could_read_are_its_jobs_alone(tmp_path):
    """With the lines of the example. A runner's umask of 0 makes its files of variables open to all."""
    steps, _text = steps_of("gitlab.yml")
    kept = [step for step in steps if re.match(r"umask|work=|mkdir|install|cp |chmod|printf", step)]
    given = {}
    for variable in ("SLIPWAY_BUILDER_KEY", "SLIPWAY_STORE_SSH_KEY", "SLIPWAY_STORE_KNOWN_HOSTS"):
        path = tmp_path / variable
        path.write_text("x\n")
        path.chmod(0o666)
        given[variable] = str(path)
    script = "set -e; umask 0\n" + "\n".join(kept).replace("/tmp/", f"{tmp_path}/")
    env = {**CLEAN, **given, "CI_JOB_ID": "77", "SLIPWAY_TRUST_POLICY": "{}"}
    subprocess.run(["/bin/sh", "-c", script], env=env, check=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "slipway-77").rglob("*") if path.is_file()}
    assert modes == {"builder.pem": 0o600, "store_ssh": 0o600, "known_hosts": 0o600, "trust-policy.dsse.json": 0o600}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_reaches_the_host_of_the_store_and_knows_it(name):
    steps, _text = steps_of(name)
    (step,) = [step for step in steps if "ANSIBLE_PRIVATE_KEY_FILE=" in step]
    assert re.search(r'ANSIBLE_PRIVATE_KEY_FILE="\$\w+/keys/store_ssh"', step)
    assert re.search(r'ANSIBLE_SSH_COMMON_ARGS="-o UserKnownHostsFile=\$\w+/known_hosts"', step)
    assert "StrictHostKeyChecking" not in "".join(steps)


@pytest.mark.parametrize(
    ("name", "pinned", "credential"),
    [
        (
            "github.yml",
            r"repository: example/slipway\n +ref: [0-9a-f]{40}\n",
            "token: ${{ secrets.SLIPWAY_CHECKOUT_TOKEN",
        ),
        ("gitlab.yml", r"example/slipway\.git\" [0-9a-f]{40}\n", "password=$CI_JOB_TOKEN"),
    ],
)
def test_an_example_takes_slipway_by_a_commit_and_with_a_token(name, pinned, credential):
    _steps, text = steps_of(name)
    assert re.search(pinned, text)
    assert credential in text
    assert not re.search(r"CI_JOB_TOKEN.*@", text)  # in an address it would be in the list of processes


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_names_what_an_example_needs(name):
    _steps, text = steps_of(name)
    page = (repository.ROOT / "docs/howto/ci-cd.md").read_text(encoding="utf-8").partition("## What you need")[2]
    needed = set(re.findall(r"\b(?:SLIPWAY|CONTROLLER)_[A-Z_]+", text))
    assert {"SLIPWAY_STORE_SSH_KEY", "SLIPWAY_STORE_KNOWN_HOSTS", "SLIPWAY_BUILDER_KEY"} <= needed
    assert [each for each in sorted(needed) if f"`{each}`" not in page] == []


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
