"""Hashing: domains, injectivity, Merkle trees of every small size."""

from hashlib import sha256

import pytest

from pnyx.primitives.hashing import (
    HASH_BYTES,
    digest,
    digests,
    merkle_commit,
    merkle_proof_hashes,
    merkle_proofs,
    merkle_root,
    verify_merkle_proof,
)

LEAVES = [bytes([number]) * number for number in range(40)]


def test_digest_is_sha256_of_length_prefixed_parts() -> None:
    expected = sha256((2).to_bytes(8, "big") + b"ab" + (3).to_bytes(8, "big") + b"xyz").digest()
    assert digest("ab", b"xyz") == expected
    assert len(expected) == HASH_BYTES


def test_digests_differ_when_the_parts_or_the_domain_do() -> None:
    calls = [("a",), ("ab",), ("a", b""), ("a", b"b"), ("a", b"b", b""), ("a", b"", b"b")]
    calls += [("a", b"bc"), ("a", b"b", b"c"), ("b", b"b"), ("é",), ("é", b"b")]
    assert len({digest(*call) for call in calls}) == len(calls)


def test_the_tree_has_the_shape_of_rfc_6962() -> None:
    def top(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return sha256(b"\x00" + leaves[0]).digest()
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        return sha256(b"\x01" + top(leaves[:split]) + top(leaves[split:])).digest()

    for count in range(1, len(LEAVES) + 1):
        leaves = LEAVES[:count]
        assert (
            merkle_root(leaves) == sha256(b"\x02" + count.to_bytes(8, "big") + top(leaves)).digest()
        )


def test_every_leaf_is_proven_at_its_own_place_only() -> None:
    for count in range(1, 18):
        leaves = LEAVES[:count]
        root, proofs = merkle_root(leaves), merkle_proofs(leaves)
        for index, proof in enumerate(proofs):
            for claimed in range(count):
                accepted = verify_merkle_proof(root, leaves[index], claimed, count, proof)
                assert accepted == (claimed == index)


def test_an_empty_tree_is_a_bug() -> None:
    with pytest.raises(ValueError, match="at least one leaf"):
        merkle_root([])
    with pytest.raises(ValueError, match="at least one leaf"):
        merkle_proofs([])


def test_proofs_of_a_wrong_form_are_refused() -> None:
    root, proofs = merkle_root(LEAVES[:5]), merkle_proofs(LEAVES[:5])
    leaf, proof = LEAVES[1], proofs[1]
    assert verify_merkle_proof(root, leaf, 1, 5, proof)
    assert verify_merkle_proof(root, leaf, 1, 5, list(proof))
    assert not verify_merkle_proof(root, leaf, 1, 5, proof[:-1])
    assert not verify_merkle_proof(root, leaf, 1, 5, (*proof, proof[-1]))
    assert not verify_merkle_proof(root, leaf, 1, 5, (*proof[:-1], proof[-1][:31]))
    assert not verify_merkle_proof(root, leaf, 1, 5, proof[::-1])
    # the path of the last of 8 leaves turns left at every level, as that of index -1 would
    eight = merkle_root(LEAVES[:8]), LEAVES[7]
    assert verify_merkle_proof(*eight, 7, 8, merkle_proofs(LEAVES[:8])[7])
    assert not verify_merkle_proof(*eight, -1, 8, merkle_proofs(LEAVES[:8])[7])
    assert not verify_merkle_proof(root, leaf, 5, 5, proof)
    assert not verify_merkle_proof(root, leaf, 0, 0, proof)
    assert not verify_merkle_proof(root, leaf, 1, 1 << 64, proof)
    assert not verify_merkle_proof(root, leaf + b"\x00", 1, 5, proof)
    assert not verify_merkle_proof(root[:-1] + b"\x00", leaf, 1, 5, proof)


def test_many_digests_at_once():
    lasts = [b"", b"a", b"ab" * 40]
    assert digests("d", b"first", lasts) == [digest("d", b"first", last) for last in lasts]
    assert digests("d", b"first", []) == []


def test_root_and_proofs_from_one_tree():
    leaves = [bytes((at,)) for at in range(11)]
    assert merkle_commit(leaves) == (merkle_root(leaves), merkle_proofs(leaves))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13, 64])
def test_how_many_hashes_a_proof_has(count):
    proofs = merkle_proofs([bytes([at]) for at in range(count)])
    assert list(map(len, proofs)) == [merkle_proof_hashes(at, count) for at in range(count)]
