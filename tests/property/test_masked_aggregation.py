"""A masked sum is the plain sum: for every length, width, number of contributors, and ring."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support import masked
from tests.support.masked import check_sum, in_ring

from pnyx.errors import DecodingError
from pnyx.primitives.field import PRIMES
from pnyx.primitives.sharing import safe_radius
from pnyx.protocol.aggregation import direct, verification
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import RINGS, choose, layout
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
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
    extremes = [-parameters.value_max, parameters.value_max, 0]
    for vector in vectors:
        vector[: draw(st.integers(0, length))] = draw(st.sampled_from(extremes))
    return parameters, vectors


@given(groups(), st.integers(10_000, 1 << 20))
@settings(deadline=None, max_examples=40)
def test_the_masked_sum_is_the_plain_sum(case, piece_bytes):
    """From values to bytes and back, in pieces of any size, the sum checked by its hash."""
    parameters, vectors = case
    code = VectorCode(parameters, masked.CONTEXT)
    made = [
        code.mask(vector, who.to_bytes(32, "big"), b"own") for who, vector in enumerate(vectors)
    ]
    sent = [b"".join(each.segments) for each in made]
    assert [code.linear_hashes(each)[-1] for each in sent] == [each.linear_hash for each in made]
    pieces = [
        iter([data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)])
        for data in sent
    ]
    total = b"".join(sum_vectors(parameters, pieces))
    check_sum(code, total, [each.linear_hash for each in made])
    keys = tuple(
        sum(each.key[at] for each in made) % prime for at, prime in enumerate(parameters.primes)
    )
    assert code.unmask(total, keys, len(made)).tolist() == vectors.sum(axis=0).tolist()


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
    st.integers(1, 2),
    st.integers(1, 40),
    st.integers(1, 5),
    st.sets(st.integers(0, 8), min_size=5),
    st.data(),
)
@settings(deadline=None, max_examples=40)
def test_the_sum_of_keys_is_decoded_or_refused_never_wrong(fields, length, count, members, data):
    """Whoever answers, and whatever up to f of them say instead."""
    bounds = Bounds(1, 0, 0, 1, key_length=length, key_fields=fields)
    generator = np.random.Generator(np.random.PCG64(data.draw(st.integers(0, 2**32))))
    keys = [tuple(generator.integers(0, p, length) for p in PRIMES[:fields]) for _ in range(count)]
    made = [
        verification.prove(np.array([1]), bounds, SIZE, who.to_bytes(32, "big"), b"own", key)
        for who, key in enumerate(keys)
    ]
    entries, widths = (
        verification.summed_length(bounds, SIZE),
        verification.key_widths(bounds, SIZE),
    )
    released = {}
    for member in members:
        held = [verification.read_payload(each.payloads[member], bounds, SIZE) for each in made]
        share = verification.sum_share(held, bounds, SIZE)
        released[member] = direct.read_released(share, entries, SIZE.packing, widths)
    liars = data.draw(st.sets(st.sampled_from(sorted(members)), max_size=SIZE.corrupt_max))
    for liar in liars:
        at = data.draw(st.integers(0, fields - 1))
        column = data.draw(st.integers(0, len(released[liar][at]) - 1))
        wrong = released[liar][at][column] + data.draw(st.integers(1, 1000))
        released[liar][at][column] = wrong % PRIMES[at]
    try:
        found = direct.decode_sum(SIZE, released, entries)
    except DecodingError:
        assert len(liars) > safe_radius(len(members), SIZE.degree, SIZE.corrupt_max)
        return
    for at in range(fields):
        wanted = sum(key[at] for key in keys) % PRIMES[at]
        assert found.keys[at][:length].tolist() == wanted.tolist()
    assert set(found.liars) == liars
