# SPDX-License-Identifier: GPL-3.0-or-later
"""Every request through both doors: the resident package answers, and does, what the module would.

Each step is taken twice from the same state of the host, once by either door; answers and what is on the host afterwards are compared.
"""

from __future__ import annotations

import collections
import copy
import itertools
import json
import re
import secrets
import shutil
import subprocess
import uuid

import doors
import plugins
import pytest
import signed
from ansible.errors import AnsibleActionFail
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.host import handler
from ansible.module_utils.slipway.host.options import MODULES
from plugins import MODULE, RESIDENT
from releases import V1, V2, V3, snapshot

UNIT = {"memory_max": "1G", "cpu_quota": "50%", "tasks_max": 10, "stop_timeout_seconds": 1}


def comparable(answer):
    """Without what Ansible adds to a path that a module names, and without how much room others leave on the disk."""
    found = {key: value for key, value in answer.items() if key not in doors.ABOUT_PATHS or "path" not in answer}
    if found.get("preflight"):
        found["preflight"] = re.sub(r"\d+", "0", json.dumps(found["preflight"]))
    return json.loads(json.dumps(found))


class Doors:
    """The site's host, asked by both doors; what was asked is counted by operation, check mode apart."""

    def __init__(self, site, monkeypatch):
        self.site, self.asked, self._step = site, set(), 1
        self._count_anew()
        monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(self._numbers[0])))
        monkeypatch.setattr(secrets, "token_hex", lambda size=32: f"{next(self._numbers[size]):0{2 * size}x}")
        monkeypatch.setattr(handler, "Host", lambda: self.host)
        handle = handler.handle

        def noting(request, host=None):
            self.asked.add((request["operation"], request["check"]))
            return handle(request, host)

        monkeypatch.setattr(handler, "handle", noting)
        self.host = site.host

    def both(self, name, /, check=False, **options):
        """The answer, which is the same from both doors; the step is done once."""
        self._step += 1
        start = self._kept()
        first = plugins.ask(name, door=MODULE, check=check, **options)
        there = self._found()
        self._put_back(start)
        second = plugins.ask(name, door=RESIDENT, check=check, **options)
        assert comparable(first) == comparable(second)
        assert self._found() == there
        return second

    def each(self, name, /, **options):
        """The same in check mode, where nothing may change, and then for real."""
        before = self._found()
        told = self.both(name, check=True, **options)
        assert self._found() == before
        return told, self.both(name, **options)

    def _count_anew(self):
        self._numbers = collections.defaultdict(lambda: itertools.count(1000 * self._step))

    def _kept(self):
        saved = self.site.directory / "saved"
        shutil.rmtree(saved, ignore_errors=True)
        subprocess.run(["cp", "-a", self.host.root, saved], check=True)
        self._count_anew()
        clock, systemctl = self.host.clock, self.host.run
        return saved, vars(clock).copy(), copy.deepcopy({k: v for k, v in vars(systemctl).items() if not callable(v)})

    def _put_back(self, start):
        saved, clock, systemctl = start
        shutil.rmtree(self.host.root)
        subprocess.run(["cp", "-a", saved, self.host.root], check=True)
        self._count_anew()
        vars(self.host.clock).update(clock)
        vars(self.host.run).update(copy.deepcopy(systemctl))

    def _found(self):
        """Everything on the host but inode numbers and times of change."""
        return {path: (*found[:4], found[-1]) for path, found in snapshot(self.host.root).items()}


@pytest.fixture
def both(site, monkeypatch):
    site.recover()  # makes the key that the host signs with
    return Doors(site, monkeypatch)


def release(both, state, release_id="v1", run="run-1", **options):
    given = {**both.site.options(state, release_id=release_id, **options), "run": both.site.run(run)}
    return both.each("slipway_release", **given)


def shipped(both, release_id, files, run="run-1"):
    both.site.build(release_id, files)
    return both.site.pack(release_id, both.site.objects(release_id), run_id=run)


