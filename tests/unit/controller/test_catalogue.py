# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases that there are."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from users import JOB, as_user


@pytest.fixture
def catalogue(tmp_path):
    return Catalogue(tmp_path / "catalogue")


def add(catalogue, directory, release_id="v1", sequence=signed.NOW, **changes):
    """Add a release with the files of `signed.release`; return it."""
    release = signed.release(directory, release_id=release_id, sequence=sequence, **changes)
    with catalogue.workspace("hello") as workspace:
        objects = {}
        for number, entry in enumerate(release.file_list.files):
            objects[entry.sha256] = workspace / str(number)
            objects[entry.sha256].write_bytes((directory / entry.path).read_bytes())
        catalogue.add(release.envelope, release.file_list.encode(), objects)
    return release


def test_an_empty_catalogue_has_nothing(catalogue):
    assert catalogue.applications() == []
    assert catalogue.releases("hello") == []
    assert catalogue.newest_file_list([]) is None
    assert not catalogue.root.exists()


def test_a_release_is_found_again(catalogue, tmp_path):
    release = add(catalogue, tmp_path / "r")
    assert catalogue.applications() == ["hello"]
    assert catalogue.manifest_bytes("hello", "v1") == release.envelope
    manifest = catalogue.manifest("hello", "v1")
    assert catalogue.file_list_bytes("hello", manifest.tree_digest) == release.file_list.encode()
    assert catalogue.newest_file_list([manifest]) == release.file_list
    assert catalogue.is_intact(manifest, release.file_list)
    for entry in release.file_list.files:
        data = catalogue.object_path("hello", entry.sha256).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry.sha256


def test_the_catalogue_is_laid_out_as_documented(catalogue, tmp_path):
    release = add(catalogue, tmp_path / "r")
    base = catalogue.root / "hello"
    files = {
        str(path.relative_to(base)): stat.S_IMODE(path.stat().st_mode) for path in base.rglob("*") if path.is_file()
    }
    objects = {f"objects/{name[:2]}/{name}": 0o444 for name in release.file_list.object_names}
    assert files == {
        ".lock": files[".lock"],
        "manifests/v1.dsse.json": 0o644,
        f"trees/{release.file_list.digest}.json": 0o644,
        **objects,
    }


def test_the_newest_release_comes_first(catalogue, tmp_path):
    for name, sequence in (("v9", 10), ("v1", 30), ("v5", 20)):
        add(catalogue, tmp_path / name, release_id=name, sequence=sequence)
    assert [manifest.release_id for manifest in catalogue.releases("hello")] == ["v1", "v5", "v9"]
    assert catalogue.release_ids("hello") == ["v1", "v5", "v9"]


def test_an_unknown_release_names_the_newest_and_the_like(catalogue, tmp_path):
    for number in range(7):
        add(catalogue, tmp_path / f"r{number}", release_id=f"v1.{number}.0", sequence=number)
    with pytest.raises(Refusal) as refusal:
        catalogue.manifest_bytes("hello", "v1.0.1")
    assert refusal.value.reason == "release_unknown"
    assert refusal.value.found == "7 others; newest: v1.6.0, v1.5.0, v1.4.0, v1.3.0, v1.2.0; similar: v1.0.0"


def test_an_application_without_releases_names_those_that_have_some(catalogue, tmp_path):
    add(catalogue, tmp_path / "r")
    with pytest.raises(Refusal, match="no release of shop; applications there: hello"):
        catalogue.manifest("shop", "v1")


@pytest.mark.parametrize("release_id", ["../v1", "a/b", ".hidden", "", "a..b"])
def test_a_release_id_is_no_path(catalogue, release_id):
    with pytest.raises(Refusal, match="release_id_invalid"):
        catalogue.manifest_bytes("hello", release_id)


@pytest.mark.parametrize("application", ["../hello", "Hello", "", "a/b"])
def test_an_application_is_no_path(catalogue, application):
    with pytest.raises(Refusal, match="application_invalid"):
        catalogue.releases(application)


