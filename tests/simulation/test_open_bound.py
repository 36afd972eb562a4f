"""The bound on opening two sets is real: 2q - k corrupt members succeed, one fewer cannot.

The same holds for a set and an abort, which is a value of the same agreement: so a first attempt is
not released and aborted, with a second set to follow.

Drives `Agreement` objects of the honest members; the coalition signs whatever it likes.
"""

from hashlib import sha256

import pytest

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.agreement import Agreement, value_hash, vote_statement
from pnyx.protocol.messages import Certificate, Decision, Instance, Phase, Proposal, Vote
from pnyx.protocol.round.values import AbortValue, is_abort
from pnyx.protocol.selection import choose_committee
from pnyx.simulator import IdealCrypto

CONTEXT = sha256(b"round").digest()
FIRST, SECOND = b"one set", b"another set"
ABORT = codec.encode(AbortValue(()))
assert is_abort(ABORT)
OTHERS = pytest.mark.parametrize("other", [SECOND, ABORT], ids=["another set", "abort"])


class Committee:
    """Honest members first, the coalition last; everything the honest say goes to the coalition."""

    def __init__(self, size: int, quorum: int, corrupt: int) -> None:
        self.quorum = quorum
        self.cryptos = [IdealCrypto(bytes([member]) * 32) for member in range(size)]
        self.keys = [crypto.public_key for crypto in self.cryptos]
        self.corrupt = range(size - corrupt, size)
        self.honest = [self._member(member) for member in range(size - corrupt)]

    def _member(self, member: int) -> Agreement:
        return Agreement(
            context=CONTEXT,
            instance=Instance.ACCEPT,
            quorum=self.quorum,
            public_keys=self.keys,
            member=member,
            crypto=self.cryptos[member],
            validate=lambda value: None,
            persist=lambda slot: None,
            restored=None,
        )

    def certificate(
        self, phase: Phase, view: int, value: bytes, votes: list[Vote]
    ) -> Certificate | None:
        """What these votes and the coalition's make together, if they are a quorum."""
        hash_ = value_hash(value)
        statement = vote_statement(CONTEXT, Instance.ACCEPT, phase, view, hash_)
        signed = {vote.member: vote.signature for vote in votes}
        signed |= {member: self.cryptos[member].sign(statement) for member in self.corrupt}
        if len(signed) < self.quorum:
            return None
        signers = tuple(sorted(signed))
        quorum = QuorumCertificate(signers, tuple(signed[member] for member in signers))
        return Certificate(CONTEXT, Instance.ACCEPT, phase, view, hash_, quorum)

    def certify(self, view: int, value: bytes, members: list[int]) -> Certificate | None:
        """Lead these honest members through both phases; the lock certificate, if it comes."""
        echoes = []
        for member in members:
            vote = self.honest[member].on_proposal(
                Proposal(CONTEXT, Instance.ACCEPT, view, value, None, bytes(64))
            )
            echoes += [vote] if vote is not None else []
        echoed = self.certificate(Phase.ECHO, view, value, echoes)
        if echoed is None:
            return None
        locks = []
        for member in members:
            outcome = self.honest[member].on_certificate(echoed, view)
            locks += [outcome] if isinstance(outcome, Vote) else []
        return self.certificate(Phase.LOCK, view, value, locks)


SIZES = [choose_committee(nodes) for nodes in (8, 11, 20, 36)]


@pytest.mark.parametrize("sizes", SIZES)
def test_bound_exceeds_what_a_committee_tolerates(sizes) -> None:
    assert sizes.two_sets_min > sizes.corrupt_max


@OTHERS
@pytest.mark.parametrize("second_view", [0, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_one_fewer_than_the_bound_certifies_one_set(sizes, second_view: int, other) -> None:
    corrupt = sizes.two_sets_min - 1
    honest = sizes.size - corrupt
    certified = 0
    for told_first in range(honest + 1):
        committee = Committee(sizes.size, sizes.quorum, corrupt)
        # In the same view the halves must be disjoint; in a later one everybody may be asked.
        others = list(range(told_first if second_view == 0 else 0, honest))
        first = committee.certify(0, FIRST, list(range(told_first)))
        second = committee.certify(second_view, other, others)
        assert first is None or second is None
        certified += first is not None or second is not None
    assert certified > 0


@OTHERS
@pytest.mark.parametrize("second_view", [0, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_bound_itself_certifies_two_sets(sizes, second_view: int, other) -> None:
    corrupt = sizes.two_sets_min
    honest = sizes.size - corrupt
    committee = Committee(sizes.size, sizes.quorum, corrupt)
    half = sizes.quorum - corrupt
    first = committee.certify(0, FIRST, list(range(half)))
    second = committee.certify(second_view, other, list(range(half, honest)))
    assert first is not None
    assert second is not None
    for member, lock, value in ((0, first, FIRST), (honest - 1, second, other)):
        decision = committee.honest[member].on_certificate(lock, lock.view)
        assert isinstance(decision, Decision)
        assert decision.value == value


def test_coalition_cannot_forge_an_honest_vote() -> None:
    sizes = SIZES[0]
    committee = Committee(sizes.size, sizes.quorum, 1)
    statement = vote_statement(CONTEXT, Instance.ACCEPT, Phase.LOCK, 0, value_hash(FIRST))
    forged = committee.cryptos[-1].sign(statement)
    signers = tuple(range(sizes.quorum))
    lock = Certificate(
        CONTEXT,
        Instance.ACCEPT,
        Phase.LOCK,
        0,
        value_hash(FIRST),
        QuorumCertificate(signers, (forged,) * sizes.quorum),
    )
    with pytest.raises(ProtocolError):
        committee.honest[0].on_certificate(lock, 0)
