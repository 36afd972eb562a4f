"""How large messages of a leader reach a committee of seven: parts, relays, and requests."""

from collections import Counter
from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.support.parts import (
    CONTEXT,
    LARGE,
    LEADER,
    RELAYS,
    VALUE,
    Floor,
    Member,
    all_parts,
    spread,
)

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs, merkle_root
from pnyx.protocol.messages import (
    PART_BYTES_MAX,
    PARTS_MAX,
    Instance,
    Part,
    PartsRequest,
    Proposal,
    Step,
    ViewChange,
)
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.round.parts import cut, part_bytes

SMALL = Proposal(CONTEXT, Instance.CLOSE, 0, b"small", None, bytes(64))


def parts_of(payload: bytes) -> list[Part]:
    pieces = cut(payload, 6, 0)
    proofs = merkle_proofs(pieces)
    return [
        Part(CONTEXT, merkle_root(pieces), len(payload), n, piece, proofs[n], False)
        for n, piece in enumerate(pieces)
    ]


@pytest.mark.parametrize("length", [1, 4096, 4097, 30_000, 400_000, 8 * 1024 * 1024])
@pytest.mark.parametrize("members", [4, 59, 1023])
@pytest.mark.parametrize("line_bytes", [0, 768 * 1024])
def test_cuts(length, members, line_bytes):
    pieces = cut(bytes(length), members, line_bytes)
    step = part_bytes(length, members, line_bytes)
    assert sum(map(len, pieces)) == length
    assert {len(piece) for piece in pieces[:-1]} <= {step}
    assert 0 < len(pieces[-1]) <= step <= PART_BYTES_MAX
    assert len(pieces) <= PARTS_MAX


def test_parts_are_few_as_long_as_a_line_carries_them_in_a_moment():
    line = DEFAULT_PARAMS.part_line_bytes
    for members, length in ((23, 110_000), (59, 400_000), (1023, 6_000_000)):
        step = part_bytes(length, members, line)
        assert step * members <= max(line, length + members), "what one part takes of a line"
    assert len(cut(bytes(110_000), 23, line)) == 13


def test_a_small_message_goes_as_it_is():
    assert spread(SMALL) == [(member, SMALL) for member in range(7)]


def test_every_member_gets_another_part_of_a_large_one():
    sent = spread()
    assert sent[0] == (LEADER, LARGE), "the leader itself hears it as it is"
    to_relay = [(member, part.number) for member, part in sent[1:] if part.relay]
    assert to_relay == [(member, number) for number, member in enumerate(RELAYS)]
    (last,) = [(member, part) for member, part in sent[1:] if not part.relay]
    assert last[0] not in RELAYS, "who has nothing to relay hears of the message"


def test_members_have_the_whole_by_relaying():
    floor = Floor()
    floor.members[LEADER].parts.spread(LARGE)
    floor.deliver(LEADER)
    assert floor.read == dict.fromkeys(set(range(7)) - {LEADER}, (LEADER, LARGE))
    assert all(each.parts.next_deadline() is None for each in floor.members.values())


@pytest.mark.parametrize("part", range(5))
def test_everybody_gets_every_part_once(part):
    floor, heard = Floor(), Counter()
    for number, member in floor.members.items():
        member.parts.on_part = _counted(member.parts.on_part, heard, number)
    floor.members[LEADER].parts.spread(LARGE)
    floor.deliver(LEADER)
    assert [heard[member, part] for member in range(7) if member != LEADER] == [1] * 6


def _counted(on_part, heard, member):
    def count(sender, part, view, now):
        heard[member, part.number] += 1
        return on_part(sender, part, view, now)

    return count


def test_relays_do_not_send_what_the_leader_sends_itself():
    for part in (each for _, each in spread()[1:] if each.relay):
        relay = Member(RELAYS[part.number])
        relay.hear(LEADER, part)
        from_leader = {to for to, each in spread()[1:] if each.number == part.number}
        assert {to for to, _ in relay.sent()} == set(range(7)) - {LEADER} - from_leader


