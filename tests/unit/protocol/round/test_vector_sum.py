"""A member gets the sum of the masked vectors from any aggregator, and believes none of them."""

import pytest
from tests.support.committee import Outbox
from tests.support.masked_round import (
    AGGREGATORS,
    fetches,
    grants,
    masked_committee,
    parcel_of,
)
from tests.support.weakened import weaken

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.chunks import Shape, chunks_of, describe
from pnyx.protocol.events import Compute, PeerBlamed, Persist, ReadParcel
from pnyx.protocol.evidence.proofs import Offence, check_evidence, offence_of
from pnyx.protocol.messages import SumRequest
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import vector_sum
from pnyx.protocol.round.vector_sum import WantedSum, WantedSums

C = masked_committee()
MEMBER = 1
SET = (2, 3, 4)
FIRST, SECOND, THIRD = AGGREGATORS[1], AGGREGATORS[2], AGGREGATORS[0]  # in this member's turn
AGAIN_S = ProtocolParams().retransmit_s


_LONGER = describe(chunks_of(C.total(SET) + bytes(1)))
LONGER = Shape(_LONGER.name, _LONGER.length, _LONGER.root)


def wanted(*, away=()) -> tuple[WantedSum, Outbox]:
    services, outbox = C.services(MEMBER)
    made = WantedSum(services, MEMBER, C.reader, C.code, lambda index: index in away)
    made.want(C.closed(SET), SET, 0.0)
    return made, outbox


def read(made: WantedSum | WantedSums, outbox: Outbox, name: bytes, data: bytes) -> bool:
    """A sum is read, and what is asked for is computed; tells whether it is the one."""
    before = len(outbox.of(Compute))
    made.on_read(name, data)
    take = made.on_computed if isinstance(made, WantedSums) else made.on_checked
    found = [take(asked.work()) for asked in outbox.of(Compute)[before:]]
    return any(found)


def wrong(*indices: int) -> bytes:
    """The sum of the set with one coefficient shifted, in range."""
    words = bytearray(C.total(indices))
    words[100] ^= 1
    return bytes(words)


def test_a_sum_that_is_right():
    made, outbox = wanted()
    assert outbox.sent == [(FIRST, C.request(*SET))]
    assert made.next_deadline() == AGAIN_S
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    ((name, length, sources, done, _),) = fetches(outbox)
    assert (name, length, sources) == (parcel_of(C.total(SET)), C.code.sum_bytes, (FIRST,))
    done(name)
    assert outbox.of(ReadParcel) == [ReadParcel(C.plan.context, name)]
    assert made.data is None
    assert read(made, outbox, name, C.total(SET))
    assert made.data == C.total(SET)
    assert made.next_deadline() is None
    made.tick(100.0)
    made.on_sum(SECOND, C.told(*SET, teller=SECOND))
    assert not read(made, outbox, name, C.total(SET))
    assert len(outbox.sent) == len(fetches(outbox)) == 1
    keys = tuple(
        sum(C.masked(who).key[at] for who in SET) % prime
        for at, prime in enumerate(C.code.parameters.primes)
    )
    total = C.code.unmask(made.data, keys, len(SET))
    assert total.tolist() == sum(C.update(who) for who in SET).tolist()


def test_aggregators_are_asked_in_turn():
    made, outbox = wanted()
    made.tick(AGAIN_S / 2)
    for turn in (1, 2, 3):
        made.tick(turn * AGAIN_S)
    assert [to for to, _ in outbox.sent] == [FIRST, SECOND, THIRD, FIRST]
    assert {type(message) for _, message in outbox.sent} == {SumRequest}


def test_who_is_away_is_asked_when_nobody_else_is_left():
    _, outbox = wanted(away=(FIRST, SECOND))
    assert [to for to, _ in outbox.sent] == [THIRD]
    _, outbox = wanted(away=AGGREGATORS)
    assert [to for to, _ in outbox.sent] == [FIRST]


def test_a_second_aggregator_is_another_source_of_the_same_sum():
    """The first one may never send it."""
    made, outbox = wanted()
    for _ in range(3):
        made.on_sum(FIRST, C.told(*SET, teller=FIRST))
        made.on_sum(SECOND, C.told(*SET, teller=SECOND))
    assert [sources for _, _, sources, _, _ in fetches(outbox)] == [(FIRST,), (SECOND,)]
    for name, _, _, done, _ in fetches(outbox):
        done(name)
    assert len(outbox.of(ReadParcel)) == 1
    assert read(made, outbox, parcel_of(C.total(SET)), C.total(SET))


