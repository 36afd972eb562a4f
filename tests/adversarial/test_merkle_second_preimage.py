"""Proofs are bent: inner nodes shown as leaves, proofs replayed under another index or count.

Two defences overlap. The count under the root fixes the shape of the tree, so that nothing but the
leaf fits at its place; it alone keeps proofs from being replayed. The first byte of what is hashed
tells leaves from nodes; it is the usual defence, and holds should the count ever be taken from
elsewhere. Each is tried with the other taken away.
"""

from hashlib import sha256

import pytest

from pnyx.primitives import hashing
from pnyx.primitives.hashing import merkle_proofs, merkle_root, verify_merkle_proof

LEAVES = [bytes([number]) * 32 for number in range(7)]
PLACES = [(index, count) for count in range(1, 10) for index in range(count)]
TAGS = [b"", b"\x00", b"\x01", b"\x02"]


def inner_nodes_pass() -> bool:
    """The classical second pre-image: a "leaf" made of the two hashes below a node."""
    for count in range(2, 8):
        root, proofs = merkle_root(LEAVES[:count]), merkle_proofs(LEAVES[:count])
        for index in range(0, count - 1, 2):
            # each leaf of a pair proves itself by the other's hash
            pair = proofs[index + 1][0] + proofs[index][0]
            for forged in (tag + pair for tag in TAGS):
                if any(verify_merkle_proof(root, forged, *at, proofs[index][1:]) for at in PLACES):
                    return True
    return False


def proofs_are_replayed() -> bool:
    """Leaf 2 of 3 has the path of leaf 1 of 2: only the count under the root tells them apart."""
    for index, count in PLACES[:28]:  # the trees of up to 7 leaves
        leaves = LEAVES[:count]
        root, proof = merkle_root(leaves), merkle_proofs(leaves)[index]
        accepted = [at for at in PLACES if verify_merkle_proof(root, leaves[index], *at, proof)]
        assert (index, count) in accepted
        if len(accepted) > 1:
            return True
    return False


def forget_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_root", lambda count, top: sha256(b"\x02" + top).digest())


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    assert not inner_nodes_pass()


def test_an_inner_node_does_not_pass_by_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_count(monkeypatch)
    assert not inner_nodes_pass()
    monkeypatch.setattr(hashing, "_LEAF", b"")
    assert inner_nodes_pass()


def test_an_inner_node_does_not_pass_by_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_LEAF", b"")
    assert not inner_nodes_pass()
    forget_the_count(monkeypatch)
    assert inner_nodes_pass()


def test_a_shorter_list_of_hashes_does_not_have_the_same_root() -> None:
    proofs = merkle_proofs(LEAVES[:4])
    top_pair = [proofs[2][1], proofs[0][1]]  # the two nodes below the top
    pairs = [proofs[1][0] + proofs[0][0], proofs[3][0] + proofs[2][0]]
    tagged = [[tag + each for each in pairs] for tag in TAGS]
    assert merkle_root(LEAVES[:4]) not in {merkle_root(each) for each in (top_pair, *tagged)}


def test_a_proof_is_not_replayed_under_another_index_or_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not proofs_are_replayed()
    forget_the_count(monkeypatch)
    assert proofs_are_replayed()
