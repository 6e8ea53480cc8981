# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to rotations, and the report that settles them: an encrypted store, from the old version to the new one and back."""

from __future__ import annotations

import json
import os

import doors
import plugins
import pytest
import signed
from ansible.module_utils.slipway import _secrets
from ansible.module_utils.slipway._secrets import ROTATING
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller.memory import ControllerState, KnownHost
from safes import CANARY

MODULE = "slipway_secret_rotation"
FIELDS = {"host": "db-1", "username": "shop", "password": CANARY, "database": "shop"}
CREDENTIALS = {"database_password": {"secret": "database/main", "field": "password"}}
KEPT = {"outcome": "confirmed", "active_release_id": "v1"}
BACK = {"outcome": "reverted", "active_release_id": "v1", "failed": True, "msg": "health_failed: no answer"}


class House:
    """A store with a secret that two hosts get; ``begin`` and ``report`` are the two ends of a run."""

    def __init__(self, safehouse, site, tmp_path):
        self.safehouse, self.site, self.directory = safehouse, site, tmp_path
        self.policy = tmp_path / "trust-policy.dsse.json"
        self.policy.write_bytes(signed.policy_envelope())
        site.build("v1", {"bin/shop": b"one"})
        site.deploy("v1")
        self.answer = site.witnessed()
        self.memory = ControllerState(tmp_path / "state")
        safehouse.variables |= {
            "slipway_environment": "prod",
            "groups": {"all": ["prod-1", "prod-2", "gone"]},
            "secrets_rotation": {"database/main": {"max_age_days": 30}},
        }
        safehouse.ask("slipway_secret_store")
        safehouse.ask("slipway_secret", name="database/main", fields=FIELDS)

    def begin(self, check=False, **about):
        given = {
            "application": "shop", "description": self.site.description, "credentials": CREDENTIALS, "names": ["database/main"],
            "answers": {"prod-1": self.answer, "prod-2": self.answer}, "catalogue": self.site.catalogue.root, "trust_policy": self.policy, **about,
        }  # fmt: skip
        return self.safehouse.ask(MODULE, check=check, **given)

    def report(self, begun, results, check=False):
        run = {"run_id": self.run()}
        return plugins.run(
            "slipway_run_report", check=check, task_vars=self.safehouse.variables, state_directory=str(self.directory / "state"),
            catalogue=str(self.directory / "catalogue"), view_directory=str(self.directory / "pages"), application="shop", run=run, title="deploy of shop v1",
            results=results, rotation=begun,
        )  # fmt: skip

    def run(self):
        return self.memory.begin_run(
            operation="deploy", application="shop", environment="prod", deployed_by="ann", now=1, process=Process.of(os.getpid())
        )  # fmt: skip

    def password(self, rotating=()):
        variables = {**self.safehouse.variables, ROTATING: dict(rotating)}
        output = self.directory / "value"
        plugins.run(
            "slipway_secret",
            task_vars=variables,
            name="database/main",
            field="password",
            state="exported",
            output=str(output),
        )
        return output.read_text()


@pytest.fixture
def house(safehouse, site, tmp_path, monkeypatch):
    """On the day of the site's releases."""
    monkeypatch.setattr("ansible.module_utils.slipway.base.clock.time.time", lambda: float(site.host.clock.now()))
    return House(safehouse, site, tmp_path)


def test_a_run_begins_with_a_version_of_its_own_and_ends_with_one_for_everybody(house):
    begun = house.begin()
    assert (begun["changed"], begun["is_idle"], begun["release_id"], begun["names"]) == (
        True,
        False,
        "v1",
        ["database/main"],
    )
    assert {name: each["version"] for name, each in begun["rotating"].items()} == {"database/main": "2"}
    new = house.password(begun["rotating"])
    assert new not in (CANARY, "")
    assert house.password() == CANARY
    answer = house.report(begun, {"confirmation": {"prod-1": KEPT, "prod-2": KEPT}})
    assert answer["as_asked"] is True
    assert "database/main: every host has version 2; version 1 is deleted" in answer["msg"]
    assert house.password() == new
    assert new not in json.dumps([begun, answer])
    assert doors.undocumented(MODULE, begun) == set()


def test_a_run_that_went_back_leaves_what_was(house):
    begun = house.begin()
    answer = house.report(begun, {"activation": {"prod-1": BACK, "prod-2": BACK}})
    assert (answer["as_asked"], answer["failed"]) == (False, True)
    assert "database/main: every host reads version 1, as before; the new one is gone" in answer["msg"]
    assert house.password() == CANARY


def test_a_run_in_which_something_is_left_to_do_fails_although_every_host_did_well(house, monkeypatch):
    begun = house.begin()
    house.safehouse.ask("slipway_secret", name="database/main", fields={**FIELDS, "password": "by hand"})
    answer = house.report(begun, {"confirmation": {"prod-1": KEPT, "prod-2": KEPT}})
    assert (answer["as_asked"], answer["failed"]) == (False, True)
    assert "database/main: proven, and then secret_overtaken" in answer["msg"]
    assert house.password() == "by hand"


def test_a_run_whose_rotation_cannot_be_settled_tells_all_the_same_how_its_hosts_ended(house):
    begun = house.begin()
    (record,) = (house.directory / "state/rotations/prod").glob("*.json")
    record.write_text("altered")
    answer = house.report(begun, {"confirmation": {"prod-1": KEPT}})
    assert (answer["as_asked"], answer["hosts"]) == (False, {"prod-1": {"outcome": "confirmed", "serves": "v1"}})
    assert "database/main: not settled: rotation_record_altered" in answer["msg"]


