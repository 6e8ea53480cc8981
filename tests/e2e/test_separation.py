# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose key is needed where: people and the builder sign on machines of their own, and no private key of theirs travels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from deployments import Application, Operator

PROD = ("prod-1", "prod-2", "prod-3")
PEOPLE = ("root-1", "root-2", "root-3", "builder", "lead", "risk")
# What a controller has that deploys: a trust policy, and a catalogue with what was signed elsewhere.
GIVEN = ("trust", "catalogue")


@pytest.fixture(scope="module")
def application(operator: Operator) -> Application:
    return operator.application("separation")


@pytest.fixture(scope="module")
def controller(operator: Operator, application: Application, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Return a controller that was given release s1, approved elsewhere, and that never had a key of anybody."""
    application.make("s1", approved=False)
    state = tmp_path_factory.mktemp("deploying-controller")
    for name in GIVEN:
        shutil.copytree(operator.state / name, state / name)
    return replace(operator, state=state)


def private_parts(state: Path) -> dict[str, bytes]:
    """The line of each person's and the builder's PEM that is the key itself."""
    return {name: (state / f"keys/{name}.pem").read_bytes().splitlines()[1] for name in PEOPLE}


def test_a_controller_with_public_keys_alone_deploys_what_was_approved_elsewhere(
    operator: Operator, controller: Operator, application: Application
) -> None:
    there = replace(application, operator=controller)
    there.describe()
    assert there.deploy("s1", limit="prod", code=2).says(
        "approval_missing", "make approve RELEASE_ID=s1 ENVIRONMENT=prod"
    )
    for role, key in (("engineering-lead", "lead"), ("risk-manager", "risk")):
        # On the approver's machine: the manifest, the policy, the key.
        sent = operator.state / f"{key}.json"
        operator.play(
            "playbooks/approve.yml", "-i", "localhost,", "-e", f"approval_environment=prod approval_role={role} approval_confirmed=yes",
            "-e", f"approval_key={operator.state}/keys/{key}.pem approval_output={sent}",
            "-e", f"approval_manifest={operator.catalogue}/{application.name}/manifests/s1.dsse.json",
        )  # fmt: skip
        controller.play("playbooks/approval_add.yml", "-i", "localhost,", "-e", f"approval_file={sent}")
    there.deploy("s1", limit="prod")
    assert there.actives(*PROD) == ["s1"] * 3
    for host in PROD:
        newest = there.history(host)[0]
        assert sorted((each["role"], each["holder"]) for each in newest["approvals"]) == [
            ("engineering-lead", "lead"), ("risk-manager", "risk"),
        ]  # fmt: skip
    keys = sorted(path.name for path in controller.state.rglob("*.pem"))
    assert set(keys) <= {"witness.pem"}


def test_no_private_key_of_a_person_or_of_the_builder_reaches_a_host_or_the_controller(
    operator: Operator, controller: Operator, application: Application
) -> None:
    assert application.actives(*PROD) == ["s1"] * 3
    secrets = private_parts(operator.state)
    assert len(set(secrets.values())) == len(PEOPLE)
    kept = {path: path.read_bytes() for path in controller.state.rglob("*") if path.is_file()}
    assert kept
    assert [(path, name) for path, data in kept.items() for name, secret in secrets.items() if secret in data] == []
    patterns = "\n".join(secret.decode() for secret in secrets.values())
    places = "/etc /srv /var /usr/lib/slipway /usr/local /root /home /tmp /run"
    for host in operator.fleet.names():
        search = f"cat > /tmp/.patterns <<'END'\n{patterns}\nEND\ngrep -rlsaF -D skip -f /tmp/.patterns {places} --exclude=.patterns; rm /tmp/.patterns"
        found = operator.fleet.inside(host, search, check=False).stdout.split()
        assert found == [], host
        # The search finds what is there: a key of the host's own would be found by its own line.
        planted = f"mkdir -p /var/tmp/planted && echo 'x {secrets['lead'].decode()}' > /var/tmp/planted/key"
        operator.fleet.inside(host, planted)
        assert operator.fleet.inside(host, search, check=False).stdout.split() == ["/var/tmp/planted/key"]
        operator.fleet.inside(host, "rm -r /var/tmp/planted")


def test_names_of_holders_are_shown_and_are_on_no_host(controller: Operator, application: Application) -> None:
    there = replace(application, operator=controller)
    words = there.words("playbooks/status.yml", "prod", ["-e", "release_status_format=full"])
    people = {"lead": {"name": "Ada Sample", "email": "ada@people.example"}}
    done = controller.play(*words, "-e", json.dumps({"trust_holders": people}))
    assert done.says("approvals", "Ada Sample <ada@people.example>, engineering-lead; risk, risk-manager")
    erased = controller.play(*words, "-e", '{"trust_holders": {}}')
    assert erased.says("approvals", "lead, engineering-lead; risk, risk-manager")
    for host in PROD:
        search = "grep -rlsa -e people.example -e 'slipway.example' /etc/slipway /var/lib/slipway; true"
        assert controller.fleet.inside(host, search).stdout == ""
