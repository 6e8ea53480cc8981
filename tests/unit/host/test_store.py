# SPDX-License-Identifier: GPL-3.0-or-later
"""The release store: objects are what their names say, a complete name is a complete release."""

from __future__ import annotations

import errno
import io
import os

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.pack import Object
from ansible.module_utils.slipway.host.store import expendable
from ansible.module_utils.slipway.trust.verify import verify_tree
from releases import V1, V2, snapshot

TWICE = {"run!": b"the same bytes", "text": b"the same bytes", "link/": b""}


@pytest.fixture
def store(site):
    """A store with the release v1, and the objects of nothing else."""
    site.build("v1", V1)
    site.stage("v1")
    return site.store


def entry_of(site, release_id, path):
    return next(entry for entry in site.made(release_id).files if entry.path == path)


def put(site, release_id, data=None):
    """Store every object of a release from its catalogue."""
    for entry in site.made(release_id).files:
        same = [other for other in site.made(release_id).files if other.sha256 == entry.sha256]
        content = site.catalogue.object_path("shop", entry.sha256).read_bytes() if data is None else data
        site.places.objects.mkdir(exist_ok=True)
        site.store.put(Object(entry.sha256, len(content), io.BytesIO(content)), same, 1_795_000_000)


def test_nothing_is_current_where_there_is_no_link(store):
    assert store.current() is None


@pytest.mark.parametrize(
    "target", ["v1", "/srv/shop/releases/v1", "releases/v1/bin", "releases/.staging-v1", "other/v1"]
)
def test_a_link_that_says_no_release_is_refused(store, target):
    store.places.current.symlink_to(target)
    with pytest.raises(Refusal) as caught:
        store.current()
    assert (caught.value.reason, caught.value.found) == ("current_invalid", target)


def test_a_staging_directory_is_no_release(store):
    (store.places.releases / ".staging-v2-0123").mkdir()
    assert store.release_ids() == ["v1"]


def test_a_host_without_releases_has_none(site):
    site.places.releases.rmdir() if site.places.releases.exists() else None
    assert (site.store.release_ids(), site.store.sweep()) == ([], [])
    site.store.prune([])


def test_equal_bytes_are_kept_once_for_each_mode(site):
    site.build("v1", TWICE)
    site.stage("v1")
    names = sorted(path.suffix for path in site.places.objects.glob("*/*"))
    assert names == [".0644", ".0755"]
    verify_tree(site.made("v1"), site.release("v1"), owner=site.host.uid)


def test_what_is_many_zeros_is_a_hole_on_the_disk(site):
    """Between data, at the end, and in the copy for another mode."""
    sparse = b"d" * (1 << 20) + bytes(40 << 20) + b"data" + bytes((21 << 20) - 4)
    site.build("v1", {"run!": sparse, "text": sparse})
    site.stage("v1")
    verify_tree(site.made("v1"), site.release("v1"), owner=site.host.uid)
    for name in ("run", "text"):
        status = (site.release("v1") / name).stat()
        assert (status.st_size, status.st_blocks * 512 < 8 << 20) == (len(sparse), True)


def test_releases_share_the_files_that_they_have_in_common(site):
    for release_id, files in (("v1", V1), ("v2", V2)):
        site.build(release_id, files)
        site.stage(release_id)
    same, other = "data/same", "bin/shop"
    assert os.path.samefile(site.release("v1") / same, site.release("v2") / same)
    assert not os.path.samefile(site.release("v1") / other, site.release("v2") / other)


