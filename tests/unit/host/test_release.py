# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchanges of a deployment, through the one door, with real signed releases and real files."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil

import pytest
import signed
import stores
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.files import remove_tree
from ansible.module_utils.slipway.host import fetch, lease, pack, release, store
from ansible.module_utils.slipway.trust import dsse
from packs import member, packed
from releases import UNIT, V1, V2, V3, Site, snapshot
from stores import Mirror

EXCHANGES = ("stage", "activate", "confirm", "revert", "recover")


def ask(site, exchange, release_id, **keys):
    return site.recover(**keys) if exchange == "recover" else getattr(site, exchange)(release_id, **keys)


@pytest.fixture
def two(site):
    """v1 is active, v2 is staged by run-2."""
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    site.stage("v2", run=site.run("run-2"))
    return site


def run_2(site, exchange, release_id="v2", **keys):
    return ask(site, exchange, release_id, run=site.run("run-2"), **keys)


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


def test_only_missing_objects_are_asked_for(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1")
    answer = site.stage("v2", objects=[])
    new = next(entry.sha256 for entry in site.made("v2").files if entry.path == "bin/shop")
    assert (answer["missing"], answer["changed"], site.store.holds("v2")) == ([new], False, False)
    answer = site.stage("v2", objects=[new])
    assert (answer["missing"], answer["objects"], answer["bytes"]) == ([], 1, len(V2["bin/shop!"]))
    assert site.store.holds("v2")


def test_a_file_that_only_changes_its_mode_does_not_travel_again(site):
    site.build("v1", V1)
    site.build("v2", {key.rstrip("!") if key == "bin/shop!" else key: value for key, value in V1.items()})
    site.deploy("v1")
    assert site.stage("v2", objects=[])["missing"] == []
    assert (site.release("v2") / "bin/shop").stat().st_mode & 0o777 == 0o644
    assert (site.release("v1") / "bin/shop").stat().st_mode & 0o777 == 0o755


def test_a_release_that_is_here_needs_no_pack(two):
    assert two.ask("stage", release_id="v2", pack=None)["changed"] is False


def test_staging_takes_no_lease_and_touches_nothing_active(two):
    assert (two.current, two.inspect()["lease"], two.statuses) == ("v1", None, [("v1", "success")])


def test_objects_that_the_host_has_already_are_read_past(two):
    two.build("v3", V3)
    assert two.stage("v3")["objects"] == 1
    assert (two.release("v3") / "data/same").read_bytes() == V3["data/same"]


def test_files_carry_the_time_at_which_their_release_was_created(two):
    created = two.catalogue.manifest("shop", "v2").sequence
    assert (two.release("v2") / "bin/shop").stat().st_mtime == created
    assert (two.release("v2") / "empty").stat().st_mtime == created
    assert (two.release("v2") / "data/same").stat().st_mtime == two.catalogue.manifest("shop", "v1").sequence


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


@pytest.mark.parametrize("so", ["staged only", "ill", "unconfirmed", "another file of it was changed"])
def test_staging_does_not_call_a_release_unchanged_that_is_to_be_switched(two, systemctl, so):
    """Whoever hears that, switches nothing."""
    run = two.run("run-2")
    if so == "staged only":
        answer = two.stage("v2", run=run)
    elif so == "ill":
        systemctl.units[UNIT] = ("loaded", "failed", "failed")
        answer = two.stage("v1", run=run)
    elif so == "unconfirmed":
        run_2(two, "activate")
        answer = two.stage("v2", run=two.run("run-3"))
    else:
        two.description["files"] = [
            {"source": "config.json", "path": "/etc/shop.json", "owner": two.description["user"]}
        ]
        (two.host.root / "etc/shop.json").write_text("somebody's\n")
        answer = two.stage("v1", run=run)
    assert not answer.get("failed"), answer
    assert "outcome" not in answer


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


def test_check_mode_changes_nothing_in_any_exchange(two):
    two.build("v3", V3)
    before = snapshot(two.host.root)
    for exchange in EXCHANGES:
        for release_id in ("v1", "v2", "v3"):
            ask(two, exchange, release_id, check=True)
    assert two.rollback("v2", check=True)["reason"] == "release_never_active"
    assert snapshot(two.host.root) == before


@pytest.mark.parametrize("release_id", ["v1", "v2", "v3"])
def test_check_mode_predicts_what_each_exchange_then_does(two, release_id):
    two.build("v3", V3)
    run = two.run("run-3")
    predicted = [ask(two, exchange, release_id, run=run, check=True) for exchange in ("stage", "activate", "confirm")]
    real = [ask(two, exchange, release_id, run=run) for exchange in ("stage", "activate", "confirm")]
    for before, after in zip(predicted, real, strict=True):
        assert (before["changed"], before.get("diff"), before.get("outcome")) == (
            after["changed"], after.get("diff"), after.get("outcome"),
        )  # fmt: skip
    assert (predicted[0]["objects"], predicted[0]["bytes"]) == (real[0]["objects"], real[0]["bytes"])


def test_check_mode_predicts_a_rollback(two):
    run_2(two, "activate")
    run_2(two, "confirm")
    predicted, real = two.rollback("v1", check=True), two.rollback("v1")
    assert (predicted["changed"], predicted["outcome"], predicted["diff"]) == (True, "confirmed", real["diff"])
    assert (real["changed"], real["outcome"]) == (True, "confirmed")


@pytest.mark.parametrize("exchange", ["stage", "activate", "recover"])
def test_check_mode_predicts_a_run_that_first_recovers(two, exchange):
    two.build("v3", V3)
    two.stage("v3", run=two.run("run-3"))
    run_2(two, "activate")
    run = two.run("run-3", dead_runs=["run-2"])
    before = snapshot(two.host.root)
    predicted = ask(two, exchange, "v3", run=run, check=True)
    assert snapshot(two.host.root) == before
    real = ask(two, exchange, "v3", run=run)
    for key in ("changed", "diff", "recovered", "outcome", "previous_release_id", "active_release_id"):
        assert predicted.get(key) == real.get(key), key
    assert real["changed"] is True


def test_check_mode_shows_what_is_active_while_another_run_is_at_work(two):
    run_2(two, "activate")
    assert two.stage("v1", run=two.run("run-3"), check=True)["diff"]["before_header"] == "shop v2"
    assert two.stage("v1", run=two.run("run-3"))["diff"]["before_header"] == "shop v2"
    assert two.current == "v2"


def test_the_difference_names_changed_files_only(two):
    diff = two.stage("v2")["diff"]
    assert (diff["before_header"], diff["after_header"]) == ("shop v1", "shop v2")
    assert [line.split()[-1] for line in diff["before"].splitlines()] == ["bin/shop"]
    assert diff["before"] != diff["after"]


def test_a_long_difference_is_cut_and_counted(site):
    site.build("v1", {f"f{number:03}": b"x" for number in range(205)})
    diff = site.stage("v1")["diff"]
    assert (diff["before"], len(diff["after"].splitlines())) == ("(+5 more)\n", 201)


def test_the_difference_says_when_the_active_release_cannot_be_read(two):
    (two.places.manifests / "v1" / "file-list.json").unlink()
    assert "the file list of v1 cannot be shown: file_list_missing" in two.stage("v2")["diff"]["before"]


# refusals: nothing is changed


def refused(site, answer, reason, before):
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, reason), answer
    assert answer["msg"].startswith(f"{reason}: expected ")
    assert snapshot(site.host.root) == before


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_request_for_another_environment_is_refused(two, exchange):
    before = snapshot(two.host.root)
    refused(two, ask(two, exchange, "v2", environment="staging"), "environment_mismatch", before)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_wrong_description_is_refused(two, exchange):
    before = snapshot(two.host.root)
    two.description["unti"] = "shop.service"
    refused(two, ask(two, exchange, "v2"), "application_invalid", before)


