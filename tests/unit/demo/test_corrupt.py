"""Which nodes of a demonstration are corrupt, and what they know of themselves."""

import numpy as np
import pytest

from pnyx.demo.corrupt import SHOWN, SHOWN_VERIFIED, OwnContributions, choose_corrupt
from pnyx.demo.study import demo_study
from pnyx.node.learning import read_manifest_body
from pnyx.protocol.events import RecordDebit, StartTraining, TrainingFinished
from pnyx.simulator.behaviours import BEHAVIOURS, VERIFIED

SEED = bytes(32)
STUDY, CONTEXT = b"s" * 32, b"c" * 32


def test_four_corrupt_nodes_show_every_kind() -> None:
    chosen = choose_corrupt(36, 4, {0, 35}, SEED)
    assert sorted(chosen.values()) == sorted(SHOWN)
    assert {name for names in SHOWN.values() for name in names} <= set(BEHAVIOURS)
    assert set(SHOWN_VERIFIED) == set(SHOWN)
    known = {*BEHAVIOURS, *VERIFIED}
    assert {name for names in SHOWN_VERIFIED.values() for name in names} <= known


def test_one_corrupt_node_over_scales() -> None:
    assert list(choose_corrupt(12, 1, {0, 11}, SEED).values()) == ["over scale"]


def test_spared_nodes_stay_honest() -> None:
    spared = set(range(2, 34))
    for number in range(20):
        chosen = choose_corrupt(36, 4, spared, bytes([number]) * 32)
        assert set(chosen) == {0, 1, 34, 35}


def test_the_seed_decides_who_is_corrupt() -> None:
    drawn = {frozenset(choose_corrupt(36, 4, {0}, bytes([n]) * 32)) for n in range(8)}
    assert len(drawn) > 1
    assert choose_corrupt(36, 4, {0}, SEED) == choose_corrupt(36, 4, {0}, SEED)


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("round_number", [1, 3])
def test_own_contribution_is_known_before_it_is_sent(round_number: int, verified: bool) -> None:
    manifest, model = demo_study(
        bytes(32), bytes(32), 12, 2, SEED, masked=verified, verified=verified
    )
    phase = read_manifest_body(manifest).phase_of(round_number)
    vector = np.arange(phase.length)
    own = OwnContributions()
    own.see([StartTraining(STUDY, round_number, manifest, model)])
    own.hear(TrainingFinished(STUDY, round_number, vector))
    own.see([RecordDebit(CONTEXT, STUDY, round_number, 1, "train", 1000, 0.1)])
    assert own.of(CONTEXT).vector is vector
    assert own.of(CONTEXT).bounds == phase.bounds
    assert own.of(CONTEXT).masked == phase.masked
    assert own.of(CONTEXT).verified == phase.masked_bounds
    assert (phase.masked_bounds is not None) == (verified and round_number == 3)
