"""For any network and any plan, the chosen committee obeys every rule that it is chosen by."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.protocol.selection.security import (
    NODES_MIN,
    answers_needed,
    choose_committee,
    corrupted_tolerated,
    exposure_probability,
    too_few_answers_probability,
)
from pnyx.protocol.selection.tails import head_count


@settings(deadline=None, max_examples=60)
@given(
    nodes=st.one_of(st.integers(NODES_MIN, 400), st.integers(401, 10**6)),
    corrupted_share=st.floats(0, 0.25),
    absent_share=st.floats(0, 0.5),
    rounds=st.integers(1, 500),
    packing=st.integers(1, 8),
)
def test_every_committee_is_safe_live_and_not_everyone(
    nodes, corrupted_share, absent_share, rounds, packing
):
    c = choose_committee(nodes, corrupted_share, absent_share, rounds, packing=packing)
    assert 5 <= c.size < nodes
    assert c.corrupt_max >= 1
    assert 1 <= c.packing <= packing
    assert 2 * c.quorum - c.size > c.corrupt_max
    assert c.quorum <= c.size - c.corrupt_max - c.absent_max
    assert c.size - c.absent_max >= answers_needed(c.corrupt_max, c.packing)
    assert exposure_probability(nodes, c.corrupt_max, c, rounds) == 0
    assert corrupted_tolerated(nodes, c, rounds) >= c.corrupt_max
    # Full packing in a committee that is not the largest possible one: alpha was met.
    if c.size < min(512, 2 * nodes // 3) and nodes > 12:
        corrupted, absent = head_count(corrupted_share, nodes), head_count(absent_share, nodes)
        assert c.packing == packing
        assert exposure_probability(nodes, corrupted, c, rounds) <= 1e-6
        assert too_few_answers_probability(nodes, absent, c) <= 0.01
