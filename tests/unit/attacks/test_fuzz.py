# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers of what strangers write: they return a value or raise Refusal, twice the same, whatever the bytes are."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path

import packs
import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import pack
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.trust import checkpoint, dsse
from ansible.module_utils.slipway.trust.approval import Approval, open_approval
from ansible.module_utils.slipway.trust.authorization import Authorization, open_authorization
from ansible.module_utils.slipway.trust.checkpoint import Checkpoint
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.manifest import ReleaseManifest
from ansible.module_utils.slipway.trust.note import Note
from ansible.module_utils.slipway.trust.policy import TrustPolicy
from ansible.module_utils.slipway.trust.tree import Entry, FileList
from attacks import judge
from hypothesis import given, settings
from hypothesis import strategies as st
from test_file_lines import END, member, unpacked

LIST = FileList(
    (Entry("a", "dir", 0o755), Entry("a/b", "file", 0o644, 3, "c" * 64), Entry("l", "symlink", 0o777, target="a/b"))
)


def file_list(data):
    return FileList.parse(data, digest=hashlib.sha256(data).hexdigest())


def read_pack(data):
    reader = pack.Pack(io.BytesIO(data))
    return [reader.manifest, reader.file_list, *(each.stream.read() for each in reader.objects())]


def read_history(data):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "history.jsonl")
        path.write_bytes(data)
        return [History(path).records(), History(path).last()]


def read_archive(name):
    def read(data):
        with tempfile.TemporaryDirectory() as place:
            unpacked(data, name)(Path(place))
            assert {path.name for path in Path(place).iterdir()} == {name, "unpacked"}
            return sorted(str(path.relative_to(place)) for path in Path(place).rglob("*"))

    return read


def history():
    lines, before = [], canonical.encode({"n": 0, "prev_hash": hashlib.sha256(b"").hexdigest(), "seq": 0})
    for number in (1, 2):
        lines.append(before)
        leaf = hashlib.sha256(b"\0" + before).hexdigest()
        before = canonical.encode({"n": number, "prev_hash": leaf, "seq": number})
    return b"\n".join([*lines, before, b""])


def zipped():
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as package:
        package.writestr("a/b", b"x" * 100)
    return stream.getvalue()


CHECKPOINT = Checkpoint(checkpoint.origin_of(signed.HOST_ID, "shop"), 7, b"r" * 32).sign(signed.OTHER_KEY)
PACK = (
    pack.MAGIC
    + packs.block(packs.START)
    + packs.deflated(packs.member(hashlib.sha256(bytes(900)).hexdigest(), bytes(900)))
    + packs.END
)
TAR = member("a", type=b"5", mode=0o755) + member("a/b", b"x" * 600) + member("l", type=b"2", linkname="a/b") + END

# Each parser with a document that it accepts, from which the fuzzer begins.
PARSERS = {
    "canonical": (lambda data: canonical.parse_canonical(data, what="a test"), b'{"a":[1,"\xc3\xbc",null],"b":{}}'),
    "envelope": (lambda data: dsse.Envelope.parse(data, payload_type=dsse.IN_TOTO_TYPE, what="a test"), signed.sign(signed.manifest_payload())),
    "verifier": (judge, signed.sign(signed.manifest_payload(promotion=signed.PROMOTION))),
    "manifest": (ReleaseManifest.parse, signed.manifest_payload(promotion=signed.PROMOTION)),
    "policy": (TrustPolicy.from_payload, canonical.encode(signed.policy_document())),
    "signed policy": (TrustPolicy.parse, signed.policy_envelope()),
    "file list": (file_list, LIST.encode()),
    "approval": (Approval.parse, signed.approval_payload()),
    "signed approval": (open_approval, signed.approval_envelope()),
    "authorization": (Authorization.parse, signed.authorization_payload()),
    "signed authorization": (open_authorization, signed.authorization_envelope()),
    "note": (Note.parse, CHECKPOINT),
    "checkpoint": (checkpoint.read, CHECKPOINT),
    "signed checkpoint": (lambda data: checkpoint.verify(data, key=PublicKey.of(signed.OTHER_KEY)), CHECKPOINT),
    "text of a checkpoint": (lambda data: Checkpoint.parse(data.decode("utf-8", "replace")), Note.parse(CHECKPOINT).text.encode()),
    "history": (read_history, history()),
    "pack": (read_pack, PACK),
    "tar": (read_archive("a.tar"), TAR),
    "zip": (read_archive("a.zip"), zipped()),
}  # fmt: skip
IN_JSON = [
    name
    for name in PARSERS
    if name not in ("note", "checkpoint", "signed checkpoint", "text of a checkpoint", "history", "pack", "tar", "zip")
]

TOKENS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-0", b"1e9", b"9" * 20, b"\\u0000", b"\\ud800", b"\xff", b"\n",
     b"\0", b"../", b"A", b"\xe2\x80\xae", b"0" * 64, b"GNU.sparse", b"\x80" * 12]
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 12), st.binary(max_size=8) | TOKENS), min_size=1, max_size=4
)


def edited(data, edits):
    """The document after some bytes of it were replaced, cut out or inserted."""
    for position, size, new in edits:
        at = position % (len(data) + 1)
        data = data[:at] + new + data[at + size :]
    return data


def outcome(read, data):
    try:
        return repr(read(data))
    except Refusal as refusal:
        return refusal.reason


@pytest.mark.parametrize("name", PARSERS)
def test_the_document_from_which_the_fuzzer_begins_is_accepted(name):
    read, sound = PARSERS[name]
    read(sound)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150)
@given(edits=EDITS)
def test_a_document_that_was_edited_is_read_or_refused(name, edits):
    read, sound = PARSERS[name]
    data = edited(sound, edits)
    assert outcome(read, data) == outcome(read, data)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=100)
@given(data=st.binary(max_size=200) | st.lists(TOKENS, max_size=30).map(b"".join))
def test_noise_is_read_or_refused(name, data):
    read, _ = PARSERS[name]
    assert outcome(read, data) == outcome(read, data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.just("2026-11-18T11:06:40Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in a document, as the way that leads to it."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def with_value(document, path, value):
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = with_value(copy[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("name", IN_JSON)
@settings(max_examples=150)
@given(data=st.data())
def test_a_document_with_another_value_anywhere_is_read_or_refused(name, data):
    read, sound = PARSERS[name]
    document = json.loads(sound)
    path = data.draw(st.sampled_from(list(places(document))))
    bent = with_value(document, path, data.draw(VALUES))
    try:
        encoded = canonical.encode(bent)
    except Refusal:  # a surrogate, or a number that is too big: what JSON itself can say is fuzzed above
        encoded = json.dumps(bent).encode()
    assert outcome(read, encoded) == outcome(read, encoded)
