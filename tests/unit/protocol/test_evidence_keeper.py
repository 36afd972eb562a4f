"""What is kept is stored and told; what is kept no longer is forgotten, and not asked for again."""

from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
from msgspec.structs import replace
from tests.adversarial.test_evidence_flooded import of_study, plan_of, two_keys
from tests.support.evidence import LIAR, OUTSIDER, encoded_size, everything, scene
from tests.unit.protocol.evidence.test_dockets import census

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import Effect, Forget, PeerBlamed, Persist
from pnyx.protocol.evidence.dockets import Dockets
from pnyx.protocol.evidence_keeper import EvidenceKeeper
from pnyx.protocol.gossip import Gossip, item_id
from pnyx.protocol.messages import Announce, Evidence, Request
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.plan import RoundPlan

PEER = b"p" * 32
S = scene()
PLANS = [plan_of(at) for at in range(5)]
SIZE = encoded_size(of_study(PLANS[0]))


class Node:
    """A node of which only the part about evidence is there; the host of that part."""

    def __init__(self, **terms: int) -> None:
        params = ProtocolParams(**terms)
        crypto = S.c.folk.cryptos[OUTSIDER]
        self.effects: list[Effect] = []
        self.disk: dict[str, bytes] = {}
        self.asked: list[bytes] = []
        self.known = {plan.study: plan for plan in (S.c.plan, *PLANS)}
        self.dockets = Dockets(crypto, params)
        self.gossip = Gossip(
            params,
            Sampler(bytes(32), "test"),
            lambda: (),
            lambda _: False,
            self._send,
            lambda *_: None,
            lambda *_: None,
            0.0,
        )
        self.keeper = EvidenceKeeper(
            node_id=b"n" * 32,
            dockets=self.dockets,
            gossip=self.gossip,
            host=self,
            plan_at=self._plan_at,
            census_of=lambda study: self.known[study].census if study in self.known else None,
            on_admitted=lambda plan, evidence: None,
        )

    def _plan_at(self, evidence: Evidence) -> RoundPlan | None:
        plan = self.known.get(evidence.study)
        return plan if plan is not None and evidence.round_number == plan.round_number else None

    def _send(self, peer: bytes, message: object) -> None:
        if isinstance(message, Request):
            self.asked += message.items

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)
        if isinstance(effect, Forget):
            (gone,) = [key for key in self.disk if key.startswith(effect.prefix)]
            del self.disk[gone]

    def persist(self, key: str, value: bytes) -> None:
        self.emit(Persist(key, value))
        self.disk[key] = value

    def guard(self, peer: bytes, act: Callable[[], Any]) -> None:
        act()

    def hear(self, evidence: Evidence) -> bytes:
        """A peer passes evidence on; its name."""
        item = codec.encode(evidence)
        self.keeper.on_evidence(evidence, item, PEER)
        return item_id(item)

    def asks_for(self, name: bytes) -> bool:
        """Whether this node asks whoever announces an item for it."""
        self.asked.clear()
        self.gossip.handle(PEER, Announce((name,), ()), 1000.0)
        return self.asked == [name]

    def has(self, name: bytes) -> bool:
        """Whether an item is on the disk, and passed on; it is both or neither."""
        passed_on = name in self.gossip
        assert passed_on == (name in map(item_id, self.disk.values()))
        return passed_on


def test_replaced_item_leaves_disk_and_gossip_and_is_not_asked_for() -> None:
    """Else the disk would hold more than its bound at the next start, and peers pull it in vain."""
    node = Node()
    names = [node.hear(of_study(plan)) for plan in PLANS]
    assert [node.has(name) for name in names] == [False] * 3 + [True] * 2
    assert not any(node.asks_for(name) for name in names)
    assert len(node.disk) == 2
    restarted = Dockets(S.c.folk.cryptos[OUTSIDER], ProtocolParams())
    first = S.c.plan.census
    assert {*restarted.restore(node.disk, [first])} == {*node.disk.values()}
    assert restarted.of(first).bytes_held == node.dockets.of(first).bytes_held == 2 * SIZE


def test_what_gives_way_to_what_counts_everywhere_leaves_too() -> None:
    node = Node(docket_bytes_max=3 * SIZE)
    loose = [node.hear(of_study(plan_of(at), at)) for at in range(3)]
    assert all(map(node.has, loose))
    proven = node.hear(two_keys(0))
    assert node.has(proven)
    assert not node.has(loose[0])
    assert not any(map(node.asks_for, loose))
    assert sum(map(len, node.disk.values())) <= 3 * SIZE


def test_what_is_not_kept_is_told_and_not_asked_for_again() -> None:
    node = Node(docket_bytes_max=SIZE)
    assert node.has(node.hear(of_study(PLANS[0], 0)))
    node.effects.clear()
    name = node.hear(of_study(PLANS[1], 1))
    assert not node.has(name)
    assert not node.asks_for(name)
    (told,) = node.effects
    assert isinstance(told, PeerBlamed)
    assert (told.peer, told.evidence) == (S.c.plan.census.node_ids[1], b"")


def test_what_is_not_wanted_is_not_asked_for_again() -> None:
    node = Node()
    assert node.has(node.hear(two_keys(0)))
    name = node.hear(two_keys(1))
    assert not node.has(name)
    assert not node.asks_for(name)


def test_what_cannot_be_judged_yet_is_asked_for_again() -> None:
    node = Node()
    for unknown in (replace(two_keys(0), study=b"u" * 32), replace(two_keys(0), round_number=9)):
        name = node.hear(unknown)
        assert not node.has(name)
        assert node.asks_for(name)
    assert node.effects == []


def test_what_fails_counts_against_whoever_passed_it_on() -> None:
    node = Node()
    forged = replace(everything()["wrong_share"][0], culprit=LIAR)
    for _ in range(ProtocolParams().evidence_failures_max):
        with pytest.raises(ProtocolError):
            node.hear(forged)
    with pytest.raises(RuleBroken, match="failed too often"):
        node.hear(two_keys(0))
    node.keeper.accuse(S.c.plan, two_keys(0))
    assert node.has(item_id(codec.encode(two_keys(0)))), "what this node found itself it believes"


def test_what_another_census_serves_is_told_once_and_not_kept() -> None:
    """All who could be shown it are shown the first; its owner hears of it all the same."""
    node, later = Node(), copy(S.c.plan)
    later.census, later.study = census(1), b"t" * 32
    node.hear(two_keys(0))
    node.known[later.study] = later
    node.effects.clear()
    again = replace(two_keys(1), study=later.study)
    for _ in range(2):
        node.keeper.accuse(later, again)
    assert [type(each) for each in node.effects] == [PeerBlamed]
    name = node.hear(again)
    assert not node.has(name)
    assert not node.asks_for(name)
