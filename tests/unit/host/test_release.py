# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchanges of a switch, through the one door, with real signed releases and real files."""

from __future__ import annotations

import errno
import os
import shutil

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host import recovery, store
from releases import TAMPERINGS, UNIT, V1, V2, V3, Site, one_byte, refused, run_2, snapshot

# a deployment that goes well


def test_a_first_deploy_makes_the_release_current_and_records_it(site, systemctl):
    site.build("v1", V1)
    staged = site.stage("v1")
    assert (staged["changed"], staged["objects"], site.current) == (True, 3, None)
    activated = site.activate("v1", expected_current=None)
    assert (activated["outcome"], activated["previous_release_id"], site.current) == ("switched", None, "v1")
    confirmed = site.confirm("v1")
    assert (confirmed["outcome"], confirmed["active_release_id"]) == ("confirmed", "v1")
    assert site.statuses == [("v1", "success")]
    assert site.is_settled()
    assert systemctl.verbs == ["reset-failed", "restart"]


def test_the_record_of_a_success_says_everything_that_is_asked_of_it(site):
    made = site.build("v1", V1, members="[{path: config.json}, {path: absent.json, required: false}]")
    record = site.deploy("v1")["record"]
    entry = next(entry for entry in made.file_list.files if entry.path == "config.json")
    expected = {
        "release_id": "v1", "environment": "prod", "status": "success", "rollback": False, "smoke_test_passed": True,
        "deployed_by": "alice", "run_id": "run-1", "controller_id": "controller-1", "operation": "deploy",
        "manifest_digest": made.manifest.digest, "artifacts": [{"path": "config.json", "sha256": entry.sha256}],
        "previous_release_id": None, "active_release_id": "v1", "backups": [], "takes_back": None, "reason": None,
        "application": "shop", "seq": 0,
    }  # fmt: skip
    assert {key: record[key] for key in expected} == expected
    assert set(record["durations"]) == {"switch_ms", "health_ms", "total_seconds"}
    assert site.records == [record]


def test_a_second_deploy_leaves_the_first_release_to_go_back_to(two):
    assert run_2(two, "activate", expected_current="v1")["outcome"] == "switched"
    assert run_2(two, "confirm")["outcome"] == "confirmed"
    assert two.current == "v2"
    assert two.inspect()["previous"] == "v1"
    assert (two.release("v2") / "bin/shop").read_bytes() == V2["bin/shop!"]
    assert two.statuses == [("v1", "success"), ("v2", "success")]


@pytest.mark.parametrize(
    ("strategy", "verbs"), [("restart", ["reset-failed", "restart"]), ("reload", ["reload-or-restart"]), ("none", [])]
)
def test_the_strategy_says_what_happens_to_the_unit(site, systemctl, strategy, verbs):
    systemctl.units[UNIT] = ("loaded", "active", "running")
    site.description["strategy"] = strategy
    site.build("v1", V1)
    site.deploy("v1")
    assert systemctl.verbs == verbs


def test_an_application_without_a_unit_is_deployed_and_taken_back(site, systemctl):
    del site.description["unit"]
    site.description["health"] = []
    site.build("v1", V1)
    site.stage("v1")
    assert site.activate("v1")["health"]["outcome"] == "inconclusive"
    assert site.revert("v1")["health"]["detail"] == "nothing is active and there is no unit"
    assert (site.current, systemctl.calls) == (None, [])


# nothing to do


def test_a_deployment_of_what_is_active_changes_nothing(two):
    two.deploy("v1", "run-3")
    before = snapshot(two.host.root)
    run = two.run("run-4")
    answers = [two.stage("v1", run=run), two.activate("v1", run=run), two.confirm("v1", run=run)]
    assert [answer["changed"] for answer in answers] == [False, False, False]
    assert [answer.get("outcome") for answer in answers] == ["unchanged", "unchanged", "unchanged"]
    assert (answers[0]["active_release_id"], answers[0]["health"]["outcome"]) == ("v1", "success")
    assert snapshot(two.host.root) == before