@pytest.mark.parametrize("release_id", ["", "../v1", ".staging-v1", "v1/bin", "v..1"])
@pytest.mark.parametrize("exchange", EXCHANGES[:4])
def test_what_cannot_be_a_release_id_is_refused(two, exchange, release_id):
    before = snapshot(two.host.root)
    answer = two.ask(exchange, release_id=release_id, pack=None, keep_count=5, reason="r", message="m")
    refused(two, answer, "release_id_invalid", before)


def test_an_application_without_its_directories_is_refused(two):
    other = Site(two.directory, two.host, application="other", description=two.description)
    other.places.base.rmdir()
    before = snapshot(two.host.root)
    refused(two, other.ask("recover"), "application_not_bootstrapped", before)


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


def test_a_clock_that_was_set_back_is_refused(two, clock):
    clock.time -= 3600
    before = snapshot(two.host.root)
    refused(two, two.stage("v2"), "clock_set_back", before)
    refused(two, two.activate("v2"), "clock_set_back", before)


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


def altered_pack(site, release_id, change):
    """A pack whose envelope a test has bent."""
    file_list = site.made(release_id).encode()
    path = site.directory / "bent.pack"
    with open(path, "wb") as stream:
        envelope = change(site.catalogue.manifest_path("shop", release_id).read_bytes())
        pack.write(stream, manifest=envelope, file_list=file_list, resident=None, objects=())
    return str(path)


