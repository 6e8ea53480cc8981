# SPDX-License-Identifier: GPL-3.0-or-later
"""A switch that is cut off anywhere leaves the old or the new release, whole, and the next exchange settles it."""

from __future__ import annotations

import errno
import itertools
import os
from collections import Counter

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host import store
from ansible.module_utils.slipway.host.journal import Journal
from ansible.module_utils.slipway.host.lease import LeaseFile, Run
from ansible.module_utils.slipway.host.transaction import RESERVE_BYTES
from ansible.module_utils.slipway.trust.verify import verify_tree
from faults import calls
from releases import V1, V2, V3, leftovers


@pytest.fixture
def stand(site, systemctl):
    """v1 is active and has a file outside the tree, v2 is staged, v3 is only in the catalogue; and a way to start over."""
    motd = site.host.root / "etc/motd"
    motd.write_bytes(b"from before\n")
    site.description["health"] = [{"type": "unit"}]

    def fail_under_an_ill_release(arguments):
        is_ill = site.current in site.ill.read_text().splitlines()
        systemctl.ends = {"restart": Finished(1, "coughing")} if is_ill else {}

    systemctl.before = fail_under_an_ill_release
    site.description["files"] = [{"source": "motd", "path": "/etc/motd", "owner": site.description["user"]}]
    for release_id, files in (("v1", V1), ("v2", V2), ("v3", V3)):
        site.build(release_id, {**files, "motd": release_id.encode()})
    site.deploy("v1", "run-1")
    site.stage("v2", run=site.run("run-2"))
    return Stand(site, site.directory / "template")


class Stand:
    def __init__(self, site, template):
        self.site = site
        self.template = template
        site.pack("v3", site.objects("v3"), run_id="run-3")

    def prepare(self, *exchanges):
        """What was done before the exchange that is cut off."""
        for exchange in exchanges:
            answer = exchange(self.site)
            assert not answer.get("failed"), answer
        calls.copy(self.site.host.root, self.template)
        self.records = len(self.site.records)
        self.current = self.site.current
        self.is_open = Journal(self.site.places.journal).read() is not None

    def start_over(self):
        calls.copy(self.template, self.site.host.root)


def run_2(site):
    return site.run("run-2")


def activate(site):
    return site.activate("v2", run=run_2(site), share=10)


def confirm(site):
    return site.confirm("v2", run=run_2(site), keep_count=1)


def revert(site):
    return site.revert("v2", run=run_2(site))


def stage(site):
    (pack,) = (site.state / "packs" / "run-3").glob("*.pack")
    return site.ask("stage", release_id="v3", run=site.run("run-3"), pack=str(pack))


def roll_back(site):
    return site.rollback("v1", run=site.run("run-3"))


def activate_ill(site):
    site.sicken("v2")
    try:
        return site.activate("v2", run=run_2(site), share=10)
    finally:
        site.sicken()


def recover(site):
    return site.recover(run=site.run("run-9", dead_runs=["run-2", "run-3"]))


CUT_OFF = [
    pytest.param((), stage, {"v1"}, id="stage"),
    pytest.param((), activate, {"v1"}, id="activate"),
    pytest.param((), activate_ill, {"v1"}, id="activate_ill"),
    pytest.param((activate,), confirm, {"v1", "v2"}, id="confirm"),
    pytest.param((activate,), revert, {"v1"}, id="revert"),
    pytest.param((activate, confirm), roll_back, {"v1", "v2"}, id="roll_back"),
    pytest.param((activate,), recover, {"v1"}, id="recover"),
]


def assert_served(site, possible):
    """What is active is one of the possible releases, whole."""
    current = site.current
    assert current in possible
    verify_tree(site.made(current), site.release(current), owner=site.host.uid)


def assert_whole(site, possible):
    """The same, with the release's file outside the tree."""
    assert_served(site, possible)
    current = site.current
    assert (site.host.root / "etc/motd").read_bytes() == current.encode()


