"""Proofs are bent: inner nodes shown as leaves, proofs replayed under another index or count.

Two defences overlap: the count under the root fixes the shape of the tree, and leaves are hashed
under another first byte than nodes. Without the first the last test fails; without both the first
test does too.
"""

from pnyx.primitives.hashing import merkle_proofs, merkle_root, verify_merkle_proof

LEAVES = [bytes([number]) * 32 for number in range(7)]


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    """The classical second pre-image: a "leaf" made of the two hashes below a node."""
    for count in range(2, 8):
        leaves = LEAVES[:count]
        root, proofs = merkle_root(leaves), merkle_proofs(leaves)
        for index in range(0, count - 1, 2):
            left_hash = proofs[index + 1][0]  # each leaf of a pair proves itself by the other's
            right_hash = proofs[index][0]
            forged = left_hash + right_hash
            for claimed_count in range(1, count + 1):
                for claimed in range(claimed_count):
                    proof = proofs[index][1:]
                    assert not verify_merkle_proof(root, forged, claimed, claimed_count, proof)


def test_a_shorter_list_of_hashes_does_not_have_the_same_root() -> None:
    proofs = merkle_proofs(LEAVES[:4])
    top_pair = [proofs[2][1], proofs[0][1]]  # the two nodes below the top
    pairs = [proofs[1][0] + proofs[0][0], proofs[3][0] + proofs[2][0]]
    assert merkle_root(LEAVES[:4]) not in {merkle_root(top_pair), merkle_root(pairs)}


def test_a_proof_is_not_replayed_under_another_index_or_count() -> None:
    """Leaf 2 of 3 has the path of leaf 1 of 2: only the count under the root tells them apart."""
    places = [(index, count) for count in range(1, 10) for index in range(count)]
    for index, count in places[:28]:  # the trees of up to 7 leaves
        leaves = LEAVES[:count]
        root, proof = merkle_root(leaves), merkle_proofs(leaves)[index]
        accepted = [
            place for place in places if verify_merkle_proof(root, leaves[index], *place, proof)
        ]
        assert accepted == [(index, count)]