def one_byte_altered(data):
    envelope = dsse.Envelope.parse(data, payload_type=dsse.IN_TOTO_TYPE, what="manifest")
    payload = envelope.payload.replace(b'"version":"1.0"', b'"version":"1.1"')
    assert payload != envelope.payload
    return dsse.Envelope(envelope.payload_type, payload, envelope.signatures).encode()


def signed_by_another(data):
    envelope = dsse.Envelope.parse(data, payload_type=dsse.IN_TOTO_TYPE, what="manifest")
    return signed.sign(envelope.payload, signed.OTHER_KEY)


def unsigned(data):
    envelope = dsse.Envelope.parse(data, payload_type=dsse.IN_TOTO_TYPE, what="manifest")
    return dsse.Envelope(envelope.payload_type, envelope.payload, ()).encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (one_byte_altered, "signature_invalid"),
        (signed_by_another, "signature_unknown"),
        (unsigned, "envelope_unsigned"),
    ],
)
def test_a_manifest_that_the_builder_did_not_sign_is_refused(two, change, reason):
    bent = altered_pack(two, "v2", change)
    before = snapshot(two.host.root)
    refused(two, two.ask("stage", release_id="v2", pack=bent), reason, before)


def test_a_release_of_another_application_is_refused(site):
    site.build("v1", V1)
    other = Site(site.directory, site.host, application="other")
    pack = site.pack("v1", site.objects("v1"))
    other.recover()
    before = snapshot(site.host.root)
    refused(site, other.ask("stage", release_id="v1", pack=pack), "application_mismatch", before)


def test_a_manifest_of_another_release_is_refused(two):
    pack = two.pack("v2", [])
    before = snapshot(two.host.root)
    refused(two, two.ask("stage", release_id="v1", pack=pack), "release_mismatch", before)


def test_an_id_names_one_content_for_ever(two, clock):
    """Another catalogue, the same id: what is active, or could be gone back to, is not replaced."""
    other = Site(two.directory / "elsewhere", two.host)
    other.build("v1", V3)
    pack = other.pack("v1", other.objects("v1"))
    before = snapshot(two.host.root)
    refused(two, two.ask("stage", release_id="v1", pack=pack), "release_id_taken", before)


def test_a_shared_path_that_a_release_brings_itself_is_refused(site):
    site.description["shared_paths"] = ["data"]
    site.build("v1", V1)
    site.recover()
    before = snapshot(site.host.root)
    refused(site, site.stage("v1"), "shared_path_taken", before)


def test_bytes_that_have_not_the_name_of_their_object_are_refused(site):
    site.build("v1", V1)
    documents = member(pack.MANIFEST, site.catalogue.manifest_path("shop", "v1").read_bytes()) + member(
        pack.FILE_LIST, site.made("v1").encode()
    )
    name = next(entry.sha256 for entry in site.made("v1").files if entry.path == "bin/shop")
    forged = site.directory / "forged.pack"
    forged.write_bytes(packed(documents, member(name, b"#!/bin/sh\necho ONE\n")))
    answer = site.ask("stage", release_id="v1", pack=str(forged))
    assert (answer["reason"], answer["changed"]) == ("object_altered", False)
    assert (site.store.release_ids(), site.is_settled()) == ([], True)


