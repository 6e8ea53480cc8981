# SPDX-License-Identifier: GPL-3.0-or-later
"""The Merkle tree: held to published values, and to a tree that is built as the definition says."""

from __future__ import annotations

import hashlib

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import merkle
from ansible.module_utils.slipway.trust.merkle import CompactRange, Tree, verify_consistency, verify_inclusion

# The inputs and roots of the tests that Certificate Transparency's own implementations share.
INPUTS = [bytes.fromhex(each) for each in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [bytes.fromhex(each) for each in (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)]  # fmt: skip
PUBLISHED_INCLUSION = {
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
PUBLISHED_CONSISTENCY = {
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LARGEST = 70
LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(LARGEST)]
TREE = Tree(LEAVES)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(width: int) -> int:
    return max(power for power in (1, 2, 4, 8, 16, 32, 64) if power < width)


def naive_root(hashes: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:]))


def naive_path(index: int, hashes: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162 section 2.1.3.1, word for word."""
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return [*naive_path(index, hashes[:k]), naive_root(hashes[k:])]
    return [*naive_path(index - k, hashes[k:]), naive_root(hashes[:k])]


def naive_subproof(old: int, hashes: list[bytes], *, known: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162 section 2.1.4.1, word for word."""
    if old == len(hashes):
        return [] if known else [naive_root(hashes)]
    k = split(len(hashes))
    if old <= k:
        return [*naive_subproof(old, hashes[:k], known=known), naive_root(hashes[k:])]
    return [*naive_subproof(old - k, hashes[k:], known=False), naive_root(hashes[:k])]


def is_refused(check, **arguments) -> bool:
    try:
        check(**arguments)
    except Refusal as refusal:
        return refusal.reason == "history_proof_invalid"
    return False


def test_the_roots_are_those_of_certificate_transparency():
    tree, growing = Tree(map(merkle.leaf_hash, INPUTS)), CompactRange()
    assert growing.root() == merkle.EMPTY_ROOT == ROOTS[0] == tree.root(0)
    for size, data in enumerate(INPUTS, 1):
        growing.append(merkle.leaf_hash(data))
        assert growing.root() == tree.root(size) == ROOTS[size]
    assert tree.root() == ROOTS[-1]


@pytest.mark.parametrize(("index", "size"), PUBLISHED_INCLUSION)
def test_the_published_inclusion_proofs_are_ours_and_hold(index, size):
    tree = Tree(map(merkle.leaf_hash, INPUTS))
    proof = merkle.from_hex(PUBLISHED_INCLUSION[index, size], what="a published proof")
    assert tree.inclusion_proof(index, size) == proof
    verify_inclusion(leaf=merkle.leaf_hash(INPUTS[index]), index=index, size=size, proof=proof, root=ROOTS[size])


@pytest.mark.parametrize(("old", "size"), PUBLISHED_CONSISTENCY)
def test_the_published_consistency_proofs_are_ours_and_hold(old, size):
    tree = Tree(map(merkle.leaf_hash, INPUTS))
    proof = merkle.from_hex(PUBLISHED_CONSISTENCY[old, size], what="a published proof")
    assert tree.consistency_proof(old, size) == proof
    verify_consistency(old_size=old, old_root=ROOTS[old], size=size, root=ROOTS[size], proof=proof)


def test_every_root_is_that_of_the_definition_however_the_tree_came_about():
    growing = CompactRange()
    for size in range(LARGEST + 1):
        assert naive_root(LEAVES[:size]) == TREE.root(size) == Tree(LEAVES[:size]).root() == growing.root()
        resumed = Tree(LEAVES[:size]).compact_range()
        assert (resumed.size, resumed.hashes) == (growing.size, growing.hashes)
        if size < LARGEST:
            growing.append(LEAVES[size])


def test_every_inclusion_proof_is_that_of_the_definition_and_holds_for_its_place_alone():
    for size in range(1, LARGEST + 1):
        root = TREE.root(size)
        for index in range(size):
            proof = TREE.inclusion_proof(index, size)
            assert proof == naive_path(index, LEAVES[:size])
            arguments = {"leaf": LEAVES[index], "index": index, "size": size, "proof": proof, "root": root}
            verify_inclusion(**arguments)
            assert is_refused(verify_inclusion, **{**arguments, "leaf": LEAVES[index - 1] if size > 1 else root[::-1]})
            assert is_refused(verify_inclusion, **{**arguments, "root": TREE.root(size - 1)})
            assert is_refused(verify_inclusion, **{**arguments, "proof": [*proof, root]})
            assert is_refused(verify_inclusion, **{**arguments, "index": size})
            assert is_refused(verify_inclusion, **{**arguments, "index": -1})
            assert is_refused(
                verify_inclusion, **{**arguments, "size": 4 * size}
            )  # the root is right, its height is not
            if proof:
                assert is_refused(verify_inclusion, **{**arguments, "index": 0, "size": 1})
            if proof:
                assert is_refused(verify_inclusion, **{**arguments, "proof": proof[:-1]})
                assert is_refused(verify_inclusion, **{**arguments, "proof": [*proof[:-1], root]})
                assert is_refused(verify_inclusion, **{**arguments, "index": (index + 1) % size})


def test_every_consistency_proof_is_that_of_the_definition_and_holds_for_its_trees_alone():
    for size in range(LARGEST + 1):
        root = TREE.root(size)
        for old in range(size + 1):
            proof, old_root = TREE.consistency_proof(old, size), TREE.root(old)
            assert proof == ([] if old == 0 else naive_subproof(old, LEAVES[:size], known=True))
            arguments = {"old_size": old, "old_root": old_root, "size": size, "root": root, "proof": proof}
            verify_consistency(**arguments)
            assert is_refused(verify_consistency, **{**arguments, "proof": [*proof, root]})
            assert is_refused(verify_consistency, **{**arguments, "old_root": LEAVES[-1]})
            if old > 0:
                assert is_refused(verify_consistency, **{**arguments, "root": LEAVES[-1]})
            if proof:
                assert is_refused(verify_consistency, **{**arguments, "proof": proof[:-1]})
                assert is_refused(verify_consistency, **{**arguments, "proof": []})
                for place in range(len(proof)):
                    bent = [*proof[:place], LEAVES[-1][::-1], *proof[place + 1 :]]
                    assert is_refused(verify_consistency, **{**arguments, "proof": bent})


def found_in(check, **arguments) -> str:
    with pytest.raises(Refusal) as refused:
        check(**arguments)
    return refused.value.found


def test_a_tree_of_another_height_is_refused_though_the_roots_are_right():
    """The way up from a subtree that both trees have leads to the right roots before, or after, the proof ends."""
    proof = TREE.inclusion_proof(0, 4)
    for size in (5, 8, 64):
        arguments = {"leaf": LEAVES[0], "index": 0, "size": size, "proof": proof, "root": TREE.root(4)}
        assert found_in(verify_inclusion, **arguments) == "fewer hashes than such a tree is high"
    arguments = {"leaf": LEAVES[0], "index": 0, "size": 2, "proof": proof, "root": TREE.root(4)}
    assert found_in(verify_inclusion, **arguments) == "more hashes than such a tree is high"
    same = {"old_size": 2, "old_root": TREE.root(2), "proof": TREE.consistency_proof(2, 4), "root": TREE.root(4)}
    assert found_in(verify_consistency, **same, size=8) == "fewer hashes than such a tree is high"
    assert found_in(verify_consistency, **{**same, "proof": TREE.consistency_proof(2, 8)}, size=4) == (
        "more hashes than such a tree is high"
    )


def test_a_history_that_shrank_is_not_consistent_with_itself():
    assert is_refused(
        verify_consistency,
        old_size=5,
        old_root=TREE.root(5),
        size=4,
        root=TREE.root(4),
        proof=TREE.consistency_proof(4, 5),
    )
    for old_size, size in ((5, 4), (-1, 4), (1, 2**53)):
        arguments = {
            "old_size": old_size,
            "old_root": TREE.root(5),
            "size": size,
            "root": TREE.root(4),
            "proof": LEAVES[:1],
        }
        assert found_in(verify_consistency, **arguments) == "fewer records than before, or more than any history has"


def test_a_fork_has_no_proof_that_holds():
    fork = Tree([*LEAVES[:40], *(merkle.leaf_hash(b"other") for _ in range(30))])
    for old in range(1, LARGEST):
        proof = fork.consistency_proof(old)
        arguments = {"old_size": old, "old_root": TREE.root(old), "size": 70, "root": fork.root(), "proof": proof}
        assert is_refused(verify_consistency, **arguments) == (old > 40)


@pytest.mark.parametrize(
    ("index", "size"),
    [(0, 2**53), (2**53 - 2, 2**53 - 1), (0, 2**53 - 1), (2**60, 2**61), (0, 0)],
)
def test_sizes_beyond_any_history_end_soon(index, size):
    leaf = LEAVES[0]
    assert is_refused(verify_inclusion, leaf=leaf, index=index, size=size, proof=[leaf] * 10, root=leaf)
    assert is_refused(verify_consistency, old_size=index + 3, old_root=leaf, size=size, root=leaf, proof=[leaf] * 10)


def test_proofs_of_a_million_hashes_are_refused_by_their_length():
    proof = [LEAVES[0]] * 1_000_000
    assert is_refused(verify_inclusion, leaf=LEAVES[0], index=0, size=2**53 - 1, proof=proof, root=LEAVES[0])
    arguments = {"old_size": 1, "old_root": LEAVES[0], "size": 2**53 - 1, "root": LEAVES[0], "proof": proof}
    assert found_in(verify_consistency, **arguments) == "1000000 hashes"
    assert is_refused(merkle.from_hex, value=["00" * 32] * 65, what="a proof")


@pytest.mark.parametrize("bad", [b"", b"x" * 31, b"x" * 33])
def test_hashes_of_another_length_are_refused(bad):
    good = LEAVES[0]
    assert is_refused(verify_inclusion, leaf=bad, index=0, size=1, proof=[], root=bad)
    assert is_refused(verify_inclusion, leaf=good, index=0, size=2, proof=[bad], root=good)
    assert is_refused(verify_consistency, old_size=1, old_root=bad, size=1, root=bad, proof=[])


@pytest.mark.parametrize(
    "value",
    [
        None,
        "00" * 32,
        {},
        [None],
        [1],
        [b"00" * 32],
        ["00" * 31],
        ["0" * 63],
        ["AA" * 32],
        ["é" * 64],
        ["00" * 31 + "0 "],
    ],
)
def test_only_arrays_of_lower_hex_are_hashes_that_arrived(value):
    assert is_refused(merkle.from_hex, value=value, what="a proof")
    assert merkle.from_hex(merkle.as_hex(LEAVES[:64]), what="a proof") == LEAVES[:64]


@pytest.mark.parametrize(
    ("size", "hashes"), [(-1, []), (1, []), (0, [LEAVES[0]]), (3, [LEAVES[0]]), (1, [b"short"]), (2**53, [LEAVES[0]])]
)
def test_what_fits_no_tree_is_no_compact_range(size, hashes):
    with pytest.raises(ValueError, match="no compact range"):
        CompactRange(size, hashes)


def test_a_question_about_what_is_not_in_the_tree_is_an_error():
    for question in (
        lambda: TREE.root(LARGEST + 1),
        lambda: TREE.root(-1),
        lambda: TREE.inclusion_proof(5, 5),
        lambda: TREE.inclusion_proof(-1),
        lambda: TREE.consistency_proof(6, 5),
        lambda: TREE.consistency_proof(-1),
    ):
        with pytest.raises(ValueError, match=r"leaves|leaf"):
            question()
