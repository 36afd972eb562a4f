"""S1: real processes are killed in each step of each role, and come back.

This file is also the program under attack: run as a script it launches a network of processes and
follows what each says about itself. Whoever reaches the step that is to be hit next is killed with
SIGKILL at once, and started again soon after. Random kills fall in between.

Every study must end at every node, with one sum a round. Every contribution that was acknowledged
is on the closed list. Nothing that an owner decided and no debit may be lost or doubled, and
nothing was sent that was not debited. Nodes whose disk forgets what they said in a round break
this: they say something else, and are blamed.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

if TYPE_CHECKING:
    from pnyx.protocol.messages import RecordBody

NODES, ROUNDS = 12, 5
STUDY_S_MAX = 240.0
AWAY_S, BAIT_AWAY_S = 0.4, 1.5
POLL_S = 0.005
MEMBER_STEPS = ("open", "close", "challenge", "accept", "release", "certify")
TARGETS = [
    *(("step", step) for step in MEMBER_STEPS),
    ("sent", None),
    ("acknowledged", None),
    ("round", None),
    ("kept", None),
]
# The full run hits every step of every role a hundred times; a thousand kills of it are random.
RANDOM, RANDOM_FULL, TIMES_FULL = 2, 10, 100  # random kills after each turn of the steps; turns
KILLS = [
    (len(TARGETS) + RANDOM, RANDOM),
    pytest.param(TIMES_FULL * (len(TARGETS) + RANDOM_FULL), RANDOM_FULL, marks=pytest.mark.full),
]


@pytest.mark.parametrize(("kills", "random"), KILLS)
def test_processes_killed_in_every_step(tmp_path: Path, kills: int, random: int) -> None:
    found = attack(tmp_path, kills, "whole disks", random)
    assert found["wrong"] == []  # first: the attack ends early when something is wrong
    assert found["kills"] >= kills
    assert found["acknowledged"] > found["studies"] * NODES


@pytest.mark.full
def test_processes_that_forget_their_round_would_be_blamed(tmp_path: Path) -> None:
    found = attack(tmp_path, len(TARGETS) + RANDOM, "forgetful disks", RANDOM)
    assert any("blames" in fault for fault in found["wrong"])


def told_of(acknowledged: str, attempt: int, **judged: str) -> list[str]:
    """What is lost in a round whose second attempt counts nodes 0 and 1.

    acknowledged: nodes that were, in this attempt. judged: nodes on the closed list.
    """
    from tests.support.town import SMALL, people

    told = Attack.__new__(Attack)
    told.census, told.acknowledged = people(NODES, SMALL).census, 0
    names = [name.hex() for name in told.census.node_ids]
    told.events = [[{"event": "started", "node_id": name}] for name in names]
    for node in map(int, acknowledged):
        told.events[node].append({"event": "acknowledged", "round": 1, "attempt": attempt})
    parts = {part: [names[int(each)] for each in nodes] for part, nodes in judged.items()}
    told.events[5].append({"event": "judged", "round": 1, **parts})
    body = SimpleNamespace(
        round_number=1, attempt=2, skipped=False, closed_value=b"some", accepted=(0, 1)
    )
    return told.lost((cast("RecordBody", body),))


def test_a_contribution_that_is_lost_would_be_seen() -> None:
    """Another one that was left out is no excuse for it, nor an earlier attempt's list."""
    whole = {"accepted": "01", "rejected": "", "left_out": "2"}
    assert told_of("012", 2, **whole) == []
    assert told_of("013", 1, **whole) == [], "that attempt was aborted"
    (fault,) = told_of("013", 2, **whole)
    assert "lost" in fault
    (fault,) = told_of("012", 2, **{**whole, "accepted": "012"})
    assert "others" in fault


