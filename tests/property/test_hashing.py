"""Digests are injective in their parts; Merkle proofs prove one leaf at one place."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.primitives.hashing import digest, merkle_proofs, merkle_root, verify_merkle_proof

parts = st.lists(st.binary(max_size=10), max_size=4)
domains = st.text("ab", max_size=3)


@settings(deadline=None, max_examples=200)
@given(domains, parts, domains, parts)
def test_digests_are_equal_only_for_equal_calls(
    domain: str, first: list[bytes], other_domain: str, second: list[bytes]
) -> None:
    same = (domain, first) == (other_domain, second)
    assert (digest(domain, *first) == digest(other_domain, *second)) == same


@settings(deadline=None, max_examples=50)
@given(parts, st.data())
def test_moving_a_boundary_between_parts_changes_the_digest(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole)))
    moved = [whole[:cut], whole[cut:]]
    assert (digest("d", *moved) == digest("d", *pieces)) == (moved == pieces)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70, unique=True), st.data())
def test_merkle_proofs(leaves: list[bytes], data: st.DataObject) -> None:
    root, proofs = merkle_root(leaves), merkle_proofs(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    claimed = data.draw(st.integers(0, len(leaves) - 1))
    leaf = leaves[data.draw(st.integers(0, len(leaves) - 1))]
    accepted = verify_merkle_proof(root, leaf, claimed, len(leaves), proofs[index])
    assert accepted == (claimed == index and leaf == leaves[index])
    assert len(proofs[index]) <= (len(leaves) - 1).bit_length()
