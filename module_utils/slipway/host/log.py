# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of an application as a transparency log: each host signs checkpoints of its own, and is held to them.

After a record is durable, the host signs a checkpoint over the Merkle tree of all lines and keeps it durable too. So a
checkpoint behind the history is what a crash leaves, and the next exchange signs another; one ahead of it means that
lines are gone. A host never signs a checkpoint that contradicts the one it keeps. ``history.tree`` beside the history is the
compact range of the tree, so that the cost of a signature does not grow with the history; it is not trusted, but used
only where its root is the one in the kept checkpoint.

What root can do on a host, it can do to all of this. What it cannot do is contradict, unseen, a checkpoint that a
controller cosigned and kept.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.fields import Fields
from ..base.files import open_regular, read_if_there, remove_temporary, write_all, write_durable
from ..trust import checkpoint, keys, merkle
from ..trust.chain import Record, leaf_hash
from ..trust.checkpoint import Checkpoint, origin_of
from ..trust.keys import PublicKey
from ..trust.merkle import CompactRange, Tree
from ..trust.note import MAX_NOTE_BYTES
from .history import History
from .places import Host, Places

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CACHE_LIMIT: Final = 16 * 1024
MAX_SIZES: Final = 10_000
# A checkpoint of another key or another origin is no statement of this host's, as it is now.
NOT_OURS: Final = ("checkpoint_signature_unknown", "checkpoint_of_another_log")
_REMEDY: Final = "Treat the host as tampered with, or as restored from an old copy: run playbooks/verify.yml, which says which, and keep what is there as evidence."


def load_history_key(host: Host) -> Ed25519PrivateKey | None:
    """The key that this host signs its histories with, None where none was made yet."""
    return keys.load_private_key(host.history_key) if os.path.lexists(host.history_key) else None


