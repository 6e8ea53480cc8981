# SPDX-License-Identifier: GPL-3.0-or-later
"""An artifact store is filled so that it can be read meanwhile: verified, whole under its name, the manifest last, nothing twice."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys

import pytest
import repository
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.host.artifact_store import ArtifactStore, publish
from ansible.module_utils.slipway.host.pack import Object
from releases import V1, V2, snapshot
from users import JOB, as_user


@pytest.fixture
def root(tmp_path):
    return tmp_path / "www/slipway"


@pytest.fixture
def ask(site, root):
    """Return a function that asks the store to publish a release; `objects` travel, all without it, and none with ()."""

    def asked(release_id, objects=None, check=False, **changes):
        manifest = site.catalogue.manifest("shop", release_id)
        pack = site.pack(release_id, site.objects(release_id) if objects is None else objects)
        about = {"path": str(root), "application": "shop", "release_id": release_id, "tree": manifest.tree_digest}
        return publish({**about, "pack": pack, **changes}, check=check)

    return asked


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def of_catalogue(site):
    """What stands in the catalogue of the application's releases."""
    return {name: data for name, data in files(site.catalogue.root).items() if not name.endswith(".lock")}


def test_a_store_that_is_not_there_has_nothing(root):
    answer = publish({"path": str(root), "application": "shop"}, check=False)
    assert answer == {"changed": False, "published": {}, "missing": [], "objects": 0, "bytes": 0}
    assert not root.exists()


def test_a_published_release_is_the_catalogues_byte_by_byte(site, ask, root):
    site.build("v1", V1)
    answer = ask("v1")
    assert (answer["changed"], answer["missing"], answer["objects"]) == (True, [], len(site.objects("v1")))
    published = {name: data for name, data in files(root).items() if not name.endswith(".lock")}
    assert published == of_catalogue(site)
    digest = hashlib.sha256(site.catalogue.manifest_bytes("shop", "v1")).hexdigest()
    assert answer["published"] == {"v1": digest}


def test_everybody_may_read_it_whatever_the_umask(site, ask, root):
    site.build("v1", V1)
    before = os.umask(0o077)
    ask("v1")
    os.umask(before)
    for path in (root, *root.rglob("*")):
        if path.name != ".lock":
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_what_did_not_come_is_named_and_nothing_is_published(site, ask, root):
    site.build("v1", V1)
    answer = ask("v1", objects=())
    assert (answer["changed"], answer["missing"], answer["published"]) == (False, sorted(site.objects("v1")), {})
    assert [name for name in files(root) if not name.endswith(".lock")] == []


def test_a_second_time_changes_nothing(site, ask, root):
    site.build("v1", V1)
    ask("v1")
    before = snapshot(root)
    answer = ask("v1")
    assert (answer["changed"], answer["objects"], answer["bytes"]) == (False, 0, 0)
    assert snapshot(root) == before


def test_check_mode_predicts_and_writes_nothing(site, ask, root):
    site.build("v1", V1)
    planned = ask("v1", check=True)
    assert not root.exists()
    done = ask("v1")
    assert [planned[key] for key in ("changed", "missing", "objects", "bytes")] == [
        done[key] for key in ("changed", "missing", "objects", "bytes")
    ]
    assert ask("v1", check=True)["changed"] is False


def test_only_what_is_missing_is_written(site, ask, root):
    site.build("v1", V1)
    site.build("v2", V2)
    ask("v1")
    there = {path: path.stat().st_ino for path in (root / "shop/objects").rglob("*/*")}
    lacking = site.objects("v2") - site.objects("v1")
    answer = ask("v2", objects=lacking)
    assert (answer["missing"], answer["objects"]) == ([], len(lacking))
    assert {path: path.stat().st_ino for path in there} == there
    assert set(answer["published"]) == {"v1", "v2"}


def test_objects_come_before_the_list_and_the_manifest_last(site, ask, root, monkeypatch):
    """Whenever it is cut off, what has a name is whole, and a manifest names only what is there."""
    site.build("v1", V1)
    names = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda old, new: (names.append(str(new)), rename(old, new)))
    ask("v1")
    kinds = [name.removeprefix(f"{root}/shop/").partition("/")[0] for name in names if name.startswith(str(root))]
    assert kinds == ["objects"] * len(site.objects("v1")) + ["trees", "manifests"]


