"""One member that releases a wrong share makes its leader show everybody all releases.

Of a large committee they are longer than a message may be. In parts they arrive all the same; sent
whole everybody refuses them, and each leader gets on alone, view after view.

The same with limits that a small committee reaches.
"""

import pytest
from msgspec.structs import replace
from tests.support.town import NETWORK, SMALL, Town, manifest, phase

from pnyx.primitives import codec
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import MemberInput, Release, RoundBody
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import parts

LENGTH = 1_500
LIMIT = 30 * 1024  # releases of four members fit, as are enough while nobody lies, and seven do not
PARAMS = ProtocolParams(
    message_bytes_max=LIMIT, parted_bytes_min=8 * 1024, part_line_bytes=24 * 1024
)
LIAR = 1  # as a member


def seconds_of_a_round() -> float:
    """Virtual seconds of a round in which one member lies, to all who may lead."""
    town = Town(size=SMALL, params=PARAMS)
    study = town.propose(plan=manifest(LENGTH, [phase(LENGTH)]))
    assert town.run(town.in_round(study, 1))
    plan = town.plan(study)
    began, liar = town.now, plan.committee[LIAR]
    told: set[int] = set()
    lies: list[MemberInput] = []

    def wire(sender, receiver, message):
        if sender != liar or not isinstance(message, MemberInput) or message in lies:
            return None
        body = codec.decode(message.signed.body, RoundBody, bytes_max=1 << 20)
        if not isinstance(body, Release) or body.context != plan.context:
            return None
        wrong = replace(body, shares=bytes((body.shares[0] ^ 1,)) + body.shares[1:])
        node = town.census.node_ids[sender]
        lie = replace(message, signed=sign_body(town.cryptos[sender], NETWORK, node, wrong))
        lies.append(lie)
        for other in set(plan.committee) - told - {sender, receiver}:
            told.add(other)
            town.inject(sender, other, lie)
        return [lie]

    town.wire = wire
    assert town.run(town.finished(study), seconds=3_600)
    proven = {effect.peer for effect in town.effects(PeerBlamed) if effect.evidence}
    assert proven == {town.census.node_ids[liar]}
    return town.now - began


def test_releases_too_long_for_a_message() -> None:
    assert seconds_of_a_round() < 2


def test_releases_that_nobody_takes_hold_a_round_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "parted_bytes_max", lambda size, released: LIMIT)
    assert seconds_of_a_round() > 5
