"""Segments and sums as bytes: one form for equal residues, and a typed error for other bytes."""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.protocol.aggregation.masked.parameters import GROUP_BYTES, P0, RINGS, layout
from pnyx.protocol.aggregation.masked.segments import (
    pack_segment,
    pack_sum,
    unpack_segment,
    unpack_sum,
)

NAMES = ["P0", "P1", "P2"]


def equal(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def masked_vector(ring, length):
    """Parameters, residues of all segments, and the segments packed."""
    parameters = in_ring(ring, length, 12, 24)
    vector = masked.draw(parameters, 1)[0]
    residues = masked.mask(parameters, masked.key_of(parameters, 0, vector), vector)
    packed = [pack_segment(parameters, at, each) for at, each in enumerate(residues)]
    return parameters, residues, packed


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
@pytest.mark.parametrize("length", [1, 33_000, 80_000, 300_000])
def test_a_segment_comes_back_as_it_was(ring, length):
    parameters, residues, packed = masked_vector(ring, length)
    assert sum(map(len, packed)) == parameters.bytes
    for at, data in enumerate(packed):
        assert equal(unpack_segment(parameters, at, data), residues[at])


def test_a_segment_of_another_size_is_malformed():
    one = layout(in_ring(P0, 1, 12, 24)).segment_values
    parameters, _, packed = masked_vector(P0, one + 5)
    for at, wrong in (
        (0, b""),
        (0, packed[0][:-1]),
        (0, packed[0] + b"\0"),
        (0, packed[1]),
        (1, packed[0]),
    ):
        with pytest.raises(MalformedMessage, match="bytes"):
            unpack_segment(parameters, at, wrong)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_a_residue_that_is_not_reduced_is_malformed_in_every_field(ring):
    parameters, _, [data] = masked_vector(ring, 5)
    step = len(data) // len(parameters.primes)
    for start in range(0, len(data), step):
        wrong = data[:start] + b"\xff" * GROUP_BYTES + data[start + GROUP_BYTES :]
        with pytest.raises(MalformedMessage, match="not below the prime"):
            unpack_segment(parameters, 0, wrong)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_sums_travel_in_35_bits(ring):
    parameters, residues, _ = masked_vector(ring, 40_000)
    [sums] = masked.add(parameters, [residues] * 20)
    data = pack_sum(parameters, 0, sums)
    groups = layout(parameters).segment_coefficients(0) // 1024
    assert len(data) == len(parameters.primes) * groups * 1024 * 35 // 8
    assert equal(unpack_sum(parameters, 0, data, 20), sums)
    with pytest.raises(RuleBroken, match="larger than its contributions") as raised:
        unpack_sum(parameters, 0, data, 5)
    assert str(raised.value).endswith(f": {5 * (parameters.primes[0] - 1)}")
    for damaged in (data[:-1], data + b"\0", b""):
        with pytest.raises(MalformedMessage, match=f"takes {len(data)} bytes, not {len(damaged)}"):
            unpack_sum(parameters, 0, damaged, 20)
    with pytest.raises(MalformedMessage, match="not below the prime"):
        unpack_sum(parameters, 0, b"\xff" * GROUP_BYTES + data[GROUP_BYTES:], 20)
