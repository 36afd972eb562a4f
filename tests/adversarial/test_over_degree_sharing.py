"""A dealer shares with a polynomial of too high a degree, to spoil or steer the sum (THREATS A9).

With the degree test the contribution is left out and no member is blamed; without it the sum
depends on who answers, or does not decode.
"""

from itertools import combinations

import numpy as np
import pytest
from tests.support.forger import CONTRIBUTOR, Forger, parts, slack_of
from tests.support.shares import release

from pnyx.errors import DecodingError
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verdicts import Rule, judge
from pnyx.protocol.aggregation.verification import read_payload
from pnyx.protocol.selection import committee_size

SIZE = committee_size(11, 2, 2)
BOUNDS = Bounds(3, 3, 8, 0)
VECTOR = np.array([5, -5, 1])
HONEST, DEALER = 1, CONTRIBUTOR
CHALLENGE = b"c" * 32
EVERYBODY = tuple(range(SIZE.size))


def dealt(seed: int, shares=None) -> Forger:
    """A contribution whose table of shares [members, fields, columns] is then changed."""
    short = parts(BOUNDS, SIZE, VECTOR, slack_of(BOUNDS, VECTOR))
    return Forger(BOUNDS, SIZE, short, seed=seed, shares=shares)


def over_degree(extra: int):
    """Shares of degree D + extra, in one field and one column only."""
    tall = PackedSharing(FIELDS[0], SIZE.size, SIZE.corrupt_max + extra, SIZE.packing)
    generator = np.random.Generator(np.random.PCG64(extra))
    column = tall.share(
        np.array([[3], [4]]),
        generator.integers(FIELDS[0].modulus, size=(SIZE.corrupt_max + extra, 1)),
    )

    def change(table):
        table[:, 0, 0] = column[:, 0]

    return change


def settled(shares=None, liars=()) -> direct.Judgement:
    """An honest contribution and the dealer's; liars answer what they like."""
    honest, dealer = dealt(1), dealt(2, shares)
    honest.claim = Claim(HONEST, honest.claim.commitment, honest.claim.published)
    forgers = {HONEST: honest, DEALER: dealer}
    given = {who: forger.answers(CHALLENGE) for who, forger in forgers.items()}
    answers = {m: {who: given[who][m] for who in forgers} for m in EVERYBODY}
    for liar in liars:
        answers[liar] = {who: a[::-1] % FIELDS[1].modulus for who, a in answers[liar].items()}
    claims = [forger.claim for forger in forgers.values()]
    return direct.settle(SIZE, judge(SIZE, BOUNDS, claims, CHALLENGE, answers), answers)


@pytest.mark.parametrize("extra", range(1, 8))
def test_over_degree_sharing(extra):
    found = settled(over_degree(extra))
    assert found.rejected == {DEALER: Rule.SHARING}
    assert found.accepted == (HONEST,)
    assert found.pool == EVERYBODY, "no honest member is blamed"


def read(forger: Forger) -> list[direct.FieldShares]:
    """The columns of the update in every member's share."""
    shares = [read_payload(payload, BOUNDS, SIZE) for payload in forger.payloads]
    return [tuple(field[:2].copy() for field in share) for share in shares]


def test_without_the_degree_test_the_sum_depends_on_who_answers():
    contributions = [read(dealt(1)), read(dealt(2, over_degree(1)))]
    outcomes = set()
    for members in combinations(EVERYBODY, SIZE.degree + 1 + SIZE.corrupt_max):
        try:
            total, _, _ = direct.decode_sum(SIZE, release(contributions, members), 3)
            outcomes.add(tuple(total.tolist()))
        except DecodingError:
            outcomes.add(None)
    assert outcomes != {(10, -10, 2)}


def test_a_dealer_that_spares_one_member_cannot_make_it_a_liar_of_the_sum():
    """One wrong share is off the polynomial: its holder leaves the pool, and nobody is blamed."""

    def change(table):
        table[4, 1, 1] = (table[4, 1, 1] + 1) % FIELDS[1].modulus

    found = settled(change)
    assert found.accepted == (HONEST, DEALER)
    assert found.pool == tuple(m for m in EVERYBODY if m != 4)


def wrong_for_six(table):
    for member in range(6):
        table[member, 0, 0] = (table[member, 0, 0] + 1 + member) % FIELDS[0].modulus


def wrong_here_and_there(table):
    for member in range(5):  # a different member is wrong in either field
        at = member % 2
        table[member, at, 1] = (table[member, at, 1] + 7) % FIELDS[at].modulus


@pytest.mark.parametrize("change", [wrong_for_six, wrong_here_and_there])
def test_wrong_shares_for_more_than_can_lie_convict_the_dealer(change):
    assert settled(change).rejected == {DEALER: Rule.SHARING}


def test_liars_among_the_members_do_not_reject_an_honest_dealer():
    found = settled(liars=(3, 9))
    assert found.accepted == (HONEST, DEALER)
    assert set(found.pool) == set(EVERYBODY) - {3, 9}


def at_the_fewest_answers_with_a_liar() -> list[int]:
    """D + 1 + f shares of an honest sum, one of them wrong."""
    released = release([read(dealt(1))], range(SIZE.degree + 1 + SIZE.corrupt_max))
    released[0][0][0] = (released[0][0][0] + 1) % FIELDS[0].modulus
    total, _, _ = direct.decode_sum(SIZE, released, 3)
    return total.tolist()


def test_a_lie_at_the_fewest_answers_stops_the_sum(monkeypatch):
    """Correcting to the usual radius would trust liars for what honest shares no longer fix."""
    with pytest.raises(DecodingError):
        at_the_fewest_answers_with_a_liar()
    monkeypatch.setattr(direct, "safe_radius", lambda n, degree, f: (n - degree - 1) // 2)
    assert at_the_fewest_answers_with_a_liar() == VECTOR.tolist(), "here it goes well, by luck"