@pytest.mark.parametrize("number", range(5))
def test_a_disk_that_fails_leaves_names_that_are_whole(site, ask, root, monkeypatch, number):
    site.build("v1", V1)
    rename, left = os.rename, [number]

    def failing(old, new):
        if left[0] == 0 and str(new).startswith(str(root)):
            raise OSError(errno.ENOSPC, "No space left on device", str(new))
        left[0] -= str(new).startswith(str(root))
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(Refusal) as caught:
            ask("v1")
    assert caught.value.reason == "disk_full"
    expected = of_catalogue(site)
    left_behind = {name: data for name, data in files(root).items() if not name.endswith(".lock")}
    assert left_behind.items() <= expected.items()
    assert not [name for name in left_behind if "manifests" in name]
    ask("v1")
    assert {name: data for name, data in files(root).items() if not name.endswith(".lock")} == expected


@pytest.mark.parametrize("damage", ["others", "link"])
def test_a_directory_that_others_may_change_is_refused(site, ask, root, damage):
    """They could lead what is written as root elsewhere, by a link of their own in it."""
    site.build("v1", V1)
    victim = root.parent / "victim"
    victim.mkdir(parents=True)
    root.mkdir(parents=True, exist_ok=True)
    if damage == "others":
        (root / "shop").mkdir()
        (root / "shop").chmod(0o775)
    else:
        (root / "shop").symlink_to(victim)
    with pytest.raises(Refusal) as refused:
        ask("v1")
    assert refused.value.reason == "store_not_own"
    assert list(victim.iterdir()) == list((root / "shop").iterdir()) == []


def owners(directory):
    return {(status.st_uid, status.st_gid) for status in map(os.lstat, (directory, *directory.rglob("*")))}


def test_root_and_the_owner_of_the_directory_write_side_by_side(site, ask, volume):
    """A pipeline publishes as root into the catalogue of AWX's jobs; whoever is first, the other one follows."""
    place = volume / "catalogue"
    for number, release_id in enumerate(("v1", "v2")):
        site.build(release_id, V1 if release_id == "v1" else V2)
        assert ask(release_id, path=str(place))["changed"]
        with as_user(*JOB), Catalogue(place).workspace("shop") as workspace:
            (workspace / "object").write_bytes(b"%d" % number)
            os.rename(workspace / "object", place / f"shop/objects/job-{number}")
        assert ask(release_id, path=str(place))["published"].keys() == set(Catalogue(place).release_ids("shop"))
    assert owners(place) == {JOB}
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_root_publishes_where_a_job_was_first(site, ask, volume):
    place = volume / "catalogue"
    with as_user(*JOB), Catalogue(place).workspace("shop"):
        pass
    site.build("v1", V1)
    assert ask("v1", path=str(place))["changed"]
    assert owners(place) == {JOB}


def test_what_is_only_looked_at_is_nobodys(site, ask, volume):
    site.build("v1", V1)
    assert ask("v1", path=str(volume / "catalogue"), check=True)["changed"]
    assert publish({"path": str(volume / "catalogue"), "application": "shop"}, check=False)["published"] == {}
    assert list(volume.iterdir()) == []


def test_what_root_has_published_there_before_is_named_with_what_to_do(site, ask, volume):
    base = volume / "catalogue/shop"
    base.mkdir(parents=True)
    os.chown(base.parent, *JOB)
    site.build("v1", V1)
    with pytest.raises(Refusal) as refused:
        ask("v1", path=str(base.parent))
    assert refused.value.reason == "store_not_own"
    assert f"chown -R 1000:0 {base}" in refused.value.remedy
    assert list(base.iterdir()) == []

    os.chown(base, *JOB)
    (base / "objects").mkdir()
    with pytest.raises(Refusal) as refused:
        ask("v1", path=str(base.parent))
    assert refused.value.reason == "write_denied"
    assert f"Permission denied at {base}/objects (drwxr-xr-x of uid 0, group 0)" in refused.value.found
    assert Catalogue(base.parent).release_ids("shop") == []


