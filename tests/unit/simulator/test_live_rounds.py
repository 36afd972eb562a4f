"""Rounds of the machines on the network of the trees: the model beside them, and who is missed."""

from statistics import median

import pytest

from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, choose
from pnyx.protocol.params import ProtocolParams
from pnyx.simulator import live_rounds
from pnyx.simulator.crypto import Tally
from pnyx.simulator.device import DEVICES
from pnyx.simulator.experiment import silent
from pnyx.simulator.live_rounds import LiveRoundParameters
from pnyx.simulator.population import UnitVectors


def of(runs: int, seed: int = 1, **changed):
    return live_rounds.run(LiveRoundParameters(runs=runs, **changed), seed, silent)


@pytest.mark.parametrize(
    ("nodes", "masked", "length", "runs", "within"),
    [
        (36, False, 100, 1, 1 / 6),
        (36, True, 20_000, 3, 1 / 6),
        pytest.param(48, False, 100, 1, 1 / 6, marks=pytest.mark.full),
        pytest.param(90, False, 180, 1, 1 / 3, marks=pytest.mark.full),  # it errs more as k grows
    ],
)
def test_the_model_is_near_the_machines(nodes, masked, length, runs, within) -> None:
    found = of(runs, nodes=nodes, masked=masked, vector_length=length, window_s=0.0)
    for record in found:
        assert record.completed
        assert record.accepted >= record.asked
        assert (record.drawn_died, record.lost) == (0, 0)
    latency_s = median(record.latency_s for record in found)
    assert found[0].model_s == pytest.approx(latency_s, rel=within)
    assert found[0].model_bytes == pytest.approx(found[0].bytes, rel=1 / 5)
    assert found[0].model_checks == pytest.approx(found[0].checks, rel=1 / 4)


def test_the_model_masks_as_the_machines_do() -> None:
    """Values of three bits, not a deep network's thirteen: vectors are less than half as long."""
    parameters = LiveRoundParameters(nodes=36, masked=True, vector_length=262_144)
    rule = UnitVectors(36, 262_144, masks=True, contributors_max=parameters.drawn)
    assert rule.masked is not None
    upload = live_rounds.modelled(parameters, DEVICES["measured"]).contributor_bytes
    deep = choose(262_144, 13, parameters.drawn, rings=SHARED_RINGS)
    assert rule.masked.bytes < upload < deep.bytes


def test_no_quiet_masked_round_waits_for_a_repeated_request() -> None:
    """In two of these the leader is an aggregator, too, and the first to ask for a sum."""
    found = of(8, nodes=12, masked=True, vector_length=200, window_s=0.0)
    assert all(record.completed for record in found)
    took = [record.latency_s for record in found]
    assert max(took) < min(took) + ProtocolParams().retransmit_s / 10


def test_one_seed_has_one_network_with_and_without_deaths() -> None:
    """So what failures cost shows beside the quiet round of the same seed."""
    quiet = of(5, nodes=14, vector_length=28, window_s=0.0)
    dying = of(5, nodes=14, vector_length=28, window_s=8.0)
    for calm, other in zip(quiet, dying, strict=True):
        spent = [(each.bytes, each.messages, each.checks) for each in (calm, other)]
        assert (spent[0] == spent[1]) == (other.deaths == 0)
    assert {record.deaths > 0 for record in dying} == {False, True}


def test_checks_are_counted_over_all_nodes() -> None:
    tally = Tally()
    first, second = tally.crypto(b"1" * 32), tally.crypto(b"2" * 32)
    signature = first.sign(b"word")
    assert tally.checks == 0
    assert second.verify(first.public_key, b"word", signature)
    assert not second.verify(first.public_key, b"other", signature)
    assert tally.checks == 2
    key = second.envelope_public_key(b"3" * 32)
    second.open_envelope(b"3" * 32, first.seal(key, b"share", b"context"), b"context")
    assert tally.checks == 4


def test_with_some_in_surplus_the_dead_are_not_missed() -> None:
    for record in of(2, 5, nodes=14, vector_length=28, window_s=8.0):
        assert record.drawn == 11
        assert record.completed
        assert record.accepted >= record.asked == 9


def test_without_surplus_a_round_counts_whom_it_lost() -> None:
    found = of(4, 5, nodes=14, vector_length=28, window_s=8.0, surplus=0.0)
    assert all(record.completed and record.drawn == record.asked == 9 for record in found)
    assert all(record.accepted + record.lost == 9 for record in found)
    assert all(record.lost <= record.drawn_died <= record.deaths for record in found)
    assert sum(record.lost for record in found) > 0
    assert sum(record.drawn_died - record.lost for record in found) > 0  # who had its receipts
