"""Members relay nothing of a leader's large message, or wrong parts; a leader has others work.

A relay can only delay, for as long as members wait before they ask for what they lack. Nobody can
make an honest member send more than a few times its fair share.
"""

import pytest
from msgspec.structs import replace
from tests.support.parts import LARGE, LEADER, RELAYS, Floor, Member, all_parts

from pnyx.errors import ProtocolError
from pnyx.protocol.messages import PartsRequest
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.round import parts as parts_module
from pnyx.protocol.round.parts import Parts

SILENT = RELAYS[1]  # nobody else gets its part from the leader
HONEST = set(range(7)) - {LEADER, SILENT}


def withheld() -> set[int]:
    """Which honest members have the leader's message, one relay being silent."""
    floor = Floor(silent=[SILENT])
    floor.members[LEADER].parts.spread(LARGE)
    floor.deliver(LEADER)
    assert not floor.read.keys() & HONEST, "the attack changes nothing"
    floor.pass_time(DEFAULT_PARAMS.part_timeout_s + 0.5)
    assert all(read == (LEADER, LARGE) for read in floor.read.values())
    return floor.read.keys() & HONEST


def test_a_silent_relay_costs_a_moment():
    assert withheld() == HONEST


def test_if_nobody_asked_a_silent_relay_would_stop_the_message(monkeypatch):
    monkeypatch.setattr(Parts, "tick", lambda self, now: None)
    assert withheld() == set()


def spoiled() -> object:
    """What a member reads when a relay sends another part than it was given, before the others."""
    member = Member(RELAYS[0])
    first, *others = all_parts()
    member.hear(LEADER, first)
    read = None
    for part in (replace(others[0], data=bytes(len(others[0].data))), *others):
        try:
            read = member.hear(SILENT, part) or read
        except ProtocolError:
            continue
    return read


def test_a_wrong_part_is_refused():
    assert spoiled() == (LEADER, LARGE)


def test_without_proofs_a_wrong_part_would_spoil_the_message(monkeypatch):
    monkeypatch.setattr(parts_module, "verify_merkle_proof", lambda *_: True)
    assert spoiled() != (LEADER, LARGE)


def relayed() -> int:
    """How many messages a leader makes one member send by having it relay everything."""
    member = Member(RELAYS[0])
    for part in all_parts():
        member.hear(LEADER, replace(part, relay=True))
    return len(member.sent())


def requested() -> int:
    """How many messages a member makes another send by asking again and again."""
    member = Member(RELAYS[0])
    parts = all_parts()
    member.hear_all(parts)
    for _ in range(1000):
        member.parts.on_request(2, PartsRequest(parts[0].context, parts[0].root, (0,)))
    return len(member.sent())


@pytest.mark.parametrize(
    ("attack", "bound", "most"), [(relayed, "_RELAYS_MAX", 3 * 4), (requested, "_REPEATS_MAX", 8)]
)
def test_nobody_makes_a_member_send_without_end(monkeypatch, attack, bound, most):
    assert attack() == most
    monkeypatch.setattr(parts_module, bound, 10**6)
    assert attack() > most