def test_a_manifest_under_another_name_is_refused(catalogue, tmp_path):
    release = add(catalogue, tmp_path / "r")
    catalogue.manifest_path("hello", "v2").write_bytes(release.envelope)
    for read in (catalogue.manifest_bytes, catalogue.manifest):
        with pytest.raises(Refusal, match="catalogue_misnamed"):
            read("hello", "v2")
    with pytest.raises(Refusal, match="catalogue_misnamed"):
        catalogue.releases("hello")


def test_a_manifest_of_another_application_is_refused(catalogue, tmp_path):
    add(catalogue, tmp_path / "r")
    catalogue.root.joinpath("hello").rename(catalogue.root / "shop")
    with pytest.raises(Refusal, match="catalogue_misnamed"):
        catalogue.manifest("shop", "v1")


def test_a_missing_file_list_is_named(catalogue, tmp_path):
    add(catalogue, tmp_path / "r")
    manifest = catalogue.manifest("hello", "v1")
    (catalogue.root / f"hello/trees/{manifest.tree_digest}.json").unlink()
    with pytest.raises(Refusal, match="catalogue_incomplete"):
        catalogue.file_list_bytes("hello", manifest.tree_digest)
    assert catalogue.newest_file_list([manifest]) is None


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")], ids=["missing", "altered"]
)
@pytest.mark.parametrize("part", ["objects/??/*", "trees/*.json"])
def test_a_damaged_release_is_not_intact(catalogue, tmp_path, part, damage):
    release = add(catalogue, tmp_path / "r")
    path = next(catalogue.root.joinpath("hello").glob(part))
    path.chmod(0o644)
    damage(path)
    assert not catalogue.is_intact(catalogue.manifest("hello", "v1"), release.file_list)


def test_a_fifo_in_place_of_a_manifest_is_refused_and_does_not_block(catalogue, tmp_path):
    add(catalogue, tmp_path / "r")
    path = catalogue.manifest_path("hello", "v1")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refusal, match="release_manifest_not_regular"):
        catalogue.manifest_bytes("hello", "v1")


def test_a_workspace_is_empty_and_gone_afterwards(catalogue):
    left = catalogue.root / "hello/.incoming"
    left.mkdir(parents=True)
    (left / "0").write_bytes(b"left by a killed builder")
    with catalogue.workspace("hello") as workspace:
        assert list(workspace.iterdir()) == []
        (workspace / "1").write_bytes(b"")
    assert not left.exists()


def test_a_workspace_is_gone_after_a_failure(catalogue):
    with pytest.raises(RuntimeError), catalogue.workspace("hello") as workspace:
        raise RuntimeError
    assert not workspace.exists()


def test_a_second_builder_waits_for_the_first(catalogue):
    lock = catalogue.root / "hello/.lock"
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = [sys.executable, "-c", script, str(lock)]
    with catalogue.workspace("hello"):
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with open(lock) as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_catalogue_of_another_user_is_refused_with_what_to_do(volume):
    """As one is that root has published into, and a job is to add to."""
    catalogue = Catalogue(volume / "catalogue")
    base = volume / "catalogue/hello"
    for damage in ("catalogue", "hello", "hello/.lock", "hello/.incoming"):
        if damage == "hello/.lock":
            (volume / "catalogue" / damage).touch(mode=0o600)
        else:
            (volume / "catalogue" / damage.removeprefix("catalogue")).mkdir(mode=0o700 if "." in damage else 0o755)
        with as_user(*JOB), pytest.raises(Refusal) as refused, catalogue.workspace("hello"):
            raise AssertionError("it may be written to")
        assert (refused.value.reason, "of uid 0, group 0" in refused.value.found) == ("write_denied", True)
        assert f"chown -R 1000:0 {base}" in refused.value.remedy
        for path in (base.parent, base, base / ".lock"):
            if path.exists():
                os.chown(path, *JOB)
    os.chown(base / ".incoming", *JOB)
    with as_user(*JOB), catalogue.workspace("hello") as workspace:
        assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("place", ["approvals", "objects"])