def test_sums_offered_while_there_is_no_room(monkeypatch):
    """An offer that is forgotten is taken again; else a full disk for a moment lost all of them."""

    def full(*_):
        raise RuleBroken("this node has no room for another parcel")

    made, outbox = wanted()
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "fetch_parcel", full)
        for sender in AGGREGATORS:
            with pytest.raises(RuleBroken, match="no room"):
                made.on_sum(sender, C.told(*SET, teller=sender))
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    ((name, _, sources, done, _),) = fetches(outbox)
    assert sources == (FIRST,)
    done(name)
    assert read(made, outbox, name, C.total(SET))


def test_an_offer_is_noted_only_if_it_is_pulled(monkeypatch):
    weaken(monkeypatch, vector_sum, ("            del self._offers[sender]\n", ""))
    with pytest.raises(ValueError, match="not enough values"):
        test_sums_offered_while_there_is_no_room(monkeypatch)


def offered(data: bytes, *senders: int) -> tuple[WantedSum, Outbox]:
    """These aggregators offer these bytes as the sum, and they come whole."""
    made, outbox = wanted()
    for sender in senders:
        made.on_sum(sender, C.told(*SET, parcel=parcel_of(data), teller=sender))
    name, _, _, done, _ = fetches(outbox)[0]
    done(name)
    assert not read(made, outbox, name, data)
    return made, outbox


@pytest.mark.parametrize(
    "data",
    [
        wrong(*SET),
        C.total((2, 2, 4)),
        C.total((2, 3)),
        C.total((2, 3, 4, 5)),
        bytes(C.code.sum_bytes),
        b"\xff" * C.code.sum_bytes,
    ],
)
def test_a_wrong_sum_is_blamed_and_its_aggregator_not_asked_again(data):
    made, outbox = offered(data, FIRST)
    made.on_sum(SECOND, C.told(*SET, teller=SECOND))
    (evidence,) = outbox.accused
    assert evidence.culprit == FIRST
    assert offence_of(evidence.proof) is Offence.WRONG_SUM
    check_evidence(evidence, C.plan, C.folk.cryptos[0])
    for turn in range(1, 5):
        made.tick(turn * AGAIN_S)
    assert {to for to, _ in outbox.sent[1:]} == {SECOND, THIRD}
    with pytest.raises(RuleBroken, match="not asked for it"):
        made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    name, _, _, done, _ = fetches(outbox)[-1]
    done(name)
    assert read(made, outbox, name, C.total(SET))


def test_an_aggregator_does_not_accuse_itself():
    """It has looked before it signed: then its memory has failed."""
    services, outbox = C.services(MEMBER)
    made = WantedSum(services, MEMBER, C.reader, C.code, lambda index: False)
    made._own = FIRST
    made.want(C.closed(SET), SET, 0.0)
    made.on_sum(FIRST, C.told(*SET, parcel=parcel_of(wrong(*SET)), teller=FIRST))
    name, _, _, done, _ = fetches(outbox)[0]
    done(name)
    assert not read(made, outbox, name, wrong(*SET))
    assert outbox.accused == outbox.of(PeerBlamed) == []
    made.tick(AGAIN_S)
    assert outbox.sent[-1][0] != FIRST


def test_all_who_offered_a_wrong_sum_are_blamed():
    made, outbox = offered(wrong(*SET), FIRST, SECOND, THIRD)
    assert {each.culprit for each in outbox.accused} == set(AGGREGATORS)
    for each in outbox.accused:
        check_evidence(each, C.plan, C.folk.cryptos[0])
    made.tick(AGAIN_S)
    assert len(outbox.sent) == 1, "nobody is left to ask"
    assert made.next_deadline() == 2 * AGAIN_S


def test_who_offers_later_what_was_seen_to_be_wrong_is_blamed_too():
    made, outbox = offered(wrong(*SET), FIRST)
    made.on_sum(SECOND, C.told(*SET, parcel=parcel_of(wrong(*SET)), teller=SECOND))
    assert len(outbox.of(ReadParcel)) == 2, "by what it signed itself"
    assert not read(made, outbox, parcel_of(wrong(*SET)), wrong(*SET))
    assert [each.culprit for each in outbox.accused] == [FIRST, SECOND]
    assert len(fetches(outbox)) == 1
    assert len(outbox.of(ReadParcel)) == 2, "and then no more"


