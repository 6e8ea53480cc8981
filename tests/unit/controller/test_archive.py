# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking archives that may be hostile."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import archive


def tar_member(name, data=b"", **attributes):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    return member, data


def tar(*members, form=tarfile.PAX_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as package:
        for member, data in members:
            package.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def zip_member(name, data=b"", mode=stat.S_IFREG | 0o644, system=3):
    member = zipfile.ZipInfo("x", (2026, 11, 21, 0, 0, 0))
    member.filename = name
    member.create_system = system
    member.external_attr = mode << 16
    return member, data


def zipped(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for member, data in members:
            package.writestr(member, data)
    return stream.getvalue()


DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o755}


@pytest.fixture
def unpack(tmp_path):
    """A function that unpacks the bytes of an archive and returns {path: content}, links as `-> target`."""

    def unpacked(name, data, **options):
        (tmp_path / name).write_bytes(data)
        place = tmp_path / "unpacked"
        place.mkdir()
        archive.unpack(tmp_path / name, place, **options)
        found = {}
        for path in sorted(place.rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(place))] = f"-> {path.readlink()}"
            elif path.is_file():
                found[str(path.relative_to(place))] = path.read_bytes()
        return found

    return unpacked


@pytest.fixture
def reason(unpack):
    def refused(name, data, **options):
        with pytest.raises(Refusal) as refusal:
            unpack(name, data, **options)
        return refusal.value.reason

    return refused


@pytest.mark.parametrize(
    ("name", "known"), [("a.tar", True), ("a.tar.gz", True), ("a.tgz", True), ("a.zip", True), ("a.7z", False)]
)
def test_an_archive_is_known_by_its_suffix(tmp_path, name, known):
    assert archive.is_archive(tmp_path / name) is known


TAR = tar(
    tar_member("./", **DIRECTORY),
    tar_member("./bin", **DIRECTORY),
    tar_member("./bin/run", b"#!/bin/sh\n", mode=0o700),
    tar_member("deep/er/file", b"data", mode=0o600),
    tar_member("link", type=tarfile.SYMTYPE, linkname="deep/er/file"),
    tar_member("zażółć" * 20, b"long"),
)
CONTENT = {
    "bin/run": b"#!/bin/sh\n",
    "deep/er/file": b"data",
    "link": "-> deep/er/file",
    "zażółć" * 20: b"long",
}


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.tar", TAR), ("a.tar.gz", gzip.compress(TAR, mtime=0)), ("a.tgz", gzip.compress(TAR, mtime=0))],
)
def test_a_tar_is_unpacked(unpack, tmp_path, name, data):
    assert unpack(name, data) == CONTENT
    assert stat.S_IMODE((tmp_path / "unpacked/bin/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "unpacked/deep/er/file").stat().st_mode) == 0o644


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_unpacked(unpack, form):
    assert unpack("a.tar", tar(tar_member("d/" * 20 + "file", b"x" * 1000), form=form)) == {
        "d/" * 20 + "file": b"x" * 1000
    }


def test_a_zip_is_unpacked(unpack, tmp_path):
    data = zipped(
        zip_member("bin/", mode=stat.S_IFDIR | 0o755),
        zip_member("bin/run", b"#!/bin/sh\n", stat.S_IFREG | 0o755),
        zip_member("deep/file", b"data"),
        zip_member("from-windows", b"dos", 0, system=0),
        zip_member("link", b"deep/file", stat.S_IFLNK | 0o777),
    )
    assert unpack("a.zip", data) == {
        "bin/run": b"#!/bin/sh\n",
        "deep/file": b"data",
        "from-windows": b"dos",
        "link": "-> deep/file",
    }
    assert stat.S_IMODE((tmp_path / "unpacked/bin/run").stat().st_mode) == 0o755


def test_an_empty_archive_is_an_empty_directory(unpack):
    assert unpack("a.tar", tar()) == {}


BAD_NAMES = {
    "../out": "path_outside",
    "/etc/passwd": "path_outside",
    "a/../../out": "path_outside",
    "a\\b": "path_not_plain",
    "a//b": "path_not_plain",
    "././a": "path_not_plain",
    "a\nb": "path_unprintable",
    "\x1b[1m": "path_unprintable",
    "\u202egnp.exe": "path_unprintable",
    "u\u0308": "path_not_nfc",
}


@pytest.mark.parametrize(("name", "expected"), BAD_NAMES.items())
def test_a_bad_name_is_refused(reason, tmp_path, name, expected):
    assert reason("a.tar", tar(tar_member(name, b"x"))) == expected
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "expected"), [*BAD_NAMES.items(), ("a\x00b", "path_unprintable")])
def test_a_bad_name_in_a_zip_is_refused(reason, name, expected):
    assert reason("a.zip", zipped(zip_member(name, b"x"))) == expected