def test_a_rollback_to_what_is_active_changes_nothing(two):
    before = snapshot(two.host.root)
    assert two.rollback("v1")["outcome"] == "unchanged"
    assert snapshot(two.host.root) == before


def test_an_active_release_that_is_ill_is_restarted(two, systemctl):
    systemctl.units[UNIT] = ("loaded", "failed", "failed")
    answer = run_2(two, "activate", "v1")
    assert (answer["outcome"], answer["health"]["outcome"]) == ("switched", "success")
    assert run_2(two, "confirm", "v1")["record"]["previous_release_id"] == "v1"
    assert two.inspect()["bad"] == {}


def test_an_active_release_that_stays_ill_is_recorded_as_failed(two, systemctl):
    two.sicken("v1")
    answer = run_2(two, "activate", "v1")
    assert (answer["failed"], answer["outcome"], answer["healthy"]) == (True, "stuck", False)
    assert two.statuses[-1] == ("v1", "failed")
    assert (two.current, two.inspect()["bad"]) == ("v1", {})
    assert two.is_settled()


# check mode


def test_check_mode_predicts_a_rollback(two):
    run_2(two, "activate")
    run_2(two, "confirm")
    predicted, real = two.rollback("v1", check=True), two.rollback("v1")
    assert (predicted["changed"], predicted["outcome"], predicted["diff"]) == (True, "confirmed", real["diff"])
    assert (real["changed"], real["outcome"]) == (True, "confirmed")


# refusals: nothing is changed


def test_a_release_that_is_not_here_is_refused_with_what_is(two):
    two.sicken("v2")
    run_2(two, "activate")
    before = snapshot(two.host.root)
    answer = two.activate("v9")
    refused(two, answer, "release_not_here", before)
    assert answer["found"] == "v1, v2 (bad)"
    refused(two, two.rollback("v9", check=True), "release_not_here", before)


def test_a_rollback_on_an_empty_host_says_so(site):
    site.build("v1", V1)
    assert site.rollback("v1")["found"] == "no release at all"


def test_a_unit_that_does_not_exist_is_refused(two, systemctl):
    del systemctl.units[UNIT]
    before = snapshot(two.host.root)
    refused(two, two.stage("v2"), "unit_missing", before)


def test_a_clock_that_was_set_back_does_not_stand_in_the_way_back(two, clock):
    run_2(two, "activate")
    run_2(two, "confirm")
    clock.time -= 365 * signed.DAY
    assert two.rollback("v1", run=two.run("run-3"))["outcome"] == "confirmed"


def test_an_expired_manifest_is_refused_in_a_deploy_but_not_on_the_way_back(two, clock):
    run_2(two, "activate")
    run_2(two, "confirm")
    clock.time += 91 * signed.DAY
    before = snapshot(two.host.root)
    for answer in (two.stage("v1"), two.activate("v1")):
        refused(two, answer, "manifest_too_old", before)
    assert two.rollback("v1")["outcome"] == "confirmed"


# bytes on disk that are not what was signed


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_staged_release_that_was_altered_is_refused(two, tamper):
    tamper(two.release("v2"))
    before = snapshot(two.host.root)
    refused(two, run_2(two, "activate"), "release_altered", before)
    refused(two, run_2(two, "activate", check=True), "release_altered", before)


def test_a_rollback_does_not_reach_a_release_that_was_only_staged(two):
    before = snapshot(two.host.root)
    refused(two, two.rollback("v2"), "release_never_active", before)


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_rollback_to_an_altered_release_is_refused(two, tamper):
    run_2(two, "activate")
    run_2(two, "confirm")
    tamper(two.release("v1"))
    before = snapshot(two.host.root)
    refused(two, two.rollback("v1"), "release_altered", before)


