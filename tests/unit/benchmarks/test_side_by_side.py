"""What benchmarks compare with sums right: a baseline that computes nothing would be fast."""

import numpy as np
import pytest
from benchmarks.side_by_side.additive import run_additive, split
from benchmarks.side_by_side.plain import MASKED_BITS, SHORT_BITS, Form, run_plain
from benchmarks.side_by_side.protected import run_protected
from benchmarks.side_by_side.work import Work

from pnyx.protocol.selection import choose_committee

NODES = 6
WORK = Work(2000, NODES, 1)
SIZE = choose_committee(NODES)


@pytest.mark.parametrize("value_bits", [MASKED_BITS, SHORT_BITS])
def test_plain_vectors_travel_and_add_up(value_bits: int) -> None:
    form = Form(2000, value_bits)
    vectors = [WORK.common() + number for number in range(3)]
    total = np.zeros(2000, dtype=np.int32)
    for vector in vectors:
        packed = form.pack(vector)
        assert len(packed) == form.vector_bytes
        form.add(total, packed)
    found = np.frombuffer(form.pack_sum(total, 3), dtype="<i4")
    assert np.array_equal(found, sum(vectors))


@pytest.mark.parametrize("servers", [1, 3, 10])
def test_additive_shares_add_up(servers: int) -> None:
    vector = WORK.common()
    shares = [np.frombuffer(each, dtype="<u4") for each in split(vector, servers)]
    assert len(shares) == servers
    total = np.sum(shares, axis=0, dtype=np.uint32)
    assert np.array_equal(total.view(np.int32), vector)


def test_the_wrong_sum_is_refused() -> None:
    numbers = sum(range(NODES))
    right = (WORK.common() * NODES + numbers) / NODES
    WORK.check(right.astype("<f4").tobytes(), numbers)
    with pytest.raises(RuntimeError, match="sums are wrong"):
        WORK.check((right + 0.5).astype("<f4").tobytes(), numbers)


def test_all_ways_come_to_the_same_sum() -> None:
    """Each run checks the models of all its nodes; more bytes travel where more is hidden."""
    plain = run_plain(WORK, NODES, SIZE)
    additive = run_additive(WORK, NODES, SIZE, 3)
    assert 0 < plain.sent_mb < additive.sent_mb


def test_a_protected_round_comes_to_the_same_sum() -> None:
    assert run_protected(WORK, NODES, SIZE).cpu_s > 0
