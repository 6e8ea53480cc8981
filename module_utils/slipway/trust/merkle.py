# SPDX-License-Identifier: GPL-3.0-or-later
"""Merkle trees as RFC 6962 and RFC 9162 define them: roots, proofs, and their verification.

A leaf hash is SHA-256 over 0x00 and the leaf, a node hash SHA-256 over 0x01 and the two hashes below it, so that no leaf
can be taken for a node. Hashes are 32 bytes here, and 64 lower-case hex digits where they travel (`as_hex`, `from_hex`).
A proof that arrives is untrusted: whatever it is, verifying it ends soon, in silence or in Refusal ``history_proof_invalid``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from ..base.errors import Refusal, shown

HASH_BYTES: Final = 32
MAX_SIZE: Final = 2**53 - 1
MAX_PROOF: Final = 64  # no tree of MAX_SIZE leaves needs more hashes
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

_DIGITS: Final = frozenset("0123456789abcdef")


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 9162 section 2.1.1: SHA-256 over 0x00 and the leaf."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 section 2.1.1: SHA-256 over 0x01 and the hashes of the two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


class CompactRange:
    """The least that a tree's root and its growth need: the roots of its complete subtrees, widest first.

    A tree of ``size`` leaves has as many of them as ``size`` has bits that are set, so it is at most 53 hashes, whatever
    the number of leaves.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in hashes):
            raise ValueError(f"{len(hashes)} hashes are no compact range of {size} leaves")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf, given by its leaf hash."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            size >>= 1
        self.hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree; the hash of nothing where it has no leaf."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