def ensure_history_key(host: Host) -> Ed25519PrivateKey:
    """The same key, made now where there is none: it is made on the host and never leaves it."""
    if (private := load_history_key(host)) is not None:
        return private
    directory = os.open(host.states, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # the exchanges of two applications may both need the first key
        if (private := load_history_key(host)) is None:
            remove_temporary(host.states, host.history_key.name)
            private, pem = keys.new_private_key()
            write_durable(host.history_key, pem, mode=0o600)
    finally:
        os.close(directory)
    return private


@dataclass(frozen=True)
class Log:
    """The history of one application on one host, with its tree and its checkpoints."""

    places: Places

    @property
    def history(self) -> History:
        return History(self.places.history)

    @property
    def origin(self) -> str:
        return origin_of(self.places.host.identity().id, self.places.application)

    def sign(self) -> None:
        """Sign and keep a checkpoint of all records, where the one that is kept is behind; otherwise change nothing.

        Call it under the application's lock. Refusals: ``history_truncated`` and ``history_altered`` when the history is not
        what the kept checkpoint says; those of a key or a checkpoint that cannot be read.
        """
        private = ensure_history_key(self.places.host)
        kept = self._statement(PublicKey.of(private))
        last = self.history.last()
        size = last["seq"] + 1 if last else 0
        if kept.size == size:
            return
        grown = self._grown(kept, last) or self._recomputed(kept)
        write_durable(
            self.places.checkpoint, Checkpoint(self.origin, grown.size, grown.root()).sign(private), mode=0o644
        )
        self._cache(grown)

    def require_sound(self) -> None:
        """Sign, and refuse where any of the records is not as it was signed: what `sign` alone need not read."""
        self.sign()
        private = ensure_history_key(self.places.host)
        self._require_extends(self._statement(PublicKey.of(private)), tree_of(self.history.lines()[0]))

    def _statement(self, key: PublicKey) -> Checkpoint:
        """What this key last said of this log; of an empty one anybody may say the same."""
        nothing = Checkpoint(self.origin, 0, merkle.EMPTY_ROOT)
        data = self._kept()
        if data is None:
            return nothing
        try:
            return checkpoint.verify(data, key=key, origin=self.origin)
        except Refusal as refusal:
            if refusal.reason not in NOT_OURS:
                raise
            return nothing

    def _kept(self) -> bytes | None:
        return read_if_there(self.places.checkpoint, limit=MAX_NOTE_BYTES, what="checkpoint")

    def _grown(self, kept: Checkpoint, last: Record | None) -> CompactRange | None:
        """The cached compact range with one more leaf, None where it does not lead from the kept checkpoint to here."""
        cached = self._cached()
        if last is None or cached is None or (cached.size, cached.root()) != (kept.size, kept.root):
            return None
        if last["seq"] != kept.size:
            return None
        cached.append(bytes.fromhex(leaf_hash(canonical.encode(last))))
        return cached

    def _recomputed(self, kept: Checkpoint) -> CompactRange:
        """The compact range of all records, read strictly and held to the kept checkpoint."""
        lines, _torn = self.history.lines()
        for _record in self.history.parsed(lines):
            pass
        tree = tree_of(lines)
        self._require_extends(kept, tree)
        return tree.compact_range()

    def _require_extends(self, kept: Checkpoint, tree: Tree) -> None:
        if kept.size > tree.size:
            raise Refusal(
                "history_truncated",
                expected=f"at least the {kept.size} records in {self.places.history} that this host signed",
                found=str(tree.size),
                remedy=_REMEDY,
            )
        if tree.root(kept.size) != kept.root:
            raise Refusal(
                "history_altered",
                expected=f"the first {kept.size} records of {self.places.history} as they were when this host signed them",
                found="other records",
                remedy=_REMEDY,
            )

    def _cached(self) -> CompactRange | None:
        try:
            data = read_if_there(self.places.history_tree, limit=CACHE_LIMIT, what="history tree")
            if data is None:
                return None
            fields = Fields(canonical.parse(data, what="history tree"), "history tree", "history_tree_invalid")
            size, hashes = fields.integer("size"), fields.array("hashes", maximum=merkle.MAX_PROOF)
            return CompactRange(size, merkle.from_hex(hashes, what="history tree"))
        except (Refusal, ValueError):
            return None

    def _cache(self, grown: CompactRange) -> None:
        """Keep the compact range for the next time. Neither durable nor needed: what is lost is computed again."""
        data = canonical.encode({"hashes": merkle.as_hex(grown.hashes), "size": grown.size})
        with suppress(OSError, Refusal):
            descriptor = open_regular(
                self.places.history_tree, what="history tree", flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600
            )
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)

    def judge(
        self, *, since: int | None = None, sizes: Iterable[int] = (), each: Callable[[Record], object] | None = None
    ) -> dict[str, Any]:
        """What the history is, beside what this host signed. It refuses nothing: what it finds is the answer.

        ``since`` asks for a proof that the checkpoint goes on from that size, ``sizes`` for the roots over so many lines. With
        ``each`` every line is parsed strictly, the chain is followed, and each record is shown to it; without, the lines are
        hashed only.

        outcome: ``intact``; ``torn`` (intact, and a last line that a crash cut off is still there or was set aside and
        recorded); ``truncated`` (the kept checkpoint has more records); ``altered`` (anything else: the chain, the tree, the
        checkpoint's signature). detail, size (whole lines), root (hex), roots {size: hex}, checkpoint (the kept note's text,
        null where there is none), key (hex, null where none was made), consistency [hex], torn [names of lines set aside].
        """
        answer: dict[str, Any] = {
            "outcome": "intact", "detail": "", "size": 0, "root": merkle.EMPTY_ROOT.hex(), "roots": {}, "checkpoint": None, "key": None,
            "consistency": [], "torn": [],
        }  # fmt: skip
        try:
            private = load_history_key(self.places.host)
            answer["key"] = PublicKey.of(private).hex if private else None
            # The checkpoint before the lines: reading takes no lock, and records may be added in between.
            kept = self._kept()
            answer["checkpoint"] = kept.decode("utf-8", "replace") if kept else None
            lines, tail = self.history.lines()
            tree = tree_of(lines)
            answer |= {
                "size": tree.size, "root": tree.root().hex(), "torn": list(set_aside(lines)),
                "roots": {str(size): tree.root(size).hex() for size in sizes if size <= tree.size},
            }  # fmt: skip
            if each:
                for record in self.history.parsed(lines):
                    each(record)
            answer |= self._judged(private, kept, tree, since)
        except Refusal as refusal:
            outcome = "truncated" if refusal.reason == "history_truncated" else "altered"
            return {**answer, "outcome": outcome, "detail": str(refusal)}
        if tail or answer["torn"]:
            answer["outcome"] = "torn"
            what = [f"{len(tail)} bytes of a last line that was cut off"] if tail else []
            what += [f"{name}, set aside and recorded" for name in answer["torn"]]
            answer["detail"] = f"{answer['detail']}; {', '.join(what)}"
        return answer

    def _judged(
        self, private: Ed25519PrivateKey | None, kept: bytes | None, tree: Tree, since: int | None
    ) -> dict[str, Any]:
        records = f"{tree.size} records"
        if kept is None:
            if private is None or tree.size:
                return {
                    "detail": f"{records}, and no checkpoint yet: the next exchange that changes something signs one"
                }
            # Nothing is promised by it: every history goes on from the empty one.
            empty = Checkpoint(self.origin, 0, merkle.EMPTY_ROOT).sign(private)
            return {"detail": records, "checkpoint": empty.decode()}
        if private is None:
            raise Refusal(
                "history_key_missing",
                expected=f"the key at {self.places.host.history_key} that signed {self.places.checkpoint}",
                found="no such file",
                remedy=_REMEDY,
            )
        signed = checkpoint.verify(kept, key=PublicKey.of(private), origin=self.origin)
        self._require_extends(signed, tree)
        behind = tree.size - signed.size
        return {
            "detail": f"{records}, {behind} of them after the newest checkpoint" if behind else records,
            "consistency": merkle.as_hex(tree.consistency_proof(since, signed.size))
            if since is not None and since <= signed.size
            else [],
        }

    def answer(self, since: int | None) -> dict[str, Any]:
        """The part ``log`` of an exchange's answer: what `judge` says, without roots."""
        found = self.judge(since=since)
        del found["roots"]
        return found

    def prove(self, chosen: Sequence[int], size: int | None = None) -> dict[str, Any]:
        """The lines at the places ``chosen``, each with the proof that it is among the first ``size`` records.

        Without a size, that of the kept checkpoint. Returns {lines: [{seq, line, inclusion, size}], checkpoint, key}.
        Refusal ``history_unsigned`` when there is no checkpoint that covers them.
        """
        private, kept = load_history_key(self.places.host), self._kept()
        if private is None or kept is None:
            raise self._unsigned("none")
        signed = checkpoint.verify(kept, key=PublicKey.of(private), origin=self.origin)
        lines, _torn = self.history.lines()
        tree = tree_of(lines)
        self._require_extends(signed, tree)
        size = signed.size if size is None else _size(size)
        if size > signed.size or any(seq >= size for seq in chosen):
            raise self._unsigned(f"one over {signed.size}")
        return {
            "lines": [
                {
                    "seq": seq, "line": lines[seq].decode("utf-8"), "inclusion": merkle.as_hex(tree.inclusion_proof(seq, size)),
                    "size": size,
                }
                for seq in chosen
            ],
            "checkpoint": kept.decode("utf-8"),
            "key": PublicKey.of(private).hex,
        }  # fmt: skip

    def _unsigned(self, found: str) -> Refusal:
        return Refusal(
            "history_unsigned",
            expected=f"a checkpoint in {self.places.checkpoint} over the records that are asked for",
            found=found,
            remedy="Run `slipway recover` on the host, or deploy: both sign what is not signed yet. Then ask again.",
        )