def test_check_mode_makes_and_settles_nothing(house):
    before = house.safehouse.store.read_bytes()
    begun = house.begin(check=True)
    assert (begun["is_idle"], begun["rotating"], begun["names"]) == (True, {}, ["database/main"])
    assert "would be rotated" in begun["msg"]
    house.report(house.begin(), {"confirmation": {"prod-1": KEPT}}, check=True)
    assert house.password() == CANARY
    assert house.safehouse.store.read_bytes() != before  # the candidate of the second begin


def test_nothing_is_due_of_what_is_new(house):
    begun = house.begin(names=[], answers={})
    assert (begun["changed"], begun["is_idle"], begun["names"], begun["msg"]) == (False, True, [], "no secret is due")
    assert doors.undocumented(MODULE, begun) == set()


def test_what_is_open_can_be_taken_back(house):
    house.begin()
    begun = house.begin(state="taken_back")
    assert (begun["is_idle"], begun["rotating"], begun["names"]) == (False, {}, ["database/main"])
    house.report(begun, {"staging": {"prod-1": {**KEPT, "outcome": "unchanged"}}})
    nothing = house.begin(state="taken_back")
    assert (nothing["is_idle"], nothing["names"]) == (True, [])


def test_another_controller_is_refused_until_it_is_told_that_the_first_one_is_lost(house, tmp_path):
    lost = house.begin()
    house.safehouse.variables["slipway_state_directory"] = str(tmp_path / "other")
    assert house.begin()["reason"] == "rotation_elsewhere"
    begun = house.begin(state="taken_back")
    assert (begun["is_idle"], begun["rotating"], begun["names"]) == (False, {}, ["database/main"])
    assert (
        house.password(lost["rotating"]) != CANARY
    )  # it is there until hosts have confirmed that they have the old one


def test_what_is_made_by_hand_is_brought_in_a_file(house, tmp_path, monkeypatch):
    house.safehouse.variables["secrets_rotation"] = {"database/main": {"max_age_days": 30, "made_by": "hand"}}
    assert house.begin()["reason"] == "rotation_fields_missing"
    said = []
    monkeypatch.setattr(_secrets.display, "warning", said.append)
    (tmp_path / "new.json").write_text(json.dumps({"password": "brought"}))
    (tmp_path / "new.json").chmod(0o640)
    assert house.password(house.begin(source=tmp_path / "new.json")["rotating"]) == "brought"
    assert "(mode 0640): chmod 600" in said[0]


def test_a_file_for_what_is_made_here_is_not_ignored(house, tmp_path):
    (tmp_path / "new.json").write_text(json.dumps({"password": "brought"}))
    assert house.begin(source=tmp_path / "new.json")["reason"] == "rotation_file_unused"


def test_a_credential_of_another_field_than_the_one_that_is_made_is_refused(house):
    credentials = {"user": {"secret": "database/main", "field": "username"}}
    assert house.begin(credentials=credentials)["reason"] == "rotation_changes_nothing"
    assert house.begin(credentials={**credentials, **CREDENTIALS})["names"] == ["database/main"]


@pytest.mark.parametrize(("about", "reason"), [
    ({"answers": {"prod-1": {"active": "v1"}, "prod-2": {}}}, "rotation_hosts_silent"),
    ({"answers": {"prod-1": {"active": "v1"}, "prod-2": {"active": "v2"}}}, "rotation_releases_differ"),
    ({"release_id": "v2"}, "rotation_releases_differ"),
    ({"credentials": {}}, "rotation_not_handed_out"),
    ({"description": {"strategy": "none"}}, "rotation_service_not_restarted"),
    ({"description": {"strategy": "none"}, "state": "taken_back"}, "rotation_service_not_restarted"),
    ({"names": ["pager"]}, "rotation_undeclared"),
])  # fmt: skip
def test_what_could_not_be_proven_is_refused_before_anything_is_made(house, about, reason):
    before = house.safehouse.store.read_bytes()
    refused = house.begin(**about)
    assert (refused["failed"], refused["reason"]) == (True, reason)
    assert house.safehouse.store.read_bytes() == before


def test_a_release_that_could_not_be_deployed_today_is_refused_before_anything_is_made(house):
    before = house.safehouse.store.read_bytes()
    locked = {
        **house.answer,
        "lock": {"holder": "bert", "message": "frozen", "since": "2026-11-18T11:06:40Z", "until": None},
    }
    assert house.begin(answers={"prod-1": locked})["reason"] == "locked_by_hand"
    assert house.begin(answers={"prod-1": {**house.answer, "active": "v9"}})["reason"] == "release_unknown"
    house.site.host.clock.advance(91 * signed.DAY)
    assert house.begin()["reason"] == "manifest_too_old"
    assert house.safehouse.store.read_bytes() == before


def test_hosts_that_are_known_to_have_it_are_not_left_out(house):
    run = house.run()
    for number, name in enumerate(("prod-1", "prod-2", "retired")):
        house.memory.pin(KnownHost(f"id-{number}", name, "0" * 64), now=1)
        house.memory.note_host_of_run(run, host_id=f"id-{number}", outcome="confirmed", recorded=True, now=1)
    refused = house.begin(answers={"prod-1": house.answer})
    assert (refused["reason"], refused["found"]) == ("rotation_hosts_left_out", "a run without prod-2")
    assert house.begin()["names"] == ["database/main"]