class Tree:
    """A whole tree over leaf hashes: any root and proof of it, each in time that grows with the logarithm of its size."""

    def __init__(self, leaf_hashes: Iterable[bytes]) -> None:
        # _levels[k][i] is the root of the complete subtree over the leaves from i * 2**k up to (i + 1) * 2**k.
        self._levels = [list(leaf_hashes)]
        sha256 = hashlib.sha256
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([sha256(b"\1" + left + right).digest() for left, right in pairs])

    @property
    def size(self) -> int:
        return len(self._levels[0])

    def compact_range(self) -> CompactRange:
        """What is needed to go on from here."""
        ranges = [self._root(start, end) for start, end in _complete(self.size)]
        return CompactRange(self.size, ranges)

    def root(self, size: int | None = None) -> bytes:
        """The root over the first ``size`` leaves (all of them by default)."""
        size = self._known(size)
        return self._root(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """RFC 9162 section 2.1.3.1: the hashes that lead from the leaf at ``index`` to the root over ``size`` leaves."""
        size = self._known(size)
        if not 0 <= index < size:
            raise ValueError(f"no leaf {index} among {size}")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._root(middle, end))
                end = middle
            else:
                proof.append(self._root(start, middle))
                start = middle
        return proof[::-1]

    def consistency_proof(self, old: int, size: int | None = None) -> list[bytes]:
        """RFC 9162 section 2.1.4.1: the hashes that show the first ``old`` leaves to be the beginning of ``size``.

        None are needed, and none given, for an empty beginning and for the whole.
        """
        size = self._known(size)
        if not 0 <= old <= size:
            raise ValueError(f"{old} leaves are no beginning of {size}")
        if old in (0, size):
            return []
        proof: list[bytes] = []
        start, end, is_whole = (
            0,
            size,
            True,
        )  # is_whole: the beginning ends where a subtree that the verifier knows does
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                proof.append(self._root(middle, end))
                end = middle
            else:
                proof.append(self._root(start, middle))
                start, is_whole = middle, False
        if not is_whole:
            proof.append(self._root(start, end))
        return proof[::-1]

    def _known(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise ValueError(f"{size} leaves of a tree of {self.size}")
        return size

    def _root(self, start: int, end: int) -> bytes:
        """The root over the leaves from ``start`` to ``end``, a range that a walk down the tree comes by."""
        width = end - start
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _split(width)
        return node_hash(self._root(start, middle), self._root(middle, end))


def _split(width: int) -> int:
    """The largest power of two below ``width``: where RFC 9162 divides a tree."""
    return 1 << ((width - 1).bit_length() - 1)


def _complete(size: int) -> list[tuple[int, int]]:
    """The widest complete subtrees, from left to right, as ranges of leaves."""
    ranges, start = [], 0
    for bit in range(size.bit_length() - 1, -1, -1):
        if size >> bit & 1:
            ranges.append((start, start + (1 << bit)))
            start += 1 << bit
    return ranges


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Refuse a proof that the leaf with the hash ``leaf`` stands at ``index`` of the tree of ``size`` leaves with ``root``.

    RFC 9162 section 2.1.3.2.
    """
    what = f"a proof that record {index} is in a history of {size}"
    _require_hashes(what, leaf, root, *proof)
    if not 0 <= index < size <= MAX_SIZE:
        _refuse(what, "no such place in it")
    found = leaf
    for sibling, is_left in zip(proof, _sides(index, size - 1, len(proof), what), strict=True):
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
    if found != root:
        _refuse(what, f"the root {shown(found.hex())}, and not the signed one")


def verify_consistency(*, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Refuse a proof that the tree of ``old_size`` leaves with ``old_root`` is the beginning of the one of ``size``.

    RFC 9162 section 2.1.4.2. Anything goes on from the empty tree, whose root is known, and the same size needs the same
    root; neither takes a proof.
    """
    what = f"a proof that a history of {size} records goes on from the {old_size} seen before"
    _require_hashes(what, old_root, root, *proof)
    if not 0 <= old_size <= size <= MAX_SIZE:
        _refuse(what, "fewer records than before, or more than any history has")
    if old_size in (0, size):
        if proof:
            _refuse(what, f"{len(proof)} hashes where none is needed")
        if old_root != (EMPTY_ROOT if old_size == 0 else root):
            _refuse(what, "another root for the same records")
        return
    hashes = list(proof)
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        _refuse(what, "no hashes")
    first, last = old_size - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_found = found = hashes[0]
    for sibling, is_left in zip(hashes[1:], _sides(first, last, len(hashes) - 1, what), strict=True):
        if is_left:
            old_found, found = node_hash(sibling, old_found), node_hash(sibling, found)
        else:
            found = node_hash(found, sibling)
    if old_found != old_root or found != root:
        _refuse(what, "roots that are not the signed ones")


def _sides(first: int, last: int, count: int, what: str) -> list[bool]:
    """On the way up from the leaf ``first`` of a tree whose last leaf is ``last``: is each sibling on the left?

    A proof has exactly as many hashes as there are siblings, or it is refused.
    """
    sides = []
    for _ in range(count):
        if last == 0:
            _refuse(what, "more hashes than such a tree is high")
        sides.append(bool(first & 1) or first == last)
        if sides[-1]:
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        first, last = first >> 1, last >> 1
    if last != 0:
        _refuse(what, "fewer hashes than such a tree is high")
    return sides


def as_hex(hashes: Iterable[bytes]) -> list[str]:
    """Hashes as they travel."""
    return [each.hex() for each in hashes]


def from_hex(value: Any, *, what: str) -> list[bytes]:
    """Read hashes that arrived: an array of at most 64 strings of 64 lower-case hex digits, or Refusal."""
    if not isinstance(value, list) or len(value) > MAX_PROOF:
        _refuse(what, shown(value))
    for each in value:
        if not isinstance(each, str) or len(each) != 2 * HASH_BYTES or not _DIGITS.issuperset(each):
            _refuse(what, shown(each))
    return [bytes.fromhex(each) for each in value]


def _require_hashes(what: str, *hashes: bytes) -> None:
    if len(hashes) > MAX_PROOF + 2:
        _refuse(what, f"{len(hashes) - 2} hashes")
    if any(len(each) != HASH_BYTES for each in hashes):
        _refuse(what, "a hash that has no 32 bytes")


def _refuse(what: str, found: str) -> NoReturn:
    raise Refusal(
        "history_proof_invalid",
        expected=what,
        found=found,
        remedy="Treat the history as tampered with: run playbooks/verify.yml, and keep what it says.",
    )
