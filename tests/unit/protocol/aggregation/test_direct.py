"""The accepted set follows from verdicts, and the sum from released shares."""

import numpy as np
import pytest
from tests.support.shares import release, share_plain

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS, SUM_MAX, from_slots, slot_width, to_slots
from pnyx.protocol.aggregation.verdicts import UNDECIDED, Rule, Verdict
from pnyx.protocol.selection import committee_size

SIZE = committee_size(11, 2, 2)  # D 3
LENGTH = 5
EVERYBODY = tuple(range(SIZE.size))
GOOD = Verdict(accepted=True)
ANSWER = np.zeros(1, dtype=np.int64)  # `settle` looks at who answered, not at what


def contribution(who: int, vector: np.ndarray | None = None) -> list[direct.FieldShares]:
    """Every member's share of one contribution."""
    chosen = np.arange(LENGTH) - who if vector is None else vector
    return share_plain(chosen.astype(np.int64), SIZE, bytes((who,)) * 32)


def released(contributions, members=EVERYBODY):
    """What members release of a sum."""
    return release(contributions, members)


def answers(*contributors):
    """Everybody answers for these contributors."""
    return {m: dict.fromkeys(contributors, ANSWER) for m in EVERYBODY}


def test_slots_and_back():
    vector = np.array([SUM_MAX, -SUM_MAX, 0, -1, 7], dtype=np.int64)
    slots = to_slots(vector, 2)
    assert slots.shape == (2, slot_width(5, 2)) == (2, 3)
    residues = tuple(np.mod(slots, field.modulus) for field in FIELDS)
    assert from_slots(residues, 5).tolist() == vector.tolist()


def test_the_sum_decodes_and_wraps_only_above_its_capacity():
    for vector, other in ((SUM_MAX, 0), (SUM_MAX - 1, 1)):
        pair = [contribution(1, np.full(LENGTH, vector)), contribution(2, np.full(LENGTH, other))]
        total, _, _ = direct.decode_sum(SIZE, released(pair), LENGTH)
        assert (total == SUM_MAX).all()
    wrapped = [contribution(1, np.full(LENGTH, SUM_MAX)), contribution(2, np.full(LENGTH, 1))]
    total, _, _ = direct.decode_sum(SIZE, released(wrapped), LENGTH)
    assert (total == -SUM_MAX).all(), "so manifests that could reach it are refused"


def test_a_released_share_is_parsed_strictly():
    share = released([contribution(1)])[0]
    good = b"".join(field.pack(part) for field, part in zip(FIELDS, share, strict=True))
    read = direct.read_released(good, LENGTH, SIZE.packing)
    assert [part.tolist() for part in read] == [part.tolist() for part in share]
    with pytest.raises(MalformedMessage, match="wrong size"):
        direct.read_released(good + b"\0", LENGTH, SIZE.packing)
    with pytest.raises(MalformedMessage):
        direct.read_released(b"\xff" * len(good), LENGTH, SIZE.packing)


# --- which contributions count -------------------------------------------------------------------


def test_everybody_honest_is_accepted():
    judged = direct.settle(SIZE, dict.fromkeys((2, 4, 9), GOOD), answers(4, 2, 9))
    assert judged == direct.Judgement((2, 4, 9), EVERYBODY, {}, {})


def test_whom_verification_rejects_does_not_count_and_costs_nobody_the_pool():
    verdicts = {
        2: GOOD,
        4: Verdict(accepted=False, rule=Rule.BOUND, off=frozenset((1, 2))),
        5: Verdict(accepted=False, rule=Rule.RANGE),
        9: UNDECIDED,
    }
    judged = direct.settle(SIZE, verdicts, answers(2, 4, 5, 9))
    rejected = {4: Rule.BOUND, 5: Rule.RANGE, 9: Rule.UNDECIDED}
    assert judged == direct.Judgement((2,), EVERYBODY, rejected, {4: frozenset((1, 2))})


def test_members_off_an_accepted_contribution_leave_the_pool():
    verdicts = {2: GOOD, 4: Verdict(accepted=True, off=frozenset((3,)))}
    judged = direct.settle(SIZE, verdicts, answers(2, 4))
    assert judged.accepted == (2, 4)
    assert judged.pool == tuple(m for m in EVERYBODY if m != 3)


def test_settling_does_not_depend_on_order():
    verdicts = {2: GOOD, 4: Verdict(accepted=True, off=frozenset((3,))), 9: GOOD}
    given = answers(2, 4, 9)
    del given[5][9]
    shuffled = {
        m: {who: given[m][who] for who in sorted(given[m], reverse=True)}
        for m in sorted(given, reverse=True)
    }
    first = direct.settle(SIZE, verdicts, given)
    assert first == direct.settle(SIZE, dict(reversed(verdicts.items())), shuffled)
    assert first.pool == (0, 1, 2, 4, 6, 7, 8, 9, 10)
    assert first.accepted == (2, 4, 9)