def test_a_parcel_of_another_size_is_a_wrong_sum():
    made, outbox = wanted()
    made.on_sum(FIRST, C.told(*SET, parcel=LONGER.name, teller=FIRST))
    name, _, _, _, failed = fetches(outbox)[0]
    made.on_sum(SECOND, C.told(*SET, parcel=b"p" * 32, teller=SECOND))
    assert name == LONGER.name
    failed(LONGER)
    failed(LONGER)
    (evidence,) = outbox.accused
    assert evidence.culprit == FIRST
    assert offence_of(evidence.proof) is Offence.WRONG_SUM
    check_evidence(evidence, C.plan, C.folk.cryptos[0])
    made.on_sum(THIRD, C.told(*SET, parcel=LONGER.name, teller=THIRD))
    assert [each.culprit for each in outbox.accused] == [FIRST, THIRD], "who offers it later, too"
    assert outbox.of(PeerBlamed) == []


def test_an_aggregator_offers_one_sum():
    """Each costs room for a parcel: a node that offered thousands would leave none for the sum."""
    made, outbox = wanted()
    made.on_sum(FIRST, C.told(*SET, parcel=b"p" * 32, teller=FIRST))
    for at in range(3):
        with pytest.raises(RuleBroken, match="two sums"):
            made.on_sum(FIRST, C.told(*SET, parcel=bytes((at,)) * 32, teller=FIRST))
    assert len(fetches(outbox)) == 1


@pytest.mark.parametrize(
    ("sender", "message", "rule"),
    [
        (5, C.told(*SET), "not asked for it"),
        (FIRST, C.told(2, 3), "another set"),
        (FIRST, C.told(*SET, accepted=b"x" * 32), "another set"),
        (FIRST, C.told(*SET, linear_hashes=C.told(2, 4, 3).linear_hashes), "nobody committed"),
        (FIRST, C.told(*SET, linear_hashes=C.told(2, 3).linear_hashes), "nobody committed"),
        (FIRST, C.told(*SET, linear_hashes=()), "nobody committed"),
    ],
)
def test_what_is_not_pulled(sender, message, rule):
    made, outbox = wanted()
    with pytest.raises(RuleBroken, match=rule):
        made.on_sum(sender, message)
    assert fetches(outbox) == outbox.effects == []


def test_a_sum_that_another_node_signed_is_not_pulled():
    """Its teller could not be convicted by it."""
    made, outbox = wanted()
    with pytest.raises(InvalidSignature):
        made.on_sum(FIRST, C.told(*SET, teller=SECOND))
    assert fetches(outbox) == []


def test_before_a_set_is_fixed_nothing_is_taken():
    services, outbox = C.services(MEMBER)
    made = WantedSum(services, MEMBER, C.reader, C.code, lambda _: False)
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    made.tick(100.0)
    assert not read(made, outbox, parcel_of(C.total(SET)), C.total(SET))
    assert made.next_deadline() is None
    assert outbox == Outbox()


def test_a_parcel_that_it_did_not_ask_for_is_another_roles():
    made, outbox = wanted()
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    assert not read(made, outbox, parcel_of(C.total(SET)), C.total(SET)), "it has not come yet"
    assert made.data is None


def test_without_the_linear_hash_a_shifted_sum_would_be_taken(monkeypatch):
    weaken(monkeypatch, vector_sum, ("== code.segments and end == last:", "== code.segments:"))
    made, outbox = wanted()
    made.on_sum(FIRST, C.told(*SET, parcel=parcel_of(wrong(*SET)), teller=FIRST))
    name, _, _, done, _ = fetches(outbox)[0]
    done(name)
    assert read(made, outbox, name, wrong(*SET)), "the attack"
    assert made.data != C.total(SET)


def test_members_begin_with_different_aggregators():
    asked = []
    for member in (1, 2, 3):  # who are no aggregators
        services, outbox = C.services(member)
        made = WantedSum(services, member, C.reader, C.code, lambda _: False)
        made.want(C.closed(SET), SET, 0.0)
        asked.append(outbox.sent[0][0])
    assert sorted(asked) == sorted(AGGREGATORS)


def test_a_member_that_is_an_aggregator_asks_itself_first():
    """Others would take its request for one of an aggregator that lacks vectors."""
    own = AGGREGATORS[2]
    assert C.plan.committee[0] == own
    for away in ((), (AGGREGATORS[0],)):
        services, outbox = C.services(0)
        made = WantedSum(services, 0, C.reader, C.code, away.__contains__)
        made.want(C.closed(SET), SET, 0.0)
        for turn in range(1, 4):
            made.tick(turn * AGAIN_S)
        there = [each for each in AGGREGATORS if each not in away]
        assert [to for to, _ in outbox.sent][:2] == [own, there[0]]
        assert {to for to, _ in outbox.sent} == set(there)