def attack(root: Path, kills: int, disks: str, random: int) -> dict[str, Any]:
    arguments = [sys.executable, __file__, str(root), str(kills), disks, str(random)]
    run = subprocess.run(arguments, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


class Attack:
    """One study under kills: of each of the targets in turn, from the first on."""

    def __init__(
        self, root: Path, targets: list[tuple[str, str | None]], first_target: int, seed: int
    ) -> None:
        from pnyx.demo.cluster import Cluster
        from pnyx.demo.journal import EventReader
        from pnyx.demo.study import DemoScript
        from pnyx.protocol.selection import assess

        root.mkdir()
        self.cluster = Cluster(root, NODES, DemoScript(NODES, ROUNDS, bytes(32)), {})
        self.committee = assess(NODES, rounds=ROUNDS + 2).committee
        self.readers = [EventReader(self.cluster.directory(node)) for node in range(NODES)]
        self.events: list[list[dict]] = [[] for _ in range(NODES)]
        self.targets = targets
        self.target = first_target
        self.kills = 0
        self.acknowledged = 0  # contributions
        self.random = np.random.default_rng(seed)
        self.away: dict[int, float] = {}  # node -> when it comes back
        self.next_random = 0.0

    def run(self) -> list[str]:
        """Attack until every node has finished; say what went wrong."""
        try:
            self.cluster.launch(self.committee)
            limit = time.monotonic() + STUDY_S_MAX
            while not all(self.finished(node) for node in range(NODES)):
                self.step(time.monotonic())
                if time.monotonic() > limit:
                    return [f"not ended: {[len(each) for each in self.events]}"]
                time.sleep(POLL_S)
            rounds = self.certified()
        finally:
            self.cluster.stop()
        return [
            *self.sums(),
            *self.lost(rounds),
            *(fault for node in range(NODES) for fault in self.vault(node)),
        ]

    def finished(self, node: int) -> bool:
        return any(event["event"] == "finished" for event in self.events[node])

    def step(self, now: float) -> None:
        for node in [node for node, back_at in self.away.items() if now > back_at]:
            self.cluster.restart(node)
            del self.away[node]
        for node, reader in enumerate(self.readers):
            fresh = reader.read()
            self.events[node] += fresh
            if any(self.hit(event) for event in fresh):
                self.kill(node, now)
            elif any(self.baits(event) for event in fresh):
                self.take_away(node, now + BAIT_AWAY_S)
        # The study is on its way once somebody contributed; before, its only copy may be in memory.
        begun = any(event["event"] == "sent" for each in self.events for event in each)
        if self.targets[self.target][0] == "random" and begun and now > self.next_random:
            self.kill(int(self.random.integers(NODES)), now)

    def hit(self, event: dict) -> bool:
        kind, step = self.targets[self.target]
        return event.get("round", 0) > 0 and (event["event"], event.get("step")) == (kind, step)

    def baits(self, event: dict) -> bool:
        """Whether a member that goes now makes contributors leave envelopes with aggregators.

        Nobody keeps any while all members are there.
        """
        if self.targets[self.target][0] != "kept" or self.away:
            return False
        return event.get("round", 0) > 0 and event.get("step") == "close"

    def kill(self, node: int, now: float) -> None:
        """Kill the target, and go on to the next one."""
        alone = not self.away or self.targets[self.target][0] == "kept"
        if alone and self.take_away(node, now + AWAY_S):
            self.kills += 1
            self.target = (self.target + 1) % len(self.targets)
            self.next_random = now + AWAY_S + float(self.random.uniform(0.0, 0.6))

    def take_away(self, node: int, back_at: float) -> bool:
        if node in self.away or self.finished(node):
            return False
        self.cluster.kill(node)
        self.away[node] = back_at
        return True

    def sums(self) -> list[str]:
        """All nodes certified the same, and nobody blamed anybody."""
        wrong = []
        seen: dict[int, set[tuple]] = {}
        for node, events in enumerate(self.events):
            wrong += [f"node {node} blames" for event in events if event["event"] == "blamed"]
            for event in events:
                if event["event"] == "round":
                    said = event["contributors"], tuple(event["metrics"]), event["skipped"]
                    seen.setdefault(event["round"], set()).add(said)
        return wrong + [f"round {number}: {said}" for number, said in seen.items() if len(said) > 1]

    def certified(self) -> "tuple[RecordBody, ...]":
        """The records of the study, from a node that is there, verified as anybody would."""
        from pnyx.demo.report import ask_nodes
        from pnyx.node.bundle import read_bundle, verify_bundle
        from pnyx.node.clock import wall_clock
        from pnyx.node.enrolment import verifying_crypto
        from pnyx.node.network import read_network

        there = [node for node in range(NODES) if node not in self.away]
        file = self.cluster.directory(there[0]) / "network.json"
        self.census = read_network(file, verifying_crypto(), now=wall_clock()).census
        bundle = read_bundle(ask_nodes(self.cluster, there).bundle)
        return verify_bundle(bundle, self.census, verifying_crypto()).rounds

    def lost(self, rounds: "tuple[RecordBody, ...]") -> list[str]:
        """Contributions that were acknowledged, and not even on the closed list of their attempt.

        From there one is left out only where too few of those that hold it are there to answer.
        What was acknowledged in an attempt that its committee aborted is not looked for.
        """
        from pnyx.protocol.round.attempts import without_outcome

        wrong = []
        for body in rounds:
            if body.round_number == 0 or without_outcome(body):
                continue
            said = {
                self.node_id(node)
                for node in range(NODES)
                for event in self.told(node, "acknowledged", body)
                if event["attempt"] == body.attempt
            }
            self.acknowledged += len(said)
            lists = self.lists(body)
            if len(lists) != 1:
                wrong.append(f"round {body.round_number} has {len(lists)} closed lists")
            accepted = {self.census.node_ids[who].hex() for who in body.accepted}
            for judged in lists:
                if not body.skipped and accepted != judged["accepted"]:
                    wrong.append(f"round {body.round_number} counts others than were accepted")
                lost = said.difference(*judged.values())
                if lost:
                    wrong.append(f"round {body.round_number} lost what {sorted(lost)} sent")
        return wrong

    def lists(self, body: "RecordBody") -> list[dict[str, frozenset[str]]]:
        """The closed list of a round as its members told it, parted by what became of each."""
        found: list[dict[str, frozenset[str]]] = []
        for node in range(NODES):
            for event in self.told(node, "judged", body):
                parts = {
                    part: frozenset(event[part]) for part in ("accepted", "rejected", "left_out")
                }
                if parts not in found:
                    found.append(parts)
        return found

    def told(self, node: int, kind: str, body: "RecordBody") -> list[dict]:
        """What a node said of a round."""
        return [
            event
            for event in self.events[node]
            if event["event"] == kind and event["round"] == body.round_number
        ]

    def node_id(self, node: int) -> str:
        """Who a node is, in hexadecimal."""
        (name,) = {event["node_id"] for event in self.events[node] if event["event"] == "started"}
        return name

    def vault(self, node: int) -> list[str]:
        """What the owner's vault says, against what the node said that it sent."""
        from pnyx.node import keystore
        from pnyx.node.keystore import KeyFile, NodeLayout
        from pnyx.vault import Debit, Vault

        directory = self.cluster.directory(node)
        layout = NodeLayout(directory)
        keys = keystore.open_keys(layout, KeyFile(directory / "unlock.key"))
        with Vault.open(layout.vault, keys.vault_key) as vault:
            vault.ledger.verify_chain()
            vault.consents.verify_chain()
            decisions = [each.decision for each in vault.consents.history()]
            debits = Counter(
                (each.round_number, each.attempt)
                for each in vault.ledger.entries()
                if isinstance(each, Debit)
            )
        events = self.events[node]
        sent = {event["round"] for event in events if event["event"] in ("sent", "acknowledged")}
        wrong = []
        if len(decisions) != 1:
            wrong.append(f"node {node} decided {decisions}")
        if any(count > 1 for count in debits.values()):
            wrong.append(f"node {node} paid twice")
        if not sent <= {number for number, _ in debits}:
            wrong.append(f"node {node} sent in {sent}, and paid for {sorted(debits)}")
        return wrong


def forget_rounds() -> None:
    """From now on no node of this program finds again what belongs to a round."""
    from pnyx.node import daemon
    from pnyx.vault import RoundStore

    class Forgetful(RoundStore):
        def load(self) -> dict[str, bytes]:
            kept = super().load().items()
            return {key: value for key, value in kept if key.startswith("chain/")}

    daemon.RoundStore = Forgetful


def drive(root: Path, kills: int, disks: str, random: int) -> dict[str, object]:
    from pnyx.learning.training import warm_up

    warm_up()
    if disks == "forgetful disks":
        forget_rounds()
    targets = [*TARGETS, *(("random", None) for _ in range(random))]
    done, studies, acknowledged, wrong = 0, 0, 0, []
    while done < kills and not wrong:
        attack = Attack(root / f"study-{studies}", targets, done % len(targets), studies)
        wrong += attack.run()
        if not attack.kills and not wrong:
            wrong.append(f"nobody could be hit: {targets[attack.target]}")
        done += attack.kills
        acknowledged += attack.acknowledged
        studies += 1
    return {"kills": done, "studies": studies, "acknowledged": acknowledged, "wrong": wrong}


if __name__ == "__main__":
    found = drive(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    sys.stdout.write(json.dumps(found) + "\n")
