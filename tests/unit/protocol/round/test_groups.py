"""Sums by group: which are opened, whose share of one is wrong, what a record must say of them."""

import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.support.records import record
from tests.support.town import phase

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation.robust import Robust
from pnyx.protocol.aggregation.verification import released_bytes, sum_share
from pnyx.protocol.messages import GroupSum, RecordBody
from pnyx.protocol.round.groups import check_sums, shares_by_group, sum_hash, wrong_releases
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.study import verify_record

PHASE = phase(5, norm_max=4, groups=2, cohort_min=2, target=5)
C = Committee(phase_=PHASE)
C.plan.cohort_min = 2
GROUPS = C.plan.opened(C.plan.contributors)
EACH = released_bytes(PHASE.bounds, C.size)
LIAR = 4
F = C.size.corrupt_max


def plan_of(**terms) -> RoundPlan:
    made = Committee(phase_=replace(PHASE, **terms)).plan
    made.cohort_min = 2
    return made


def released(member: int) -> bytes:
    """An honest member's shares of both sums."""
    return b"".join(
        sum_share([C.shares(who, member) for who in group], C.bounds, C.size)
        for group in GROUPS.values()
    )


ALL = {member: released(member) for member in range(C.size.size)}


# --- which groups -----------------------------------------------------------------------------


def test_contributors_fall_into_even_groups_that_the_beacon_imposes():
    assert sorted(C.plan.group_of) == sorted(C.plan.contributors)
    assert [len(group) for group in GROUPS.values()] == [3, 3]
    other = Committee(phase_=PHASE).plan
    other.beacon = b"b" * 32
    assert other.group_of != C.plan.group_of
    assert Committee(joining=True).plan.group_of == {}
    assert Committee(joining=True).plan.opened(()) == {}


def test_a_group_below_the_floor_is_not_opened():
    first, second = GROUPS.values()
    assert C.plan.opened((*first, *second[:2])) == {0: first, 1: second[:2]}
    assert C.plan.opened((*first, second[0])) == {0: first}
    assert C.plan.opened((first[0], *second)) == {1: second}
    assert C.plan.opened((first[0], second[0])) == {}
    assert C.plan.opened(()) == {}


def test_no_group_is_opened_if_they_are_too_few_for_the_rule():
    robust = plan_of(groups=3, robust=Robust("trimmed", 1))
    whole = robust.opened(robust.contributors)
    assert [len(group) for group in whole.values()] == [2, 2, 2]
    assert robust.opened(robust.contributors[1:]) == {}


# --- what members release -----------------------------------------------------------------------


def test_who_released_rightly():
    assert [len(part) for part in shares_by_group(ALL[0], PHASE, C.size)] == [EACH, EACH]
    assert wrong_releases(PHASE, C.size, ALL) == frozenset()
    assert wrong_releases(PHASE, C.size, {**ALL, LIAR: b""}) == frozenset()
    assert wrong_releases(PHASE, C.size, {}) == frozenset()


@pytest.mark.parametrize(
    "share",
    [
        ALL[LIAR][EACH:] + ALL[LIAR][:EACH],  # of another group than it is in the place of
        ALL[LIAR][:EACH] * 2,
        ALL[LIAR][:-1] + bytes((ALL[LIAR][-1] ^ 1,)),
        ALL[LIAR][:EACH],  # of one sum, where there are two
        ALL[LIAR] + ALL[LIAR][:EACH],
        ALL[LIAR][:-1],
        b"\xff" * 2 * EACH,
        b"\xff" * EACH,
    ],
)
def test_who_released_wrongly(share):
    assert wrong_releases(PHASE, C.size, {**ALL, LIAR: share}) == {LIAR}


def test_how_many_sums_there_are_takes_the_word_of_an_honest_member():
    """With f releases of each kind nobody can tell; one more, and the others are wrong."""
    short = {member: ALL[member][:EACH] for member in range(F)}
    whole = {member: ALL[member] for member in range(F, 2 * F)}
    assert wrong_releases(PHASE, C.size, {**short, **whole}) == frozenset()
    whole[2 * F] = ALL[2 * F]
    assert wrong_releases(PHASE, C.size, {**short, **whole}) == frozenset(short)


def test_what_is_no_share_of_any_sum_is_wrong_by_itself():
    assert wrong_releases(PHASE, C.size, {LIAR: b"\xff" * EACH}) == {LIAR}
    assert wrong_releases(PHASE, C.size, {LIAR: bytes(EACH + 1)}) == {LIAR}
    assert wrong_releases(PHASE, C.size, {LIAR: bytes(3 * EACH)}) == {LIAR}
    assert wrong_releases(PHASE, C.size, {LIAR: bytes(EACH)}) == frozenset()


# --- what a record says -------------------------------------------------------------------------


def body_of(accepted, **changes) -> RecordBody:
    signed = record(C.folk, C.plan, accepted=tuple(sorted(accepted)), **changes)
    return codec.decode(signed.body, RecordBody, bytes_max=10**6)


FIRST, SECOND = GROUPS.values()
SUM = b"s" * 32


@pytest.mark.parametrize("accepted", [FIRST + SECOND, FIRST, SECOND[1:], FIRST[1:] + SECOND[1:]])
def test_a_record_of_the_groups_that_its_contributors_fill(accepted):
    check_sums(C.plan, body_of(accepted))


@pytest.mark.parametrize(
    ("accepted", "sums", "rule"),
    [
        (FIRST + SECOND, (), "other groups"),
        (FIRST + SECOND, (GroupSum(0, SUM),), "other groups"),
        (FIRST + SECOND, (GroupSum(1, SUM), GroupSum(0, SUM)), "other groups"),
        (FIRST + SECOND, (GroupSum(0, SUM), GroupSum(0, SUM)), "other groups"),
        (FIRST, (GroupSum(1, SUM),), "other groups"),
        (FIRST, (GroupSum(0, SUM), GroupSum(1, SUM)), "other groups"),
        (FIRST + SECOND[:1], (GroupSum(0, SUM), GroupSum(1, SUM)), "other groups"),
        (FIRST + SECOND[:1], (GroupSum(0, SUM),), "group below the study's floor"),
        (FIRST[:1] + SECOND[:1], (), "group below the study's floor"),
    ],
)
def test_a_record_of_other_groups(accepted, sums, rule):
    with pytest.raises(RuleBroken, match=rule):
        check_sums(C.plan, body_of(accepted, sums=sums))


def test_rounds_without_contributions_and_skipped_ones_open_no_group():
    joining = Committee(joining=True)
    joining.plan.cohort_min = 0
    signed = record(joining.folk, joining.plan)
    assert verify_record(joining.plan, signed, joining.folk.cryptos[0]).sums == ()
    skipped = record(C.folk, C.plan, skipped=True)
    assert verify_record(C.plan, skipped, C.folk.cryptos[0]).sums == ()
    for plan, changes in ((joining.plan, {}), (C.plan, {"skipped": True})):
        forged = record(C.folk, plan, sums=(GroupSum(0, SUM),), **changes)
        with pytest.raises(RuleBroken, match="other groups"):
            verify_record(plan, forged, C.folk.cryptos[0])


def test_the_name_of_a_sum_is_of_its_group_and_round():
    total = C.shares(2, 0)[0]
    names = {
        sum_hash(context, group, total + shift)
        for context in (b"c" * 32, b"d" * 32)
        for group in (0, 1)
        for shift in (0, 1)
    }
    assert len(names) == 8