def assert_settled(site, stand):
    """Nothing is left over, and what was done has exactly one record; what was not done has none or one."""
    records_before = stand.records
    assert leftovers(site.host.root) == []
    assert not list((site.host.root / "etc").glob(".*"))
    records = site.records
    transactions = [record["transaction"] for record in records]
    assert len(set(transactions)) == len(transactions)
    must_have_one = stand.is_open or site.current != stand.current
    assert len(records) - records_before in ((1,) if must_have_one else (0, 1))
    assert {path.name for path in site.places.backups.glob("*")} <= set(transactions)
    for record in records[records_before:]:
        assert record["active_release_id"] == site.current


@pytest.mark.parametrize(("before", "exchange", "possible"), CUT_OFF)
def test_an_exchange_that_is_killed_anywhere_is_settled_by_the_next(stand, before, exchange, possible, say):
    stand.prepare(*before)
    site, number = stand.site, 0
    while calls.die_at(number, lambda: exchange(site)):
        assert_served(site, {"v1", "v2"})
        recover(site)
        assert_whole(site, possible)
        assert_settled(site, stand)
        if number % 12 == 0:
            assert site.deploy("v3", "run-4")["active_release_id"] == "v3"
            assert_whole(site, {"v3"})
        number += 1
        stand.start_over()
    say(f"killed at {number} points")
    assert number > 10


@pytest.mark.parametrize("number_of_first", range(0, 60, 12))
def test_a_recovery_that_is_killed_anywhere_is_finished_by_the_next(stand, number_of_first):
    site = stand.site
    stand.prepare()
    if not calls.die_at(number_of_first, lambda: activate_ill(site)):
        pytest.fail("the exchange has fewer calls: shorten the range")
    stand.prepare()
    number = 0
    while calls.die_at(number, lambda: recover(site)):
        assert_served(site, {"v1", "v2"})
        recover(site)
        assert_whole(site, {"v1"})
        assert_settled(site, stand)
        number += 1
        stand.start_over()


