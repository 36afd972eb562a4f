"""Both verifiers read the same censuses alike; everything that a bundle proves hangs on them."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.independent import mutation, verifier
from tests.independent.agreement import NOW
from tests.independent.forge import AUTHORITY, census_bytes, folk, forged
from tests.support.town import NETWORK

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.identity import CensusEntry, SignedCensus, verify_census


def census_agrees(content: bytes, now: int = NOW) -> bool:
    """Fail unless both read this census alike; tell whether they believe it."""
    try:
        signed = codec.decode(content, SignedCensus, bytes_max=2**20)
        verify_census(
            signed,
            network=NETWORK,
            authority_key=AUTHORITY.public_key,
            crypto=AUTHORITY,
            now=now,
        )
        believed = True
    except ProtocolError:
        believed = False
    _, found = verifier.verify_census(content, NETWORK, AUTHORITY.public_key, now)
    assert believed == (not found), found
    return believed


def test_census_root_is_the_same() -> None:
    census, found = verifier.verify_census(census_bytes(folk()), NETWORK, AUTHORITY.public_key, NOW)
    assert found == []
    assert census.root == folk().census.root


def opened_census() -> list:
    tree = msgspec.msgpack.decode(census_bytes(folk()))
    tree[1] = mutation.Nested(msgspec.msgpack.decode(tree[1]))
    return tree


def certified_census(tree: list) -> bytes:
    """Encoded with the authority's signature under whatever its body says."""
    body = mutation.put_together(tree[1])
    if isinstance(body, bytes):
        tree[2] = AUTHORITY.sign(b"pnyx/1/" + NETWORK + body)
    return mutation.encoded(tree)


@pytest.mark.parametrize("resigned", [False, True])
@pytest.mark.parametrize("stride", [2, pytest.param(1, marks=pytest.mark.full)])
def test_changed_census(stride, resigned) -> None:
    tree = opened_census()
    places = [
        (path, value)
        for path in mutation.paths(tree)
        for value in mutation.alternatives(mutation.at(tree, path))
    ]
    for path, value in places[::stride]:
        changed = mutation.replaced(tree, path, value)
        census_agrees(certified_census(changed) if resigned else mutation.encoded(changed))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_committee_sizes_of_a_census(data) -> None:
    """Any k, f, l and absences, with the sizes that follow from them, or one beside."""
    k, f, packing = (data.draw(st.integers(*ends)) for ends in ((4, 10), (0, 3), (0, 3)))
    absent, beside = data.draw(st.integers(0, 2)), st.sampled_from([0, 0, 0, 1, -1])
    quorum = data.draw(st.integers((k + f) // 2, max((k + f) // 2, k - f - absent)))
    degree = max(0, f + packing - 1 + data.draw(beside))
    needed = max(0, 4 * f + 2 * packing - 1 + data.draw(beside))
    tree = opened_census()
    tree[1][6] = [k, f, packing, degree, quorum + max(0, data.draw(beside)), needed, absent]
    census_agrees(certified_census(tree))


@pytest.mark.parametrize("order", [(1, 0, *range(2, 9)), (0, 0, *range(1, 9))])
def test_census_out_of_order_with_a_fitting_root(order) -> None:
    tree = opened_census()
    tree[3] = [tree[3][at] for at in order]
    tree[1][4] = verifier.merkle_root([node + key for node, key in tree[3]])
    tree[1][5] = len(order)
    assert not census_agrees(certified_census(tree))


def test_expiry_is_exclusive() -> None:
    content = census_bytes(folk())
    assert census_agrees(content, 10**9 - 1)
    assert not census_agrees(content, 10**9)


def test_bundle_under_an_invalid_census_is_not_believed() -> None:
    content = census_bytes(folk(), valid_until=1)
    found = verifier.verify(forged(), content, NETWORK, AUTHORITY.public_key, NOW)
    assert [each.where for each in found] == ["census"]


def test_census_smaller_than_its_committee() -> None:
    entries = [CensusEntry(bytes([at]) * 32, b"y" * 32) for at in range(6)]
    assert not census_agrees(census_bytes(folk(), entries=entries))