def test_a_link_of_the_owner_leads_root_nowhere(site, ask, volume, tmp_path):
    victim = volume.parent / "victim"
    victim.mkdir()
    (volume / "catalogue").symlink_to(victim)
    os.chown(volume / "catalogue", *JOB, follow_symlinks=False)
    site.build("v1", V1)
    with pytest.raises(Refusal) as refused:
        ask("v1", path=str(volume / "catalogue"))
    assert refused.value.reason == "write_denied"
    assert list(victim.iterdir()) == []


def test_a_lock_that_is_a_link_is_refused(site, ask, root):
    site.build("v1", V1)
    victim = root / "victim"
    (root / "shop").mkdir(parents=True)
    victim.write_text("precious")
    (root / "shop/.lock").symlink_to(victim)
    with pytest.raises(Refusal) as refused:
        ask("v1")
    assert refused.value.reason == "store_lock_not_regular"
    assert victim.read_text() == "precious"


def test_what_a_crash_left_is_removed(site, ask, root):
    site.build("v1", V1)
    place = root / "shop/.incoming"
    place.mkdir(parents=True)
    (place / "half").write_bytes(b"x")
    trees = root / "shop/trees"
    trees.mkdir()
    (trees / f".x.json.{'0' * 16}").write_bytes(b"x")
    ask("v1")
    assert not place.exists()
    assert [path for path in trees.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("damage", [b"", b"x", None], ids=["cut", "shorter", "other bytes"])
def test_what_is_damaged_is_mended_when_it_is_read_again(site, ask, root, damage):
    site.build("v1", V1)
    ask("v1")
    name = max(site.objects("v1"), key=lambda each: site.catalogue.object_path("shop", each).stat().st_size)
    path = root / "shop/objects" / name[:2] / name
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)) if damage is None else damage)
    answer = ask("v1", objects=())
    assert answer["missing"] == ([] if damage is None else [name])  # a size that is right is believed
    assert ask("v1", objects=(), verified=True)["missing"] == [name]
    assert ask("v1", verified=True)["changed"]
    assert path.read_bytes() == good


def test_another_manifest_under_the_same_id_is_refused(site, ask, root):
    site.build("v1", V1)
    ask("v1")
    path = root / "shop/manifests/v1.dsse.json"
    path.write_bytes(b"{}")
    before = snapshot(root)
    with pytest.raises(Refusal) as caught:
        ask("v1")
    assert caught.value.reason == "release_id_taken"
    assert snapshot(root) == before


@pytest.mark.parametrize(("data", "size"), [(b"other", 5), (b"on", 3), (b"once", 3), (bytes(4 << 20), 3)])
def test_an_object_with_other_bytes_gets_no_name(root, data, size):
    store, sha256 = ArtifactStore(root, "shop"), hashlib.sha256(b"one").hexdigest()
    with store.writing() as place, pytest.raises(Refusal) as caught:
        store.put(Object(sha256, len(data), io.BytesIO(data)), size, place)
    assert caught.value.reason == "object_altered"
    assert not store.object(sha256).exists()
    assert not (store.base / ".incoming").exists()


@pytest.mark.parametrize("name", ["", "../shop", "Shop", "a/b"])
def test_what_is_no_application_is_refused(root, name):
    with pytest.raises(Refusal) as caught:
        publish({"path": str(root), "application": name}, check=False)
    assert caught.value.reason == "application_invalid"


def test_a_path_that_depends_on_where_one_stands_is_refused():
    with pytest.raises(Refusal) as caught:
        publish({"path": "www", "application": "shop"}, check=False)
    assert caught.value.reason == "store_path_relative"


def test_a_file_list_that_is_not_the_manifests_is_refused(site, ask):
    site.build("v1", V1)
    with pytest.raises(Refusal) as caught:
        ask("v1", tree="0" * 64)
    assert caught.value.reason == "file_list_altered"


def test_a_host_without_cryptography_can_be_a_store():
    """A web server may be any machine with Python: what its module imports is the standard library."""
    program = "import sys; sys.modules['cryptography'] = None; import slipway.host.artifact_store"
    environment = {"PYTHONPATH": str(repository.ROOT / "module_utils")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