def test_who_is_there_shares_the_parts_of_classes_that_are_away():
    sent = spread(away=RELAYS[:3])
    loads = Counter(member for member, part in sent[1:] if part.relay)
    assert sum(loads.values()) == 5
    assert max(loads.values()) == 2, "two are there of the classes, and one more"


def test_parts_of_those_who_are_away_are_given_to_others():
    sent = spread(away=RELAYS[:2])
    relays = {member for member, part in sent[1:] if part.relay}
    assert relays == set(range(7)) - {LEADER, *RELAYS[:2]}
    assert {part.number for _, part in sent[1:]} == set(range(5))
    assert {member for member, _ in sent} == set(range(7))


def test_with_hardly_anybody_there_the_leader_sends_everything_itself():
    sent = spread(away=[member for member in range(7) if member not in (LEADER, 0, 1)])
    assert len(sent) == 1 + 5 * 6
    assert not any(part.relay for _, part in sent[1:])


def test_a_whole_is_read_when_its_last_part_comes_in_any_order():
    member = Member(RELAYS[0])
    assert member.hear_all(reversed(all_parts())) == (LEADER, LARGE)


def test_parts_wait_until_the_leader_names_the_root():
    member = Member(RELAYS[0])
    first, *others = all_parts()
    assert member.hear_all(others, sender=RELAYS[1]) is None
    assert member.hear(LEADER, first) == (LEADER, LARGE)


def test_few_parts_of_one_sender_wait():
    member = Member(RELAYS[0])
    first, *others = all_parts()
    junk = [replace(first, root=bytes([n]) * 32) for n in range(4)]
    member.hear_all([*others, *junk], sender=RELAYS[1])
    assert member.hear(LEADER, first) is None, "what it said first has gone"


def test_a_part_that_is_no_part_of_it():
    member = Member(RELAYS[0])
    first, second, *_, last = all_parts()
    assert member.hear(LEADER, first) is None
    for wrong in (
        replace(second, data=bytes(len(second.data))),
        replace(second, data=second.data[:-1]),
        replace(second, number=2),
        replace(second, length=second.length + 1),
        replace(last, number=5),
        replace(second, proof=()),
    ):
        with pytest.raises(RuleBroken, match="does not belong"):
            member.hear(RELAYS[1], wrong)
    assert member.hear(RELAYS[1], second) is None


def test_a_wrong_part_that_waited_is_dropped():
    member = Member(RELAYS[0])
    parts = all_parts()
    member.hear(RELAYS[1], replace(parts[1], data=bytes(len(parts[1].data))))
    assert member.hear_all(parts) == (LEADER, LARGE)


def test_a_part_is_relayed_once_and_only_for_the_leader():
    member = Member(RELAYS[0])
    part = replace(all_parts()[0], relay=True)
    member.hear(RELAYS[1], part)
    assert member.sent() == []
    member.hear(LEADER, replace(part, relay=False))
    assert member.sent() == []
    other = replace(all_parts()[1], relay=True)
    member.hear(LEADER, other)
    relayed = member.sent()
    assert relayed == [
        (to, replace(other, relay=False))
        for to in range(7)
        if to not in (LEADER, *RELAYS[:2])  # the second relay gets it from the leader
    ]
    member.hear(LEADER, other)
    assert member.sent() == []


def test_a_member_does_not_relay_everything():
    member = Member(RELAYS[0])
    for part in all_parts()[:4]:
        member.hear(LEADER, replace(part, relay=True))
    assert len({part.number for _, part in member.sent()}) == 3


def test_the_leader_of_another_view_names_nothing():
    member = Member(RELAYS[0])
    assert [member.hear(LEADER, part, view=1) for part in all_parts()] == [None] * 5
    assert member.parts.next_deadline() is None


def test_what_is_missing_is_asked_for_by_turns_and_ever_less_often():
    member = Member(RELAYS[0])
    parts = all_parts()
    for part in parts[:3]:
        member.hear(LEADER, part, now=10.0)
    times, asked = [], []
    while (deadline := member.parts.next_deadline()) is not None:
        member.parts.tick(deadline - 0.01)
        assert member.sent() == []
        times.append(deadline)
        member.parts.tick(deadline)
        asked.extend(member.sent())
    assert times == [9.0 + 2.0**n for n in range(1, 10)]
    assert [to for to, _ in asked[::2]] == [LEADER] * 4
    assert RELAYS[0] not in {to for to, _ in asked}
    root = parts[0].root
    assert {request for _, request in asked} == {PartsRequest(CONTEXT, root, (3, 4))}