def test_a_name_that_goes_on_after_its_end_is_refused(reason):
    data = bytearray(tar(tar_member("safe" + "x" * 8, b"x"), form=tarfile.USTAR_FORMAT))
    data[4] = 0  # "safe\0xxxxxxx": the standard library reads "safe"
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(b" " * 8) + sum(data[156:512]))
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as package:
        assert package.getnames() == ["safe"]
    assert reason("a.tar", bytes(data)) == "archive_name"


FORBIDDEN = {
    "a hard link": (tar_member("a"), tar_member("b", type=tarfile.LNKTYPE, linkname="a"), "archive_hardlink"),
    "a fifo": (tar_member("a", type=tarfile.FIFOTYPE), "file_special"),
    "a device": (tar_member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "file_special"),
    "a member of an unknown type": (tar_member("a", type=b"M"), "file_special"),
    "a set-uid file": (tar_member("a", mode=0o4755), "mode_unsafe"),
    "a set-gid directory": (tar_member("a", type=tarfile.DIRTYPE, mode=0o2755), "mode_unsafe"),
    "the same file twice": (tar_member("a", b"1"), tar_member("a", b"2"), "archive_duplicate"),
    "the same file twice, spelled otherwise": (tar_member("a", b"1"), tar_member("./a", b"2"), "archive_duplicate"),
    "a file and then a link": (
        tar_member("a"),
        tar_member("a", type=tarfile.SYMTYPE, linkname="b"),
        "archive_duplicate",
    ),
    "a file in place of an implied directory": (tar_member("a/b"), tar_member("a"), "archive_duplicate"),
    "a directory in place of a file": (tar_member("a"), tar_member("a/", **DIRECTORY), "archive_duplicate"),
    "a file below a link": (
        tar_member("a", type=tarfile.SYMTYPE, linkname="/etc"),
        tar_member("a/passwd", b"x"),
        "archive_through_link",
    ),
    "a file below a file": (tar_member("a"), tar_member("a/b"), "archive_through_link"),
    "a link without a target": (tar_member("a", type=tarfile.SYMTYPE, linkname=""), "link_unsafe"),
    "a link with a long target": (tar_member("a", type=tarfile.SYMTYPE, linkname="x" * 1025), "link_unsafe"),
}


@pytest.mark.parametrize("members", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_forbidden_member_is_refused(reason, members):
    assert reason("a.tar", tar(*members[:-1])) == members[-1]


def test_a_sparse_file_is_refused(reason):
    member, data = tar_member("a", b"1\n0\n0\n".ljust(512, b"\0"))
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "a",
        "GNU.sparse.realsize": str(1 << 40),
    }
    assert reason("a.tar", tar((member, data))) == "file_special"


def test_a_directory_may_be_named_after_its_files(unpack):
    assert unpack("a.tar", tar(tar_member("a/b", b"x"), tar_member("a", **DIRECTORY))) == {"a/b": b"x"}


def test_more_than_the_limit_is_refused_unwritten(reason, tmp_path):
    bomb = gzip.compress(tar(tar_member("zeros", bytes(1 << 20))))
    assert reason("a.tar.gz", bomb, max_bytes=1 << 19) == "archive_too_large"
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_the_limit_is_for_all_files_together(reason):
    assert reason("a.tar", tar(tar_member("a", b"xxx"), tar_member("b", b"xxx")), max_bytes=5) == "archive_too_large"


def test_a_zip_bomb_is_refused(reason):
    assert reason("a.zip", zipped(zip_member("zeros", bytes(1 << 20))), max_bytes=1 << 19) == "archive_too_large"


