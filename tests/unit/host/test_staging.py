# SPDX-License-Identifier: GPL-3.0-or-later
"""What staging brings, verifies and refuses, through the one door, with real signed releases and real files."""

from __future__ import annotations

import errno
import os
import shutil

import pytest
import signed
import stores
from ansible.module_utils.slipway.base.files import remove_tree
from ansible.module_utils.slipway.host import fetch, pack, staging, store
from ansible.module_utils.slipway.trust import dsse
from packs import member, packed
from releases import TAMPERINGS, UNIT, V1, V2, V3, Site, one_byte, refused, run_2, snapshot, without_deadman
from stores import Mirror

# a deployment that goes well


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


# nothing to do


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


# check mode


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


def test_another_description_is_kept_with_what_is_active(two):
    two.description["health_patience"] = {"retries": 1, "interval_seconds": 0, "deadline_seconds": 2}
    assert two.stage("v1", check=True)["changed"] is True
    assert two.stage("v1")["changed"] is True
    assert two.stage("v1")["changed"] is False


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


# who may


def test_staging_goes_on_beside_a_switched_release(two):
    two.build("v3", V3)
    run_2(two, "activate")
    assert two.stage("v3", run=two.run("run-3"))["recovered"] is False
    assert run_2(two, "confirm")["outcome"] == "confirmed"


@pytest.mark.parametrize("check", [True, False])
def test_staging_leaves_the_expired_run_of_another_controller_alone(two, clock, check):
    """It waits for somebody who wants to switch; the difference is shown to what is active until then."""
    run_2(two, "activate")
    without_deadman(two)
    clock.advance(1000)
    answer = two.stage("v1", run=two.run("run-3", controller_id="controller-2"), check=check)
    assert (answer["recovered"], two.current) == (False, "v2")
    assert answer["diff"]["before_header"] == "shop v2"


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


def test_staging_leaves_the_expired_run_of_another_controller_to_who_switches(two, clock):
    run_2(two, "activate")
    without_deadman(two)
    clock.time += 901
    other = two.run("run-3", controller_id="controller-2")
    assert two.stage("v1", run=other)["recovered"] is False
    assert two.current == "v2"
    answer = two.activate("v1", run=other)
    assert (answer["recovered"], two.current) == (True, "v1")


def test_what_filled_the_disk_is_removed_again(two, monkeypatch):
    two.build("v3", V3)

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.Store, "build", fail)
    assert two.stage("v3")["reason"] == "disk_full"
    alone = [path for path in two.places.objects.glob("*/*") if path.stat().st_nlink == 1]
    assert alone == []


def test_a_candidate_is_judged_in_check_mode_and_never_taken(site):
    site.build("v1", V1)
    site.deploy("v1")
    site.build("c1", V2, candidate=True)
    before = snapshot(site.host.root)
    assert site.stage("c1", check=True)["changed"]
    answer = site.stage("c1")
    assert (answer["failed"], answer["reason"], answer["changed"]) == (True, "release_is_candidate", False)
    assert snapshot(site.host.root) == before


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
    monkeypatch.setattr(staging, "replace", lambda incoming, **_changes: incoming)  # as if what was fetched were gone
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