def objects(site):
    return {path.name for path in site.places.objects.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", [calls.fail_once, calls.full_from])
@pytest.mark.parametrize(("before", "exchange", "possible"), CUT_OFF)
def test_a_disk_that_is_full_at_any_moment_leaves_no_half_state(stand, before, exchange, possible, fault, say):
    """``disk_full`` and nothing changed, or the exchange did its part in spite of it, or it went back."""
    stand.prepare(*before)
    site, active, names = stand.site, stand.site.current, leftovers(stand.site.host.root)
    journal, releases = Journal(site.places.journal).read(), site.store.release_ids()
    ends: Counter[str] = Counter()
    before_objects = objects(site)
    for number in itertools.count():
        with fault(number).installed() as counted:
            answer = exchange(site)
        if number >= len(counted.names):
            break
        ends["went on" if not answer.get("failed") else "refused" if not answer["changed"] else answer["reason"]] += 1
        if answer.get("failed"):
            assert "No space left on device" in answer["msg"] or answer["reason"] == "health_failed", answer
            assert answer["reason"] in ("disk_full", "deadman_not_armed", "switch_failed", "health_failed"), answer
        if answer.get("failed") and not answer["changed"]:
            assert (site.current, Journal(site.places.journal).read(), site.store.release_ids()) == (
                active,
                journal,
                releases,
            )
            assert leftovers(site.host.root) == names
            if fault is calls.full_from:
                assert objects(site) == before_objects, "what arrived for nothing does not stay on a full disk"
        if answer["changed"] and answer.get("reason") in ("switch_failed", "health_failed"):
            # A timer or a marker that could not be removed wakes somebody who finds nothing to do.
            left = [name for name in leftovers(site.host.root) if not name.startswith("run/")]
            assert (site.current, left) == (active, [])
        recover(site)
        assert_whole(site, possible)
        assert_settled(site, stand)
        stand.start_over()
    say(f"full at {number} points: {dict(ends)}")
    assert number > 10
    assert fault is calls.fail_once or "disk_full" not in ends, (
        "what a full disk stops, it stops before anything is changed"
    )


def test_going_back_works_on_a_disk_that_stays_full(stand):
    """The room for the journal, the history and the link back was taken before the switch."""
    site = stand.site
    stand.prepare(activate)
    assert site.places.reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    with calls.full_from(0).installed() as counted:
        answer = revert(site)
    assert (answer["outcome"], site.current, counted.is_room_made) == ("reverted", "v1", True)
    assert "symlink" not in counted.names
    assert site.statuses[-1] == ("v2", "rolled_back")


def test_what_a_crash_before_the_intent_left_is_swept_up(stand):
    """A lease without a journal holds nobody up; backups that a record names stay."""
    site = stand.site
    recorded = {path.name for path in site.places.backups.iterdir()}
    LeaseFile(site.places.lease).take(Run.parse(run_2(site)), reason="deploy of v2", now=site.host.clock.now())
    (site.places.backups / "0123/").mkdir()
    (site.places.backups / "0123/0").touch()
    site.places.way_back.symlink_to("releases/v1")
    temporary = [
        site.places.base / f".current.{'0' * 16}",
        site.places.state / f".journal.jsonl.{'1' * 16}",
        site.places.manifests / "v1" / f".application.json.{'2' * 16}",
        site.places.objects / ".staging-3333",
    ]
    for path in temporary:
        path.touch()
    assert recover(site)["changed"] is False
    assert leftovers(site.host.root) == []
    assert {path.name for path in site.places.backups.iterdir()} == recorded
    assert recorded


def test_what_looks_like_a_temporary_name_of_somebody_else_stays(stand):
    site = stand.site
    activate(site)
    others = site.host.root / "etc" / f".passwd.{'0' * 16}"
    ours = site.host.root / "etc" / f".motd.{'0' * 16}"
    for path in (others, ours):
        path.touch()
    recover(site)
    assert (others.exists(), ours.exists()) == (True, False)


def test_an_error_that_is_no_full_disk_is_not_tried_again(stand, monkeypatch):
    """A failed fsync must not be repeated; the next exchange settles what is open."""
    site = stand.site
    activate(site)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "bad sector")))
    answer = revert(site)
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, True, "host_error")
    monkeypatch.undo()
    recover(site)
    assert (site.current, leftovers(site.host.root)) == ("v1", [])


def test_a_way_back_that_was_cut_off_keeps_its_verdict(stand):
    """The release was found ill, then the host died while going back: it is bad, not merely interrupted."""
    site = stand.site
    activate(site)
    with open(site.places.journal, "ab") as stream:
        stream.write(
            canonical.encode(
                {"step": "reverting", "status": "rolled_back", "reason": "health_failed", "message": "coughing"}
            )
            + b"\n"
        )
    recover(site)
    record = site.records[-1]
    assert (record["status"], record["reason"], record["message"]) == ("rolled_back", "health_failed", "coughing")
    assert site.inspect()["bad"] == {"v2": "health_failed"}


def test_an_outcome_that_was_noted_is_completed_and_recorded_once(stand):
    site = stand.site
    activate(site)
    with open(site.places.journal, "ab") as stream:
        stream.write(b'{"confirmed_by":"alice","smoke_test_passed":true,"step":"confirmed"}\n')
    journal = site.places.journal.read_bytes()
    recover(site)
    assert (site.current, site.statuses[-1]) == ("v2", ("v2", "success"))
    site.places.journal.write_bytes(journal)
    recover(site)
    assert site.statuses.count(("v2", "success")) == 1
    assert leftovers(site.host.root) == []


def test_a_run_that_reverts_what_it_had_already_noted_is_told_the_outcome(stand):
    site = stand.site
    activate(site)
    with open(site.places.journal, "ab") as stream:
        stream.write(b'{"confirmed_by":"alice","smoke_test_passed":true,"step":"confirmed"}\n')
    answer = revert(site)
    assert (answer["outcome"], answer["changed"], answer["active_release_id"]) == ("unchanged", True, "v2")
    assert answer["msg"] == "prod-1 had its outcome already: success."


