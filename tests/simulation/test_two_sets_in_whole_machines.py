"""A3 in whole machines: 2q - k corrupt members have two sets certified, one fewer cannot.

The coalition is the leader of a round's first view and others of its committee. Towards each part
of the honest members it leads with another value, equally valid; it adds its own votes to
each part's and shows the certificates, if they come to a quorum. The same coalition with one
member fewer tries every way to part the honest members.
"""

from collections.abc import Iterable
from itertools import combinations

import pytest
from tests.support.town import Town, manifest, masked_manifest

from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.agreement import sign_proposal, value_hash, vote_statement
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.messages import Certificate, Instance, Phase, Proposal, Vote
from pnyx.protocol.round.values import AcceptValue
from pnyx.protocol.selection import choose_committee

NODES = 11
SIZES = choose_committee(NODES)
DIRECT, MASKED = manifest(NODES), masked_manifest(NODES)


class Coalition:
    """Sits on the wire of a town: it replaces what its members say about one instance."""

    def __init__(self, town: Town, study: bytes, corrupt: int, second: Iterable[int]) -> None:
        self.town, self.plan = town, town.plan(study)
        self.members = range(corrupt)  # the leader of view 0 is member 0
        self.second = frozenset(second)  # honest members that are shown the second set
        self.values: list[bytes] = []
        self.votes: dict[tuple[Phase, bytes], dict[int, bytes]] = {}
        self.locked: set[bytes] = set()
        town.wire = self.wire

    def wire(self, sender: int, receiver: int, message: object) -> list[object] | None:
        """What arrives instead of a message."""
        if getattr(message, "context", None) != self.plan.context:
            return None
        if getattr(message, "instance", None) is not Instance.ACCEPT:
            return None
        if getattr(message, "view", 0) > 0:  # a `ValueRequest` is of none
            return None
        if isinstance(message, Vote) and receiver == self.plan.committee[0]:
            self._collect(message)
            return []
        if sender != self.plan.committee[0]:
            return None
        member = self.plan.committee.index(receiver) if receiver in self.plan.committee else None
        if not isinstance(message, Proposal) or member is None:
            return []
        if not self.values:
            responses = codec.decode(message.value, AcceptValue, bytes_max=10**7).responses
            other = codec.encode(AcceptValue(responses[:-1]))
            self.values = [message.value, other]
        value = self.values[member in self.second]
        crypto = self.town.cryptos[sender]
        return [sign_proposal(crypto, message.context, message.instance, 0, value)]

    def _collect(self, vote: Vote) -> None:
        key = vote.phase, vote.value_hash
        votes = self.votes.setdefault(key, {})
        votes[vote.member] = vote.signature
        statement = vote_statement(
            self.plan.context, Instance.ACCEPT, vote.phase, 0, vote.value_hash
        )
        for member in self.members:
            crypto = self.town.cryptos[self.plan.committee[member]]
            votes[member] = crypto.sign(statement)
        if len(votes) < self.plan.size.quorum:
            return
        if vote.phase is Phase.LOCK:
            self.locked.add(vote.value_hash)
            return
        signers = tuple(sorted(votes))
        quorum = QuorumCertificate(signers, tuple(votes[member] for member in signers))
        shown = Certificate(
            self.plan.context, Instance.ACCEPT, Phase.ECHO, 0, vote.value_hash, quorum
        )
        for member in range(len(self.members), self.plan.size.size):
            if value_hash(self.values[member in self.second]) == vote.value_hash:
                self.town.inject(self.plan.committee[0], self.plan.committee[member], shown)


def sets_certified(corrupt: int, second: Iterable[int], plan: Manifest = DIRECT) -> int:
    """Sets of one round for which the coalition holds a quorum of locks."""
    town = Town(count=NODES, size=SIZES)
    study = town.propose(plan=plan)
    town.run(town.in_round(study, 1))
    coalition = Coalition(town, study, corrupt, second)
    town.run(lambda: len(coalition.locked) == 2, seconds=4.0)
    assert len(coalition.values) == 2, "it came to the proposal"
    assert coalition.values[0] != coalition.values[1]
    return len(coalition.locked)


@pytest.mark.parametrize("plan", [DIRECT, MASKED], ids=["direct", "masked"])
def test_the_bound_itself_certifies_two_sets(plan: Manifest) -> None:
    corrupt = SIZES.two_sets_min
    half = SIZES.quorum - corrupt
    assert sets_certified(corrupt, range(corrupt, corrupt + half), plan) == 2


@pytest.mark.parametrize("shown_second", range(SIZES.size - SIZES.two_sets_min + 2))
def test_one_member_fewer_certifies_at_most_one(shown_second: int) -> None:
    """Whichever members are shown the second set: by symmetry a few of each number suffice."""
    corrupt = SIZES.two_sets_min - 1
    honest = range(corrupt, SIZES.size)
    for second in list(combinations(honest, shown_second))[:3]:
        assert sets_certified(corrupt, second) <= 1


@pytest.mark.parametrize("shown_second", [1, SIZES.size // 2])
def test_one_member_fewer_certifies_at_most_one_sum_of_keys(shown_second: int) -> None:
    """In masked rounds two sets would open a key, and with it a vector that aggregators hold."""
    corrupt = SIZES.two_sets_min - 1
    second = range(corrupt, corrupt + shown_second)
    assert sets_certified(corrupt, second, MASKED) <= 1
