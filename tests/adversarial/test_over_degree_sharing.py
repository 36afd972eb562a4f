"""A dealer shares with a polynomial of too high a degree, to spoil or steer the sum (THREATS A9).

With the degree test the contribution is rejected and no member is blamed; without it the sum
depends on who answers, or does not decode.
"""

from itertools import combinations

import numpy as np
import pytest

from pnyx.errors import DecodingError
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.selection import committee_size

SIZE = committee_size(11, 2, 2)
HONEST, DEALER = 1, 2
CHALLENGE = b"c" * 32


def honest() -> list[direct.FieldShares]:
    payloads = direct.share_vector(np.array([5, -5, 1]), SIZE, b"h" * 32)
    return [direct.read_payload(p, 3, SIZE.packing) for p in payloads]


def over_degree(extra: int) -> list[direct.FieldShares]:
    """Shares of degree D + extra, in one field and one column only."""
    shares = honest()
    tall = PackedSharing(FIELDS[0], SIZE.size, SIZE.corrupt_max + extra, SIZE.packing)
    generator = np.random.Generator(np.random.PCG64(extra))
    column = tall.share(
        np.array([[3], [4]]),
        generator.integers(FIELDS[0].modulus, size=(SIZE.corrupt_max + extra, 1)),
    )
    for member, share in enumerate(shares):
        share[0][0] = column[member, 0]
    return shares


def judged(dealt: list[direct.FieldShares], members=range(SIZE.size)) -> direct.Judgement:
    contributions = {HONEST: honest(), DEALER: dealt}
    answers = {
        m: {w: direct.check_values(s[m], CHALLENGE, w) for w, s in contributions.items()}
        for m in members
    }
    return direct.judge(SIZE, (HONEST, DEALER), answers)


@pytest.mark.parametrize("extra", range(1, 8))
def test_over_degree_sharing(extra):
    result = judged(over_degree(extra))
    assert result.rejected == (DEALER,)
    assert result.accepted == (HONEST,)
    assert result.pool == tuple(range(SIZE.size)), "no honest member is blamed"


def test_without_the_degree_test_the_sum_depends_on_who_answers():
    shares = [honest(), over_degree(1)]
    outcomes = set()
    for members in combinations(range(SIZE.size), SIZE.degree + 1 + SIZE.corrupt_max):
        released = {
            m: direct.read_released(
                direct.add_shares([s[m] for s in shares], 3, SIZE.packing), 3, SIZE.packing
            )
            for m in members
        }
        try:
            total, _ = direct.decode_sum(SIZE, released, 3)
            outcomes.add(tuple(total.tolist()))
        except DecodingError:
            outcomes.add(None)
    assert outcomes != {(10, -10, 2)}


def test_a_dealer_that_spares_one_member_cannot_make_it_a_liar_of_the_sum():
    """One wrong share is off the polynomial: its holder leaves the pool, and nobody is blamed."""
    shares = honest()
    shares[4][1][1] = (shares[4][1][1] + 1) % FIELDS[1].modulus
    result = judged(shares)
    assert result.accepted == (HONEST, DEALER)
    assert 4 not in result.pool


def test_wrong_shares_beyond_the_safe_radius_reject_the_dealer():
    shares = honest()
    for member in range(6):
        shares[member][0][0] = (shares[member][0][0] + 1 + member) % FIELDS[0].modulus
    assert judged(shares).rejected == (DEALER,)
    shares = honest()
    for member in range(5):  # a different member is wrong in every check column
        shares[member][member % 2][1] = (shares[member][member % 2][1] + 7) % FIELDS[0].modulus
    assert DEALER in judged(shares).rejected


def test_liars_among_the_members_do_not_reject_an_honest_dealer():
    contributions = {HONEST: honest()}
    answers = {
        m: {w: direct.check_values(s[m], CHALLENGE, w) for w, s in contributions.items()}
        for m in range(SIZE.size)
    }
    for liar in (3, 9):
        answers[liar][HONEST] = answers[liar][HONEST][::-1].copy() % FIELDS[1].modulus
    result = direct.judge(SIZE, (HONEST,), answers)
    assert result.accepted == (HONEST,)
    assert set(result.pool) == set(range(SIZE.size)) - {3, 9}


def at_the_fewest_answers_with_a_liar() -> list[int]:
    """D + 1 + f shares of an honest sum, one of them wrong."""
    shares = honest()
    members = range(SIZE.degree + 1 + SIZE.corrupt_max)
    released = {m: tuple(a[:2].copy() for a in shares[m]) for m in members}
    released[0][0][0] = (released[0][0][0] + 1) % FIELDS[0].modulus
    total, _ = direct.decode_sum(SIZE, released, 3)
    return total.tolist()


def test_a_lie_at_the_fewest_answers_stops_the_sum(monkeypatch):
    """Correcting to the usual radius would trust liars for what honest shares no longer fix."""
    with pytest.raises(DecodingError):
        at_the_fewest_answers_with_a_liar()
    monkeypatch.setattr(direct, "safe_radius", lambda n, degree, f: (n - degree - 1) // 2)
    assert at_the_fewest_answers_with_a_liar() == [5, -5, 1], "here it goes well, by luck"
