"""A6: whatever is signed and drawn, and whenever the node is killed, nothing is shown twice.

A node signs bodies for slots, draws secrets, and says them. Its effects are carried out in order,
and it is killed after any number of them; its next life has what was stored, and draws from another
seed. Others only know what was said: of one slot one body, and every secret in one attempt.
"""

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace
from tests.support.committee import Committee, Outbox
from tests.support.weakened import weaken

from pnyx.primitives import (
    codec,
)
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import Forget, Persist, Send
from pnyx.protocol.messages import (
    Answers,
    VerifyResponse,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import services as module
from pnyx.protocol.round.services import RoundServices

FIRST = Committee()
SECOND = Committee(folk=FIRST.folk, round_number=2)  # another attempt's scopes and context
COMMITTEES = (FIRST, SECOND)
MEMBER = 1
SECRET = "seed"
slots = st.sampled_from(["round-key", "release"])
attempts = st.sampled_from([0, 1])
words = st.integers(0, 3)


class Queue(Outbox):
    """Effects in the order in which they were asked for, what is sent among them."""

    def post(self, node_index, plan, message) -> None:
        self.effects.append(Send(plan.census.node_ids[node_index], message))


class SignerAndKills(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, bytes] = {}
        self.said: dict[tuple[int, str], set[bytes]] = {}  # attempt and slot -> what was shown
        self.secrets: dict[bytes, set[int]] = {}  # secret that was stored -> attempts
        self.lives = 0
        self.begin()

    def begin(self) -> None:
        self.lives += 1
        self.queue = Queue()
        self.nodes = [self.services(at) for at in (0, 1)]

    def services(self, at: int) -> RoundServices:
        plan = COMMITTEES[at].plan

        def below(scope: str) -> dict[str, bytes]:
            start = f"{scope}/"
            found = self.stored.items()
            return {key.removeprefix(start): v for key, v in found if key.startswith(start)}

        return RoundServices(
            plan=plan,
            node_id=plan.census.node_ids[MEMBER],
            crypto=FIRST.folk.cryptos[MEMBER],
            sampler=Sampler(bytes((self.lives, at)) * 16, "node"),
            params=ProtocolParams(),
            mailbox=self.queue,
            restored=below(plan.scope),
            restored_secrets=below(plan.secret_scope),
        )

    def carry_out(self, count: int) -> None:
        for effect in self.queue.effects[:count]:
            match effect:
                case Persist():
                    self.stored[effect.key] = effect.value
                    for at, committee in enumerate(COMMITTEES):
                        if effect.key == f"{committee.plan.secret_scope}/{SECRET}":
                            self.secrets.setdefault(effect.value, set()).add(at)
                case Forget():
                    self.stored = {
                        key: value
                        for key, value in self.stored.items()
                        if not key.startswith(effect.prefix)
                    }
                case Send():
                    at, slot, word = effect.payload
                    self.said.setdefault((at, slot), set()).add(word)
        del self.queue.effects[:count]

    @rule(at=attempts, slot=slots, word=words)
    def say(self, at: int, slot: str, word: int) -> None:
        """What it would say now depends on what it has seen since it started."""
        body = replace(COMMITTEES[at].round_key(MEMBER), encryption_key=bytes((word,)) * 32)
        signed = self.nodes[at].sign_once(slot, body)
        self.nodes[at]._mailbox.post(0, COMMITTEES[at].plan, (at, slot, signed.body))

    @rule(at=attempts, word=words)
    def answer(self, at: int, word: int) -> None:
        """A response, and the answers that go with it: those of its life before, if there was."""
        plan = COMMITTEES[at].plan
        response = VerifyResponse(plan.context, MEMBER, bytes((word,)) * 32, bytes(32))
        answered = self.nodes[at].answer_once(response, Answers((), bytes((word,))))
        said = (at, "response", codec.encode(answered))
        self.nodes[at]._mailbox.post(0, plan, said)

    @rule(at=attempts)
    def draw(self, at: int) -> None:
        """A secret of the attempt, made once: stored before anything follows from it."""
        node = self.nodes[at]
        if SECRET not in node.restored:
            node.persist_secret(SECRET, node.sampler.bytes(32))

    @rule(at=attempts)
    def erase(self, at: int) -> None:
        self.nodes[at].erase_secrets()

    @rule(count=st.integers(0, 6))
    def time_passes(self, count: int) -> None:
        self.carry_out(count)

    @rule(count=st.integers(0, 6))
    def is_killed(self, count: int) -> None:
        self.carry_out(count)
        self.begin()

    @invariant()
    def nothing_is_said_in_two_ways(self) -> None:
        assert all(len(bodies) == 1 for bodies in self.said.values()), "two bodies for one slot"

    @invariant()
    def no_secret_serves_twice(self) -> None:
        assert all(len(places) == 1 for places in self.secrets.values()), "a secret used again"


BRIEF = settings(stateful_step_count=20, deadline=None)
SOUGHT = settings(BRIEF, max_examples=200, derandomize=True, phases=[Phase.generate], database=None)


@pytest.mark.parametrize("examples", [60, pytest.param(20_000, marks=pytest.mark.full)])
def test_nothing_is_reused_over_kills(examples: int) -> None:
    run_state_machine_as_test(SignerAndKills, settings=settings(BRIEF, max_examples=examples))


def test_the_durable_slot_is_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, module, ("stored = self.restored.get(slot)", "stored = None"))
    with pytest.raises(AssertionError, match="two bodies"):
        run_state_machine_as_test(SignerAndKills, settings=SOUGHT)


def test_to_store_first_is_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said before it is stored is said anew, otherwise, by the next life."""

    def too_early(queue: Queue, node_index, plan, message) -> None:
        queue.effects.insert(max(0, len(queue.effects) - 1), Send(b"", message))

    monkeypatch.setattr(Queue, "post", too_early)
    with pytest.raises(AssertionError, match="two bodies"):
        run_state_machine_as_test(SignerAndKills, settings=SOUGHT)


def test_fresh_seeds_are_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sampler, "bytes", lambda sampler, count: bytes(count))
    with pytest.raises(AssertionError, match="used again"):
        run_state_machine_as_test(SignerAndKills, settings=SOUGHT)
