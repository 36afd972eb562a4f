"""Sharing, checking, judging and decoding in direct mode."""

import numpy as np
import pytest

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS, SUM_MAX, from_slots, slot_width, to_slots
from pnyx.protocol.selection import committee_size

SIZE = committee_size(11, 2, 2)  # D 3
LENGTH = 5
CHALLENGE = b"c" * 32


def contribution(who: int, vector: np.ndarray | None = None) -> list[direct.FieldShares]:
    """Every member's share of one contribution."""
    chosen = np.arange(LENGTH) - who if vector is None else vector
    payloads = direct.share_vector(chosen.astype(np.int64), SIZE, bytes((who,)) * 32)
    return [direct.read_payload(p, len(chosen), SIZE.packing) for p in payloads]


def released(contributions, members=range(SIZE.size)):
    """What members release of a sum."""
    return {
        m: direct.read_released(
            direct.add_shares([c[m] for c in contributions], LENGTH, SIZE.packing),
            LENGTH,
            SIZE.packing,
        )
        for m in members
    }


def answers(contributions, members=range(SIZE.size)):
    """Honest answers to the challenge."""
    return {
        m: {
            who: direct.check_values(shares[m], CHALLENGE, who)
            for who, shares in contributions.items()
        }
        for m in members
    }


def test_slots_and_back():
    vector = np.array([SUM_MAX, -SUM_MAX, 0, -1, 7], dtype=np.int64)
    slots = to_slots(vector, 2)
    assert slots.shape == (2, slot_width(5, 2)) == (2, 3)
    residues = tuple(np.mod(slots, field.modulus) for field in FIELDS)
    assert from_slots(residues, 5).tolist() == vector.tolist()


def test_the_sum_decodes_and_wraps_only_above_its_capacity():
    for vector, other in ((SUM_MAX, 0), (SUM_MAX - 1, 1)):
        pair = [contribution(1, np.full(LENGTH, vector)), contribution(2, np.full(LENGTH, other))]
        total, _ = direct.decode_sum(SIZE, released(pair), LENGTH)
        assert (total == SUM_MAX).all()
    wrapped = [contribution(1, np.full(LENGTH, SUM_MAX)), contribution(2, np.full(LENGTH, 1))]
    total, _ = direct.decode_sum(SIZE, released(wrapped), LENGTH)
    assert (total == -SUM_MAX).all(), "so manifests that could reach it are refused"


def test_a_payload_is_salted_and_exactly_sized():
    first = direct.share_vector(np.zeros(LENGTH, dtype=np.int64), SIZE, b"1" * 32)
    second = direct.share_vector(np.zeros(LENGTH, dtype=np.int64), SIZE, b"2" * 32)
    assert all(len(p) == direct.payload_bytes(LENGTH, SIZE.packing) for p in first)
    assert len({p[: direct.SALT_BYTES] for p in first + second}) == 2 * SIZE.size
    for wrong in (first[0][:-1], first[0] + b"\0", b""):
        with pytest.raises(MalformedMessage, match="wrong size"):
            direct.read_payload(wrong, LENGTH, SIZE.packing)
    with pytest.raises(MalformedMessage):
        direct.read_payload(first[0][:16] + b"\xff" * (len(first[0]) - 16), LENGTH, SIZE.packing)


