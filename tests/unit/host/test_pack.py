# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs as the controller writes them, and packs as somebody else might."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import pack
from ansible.module_utils.slipway.host.pack import (
    FILE_LIST,
    FILE_LIST_LIMIT,
    MANIFEST,
    MANIFEST_LIMIT,
    RESIDENT,
    Pack,
)

BLOCK = tarfile.BLOCKSIZE
CONTENTS = (b"", b"one", b"x" * BLOCK, os.urandom(3_000_000))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def catalogue(tmp_path):
    """Files named by their SHA-256; returns the pairs that a pack is written from."""
    pairs = []
    for data in CONTENTS:
        path = tmp_path / sha256(data)
        path.write_bytes(data)
        pairs.append((path.name, path))
    return pairs


def written(objects=(), resident=None, manifest=b"{m}", file_list=b"[f]") -> bytes:
    stream = io.BytesIO()
    pack.write(stream, manifest=manifest, file_list=file_list, resident=resident, objects=objects)
    return stream.getvalue()


def member(name: str, data: bytes = b"", **changes) -> bytes:
    """One member as bytes of an archive; `changes` are attributes of its header."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % BLOCK)


END = b"\0" * (2 * BLOCK)
START = member(MANIFEST, b"{m}") + member(FILE_LIST, b"[f]")


def read(data: bytes) -> list[tuple[str, bytes]]:
    """Everything that is in a pack."""
    reader = Pack(io.BytesIO(data))
    found = [(MANIFEST, reader.manifest), (FILE_LIST, reader.file_list)]
    if reader.resident is not None:
        found.append((RESIDENT, reader.resident))
    return [*found, *((each.sha256, each.stream.read()) for each in reader.objects())]


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as refusal:
        read(data)
    assert refusal.value.reason == "pack_invalid"
    return refusal.value.found


@pytest.mark.parametrize("resident", [None, b"#!python"])
def test_what_was_packed_is_unpacked_in_its_order(catalogue, resident):
    documents = [(MANIFEST, b"{m}"), (FILE_LIST, b"[f]")] + ([(RESIDENT, resident)] if resident else [])
    assert read(written(catalogue, resident)) == [*documents, *((sha256(data), data) for data in CONTENTS)]


def test_a_pack_may_bring_no_objects():
    reader = Pack(io.BytesIO(written()))
    assert list(reader.objects()) == []
    assert reader.resident is None


def test_an_object_says_its_size_and_is_read_in_pieces(catalogue):
    reader = Pack(io.BytesIO(written(catalogue)))
    for each, data in zip(reader.objects(), CONTENTS, strict=True):
        assert each.size == len(data)
        assert b"".join(iter(lambda stream=each.stream: stream.read(100_000), b"")) == data


def test_an_object_that_nobody_reads_is_passed_over(catalogue):
    reader = Pack(io.BytesIO(written(catalogue)))
    assert [each.sha256 for each in reader.objects()] == [name for name, _ in catalogue]


def test_a_pack_is_a_tar_archive_that_says_nothing_of_the_controller(catalogue):
    with tarfile.open(fileobj=io.BytesIO(written(catalogue, b"r")), mode="r:") as archive:
        members = archive.getmembers()
    assert [each.name for each in members] == [MANIFEST, FILE_LIST, RESIDENT, *(name for name, _ in catalogue)]
    assert {(each.uid, each.gid, each.uname, each.gname, each.mtime, each.mode) for each in members} == {
        (0, 0, "", "", 0, 0o644)
    }


def test_the_same_things_make_the_same_pack(catalogue):
    assert written(catalogue, b"r") == written(catalogue, b"r")


def test_an_object_that_does_not_keep_its_names_promise_is_not_sent(catalogue):
    name, path = catalogue[1]
    path.write_bytes(b"0ne")
    with pytest.raises(Refusal) as refusal:
        written([(name, path)])
    assert refusal.value.reason == "catalogue_damaged"
    assert refusal.value.found == f"bytes with sha256 {sha256(b'0ne')}"


def test_an_object_that_is_not_in_the_catalogue_is_named(tmp_path):
    with pytest.raises(Refusal) as refusal:
        written([("a" * 64, tmp_path / "gone")])
    assert (refusal.value.reason, refusal.value.found) == ("catalogue_damaged", "no such file")


HOSTILE = {
    "nothing": b"",
    "noise": b"\xff" * 4 * BLOCK,
    "an empty archive": END,
    "a gzip archive": b"\x1f\x8b\x08" + b"\0" * 2 * BLOCK,
    "no file list": member(MANIFEST) + END,
    "the other way round": member(FILE_LIST) + member(MANIFEST) + END,
    "an object first": member("a" * 64, b"x") + START + END,
    "the manifest twice": member(MANIFEST) + START + END,
    "the manifest at the end too": START + member(MANIFEST) + END,
    "the resident after an object": START + member(sha256(b"x"), b"x") + member(RESIDENT) + END,
    "the resident twice": START + member(RESIDENT) + member(RESIDENT) + END,
    "an object twice": START + member(sha256(b"x"), b"x") + member(sha256(b"x"), b"x") + END,
    "a path": START + member("../../etc/passwd", b"x") + END,
    "an absolute path": START + member("/etc/passwd", b"x") + END,
    "an upper-case name": START + member("A" * 64, b"x") + END,
    "a name with a newline": START + member("a" * 64 + "\n", b"x") + END,
    "a short name": START + member("a" * 63, b"x") + END,
    "a name of 100,000": START + member("a" * 100_000, b"x") + END,
    "a manifest in a directory": member(f"./{MANIFEST}") + member(FILE_LIST) + END,
    "a manifest too large": member(MANIFEST, size=MANIFEST_LIMIT + 1) + END,
    "a file list too large": member(MANIFEST) + member(FILE_LIST, size=FILE_LIST_LIMIT + 1) + END,
    "a resident too large": START + member(RESIDENT, size=1 << 40) + END,
    "a manifest of negative size": member(MANIFEST, size=-1) + member(FILE_LIST) + END,
    "an object of a little negative size": START + member("a" * 64, size=-1) + END,
    "an object of negative size": START + member("a" * 64, size=-BLOCK) + END,
    "an extended header of negative size": member("pax", size=-BLOCK, type=tarfile.XHDTYPE) + START + END,
    "a broken extended header": START + member("pax", b"99 path=x\n", type=tarfile.XHDTYPE) + member("a" * 64) + END,
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pack_that_is_none_of_ours_is_refused(data):
    assert len(refused(data)) < 1000


def test_a_document_that_is_all_there_but_too_large_is_refused():
    assert f"at most {MANIFEST_LIMIT}" in refused(written(manifest=b"x" * (MANIFEST_LIMIT + 1)))


@pytest.mark.parametrize("name", [MANIFEST, "a" * 64])
@pytest.mark.parametrize(
    "kind",
    [
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.CONTTYPE,
        b"Z",
    ],
)
def test_only_plain_files_are_taken(name, kind):
    hostile = member(name, type=kind, linkname="/etc/shadow")
    assert "no plain file" in refused((b"" if name == MANIFEST else START) + hostile + END)


def test_a_sparse_file_that_would_fill_the_disk_is_refused():
    header = bytearray(member("a" * 64, b"", type=tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0%011o\0" % (0, 0)  # one hole at 0 …
    header[483:495] = b"\x80" + (1 << 50).to_bytes(11, "big")  # … in a file of a pebibyte
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:BLOCK]))
    assert "no plain file" in refused(START + bytes(header) + END)


def test_a_sparse_file_in_extended_headers_is_refused():
    records = b"".join(
        b"%d %s\n" % (len(record) + 4, record)
        for record in (b"GNU.sparse.size=1099511627776", b"GNU.sparse.numblocks=0", b"GNU.sparse.map=0,0")
    )
    hostile = member("pax", records, type=tarfile.XHDTYPE) + member("a" * 64)
    assert "no plain file" in refused(START + hostile + END)


def found_or_refused(data: bytes) -> list[tuple[str, bytes]] | str:
    try:
        return read(data)
    except Refusal as refusal:
        return refusal.reason


def test_a_pack_that_ends_too_early_gives_whole_objects_or_a_refusal(catalogue):
    data = written(catalogue[:3], b"resident")
    whole = read(data)
    for length in range(0, len(data), 100):
        found = found_or_refused(data[:length])
        assert found == "pack_invalid" or found == whole[: len(found)]


def test_an_object_that_breaks_off_is_refused_where_it_is_read():
    reader = Pack(io.BytesIO(START + member("a" * 64, b"x" * 10 * BLOCK)[: 3 * BLOCK]))
    broken = next(reader.objects())
    with pytest.raises(Refusal, match="pack_invalid"):
        b"".join(iter(lambda: broken.stream.read(BLOCK), b""))


def test_what_follows_the_end_is_not_looked_at():
    assert read(START + END + b"\xff" * 10 * BLOCK) == [(MANIFEST, b"{m}"), (FILE_LIST, b"[f]")]
