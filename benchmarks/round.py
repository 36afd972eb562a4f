"""A round of the demonstration: where its time, CPU and bytes go.

`pnyx demo` runs as a user runs it. Beside it, the same machines run in one process on a virtual
clock, with real signatures and envelopes: that leaves out sockets, TLS, disks and training, and
counts messages, bytes and CPU by step.
"""

import json
import subprocess
import sys
import time
from typing import Any

from pnyx.node.crypto import NodeCrypto
from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
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
from pnyx.simulator import Scenario, Simulation
from pnyx.simulator.population import SimulatedNode

NODES = 36
ROUNDS = 8
VECTOR_LENGTH = 3145
_BYTES_MAX = 16 * 1024 * 1024

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
    "CloseNow": "close: agreement",
    "CLOSE": "close: agreement",
    "Opening": "challenge: beacon",
    "ChallengeReveal": "challenge: beacon, answers of members",
    "VerifyResponse": "accept: agreement on answers",
    "ACCEPT": "accept: agreement on answers",
    "Release": "release: shares of the sum",
    "ReleaseBundle": "release: decoding, next model",
    "RecordVote": "certify: record",
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


class _Counting(Simulation):
    """Counts what crosses the network, and the CPU that each arrival costs its receiver."""

    def count(self) -> dict[str, dict[str, float]]:
        """Run, and return messages, bytes and CPU milliseconds a round, by step."""
        self.table: dict[str, list[float]] = {}
        self.run()
        return {
            step: {
                "messages": round(messages / ROUNDS, 1),
                "kilobytes": round(size / 1000 / ROUNDS, 1),
                "cpu_ms": round(seconds * 1000 / ROUNDS, 1),
            }
            for step, (messages, size, seconds) in sorted(self.table.items())
        }

    def _deliver(self, sender: SimulatedNode, target: SimulatedNode, payload: bytes) -> None:
        row = self.table.setdefault(step_of(payload), [0, 0, 0.0])
        started = time.process_time()
        super()._deliver(sender, target, payload)
        row[0] += 1
        row[1] += len(payload)
        row[2] += time.process_time() - started


def _by_step() -> dict[str, dict[str, float]]:
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
    return {"demo": _demo(), "protocol_by_step_per_round": _by_step()}