def everything(both):
    """All that a host can be asked, and refusals of each kind."""
    about = {"application": "shop", "description": both.site.description}
    yield release(both, "staged", pack=shipped(both, "v1", V1))
    yield release(both, "active", expected_current="")
    yield release(both, "renewed", confirm_within_seconds=60)
    yield release(both, "ready")
    yield release(both, "confirmed", smoke_test_passed=True)
    yield release(both, "staged", "v2", "run-2", pack=shipped(both, "v2", V2, "run-2"))
    both.site.sicken("v2")
    yield release(both, "active", "v2", "run-2")
    both.site.sicken()
    yield release(both, "active", "v2", "run-2")
    yield release(both, "active", "v2", "run-2", retry=True)
    yield release(both, "reverted", "v2", "run-2", reason="smoke_test_failed", message="no answer")
    yield release(both, "staged", "v3", "run-3", pack=shipped(both, "v3", V3, "run-3"))
    yield release(both, "active", "v3", "run-3")
    yield release(both, "recovered", None, "run-9", forced=True)
    yield release(both, "active", "v1", "run-4", rollback=True, keep=True)
    yield release(both, "confirmed", "v9", "run-9")
    yield release(both, "active", "v1", environment="staging")
    yield release(both, "staged", "v1", pack="/nowhere/release.pack")
    yield both.each(
        "slipway_application_info", **about, environment="prod", preflight=True, health=True, manifest=True, verify=True
    )
    yield both.each("slipway_application_info", application="books", description={})
    yield both.each("slipway_history_info", application="shop", witnessed={"size": 1})
    yield both.each("slipway_proof_info", application="shop", run_id="run-1", sizes=[1])
    yield both.each("slipway_proof_info", application="shop", run_id="run-99")
    yield both.each("slipway_integrity_info", applications=["shop", "books"])
    yield both.each(
        "slipway_lock",
        state="taken",
        application="shop",
        environment="prod",
        message="closed",
        hours="1.5",
        holder="alice",
    )
    yield both.each("slipway_lock", application="shop", environment="prod")
    yield both.each("slipway_lock", state="released", application="shop", environment="prod")
    yield both.each(
        "slipway_balancer", backend="b", server="s", state="drained", socket=str(both.site.directory / "~no")
    )
    yield both.each("slipway_failover", backend="b", out=["s"], socket=str(both.site.directory / "~no"))
    yield both.each(
        "slipway_balancer_configuration", applications={"shop": {"unit": "shop.service"}}, timeout_seconds=60
    )
    yield both.each("slipway_unit", **about, **UNIT)
    yield both.each("slipway_trust_rotation", trust_policy="/policy", policies=[signed.policy_envelope().decode()])
    yield both.each("slipway_trust_rotation", trust_policy="/policy", policies=["{}"])


def test_every_request_has_the_same_answer_and_the_same_effect_through_both_doors(both, say):
    steps = list(everything(both))
    answers = [answer for step in steps for answer in step]
    assert {answer["reason"] for answer in answers if answer.get("failed") and "reason" in answer} >= {
        "health_failed", "release_bad", "environment_mismatch", "nothing_to_confirm", "host_error", "record_unknown",
    }  # fmt: skip
    assert any("diff" in answer for answer in answers)
    operations = set(handler.OPERATIONS) - {"bootstrap"}
    assert both.asked == {(operation, check) for operation in operations for check in (False, True)}
    say(f"both doors: {2 * len(steps)} requests of {len(operations)} operations, answers and effects the same")


def test_a_machine_becomes_a_host_by_both_doors(both, signing, tmp_path):
    """But for the key that it makes, which is another each time."""
    package = tmp_path / "slipway.pyz"
    package.write_bytes(resident.build())
    options = {
        "name": "prod-1", "environment": "prod", "trust_policy": signing.envelope.decode(), "resident": str(package),
    }  # fmt: skip
    both.each("slipway_host", **options)
    told, done = both.each("slipway_host", **options)
    assert (told["changed"], done["changed"]) == (False, False)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("wrong", [{}, {"realease": "v1"}], ids=["missing", "unknown"])
def test_wrong_options_are_refused_by_both_doors_in_the_same_words(site, name, wrong):
    needed = {key: "x" for key, about in MODULES[name].argument_spec.items() if about.get("required")}
    options = {**needed, **wrong} if wrong else {}
    said = plugins.ask(name, door=MODULE, **options)["msg"]
    with pytest.raises(AnsibleActionFail) as refused:
        plugins.ask(name, door=RESIDENT, **options)
    assert str(refused.value).replace("'", "") == said.replace("'", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"state": "active"}, "state is active but all of the following are missing: release_id"),
        ({"state": "deployed"}, "value of state must be one of"),
        ({"state": "active", "keep_count": "five"}, "'keep_count'"),
    ],
)
def test_wrong_values_are_refused_by_both_doors_in_the_same_words(site, options, said):
    given = {**site.options("active"), **options}
    module = plugins.ask("slipway_release", door=MODULE, **given)["msg"]
    with pytest.raises(AnsibleActionFail) as refused:
        plugins.ask("slipway_release", door=RESIDENT, **given)
    assert said in module
    assert str(refused.value) == module


def test_a_pack_that_travels_within_the_request_is_the_same_as_a_file(both):
    with open(shipped(both, "v1", V1), "rb") as stream:
        attachment = ("pack", stream.read())
    options = both.site.options("staged", release_id="v1")
    answer = plugins.ask("slipway_release", door=RESIDENT, attachment=attachment, **options)
    assert (answer["changed"], answer["objects"], answer["missing"]) == (True, len(both.site.objects("v1")), [])
