# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs as the controller writes them, and packs as somebody else might."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
import zlib

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import pack
from ansible.module_utils.slipway.host.pack import (
    BLOCK_BYTES,
    FILE_LIST,
    FILE_LIST_LIMIT,
    MAGIC,
    MANIFEST,
    MANIFEST_LIMIT,
    RESIDENT,
    Pack,
)
from packs import END, START, block, deflated, member, packed

TEXT = b"".join(b"%d is a line of text\n" % number for number in range(200_000))
CONTENTS = (b"", b"one", b"x" * 512, os.urandom(3_000_000), TEXT, bytes(5_000_000))


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


def written(objects=(), resident=None, manifest=b"{m}", file_list=b"[f]", **more) -> bytes:
    stream = io.BytesIO()
    pack.write(stream, manifest=manifest, file_list=file_list, resident=resident, objects=objects, **more)
    return stream.getvalue()


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


def test_a_pack_is_read_from_a_pipe_that_gives_little_at_a_time(catalogue):
    data = written(catalogue)
    pipe = io.BytesIO(data)

    class Trickle:
        def read(self, size=-1, /):
            return pipe.read(min(size, 1000))

    assert [each.sha256 for each in Pack(Trickle()).objects()] == [name for name, _ in catalogue]


def test_the_same_things_make_the_same_pack(catalogue):
    assert written(catalogue, b"r") == written(catalogue, b"r")


def test_what_was_read_is_told_as_it_goes(catalogue):
    told: list[int] = []
    written(catalogue, moved=told.append)
    assert sum(told) == sum(map(len, CONTENTS))
    assert max(told) <= BLOCK_BYTES


@pytest.mark.parametrize(
    ("data", "most"),
    [(os.urandom(5_000_000), 1.0001), (zlib.compress(os.urandom(3_000_000)), 1.0001), (TEXT, 0.4), (bytes(5_000_000), 0.01)],
    ids=["noise", "compressed", "text", "zeros"],
)  # fmt: skip
def test_what_does_not_shrink_costs_nothing_and_what_does_travels_small(tmp_path, data, most):
    path = tmp_path / "object"
    path.write_bytes(data)
    assert len(written([(sha256(data), path)])) < most * len(data) + 200


def test_a_block_whose_samples_deceive_is_sent_as_it_is(tmp_path):
    """The same 4 KiB at every place that is sampled, too far apart for zlib, and noise between them."""
    same, quarter = os.urandom(4096), BLOCK_BYTES // 4
    data = b"".join(same + os.urandom(quarter - len(same)) for _ in range(4))
    path = tmp_path / "object"
    path.write_bytes(data)
    sent = written([(sha256(data), path)])
    assert data in sent
    assert dict(read(sent))[sha256(data)] == data


def test_many_small_files_shrink_together(tmp_path):
    pairs = []
    for number in range(500):
        data = b"# %d\nfrom __future__ import annotations\n" % number
        path = tmp_path / sha256(data)
        path.write_bytes(data)
        pairs.append((path.name, path))
    assert len(written(pairs)) < 0.9 * sum(64 + path.stat().st_size for _, path in pairs)


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


