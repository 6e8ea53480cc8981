# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a source; what a release of it is made of, and what is refused, is in test_bundle.py."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import source
from ansible.module_utils.slipway.controller.checkout import Checkout
from ansible.module_utils.slipway.controller.source import BundleDigest
from ansible.module_utils.slipway.trust.tree import scan


@pytest.fixture
def directory(tmp_path):
    descriptor = b"application: hello\nmembers: [{path: config.json, version_key: version}]\n"
    signed.write_tree(tmp_path / "hello", {"slipway.yml": descriptor, "config.json": b'{"version": "1.2.3"}'})
    return tmp_path / "hello"


def facts_of(directory, version=None):
    with source.opened(directory) as (place, descriptor):
        return source.facts_now(directory, place, descriptor, version)


def test_the_facts_of_a_source_are_what_a_release_of_it_would_have(directory):
    listed = scan(directory, skip=lambda path: path == "slipway.yml")
    described = hashlib.sha256((directory / "slipway.yml").read_bytes()).hexdigest()
    assert facts_of(directory) == source.Facts(
        "hello", "1.2.3", "directory", "hello", described, listed.digest, Checkout()
    )


def test_the_facts_of_a_source_that_is_not_sound_are_refused(directory):
    with pytest.raises(Refusal, match="members_invalid"):
        facts_of(directory, version="2")
    (directory / "config.json").unlink()
    with pytest.raises(Refusal, match=r"config.json is missing"):
        facts_of(directory)


def test_a_source_need_not_state_a_version(directory):
    (directory / "slipway.yml").write_bytes(b"application: hello\n")
    assert facts_of(directory).version is None
    assert facts_of(directory, version="7").version == "7"


def test_the_bundle_digest_depends_on_every_fact_of_an_entry(tmp_path):
    signed.write_tree(tmp_path, {"a": b"1"})
    entry = scan(tmp_path).entries[0]

    def digest(entry, data):
        whole = BundleDigest()
        whole.start(entry)
        whole.update(data)
        whole.end(entry)
        return whole.hexdigest()

    others = [entry._replace(path="b"), entry._replace(mode=0o755), entry._replace(type="symlink", target="x")]
    digests = {digest(entry, b"1"), digest(entry, b"2"), *(digest(other, b"1") for other in others)}
    assert len(digests) == 5


@pytest.mark.parametrize("given", [True, False])
def test_an_archive_is_unpacked_on_a_disk_unless_a_place_is_given(tmp_path, monkeypatch, given):
    monkeypatch.setenv("TMPDIR", str(tmp_path)) if given else monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as package:
        package.writestr("slipway.yml", "application: hello\n")
    with source.opened(tmp_path / "a.zip") as (directory, _descriptor):
        assert directory.parent == (tmp_path if given else Path("/var/tmp"))


def test_what_is_many_zeros_is_a_hole_in_the_catalogue_too(tmp_path):
    data = b"d" * (1 << 20) + bytes(40 << 20)
    signed.write_tree(tmp_path / "hello", {"slipway.yml": b"application: hello\n", "model.bin": data})
    with tarfile.open(tmp_path / "hello.tar", "w") as package:
        package.add(tmp_path / "hello", arcname=".")
    for name in ("hello", "hello.tar"):
        (tmp_path / "workspace").mkdir()
        with source.opened(tmp_path / name) as (place, descriptor):
            content = source.read(place, descriptor, tmp_path / "workspace")
            (entry,) = content.file_list.files
            if name == "hello.tar":
                assert (place / entry.path).stat().st_blocks * 512 < 4 << 20
        copy = content.objects[entry.sha256]
        assert (copy.read_bytes() == data, copy.stat().st_blocks * 512 < 4 << 20) == (True, True)
        copy.unlink()
        (tmp_path / "workspace").rmdir()
