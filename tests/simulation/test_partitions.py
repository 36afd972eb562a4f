"""T3: partitions, heavy loss and one-way links: safety always, progress once they have healed.

After the network heals, a study is done within three of the longest time-outs of a leader.
"""

import pytest
from msgspec.structs import replace

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.params import ProtocolParams
from pnyx.simulator import Cut, InvariantError, Link, Partition, Scenario, run

SEEDS = [20, pytest.param(200, marks=pytest.mark.full)]
NODES = 8
HEALED_S = 25.0


def torn(seed: int) -> Scenario:
    """Two partitions one after the other, three one-way cuts, 20 % loss."""
    draw = Sampler(seed.to_bytes(32, "big"), "partitions")
    sides = [tuple(draw.sample(NODES, 1 + draw.below(NODES - 1))) for _ in range(2)]
    starts = 1.0 + draw.below(4_000) / 1_000
    ends = [tuple(draw.sample(NODES, 2)) for _ in range(3)]
    return Scenario(
        seed=seed,
        nodes=NODES,
        link=Link(loss=0.2, hint=draw.below(101) / 100),
        partitions=(
            Partition(sides[0], starts, starts + 6.0),
            Partition(sides[1], starts + 7.0, HEALED_S),
        ),
        cuts=tuple(Cut(sender, receiver, 0.5, HEALED_S) for sender, receiver in ends),
    )


@pytest.mark.parametrize("seeds", SEEDS)
def test_done_soon_after_healing(seeds: int) -> None:
    for seed in range(seeds):
        scenario = torn(seed)
        outcome = run(scenario)
        assert len(outcome.records) == 2
        assert outcome.ended_s < HEALED_S + 3 * scenario.params.view_timeout_s_max
        assert max(outcome.records[1].metrics, default=0) <= 1


def test_nodes_that_say_everything_once_would_wait_for_ever() -> None:
    """The weak node never repeats what a partition swallowed."""

    def stuck(seed: int) -> bool:
        mute = ProtocolParams(retransmit_s=10_000.0)
        try:
            run(replace(torn(seed), params=mute, limit_s=HEALED_S + 3 * mute.view_timeout_s_max))
        except InvariantError as error:
            return "has not ended" in str(error)
        return False

    assert any(stuck(seed) for seed in range(10))