def tree_of(lines: Iterable[bytes]) -> Tree:
    """The Merkle tree over the lines of a history, each without its LF."""
    return Tree(map(merkle.leaf_hash, lines))


def set_aside(lines: Iterable[bytes]) -> Iterable[str]:
    """The names under which torn lines were set aside, as the records say that followed them."""
    for line in lines:
        if b'"torn_line":' not in line:  # parsing every line would cost the more the older the history is
            continue
        with suppress(Refusal):
            record = canonical.parse(line, what="history record", limit=len(line))
            if isinstance(record, dict) and isinstance(name := record.get("torn_line"), str):
                yield name


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= merkle.MAX_SIZE:
        raise Refusal(
            "history_size_invalid",
            expected="the number of records of a checkpoint that was kept",
            found=repr(value),
            remedy="Ask with a size that a checkpoint of this host has.",
        )
    return value


def witnessed_size(request: Mapping[str, Any]) -> int | None:
    """How many records the newest checkpoint has that the asking controller keeps: ``witnessed`` {size}, or null."""
    witnessed = request.get("witnessed")
    return None if witnessed is None else _size(witnessed.get("size") if isinstance(witnessed, Mapping) else witnessed)


def sizes_of(values: Any) -> list[int]:
    """The sizes that a request asks about."""
    if not isinstance(values, list) or len(values) > MAX_SIZES:
        raise Refusal(
            "history_size_invalid",
            expected=f"at most {MAX_SIZES} sizes of checkpoints",
            found=f"{len(values)}" if isinstance(values, list) else type(values).__name__,
            remedy="Ask for fewer, the newest first.",
        )
    return [_size(value) for value in values]
