# SPDX-License-Identifier: GPL-3.0-or-later
"""The make targets, literally: from the audit to the way back, with evidence that anyone can check."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import Application, Done, Operator, until

PROD = ("prod-1", "prod-2", "prod-3")
SEED_RECORD = {
    "release_id", "environment", "timestamp", "status", "artifacts", "rollback", "smoke_test_passed", "deployed_by",
}  # fmt: skip


@dataclass
class Pipeline:
    """An operator who types make, for the example under another name and from a checkout of its own."""

    application: Application
    source: Path

    @property
    def operator(self) -> Operator:
        return self.application.operator

    @property
    def directory(self) -> Path:
        """Where audits and the pages of releases are."""
        return self.operator.state / "release"

    @property
    def options(self) -> str:
        state = self.operator.state
        return f"-e @{self.application.variables} -e slipway_state_directory={state} -e slipway_release_directory={self.directory}"

    def command(self, *words: str) -> list[str]:
        return ["make", "--no-print-directory", *words, f"OPTIONS={self.options}", f"SOURCE={self.source}"]

    def environment(self) -> dict[str, str]:
        """An operator's, without the flags of the make that runs the tests."""
        given = self.operator.fleet.environment()
        return {name: value for name, value in given.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}

    def make(self, *words: str, code: int = 0) -> Done:
        """Run make without a terminal."""
        done = subprocess.run(
            self.command(*words), cwd=self.operator.fleet.clone.root, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return Done(done.returncode, done.stdout)

    def json(self, *words: str) -> Any:
        """What make prints on standard output, all of which is JSON."""
        done = subprocess.run(
            self.command(*words, "FORMAT=json"), cwd=self.operator.fleet.clone.root, env=self.environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    def typed(self, answer: str, *words: str) -> Done:
        """Run make at a terminal and type an answer as soon as it asks."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            self.command(*words), cwd=self.operator.fleet.clone.root, env=self.environment(),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(master, False)
        said = bytearray()

        def heard() -> bool:
            with contextlib.suppress(OSError):  # nothing to read now, or nobody there any more
                said.extend(os.read(master, 65536))
            return b"Type 'yes' to go on" in said

        until(heard, "the question")
        os.write(master, f"{answer}\n".encode())
        until(lambda: heard() and process.poll() is not None, "the end of make", 180)
        heard()
        os.close(master)
        return Done(process.returncode, said.decode())

    def approve(self, release_id: str) -> None:
        """Have both who must approve the release for prod, one of whom sends it from elsewhere."""
        keys, sent = self.operator.state / "keys", self.operator.state / f"{release_id}.json"
        sign = ("approve", "ENVIRONMENT=prod", "CONFIRM=yes")
        self.make(*sign, f"RELEASE_ID={release_id}", "ROLE=engineering-lead", f"KEY={keys}/lead.pem")
        manifest = self.operator.catalogue / self.application.name / "manifests" / f"{release_id}.dsse.json"
        self.make(*sign, f"MANIFEST={manifest}", "ROLE=risk-manager", f"KEY={keys}/risk.pem", f"OUTPUT={sent}")
        self.make("approval-add", f"FILE={sent}")

    def page(self, release_id: str) -> dict[str, Any]:
        return dict(yaml.safe_load((self.directory / "manifests" / f"{release_id}.yaml").read_text()))

    def releases(self) -> list[str]:
        """The ids of the releases in the catalogue."""
        manifests = self.operator.catalogue / self.application.name / "manifests"
        return sorted(path.name.removesuffix(".dsse.json") for path in manifests.glob("*.dsse.json"))


@pytest.fixture(scope="module")
def pipeline(operator: Operator) -> Pipeline:
    """Return a pipeline whose first release, p1, is deployed; so the second has something to go back to."""
    fleet = operator.fleet
    application = operator.application("pipeline", files=None)
    source = operator.state / "sources" / "pipeline"
    source.parent.mkdir(exist_ok=True)
    fleet.command("cp", "-r", str(fleet.clone.root / "examples" / "hello"), str(source))
    descriptor = source / "slipway.yml"
    descriptor.write_text(descriptor.read_text().replace("application: hello", f"application: {application.name}"))
    (source / ".gitignore").write_text("__pycache__/\n")
    git = ["git", "-C", str(source), "-c", "user.name=ci", "-c", "user.email=ci@example.org"]
    for words in (["init", "-q", "-b", "release/v1"], ["add", "-A"], ["commit", "-q", "-m", "One"], ["tag", "v1.0.0"]):
        fleet.command(*git, *words)
    operator.play("playbooks/release.yml", "-e", f"release_source={source}", "-e", "release_id=p1")
    pipeline = Pipeline(application, source)
    assert pipeline.make("deploy-prod", "RELEASE_ID=p1", "CONFIRM=yes", code=2).says("approval_missing")
    pipeline.approve("p1")
    done = pipeline.make("deploy-prod", "RELEASE_ID=p1", "CONFIRM=yes")
    assert application.actives(*PROD) == ["p1"] * 3, done.output
    return pipeline


@pytest.fixture(scope="module")
def second(pipeline: Pipeline) -> Done:
    """Return what the whole pipeline says while it brings p2 to prod, once it is approved."""
    words = ("RELEASE_ID=p2", "TYPE=hotfix", "BUILD_ID=build_12345", "TICKETS=SHOP-1 SHOP-2", "CONFIRM=yes")
    waiting = pipeline.make("release-deploy", *words, code=2)
    assert pipeline.application.actives(*PROD) == ["p1"] * 3
    pipeline.approve("p2")
    done = pipeline.make("deploy-prod", "RELEASE_ID=p2", "CONFIRM=yes")
    return Done(done.code, waiting.output + done.output)


@pytest.mark.parametrize("target", ["release-deploy", "release-rollback", "deploy-prod", "rollback"])
def test_without_a_terminal_and_a_yes_nothing_is_begun(pipeline: Pipeline, target: str) -> None:
    before = sorted(pipeline.directory.rglob("*"))
    done = pipeline.make(target, code=2)
    assert done.says("expected CONFIRM=yes", "nothing was done")
    assert "TASK" not in done.output
    assert sorted(pipeline.directory.rglob("*")) == before


def test_a_deployment_to_staging_reaches_no_host_of_prod(pipeline: Pipeline) -> None:
    before = pipeline.application.snapshot(*PROD)
    assert pipeline.make("deploy-staging", "LIMIT=prod-1", code=2).says(
        "environment_not_meant", "expected hosts of staging"
    )
    assert pipeline.application.snapshot(*PROD) == before


def test_at_a_terminal_anything_but_yes_does_nothing(pipeline: Pipeline) -> None:
    before = pipeline.application.snapshot(*PROD)
    done = pipeline.typed("y", "release-rollback")
    assert done.code == 2
    assert done.says("takes prod back", "Not confirmed: nothing was done")
    assert pipeline.application.snapshot(*PROD) == before


def test_the_steps_come_in_order_and_the_end_says_what_to_watch_and_how_to_go_back(
    pipeline: Pipeline, second: Done
) -> None:
    assert second.says(
        "PLAY [Audit a source]", "PLAY [Validate a source]", "deploy of e2e-pipeline candidate", "check mode: nothing was changed",
        "PLAY [Make a release]", "approval_missing", "make approve RELEASE_ID=p2 ENVIRONMENT=prod ROLE=engineering-lead",
        "Then: make deploy-prod RELEASE_ID=p2", "deploying p2 on prod-1", "deploy of e2e-pipeline p2: done", "watch: until", "review: ", "playbooks/status.yml", "next: ansible-playbook rollback.yml",
    )  # fmt: skip
    assert pipeline.application.actives(*PROD) == ["p2"] * 3


def test_the_page_of_a_release_has_what_was_signed_and_what_was_recorded(pipeline: Pipeline, second: Done) -> None:
    assert second.code == 0
    page = pipeline.page("p2")
    assert page["release_type"] == "hotfix"
    assert set(page["artifacts"]) == {"configs", "programs"}
    for artifact in (each for kind in page["artifacts"].values() for each in kind):
        there = hashlib.sha256((pipeline.source / artifact["path"]).read_bytes()).hexdigest()
        assert artifact["hash"] == f"sha256:{there}"
    assert page["deployment"]["environment"] == "prod"
    assert page["rollback_plan"]["previous_release_id"] == "p1"
    assert page["rollback_plan"]["verification_steps"]
    assert (page["monitoring"]["heightened_period_hours"], page["monitoring"]["alert_frequency_hours"]) == (48, 2)
    assert page["monitoring"]["heightened_start"] < page["monitoring"]["heightened_end"]
    commit = subprocess.run(
        ["git", "-C", str(pipeline.source), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert page["metadata"] == {
        "git_commit": commit.stdout.strip(), "git_branch": "release/v1", "git_tag": "v1.0.0", "build_id": "build_12345",
        "tickets": ["SHOP-1", "SHOP-2"],
    }  # fmt: skip
    assert set(page["hosts"]) == set(PROD)
    assert [(each["role"], each["holder"]) for each in page["approvals"]] == [
        ("engineering-lead", "lead"), ("risk-manager", "risk"),
    ]  # fmt: skip


def test_the_audit_bundle_is_the_one_that_was_signed(pipeline: Pipeline, second: Done) -> None:
    assert second.code == 0
    page = pipeline.page("p2")
    bundle = pipeline.directory / page["audit_bundle"]["name"]
    for name, key in (("audit.json", "hash"), ("validation.json", "validation_hash")):
        assert page["audit_bundle"][key] == f"sha256:{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}"
    assert page["audit_bundle"]["validation"] == "passed"
    audit = json.loads((bundle / "audit.json").read_bytes())
    assert [test["result"] for test in audit["tests"]] == ["passed"] * len(audit["tests"])
    assert audit["tests"]


def test_the_story_names_everything(pipeline: Pipeline, second: Done) -> None:
    assert second.code == 0
    story = pipeline.make("release-status")
    assert story.says(
        "p2 on prod-1, prod-2, prod-3 (prod)",
        "hotfix",
        "build build_12345",
        "for SHOP-1, SHOP-2",
        "audit_",
        "validation passed",
    )
    assert story.says("watch", "left", "way back to p1: ansible-playbook rollback.yml -l prod-1,prod-2,prod-3")


def test_the_newest_deployments_are_shown_newest_first_and_as_json(pipeline: Pipeline, second: Done) -> None:
    assert second.code == 0
    runs = pipeline.json("deploy-status")
    assert [run["release_id"] for run in runs] == ["p2", "p1"]
    assert all(set(run) >= SEED_RECORD for run in runs)
    assert pipeline.make("deploy-status").says("p2", "p1")


def test_the_plan_of_the_page_takes_prod_back_and_is_verified(pipeline: Pipeline, second: Done) -> None:
    assert second.code == 0
    (command,) = pipeline.page("p2")["rollback_plan"]["restore_commands"]
    done = pipeline.operator.start(*shlex.split(f"{command} {pipeline.options}")[1:]).end()
    assert done.says("rollback of e2e-pipeline to p1: done")
    assert pipeline.application.actives(*PROD) == ["p1"] * 3
    for host in PROD:
        (newest, *_older) = pipeline.application.history(host)
        assert newest["verification"]
        assert all(step["passed"] for step in newest["verification"])
    page = pipeline.page("p2")
    assert (page["hosts"]["prod-1"]["rollback"]["release_id"], page["rollback_plan"]["restore_commands"]) == ("p1", [])
    assert page["deployment"]["environment"] == "prod"
    newest = pipeline.json("deploy-status")[0]
    assert (newest["rollback"], newest["rollback_verified"]) == (True, True)


def test_a_candidate_is_never_deployed_for_real(pipeline: Pipeline, second: Done) -> None:
    assert second.says("next: make the release")
    # A candidate of now: the one of before is older than what was deployed since, which is refused before anything else.
    audit = pipeline.directory / "audit_again"
    shutil.copytree(pipeline.directory / pipeline.page("p2")["audit_bundle"]["name"], audit)
    pipeline.operator.play(
        "playbooks/validate.yml",
        "-e",
        f"release_source={pipeline.source} release_audit={audit}",
        *shlex.split(pipeline.options),
    )
    before = pipeline.application.snapshot(*PROD)
    candidate = f"release_catalogue={pipeline.operator.state}/candidate"
    done = pipeline.operator.start("deploy.yml", "-l", "prod", "-e", candidate, *shlex.split(pipeline.options)).end(2)
    assert done.says("release_is_candidate", "make release-manifest")
    assert pipeline.application.snapshot(*PROD) == before


def test_a_yes_at_the_terminal_goes_on(pipeline: Pipeline, second: Done) -> None:
    assert second.code == 0
    done = pipeline.typed("yes", "deploy-prod", "RELEASE_ID=p1")
    assert done.code == 0, done.output
    assert done.says("deploy of e2e-pipeline p1: done", "unchanged")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"promotion.yml": lambda text: text.replace(", by: j.doe, at: 2026-11-20", "")}, "checklist_incomplete: "),
        ({"config.json": lambda text: text.replace('"port": 8080', '"port": 99999')}, "members_invalid: "),
    ],
    ids=["a checklist that is not complete", "a configuration that is not valid"],
)
def test_the_pipeline_stops_at_the_first_step_that_fails(
    pipeline: Pipeline, second: Done, change: dict[str, Any], reason: str
) -> None:
    assert second.code == 0
    before, releases = pipeline.application.snapshot(*PROD), pipeline.releases()
    ((name, altered),) = change.items()
    path = pipeline.source / name
    original = path.read_text()
    path.write_text(altered(original))
    try:
        done = pipeline.make("release-deploy", "RELEASE_ID=p3", "CONFIRM=yes", code=2)
    finally:
        path.write_text(original)
    assert original != altered(original)
    assert done.says(reason)
    assert pipeline.releases() == releases
    assert pipeline.application.snapshot(*PROD) == before
