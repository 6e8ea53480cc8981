# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_integrity_info, and what its plugin says of the answer of a host whose files were tampered with."""

from __future__ import annotations

import shutil

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller.witness import Witness
from ansible.module_utils.slipway.host import handler
from ansible.module_utils.slipway.host.history import History
from releases import V1, V2, snapshot

NAME = "slipway_integrity_info"


@pytest.fixture(autouse=True)
def here(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)


@pytest.fixture
def deployed(site):
    site.build("v1", V1)
    site.deploy("v1")
    return site


@pytest.fixture
def verify(site):
    """As the playbook asks; returns the whole answer."""

    def asked(*applications, name="prod-1", check=False, **options):
        variables = {"slipway_state_directory": str(site.directory / "controller"), "inventory_hostname": name}
        given = {"applications": list(applications) or ["shop"], "environment": "prod", **options}
        return plugins.run_on_host(NAME, check=check, task_vars=variables, **given)

    return asked


@pytest.fixture
def verdict(verify):
    def asked(**options):
        shop = verify(**options)["applications"]["shop"]
        return shop["witness"]["outcome"], shop["own_runs"]["outcome"]

    return asked


@pytest.mark.parametrize("check", [False, True])
def test_the_module_answers_for_each_application_and_changes_nothing(deployed, check):
    before = snapshot(deployed.places.base, deployed.places.state)
    answer = doors.run(NAME, applications=["shop", "other", "../etc"], check=check)
    assert (answer["changed"], answer["host"]["name"]) == (False, "prod-1")
    assert answer["applications"]["shop"]["release"]["outcome"] == "intact"
    assert answer["applications"]["other"]["reason"] == "application_not_bootstrapped"
    assert answer["applications"]["../etc"]["reason"] == "application_unknown"
    assert doors.undocumented(NAME, answer) == set()
    assert snapshot(deployed.places.base, deployed.places.state) == before


def test_a_host_of_another_environment_says_so_for_each_application(deployed, verify):
    answer = verify(environment="staging")
    assert answer["host"] is None
    assert answer["applications"]["shop"]["reason"] == "environment_mismatch"


def test_a_history_is_witnessed_and_goes_on(deployed, verdict):
    assert verdict() == ("first_seen", "complete")
    deployed.build("v2", V2)
    deployed.deploy("v2", "run-2")
    assert verdict() == ("intact", "complete")


def test_the_bytes_of_a_release_are_verified_unless_they_are_not_asked_for(deployed, verify):
    (deployed.release("v1") / "more").write_bytes(b"")
    shop = verify()["applications"]["shop"]
    assert shop["release"]["outcome"] != "intact"
    assert shop["trust"]["outcome"] == "intact"
    assert verify(bytes=False)["applications"]["shop"]["release"]["outcome"] == "intact"


def cut(site):
    lines = site.places.history.read_bytes().splitlines(keepends=True)
    site.places.history.write_bytes(b"".join(lines[:-1]))


def test_a_history_that_was_cut_off_is_truncated_and_cannot_be_accepted(deployed, verdict):
    verdict()
    cut(deployed)
    assert verdict() == ("truncated", "complete")
    assert verdict(accept=True) == ("truncated", "complete")


def test_a_history_that_is_gone_with_all_that_stood_beside_it_is_truncated(deployed, verify):
    verify()
    shutil.rmtree(deployed.places.state)
    shop = verify()["applications"]["shop"]
    assert (shop["reason"], shop["witness"]["outcome"], shop["own_runs"]) == (
        "application_not_bootstrapped",
        "truncated",
        None,
    )


def test_a_history_that_was_edited_is_rewritten(deployed, verdict):
    verdict()
    data = deployed.places.history.read_bytes()
    deployed.places.history.write_bytes(data.replace(b'"alice"', b'"mallo"'))
    assert verdict()[0] == "rewritten"


def put_back(site, verdict):
    """A snapshot of the host from before its second release."""
    verdict()
    shutil.copytree(site.places.state, site.directory / "copy")
    site.build("v2", V2)
    site.deploy("v2", "run-2")
    assert verdict()[0] == "intact"
    shutil.rmtree(site.places.state)
    shutil.copytree(site.directory / "copy", site.places.state)


def test_a_host_that_was_put_back_is_restored_until_that_is_accepted(deployed, verdict):
    put_back(deployed, verdict)
    assert verdict() == ("restored", "complete")
    assert verdict(accept=True, check=True) == ("restored", "complete")
    assert verdict() == ("restored", "complete")
    assert verdict(accept=True) == ("accepted", "complete")
    assert verdict() == ("accepted", "complete")


def test_a_host_that_was_put_back_and_went_on_is_forked(deployed, verdict):
    put_back(deployed, verdict)
    History(deployed.places.history).append({**deployed.records[-1], "run_id": "run-9"})
    assert deployed.recover()["outcome"] == "unchanged"  # signs what it has
    assert verdict()[0] == "forked"


def test_the_log_of_a_host_that_got_another_name_is_judged_by_its_own_checkpoints(deployed, verdict):
    verdict()
    deployed.build("v2", V2)
    deployed.deploy("v2", "run-2")
    assert verdict(name="web-1") == ("intact", "complete")


def test_a_run_of_which_a_record_is_missing_or_that_nobody_began_is_told(deployed, verify, verdict):
    verdict()
    memory = Witness(deployed.directory / "controller").memory()
    run_id = memory.begin_run(operation="deploy", application="shop", environment="prod", deployed_by="alice", now=1)
    memory.note_host_of_run(run_id, host_id=deployed.host.identity().id, outcome="confirmed", recorded=True, now=2)
    shop = verify()["applications"]["shop"]
    assert shop["own_runs"] == {"outcome": "missing", "detail": f"no record of {run_id}"}
    deployed.controller = memory.controller_id()
    deployed.build("v2", V2)
    deployed.deploy("v2", run_id)
    assert verdict() == ("intact", "complete")
    deployed.build("v3", V1)
    deployed.deploy("v3", "run-of-nobody")
    shop = verify()["applications"]["shop"]
    assert shop["own_runs"]["outcome"] == "unknown"
    assert shop["own_runs"]["detail"].startswith("records of run-of-nobody, ")
