"""A masked sum is the plain sum: for every length, width, number of contributors, and ring."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import DecodingError
from pnyx.primitives.sharing import safe_radius
from pnyx.protocol.aggregation.masked import segments
from pnyx.protocol.aggregation.masked.checked_sum import HashOfVector, SumCheck
from pnyx.protocol.aggregation.masked.keys import (
    decode_keys,
    read_payload,
    read_released,
    share_key,
    sum_key_shares,
)
from pnyx.protocol.aggregation.masked.parameters import RINGS, choose, layout
from pnyx.protocol.selection import committee_size

SIZE = committee_size(9, 2, 1)


@st.composite
def groups(draw):
    """Parameters of some ring that holds them, and vectors of extreme and ordinary values."""
    ring = draw(st.sampled_from(RINGS))
    length = draw(st.one_of(st.integers(1, 3000), st.integers(30_000, 140_000)))
    value_bits, contributors = draw(st.integers(1, 20)), draw(st.integers(2, 256))
    try:
        parameters = in_ring(ring, length, value_bits, contributors)
    except AssertionError:
        assume(False)
    count = draw(st.integers(1, min(4, contributors)))
    vectors = masked.draw(parameters, count, draw(st.integers(0, 2**32)))
    extremes = [-parameters.offset, parameters.offset - 1, 0]
    for vector in vectors:
        vector[: draw(st.integers(0, length))] = draw(st.sampled_from(extremes))
    return parameters, vectors


@given(groups())
@settings(deadline=None, max_examples=40)
def test_the_masked_sum_is_the_plain_sum(case):
    """From values to bytes and back, the sum checked by its hash, the key by its shares."""
    parameters, vectors = case
    keys = [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    contributions, claimed = [], {}
    for who, (key, vector) in enumerate(zip(keys, vectors, strict=True)):
        residues = masked.mask(parameters, key, vector)
        packed = [segments.pack_segment(parameters, at, each) for at, each in enumerate(residues)]
        leaves = [segments.segment_hash(parameters, at, data) for at, data in enumerate(packed)]
        reader = segments.ChunkReader(parameters, segments.vector_root(leaves), leaves)
        contributions.append([reader.read(at, data) for at, data in enumerate(packed)])
        gathered = HashOfVector(parameters, masked.CONTEXT)
        for at, each in enumerate(contributions[-1]):
            gathered.add_segment(at, each)
        claimed[who] = gathered.value
    sums = masked.add(parameters, contributions)
    check = SumCheck(parameters, masked.CONTEXT, claimed)
    for at, each in enumerate(sums):
        data = segments.pack_sum(parameters, at, each)
        check.add_segment(at, segments.unpack_sum(parameters, at, data, len(vectors)))
    check.finish()
    key_sum = masked.add_keys(parameters, [key.secret for key in keys])
    found = masked.unmask(parameters, key_sum, sums, len(vectors))
    assert found.tolist() == vectors.sum(axis=0).tolist()


@given(st.integers(1, 10**7), st.integers(1, 32), st.integers(2, 256), st.integers(0, 200))
@settings(deadline=None, max_examples=200)
def test_a_chosen_set_holds_what_was_asked_for(length, value_bits, contributors, members):
    parameters = choose(length, value_bits, contributors, members=members, packing=2)
    assert (parameters.length, parameters.value_bits) == (length, value_bits)
    assert contributors == parameters.contributors_max <= parameters.capacity
    shape = layout(parameters)
    assert sum(shape.values(segment) for segment in range(shape.segments)) == length
    assert parameters.failure_log2 <= -64


@given(
    st.sampled_from(RINGS),
    st.integers(1, 5),
    st.sets(st.integers(0, 8), min_size=5),
    st.data(),
)
@settings(deadline=None, max_examples=40)
def test_the_sum_of_keys_is_decoded_or_refused_never_wrong(ring, count, members, data):
    """Whoever answers, and whatever up to f of them say instead."""
    parameters = in_ring(ring, 10, 12, 24)
    vectors = masked.draw(parameters, count)
    keys = [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    payloads = [share_key(parameters, key, SIZE) for key in keys]
    released = {
        member: read_released(
            parameters,
            SIZE,
            sum_key_shares(
                parameters, SIZE, [read_payload(parameters, SIZE, p[member]) for p in payloads]
            ),
        )
        for member in members
    }
    liars = data.draw(st.sets(st.sampled_from(sorted(members)), max_size=SIZE.corrupt_max))
    for liar in liars:
        at = data.draw(st.integers(0, len(parameters.primes) - 1))
        column = data.draw(st.integers(0, len(released[liar][at]) - 1))
        released[liar][at][column] = (
            released[liar][at][column] + data.draw(st.integers(1, 1000))
        ) % parameters.primes[at]
    expected = masked.add_keys(parameters, [key.secret for key in keys])
    try:
        found, named = decode_keys(parameters, SIZE, released)
    except DecodingError:
        assert len(liars) > safe_radius(len(members), SIZE.degree, SIZE.corrupt_max)
        return
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert set(named) == liars