def test_check_values_are_parsed_strictly():
    given = answers({1: contribution(1)})[0][1]
    data = direct.pack_values([given, given])
    assert direct.read_values(data, 2).tolist() == [given.tolist(), given.tolist()]
    with pytest.raises(MalformedMessage, match="wrong size"):
        direct.read_values(data, 1)
    for at in range(direct.CHECKS):
        field = FIELDS[at // direct.REPETITIONS]
        wrong = given.copy()
        wrong[at] = field.modulus
        with pytest.raises(MalformedMessage, match="not an element"):
            direct.read_values(direct.pack_values([wrong]), 1)


def test_a_released_share_is_parsed_strictly():
    good = direct.add_shares([contribution(1)[0]], LENGTH, SIZE.packing)
    with pytest.raises(MalformedMessage, match="wrong size"):
        direct.read_released(good + b"\0", LENGTH, SIZE.packing)
    with pytest.raises(MalformedMessage):
        direct.read_released(b"\xff" * len(good), LENGTH, SIZE.packing)


def test_answers_depend_on_challenge_and_contributor():
    share = contribution(1)[0]
    base = direct.check_values(share, CHALLENGE, 1)
    assert (direct.check_values(share, b"d" * 32, 1) != base).any()
    assert (direct.check_values(share, CHALLENGE, 2) != base).any()


def test_everybody_honest_is_accepted():
    contributions = {who: contribution(who) for who in (4, 2, 9)}
    judged = direct.judge(SIZE, (2, 4, 9), answers(contributions))
    assert judged == direct.Judgement((2, 4, 9), tuple(range(SIZE.size)), ())


def test_judge_does_not_depend_on_order():
    contributions = {who: contribution(who) for who in (2, 4, 9)}
    given = answers(contributions)
    given[3][4] = given[3][4] + 1
    del given[5][9]
    shuffled = {
        m: {who: given[m][who] for who in sorted(given[m], reverse=True)}
        for m in sorted(given, reverse=True)
    }
    first = direct.judge(SIZE, (2, 4, 9), given)
    assert first == direct.judge(SIZE, (9, 2, 4), shuffled)
    assert first.pool == (0, 1, 2, 4, 6, 7, 8, 9, 10)
    assert first.accepted == (2, 4, 9)


def test_a_contribution_that_too_few_hold_is_rejected():
    contributions = {who: contribution(who) for who in (2, 4)}
    given = answers(contributions)
    for member in range(SIZE.size - SIZE.quorum + 1):
        del given[member][4]
    assert direct.judge(SIZE, (2, 4), given) == direct.Judgement(
        (2,), tuple(range(SIZE.size)), (4,)
    )


def test_the_pool_keeps_a_quorum():
    """Two contributions, each held by a quorum, but not both by one: the earlier one stays."""
    contributions = {who: contribution(who) for who in (2, 4)}
    given = answers(contributions)
    spare = SIZE.size - SIZE.quorum
    for member in range(spare):
        del given[member][2]
        del given[SIZE.size - 1 - member][4]
    judged = direct.judge(SIZE, (2, 4), given)
    assert judged.accepted == (2,)
    assert judged.rejected == (4,)
    assert len(judged.pool) == SIZE.quorum


def test_too_few_answers_name_no_polynomial():
    """With so many corrupt members that honest answers alone fix nothing, nothing is accepted."""
    sizes = committee_size(5, 1, 1)
    assert direct._suspects(SIZE, 2, {}) is None
    contributions = {2: contribution(2)}
    given = answers(contributions, range(SIZE.quorum - 1))
    assert direct._suspects(SIZE, 2, given) is None
    assert sizes.quorum == 4


@pytest.mark.parametrize("liars", [(0,), (3, 8), (0, 10)])
def test_liars_are_corrected_and_named(liars):
    contributions = [contribution(who) for who in (1, 2, 3)]
    expected = sum(np.arange(LENGTH) - who for who in (1, 2, 3))
    given = released(contributions)
    for at, liar in enumerate(liars):
        for field in range(len(FIELDS)):
            given[liar][field][at] = (given[liar][field][at] + 1) % FIELDS[field].modulus
    total, named = direct.decode_sum(SIZE, given, LENGTH)
    assert total.tolist() == expected.tolist()
    assert named == liars


def test_liars_in_different_fields_count_together():
    given = released([contribution(1)])
    given[0][0][0] ^= 1
    given[1][1][0] ^= 1
    total, named = direct.decode_sum(SIZE, given, LENGTH)
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
