"""Aggregators hold a vector that no other one gets, and keep back its sum (THREATS A7, A8).

Two of three aggregators may be corrupt. With a corrupt contributor they are all that ever held its
vector, and their receipts suffice. Were such a set locked, keys would be released of a sum that
nobody can make, and the round would never end. So members lock a set only once they hold its sums:
so a set that is fixed has honest holders, who pass it on; and what has none is given up. The second
attempt has other aggregators, so whoever ends both attempts needs most of two draws.
"""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened

from pnyx.primitives import codec
from pnyx.protocol.events import Effect, Send, SendChunk
from pnyx.protocol.messages import (
    Certificate,
    EchoProof,
    Instance,
    Phase,
    RecordBody,
    RoundMessage,
    VectorOffer,
    VectorSum,
    ViewChange,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import attempts
from pnyx.protocol.round.leader import Leader
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.vector_sum import WantedSums
from pnyx.protocol.selection import stand_ins
from pnyx.simulator import InvariantError
from pnyx.simulator.adversary import Wrapper, read

STUDY = masked_study(params=ProtocolParams(attempt_timeout_s=20.0), limit_s=150.0)
PLAN = drawn(STUDY)
HONEST, *CORRUPT = PLAN.aggregators
OTHERS = stand_ins(PLAN.beacon, PLAN.study, 1, "aggregator", 3, 3, STUDY.nodes)
ACCOMPLICE = next(
    i for i in PLAN.contributors if i > 0 and i not in PLAN.aggregators and i in PLAN.member_of
)
FAVOURED = next(i for i in PLAN.committee if i not in {*PLAN.aggregators, ACCOMPLICE})


class KeepsBack(Wrapper):
    """Gives no vector to the honest aggregator, nor to node 0, and no sum but to some."""

    def __init__(self, node_ids: tuple[bytes, ...], told: set[int]) -> None:
        self._victims = {node_ids[HONEST], node_ids[0]}
        self._told = {node_ids[index] for index in told}
        super().__init__()

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        return [effect for effect in super().emit(effects, now) if self._leaves(effect)]

    def _leaves(self, effect: Effect) -> bool:
        match effect:
            case SendChunk():
                return effect.peer not in self._victims
            case Send():
                message = read(effect.payload)
                if isinstance(message, VectorOffer):
                    return effect.peer not in self._victims
                return not isinstance(message, VectorSum) or effect.peer in self._told
        return True


class SaysLocked(KeepsBack):
    """Says for every view to come that it locked the set whose sum nobody gets."""

    def __init__(self, node_ids: tuple[bytes, ...]) -> None:
        super().__init__(node_ids, set())
        self._proof: EchoProof | None = None
        self._change = self._report
        self._hear = self._listen

    def _listen(self, event: object, message: RoundMessage) -> bool:
        match message:
            case Certificate(instance=Instance.ACCEPT, phase=Phase.ECHO) if self._proof is None:
                self._proof = EchoProof(message.view, message.value_hash, message.certificate)
        return True

    def _report(self, send: Send, message: RoundMessage) -> Iterator[Send]:
        if isinstance(message, ViewChange) and self._proof is not None:
            said = replace(message, view=99, instance=Instance.ACCEPT, proof=self._proof)
            send = Send(send.peer, codec.encode(said))
        yield send


def attacked(*told: int, says_locked: bool = False, more: set[int] | None = None) -> Watched:
    """A study in which the sum of the accepted set is told to these nodes only.

    more: who is corrupt besides two aggregators and a contributor.
    """
    simulation = Watched(STUDY)
    ids = simulation.population.census.node_ids
    simulation.corrupt = frozenset({*CORRUPT, ACCOMPLICE, *(more or ())})
    simulation.checker._corrupt = simulation.corrupt
    for index in simulation.corrupt:
        simulation.nodes[index].adversary = (
            SaysLocked(ids) if says_locked and index == ACCOMPLICE else KeepsBack(ids, set(told))
        )
    return simulation


def outcome_of(simulation: Watched) -> RecordBody:
    """What round 1 ends with; nobody honest is blamed for it."""
    outcome = simulation.run()
    assert simulation.culprits() <= simulation.corrupt
    return outcome.records[1]


def opened_at_second(body: RecordBody) -> bool:
    """Whether the first attempt came to nothing, and the second to a sum."""
    return body.attempt == 2 and not body.skipped


def test_sums_kept_back():
    assert opened_at_second(outcome_of(attacked()))


def test_with_the_same_aggregators_the_second_attempt_would_end_like_the_first(monkeypatch):
    monkeypatch.setattr(attempts, "_other_aggregators", lambda plan: plan.aggregators)
    assert outcome_of(attacked()).skipped


def test_most_of_both_draws_end_both_attempts_unopened():
    assert outcome_of(attacked(more=set(OTHERS) - {0})).skipped


def test_a_set_that_is_locked_without_its_sum_would_never_end(monkeypatch):
    monkeypatch.setattr(MemberState, "may_lock", lambda *_: True)
    with pytest.raises(InvariantError, match="has not ended"):
        attacked().run()


def test_a_sum_that_one_honest_member_has_is_everybodys():
    assert opened(attacked(FAVOURED, *CORRUPT, ACCOMPLICE).run())


def test_members_that_kept_it_to_themselves_would_not_end_the_round(monkeypatch):
    monkeypatch.setattr(WantedSums, "serve", lambda *_: False)
    with pytest.raises(InvariantError, match="has not ended"):
        attacked(FAVOURED, *CORRUPT, ACCOMPLICE).run()


def test_a_lock_that_is_only_said_holds_nobody_up():
    assert opened_at_second(outcome_of(attacked(says_locked=True)))


def test_leaders_that_believed_in_it_would_hold_up_the_round(monkeypatch):
    monkeypatch.setattr(Leader, "_waits_for_sums", lambda *_: True)
    with pytest.raises(InvariantError, match="has not ended"):
        attacked(says_locked=True).run()
