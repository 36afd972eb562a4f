"""A3 on the chain of epochs: two committees certify a record of one number, and the network splits.

A committee hands the record over with fewer than a quorum (`round.handover`). So a coalition tries
to have a list fixed *and* the record handed over: it leads every view, votes for both, and shows
each honest member whatever helps it. The bound is real: f corrupt members fail whatever the split,
f + 1 succeed; with one echo less for a handover f would. And without patience of honest members f
corrupt ones would hand over at once, until a committee is theirs.
"""

from itertools import product

import pytest
from tests.support.aborts import handover_of
from tests.support.ballots import CONTEXT, KEYS, PUBLIC_KEYS, proof, proposal, quorum
from tests.support.epochs import LENGTH_S, EpochTown
from tests.support.town import SMALL, people

from pnyx.errors import ProtocolError
from pnyx.protocol.agreement import Agreement, sign_proposal, value_hash
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import Certificate, Instance, Phase, Vote
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.handover import handed_over
from pnyx.protocol.round.plan import HANDOVER

LIST = b"a closed list"
F, ALL = SMALL.corrupt_max, SMALL.size
ENOUGH = {LIST: SMALL.quorum, HANDOVER: SMALL.handover_quorum}


def member(number: int, handover: int = SMALL.handover_quorum) -> Agreement:
    """An honest member's part in the agreement that fixes a list or a handover."""
    return Agreement(
        context=CONTEXT,
        instance=Instance.CLOSE,
        quorum=SMALL.quorum,
        public_keys=PUBLIC_KEYS,
        member=number,
        crypto=KEYS[number],
        validate=lambda value: None,
        persist=lambda slot: None,
        restored=None,
        quorums={HANDOVER: handover},
    )


def locks(agreement: Agreement, value: bytes, view: int) -> bool:
    """Whether an honest member locks a value, shown all that the coalition can forge."""
    if agreement.on_proposal(proposal(value, view)) is None:
        return False
    shown = quorum(value, Phase.ECHO, view)
    certificate = Certificate(CONTEXT, Instance.CLOSE, Phase.ECHO, view, value_hash(value), shown)
    return isinstance(agreement.on_certificate(certificate, view), Vote)


def both(corrupt: int, handover: int = SMALL.handover_quorum) -> bool:
    """Whether some schedule gives the list and the handover their quorums of locks.

    Honest members see one of them first, or only one; the other comes in the same view or a later.
    """
    needed = {LIST: SMALL.quorum, HANDOVER: handover}
    for split in product((0, 1), repeat=ALL - corrupt):
        for later in (0, 3):
            counts = dict.fromkeys(needed, corrupt)
            for number, first in enumerate(split):
                honest = member(number, handover)
                order = (LIST, HANDOVER) if first else (HANDOVER, LIST)
                for view, value in zip((0, later), order, strict=True):
                    counts[value] += locks(honest, value, view)
            if all(counts[value] >= needed[value] for value in needed):
                return True
    return False


def test_a_list_and_a_handover_need_a_coalition_of_more_than_f():
    assert SMALL.quorum + SMALL.handover_quorum - ALL == F + 1
    assert not both(F)
    assert both(F + 1), "the bound is real"


def test_with_one_vote_less_for_a_handover_f_would_suffice():
    assert both(F, SMALL.handover_quorum - 1)


@pytest.mark.parametrize(("first", "second"), [(LIST, HANDOVER), (HANDOVER, LIST)])
def test_a_later_view_takes_nobody_from_what_it_locked(first, second):
    honest = member(0)
    assert locks(honest, first, 0)
    assert not locks(honest, second, 2)
    older = proof(second, 0)
    assert honest.on_proposal(proposal(second, 3, older)) is None
    newer = proof(second, 2)
    assert honest.on_proposal(proposal(second, 3, newer)) is not None, "f + 1 could have made it"


def test_fewer_votes_are_enough_for_a_handover_and_for_nothing_else():
    for value, enough in ENOUGH.items():
        for count in (enough - 1, enough):
            shown = quorum(value, Phase.LOCK, signers=range(count))
            certificate = Certificate(
                CONTEXT, Instance.CLOSE, Phase.LOCK, 0, value_hash(value), shown
            )
            if count == enough:
                member(0).check_certificate(certificate)
            else:
                with pytest.raises(ProtocolError):
                    member(0).check_certificate(certificate)


def test_two_halves_that_hand_over_hand_over_to_the_same():
    """Quorums of a handover may have nobody in common: nothing depends on who was there."""
    town = EpochTown(count=24)
    assert town.run(town.in_epoch(0))
    folk, plan = people(24, town.size), town.machines[0].epochs.chain.plan
    few = plan.size.handover_quorum
    certificates = [
        handover_of(folk, plan),
        handover_of(folk, plan, signers=range(few, 2 * few)),
    ]
    assert certificates[0] != certificates[1]
    one, other = (handed_over(plan, each, town.cryptos[0])[-1] for each in certificates)
    assert one == other
    assert one.committee == other.committee


# --- handing over at once -----------------------------------------------------------------------


def echoes_at_once() -> tuple[int, int, EpochTown]:
    """The first leader proposes to hand over when the round begins; how many others echo that."""
    town = EpochTown(count=24)
    assert town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    liar, echoed = plan.committee[0], set()

    def wire(sender, receiver, message):
        if isinstance(message, Vote) and message.value_hash == value_hash(HANDOVER):
            echoed.add(sender)
        return

    town.wire = wire
    begun = lambda: all(plan.context in m.rounds.active for m in town.machines)  # noqa: E731
    assert town.run(begun, seconds=2 * LENGTH_S)
    for index in plan.committee[1:]:
        said = sign_proposal(town.cryptos[liar], plan.context, Instance.CLOSE, 0, HANDOVER)
        town.inject(liar, index, said)
    assert town.run(town.in_epoch(1), seconds=60.0)
    assert town.machines[0].epochs.chain.records[1].abort is None
    return len(echoed), liar, town


def test_members_that_are_patient_hand_nothing_over():
    echoed, liar, town = echoes_at_once()
    assert echoed == 0
    assert town.rules() == set()
    blamed = town.effects(PeerBlamed)
    assert {town.census.index_of(each.peer) for each in blamed} == {liar}
    assert {each.rule for each in blamed} == {Offence.TWO_PROPOSALS}, "it proposed a list as well"


def test_unless_members_waited_a_leader_could_hand_over_at_once(monkeypatch):
    propose = CommitteeMember._on_proposal

    def impatient(self, sender, message, now):
        before, self.patience.gave_up = self.patience.gave_up, True
        propose(self, sender, message, now)
        self.patience.gave_up = before

    monkeypatch.setattr(CommitteeMember, "_on_proposal", impatient)
    assert echoes_at_once()[0] >= SMALL.handover_quorum
