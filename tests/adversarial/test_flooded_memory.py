"""One certified peer tries to fill everybody's memory with cheap messages (THREATS D1, D2, D4)."""

from msgspec.structs import replace
from tests.support.town import NETWORK, Town

from pnyx.primitives import codec
from pnyx.protocol.events import Send
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Announce,
    Contribution,
    Dealing,
    Items,
    Join,
    Request,
    SealedShare,
    Signed,
)
from pnyx.protocol.params import ProtocolParams

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
    junk = Contribution(
        plan.context,
        Signed(town.census.node_ids[1], bytes(1000), bytes(64)),
        SealedShare(3, bytes(1000), ()),
    )
    for at in range(50):
        header = replace(junk.header, body=bytes(1000) + bytes((at,)))
        town.inject(1, plan.committee[3], replace(junk, header=header))
    assert member._early_contributions == {}
    dealing = Dealing(plan.context, 0, bytes(100))
    for at in range(50):
        town.inject(plan.committee[0], plan.committee[3], replace(dealing, sealed=bytes(at)))
    assert len(member._early_dealings) == 1
    assert town.run(town.finished(study))
    assert town.certified()[0].contributors >= 5
