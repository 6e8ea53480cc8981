# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller whose database is not there: nothing is switched, a way back is open, and an operator may say to go on."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller import deployment
from ansible.module_utils.slipway.controller.deployment import Controller
from ansible.module_utils.slipway.controller.memory import NOBODY, ControllerState, needed_memory
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.controller.witness import Witness
from test_state_backup import fill
from test_state_database import do

V1, V2 = {"bin/shop": b"1"}, {"bin/shop": b"2"}
ILL = ("down", "read_only", "newer")


@pytest.fixture
def shop(site, postgres, tmp_path):
    """A host that serves v1, v2 in the catalogue, and a controller with a database that can be made ill."""
    name = postgres.new()
    policy = tmp_path / "trust-policy.dsse.json"
    policy.write_bytes(signed.policy_envelope())
    site.build("v1", V1)
    site.deploy("v1")
    site.build("v2", V2)
    place = postgres.place(site.state, name, connect_seconds=2)

    def ill(how):
        ControllerState(place)
        if how == "down":
            postgres.stop()
        elif how == "read_only":
            postgres.ask(name, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        else:
            do(place, "UPDATE slipway_schema SET version = 99")

    def controller(place=place):
        return Controller(
            site.state, "shop", "prod", "alice", site.host.clock.now(), Process.of(os.getpid()), place=place
        )

    def plan(place=place, rollout=None, **said):
        return deployment.plan_deployment(
            controller(place), site.catalogue, policy, {"prod-1": {**site.witnessed(), **said}}, requested="", retry=False,
            rollout={"waves": ("100%",), **(rollout or {})}, description=site.description, forks=5,
        )  # fmt: skip

    def back(place=place):
        return deployment.plan_rollback(
            controller(place), site.catalogue, {"prod-1": site.witnessed()}, requested="", limited=True
        )

    return SimpleNamespace(ill=ill, plan=plan, back=back, controller=controller, place=place, site=site)


@pytest.mark.parametrize("how", ILL)
def test_a_deployment_is_refused_before_anything_is_begun(shop, how):
    shop.ill(how)
    with pytest.raises(Refusal) as caught:
        shop.plan()
    expected = {
        "down": "controller_memory_unusable",
        "read_only": "controller_memory_read_only",
        "newer": "format_unknown",
    }
    assert caught.value.reason == expected[how]
    assert ("slipway_state_required=false" in caught.value.remedy) == (how != "newer")


@pytest.mark.parametrize("how", ["down", "read_only"])
def test_told_to_go_on_a_rollout_that_would_be_held_is_refused_before_anything_is_switched(shop, how):
    """Nobody could say yes, so that it would go back after its canary."""
    shop.ill(how)
    with pytest.raises(Refusal) as caught:
        shop.plan(replace(shop.place, is_required=False), rollout={"pause_after": ["canary"]})
    assert caught.value.reason == "pause_without_memory"
    assert "release_pause_after" in caught.value.remedy


@pytest.mark.parametrize("is_required", [True, False])
def test_what_needs_the_memory_does_not_advise_to_do_without_where_that_was_said(shop, is_required):
    shop.ill("down")
    with pytest.raises(Refusal) as caught:
        needed_memory(replace(shop.place, is_required=is_required), "what is decided")
    assert caught.value.reason == ("controller_memory_unusable" if is_required else "controller_memory_needed")
    assert ("on purpose: -e slipway_state_required=false" in caught.value.remedy) is is_required


@pytest.mark.parametrize("how", ["down", "read_only"])
def test_told_to_go_on_it_goes_on_and_says_why_nobody_notes_it(shop, how):
    shop.ill(how)
    planned = shop.plan(shop.place.dispensable())
    assert planned["unrecorded"].startswith("controller_memory_")
    assert planned["run"]["run_id"].startswith("run_")
    assert planned["run"]["dead_runs"] == []
    if how == "down":
        assert planned["run"]["controller_id"] == NOBODY
    shop.site.stage("v2", run=planned["run"])
    assert shop.site.activate("v2", run=planned["run"])["outcome"] == "switched"


def test_what_is_said_first_is_what_is_wrong_and_not_what_follows_from_it(shop):
    """A checkpoint that cannot be kept makes a history unjudged, which is refused as well."""
    shop.ill("read_only")
    with pytest.raises(Refusal) as caught:
        shop.plan(witness={"outcome": "unjudged", "detail": "controller_memory_read_only"})
    assert caught.value.reason == "controller_memory_read_only"


def test_a_newer_format_is_not_gone_on_without(shop):
    shop.ill("newer")
    with pytest.raises(Refusal) as caught:
        shop.plan(shop.place.dispensable())
    assert caught.value.reason == "format_unknown"


@pytest.mark.parametrize("how", ["down", "read_only"])
def test_a_way_back_is_open_without_being_told(shop, how):
    """As the plugin asks for it: a rollback has a dispensable place."""
    run = shop.site.run("run-2")
    shop.site.stage("v2", run=run)
    shop.site.activate("v2", run=run)
    shop.site.confirm("v2", run=run)
    shop.ill(how)
    planned = shop.back(shop.place.dispensable())
    assert planned["targets"] == {"prod-1": "v1"}
    assert planned["unrecorded"].startswith("controller_memory_")


def test_a_run_that_is_noted_says_nothing_and_has_what_a_report_asks(shop):
    planned = shop.plan()
    assert planned["unrecorded"] == ""
    (run,) = ControllerState(shop.place).runs()
    assert (run.run_id, run.release_id, run.release_type) == (planned["run"]["run_id"], "v2", "minor")
    assert run.created is not None


def test_what_a_rollback_takes_back_is_noted(shop):
    run = shop.site.run("run-2")
    shop.site.stage("v2", run=run)
    shop.site.activate("v2", run=run)
    shop.site.confirm("v2", run=run)
    shop.back()
    (noted,) = ControllerState(shop.place).runs()
    assert (noted.operation, noted.release_id, noted.takes_back) == ("rollback", "v1", ("run-2",))


def test_a_check_is_no_run_of_a_report(shop):
    replace(shop.controller(), is_check=True).begin("deploy")
    memory = ControllerState(shop.place)
    assert (memory.runs(), len(memory.run_ids("shop"))) == ([], 1)


def test_a_memory_in_a_file_is_never_dispensable_by_itself(tmp_path):
    (tmp_path / "state.sqlite").write_bytes(b"no database, and more than the head of one would be" * 20)
    with pytest.raises(Refusal):
        Controller(tmp_path, "shop", "prod", "a", 1, Process.of(os.getpid())).begin("deploy")


# The witness


def test_what_cannot_be_judged_is_unwitnessed_only_where_somebody_said_to_go_on(postgres, tmp_path):
    place = postgres.place(tmp_path, postgres.new())
    ControllerState(place)
    postgres.stop()
    with pytest.raises(Refusal) as caught:
        Witness(place).recall("prod-1", "shop")
    assert Witness(place).unjudged(caught.value).outcome == "unjudged"
    told = Witness(place.dispensable()).unjudged(caught.value)
    assert (told.outcome, told.is_trusted) == ("unwitnessed", False)
    assert Witness(place.dispensable()).unjudged(OSError(28, "full")).outcome == "unjudged"


def test_controllers_that_share_checkpoints_need_the_key_that_cosigned_them(postgres, tmp_path):
    name = postgres.new()
    one, other = (postgres.place(tmp_path / each, name) for each in ("one", "other"))
    Witness(one).verifier()
    Witness(other).verifier()
    (tmp_path / "other/witness.pem").unlink()
    fill(one)
    with pytest.raises(Refusal) as caught:
        Witness(other).verifier()
    assert caught.value.reason == "witness_key_missing"
    assert not (tmp_path / "other/witness.pem").exists()
    shared = replace(other, witness_key=one.key_path)
    assert Witness(shared).verifier() == Witness(one).verifier()


def test_a_controller_with_a_file_makes_its_own_key_again(tmp_path):
    place = StatePlace(tmp_path)
    fill(place)
    assert Witness(place).key_path.exists() is False
    Witness(place).verifier()
    assert Witness(place).key_path.exists()