SOUND = START + member(sha256(bytes(999)), bytes(999))
HOSTILE = {
    "nothing": b"",
    "noise": b"\xff" * 2048,
    "another format": b"slipway pack 2\n" + block(START) + END,
    "an empty pack": MAGIC + END,
    "a tar archive": bytes(1024),
    "a gzip archive": b"\x1f\x8b\x08" + bytes(1024),
    "no file list": packed(member(MANIFEST)),
    "the other way round": packed(member(FILE_LIST) + member(MANIFEST)),
    "an object first": packed(member("a" * 64, b"x") + START),
    "the manifest twice": packed(member(MANIFEST) + START),
    "the manifest at the end too": packed(START + member(MANIFEST)),
    "the resident after an object": packed(START + member(sha256(b"x"), b"x") + member(RESIDENT)),
    "the resident twice": packed(START + member(RESIDENT) + member(RESIDENT)),
    "an object twice": packed(START + member(sha256(b"x"), b"x") + member(sha256(b"x"), b"x")),
    "a path": packed(START + member("../../etc/passwd", b"x")),
    "an absolute path": packed(START + member("/etc/passwd", b"x")),
    "an upper-case name": packed(START + member("A" * 64, b"x")),
    "a name with a newline": packed(START + member("a" * 64 + "\n", b"x")),
    "a short name": packed(START + member("a" * 63, b"x")),
    "a name of 100,000": packed(START + member("a" * 100_000, b"x")),
    "a name of 100 that does not end": packed(START + b"a" * 100),
    "a manifest too large": packed(member(MANIFEST, size=MANIFEST_LIMIT + 1)),
    "a file list too large": packed(member(MANIFEST) + member(FILE_LIST, size=FILE_LIST_LIMIT + 1)),
    "a resident too large": packed(START + member(RESIDENT, size=1 << 40)),
    "a manifest of negative size": packed(member(MANIFEST, size=-1) + member(FILE_LIST)),
    "a size with a sign": packed(START + member("a" * 64, b"x", size="+1")),
    "a size with a zero before it": packed(START + member("a" * 64, b"x", size="01")),
    "a size in other figures": packed(START + member("a" * 64, b"x", size="\u0661")),
    "a size of a thousand figures": packed(START + member("a" * 64, b"x", size="9" * 1000)),
    "a size with an underscore": packed(START + member("a" * 64, b"x" * 10, size="1_0")),
    "no size": packed(START + b"a" * 64 + b" \n"),
    "two blanks": packed(START + b"a" * 64 + b"  1\nx"),
    "the end of lines of another system": packed(START + b"a" * 64 + b" 1\r\nx"),
    "half a line": packed(START + b"a" * 64),
    "an end within a member": packed(START + member("a" * 64, b"x", size=2)),
    "no end": MAGIC + block(START),
    "half an end": MAGIC + block(START) + END[:4],
    "a block that breaks off": MAGIC + block(START, size=1000, stored=1000),
    "a block of nothing": MAGIC + block(b"", size=10) + block(START) + END,
    "a block too large": MAGIC + block(START + member(sha256(bytes(BLOCK_BYTES)), bytes(BLOCK_BYTES))) + END,
    "a deflated block too large": MAGIC + deflated(START + member(sha256(bytes(BLOCK_BYTES)), bytes(BLOCK_BYTES))) + END,
    "a block that takes more room than it has": MAGIC + block(SOUND, size=len(SOUND) - 1) + END,
    "a deflated block that takes more room than it has": MAGIC + deflated(START, size=len(START)) + END,
    "a deflated block that breaks off": MAGIC + deflated(SOUND)[:-5] + END,
    "a deflated block without its check sum": MAGIC + block(zlib.compress(SOUND)[:-4], size=len(SOUND)) + END,
    "a deflated block with more after its end": MAGIC + block(zlib.compress(SOUND) + b"x", size=len(SOUND)) + END,
    "a block that inflates to less": MAGIC + deflated(SOUND, size=len(SOUND) + 1) + END,
    "a block that inflates to more": MAGIC + deflated(SOUND, size=len(SOUND) - 1) + END,
    "a block that is not deflated": MAGIC + block(SOUND, size=len(SOUND) + 1) + END,
    "a deflated block that is damaged": MAGIC + deflated(SOUND).replace(b"x\xda", b"x\xdb") + END,
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pack_that_is_none_of_ours_is_refused(data):
    assert len(refused(data)) < 1000


def test_a_document_that_is_all_there_but_too_large_is_refused():
    assert f"at most {MANIFEST_LIMIT}" in refused(written(manifest=b"x" * (MANIFEST_LIMIT + 1)))


def test_a_block_that_would_fill_the_memory_is_refused_before_it_does():
    """Of a bomb of 256 MiB in 260 KB no more is made than the block says, and that is at most 1 MiB."""
    bomb = MAGIC + deflated(START + bytes(1 << 28), size=BLOCK_BYTES) + END
    tracemalloc.start()
    try:
        refused(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


def test_the_block_that_the_hostile_ones_are_made_of_is_sound():
    assert read(MAGIC + block(SOUND) + END) == read(MAGIC + deflated(SOUND) + END)


def test_a_line_may_go_on_in_the_next_block():
    data = START + member(sha256(b"x"), b"x")
    for cut in range(1, len(data)):
        assert read(MAGIC + block(data[:cut]) + block(data[cut:]) + END)[2:] == [(sha256(b"x"), b"x")]


def found_or_refused(data: bytes) -> list[tuple[str, bytes]] | str:
    try:
        return read(data)
    except Refusal as refusal:
        return refusal.reason


def test_a_pack_that_ends_too_early_is_refused(catalogue):
    data = written(catalogue[:3], b"resident")
    assert len(read(data)) == 6
    assert {found_or_refused(data[:length]) for length in range(0, len(data), 7)} == {"pack_invalid"}


def test_an_object_that_breaks_off_is_refused_where_it_is_read():
    reader = Pack(io.BytesIO(packed(START + member("a" * 64, b"x" * 1000, size=2000))))
    broken = next(reader.objects())
    with pytest.raises(Refusal, match="pack_invalid"):
        b"".join(iter(lambda: broken.stream.read(512), b""))


def test_what_follows_the_end_is_not_looked_at():
    assert read(packed(START) + b"\xff" * 5000) == [(MANIFEST, b"{m}"), (FILE_LIST, b"[f]")]