def test_a_part_of_a_catalogue_that_is_anothers_is_refused_too(volume, tmp_path, place):
    catalogue, release = Catalogue(volume), signed.release(tmp_path / "r", release_id="v1")
    (volume / "hello" / place).mkdir(parents=True)
    os.chown(volume / "hello", *JOB)

    def add_one():
        if place == "approvals":
            catalogue.add_approval(signed.approval_envelope(), check=False)
            return
        with catalogue.workspace("hello") as workspace:
            (workspace / "one").write_bytes(b"1")
            catalogue.add(release.envelope, release.file_list.encode(), {"a" * 64: workspace / "one"})

    with as_user(*JOB), pytest.raises(Refusal) as refused:
        add_one()
    assert (refused.value.reason, f"{volume}/hello/{place}" in refused.value.found) == ("write_denied", True)
    assert catalogue.release_ids("hello") == []


def test_nothing_of_a_release_is_named_before_all_of_it_is_there(catalogue, tmp_path):
    release = signed.release(tmp_path / "r", release_id="v1")
    with catalogue.workspace("hello") as workspace, pytest.raises(FileNotFoundError):
        catalogue.add(release.envelope, release.file_list.encode(), {"a" * 64: Path(workspace / "absent")})
    assert catalogue.release_ids("hello") == []


DIGEST = hashlib.sha256(signed.manifest_payload()).hexdigest()
ADDED = {
    "approvals": (Catalogue.add_approval, Catalogue.approvals, signed.approval_envelope),
    "authorizations": (Catalogue.add_authorization, Catalogue.authorizations, signed.authorization_envelope),
}


@pytest.mark.parametrize("kind", ADDED)
def test_what_holders_sign_is_found_by_the_release_it_names(catalogue, kind):
    add_one, read_all, signed_one = ADDED[kind]
    assert read_all(catalogue, "hello", DIGEST) == []
    mine, other = signed_one(), signed_one(signed.RISK_KEY, role="risk_manager", holder="risk", environment="staging")
    path = add_one(catalogue, mine, check=False)
    assert path.parent == catalogue.root / "hello" / kind / DIGEST
    assert re.fullmatch(r"prod\.engineering_lead\.lead\.[0-9a-f]{16}\.dsse\.json", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    add_one(catalogue, other, check=False)
    assert read_all(catalogue, "hello", DIGEST) == [mine, other]
    assert read_all(catalogue, "hello", "f" * 64) == []


@pytest.mark.parametrize("kind", ADDED)
def test_adding_the_same_again_changes_nothing_and_checking_writes_nothing(catalogue, kind):
    add_one, read_all, signed_one = ADDED[kind]
    path = add_one(catalogue, signed_one(), check=True)
    assert not catalogue.root.exists()
    assert add_one(catalogue, signed_one(), check=False) == path
    assert add_one(catalogue, signed_one(), check=False) == path
    assert read_all(catalogue, "hello", DIGEST) == [signed_one()]


@pytest.mark.parametrize("kind", ADDED)
def test_what_cannot_be_read_is_not_added_and_does_not_hide_the_others(catalogue, kind):
    add_one, read_all, signed_one = ADDED[kind]
    with pytest.raises(Refusal):
        add_one(catalogue, b"{}", check=False)
    path = add_one(catalogue, signed_one(), check=False)
    os.mkfifo(path.with_name("a.dsse.json"))
    path.with_name("b.dsse.json").mkdir()
    path.with_name("c.dsse.json").write_bytes(b" " * (1 << 20))
    path.with_name("d.dsse.json").symlink_to("/dev/zero")
    assert read_all(catalogue, "hello", DIGEST) == [signed_one()]
