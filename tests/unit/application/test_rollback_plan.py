# SPDX-License-Identifier: GPL-3.0-or-later
"""After a way back the plan of the release that was left is verified, recorded and told, and changes nothing any more."""

from __future__ import annotations

import hashlib

import pytest
from ansible.module_utils.slipway.application.rollback_plan import failed_steps, verify_way_back
from ansible.module_utils.slipway.base.command import run
from releases import V1, V2


def plan(*steps, seconds=20):
    items = ", ".join(f"{{argv: [sh, -c, {step!r}], timeout_seconds: {seconds}}}" for step in steps)
    return f"rollback_plan: {{verification_steps: [{items}]}}"


@pytest.fixture
def switched(site):
    """v1 was deployed; returns a function that builds v2 with a plan, deploys it and gives the site back."""

    def with_plan(*steps, **changes):
        site.build("v1", V1, more=plan("exit 9"))
        site.build("v2", V2, more=plan(*steps, **changes))
        site.deploy("v1", "run-1")
        site.deploy("v2", "run-2")
        return site

    return with_plan


def steps(record):
    return [(step["argv"][-1], step["exit_code"], step["passed"]) for step in record["verification"]]


def test_a_rollback_runs_the_plan_of_the_release_that_is_left_in_the_one_that_is_active_again(switched):
    site = switched("test -e bin/shop && pwd", "exit 3")
    answer = site.rollback("v1", run=site.run("run-3"))
    place = f"{site.places.releases / 'v1'}\n"
    assert (answer["outcome"], site.current) == ("confirmed", "v1")
    assert steps(site.records[-1]) == [("test -e bin/shop && pwd", 0, True), ("exit 3", 3, False)]
    assert site.records[-1]["verification"][0]["output_sha256"] == hashlib.sha256(place.encode()).hexdigest()
    assert answer["record"] == site.records[-1]
    assert site.records[-1]["reason"] == "rollback_unverified"
    assert site.records[-1]["message"] == "confirmed; rollback_unverified: sh -c exit 3: exit code 3"
    assert [record["window"] is None for record in site.records] == [False, False, True]


def test_a_release_that_is_taken_back_has_its_plan_verified_too(switched):
    site = switched("exit 4")
    site.build("v3", {"bin/shop": b"three"}, more=plan("exit 5"))
    site.stage("v3", run=site.run("run-3"))
    site.sicken("v3")
    answer = site.activate("v3", run=site.run("run-3"))
    assert (answer["outcome"], steps(site.records[-1])) == ("reverted", [("exit 5", 5, False)])
    assert answer["msg"].endswith("v2 is active. rollback_unverified: sh -c exit 5: exit code 5.")


def test_a_deployment_runs_no_plan(switched):
    site = switched("exit 3")
    assert [record["verification"] for record in site.records] == [[], []]


def test_a_first_deployment_that_is_taken_back_has_nothing_to_verify(site):
    site.build("v1", V1, more=plan("exit 0"))
    site.stage("v1")
    site.sicken("v1")
    site.activate("v1")
    assert (site.current, site.records[-1]["verification"]) == (None, [])


def test_the_plan_of_a_manifest_that_cannot_be_trusted_is_not_run(switched):
    site = switched("exit 0")
    envelope = site.places.manifests / "v2" / "manifest.dsse.json"
    data = envelope.read_bytes()
    first = data.index(b'"sig":"') + len(b'"sig":"')
    envelope.write_bytes(data[:first] + (b"B" if data[first : first + 1] == b"A" else b"A") + data[first + 1 :])
    answer = site.rollback("v1", run=site.run("run-3"))
    assert (answer["outcome"], site.records[-1]["verification"]) == ("confirmed", [])


def test_a_way_back_from_nothing_has_nothing_to_verify(switched):
    site = switched("exit 3")
    site.places.current.unlink()
    answer = site.rollback("v1", run=site.run("run-3"))
    assert (answer["outcome"], site.current, site.records[-1]["verification"]) == ("confirmed", "v1", [])


def test_a_crash_between_the_outcome_and_the_plan_keeps_the_outcome(switched, monkeypatch):
    site = switched("exit 0")
    with monkeypatch.context() as patch:
        patch.setattr("ansible.module_utils.slipway.host.transaction.verify_way_back", _crash)
        with pytest.raises(KeyboardInterrupt):
            site.rollback("v1", run=site.run("run-3"))
    assert site.recover(run=site.run("run-4", dead_runs=["run-3"]))["changed"]
    assert (site.current, site.records[-1]["status"], site.records[-1]["verification"]) == ("v1", "success", [])


def _crash(*_arguments):
    raise KeyboardInterrupt


def test_every_step_is_run_whatever_the_others_say(tmp_path):
    wanted = [{"argv": ["sh", "-c", text], "timeout_seconds": 20} for text in ("exit 1", "exit 0", "kill -9 $$")]
    results = verify_way_back(wanted, run, None, tmp_path)
    assert [result["passed"] for result in results] == [False, True, False]


def test_a_step_that_hangs_is_killed_and_has_failed(tmp_path):
    results = verify_way_back([{"argv": ["sleep", "600"], "timeout_seconds": 1}], run, None, tmp_path)
    assert results[0]["exit_code"] is None
    assert failed_steps(results) == "rollback_unverified: sleep 600: killed at its time-out"


def test_a_digest_is_that_of_all_output_and_all_failures_are_told(tmp_path):
    flood = "yes | head -c 3000000; exit 1"
    wanted = [{"argv": ["sh", "-c", text], "timeout_seconds": 60} for text in (flood, "exit 2")]
    results = verify_way_back(wanted, run, None, tmp_path)
    assert results[0]["output_sha256"] == hashlib.sha256(b"y\n" * 1500000).hexdigest()
    assert failed_steps(results) == f"rollback_unverified: sh -c {flood}: exit code 1; sh -c exit 2: exit code 2"


def test_nothing_is_told_where_all_passed():
    assert failed_steps([]) is None
    assert failed_steps([{"argv": ["true"], "exit_code": 0, "passed": True}]) is None
