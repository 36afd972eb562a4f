"""Keys are shared, summed and decoded; wrong shares are corrected, and their members named."""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives.hashing import merkle_proofs, verify_merkle_proof
from pnyx.protocol.aggregation.masked.keys import (
    MaskingKey,
    decode_keys,
    payload_bytes,
    read_payload,
    read_released,
    share_key,
    shares_root,
    sum_key_shares,
)
from pnyx.protocol.aggregation.masked.parameters import P0, P1, P2, RINGS
from pnyx.protocol.selection import committee_size

SIZE = committee_size(24, 4, 2)
NAMES = ["P0", "P1", "P2"]


def released_by(parameters, size, keys, members):
    """What members release of the sum of keys: member -> shares."""
    payloads = [share_key(parameters, key, size) for key in keys]
    return {
        member: read_released(
            parameters,
            size,
            sum_key_shares(
                parameters, size, [read_payload(parameters, size, p[member]) for p in payloads]
            ),
        )
        for member in members
    }


def keys_of(parameters, count):
    vectors = masked.draw(parameters, count)
    return [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]


def as_lists(key):
    return [part.tolist() for part in key]


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
@pytest.mark.parametrize(("size", "f", "packing"), [(24, 4, 2), (13, 2, 3), (7, 1, 1)])
def test_the_sum_of_the_shares_is_a_share_of_the_sum(ring, size, f, packing):
    committee = committee_size(size, f, packing)
    parameters = in_ring(ring, 50, 12, 24)
    keys = keys_of(parameters, 3)
    members = range(size - committee.linear_answers_needed, size)
    released = released_by(parameters, committee, keys, members)
    found, liars = decode_keys(parameters, committee, released)
    assert as_lists(found) == as_lists(masked.add_keys(parameters, [k.secret for k in keys]))
    assert all(part.dtype == np.uint32 for part in found)
    assert liars == ()


def test_liars_are_corrected_and_named():
    parameters = in_ring(P2, 50, 12, 24)
    keys = keys_of(parameters, 2)
    released = released_by(parameters, SIZE, keys, range(24))
    released[3][0][7] += 1  # one element in the first field
    released[9][3][:] = 5  # everything in the last one
    released[20][1][0] ^= 1
    released[21][1][0] ^= 1
    found, liars = decode_keys(parameters, SIZE, released)
    assert as_lists(found) == as_lists(masked.add_keys(parameters, [k.secret for k in keys]))
    assert liars == (3, 9, 20, 21)


def test_liars_in_different_fields_count_together():
    """Each field alone would decode; all together they are more than can be corrected."""
    parameters = in_ring(P2, 50, 12, 24)
    released = released_by(parameters, SIZE, keys_of(parameters, 2), range(14))
    for at, member in enumerate((0, 1, 2, 3)):
        released[member][at][0] ^= 1
    decode_keys(parameters, SIZE, released)
    released[4][3][0] ^= 1
    with pytest.raises(DecodingError):
        decode_keys(parameters, SIZE, released)


def test_liars_in_different_columns_count_together():
    parameters = in_ring(P0, 50, 12, 24)
    released = released_by(parameters, SIZE, keys_of(parameters, 2), range(14))
    for column, member in enumerate((0, 1, 2, 3, 4)):
        released[member][0][column] ^= 1
    with pytest.raises(DecodingError):
        decode_keys(parameters, SIZE, released)


def test_too_few_members_decode_nothing():
    parameters = in_ring(P0, 50, 12, 24)
    keys = keys_of(parameters, 1)
    least = SIZE.degree + 1 + SIZE.corrupt_max
    decode_keys(parameters, SIZE, released_by(parameters, SIZE, keys, range(least)))
    with pytest.raises(DecodingError, match="do not suffice"):
        decode_keys(parameters, SIZE, released_by(parameters, SIZE, keys, range(least - 1)))


@pytest.mark.parametrize(("packing", "most"), [(4, 1100), (8, 600)])
def test_a_member_gets_little(packing, most):
    """Well below 2.5 KB for a committee of 64, sealed or not."""
    size = committee_size(64, 8, packing)
    parameters = in_ring(P0, 10**5, 12, 24)
    assert payload_bytes(parameters, size) <= most
    payloads = share_key(parameters, keys_of(in_ring(P0, 10, 12, 24), 1)[0], size)
    assert {len(payload) for payload in payloads} == {payload_bytes(parameters, size)}


def test_payloads_are_salted_committed_and_checked():
    parameters = in_ring(P1, 50, 12, 24)
    payloads = share_key(parameters, keys_of(parameters, 1)[0], SIZE)
    assert len({payload[:16] for payload in payloads}) == SIZE.size
    proof = merkle_proofs(payloads)[5]
    assert verify_merkle_proof(shares_root(payloads), payloads[5], 5, SIZE.size, proof)
    assert not verify_merkle_proof(shares_root(payloads), payloads[6], 5, SIZE.size, proof)
    for damaged in (payloads[0][:-1], payloads[0] + b"\0", b"", payloads[0][:-4] + b"\xff" * 4):
        with pytest.raises(MalformedMessage):
            read_payload(parameters, SIZE, damaged)
    with pytest.raises(MalformedMessage):
        read_released(parameters, SIZE, payloads[0])
    with pytest.raises(MalformedMessage):
        read_payload(in_ring(P0, 50, 12, 24), SIZE, payloads[0])


def test_no_more_shares_are_added_than_the_set_holds():
    parameters = in_ring(P0, 50, 12, 2)
    [key] = keys_of(parameters, 1)
    share = read_payload(parameters, SIZE, share_key(parameters, key, SIZE)[0])
    sum_key_shares(parameters, SIZE, [share] * 2)
    for count in (0, 3):
        with pytest.raises(ValueError, match="no more than the parameters hold"):
            sum_key_shares(parameters, SIZE, [share] * count)


def test_f_members_see_uniform_numbers():
    """Of two keys with one seed for the shares f members hold the same; the others do not."""
    parameters = in_ring(P0, 50, 12, 24)
    first, second = keys_of(parameters, 2)
    one = share_key(parameters, MaskingKey(first.secret, b"", bytes(32)), SIZE)
    other = share_key(parameters, MaskingKey(second.secret, b"", bytes(32)), SIZE)
    equal = [a == b for a, b in zip(one, other, strict=True)]
    assert equal == [True] * SIZE.corrupt_max + [False] * (SIZE.size - SIZE.corrupt_max)