def test_the_set_is_named_by_the_headers_of_the_closed_list():
    services, outbox = C.services(MEMBER)
    made = WantedSum(services, MEMBER, C.reader, C.code, lambda _: False)
    made.want(C.closed(SET), (2, 4), 0.0)
    ((_, request),) = outbox.sent
    assert request == C.request(2, 4)
    made.on_sum(FIRST, C.told(2, 4, teller=FIRST))
    assert fetches(outbox)[0][0] == parcel_of(C.total((2, 4)))


# --- several groups -------------------------------------------------------------------------------

OTHER = (5, 6)


CLOSED, GROUPS = C.closed((*SET, *OTHER)), {0: SET, 2: OTHER}


def total(made: WantedSums) -> dict[int, bytes] | None:
    return made.data(CLOSED, GROUPS)


def both() -> tuple[WantedSums, Outbox]:
    services, outbox = C.services(MEMBER)
    made = WantedSums(services, MEMBER, C.reader, C.code, lambda _: False)
    made.want(CLOSED, GROUPS, 0.0)
    return made, outbox


def test_the_sum_of_every_group_is_asked_for_and_needed():
    made, outbox = both()
    assert outbox.sent == [(FIRST, C.request(*SET)), (FIRST, C.request(*OTHER))]
    assert made.next_deadline() == AGAIN_S
    assert total(made) is None
    for indices in (SET, OTHER):
        made.on_sum(FIRST, C.told(*indices, teller=FIRST))
    for (name, _, _, done, _), indices in zip(fetches(outbox), (SET, OTHER), strict=True):
        done(name)
        assert total(made) is None
        assert read(made, outbox, name, C.total(indices))
    assert total(made) == {0: C.total(SET), 2: C.total(OTHER)}
    assert made.next_deadline() is None
    assert not read(made, outbox, parcel_of(C.total(SET)), C.total(SET))


def test_who_does_not_answer_for_one_group_is_not_asked_again_for_it():
    made, outbox = both()
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    name, _, _, done, _ = fetches(outbox)[0]
    done(name)
    read(made, outbox, name, C.total(SET))
    made.tick(AGAIN_S)
    assert outbox.sent[2:] == [(SECOND, C.request(*OTHER))]


def test_a_sum_over_parts_of_two_groups_is_nobodys():
    made, _ = both()
    with pytest.raises(RuleBroken, match="another set"):
        made.on_sum(FIRST, C.told(*SET[:2], OTHER[0], teller=FIRST))


# --- sums that are passed on ----------------------------------------------------------------------

HOLDER, ASKER = 4, 5  # members who are no aggregators, like MEMBER


def holding(restored: dict[str, bytes] | None = None) -> tuple[WantedSums, Outbox]:
    """A member that wants both sums, and got the first."""
    services, outbox = C.services(MEMBER, restored)
    made = WantedSums(services, MEMBER, C.reader, C.code, lambda _: False)
    made.want(CLOSED, GROUPS, 0.0)
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    name, _, _, done, _ = fetches(outbox)[-1]
    done(name)
    assert read(made, outbox, name, C.total(SET))
    return made, outbox


def test_one_wrong_sum_of_several_sets_is_checked_once_for_each():
    """However many tell of it: a hash of all of it takes seconds where it is long."""
    made, outbox = both()
    data = wrong(*SET)
    for indices in (SET, OTHER):
        for sender in AGGREGATORS:
            made.on_sum(sender, C.told(*indices, parcel=parcel_of(data), teller=sender))
    for name, _, _, done, _ in fetches(outbox):
        done(name)
    for each in outbox.of(ReadParcel):
        made.on_read(each.parcel, data)
    computed = outbox.of(Compute)
    assert len(computed) == 2
    assert not any(made.on_computed(each.work()) for each in computed)
    assert len(outbox.accused) == 6
    assert len(outbox.of(ReadParcel)) == 2


def kept(outbox: Outbox) -> dict[str, bytes]:
    """What was persisted, as it is given back after a restart."""
    prefix = C.plan.scope + "/"
    return {each.key.removeprefix(prefix): each.value for each in outbox.of(Persist)}


def test_what_is_held_is_on_record_and_told_to_members_that_ask():
    made, outbox = holding()
    assert kept(outbox) == {
        f"sum/{C.name_of(*SET).hex()}": codec.encode(C.told(*SET, teller=C.plan.committee[MEMBER]))
    }
    outbox.sent.clear()
    assert made.serve(ASKER, C.request(*SET))
    assert outbox.sent == [(ASKER, C.told(*SET, teller=C.plan.committee[MEMBER]))]
    assert grants(outbox) == [(parcel_of(C.total(SET)), (ASKER,))]
    assert not made.serve(ASKER, C.request(*OTHER)), "that it lacks itself"
    assert not made.serve(9, C.request(*SET)), "who is no member has no use for it"
    assert len(outbox.sent) == len(grants(outbox)) == 1


