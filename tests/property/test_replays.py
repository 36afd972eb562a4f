"""T1: parts of contributions, from whatever round, study or sender, put together in any way.

A member is given splices: a header of one contribution, an envelope and a proof of another, sent
again and again, in any order, with kills in between. It receipts a contribution only as its
contributor made it for this member and attempt, the first one that it was shown, and holds no share
but those; what is said again has no effect.
"""

from functools import lru_cache

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support.committee import Committee, Outbox
from tests.support.weakened import weaken

from pnyx.errors import ProtocolError
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import Persist
from pnyx.protocol.messages import Contribution, SealedShare, Signed
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import holdings as module
from pnyx.protocol.round import values
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import InputReader

MEMBER, OTHER_MEMBER = 1, 2
HERE = Committee()
OPENED, KEYS = HERE.opened, HERE.keys()
PRIVATE_KEY = HERE.private_key(MEMBER)
ELSEWHERE = (
    Committee(folk=HERE.folk, round_number=2),
    Committee(folk=HERE.folk, model_hash=b"x" * 32),
)
Part = tuple[int, int, int, int]  # committee, contributor, member, which of two contributions
parts = st.tuples(
    st.sampled_from([0, 0, 1, 2]),
    st.sampled_from([2, 3, 4]),
    st.sampled_from([MEMBER, MEMBER, OTHER_MEMBER]),
    st.sampled_from([0, 0, 1]),
)


@lru_cache
def payloads(at: int, who: int, which: int) -> list[bytes]:
    return (HERE, *ELSEWHERE)[at].payloads(who, seed=which)


@lru_cache
def made(part: Part) -> Contribution:
    at, who, member, which = part
    return (HERE, *ELSEWHERE)[at].contribution(who, member, payloads(at, who, which))


@lru_cache
def copied(thief: int, at: int, victim: int, which: int) -> Signed:
    """A header of one's own for another's shares."""
    return HERE.header(thief, payloads(at, victim, which))


class Splices(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, bytes] = {}
        self.begin()

    def begin(self) -> None:
        self.outbox = Outbox()
        services = RoundServices(
            plan=HERE.plan,
            node_id=HERE.plan.census.node_ids[MEMBER],
            crypto=HERE.folk.cryptos[MEMBER],
            sampler=Sampler(bytes(32), "member"),
            params=ProtocolParams(),
            mailbox=self.outbox,
            restored={},
            restored_secrets=dict(self.stored),
        )
        reader = InputReader(HERE.plan, services.crypto)
        self.held = Holdings(services, reader, MEMBER, PRIVATE_KEY, lambda *_: None)
        self.held.restore(OPENED, KEYS)

    def give(self, message: Contribution) -> None:
        before = dict(self.held.receipted), dict(self.held.shares)
        try:
            self.held.add_contribution(message, OPENED, receipt=True)
        except ProtocolError:
            after = self.held.receipted, self.held.shares
            assert after == before, "what was refused had an effect"
        self.stored |= {
            each.key.removeprefix(f"{HERE.plan.secret_scope}/"): each.value
            for each in self.outbox.effects
            if isinstance(each, Persist)
        }

    @rule(header=parts, sealed=parts, proof=parts, named=st.sampled_from([MEMBER, OTHER_MEMBER]))
    def splice(self, header: Part, sealed: Part, proof: Part, named: int) -> None:
        share = SealedShare(named, made(sealed).share.sealed, made(proof).share.proof)
        self.give(Contribution(HERE.plan.context, made(header).header, share))

    @rule(part=parts)
    def replay(self, part: Part) -> None:
        """A whole contribution, said to be of this attempt."""
        there = made(part)
        self.give(Contribution(HERE.plan.context, there.header, there.share))

    @rule(part=parts, who=st.sampled_from([2, 3, 4]))
    def copy(self, part: Part, who: int) -> None:
        """Another's shares under a header of one's own."""
        at, victim, _, which = part
        self.give(Contribution(HERE.plan.context, copied(who, at, victim, which), made(part).share))

    @rule()
    def restart(self) -> None:
        receipted = dict(self.held.receipted)
        self.begin()
        assert self.held.receipted == receipted, "what was receipted is there again"

    @invariant()
    def only_what_was_made_here_counts(self) -> None:
        for who, name in self.held.receipted.items():
            genuine = {
                HERE.reader.name(made((0, who, MEMBER, which)).header): which for which in (0, 1)
            }
            assert name in genuine, "a splice is receipted"
            payload = payloads(0, who, genuine[name])[MEMBER]
            opened = self.held.opened(made((0, who, MEMBER, genuine[name])).header)
            assert opened is not None
            assert opened.payload == payload


BRIEF = settings(stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
SOUGHT = settings(BRIEF, max_examples=200, derandomize=True, phases=[Phase.generate], database=None)


@pytest.mark.parametrize("examples", [20, pytest.param(7_000, marks=pytest.mark.full)])
def test_replayed_and_spliced_contributions(examples: int) -> None:
    """In the full count, 10^5 messages."""
    run_state_machine_as_test(Splices, settings=settings(BRIEF, max_examples=examples))


def unbound_envelopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "share_info", lambda context, who, member: b"")
    monkeypatch.setattr("tests.support.committee.share_info", lambda context, who, member: b"")
    made.cache_clear()


def any_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and envelopes of other rounds are read."""
    unbound_envelopes(monkeypatch)
    weaken(
        monkeypatch, values, ("        if body.context != self._plan.context:", "        if False:")
    )
    weaken(monkeypatch, values, ("if header.model_hash != plan.model_hash:", "if False:"))


@pytest.mark.parametrize("weakened", [unbound_envelopes, any_round])
def test_what_binds_them_is_the_defence(monkeypatch: pytest.MonkeyPatch, weakened) -> None:
    weakened(monkeypatch)
    try:
        with pytest.raises(AssertionError):
            run_state_machine_as_test(Splices, settings=SOUGHT)
    finally:
        made.cache_clear()
