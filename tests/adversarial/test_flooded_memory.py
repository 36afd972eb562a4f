"""One certified peer tries to fill everybody's memory with cheap messages (THREATS D1, D2, D4)."""

import pytest
from msgspec.structs import replace
from tests.support.town import NETWORK, Town
from tests.support.weakened import succeeds, weaken

from pnyx.primitives import codec
from pnyx.protocol import gossip, joins
from pnyx.protocol.aggregation.verification import PUBLISHED_BYTES
from pnyx.protocol.events import Send
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Announce,
    Contribution,
    ContributionHeader,
    Dealing,
    Items,
    Join,
    Request,
    SealedShare,
    Signed,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import committee

PARAMS = ProtocolParams(joins_ahead_max=3, gossip_names_max=100)


def started(**terms) -> Town:
    town = Town(params=PARAMS, **terms)
    town.run(seconds=0.2)
    return town


def join_of(town: Town, index: int, study: bytes) -> bytes:
    body = Join(NETWORK, study, 0, True)
    return codec.encode(sign_body(town.cryptos[index], NETWORK, town.census.node_ids[index], body))


def test_joins_to_studies_that_nobody_proposed():
    town = started()
    for at in range(20):
        town.inject(1, 0, Items((join_of(town, 1, at.to_bytes(32, "big")),)))
    known = town.machines[0].rounds.joins
    studies = [at.to_bytes(32, "big") for at in range(20)]
    assert sum(known.of(study, town.census.node_ids[1]) is not None for study in studies) == 3
    assert "a node joins too many studies that nobody has proposed" in town.rules()
    town.inject(2, 0, Items((join_of(town, 2, bytes(32)),)))
    assert known.of(bytes(32), town.census.node_ids[1]) is not None
    assert known.of(bytes(32), town.census.node_ids[2]) is not None


def test_one_item_requested_many_times():
    town = started()
    name = next(iter(town.machines[0]._gossip._items))
    effects = town.inject(1, 0, Request((name,) * 4096))
    assert len([e for e in effects if isinstance(e, Send)]) == 1
    assert len(effects[0].payload) < 1000


def test_announcements_of_nothing():
    town = started()
    for start in range(0, 10_000, 1000):
        names = tuple((start + at).to_bytes(32, "big") for at in range(1000))
        town.inject(1, 0, Announce(names))
    assert len(town.machines[0]._gossip._asked) <= 100


def test_contributions_before_the_open_certificate():
    """Only drawn contributors and members are kept waiting, one message each."""
    town = Town(params=PARAMS)
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    member = town.machines[plan.committee[3]].rounds.active[plan.context].member
    assert not member.keys, "the round has just opened"
    share = SealedShare(3, bytes(1000), ())
    for at in range(50):  # unsigned, in everybody's name and in that of nobody
        header = ContributionHeader(
            plan.context, at, bytes(32), plan.model_hash, bytes(32), bytes(PUBLISHED_BYTES)
        )
        signed = Signed(town.census.node_ids[at % 9], codec.encode(header), bytes(64))
        town.inject(1, plan.committee[3], Contribution(plan.context, signed, share))
    assert member._early_contributions == {}
    dealing = Dealing(plan.context, 0, bytes(100))
    for at in range(50):
        town.inject(plan.committee[0], plan.committee[3], replace(dealing, sealed=bytes(at)))
    assert len(member._early_dealings) == 1
    assert town.run(town.finished(study))
    assert town.certified()[0].contributors >= 5


@pytest.mark.parametrize(
    ("attack", "module", "old", "new"),
    [
        (
            test_joins_to_studies_that_nobody_proposed,
            joins,
            "if ahead >= self._ahead_max:",
            "if False:",
        ),
        (
            test_one_item_requested_many_times,
            gossip,
            "for name in dict.fromkeys(message.items):",
            "for name in message.items:",
        ),
        (
            test_announcements_of_nothing,
            gossip,
            "self._names_max = names_max",
            "self._names_max = 1_000_000",
        ),
        (
            test_contributions_before_the_open_certificate,
            committee,
            "header = self.reader.header(message.header)\n            if sender ==",
            "header = self.reader._unverified(message.header)\n            if sender ==",
        ),
        (
            test_contributions_before_the_open_certificate,
            committee,
            "self._early_dealings.setdefault(member, message)",
            "self._early_dealings[len(self._early_dealings)] = message",
        ),
    ],
)
def test_each_bound_is_a_defence(monkeypatch, attack, module, old, new):
    weaken(monkeypatch, module, (old, new))
    assert succeeds(attack)
