"""The same runs with Ed25519 and HPKE: the ideal cryptography hides no difference."""

import pytest

from pnyx.node.crypto import NodeCrypto
from pnyx.primitives.signature import SigningKey
from pnyx.simulator import Crash, Link, Partition, Scenario, run

SCENARIOS = {
    "no fault": Scenario(seed=1, nodes=8),
    "loss and a kill": Scenario(
        seed=2, nodes=9, link=Link(loss=0.1), crashes=(Crash(node=3, at_s=4.4),)
    ),
    "liar": Scenario(seed=3, nodes=8, corrupt=((2, "liar"),)),
    "partition": Scenario(seed=4, nodes=8, partitions=(Partition((0, 1, 2), 4.2, 12.0),)),
}


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_real_signatures_and_envelopes(name: str) -> None:
    outcome = run(SCENARIOS[name], crypto=lambda seed: NodeCrypto(SigningKey(seed)))
    assert outcome.finished
    assert not outcome.records[1].skipped


def test_ideal_cryptography_has_the_sizes_of_the_real_one() -> None:
    scenario = SCENARIOS["no fault"]
    real = run(scenario, crypto=lambda seed: NodeCrypto(SigningKey(seed)))
    ideal = run(scenario)
    assert real.bytes_sent / real.messages == pytest.approx(
        ideal.bytes_sent / ideal.messages, rel=0.1
    )
