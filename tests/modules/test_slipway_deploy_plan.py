# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that plans a deployment on the controller, with the answer of a real host."""

from __future__ import annotations

import doors
import plugins
import pytest
import signed
from ansible.module_utils.slipway._secrets import release_credentials
from ansible.parsing.dataloader import DataLoader

PLUGIN = "slipway_deploy_plan"


@pytest.fixture
def plan(site, monkeypatch):
    """Plan a deployment of the shop on prod-1, on the day of the site's releases."""
    policy = site.directory / "trust-policy.dsse.json"
    policy.write_bytes(signed.policy_envelope())
    module = plugins.load(PLUGIN)
    monkeypatch.setattr("ansible.module_utils.slipway._action.time.time", lambda: float(site.host.clock.now()))

    def planned(variables=None, **options):
        given = {
            "application": "shop",
            "environment": "prod",
            "state_directory": str(site.state),
            "catalogue": str(site.catalogue.root),
            "trust_policy": str(policy),
            "answers": {"prod-1": site.witnessed()},
            "description": site.description,
            "waves": [1, "100%"],
            **options,
        }
        return plugins.run_class(module.ActionModule, PLUGIN, task_vars=variables, **given)

    return planned


def test_the_newest_release_is_planned_with_a_run_that_can_be_carried_out(site, plan):
    site.build("v1", {"bin/shop": b"one"})
    site.build("v2", {"bin/shop": b"two"})
    answer = plan()
    assert (answer["release_id"], answer["message"], answer["changed"]) == ("v2", "deploying v2", False)
    assert doors.undocumented(PLUGIN, answer) == set()
    staged = site.stage("v2", run=answer["run"])
    assert (staged["release_id"], staged["changed"]) == ("v2", True)


def test_a_release_can_be_named(site, plan):
    site.build("v1", {"bin/shop": b"one"})
    site.build("v2", {"bin/shop": b"two"})
    assert plan(release_id="v1")["release_id"] == "v1"


def test_a_host_that_is_not_ready_is_refused_before_a_run_begins(site, plan):
    site.build("v1", {"bin/shop": b"one"})
    site.description["preflight"] = {"commands": ["no-such-command"]}
    answer = plan(answers={"prod-1": site.witnessed(preflight=True)})
    assert (answer["failed"], answer["reason"]) == (True, "preflight_failed")
    assert "no-such-command" in answer["msg"]
    assert "run" not in answer


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"release_id": "v9"}, "release_unknown"),
        ({"answers": {"prod-1": {}}}, "host_unreachable"),
        ({"environment": "moon"}, "environment_unknown"),
        ({"waves": ["half"]}, "waves_invalid"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_run_begins(site, plan, options, reason):
    site.build("v1", {"bin/shop": b"one"})
    answer = plan(**options)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert "run" not in answer
    assert doors.undocumented(PLUGIN, answer) == set()


ASKED = {"host": "lb", "backend": "shop", "socket": "/s", "drain_seconds": 5, "hosts": ["prod-1"]}


def test_regions_are_planned_with_those_that_are_failed_over(site, plan):
    site.build("v1", {"bin/shop": b"one"})
    standing = {"__release_balancer": ASKED, "held": ["prod-1"], "serving": [], "not_up": []}
    answer = plan(region_order=["eu"], groups={"eu": ["prod-1"]}, standings=[standing], pause_after=["eu"])
    (region,) = answer["rollout"]["regions"]
    assert (region["region"], region["hosts"], region["is_failed_over"]) == ("eu", ["prod-1"], True)
    assert answer["rollout"]["waves"][0]["pauses"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"region_order": ["eu", "us"], "groups": {"eu": ["prod-1"]}}, "regions_invalid"),
        ({"region_order": ["eu"], "groups": {"eu": ["prod-2"]}}, "regions_invalid"),
        ({"standings": [{"__release_balancer": ASKED, "unreachable": True}]}, "balancer_unreachable"),
    ],
)
def test_regions_that_are_none_are_refused_before_a_run_begins(site, plan, options, reason):
    site.build("v1", {"bin/shop": b"one"})
    answer = plan(**options)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert "run" not in answer


# credentials: read once, before a run begins


@pytest.fixture
def house(safehouse):
    """A store with a secret of the shop."""
    safehouse.ask("slipway_secret_store", state="present")
    safehouse.ask("slipway_secret", name="pager", fields={"key": "canary-of-the-pager"})
    return safehouse


def test_the_values_are_read_for_the_run_and_told_nobody(site, plan, house):
    site.build("v1", {"bin/shop": b"one"})
    answer = plan(variables=house.variables, credentials={"pager": {"secret": "pager"}})
    assert "canary" not in str(answer)
    house.store.unlink()  # what comes now is what was read then
    chain = release_credentials({"pager": {"secret": "pager"}}, house.variables, lambda value: value, DataLoader())
    assert chain.take(answer["run"]["run_id"]).values == {"pager": "canary-of-the-pager"}


def test_a_secret_that_is_not_there_is_refused_before_a_run_begins(site, plan, house):
    site.build("v1", {"bin/shop": b"one"})
    answer = plan(variables=house.variables, credentials={"pager": {"secret": "pagers"}})
    assert (answer["failed"], answer["reason"]) == (True, "secret_unknown")
    assert "run" not in answer
