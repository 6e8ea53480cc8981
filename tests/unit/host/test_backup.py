# SPDX-License-Identifier: GPL-3.0-or-later
"""Files outside the release tree: kept before, replaced whole, and put back only when they are what was kept."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.application.description import ReplacedFile
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.backup import SIZE_LIMIT, Backups, Replacement

IS_ROOT = os.geteuid() == 0
OWNER = ("nobody", grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name)
CONFIG = ReplacedFile("etc/shop.conf", "/etc/shop.conf", *OWNER, 0o640)
OTHER = replace(CONFIG, source="etc/other.conf", path="/etc/other.conf")


@pytest.fixture
def places(prepare):
    return prepare("shop")


@pytest.fixture
def backups(places):
    return Backups(places)


@pytest.fixture
def config(places):
    """What is at /etc/shop.conf before anything is replaced."""
    path = places.host.root / "etc/shop.conf"
    path.write_bytes(b"old")
    path.chmod(0o604)
    return path


@pytest.fixture
def release(places):
    """A release that brings etc/shop.conf."""
    directory = places.releases / "v2"
    (directory / "etc").mkdir(parents=True)
    (directory / "etc/shop.conf").write_bytes(b"new")
    return directory


def reason_of(call, *arguments) -> str:
    with pytest.raises(Refusal) as refused:
        call(*arguments)
    return refused.value.reason


def ids():
    """The numeric OWNER, or ourselves where we are not root."""
    if not IS_ROOT:
        return os.geteuid(), os.getegid()
    return pwd.getpwnam(OWNER[0]).pw_uid, grp.getgrnam(OWNER[1]).gr_gid


def snapshot(path):
    status = path.stat()
    return path.read_bytes(), status.st_mode & 0o7777, status.st_uid, status.st_gid


def test_what_a_release_brings_replaces_the_file_whole(backups, config, release):
    replacements = backups.replacements([CONFIG], release, "v2", [])
    assert backups.outdated(replacements) == replacements
    backups.replace(replacements)
    assert snapshot(config) == (b"new", 0o640, *ids())
    assert backups.outdated(replacements) == []


@pytest.mark.parametrize("change", ["content", "mode", "a link", "gone", "a directory"])
def test_a_file_that_drifted_is_outdated(backups, config, release, change):
    replacements = backups.replacements([CONFIG], release, "v2", [])
    backups.replace(replacements)
    if change == "content":
        config.write_bytes(b"nfw")
    elif change == "mode":
        config.chmod(0o644)
    else:
        config.rename(config.with_name("moved"))
        if change == "a link":
            config.symlink_to("moved")
        elif change == "a directory":
            config.mkdir()
    assert backups.outdated(replacements) == replacements


def test_a_file_of_another_owner_is_outdated(backups, config, release, monkeypatch):
    replacements = backups.replacements([CONFIG], release, "v2", [])
    backups.replace(replacements)
    if IS_ROOT:
        os.chown(config, 4711, ids()[1])
    else:
        monkeypatch.setattr(os, "getegid", lambda: 4711)
    assert backups.outdated(replacements) == replacements


def test_who_is_not_root_replaces_files_as_himself(backups, config, release, monkeypatch):
    if IS_ROOT:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        monkeypatch.setattr(os, "getegid", lambda: 4712)
    backups.replace(backups.replacements([CONFIG], release, "v2", []))
    assert snapshot(config) == (b"new", 0o640, os.geteuid(), os.getegid())


def test_what_was_there_is_kept_with_its_owner_and_mode(backups, places, config, release):
    if IS_ROOT:
        os.chown(config, 4711, 4712)
    before = snapshot(config)
    (kept,) = backups.keep(backups.replacements([CONFIG], release, "v2", []), "t1")
    assert kept == {
        "path": "/etc/shop.conf", "existed": True, "sha256": hashlib.sha256(b"old").hexdigest(),
        "mode": 0o604, "uid": before[2], "gid": before[3], "backup": "backups/t1/0",
    }  # fmt: skip
    assert canonical.parse(canonical.encode(kept), what="kept") == kept
    backup = places.state / kept["backup"]
    assert backup.read_bytes() == b"old"
    assert backup.stat().st_mode & 0o777 == 0o600
    assert backup.parent.stat().st_mode & 0o777 == 0o700
    assert snapshot(config) == before


def test_what_was_kept_is_on_disk_with_its_name_before_anything_is_replaced(backups, config, release, syscalls):
    backups.keep(backups.replacements([CONFIG], release, "v2", []), "t1")
    assert [call for call in syscalls.calls if call[0] in ("fsync", "rename")] == [
        ("fsync", "temporary"), ("rename", "0"), ("fsync", "t1"), ("fsync", "backups"),
    ]  # fmt: skip


def test_what_was_replaced_is_restored_to_the_byte(backups, config, release):
    if IS_ROOT:
        os.chown(config, 4711, 4712)
    before = snapshot(config)
    replacements = backups.replacements([CONFIG], release, "v2", [])
    kept = backups.keep(replacements, "t1")
    backups.replace(replacements)
    backups.restore(kept)
    assert snapshot(config) == before


def test_a_file_that_was_not_there_is_gone_after_going_back(backups, places, release):
    path = places.host.root / "etc/shop.conf"
    replacements = backups.replacements([CONFIG], release, "v2", [])
    kept = backups.keep(replacements, "t1")
    assert kept == [
        {
            "path": "/etc/shop.conf",
            "existed": False,
            "sha256": None,
            "mode": None,
            "uid": None,
            "gid": None,
            "backup": None,
        }
    ]
    assert not places.backups.exists()
    backups.replace(replacements)
    assert path.exists()
    backups.restore(kept)
    assert not path.exists()
    backups.restore(kept)


def test_restoring_twice_is_like_restoring_once(backups, config, release):
    kept = backups.keep(backups.replacements([CONFIG], release, "v2", []), "t1")
    backups.restore(kept)
    backups.restore(iter(kept))
    assert config.read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["altered", "missing", "a link", "a FIFO"])
def test_no_file_is_restored_when_one_backup_is_not_what_was_kept(backups, places, config, release, damage):
    other = places.host.root / "etc/other.conf"
    other.write_bytes(b"other old")
    (release / "etc/other.conf").write_bytes(b"other new")
    replacements = backups.replacements([CONFIG, OTHER], release, "v2", [])
    kept = backups.keep(replacements, "t1")
    backups.replace(replacements)
    backup = places.state / kept[1]["backup"]
    if damage == "altered":
        backup.write_bytes(b"other evil")
    else:
        backup.rename(backup.with_name("moved"))
        if damage == "a link":
            backup.symlink_to("moved")
        elif damage == "a FIFO":
            os.mkfifo(backup)
    expected = {"altered": "backup_altered", "missing": "backup_missing"}.get(damage, "backup_not_regular")
    assert reason_of(backups.restore, kept) == expected
    assert (config.read_bytes(), other.read_bytes()) == (b"new", b"other new")


@pytest.mark.parametrize("kind", ["a link", "a dangling link", "a directory", "a FIFO"])
def test_what_is_no_regular_file_is_not_replaced(backups, places, release, kind):
    path = places.host.root / "etc/shop.conf"
    if kind == "a directory":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        target = path.with_name("target")
        if kind == "a link":
            target.write_bytes(b"somebody else's")
        path.symlink_to(target)
    replacements = backups.replacements([CONFIG], release, "v2", [])
    assert reason_of(backups.keep, backups.outdated(replacements), "t1") == "file_not_regular"
    assert not places.backups.exists()


def test_a_file_without_a_directory_is_refused_before_anything_is_changed(backups, places, release):
    file = replace(CONFIG, path="/opt/shop/shop.conf")
    assert reason_of(backups.keep, backups.replacements([file], release, "v2", []), "t1") == "file_directory_missing"
    assert not (places.host.root / "opt").exists()


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("unknown", [{"owner": "no-such-user"}, {"group": "no-such-group"}])
def test_an_unknown_owner_is_refused_before_anything_is_changed(backups, places, release, monkeypatch, unknown, there):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if there:
        (places.host.root / "etc/shop.conf").write_bytes(b"old")
    replacements = backups.replacements([replace(CONFIG, **unknown)], release, "v2", [])
    assert reason_of(backups.outdated, replacements) == "owner_unknown"


@pytest.mark.parametrize("where", ["replaced", "brought"])
def test_a_file_larger_than_can_be_kept_is_refused(backups, places, release, where):
    path = release / "etc/shop.conf" if where == "brought" else places.host.root / "etc/shop.conf"
    with open(path, "wb") as stream:
        stream.truncate(SIZE_LIMIT + 1)

    def keep():
        backups.keep(backups.replacements([CONFIG], release, "v2", []), "t1")

    assert reason_of(keep) == ("file_of_the_release_too_large" if where == "brought" else "replaced_file_too_large")


def replaced_under(backups, release, release_id, previous) -> dict:
    """Replace the file by what `release` brings; returns the record of that."""
    replacements = backups.replacements([CONFIG], release, release_id, [])
    kept = backups.keep(replacements, release_id)
    backups.replace(replacements)
    return {"release_id": release_id, "previous_release_id": previous, "backups": kept}


@pytest.fixture
def first_release(places):
    """A release that does not bring the file: it found it there."""
    directory = places.releases / "v1"
    directory.mkdir()
    return directory


def test_a_release_that_found_the_file_there_gets_it_back(backups, config, release, first_release):
    records = [replaced_under(backups, release, "v2", "v1")]
    assert backups.replacements([CONFIG], first_release, "v1", records) == [Replacement(CONFIG, b"old")]


def test_a_release_that_found_no_file_there_gets_none(backups, places, release, first_release):
    records = [replaced_under(backups, release, "v2", "v1")]
    replacements = backups.replacements([CONFIG], first_release, "v1", records)
    assert replacements == [Replacement(CONFIG, None)]
    assert backups.outdated(replacements) == replacements
    kept = backups.keep(replacements, "t2")
    backups.replace(replacements)
    assert not (places.host.root / "etc/shop.conf").exists()
    assert backups.outdated(replacements) == []
    backups.restore(kept)
    assert (places.host.root / "etc/shop.conf").read_bytes() == b"new"


def test_the_newest_time_that_the_release_was_active_counts(backups, config, release, first_release):
    records = [replaced_under(backups, release, "v2", "v1")]
    config.write_bytes(b"later")
    records.append(replaced_under(backups, release, "v3", "v1"))
    records.append(replaced_under(backups, release, "v4", "v3"))
    assert backups.replacements([CONFIG], first_release, "v1", records)[0].content == b"later"


def test_a_backup_that_was_altered_is_not_brought_back(backups, places, config, release, first_release):
    records = [replaced_under(backups, release, "v2", "v1")]
    (places.state / records[0]["backups"][0]["backup"]).write_bytes(b"evil")
    assert reason_of(backups.replacements, [CONFIG], first_release, "v1", records) == "backup_altered"


def test_a_file_that_nobody_ever_kept_for_the_release_is_refused(backups, config, release, first_release):
    records = [replaced_under(backups, release, "v2", "v1"), {"previous_release_id": "v1", "backups": []}]
    assert reason_of(backups.replacements, [OTHER], first_release, "v1", records) == "file_source_missing"
    assert reason_of(backups.replacements, [CONFIG], first_release, "v0", records) == "file_source_missing"


def test_a_source_that_is_a_link_is_not_followed(backups, release):
    (release / "etc/shop.conf").rename(release / "etc/real.conf")
    (release / "etc/shop.conf").symlink_to("real.conf")
    assert reason_of(backups.replacements, [CONFIG], release, "v2", []) == "file_of_the_release_not_regular"


def test_several_files_keep_apart(backups, places, config, release):
    (release / "etc/other.conf").write_bytes(b"other new")
    replacements = backups.replacements([CONFIG, OTHER], release, "v2", [])
    assert [replacement.path for replacement in replacements] == ["/etc/shop.conf", "/etc/other.conf"]
    kept = backups.keep(replacements, "t1")
    backups.replace(replacements)
    assert backups.verify(kept) == {"/etc/shop.conf": b"old"}
    backups.restore(kept)
    assert config.read_bytes() == b"old"
    assert not (places.host.root / "etc/other.conf").exists()


@pytest.mark.parametrize("how", ["others may write", "it is a link"])
def test_root_writes_only_where_nobody_else_can_move_the_name(backups, places, config, release, how):
    directory = config.parent
    if how == "others may write":
        directory.chmod(0o777)
    else:
        elsewhere = directory.with_name("elsewhere")
        directory.rename(elsewhere)
        directory.symlink_to(elsewhere)
    replacements = backups.replacements([CONFIG], release, "v2", [])
    assert reason_of(backups.keep, replacements, "transaction") == "file_directory_unsafe"
    assert reason_of(backups.replace, replacements) == "file_directory_unsafe"


def test_nothing_is_restored_into_a_directory_that_was_swapped(backups, config, release):
    kept = backups.keep(backups.replacements([CONFIG], release, "v2", []), "transaction")
    elsewhere = config.parent.with_name("elsewhere")
    config.parent.rename(elsewhere)
    config.parent.symlink_to(elsewhere)
    before = (elsewhere / config.name).read_bytes()
    assert reason_of(backups.restore, kept) == "file_directory_unsafe"
    assert (elsewhere / config.name).read_bytes() == before
