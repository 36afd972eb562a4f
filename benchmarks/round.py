"""A round of the demonstration: where its time, CPU and bytes go.

`pnyx demo` runs as a user runs it. Beside it, the same machines run in one process on a virtual
clock, with real signatures and envelopes: that leaves out sockets, TLS, disks and training, and
counts messages, bytes and CPU by step.

What verification costs is measured in the same run. Counted as its own are the steps that exist
for it (the challenge, the answers and their agreement), the local test of published vectors, and
`prove` as a whole, although a part of that is the sharing that every protected round needs: so
`cpu_ratio`, all CPU over what is left without verification, is stated rather too high. The CPU is
the machines' alone; that of the simulator around them is left out. Every member expands each
challenge for itself, as nodes with a process each do.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from pnyx.node.crypto import NodeCrypto
from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.aggregation import coefficients
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.messages import (
    Announce,
    Certificate,
    Decision,
    Items,
    MemberBody,
    MemberInput,
    Message,
    Proposal,
    Request,
    Vote,
)
from pnyx.protocol.round import contributor, values
from pnyx.simulator import Scenario, Simulation
from pnyx.simulator.population import SimulatedNode

NODES = 36
ROUNDS = 8
VECTOR_LENGTH = 3145
_BYTES_MAX = 16 * 1024 * 1024
_OWN = "timers, training, start"

# What each kind of message belongs to; agreements and inputs are told apart by what they carry.
STEPS = {
    "Announce": "gossip",
    "Request": "gossip",
    "Items": "gossip",
    "RoundKey": "open: round keys",
    "OPEN": "open: agreement",
    "Dealing": "close: beacon dealings",
    "Contribution": "close: contributions",
    "Receipt": "close: receipts",
    "Relay": "close: contributions",
    "CloseVote": "close: agreement",
    "HeadersRequest": "close: agreement",
    "CloseNow": "close: agreement",
    "CLOSE": "close: agreement",
    "Opening": "challenge: beacon",
    "ChallengeReveal": "challenge: beacon, answers of members",
    "VerifyResponse": "accept: agreement on answers",
    "ACCEPT": "accept: agreement on answers",
    "Release": "release: shares of the sum",
    "ReleaseBundle": "release: decoding, next model",
    "RecordVote": "certify: record",
    "Part": "large messages in parts",
    "PartsRequest": "large messages in parts",
}


def step_of(payload: bytes) -> str:
    """The step that a message belongs to."""
    message = codec.decode(payload, Message, bytes_max=_BYTES_MAX)
    match message:
        case Announce() | Request() | Items():
            name = type(message).__name__
        case MemberInput():
            body = codec.decode(message.signed.body, MemberBody, bytes_max=_BYTES_MAX)
            name = type(body).__name__
        case Proposal() | Vote() | Certificate() | Decision():
            name = message.instance.name
        case _:
            name = type(message).__name__
    return STEPS.get(name, "other")


# Steps that exist for verification, and functions that serve it within other steps.
_VERIFYING_STEPS = ("challenge: beacon", "challenge: beacon, answers of members", STEPS["ACCEPT"])
_PARTS = {
    "prove, sharing included": (contributor, "prove"),
    "answers": (values.InputReader, "answer"),
    "judge": (values, "judge"),
    "test of published vectors": (values, "check_published"),
}
_VERIFYING_PARTS = ("prove, sharing included", "test of published vectors")


@contextmanager
def timed_calls(owner: Any, name: str, spent: Callable[[float], None]) -> Iterator[None]:
    """Report the CPU seconds of every call of a function, as long as the context lasts."""
    original = getattr(owner, name)

    def timed(*args: Any, **terms: Any) -> Any:
        started = time.process_time()
        try:
            return original(*args, **terms)
        finally:
            spent(time.process_time() - started)

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, original)


def each_for_itself() -> Any:
    """A context in which no node finds in a cache what another one of this process has expanded."""
    return patch.object(coefficients, "_REMEMBERED_DATA_MAX", 0)


class _Counting(Simulation):
    """Counts what crosses the network, and the CPU that each arrival costs its receiver."""

    step = _OWN
    table: dict[str, list[float]]
    parts: dict[str, float]

    def count(self) -> dict[str, Any]:
        """Run, and return messages, bytes and CPU milliseconds a round: by step, and in parts."""
        self.table = {_OWN: [0, 0, 0.0]}
        self.parts = dict.fromkeys(_PARTS, 0.0)
        with ExitStack() as stack:
            stack.enter_context(each_for_itself())
            stack.enter_context(timed_calls(NodeMachine, "handle", self._spent))
            for part, (module, name) in _PARTS.items():
                stack.enter_context(timed_calls(module, name, partial(self._spent_in, part)))
            self.run()
        return {
            "by_step": {
                step: {
                    "messages": round(messages / ROUNDS, 1),
                    "kilobytes": round(size / 1000 / ROUNDS, 1),
                    "cpu_ms": _per_round(seconds),
                }
                for step, (messages, size, seconds) in sorted(self.table.items())
            },
            "total_cpu_ms": _per_round(sum(row[2] for row in self.table.values())),
            "total_kilobytes": round(sum(row[1] for row in self.table.values()) / 1000 / ROUNDS, 1),
            "verification": self._verification(),
        }

    def _verification(self) -> dict[str, Any]:
        total = sum(row[2] for row in self.table.values())
        verifying = sum(self.table[step][2] for step in _VERIFYING_STEPS)
        verifying += sum(self.parts[part] for part in _VERIFYING_PARTS)
        return {
            "cpu_ms": _per_round(verifying),
            "cpu_ratio": round(total / (total - verifying), 2),
            "parts_cpu_ms": {part: _per_round(seconds) for part, seconds in self.parts.items()},
        }

    def _spent(self, seconds: float) -> None:
        self.table[self.step][2] += seconds

    def _spent_in(self, part: str, seconds: float) -> None:
        self.parts[part] += seconds

    def _deliver(self, sender: SimulatedNode, target: SimulatedNode, payload: bytes) -> None:
        self.step = step_of(payload)
        row = self.table.setdefault(self.step, [0, 0, 0.0])
        row[0] += 1
        row[1] += len(payload)
        super()._deliver(sender, target, payload)
        self.step = _OWN


def _per_round(seconds: float) -> float:
    """Milliseconds a round."""
    return round(seconds * 1000 / ROUNDS, 1)


def _protocol() -> dict[str, Any]:
    scenario = Scenario(
        seed=1, nodes=NODES, rounds=ROUNDS, cohort_min=16, vector_length=VECTOR_LENGTH
    )
    return _Counting(scenario, lambda seed: NodeCrypto(SigningKey(seed))).count()


def _demo() -> dict[str, Any]:
    command = [sys.executable, "-m", "pnyx.cli", "demo", "--json", "--kill", "0"]
    command += ["--nodes", str(NODES), "--rounds", str(ROUNDS), "--seed", "1"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def run() -> dict[str, Any]:
    """The demonstration's figures, and the protocol's own by step (start-up rounds included)."""
    return {"demo": _demo(), "protocol_per_round": _protocol()}