def test_a_file_that_drifted_is_as_before_when_putting_it_right_is_killed_anywhere(stand):
    """The link of a release that is deployed again does not show how far the switch came."""
    site = stand.site
    motd = site.host.root / "etc/motd"
    motd.write_bytes(b"drifted")
    stand.prepare()
    number = 0
    while calls.die_at(number, lambda: site.activate("v1", run=run_2(site))):
        recover(site)
        assert_served(site, {"v1"})
        assert motd.read_bytes() == b"drifted"
        assert_settled(site, stand)
        number += 1
        stand.start_over()
    assert number > 10


def alter(path):
    """Other bytes, without a word to objects that are hard links of it."""
    path.unlink()
    path.write_bytes(b"altered")


@pytest.mark.parametrize(
    ("before", "exchange"), [((), activate), ((), activate_ill), ((activate,), revert)], ids=["switch", "ill", "revert"]
)
def test_where_there_is_no_way_back_all_of_the_new_release_is_there(stand, systemctl, before, exchange):
    """A crash may have come between its link, its files and its unit, or in the middle of a way back that was open then."""
    stand.prepare(*before)
    site, stayed = stand.site, 0
    for number in itertools.count():
        if not calls.die_at(number, lambda: exchange(site)):
            break
        journal = Journal(site.places.journal).read()
        alter(site.release("v1") / "config.json")
        systemctl.calls.clear()
        recover(site)
        if journal is not None and not journal.reached("reverted") and (journal.steps or site.current == "v2"):
            assert site.current == "v2"
            assert (site.host.root / "etc/motd").read_bytes() == b"v2"
            assert site.statuses[-1] == ("v2", "failed")
            assert "no way back to v1: release_altered" in site.records[-1]["message"]
            assert journal.reached("healthy") or "restart" in systemctl.verbs
            stayed += 1
        assert leftovers(site.host.root) == []
        stand.start_over()
    assert stayed > 5


def in_this_order(calls, *expected):
    """Whether these calls come one after the other, with any others between them."""
    rest = iter(calls)
    return [call for call in expected if call not in rest]


def test_the_intent_is_durable_before_the_link_moves_and_the_link_before_the_unit_restarts(stand, systemctl, syscalls):
    systemctl.before = lambda arguments: syscalls.calls.append(("systemctl", arguments[0]))
    activate(stand.site)
    assert not in_this_order(
        syscalls.calls,
        ("fsync", "reserve"), ("rename", "lease.json"), ("fsync", "shop"), ("rename", "0"), ("rename", ".way-back"), ("fsync", "shop"),
        ("fsync", "temporary"), ("rename", "journal.jsonl"), ("fsync", "shop"), ("rename", "current"), ("fsync", "shop"),
        ("rename", "motd"), ("fsync", "etc"), ("write", "journal.jsonl"), ("fsync", "journal.jsonl"), ("systemctl", "restart"),
    )  # fmt: skip


def test_an_outcome_is_noted_before_it_is_recorded_and_forgotten_after(stand, syscalls):
    activate(stand.site)
    syscalls.calls.clear()
    confirm(stand.site)
    assert not in_this_order(
        syscalls.calls,
        ("write", "journal.jsonl"), ("fsync", "journal.jsonl"), ("write", "history.jsonl"), ("fsync", "history.jsonl"),
        ("rename", "checkpoint"), ("fsync", "shop"), ("unlink", ".way-back"), ("unlink", "lease.json"), ("unlink", "journal.jsonl"), ("fsync", "shop"),
    )  # fmt: skip


def test_a_release_is_durable_before_it_gets_its_name(stand, syscalls, monkeypatch):
    monkeypatch.setattr(store, "sync_file_system", lambda path: syscalls.calls.append(("syncfs", path.name[:12])))
    stage(stand.site)
    assert not in_this_order(
        syscalls.calls, ("rename", "application.json"), ("fsync", "v3"), ("syncfs", ".staging-v3-"), ("rename", "v3"), ("fsync", "releases")
    )  # fmt: skip
