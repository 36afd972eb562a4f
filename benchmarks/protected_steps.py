"""A protected round of 50 contributors and 100,000 values, message by message.

The machines of `protected_round` run in one process on a virtual clock, with real signatures and
envelopes: that leaves out sockets, TLS, disks and the event loop, counts every message, and counts
CPU time alone, so that a busy machine disturbs it little. Nobody waits too long for anybody here,
so nothing is repeated.

`by_message` says what a message costs whoever receives it, whatever it then does. `beside` is what
daemons compute in threads: contributors make their contributions, aggregators check vectors and add
them up, members check the sum and unmask it. `to_a_member` is what members that are no aggregators
receive of the messages that grow with contributors: bytes for each of these.
"""

from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import Any

from benchmarks.protected_round import COMMITTEE, CONTRIBUTORS, NODES, SHORT
from benchmarks.round import each_for_itself, timed_calls
from pnyx.node.crypto import NodeCrypto
from pnyx.primitives import codec
from pnyx.primitives.ring import implementation
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.events import Effect, StepReached
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.messages import (
    Certificate,
    Decision,
    MemberBody,
    MemberInput,
    Message,
    Proposal,
    Vote,
)
from pnyx.simulator import Scenario, Simulation
from pnyx.simulator.population import SimulatedNode

_BYTES_MAX = 16 * 1024 * 1024
_OWN = "timers, training, what comes back from beside"
_BY_CONTRIBUTOR = ("Contribution", "Part", "VectorSum")  # parts: of lists, answers, releases


def kind_of(payload: bytes) -> str:
    """Name of a message; of agreements with the instance, of inputs with the body."""
    message = codec.decode(payload, Message, bytes_max=_BYTES_MAX)
    match message:
        case MemberInput():
            body = codec.decode(message.signed.body, MemberBody, bytes_max=_BYTES_MAX)
            return f"MemberInput: {type(body).__name__}"
        case Proposal() | Vote() | Certificate() | Decision():
            return f"{type(message).__name__}: {message.instance.name}"
        case _:
            return type(message).__name__


class _Steps(Simulation):
    """Counts from the moment that a member opens round 1."""

    def __init__(self) -> None:
        self._counting = False
        self._kind = _OWN
        self._last_s = 0.0  # that the machine took for the last event
        self._beside_s = 0.0
        self._messages: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._cpu_s: defaultdict[str, float] = defaultdict(float)
        self._received: defaultdict[int, Counter[str]] = defaultdict(Counter)
        scenario = Scenario(
            seed=1,
            nodes=NODES,
            rounds=1,
            slots=1,
            vector_length=SHORT + 1,
            masks=True,
            committee=COMMITTEE,
            drawn=CONTRIBUTORS,
            target=CONTRIBUTORS,
            cohort_min=CONTRIBUTORS,
        )
        super().__init__(scenario, lambda seed: NodeCrypto(SigningKey(seed)))

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        """Begin to count. Nothing is traced or checked: that would be counted, too."""
        del node
        if isinstance(effect, StepReached) and effect.round_number == 1:
            self._counting = True

    def _deliver(self, sender: SimulatedNode, target: SimulatedNode, payload: bytes) -> None:
        if self._counting:
            self._kind = kind_of(payload)
            self._messages[self._kind] += 1
            self._sent[self._kind] += len(payload)
            self._received[target.index][self._kind] += len(payload)
        super()._deliver(sender, target, payload)
        self._kind = _OWN

    def _spent(self, seconds: float) -> None:
        self._cpu_s[self._kind] += self._counting * seconds
        self._last_s = seconds

    def _spent_beside(self, seconds: float) -> None:
        """What was computed beside, less the event that told the machine of it at the end."""
        self._beside_s += self._counting * (seconds - self._last_s)

    def _members(self) -> list[int]:
        """Members of the committee of round 1 that are no aggregators, by their index."""
        machine = self.nodes[0].machine
        assert machine is not None, "nobody is killed"
        [state] = machine.studies.values()
        plan = state.plan_at(1, 1, self.scenario.params)
        assert plan is not None, "round 1 is over"
        return [index for index in plan.committee if index not in plan.aggregators]

    def count(self) -> dict[str, Any]:
        """Run, and return messages, bytes and CPU time of the round."""
        with ExitStack() as stack:
            stack.enter_context(each_for_itself())
            stack.enter_context(timed_calls(NodeMachine, "handle", self._spent))
            for name in ("_compute", "_sum"):
                stack.enter_context(timed_calls(SimulatedNode, name, self._spent_beside))
            self.run()
        members = self._members()
        by_cost = sorted(self._messages, key=lambda kind: -self._cpu_s[kind])
        return {
            "by_message": {
                kind: {
                    "messages": self._messages[kind],
                    "kilobytes": round(self._sent[kind] / 1000, 1),
                    "cpu_ms": round(1000 * self._cpu_s[kind], 1),
                }
                for kind in by_cost
            },
            "own_cpu_ms": {_OWN: round(1000 * self._cpu_s[_OWN], 1)},
            "machines_cpu_ms": round(1000 * sum(self._cpu_s.values()), 1),
            "beside_cpu_ms": round(1000 * self._beside_s, 1),
            "messages": sum(self._messages.values()),
            "megabytes": round(sum(self._sent.values()) / 1e6, 1),
            "to_a_member": {
                kind: round(
                    sum(self._received[index][kind] for index in members)
                    / (len(members) * CONTRIBUTORS)
                )
                for kind in _BY_CONTRIBUTOR
            },
        }


def run() -> dict[str, Any]:
    """Messages, bytes and CPU milliseconds of one round."""
    implementation()  # loops are compiled before anything is measured
    return _Steps().count()