def test_a_member_that_does_not_parse_is_refused(site):
    """A host judges for itself: the controller that built this did not."""
    site.build("v1", {"config.json": b"{}"}, members="[{path: config.json}]")
    manifest = site.catalogue.manifest("shop", "v1")
    bad = signed.release(
        site.directory / "bad", {"config.json": b"{"}, application="shop", members=manifest.members, version="1.0", release_id="v2",
        sequence=manifest.sequence,
    )  # fmt: skip
    site.catalogue.add(
        bad.envelope, bad.file_list.encode(), {bad.file_list.files[0].sha256: bad.directory / "config.json"}
    )
    assert site.stage("v2")["reason"] == "members_invalid"
    assert (site.store.holds("v2"), site.is_settled()) == (False, True)


def test_a_host_without_room_is_refused_before_anything_is_written(two, monkeypatch):
    two.build("v3", V3)
    real = os.statvfs(two.places.base)
    full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    before = snapshot(two.host.root)
    refused(two, two.stage("v3"), "disk_full", before)


def test_a_host_without_inodes_is_refused_before_anything_is_written(two, monkeypatch):
    two.build("v3", V3)
    real = os.statvfs(two.places.base)
    full = os.statvfs_result((*real[:5], 1000, 0, 0, *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    before = snapshot(two.host.root)
    answer = two.stage("v3")
    refused(two, answer, "disk_full", before)
    assert answer["found"].endswith(" and 0 inodes")


# bytes on disk that are not what was signed


def one_byte(release):
    path = release / "bin/shop"
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"0\n")


def another_mode(release):
    (release / "config.json").chmod(0o755)


def an_extra_file(release):
    (release / ".hidden").touch()


def a_missing_file(release):
    (release / "config.json").unlink()


def an_empty_directory_gone(release):
    (release / "empty").rmdir()


def a_link_for_a_file(release):
    (release / "config.json").unlink()
    (release / "config.json").symlink_to("/etc/passwd")


TAMPERINGS = [one_byte, another_mode, an_extra_file, a_missing_file, an_empty_directory_gone, a_link_for_a_file]


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


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_staging_again_mends_an_altered_release(two, tamper):
    tamper(two.release("v2"))
    assert run_2(two, "stage")["changed"] is True
    assert run_2(two, "activate")["outcome"] == "switched"
    assert (two.release("v2") / "bin/shop").read_bytes() == V2["bin/shop!"]


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_what_is_active_is_never_built_anew_in_place(two, tamper):
    tamper(two.release("v1"))
    before = snapshot(two.host.root)
    answer = two.stage("v1")
    refused(two, answer, "release_altered", before)
    assert "deploy another release" in answer["remedy"]


def test_an_object_that_was_altered_in_the_store_is_sent_again(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1")
    altered = next(entry for entry in site.made("v2").files if entry.path == "data/same")
    site.store.object(altered).write_bytes(b"evil" * 100)
    assert altered.sha256 in site.stage("v2", objects=[])["missing"]
    site.stage("v2")
    assert site.activate("v2")["outcome"] == "switched"
    assert (site.release("v2") / "data/same").read_bytes() == V2["data/same"]


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


def test_another_description_is_kept_with_what_is_active(two):
    two.description["health_patience"] = {"retries": 1, "interval_seconds": 0, "deadline_seconds": 2}
    assert two.stage("v1", check=True)["changed"] is True
    assert two.stage("v1")["changed"] is True
    assert two.stage("v1")["changed"] is False


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


# the declared check


def test_a_check_that_fails_stops_the_deployment_before_the_switch(site):
    site.description["check"] = {"argv": ["sh", "-c", "echo no such luck; exit 3"]}
    site.build("v1", V1)
    answer = site.stage("v1")
    assert (answer["failed"], answer["reason"], site.current) == (True, "check_failed", None)
    assert "exit code 3: no such luck" in answer["msg"]
    assert (site.statuses, site.records[0]["reason"], site.records[0]["rollback"]) == (
        [("v1", "failed")],
        "check_failed",
        False,
    )
    assert site.inspect()["bad"] == {}
    assert site.stage("v1")["reason"] == "check_failed"


def test_the_check_runs_in_the_staged_release(site):
    site.description["check"] = {"argv": ["sh", "-c", "cat config.json; pwd"]}
    site.build("v1", V1)
    answer = site.stage("v1")
    assert answer["check"] == f"exit code 0: {V1['config.json'].decode()}{site.release('v1')}"


def test_a_release_that_waits_is_checked_again_when_it_is_staged_again(two):
    two.description["check"] = {"argv": ["false"]}
    assert run_2(two, "stage")["reason"] == "check_failed"
    assert two.statuses[-1] == ("v2", "failed")
    assert run_2(two, "stage", "v1").get("failed") is None


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


def test_another_run_is_told_who_is_at_work(two):
    run_2(two, "activate")
    before = snapshot(two.host.root)
    for exchange in ("activate", "recover"):
        answer = ask(two, exchange, "v1", run=two.run("run-3"))
        refused(two, answer, "locked", before)
        assert "held by alice (run run-2, deploy of v2, since " in answer["found"]
    assert two.inspect()["lease"]["run_id"] == "run-2"


def test_staging_goes_on_beside_a_switched_release(two):
    two.build("v3", V3)
    run_2(two, "activate")
    assert two.stage("v3", run=two.run("run-3"))["recovered"] is False
    assert run_2(two, "confirm")["outcome"] == "confirmed"


def test_a_controller_takes_over_from_its_own_dead_run_and_recovers_first(two):
    run_2(two, "activate")
    two.build("v3", V3)
    run = two.run("run-3", dead_runs=["run-2"])
    assert two.stage("v3", run=run)["recovered"] is True
    assert (two.current, two.statuses[-1]) == ("v1", ("v2", "interrupted"))
    assert two.inspect()["bad"] == {}
    assert two.activate("v3", run=run, expected_current="v1")["outcome"] == "switched"


def test_a_dead_run_of_another_controller_is_left_alone(two):
    run_2(two, "activate")
    run = two.run("run-3", dead_runs=["run-2"], controller_id="controller-2")
    assert two.activate("v1", run=run)["reason"] == "locked"


def without_deadman(site):
    """Let the open transaction be one of a Slipway that knew no dead-man."""
    intent, *steps = site.places.journal.read_bytes().splitlines(keepends=True)
    older = {key: value for key, value in canonical.parse(intent, what="intent").items() if key != "deadline"}
    site.places.journal.write_bytes(b"".join([canonical.encode(older) + b"\n", *steps]))


def test_an_expired_lease_stops_nobody(two, clock):
    run_2(two, "activate")
    clock.advance(900)
    answer = two.activate("v1", run=two.run("run-3"))
    assert (answer["recovered"], answer["changed"], answer["outcome"]) == (True, True, "unchanged")
    assert two.statuses[-1] == ("v2", "rolled_back")


@pytest.mark.parametrize("check", [True, False])
def test_staging_leaves_the_expired_run_of_another_controller_alone(two, clock, check):
    """It waits for somebody who wants to switch; the difference is shown to what is active until then."""
    run_2(two, "activate")
    without_deadman(two)
    clock.advance(1000)
    answer = two.stage("v1", run=two.run("run-3", controller_id="controller-2"), check=check)
    assert (answer["recovered"], two.current) == (False, "v2")
    assert answer["diff"]["before_header"] == "shop v2"


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


@pytest.fixture
def occupied(two):
    """The lock as another exchange on this host holds it, whose end is to close this descriptor."""
    descriptor = os.open(two.places.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_an_exchange_waits_for_the_one_before_it_to_end(two, clock, occupied, monkeypatch):
    monkeypatch.setattr(clock, "sleep", lambda _seconds: os.close(occupied))
    assert two.recover()["outcome"] == "unchanged"


def test_an_exchange_that_waits_too_long_is_refused(two, clock, occupied):
    before = snapshot(two.host.root)
    refused(two, run_2(two, "activate"), "busy", before)
    assert sum(clock.slept) >= lease.EXCLUSIVE_WAIT_SECONDS
    os.close(occupied)


def test_of_two_runs_at_once_one_wins_and_the_other_names_it(two):
    """Two real processes activate at the same moment."""
    two.build("v3", V3)
    two.stage("v3", run=two.run("run-3"))
    ready, go = os.pipe()
    children = []
    for run_id, release_id in (("run-2", "v2"), ("run-3", "v3")):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            object.__setattr__(two.host, "clock", SystemClock())
            SystemClock.now = lambda _self: signed.NOW + 100
            os.close(go)
            os.read(ready, 1)
            answer = two.activate(release_id, run=two.run(run_id))
            os.write(writer, str(answer.get("reason") or answer["outcome"]).encode())
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    os.close(go)
    outcomes = sorted(os.read(reader, 100).decode() for _pid, reader in children)
    for pid, reader in children:
        os.waitpid(pid, 0)
        os.close(reader)
    assert outcomes == ["locked", "switched"]
    assert two.current in ("v2", "v3")


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


# shared paths


def test_shared_paths_are_links_that_outlive_releases(site):
    site.description["shared_paths"] = ["var/uploads", "log"]
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    (site.places.current / "var/uploads/photo").write_bytes(b"mine")
    site.deploy("v2", "run-2")
    assert (site.places.current / "var/uploads/photo").read_bytes() == b"mine"
    assert os.readlink(site.release("v2") / "log") == "../../shared/log"


def test_the_shared_paths_of_what_is_active_are_not_changed_in_place(two):
    two.description["shared_paths"] = ["log"]
    before = snapshot(two.host.root)
    answer = two.stage("v1")
    refused(two, answer, "shared_paths_changed", before)
    assert (answer["found"], answer["expected"].endswith("staged with: none")) == ("log", True)


def test_the_shared_paths_of_a_waiting_release_may_change(two):
    two.description["shared_paths"] = ["log"]
    assert run_2(two, "stage")["changed"] is True
    assert run_2(two, "activate")["outcome"] == "switched"


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


# the resident package


def test_the_resident_package_is_replaced_by_the_one_in_the_pack(site):
    site.build("v1", V1)
    assert site.stage("v1", resident=b"package", check=True)["resident_refreshed"] is True
    assert not site.host.resident.exists()
    assert site.stage("v1", resident=b"package")["resident_refreshed"] is True
    assert (site.host.resident.read_bytes(), site.host.resident.stat().st_mode & 0o777) == (b"package", 0o755)


def test_a_refused_release_does_not_bring_a_resident_package(two):
    one_byte(two.release("v1"))
    before = snapshot(two.host.root)
    refused(two, two.stage("v1", resident=b"package"), "release_altered", before)


def test_a_shipment_that_lacks_objects_does_not_bring_the_resident_package_yet(site):
    site.build("v1", V1)
    assert site.stage("v1", objects=[], resident=b"package")["resident_refreshed"] is False
    assert not site.host.resident.exists()


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


def test_staging_leaves_the_expired_run_of_another_controller_to_who_switches(two, clock):
    run_2(two, "activate")
    without_deadman(two)
    clock.time += 901
    other = two.run("run-3", controller_id="controller-2")
    assert two.stage("v1", run=other)["recovered"] is False
    assert two.current == "v2"
    answer = two.activate("v1", run=other)
    assert (answer["recovered"], two.current) == (True, "v1")


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


def test_what_filled_the_disk_is_removed_again(two, monkeypatch):
    two.build("v3", V3)

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.Store, "build", fail)
    assert two.stage("v3")["reason"] == "disk_full"
    alone = [path for path in two.places.objects.glob("*/*") if path.stat().st_nlink == 1]
    assert alone == []


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


def test_a_candidate_is_judged_in_check_mode_and_never_taken(site):
    site.build("v1", V1)
    site.deploy("v1")
    site.build("c1", V2, candidate=True)
    before = snapshot(site.host.root)
    assert site.stage("c1", check=True)["changed"]
    answer = site.stage("c1")
    assert (answer["failed"], answer["reason"], answer["changed"]) == (True, "release_is_candidate", False)
    assert snapshot(site.host.root) == before


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


# from an artifact store


@pytest.fixture
def mirror(site):
    """A store that serves what the catalogue has."""
    made = Mirror(site.catalogue.root)
    yield made
    made.close()


def pull(site, release_id, *mirrors, **keys):
    """Stage with a pack that brings no object."""
    return site.stage(release_id, objects=(), source=[mirror.url for mirror in mirrors], **keys)


def test_a_host_fetches_what_it_lacks_and_nothing_else(site, mirror):
    site.build("v1", V1)
    site.build("v2", V2)
    first = pull(site, "v1", mirror)
    brought = sum((site.catalogue.object_path("shop", name)).stat().st_size for name in site.objects("v1"))
    assert first["fetched"] == {"objects": len(site.objects("v1")), "bytes": brought, "resumed_bytes": 0, "left": {}}
    assert (first["changed"], first["missing"], first["objects"]) == (True, [], len(site.objects("v1")))
    mirror.asked.clear()
    second = pull(site, "v2", mirror)
    assert {asked.path for asked in mirror.asked} == {
        f"/shop/objects/{name[:2]}/{name}" for name in site.objects("v2") - site.objects("v1")
    }
    assert second["fetched"]["objects"] == second["objects"] == len(mirror.asked)
    assert not site.places.incoming.exists()
    assert not site.activate("v2").get("failed")


def test_what_was_fetched_is_what_would_have_been_sent(site, mirror, in_memory):
    """Modes, times, links between releases: the way by which bytes came leaves no trace."""
    site.build("v1", {**V1, "run!": b"the same bytes", "text": b"the same bytes"})
    pull(site, "v1", mirror)
    fetched = sorted((path, told[0], told[3], told[4], told[6]) for path, told in snapshot(site.places.base).items())
    shutil.rmtree(site.places.objects)
    remove_tree(site.release("v1"))
    site.stage("v1")
    sent = sorted((path, told[0], told[3], told[4], told[6]) for path, told in snapshot(site.places.base).items())
    assert [each for each in fetched if "/releases/v1" in each[0]] == [
        each for each in sent if "/releases/v1" in each[0]
    ]
    assert [each[0] for each in fetched] == [each[0] for each in sent]


def test_a_release_that_is_whole_asks_no_store(site, mirror):
    site.build("v1", V1)
    site.stage("v1")
    answer = pull(site, "v1", mirror)
    assert (answer["changed"], answer["fetched"], mirror.asked) == (False, None, [])


def test_check_mode_asks_no_store(site, mirror):
    site.build("v1", V1)
    before = snapshot(site.host.root)
    answer = pull(site, "v1", mirror, check=True)
    assert (answer["changed"], answer["missing"], mirror.asked) == (True, [], [])
    assert snapshot(site.host.root) == before


def test_a_store_that_fails_changes_nothing_and_the_next_run_goes_on(site, mirror):
    site.build("v1", {**V1, "big": bytes(200_000)})
    site.deploy("v1")
    site.build("v2", {**V1, "big": b"x" * 200_000})
    mirror.always = stores.cut_after(1000)
    before = [site.current, site.records, site.store.release_ids()]
    answer = pull(site, "v2", mirror, run=site.run("run-2"))
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, "source_unreachable")
    assert [site.current, site.records, site.store.release_ids()] == before
    mirror.always = None
    answer = pull(site, "v2", mirror, run=site.run("run-3"))
    assert answer["fetched"]["resumed_bytes"] == 6000
    assert mirror.asked[-1].range == "bytes=6000-"
    assert not site.activate("v2", run=site.run("run-3")).get("failed")


def test_a_confirmation_removes_what_a_fetch_left(site, mirror):
    site.build("v1", V1)
    site.build("v2", {**V2, "big": b"x" * 50_000})
    mirror.always = stores.cut_after(1000)
    assert pull(site, "v2", mirror)["reason"] == "source_unreachable"
    assert site.places.incoming.exists()
    site.deploy("v1", "run-2")
    assert not site.places.incoming.exists()


def test_a_mirror_that_was_left_is_a_warning(site, mirror):
    other = Mirror(site.catalogue.root)
    mirror.always = stores.other_bytes
    site.build("v1", V1)
    answer = pull(site, "v1", mirror, other)
    other.close()
    assert not answer.get("failed")
    assert [warning.split(":")[0] for warning in answer["warnings"]] == ["http"]
    assert mirror.url in answer["warnings"][0]


def test_nothing_of_a_store_that_lies_is_ever_an_object(site, mirror):
    site.build("v1", V1)
    mirror.always = stores.other_bytes
    assert pull(site, "v1", mirror)["reason"] == "source_altered"
    assert [path for path in site.places.objects.rglob("*") if path.is_file()] == []
    assert site.store.release_ids() == []


def test_a_way_back_does_not_wait_for_a_store(two, mirror):
    """The store answers only when the application has gone back."""
    two.activate("v2", run=two.run("run-2"))
    two.build("v3", V3)
    reverted = []

    def revert_first(answering):
        if not reverted:
            reverted.append(two.revert("v2", run=two.run("run-2")))
        stores.Answering.well(answering)

    mirror.always = revert_first
    answer = pull(two, "v3", mirror, run=two.run("run-3"))
    assert reverted[0]["outcome"] == "reverted"
    assert answer["changed"]


def test_what_is_pruned_meanwhile_is_fetched_again(site, mirror):
    """Another run of the application ends between the fetch and the staging: it removes what no release links."""
    site.build("v1", V1)
    pull(site, "v1", mirror)
    remove_tree(site.release("v1"))
    pruned = []

    def prune_first(answering):
        if not pruned:
            pruned.append(site.store.prune(()))
        stores.Answering.well(answering)

    site.build("v2", V2)
    mirror.always = prune_first
    answer = pull(site, "v2", mirror)
    assert (answer["missing"], answer["changed"]) == ([], True)
    assert answer["fetched"]["objects"] > answer["objects"] - 1
    assert site.store.release_ids() == ["v2"]


def test_what_keeps_being_pruned_is_named_in_the_end(site, mirror, monkeypatch):
    site.build("v1", V1)
    monkeypatch.setattr(release, "replace", lambda incoming, **_changes: incoming)  # as if what was fetched were gone
    answer = pull(site, "v1", mirror)
    assert (answer["missing"], answer["changed"]) == (sorted(site.objects("v1")), False)


def test_a_failure_after_a_recovery_says_that_something_changed(two, mirror):
    two.activate("v2", run=two.run("run-2"))
    two.build("v3", V3)
    mirror.always = stores.status(404)
    answer = pull(two, "v3", mirror, run=two.run("run-3", dead_runs=["run-2"]))
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, True, "source_lacks_object")
    assert two.current == "v1"


