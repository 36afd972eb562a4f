"""The model of our round under failures."""

import pytest

from pnyx.protocol.selection import choose_committee
from pnyx.simulator import rounds
from pnyx.simulator.experiment import silent
from pnyx.simulator.round_model import RoundShape, proposed_bytes
from pnyx.simulator.rounds import RoundParameters, members_needed


def test_sizes_of_what_is_agreed_on() -> None:
    """As the machines sent them: 36 nodes, 24 members, 24 contributors."""
    shape = RoundShape(
        committee=choose_committee(36), contributors=24, drawn=30, values=100, masked=False
    )
    assert proposed_bytes(shape) == pytest.approx(
        {"open": 5_879, "close": 56_425, "accept": 47_279}, rel=0.05
    )


def test_nobody_dies() -> None:
    for mode, values in (("direct", 20_000), ("masked", 262_144)):
        [found] = rounds.run(
            RoundParameters(mode=mode, values=values, window_s=0.0, runs=1), 1, silent
        )
        assert found.completeness == 1.0
        assert found.aborted == 0
        assert found.exposure < 1e-6
        assert found.acknowledged_s < found.latency_s


def test_more_groups_shorten_a_round_and_send_more() -> None:
    few, many = (
        rounds.run(RoundParameters(groups=groups, window_s=0.0, runs=1), 1, silent)[0]
        for groups in (2, 16)
    )
    assert many.latency_s < few.latency_s
    assert many.bytes > few.bytes


def test_limited_receivers_wait_for_vectors() -> None:
    free, limited = (
        rounds.run(
            RoundParameters(
                receivers_limited=limited,
                values=2_000_000,
                groups=16,
                device="measured",
                window_s=0.0,
                runs=1,
            ),
            1,
            silent,
        )[0]
        for limited in (False, True)
    )
    assert limited.latency_s > free.latency_s


def test_a_committee_that_dies_aborts() -> None:
    found = rounds.run(RoundParameters(window_s=60.0, runs=4), 1, silent)
    assert all(record.completeness == 0.0 and record.aborted == 2 for record in found)


def test_contributors_die_before_their_receipts() -> None:
    """Without anybody drawn in surplus, their share in the result is that of the survivors."""
    found = rounds.run(
        RoundParameters(
            surplus=0.0, groups=16, window_s=1_000.0, runs=40, device="measured", deadline_s=0.0
        ),
        2,
        silent,
    )
    whole = [record for record in found if not record.aborted]
    mean = sum(record.completeness for record in whole) / len(whole)
    assert mean == pytest.approx(1 - found[0].acknowledged_s / 1_000, abs=0.001)
    assert mean < 1.0


def test_members_that_a_round_needs() -> None:
    size = choose_committee(36)
    assert members_needed(size) == max(size.quorum, 2 * size.degree + 1 + size.corrupt_max)