def test_whoever_has_the_whole_sends_what_is_missing_a_few_times():
    member = Member(RELAYS[0])
    parts = all_parts()
    request = PartsRequest(CONTEXT, parts[0].root, (1, 3, 7))
    member.parts.on_request(2, request)
    assert member.sent() == []
    member.hear_all(parts)
    for times in range(10):
        member.parts.on_request(2, request)
        assert member.sent() == ([(2, parts[1]), (2, parts[3])] if times < 8 else [])
    member.parts.on_request(3, request)
    assert len(member.sent()) == 2


def test_a_leader_repeats_what_names_the_message():
    leader, member = Member(LEADER), Member(RELAYS[0])
    leader.parts.repeat(RELAYS[0], SMALL)
    assert leader.sent() == [(RELAYS[0], SMALL)]
    leader.parts.repeat(RELAYS[0], LARGE)
    ((to, part),) = leader.sent()
    assert (to, part.relay, part.number) == (RELAYS[0], False, 4)
    assert member.hear(LEADER, part) is None
    leader.parts.on_request(RELAYS[0], PartsRequest(CONTEXT, part.root, tuple(range(5))))
    assert member.hear_all([each for _, each in leader.sent()]) == (LEADER, LARGE)
    assert member.hear(LEADER, part) == (LEADER, LARGE), "named again, it is read again"
    assert member.hear(RELAYS[1], part) is None
    assert member.hear(LEADER, replace(part, relay=True)) is None


def test_a_member_holds_the_last_two():
    member = Member(RELAYS[0])
    messages = [all_parts(replace(LARGE, value=VALUE + bytes([n]))) for n in range(3)]
    for parts in messages:
        member.hear_all(parts)
        member.parts.on_request(2, PartsRequest(CONTEXT, parts[0].root, (0,)))
        assert len(member.sent()) == 1
    held = []
    for parts in messages:
        member.parts.on_request(2, PartsRequest(CONTEXT, parts[0].root, (0,)))
        held.append(len(member.sent()))
    assert held == [0, 1, 1]


def test_a_leader_says_nothing_longer_than_its_committee_can_come_to_say():
    member = Member(RELAYS[0])
    first = all_parts(LARGE)[0]
    with pytest.raises(MalformedMessage, match="longer than any of this committee"):
        member.hear(LEADER, replace(first, length=8 * 1024 * 1024 + 1))
    member.hear(LEADER, first)


def test_a_leader_names_few_messages_in_a_view():
    member = Member(RELAYS[0])
    named = [all_parts(replace(LARGE, value=VALUE + bytes([n])))[0] for n in range(9)]
    for part in named[:8]:
        member.hear(LEADER, part)
    with pytest.raises(RuleBroken, match="more than it has to"):
        member.hear(LEADER, named[8])
    member.parts.tick(5.0)
    assert {request.root for _, request in member.sent()} == {part.root for part in named[6:8]}


def test_a_leader_that_names_more_is_not_remembered_for_it():
    """A root has 32 bytes, and whoever leads can name one with every message."""
    member = Member(RELAYS[0])
    part = all_parts()[0]
    for number in range(100):
        with suppress(RuleBroken):
            member.hear(LEADER, replace(part, root=number.to_bytes(32, "big")))
    assert {view: len(named) for view, named in member.parts._roots.items()} == {(0, LEADER): 8}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (replace(LARGE, context=bytes(32)), WrongContext),
        (ViewChange(CONTEXT, 0, Step.CLOSE, Instance.CLOSE, None), MalformedMessage),
    ],
)
def test_what_no_leader_says_in_parts(message, error):
    with pytest.raises(error):
        Member(RELAYS[0]).hear_all(parts_of(codec.encode(message)))
