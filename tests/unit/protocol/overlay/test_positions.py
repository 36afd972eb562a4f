"""Positions: imposed, drawn anew with every beacon, and compared on a circle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnyx.primitives.hashing import digest
from pnyx.protocol.overlay.positions import (
    RING_SIZE,
    forward,
    interval_around,
    key_position,
    position_bytes,
    position_of,
    ring_id,
    ring_share,
    within,
)

positions = st.integers(0, RING_SIZE - 1)


def test_position_is_a_hash_of_node_and_beacon():
    node, beacon = b"n" * 32, b"b" * 32
    assert position_of(node, beacon) == int.from_bytes(digest("pnyx/position", node, beacon), "big")
    assert position_of(node, beacon) != position_of(node, b"c" * 32)
    assert position_of(node, beacon) != position_of(b"m" * 32, beacon)


def test_ring_is_named_by_network_and_beacon():
    assert len({ring_id(a, b) for a in (bytes(32), b"1" * 32) for b in (bytes(32), b"1" * 32)}) == 4


@given(positions)
def test_position_as_bytes_is_a_key(position):
    assert key_position(position_bytes(position)) == position


@given(positions, positions)
def test_forward_goes_around(start, end):
    assert (start + forward(start, end)) % RING_SIZE == end
    assert 0 <= forward(start, end) < RING_SIZE


@given(positions, positions, positions)
def test_interval_and_the_rest_are_the_ring(position, start, end):
    if start == end:
        assert within(position, start, end)
    else:
        assert within(position, start, end) != within(position, end, start)
        assert within(start, start, end)
        assert not within(end, start, end)


@given(positions, st.floats(1e-9, 1.0))
def test_interval_around_a_centre(centre, share):
    start, end = interval_around(centre, share)
    assert within(centre, start, end)
    length = forward(start, end) or RING_SIZE
    assert length / RING_SIZE == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_interval_of_no_share_is_refused(share):
    with pytest.raises(ValueError, match="share of the ring"):
        interval_around(0, share)


def test_ring_share():
    assert ring_share(0) == 0.0
    assert ring_share(RING_SIZE // 4) == 0.25