def test_a_contribution_that_too_few_hold_is_left_out():
    given = answers(2, 4)
    for member in range(SIZE.size - SIZE.quorum + 1):
        del given[member][4]
    judged = direct.settle(SIZE, {2: GOOD, 4: GOOD}, given)
    assert judged.accepted == (2,)
    assert judged.rejected == {4: None}, "no rule was broken"
    assert len(judged.pool) >= SIZE.quorum


def test_members_that_claim_to_hold_nothing_keep_no_contribution_out():
    given = answers(2, 4)
    liars = EVERYBODY[: SIZE.size - SIZE.quorum]
    for member in liars:
        given[member] = {}
    judged = direct.settle(SIZE, {2: GOOD, 4: GOOD}, given)
    assert judged == direct.Judgement((2, 4), EVERYBODY[len(liars) :], {}, {})


def test_contributions_that_a_quorum_holds_count_where_there_is_room_for_them():
    """Of two that many lack, the one that fewer lack; nobody is left out for the other."""
    given = {m: dict.fromkeys((2, 4, 9), ANSWER) for m in range(14)}
    for member in range(3):  # one more than can be lying
        del given[member][4]
    for member in range(10, 14):
        del given[member][9]
    size = committee_size(14, 2, 2, 2)
    assert (size.quorum, size.corrupt_max) == (10, 2)
    judged = direct.settle(size, {2: GOOD, 4: GOOD, 9: GOOD}, given)
    assert judged.accepted == (2, 4)
    assert judged.pool == tuple(range(3, 14))


def test_the_pool_keeps_a_quorum():
    """Two contributions, each held by a quorum, but not both by one: either can count."""
    given = answers(2, 4)
    spare = SIZE.size - SIZE.quorum
    for member in range(spare):
        del given[member][2]
        del given[SIZE.size - 1 - member][4]
    judged = direct.settle(SIZE, {2: GOOD, 4: GOOD}, given)
    assert len(judged.accepted) == 1
    assert sorted([*judged.accepted, *judged.rejected]) == [2, 4]
    assert list(judged.rejected.values()) == [None]
    assert len(judged.pool) == SIZE.quorum


def test_nothing_to_settle():
    assert direct.settle(SIZE, {}, answers()) == direct.Judgement((), EVERYBODY, {}, {})
    undecided = direct.Judgement((), (), {2: Rule.UNDECIDED}, {})
    assert direct.settle(SIZE, {2: UNDECIDED}, {}) == undecided


# --- liars about the sum -------------------------------------------------------------------------


@pytest.mark.parametrize("liars", [(0,), (3, 8), (0, 10)])
def test_liars_are_corrected_and_named(liars):
    contributions = [contribution(who) for who in (1, 2, 3)]
    expected = sum(np.arange(LENGTH) - who for who in (1, 2, 3))
    given = released(contributions)
    for at, liar in enumerate(liars):
        for field in range(len(FIELDS)):
            given[liar][field][at] = (given[liar][field][at] + 1) % FIELDS[field].modulus
    total, _, named = direct.decode_sum(SIZE, given, LENGTH)
    assert total.tolist() == expected.tolist()
    assert named == liars


def test_liars_in_different_fields_count_together():
    given = released([contribution(1)])
    given[0][0][0] ^= 1
    given[1][1][0] ^= 1
    total, _, named = direct.decode_sum(SIZE, given, LENGTH)
    assert named == (0, 1)
    assert total.tolist() == (np.arange(LENGTH) - 1).tolist()


def test_more_liars_than_the_safe_radius():
    given = released([contribution(1)], range(8))  # 8 answers, f 2, D 3: radius 2
    for liar in (0, 1, 2):
        given[liar][0][0] = (given[liar][0][0] + 1 + liar) % FIELDS[0].modulus
    with pytest.raises(DecodingError):
        direct.decode_sum(SIZE, given, LENGTH)


def test_liars_column_by_column_beyond_the_radius():
    given = released([contribution(1)], range(8))
    for liar in (0, 1, 2):
        given[liar][0][liar] = (given[liar][0][liar] + 1) % FIELDS[0].modulus
    with pytest.raises(DecodingError):
        direct.decode_sum(SIZE, given, LENGTH)


def test_too_few_shares():
    for members in ((), range(5)):
        with pytest.raises(DecodingError, match="do not suffice"):
            direct.decode_sum(SIZE, released([contribution(1)], members), LENGTH)


def test_liars_found_column_by_column_exceed_the_radius(monkeypatch):
    """The guard behind `locate_errors`, which never names more than it was allowed to."""
    given = released([contribution(1)], range(8))
    given[0][0][0] = (given[0][0][0] + 1) % FIELDS[0].modulus
    monkeypatch.setattr(direct, "locate_errors", lambda *args: (0, 1, 2))
    with pytest.raises(DecodingError, match="more released shares are wrong"):
        direct.decode_sum(SIZE, given, LENGTH)