@pytest.mark.parametrize("name", ["manifest.dsse.json", "file-list.json", "application.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"[]")])
def test_evidence_that_was_damaged_is_refused_and_mended_by_staging_again(two, name, damage):
    damage(two.places.manifests / "v2" / name)
    before = snapshot(two.host.root)
    answer = run_2(two, "activate")
    refused(two, answer, answer["reason"], before)
    assert run_2(two, "stage", check=True)["changed"] is True
    assert run_2(two, "stage")["changed"] is True
    assert run_2(two, "activate")["outcome"] == "switched"


# failures after the switch


def test_a_release_that_is_ill_goes_back_at_once(two, systemctl):
    two.sicken("v2")
    answer = run_2(two, "activate")
    assert (answer["failed"], answer["outcome"], answer["reason"], answer["changed"]) == (
        True,
        "reverted",
        "health_failed",
        True,
    )
    assert (answer["active_release_id"], answer["healthy"], two.current) == ("v1", True, "v1")
    assert "coughing" in answer["msg"]
    record = two.records[-1]
    assert (record["status"], record["rollback"], record["reason"], record["active_release_id"]) == (
        "rolled_back", True, "health_failed", "v1",
    )  # fmt: skip
    assert systemctl.verbs[-2:] == ["reset-failed", "restart"]
    assert two.is_settled()


def test_a_unit_that_does_not_restart_goes_back(two, systemctl):
    def restart_fails_under_v2(arguments):
        systemctl.ends = {"restart": Finished(1, "it broke")} if two.current == "v2" else {}

    systemctl.before = restart_fails_under_v2
    answer = run_2(two, "activate")
    assert (answer["outcome"], two.current) == ("reverted", "v1")
    assert "systemctl could not restart shop.service: exit code 1: it broke" in answer["msg"]


@pytest.mark.parametrize("exchange", ["activate", "revert"])
def test_what_fails_while_the_machine_shuts_down_is_no_word_on_the_release(two, systemctl, exchange):
    """Units cannot be started any more then; the recovery at the next start goes back, as from any other interruption."""
    if exchange == "revert":
        run_2(two, "activate")
    two.sicken("v2")
    systemctl.state = "stopping"
    answer = run_2(two, exchange)
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, True, "host_is_stopping")
    assert (answer["outcome"], answer["active_release_id"], two.current) == ("switched", "v2", "v2")
    assert two.statuses == [("v1", "success")]
    systemctl.state = "running"
    shutil.rmtree(two.host.root / "run")  # as a restart leaves it
    recovery.at_boot(two.places)
    assert (two.current, two.statuses[-1], two.inspect()["bad"]) == ("v1", ("v2", "interrupted"), {})


def test_a_first_deploy_that_fails_leaves_no_current_and_a_stopped_unit(site, systemctl):
    site.build("v1", V1)
    site.sicken("v1")
    site.stage("v1")
    answer = site.activate("v1")
    assert (answer["outcome"], answer["active_release_id"]) == ("reverted", None)
    assert not os.path.lexists(site.places.current)
    assert systemctl.units[UNIT][1] == "inactive"
    assert (site.records[-1]["status"], site.records[-1]["previous_release_id"]) == ("rolled_back", None)
    assert site.inspect()["previous"] is None
    assert site.is_settled()


def test_a_unit_that_does_not_stop_after_a_failed_first_deploy_is_reported(site, systemctl):
    site.build("v1", V1)
    site.sicken("v1")
    site.stage("v1")
    systemctl.ends["stop"] = Finished(1, "it hangs")
    answer = site.activate("v1")
    assert (answer["healthy"], site.current) == (False, None)
    assert answer["msg"].endswith("nothing is active but not healthy: stop of shop.service: exit code 1: it hangs.")


def test_a_way_back_that_is_ill_too_is_reported(two):
    two.sicken("v1", "v2")
    answer = run_2(two, "activate")
    assert (answer["outcome"], answer["healthy"], two.current) == ("reverted", False, "v1")
    assert "v1 is active but not healthy" in answer["msg"]


def test_there_is_no_way_back_to_a_release_that_was_altered(two):
    two.sicken("v2")
    one_byte(two.release("v1"))
    answer = run_2(two, "activate")
    assert (answer["failed"], answer["outcome"], two.current) == (True, "stuck", "v2")
    assert "no way back to v1: release_altered" in answer["msg"]
    assert two.statuses[-1] == ("v2", "failed")
    assert two.inspect()["bad"] == {"v2": "health_failed"}
    assert two.is_settled()


def test_there_is_no_way_back_to_a_release_that_is_gone(two):
    two.sicken("v2")
    run_2(two, "activate", check=True)
    for path in sorted(two.release("v1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    two.release("v1").rmdir()
    assert (run_2(two, "activate")["outcome"], two.current) == ("stuck", "v2")


def test_a_bad_release_is_refused_until_it_is_tried_again_on_purpose(two):
    two.sicken("v2")
    run_2(two, "activate")
    two.sicken()
    before = snapshot(two.host.root)
    answer = two.activate("v2", run=two.run("run-3"))
    refused(two, answer, "release_bad", before)
    assert "v2, bad since: health_failed" in answer["found"]
    assert two.activate("v2", run=two.run("run-3"), retry=True)["outcome"] == "switched"
    two.confirm("v2", run=two.run("run-3"))
    assert two.inspect()["bad"] == {}


def test_going_back_runs_the_unit_of_the_release_before_and_stops_the_other(two, systemctl):
    systemctl.units["new.service"] = ("loaded", "inactive", "dead")
    two.description["unit"] = "new.service"
    run_2(two, "stage")
    two.sicken("v2")
    assert run_2(two, "activate")["outcome"] == "reverted"
    acts = [call for call in systemctl.calls if call[0] in ("restart", "stop")]
    assert acts[-3:] == [("restart", "new.service"), ("stop", "new.service"), ("restart", UNIT)]


# confirm and revert


def test_the_same_run_takes_back_after_a_failed_smoke_test(two):
    run_2(two, "activate")
    answer = run_2(two, "revert")
    assert (answer["outcome"], answer["changed"], answer.get("failed"), two.current) == ("reverted", True, None, "v1")
    assert (two.records[-1]["status"], two.records[-1]["reason"], two.records[-1]["message"]) == (
        "rolled_back", "smoke_test_failed", "it smokes",
    )  # fmt: skip
    again = run_2(two, "revert")
    assert (again["outcome"], again["changed"]) == ("unchanged", False)
    assert two.inspect()["bad"] == {"v2": "smoke_test_failed"}


def test_a_revert_that_ends_ill_fails(two):
    run_2(two, "activate")
    two.sicken("v1")
    answer = run_2(two, "revert")
    assert (answer["failed"], answer["outcome"], answer["healthy"]) == (True, "reverted", False)


def test_a_revert_without_a_way_back_fails(two):
    run_2(two, "activate")
    one_byte(two.release("v1"))
    answer = run_2(two, "revert")
    assert (answer["failed"], answer["outcome"], answer["reason"], two.current) == (
        True,
        "stuck",
        "smoke_test_failed",
        "v2",
    )


def test_another_run_takes_nothing_back(two):
    run_2(two, "activate")
    before = snapshot(two.host.root)
    answer = two.revert("v2", run=two.run("run-3"))
    assert (answer["outcome"], answer["changed"], answer["active_release_id"]) == ("unchanged", False, "v2")
    assert snapshot(two.host.root) == before


def test_nothing_is_confirmed_without_a_switch(two):
    before = snapshot(two.host.root)
    refused(two, run_2(two, "confirm"), "nothing_to_confirm", before)


def test_another_run_confirms_nothing(two):
    run_2(two, "activate")
    before = snapshot(two.host.root)
    refused(two, two.confirm("v2", run=two.run("run-3")), "nothing_to_confirm", before)


def test_a_release_that_was_never_judged_is_not_confirmed(two):
    """The exchange was killed between its switch and its health check; the controller must not call that a success."""
    run_2(two, "activate")
    lines = two.places.journal.read_bytes().splitlines(keepends=True)
    assert [canonical.parse(line, what="line")["step"] for line in lines[1:]] == ["switched", "healthy"]
    two.places.journal.write_bytes(b"".join(lines[:2]))
    before = snapshot(two.host.root)
    refused(two, run_2(two, "confirm"), "nothing_to_confirm", before)


def test_a_link_that_somebody_moved_by_hand_is_not_confirmed(two):
    run_2(two, "activate")
    two.places.current.unlink()
    two.places.current.symlink_to("releases/v1")
    before = snapshot(two.host.root)
    refused(two, run_2(two, "confirm"), "nothing_to_confirm", before)


def test_a_run_that_lost_its_release_meanwhile_confirms_nothing(two, clock):
    run_2(two, "activate")
    clock.advance(1000)
    two.recover(run=two.run("run-3"))
    before = snapshot(two.host.root)
    refused(two, run_2(two, "confirm"), "nothing_to_confirm", before)


# who may


def test_what_was_planned_must_still_be_active(two):
    before = snapshot(two.host.root)
    answer = run_2(two, "activate", expected_current=None)
    refused(two, answer, "changed_meanwhile", before)
    assert answer["found"].startswith("v1: another run was here")
    refused(two, run_2(two, "activate", expected_current="v0"), "changed_meanwhile", before)


def test_a_recovery_without_a_way_back_does_not_call_itself_settled(two):
    run_2(two, "activate")
    path = two.release("v1") / "config.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    answer = run_2(two, "recover")
    assert (answer["outcome"], answer["changed"], answer["active_release_id"]) == ("stuck", True, "v2")
    assert answer["record"]["status"] == "failed"


def test_recover_settles_and_says_so_once(two):
    run_2(two, "activate")
    first, second = run_2(two, "recover"), run_2(two, "recover")
    assert (first["outcome"], first["changed"], first["active_release_id"]) == ("recovered", True, "v1")
    assert (second["outcome"], second["changed"]) == ("unchanged", False)


# rollback


def test_a_rollback_goes_back_and_marks_what_it_left(two):
    run_2(two, "activate")
    run_2(two, "confirm")
    answer = two.rollback("v1", run=two.run("run-3"), takes_back="run-2", expected_current="v2")
    assert (answer["outcome"], answer["previous_release_id"], two.current) == ("confirmed", "v2", "v1")
    record = two.records[-1]
    assert (record["operation"], record["rollback"], record["takes_back"], record["status"]) == (
        "rollback", True, "run-2", "success",
    )  # fmt: skip
    assert record["smoke_test_passed"] is None
    assert two.inspect()["bad"] == {"v2": "taken back by run run-3"}
    assert two.is_settled()


def test_a_rollback_to_an_ill_release_returns(two):
    run_2(two, "activate")
    run_2(two, "confirm")
    two.sicken("v1")
    answer = two.rollback("v1", run=two.run("run-3"))
    assert (answer["failed"], answer["outcome"], two.current) == (True, "reverted", "v2")


def test_a_rollback_uses_the_shared_paths_that_the_release_was_staged_with(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    site.description["shared_paths"] = ["var/uploads"]
    site.deploy("v2", "run-2")
    assert site.rollback("v1", run=site.run("run-3"))["outcome"] == "confirmed"


# files outside the tree


@pytest.fixture
def motd(site):
    """The host's file /etc/motd, which activation replaces by the release's; returns its path."""
    path = site.host.root / "etc/motd"
    path.write_bytes(b"from before\n")
    path.chmod(0o600)
    site.description["files"] = [{"source": "motd", "path": "/etc/motd", "owner": site.description["user"]}]
    site.build("v1", {**V1, "motd": b"one\n"})
    site.build("v2", {**V2, "motd": b"two\n"})
    return path


def test_a_file_outside_the_tree_is_replaced_and_named_in_the_record(site, motd):
    record = site.deploy("v1")["record"]
    assert (motd.read_bytes(), motd.stat().st_mode & 0o777) == (b"one\n", 0o644)
    (backup,) = record["backups"]
    assert (backup["path"], backup["existed"], backup["mode"]) == ("/etc/motd", True, 0o600)
    assert (site.places.state / backup["backup"]).read_bytes() == b"from before\n"


def test_a_file_outside_the_tree_is_restored_when_the_release_fails(site, motd):
    site.sicken("v1")
    site.stage("v1")
    site.activate("v1")
    assert (motd.read_bytes(), motd.stat().st_mode & 0o777) == (b"from before\n", 0o600)


def test_a_file_that_was_not_there_is_gone_again_when_the_release_fails(site, motd):
    motd.unlink()
    site.sicken("v1")
    site.stage("v1")
    site.activate("v1")
    assert not motd.exists()


def test_a_backup_that_was_altered_is_not_restored(site, motd):
    site.deploy("v1", "run-1")
    site.stage("v2")
    site.activate("v2")
    backup = site.places.backups / site.inspect()["transaction"]["id"] / "0"
    backup.write_bytes(b"evil\n")
    answer = site.revert("v2")
    assert (answer["outcome"], site.current) == ("reverted", "v1")
    assert "files outside the release were not restored: backup_altered" in answer["record"]["message"]
    assert motd.read_bytes() == b"two\n"


def test_a_rollback_brings_the_older_file_back(site, motd):
    site.deploy("v1", "run-1")
    site.deploy("v2", "run-2")
    site.rollback("v1", run=site.run("run-3"))
    assert motd.read_bytes() == b"one\n"


def test_a_rollback_to_a_release_without_the_file_takes_it_from_the_verified_backup(site, motd):
    site.description["files"] = []
    site.deploy("v1", "run-1")
    site.description["files"] = [{"source": "new/motd", "path": "/etc/motd", "owner": site.description["user"]}]
    site.build("v3", {**V3, "new/motd": b"three\n"})
    site.deploy("v3", "run-2")
    (backup,) = site.places.backups.glob("*/0")
    backup.write_bytes(b"evil\n")
    before = snapshot(site.host.root)
    refused(site, site.rollback("v1", run=site.run("run-3")), "backup_altered", before)
    backup.write_bytes(b"from before\n")
    assert site.rollback("v1", run=site.run("run-3"))["outcome"] == "confirmed"
    assert motd.read_bytes() == b"from before\n"


def test_a_file_that_drifted_is_put_right_by_deploying_again(site, motd):
    site.deploy("v1", "run-1")
    motd.write_bytes(b"drifted\n")
    assert site.activate("v1", check=True)["changed"] is True
    assert site.activate("v1")["outcome"] == "switched"
    assert motd.read_bytes() == b"one\n"
    assert site.revert("v1")["outcome"] == "stuck"
    assert motd.read_bytes() == b"drifted\n"


def test_a_link_where_a_file_is_to_be_replaced_is_refused(site, motd):
    site.stage("v1")
    motd.unlink()
    motd.symlink_to("/etc/passwd")
    before = snapshot(site.host.root / "etc", site.places.base)
    answer = site.activate("v1")
    assert (answer["reason"], answer["changed"]) == ("file_not_regular", False)
    assert snapshot(site.host.root / "etc", site.places.base)[str(motd)] == before[str(motd)]
    assert (site.current, site.records, site.is_settled()) == (None, [], True)


def test_an_owner_that_does_not_exist_is_refused(site, motd, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # only root gives files away
    site.description["files"][0]["owner"] = "nobody-by-this-name"
    motd.unlink()
    site.stage("v1")
    before = snapshot(site.host.root)
    refused(site, site.activate("v1"), "owner_unknown", before)


# pruning


def test_pruning_keeps_the_active_release_and_the_one_before(site):
    for number in range(1, 5):
        site.build(f"v{number}", {**V1, "number": b"%d" % number})
        site.deploy(f"v{number}", f"run-{number}")
    run = site.run("run-5")
    site.build("v5", {**V1, "number": b"5"})
    site.stage("v5", run=run)
    site.activate("v5", run=run)
    assert site.confirm("v5", run=run, keep_count=1)["pruned"] == ["v1", "v2", "v3"]
    assert site.store.release_ids() == ["v4", "v5"]
    assert site.rollback("v4", run=site.run("run-6"))["outcome"] == "confirmed"


def test_pruning_keeps_the_signed_manifest_and_drops_objects_that_nobody_needs(site):
    site.build("v1", {"only-one": b"1"})
    site.build("v2", {"only-two": b"2"})
    site.build("v3", {"only-three": b"3"})
    for number in (1, 2):
        site.deploy(f"v{number}", f"run-{number}")
    run = site.run("run-3")
    site.stage("v3", run=run)
    site.activate("v3", run=run)
    site.confirm("v3", run=run, keep_count=1)
    assert {path.read_bytes() for path in site.places.objects.glob("*/*")} == {b"2", b"3"}
    assert [path.name for path in (site.places.manifests / "v1").iterdir()] == ["manifest.dsse.json"]


def test_a_release_that_was_pruned_can_be_deployed_again(site):
    for number in range(1, 4):
        site.build(f"v{number}", {**V1, "number": b"%d" % number})
        run = site.run(f"run-{number}")
        site.stage(f"v{number}", run=run)
        site.activate(f"v{number}", run=run)
        site.confirm(f"v{number}", run=run, keep_count=2)
    assert site.store.release_ids() == ["v2", "v3"]
    site.deploy("v1", "run-9")
    assert site.current == "v1"


def test_a_release_is_confirmed_even_when_pruning_fails(two, monkeypatch):
    """What could not be removed is told, and removed by the next deployment."""
    two.build("v3", V3)
    run_2(two, "activate")
    run_2(two, "confirm")
    run = two.run("run-3")
    two.stage("v3", run=run)
    two.activate("v3", run=run)
    with monkeypatch.context() as broken:
        broken.setattr(
            os, "rmdir", lambda *_arguments, **_options: (_ for _ in ()).throw(OSError(errno.EIO, "bad sector"))
        )
        answer = two.confirm("v3", run=run, keep_count=2)
    assert (answer["outcome"], answer["pruned"], two.statuses[-1]) == ("confirmed", [], ("v3", "success"))
    assert "bad sector" in answer["prune_error"]
    two.recover()
    assert (two.store.release_ids(), two.is_settled()) == (["v2", "v3"], True)


# beside each other


def test_two_applications_on_one_host_do_not_touch_each_other(site, systemctl):
    systemctl.units["other.service"] = ("loaded", "active", "running")
    other = Site(site.directory, site.host, application="other")
    other.description["unit"] = "other.service"
    site.build("v1", V1)
    other.build("v1", V2)
    other.deploy("v1")
    before = snapshot(other.places.base, other.places.state)
    calls = [call for call in systemctl.calls if "other.service" in call]
    site.deploy("v1")
    site.sicken("v2")
    site.build("v2", V3)
    site.stage("v2", run=site.run("run-2"))
    assert site.activate("v2", run=site.run("run-2"))["outcome"] == "reverted"
    assert snapshot(other.places.base, other.places.state) == before
    assert [call for call in systemctl.calls if "other.service" in call] == calls


# what a wrong clock, a moved link or a full disk must not do


def test_a_clock_that_once_ran_ahead_does_not_block_the_way_back(two, clock):
    clock.time += 30 * signed.DAY
    run_2(two, "activate")
    run_2(two, "confirm")
    clock.time -= 30 * signed.DAY
    assert two.stage("v1")["reason"] == "clock_set_back"
    assert two.rollback("v1")["outcome"] == "confirmed"


def test_recovery_with_a_clock_at_its_beginning_goes_back(two, clock):
    run_2(two, "activate")
    clock.time = 0
    answer = two.recover(run=two.run("run-3", dead_runs=["run-2"]))
    assert (answer["outcome"], two.current) == ("recovered", "v1")
    assert two.statuses[-1] == ("v2", "interrupted")


def test_a_release_stays_confirmed_when_old_ones_cannot_be_removed(two, monkeypatch):
    run_2(two, "activate")

    def fail(*_arguments):
        raise OSError(errno.EIO, "the disk is dying")

    monkeypatch.setattr(store.Store, "prune", fail)
    answer = run_2(two, "confirm")
    assert (answer["outcome"], answer["pruned"], "the disk is dying" in answer["prune_error"]) == (
        "confirmed",
        [],
        True,
    )
    assert (two.statuses[-1], two.is_settled()) == (("v2", "success"), True)


def test_going_back_after_the_unit_has_changed_runs_the_one_before(two, systemctl):
    systemctl.units["shop2.service"] = ("loaded", "inactive", "dead")
    two.description = {**two.description, "unit": "shop2.service"}
    two.stage("v2", run=two.run("run-2"))
    two.sicken("v2")
    systemctl.calls.clear()
    assert run_2(two, "activate")["outcome"] == "reverted"
    switched = [call for call in systemctl.calls if call[0] in ("restart", "stop")]
    assert switched == [("restart", "shop2.service"), ("stop", "shop2.service"), ("restart", UNIT)]


def test_a_rollback_does_not_lift_the_mark_of_a_bad_release(two):
    run_2(two, "activate")
    run_2(two, "confirm")
    two.rollback("v1", run=two.run("run-3"))
    before = snapshot(two.host.root)
    refused(two, two.rollback("v2", retry=True), "release_bad", before)


def test_how_long_the_unit_took_to_start_is_recorded(site, systemctl):
    site.build("v1", V1)
    times = {"InactiveExitTimestampMonotonic": "5000000", "ActiveEnterTimestampMonotonic": "5250000"}
    systemctl.properties[UNIT] = times
    site.deploy("v1")
    assert site.records[-1]["durations"]["startup_ms"] == 250


def test_a_canary_can_read_its_share_until_its_release_is_confirmed(two, systemctl):
    share, seen = two.places.share, []
    systemctl.before = lambda arguments: seen.append(share.exists() and share.read_text())
    two.stage("v2")
    assert two.activate("v2", share=10)["outcome"] == "switched"
    assert seen[-1] == "10\n", "it is there when the unit starts"
    assert (share.stat().st_mode & 0o777, share.stat().st_uid) == (0o644, two.host.uid)
    two.confirm("v2")
    assert not share.exists()


def test_a_release_before_never_sees_the_share_of_the_one_that_failed(two, systemctl):
    share, seen = two.places.share, []
    two.sicken("v2")
    two.stage("v2")
    systemctl.before = lambda arguments: seen.append((arguments[0], two.current, share.exists()))
    assert two.activate("v2", share=10)["outcome"] == "reverted"
    assert [each for each in seen if each[0] == "restart"] == [("restart", "v2", True), ("restart", "v1", False)]
    assert not share.exists()


def test_a_share_that_is_left_without_a_transaction_is_swept_up(two):
    """What is so after somebody moved a journal away that cannot be read."""
    two.stage("v2")
    two.activate("v2", share=10)
    two.places.journal.rename(two.places.journal.with_name("journal.away"))
    two.recover(run=two.run("run-9", dead_runs=["run-1"]))
    assert not two.places.share.exists()


@pytest.mark.parametrize("share", [0, 101, True, "10"])
def test_a_share_that_is_no_percentage_is_refused(two, share):
    two.stage("v2")
    answer = two.activate("v2", share=share)
    assert (answer["reason"], answer["changed"], two.current) == ("share_invalid", False, "v1")


def test_all_of_its_work_needs_no_share_and_a_rollback_has_none(two):
    two.stage("v2")
    two.activate("v2", share=100)
    assert not two.places.share.exists()
    two.confirm("v2")
    two.rollback("v1", run=two.run("run-3"), keep=False, share=10)
    assert (two.current, two.places.share.exists()) == ("v1", False)
