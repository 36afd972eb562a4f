"""I5. The authority shows different censuses to different nodes.

Attack: sign two censuses with one number, and give one half of the network the one, the other half
the other; the second lists nodes of the attacker's. Neither is taken up, and within two rounds of
gossip every honest node holds evidence that convinces anybody who knows the authority's key.
"""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.epochs import AUTHORITY, LENGTH_S, EpochTown
from tests.support.town import NETWORK, ideal

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.censuses import Censuses, CensusFork, check_fork, fork_of
from pnyx.protocol.events import AuthorityContradicted, MessageRejected
from pnyx.protocol.messages import Items


def shown_two() -> EpochTown:
    """Half of the network has one successor, the other half another."""
    town = EpochTown(count=11, first=range(9))
    town.run(town.in_epoch(0))
    honest = town.sign([*range(8), 9], 1, town.signed[0].root)
    other = town.sign([*range(8), 10], 1, town.signed[0].root)
    for index in range(9):
        shown = honest if index % 2 else other
        town.inject((index + 1) % 9, index, Items((codec.encode(shown),)))
    return town


def evidence(town, index):
    return town.machines[index].epochs.censuses.forks.get(1)


def test_two_censuses_with_one_number():
    town = shown_two()
    interval = town.params.gossip_interval_s
    assert town.run(lambda: all(evidence(town, i) for i in range(9)), seconds=2 * interval)
    found = {codec.encode(evidence(town, index)) for index in range(9)}
    assert len(found) == 1, "it is the same evidence whichever came first"
    read = codec.decode(found.pop(), CensusFork, bytes_max=10**5)
    assert check_fork(read, NETWORK, AUTHORITY.public_key, ideal(b"s" * 32)) == 1
    assert {e.number for e in town.effects(AuthorityContradicted)} == {1}
    assert town.run(town.in_epoch(2), seconds=3 * LENGTH_S)
    assert all(m.census.root == town.signed[0].root for m in town.living())


def test_without_the_evidence_half_the_committee_would_follow_one(monkeypatch):
    """Whoever forgets contradictions takes up whatever it saw first."""
    monkeypatch.setattr(
        Censuses,
        "successor",
        lambda self, census: next(
            (each for each in self if each.body.previous == census.root), None
        ),
    )
    town = shown_two()
    town.run(town.in_epoch(1), seconds=3 * LENGTH_S)
    votes = {m.epochs.censuses.successor(m.epochs.censuses.genesis).root for m in town.living()}
    assert len(votes) == 2, "the network would be split about what to take up"


def test_evidence_survives_a_restart():
    town = shown_two()
    town.run(lambda: all(evidence(town, i) for i in range(9)), seconds=5.0)
    for index in range(9):
        town.crash(index)
    for index in range(9):
        town.restart(index)
    town.run(seconds=0.2)
    assert all(evidence(town, index) for index in range(9))


def test_two_first_censuses():
    """The network file of some nodes holds another first census: its nodes find out."""
    town = EpochTown()
    other = town.sign(range(9), 0, bytes(32), valid_until=10**8)
    town.run(seconds=1.0)
    town.inject(1, 0, Items((codec.encode(other),)))
    assert town.run(lambda: all(0 in m.epochs.censuses.forks for m in town.machines), seconds=5.0)


def forks(town):
    one = town.sign(range(8), 1, town.signed[0].root)
    two = town.sign(range(9), 1, town.signed[0].root)
    return one, two, fork_of(one, two)


def invented(town):
    fork = forks(town)[2]
    return replace(fork, second_signature=fork.first_signature)


def of_two_numbers(town):
    one, _, _ = forks(town)
    return fork_of(one, town.sign(range(9), 2, town.signed[0].root))


def same_twice(town):
    one, _, _ = forks(town)
    return fork_of(one, one)


def out_of_order(town):
    fork = forks(town)[2]
    return CensusFork(fork.second, fork.second_signature, fork.first, fork.first_signature)


def of_another_network(town):
    one = town.sign(range(8), 1, town.signed[0].root, network=bytes(32))
    return fork_of(one, town.sign(range(9), 1, town.signed[0].root, network=bytes(32)))


@pytest.mark.parametrize(
    "make", [invented, of_two_numbers, same_twice, out_of_order, of_another_network]
)
def test_an_authority_is_not_framed(make):
    town = EpochTown()
    town.run(seconds=0.5)
    with pytest.raises(ProtocolError):
        check_fork(make(town), NETWORK, AUTHORITY.public_key, AUTHORITY)
    town.inject(1, 0, Items((codec.encode(make(town)),)))
    assert not town.machines[0].epochs.censuses.forks


def test_altered_censuses_and_forks_stop_nobody():
    """D3: bytes flipped, cut or put in, in whatever carries a census."""
    town = EpochTown()
    town.run(town.in_epoch(0))
    generator = np.random.Generator(np.random.PCG64(33))
    one, _, fork = forks(town)
    before = set(town.stored[0])
    for content in (codec.encode(one), codec.encode(fork)):
        for _ in range(300):
            changed = bytearray(content)
            at = int(generator.integers(len(changed)))
            match int(generator.integers(3)):
                case 0:
                    changed[at] ^= int(generator.integers(1, 256))
                case 1:
                    del changed[at:]
                case _:
                    changed[at:at] = generator.bytes(int(generator.integers(1, 9)))
            effects = town.inject(1, 0, Items((bytes(changed),)))
            assert all(isinstance(effect, MessageRejected) for effect in effects)
    assert set(town.stored[0]) == before
    assert not town.machines[0].epochs.censuses.forks