def test_after_a_restart_it_is_still_told_and_need_not_be_asked_for():
    _, before = holding()
    services, outbox = C.services(MEMBER, {**kept(before), "stopped": b"1"})
    made = WantedSums(services, MEMBER, C.reader, C.code, lambda _: False)
    name, length, sources, done, _ = fetches(outbox)[0]
    assert (name, length, sources) == (parcel_of(C.total(SET)), C.code.sum_bytes, ())
    assert not made.serve(ASKER, C.request(*SET)), "before it is known what the disk has"
    done(name)  # it is held
    assert made.serve(ASKER, C.request(*SET))
    outbox.sent.clear()
    made.want(CLOSED, GROUPS, 0.0)
    assert outbox.sent == [(FIRST, C.request(*OTHER))]
    name, _, sources, done, _ = fetches(outbox)[-1]
    assert (name, sources) == (parcel_of(C.total(SET)), ())
    done(name)
    assert outbox.of(ReadParcel) == [ReadParcel(C.plan.context, name)]
    assert read(made, outbox, name, C.total(SET)), "and checked once more"
    assert outbox.of(Persist) == [], "what is on record already"


def test_what_the_disk_has_spoiled_is_asked_for():
    """It was held and is not the sum any more: nobody is blamed, and it is pulled anew."""
    _, before = holding()
    services, outbox = C.services(MEMBER, kept(before))
    made = WantedSums(services, MEMBER, C.reader, C.code, lambda _: False)
    fetches(outbox)[0][3](parcel_of(C.total(SET)))
    made.want(C.closed(SET), {0: SET}, 0.0)
    assert outbox.sent == []
    assert made.next_deadline() is None
    name, _, _, done, _ = fetches(outbox)[-1]
    done(name)
    assert not read(made, outbox, name, wrong(*SET))
    assert outbox.accused == []
    assert made.next_deadline() == 0.0, "at once"
    made.tick(AGAIN_S)
    assert outbox.sent == [(FIRST, C.request(*SET))]
    made.on_sum(FIRST, C.told(*SET, teller=FIRST))
    assert read(made, outbox, name, C.total(SET))
    assert made.data(C.closed(SET), {0: SET}) == {0: C.total(SET)}
    assert made.next_deadline() is None


def test_what_the_disk_has_lost_is_asked_for(monkeypatch):
    _, before = holding()

    def full(*_):
        raise RuleBroken("this node has no room for another parcel")

    monkeypatch.setattr(Outbox, "fetch_parcel", full)
    services, outbox = C.services(MEMBER, kept(before))
    made = WantedSums(services, MEMBER, C.reader, C.code, lambda _: False)
    monkeypatch.undo()
    made.want(CLOSED, GROUPS, 0.0)
    assert outbox.sent == [(FIRST, C.request(*SET)), (FIRST, C.request(*OTHER))]


def test_holders_are_asked_after_the_aggregators():
    made, outbox = holding()
    made.ask_too(CLOSED, GROUPS, [MEMBER, HOLDER, FIRST, HOLDER])
    made.ask_too(C.closed((2, 3)), {0: (2, 3)}, [HOLDER])  # a set that nobody wants
    for turn in range(1, 5):
        made.tick(turn * AGAIN_S)
    asked = [to for to, message in outbox.sent if message == C.request(*OTHER)]
    assert asked == [FIRST, SECOND, HOLDER, THIRD, FIRST]
    made.on_sum(HOLDER, C.told(*OTHER, teller=HOLDER))
    assert fetches(outbox)[-1][2] == (HOLDER,)


def test_a_member_that_was_not_asked_offers_nothing():
    """It could make everybody pull wrong sums."""
    made, _ = holding()
    made.ask_too(CLOSED, GROUPS, [HOLDER])
    with pytest.raises(RuleBroken, match="not asked for it"):
        made.on_sum(HOLDER, C.told(*OTHER, teller=HOLDER))
    with pytest.raises(RuleBroken, match="another set"):
        made.on_sum(FIRST, C.told(*SET[:2], teller=FIRST))
    assert made.data(C.closed((2, 3)), {0: (2, 3)}) is None


def test_what_others_computed_is_no_sum():
    made, outbox = holding()
    assert not made.on_computed(b"of another role")
    (asked,) = outbox.of(Compute)
    assert not made.on_computed(asked.work()), "it is held"