def test_nothing_is_lacking_where_all_objects_are_intact(site, store):
    assert store.lacking(site.made("v1")) == set()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"SAME" * 100),
        lambda path: path.write_bytes(b"short"),
        lambda path: path.chmod(0o600),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
        lambda path: (path.unlink(), os.mkfifo(path, 0o644)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_an_object_that_is_not_what_its_name_says_is_lacking(site, store, damage):
    entry = entry_of(site, "v1", "data/same")
    damage(store.object(entry))
    assert store.lacking(site.made("v1")) == {entry.sha256}


def test_an_object_longer_than_listed_is_refused_before_a_byte_of_it_is_read(site, store):
    class Bomb:
        def read(self, size=-1, /):
            raise AssertionError("read")

    entry = entry_of(site, "v1", "data/same")
    with pytest.raises(Refusal) as caught:
        store.put(Object(entry.sha256, 1 << 50, Bomb()), [entry], 1_795_000_000)
    assert (caught.value.reason, caught.value.found) == ("object_altered", f"{1 << 50} bytes")


def test_an_altered_object_is_replaced_and_never_written_over(site, store):
    """A release that is linked to it keeps the bytes that it has, and whoever reads them meanwhile sees no mixture."""
    entry = entry_of(site, "v1", "data/same")
    store.object(entry).write_bytes(b"SAME" * 100)
    with open(site.release("v1") / "data/same", "rb") as reader:
        put(site, "v1")
        assert reader.read() == b"SAME" * 100
    assert store.object(entry).read_bytes() == V1["data/same"]
    assert (site.release("v1") / "data/same").read_bytes() == b"SAME" * 100


def test_a_second_copy_of_an_object_is_made_aside_too(site, store, monkeypatch):
    """Where the file system allows no more links, the object that is there is replaced, under what is linked to it."""
    entry = entry_of(site, "v1", "data/same")
    linked = os.stat(store.object(entry)).st_ino
    link, refused = os.link, []

    def refuse_once(source, target, **options):
        if os.stat(source).st_ino == linked:
            refused.append(source)
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        return link(source, target, **options)

    monkeypatch.setattr(os, "link", refuse_once)
    site.build("v2", V2)
    site.stage("v2")
    assert refused
    assert os.stat(site.release("v1") / "data/same").st_ino == linked
    assert os.stat(store.object(entry)).st_ino != linked
    assert (site.release("v1") / "data/same").read_bytes() == V1["data/same"]


def test_an_altered_object_is_lacking_even_when_another_mode_of_it_is_intact(site):
    site.build("v1", TWICE)
    site.stage("v1")
    plain = entry_of(site, "v1", "text")
    site.store.object(plain).write_bytes(b"other bytes..!")
    assert site.store.lacking(site.made("v1")) == {plain.sha256}


def test_bytes_that_are_here_under_another_mode_are_copied(site):
    site.build("v1", TWICE)
    site.stage("v1")
    plain = entry_of(site, "v1", "text")
    site.store.object(plain).unlink()
    assert site.store.lacking(site.made("v1")) == set()
    assert site.store.read(plain) == b"the same bytes"
    site.store.build("v2", site.made("v1"), {}, 1_795_000_000)
    verify_tree(site.made("v1"), site.release("v2"), owner=site.host.uid)


def test_an_altered_object_of_another_mode_is_not_copied(site):
    site.build("v1", TWICE)
    site.stage("v1")
    plain, executable = entry_of(site, "v1", "text"), entry_of(site, "v1", "run")
    site.store.object(plain).unlink()
    site.store.object(executable).write_bytes(b"other bytes..!")
    with pytest.raises(FileNotFoundError):
        site.store.build("v2", site.made("v1"), {}, 1_795_000_000)
    assert site.store.release_ids() == ["v1"]


def test_an_object_carries_mode_and_time_and_replaces_an_altered_one(site, store):
    entry = entry_of(site, "v1", "bin/shop")
    store.object(entry).write_bytes(b"altered")
    put(site, "v1")
    status = store.object(entry).stat()
    assert (status.st_mode & 0o7777, status.st_mtime, status.st_size) == (0o755, 1_795_000_000, entry.size)


def test_bytes_under_a_wrong_name_are_refused_and_leave_nothing(site):
    site.build("v1", {"one": b"1"})
    with pytest.raises(Refusal) as caught:
        put(site, "v1", b"2")
    assert caught.value.reason == "object_altered"
    assert [path for path in site.places.objects.rglob("*") if path.is_file()] == []


def test_an_object_of_another_size_than_the_list_says_is_refused_unread(site, store):
    entry = entry_of(site, "v1", "bin/shop")
    endless = io.BytesIO(b"x" * (entry.size + 1))
    with pytest.raises(Refusal, match="object_altered"):
        store.put(Object(entry.sha256, entry.size + 1, endless), [entry], 1_795_000_000)
    assert endless.tell() == 0


def test_where_the_file_system_allows_no_more_links_a_second_copy_is_made(site, store, monkeypatch):
    """ext4 allows 65,000 links to a file."""
    link, refused = os.link, []

    def full(source, target):
        if not refused:
            refused.append(source)
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    store.build("v2", site.made("v1"), {}, 1_795_000_000)
    verify_tree(site.made("v1"), site.release("v2"), owner=site.host.uid)
    assert len(refused) == 1


def test_another_error_of_a_link_is_not_hidden(site, store, monkeypatch):
    def refuse(_source, _target):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    before = snapshot(store.places.objects)
    with pytest.raises(PermissionError):
        store.build("v2", site.made("v1"), {}, 1_795_000_000)
    assert (store.release_ids(), snapshot(store.places.objects)) == (["v1"], before)


def test_building_again_replaces_the_tree_as_a_whole(site, store):
    (store.release("v1") / "extra").touch()
    store.build("v1", site.made("v1"), {}, 1_795_000_000)
    verify_tree(site.made("v1"), store.release("v1"), owner=site.host.uid)
    assert [path.name for path in store.places.releases.iterdir()] == ["v1"]


def test_a_release_whose_name_could_not_be_made_durable_is_gone_again(site, store, monkeypatch):
    """A failed fsync is never tried again: what it covered is not trusted."""
    fsync = os.fsync

    def fails_for_releases(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(store.places.releases):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_releases)
    with pytest.raises(OSError, match="Input/output error"):
        store.build("v2", site.made("v1"), {}, 1_795_000_000)
    assert [path.name for path in store.places.releases.iterdir()] == ["v1"]


def test_links_of_shared_paths_get_the_directories_that_lead_to_them(site, store):
    links = {
        "var/deep/up": "../../../../shared/var/deep/up",
        "data/up": "../../../shared/data/up",
        "var/more": "../../../shared/var/more",
    }
    store.build("v2", site.made("v1"), links, 1_795_000_000)
    verify_tree(site.made("v1"), store.release("v2"), links=links, owner=site.host.uid)


def test_symbolic_links_of_a_release_are_laid_out(site):
    source = site.directory / "sources" / "shop-v1"
    source.mkdir(parents=True)
    (source / "active").symlink_to("config.json")
    site.build("v1", V1)
    site.stage("v1")
    assert os.readlink(site.release("v1") / "active") == "config.json"


def test_what_an_interrupted_exchange_left_is_swept_up_and_nothing_else(store):
    before = snapshot(store.release("v1"))
    (store.places.releases / ".staging-v2-01/bin").mkdir(parents=True)
    (store.places.objects / ".staging-02").touch()
    (store.places.releases / ".staging-03").symlink_to("v1")
    assert sorted(store.sweep()) == [".staging-02", ".staging-03", ".staging-v2-01"]
    assert (store.release_ids(), snapshot(store.release("v1"))) == (["v1"], before)


def test_what_is_active_is_never_pruned(store):
    store.places.current.symlink_to("releases/v1")
    with pytest.raises(ValueError, match="v1 is active"):
        store.prune(["v1"])
    assert store.release_ids() == ["v1"]


def test_pruning_leaves_what_is_no_object_alone(store):
    stray = store.places.objects / "README"
    stray.touch()
    store.prune(["v1"])
    assert [path for path in store.places.objects.rglob("*") if path.is_file()] == [stray]


@pytest.mark.parametrize(
    ("releases", "activations", "protected", "keep_count", "doomed"),
    [
        pytest.param(["a", "b", "c"], ["a", "b", "c"], ["c", "b"], 5, [], id="few enough"),
        pytest.param(["a", "b", "c"], ["a", "b", "c"], ["c", "b"], 2, ["a"], id="the oldest goes"),
        pytest.param(["a", "b", "c"], ["c", "b", "a"], ["a", "b"], 2, ["c"], id="age is that of the last activation, not of the name"),
        pytest.param(["a", "b", "c"], ["a", "b", "c", "a"], ["a", "c"], 2, ["b"], id="activated again is young again"),
        pytest.param(["a", "b", "new"], ["a", "b"], ["b", "a"], 2, ["new"], id="what was never active goes first"),
        pytest.param(["a", "b", "c"], ["a", "b", "c"], ["c", "b"], 0, ["a"], id="the protected stay whatever is asked for"),
        pytest.param(["a", "b", "c"], ["a", "b", "c"], ["a", None], 2, ["b"], id="a protected one is skipped"),
        pytest.param([], [], [None, None], 5, [], id="nothing"),
    ],
)  # fmt: skip
def test_what_is_expendable(releases, activations, protected, keep_count, doomed):
    assert expendable(releases, activations=activations, protected=protected, keep_count=keep_count) == doomed