def test_a_disk_that_is_full_keeps_no_parts(site, mirror, monkeypatch):
    site.build("v1", V1)

    def full(_descriptor, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "write_sparse", full)
    assert pull(site, "v1", mirror)["reason"] == "disk_full"
    assert not site.places.incoming.exists()


def test_room_is_asked_for_what_is_still_to_come(site, mirror, monkeypatch):
    """All but a part of it is here, so that part is all that needs room."""
    site.build("v1", {"big": b"x" * 100_000})
    mirror.always = stores.cut_after(10_000)
    pull(site, "v1", mirror)
    real = os.statvfs(site.places.base)
    held = sum(path.stat().st_size for path in site.places.incoming.iterdir())
    needed = sum(entry.size for entry in site.made("v1").files) - held

    def room(free):
        fields = list(real)
        fields[os.statvfs_result.__match_args__.index("f_bavail")] = free
        fields[os.statvfs_result.__match_args__.index("f_frsize")] = 1
        return os.statvfs_result(fields)

    mirror.always = None
    monkeypatch.setattr(os, "statvfs", lambda _path: room(needed - 1))
    assert pull(site, "v1", mirror)["reason"] == "disk_full"
    monkeypatch.setattr(os, "statvfs", lambda _path: room(needed))
    assert pull(site, "v1", mirror)["changed"]


def test_a_source_that_is_none_is_refused_before_anything_else(site):
    site.build("v1", V1)
    before = snapshot(site.host.root)
    answer = site.stage("v1", objects=(), source="examples/hello")
    assert (answer["reason"], snapshot(site.host.root)) == ("source_invalid", before)
