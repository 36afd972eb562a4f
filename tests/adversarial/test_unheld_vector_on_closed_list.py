"""A contribution whose masked vector nobody holds would keep a round from ending for ever (A7, A8).

Once a set is accepted nothing else is opened, so every vector of it must exist. Members take the
share of a key with receipts of most aggregators only; so a contribution without them may get onto
the closed list by a corrupt member's word, and then too few answer for it. The attacker
contributes, is a member, and signs receipts that are not its own to sign.
"""

from collections.abc import Iterator, Mapping, Sequence

import pytest
from msgspec.structs import replace
from tests.support.masked_round import MaskedCommittee, masked_committee
from tests.support.masked_runs import Watched, drawn, masked_study, opened

from pnyx.primitives import codec
from pnyx.protocol.events import Effect, Send
from pnyx.protocol.messages import (
    CloseVote,
    HeldContribution,
    MemberInput,
    VectorOffer,
    VectorReceipt,
)
from pnyx.protocol.round import holdings
from pnyx.protocol.round.values import InputReader, header_hash
from pnyx.protocol.selection import choose_committee
from pnyx.simulator import InvariantError
from pnyx.simulator.adversary import Hands, input_body, read
from pnyx.simulator.masquerade import MaskedForger

PLAN = drawn(masked_study())
LIAR = next(
    index
    for index in PLAN.contributors
    if index in PLAN.committee and index not in PLAN.aggregators and index > 0
)


class Unheld(MaskedForger):
    """Offers its vector to nobody; shows members forged receipts, and names itself in its vote."""

    def __init__(self, hands: Hands, *, forged: bool) -> None:
        super().__init__(hands)
        self._forged_receipts = forged
        self.named = False

    def _offer(self, message: VectorOffer) -> Iterator[Send]:
        context, name = message.context, header_hash(self._make(message, 0).header)
        self._receipts[name] = {
            index: VectorReceipt(context, index, name, self._hands.crypto.sign(name))
            for index in self._hands.aggregators(context)
            if self._forged_receipts
        }
        yield from self._contribute(name)

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        return [self._with_own(effect) for effect in super().emit(effects, now)]

    def _with_own(self, effect: Effect) -> Effect:
        message = read(effect.payload) if isinstance(effect, Send) else None
        body = input_body(message) if isinstance(message, MemberInput) else None
        made = next((m for (context, _), m in self._made.items() if context == PLAN.context), None)
        if not isinstance(body, CloseVote) or body.context != PLAN.context or made is None:
            return effect
        self.named = True
        mine = HeldContribution(self._hands.index, header_hash(made.header))
        held = (*(each for each in body.held if each.contributor != mine.contributor), mine)
        vote = replace(body, held=tuple(sorted(held, key=lambda each: each.contributor)))
        attached = (*message.attachments, made.header)
        said = MemberInput(message.context, self._hands.sign(vote), attached)
        return Send(effect.peer, codec.encode(said))


def attacked(*, forged: bool = True) -> tuple[Watched, Unheld]:
    simulation = Watched(masked_study(limit_s=60.0))
    node = simulation.nodes[LIAR]
    liar = Unheld(simulation._hands(node, bytes(32)), forged=forged)
    simulation.corrupt, node.adversary = frozenset({LIAR}), liar
    return simulation, liar


def stays_out(*, forged: bool) -> None:
    simulation, liar = attacked(forged=forged)
    outcome = simulation.run()
    assert opened(outcome)
    assert LIAR not in outcome.records[1].accepted
    assert liar.named, "in its own vote"
    assert simulation.culprits() == {LIAR}


@pytest.mark.parametrize("forged", [True, False])
def test_unheld_vector_on_closed_list(forged):
    stays_out(forged=forged)


def test_without_a_look_at_receipts_the_round_would_never_end(monkeypatch):
    monkeypatch.setattr(holdings, "check_receipts", lambda *_: None)
    simulation, _ = attacked()
    with pytest.raises(InvariantError, match="has not ended"):
        simulation.run()
    assert list(next(iter(simulation.checker.records.values()))) == [0]


# --- the list itself ------------------------------------------------------------------------------

C = masked_committee()


def listed(committee: MaskedCommittee, names: Mapping[int, Sequence[int]]) -> tuple[int, ...]:
    """Who is on a list of these votes: member -> the contributors that it names."""
    headers = {who: committee.header(who) for named in names.values() for who in named}
    votes = [
        committee.member_signed(m, committee.close_vote(m, [headers[who] for who in named]))
        for m, named in sorted(names.items())
    ]
    value = committee.close_value(list(headers.values()), votes)
    reader = InputReader(committee.plan, committee.folk.cryptos[0])
    return reader.close_value(value, committee.keys(), committee.opened).contributors


def test_what_was_acknowledged_is_listed_though_f_members_omit_it():
    """A quorum gave receipts for contributor 2; one of them is corrupt, and votes without it."""
    size = choose_committee(8)
    holders, voters = range(size.quorum), range(size.size - size.quorum, size.size)
    both = sorted(set(holders) & set(voters))
    omitting, honest = both[: size.corrupt_max], both[size.corrupt_max :]
    assert omitting
    assert honest
    committee = MaskedCommittee(size=size)
    names: dict[int, Sequence[int]] = {m: (2,) if m in honest else () for m in voters}
    assert listed(committee, names) == (2,)