TWO = tar(tar_member("a", b"x" * 600), tar_member("b", b"y" * 600))
DAMAGED = {
    "no archive": b"hello" * 200,
    "nothing": b"",
    "cut in a file": TWO[:700],
    "cut between files": TWO[:1536],
    "cut in a header": TWO[:1700],
    "cut before its end": TWO[:3072],
    "with a damaged header": TWO[:1540] + b"?" + TWO[1541:],
    "with a second archive after its end": TWO + TWO,
    "with a megabyte of padding": TWO + bytes(2 << 20),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_tar_is_refused(reason, data):
    assert reason("a.tar", data) == "archive_malformed"


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_compressed_tar_is_refused(reason, data):
    assert reason("a.tar.gz", gzip.compress(data)) == "archive_malformed"


GZIP = gzip.compress(TWO)


@pytest.mark.parametrize(
    "data",
    [GZIP[:-20], GZIP[:-8] + bytes(8), TWO, GZIP[:20] + b"\xff\xff" + GZIP[22:]],
    ids=["cut short", "another checksum", "no gzip", "other bytes"],
)
def test_a_damaged_gzip_is_refused(reason, data):
    assert reason("a.tar.gz", data) == "archive_malformed"


ZIP = zipped(zip_member("a", b"x" * 600), zip_member("b", b"y" * 600))


def encrypted(data):
    """Set the flag for encryption in every header of a zip."""
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        while start >= 0:
            data = data[: start + offset] + bytes([data[start + offset] | 1]) + data[start + offset + 1 :]
            start = data.find(signature, start + 4)
    return data


def zipped_with(method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as package:
        package.writestr("a", b"x" * 600)
    return stream.getvalue()


DAMAGED_ZIPS = {
    "cut at its beginning": (ZIP[1:], "archive_malformed"),
    "with bzip2": (zipped_with(zipfile.ZIP_BZIP2), "archive_compression"),
    "with LZMA, whose header may ask for any memory": (zipped_with(zipfile.ZIP_LZMA), "archive_compression"),
    "no zip": (b"hello" * 100, "archive_malformed"),
    "cut": (ZIP[:-30], "archive_malformed"),
    "with damaged data": (ZIP.replace(b"x", b"?", 1)[:35] + b"\xff\xff\xff" + ZIP[38:], "archive_malformed"),
    "encrypted": (encrypted(ZIP), "archive_encrypted"),
    "with the same file twice": (ZIP.replace(b"b", b"a"), "archive_duplicate"),
    "with a fifo": (zipped(zip_member("a", b"", stat.S_IFIFO | 0o644)), "file_special"),
    "with a set-uid file": (zipped(zip_member("a", b"", stat.S_IFREG | 0o4755)), "mode_unsafe"),
    "with a set-gid directory": (zipped(zip_member("a/", b"", stat.S_IFDIR | 0o2755)), "mode_unsafe"),
    "with a link whose target has a NUL": (zipped(zip_member("a", b"b\0c", stat.S_IFLNK | 0o777)), "link_unsafe"),
    "with a link whose target is no UTF-8": (
        zipped(zip_member("a", b"\xff", stat.S_IFLNK | 0o777)),
        "archive_malformed",
    ),
    "with an endless link": (zipped(zip_member("a", b"x" * 2000, stat.S_IFLNK | 0o777)), "link_unsafe"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("data", "expected"), DAMAGED_ZIPS.values(), ids=DAMAGED_ZIPS.keys())
def test_a_damaged_or_forbidden_zip_is_refused(reason, data, expected):
    assert reason("a.zip", data) == expected


def test_a_zip_whose_file_is_longer_than_it_says_is_refused(reason):
    data = zipped(zip_member("a", b"x" * 600))
    size = (600).to_bytes(4, "little")
    assert reason("a.zip", data.replace(size, (599).to_bytes(4, "little"))) == "archive_malformed"


def test_a_failing_disk_is_not_the_archives_fault(tmp_path):
    with pytest.raises(FileNotFoundError):
        archive.unpack(tmp_path / "absent.tar", tmp_path)
