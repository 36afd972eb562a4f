"""A key travels with a contribution, on the same polynomials, and only its sum comes out."""

import numpy as np
import pytest

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives.field import PRIMES
from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import coefficients, direct, verification
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verdicts import Rule, Verdict, judge_one
from pnyx.protocol.selection import committee_size

SIZE = committee_size(7, 1, 2)
ONE = Bounds(3, 0, 0, 9, key_length=11, key_fields=1)
BOTH = Bounds(3, 0, 0, 9, key_length=11, key_fields=2)
COUNTS = np.array([9, 0, 4])
CHALLENGE = b"c" * 32
GENERATOR = np.random.Generator(np.random.PCG64(3))


def key(bounds):
    return tuple(GENERATOR.integers(0, p, bounds.key_length) for p in PRIMES[: bounds.key_fields])


def shared(bounds, secret, who=1, size=SIZE):
    seed = who.to_bytes(32, "big")
    proven = verification.prove(COUNTS, bounds, size, seed, b"round", secret)
    commitment = verification.commit(b"round", merkle_root(proven.payloads))
    claim = coefficients.Claim(who, commitment, proven.published)
    return claim, [verification.read_payload(p, bounds, size) for p in proven.payloads]


def judged(bounds, claim, shares):
    given = {
        m: verification.answers(shares[m], m, claim, CHALLENGE, bounds, SIZE)
        for m in range(SIZE.size)
    }
    return judge_one(SIZE, bounds, claim, CHALLENGE, given)


def released_by(bounds, contributions, size=SIZE):
    """What all members release of the sum over these contributions."""
    length = verification.summed_length(bounds, size)
    widths = verification.key_widths(bounds, size)
    released = {}
    for m in range(size.size):
        data = verification.sum_share([shares[m] for _, shares in contributions], bounds, size)
        assert len(data) == verification.released_bytes(bounds, size)
        released[m] = direct.read_released(data, length, size.packing, widths)
    return released


@pytest.mark.parametrize("bounds", [ONE, BOTH])
def test_keys_add_up_beside_the_counts(bounds):
    secrets = [key(bounds) for _ in range(5)]
    contributions = [shared(bounds, secret, who) for who, secret in enumerate(secrets)]
    for claim, shares in contributions:
        assert judged(bounds, claim, shares) == Verdict(accepted=True)
    length = verification.summed_length(bounds, SIZE)
    released = released_by(bounds, contributions)
    released[6][0][-1] ^= 1  # in the key
    found = direct.decode_sum(SIZE, released, length)
    assert found.liars == (6,)
    assert verification.summed_vector(found.total, bounds, SIZE).tolist() == (5 * COUNTS).tolist()
    for at in range(bounds.key_fields):
        wanted = sum(secret[at] for secret in secrets) % PRIMES[at]
        assert found.keys[at][: bounds.key_length].tolist() == wanted.tolist()


@pytest.mark.parametrize(("bounds", "field"), [(ONE, 0), (BOTH, 0), (BOTH, 1)])
def test_a_share_of_a_key_off_its_polynomial_is_seen(bounds, field):
    claim, shares = shared(bounds, key(bounds))
    shares[2][field][layout(bounds, SIZE).columns + 3] += 1
    assert judged(bounds, claim, shares) == Verdict(accepted=True, off=frozenset({2}))


def test_a_key_of_no_degree_convicts(monkeypatch):
    """Every member's share of one element is its own: without V on the key nobody would see it."""
    claim, shares = shared(ONE, key(ONE))
    column = layout(ONE, SIZE).columns
    for m, share in enumerate(shares):
        share[0][column] = FIELDS[0].reduce(np.array([m**5 + 17]))[0]
    assert judged(ONE, claim, shares).rule in (Rule.SHARING, Rule.UNDECIDED)
    blind = tuple(
        np.zeros_like(row) for row in coefficients.coefficients(claim, CHALLENGE, ONE, SIZE)[1]
    )
    honest = coefficients.coefficients

    def without_the_key(*given):
        rows, _, taus = honest(*given)
        return rows, blind, taus

    monkeypatch.setattr(verification, "coefficients", without_the_key)
    assert judged(ONE, claim, shares).accepted


@pytest.mark.parametrize("bounds", [ONE, BOTH])
def test_payloads_of_keys_are_read_strictly(bounds):
    proven = verification.prove(COUNTS, bounds, SIZE, bytes(32), b"round", key(bounds))
    payload = proven.payloads[3]
    assert len(payload) == verification.payload_bytes(bounds, SIZE)
    shares = verification.read_payload(payload, bounds, SIZE)
    assert verification.pack_payload(payload[:16], shares, bounds, SIZE) == payload
    for wrong in (payload[:-4], payload + bytes(4), payload[:-4] + b"\xff" * 4):
        with pytest.raises(MalformedMessage):
            verification.read_payload(wrong, bounds, SIZE)


def test_a_key_of_another_shape_is_the_callers_bug():
    for wrong in ((), key(BOTH), tuple(part[:-1] for part in key(ONE))):
        with pytest.raises(ValueError, match="key"):
            verification.prove(COUNTS, ONE, SIZE, bytes(32), b"round", wrong)
    for length, fields in ((0, 1), (5, 0)):
        with pytest.raises(ValueError, match="key"):
            Bounds(3, 0, 0, 9, key_length=length, key_fields=fields)


LARGE = committee_size(24, 4, 2)


@pytest.fixture
def fourteen():
    """What the fewest members release of a sum of keys for which four liars are corrected."""
    secrets = [key(BOTH) for _ in range(2)]
    contributions = [shared(BOTH, each, who, LARGE) for who, each in enumerate(secrets)]
    released = released_by(BOTH, contributions, LARGE)
    total = [sum(each[at] for each in secrets) % PRIMES[at] for at in range(2)]
    return {member: released[member] for member in range(14)}, total


def decoded(released):
    found = direct.decode_sum(LARGE, released, verification.summed_length(BOTH, LARGE))
    return [part[: BOTH.key_length].tolist() for part in found.keys], found.liars


def lie(released, member, field, column):
    """Change one element of a released share; columns of the key are the last ones."""
    row = released[member][field]
    row[column] = (row[column] + 1) % PRIMES[field]


@pytest.mark.parametrize(
    "places",
    [
        pytest.param([(0, -1), (1, -1), (0, -1), (1, -1), (0, -1)], id="fields"),
        pytest.param([(0, -1), (0, -2), (0, -3), (0, -4), (0, -5)], id="columns"),
        pytest.param([(0, 0), (1, 0), (0, -1), (1, -1), (0, -2)], id="counts and key"),
    ],
)
def test_liars_in_different_places_count_together(fourteen, places):
    """Each column alone would decode; all together they are one more than can be corrected."""
    released, total = fourteen
    for member, (field, column) in enumerate(places[:4]):
        lie(released, member, field, column)
    assert decoded(released) == ([part.tolist() for part in total], (0, 1, 2, 3))
    lie(released, 4, *places[4])
    with pytest.raises(DecodingError):
        decoded(released)


def test_too_few_members_decode_no_key(fourteen):
    released, total = fourteen
    least = LARGE.degree + 1 + LARGE.corrupt_max
    few = {member: released[member] for member in range(least)}
    assert decoded(few)[0] == [part.tolist() for part in total]
    del few[0]
    with pytest.raises(DecodingError, match="do not suffice"):
        decoded(few)


def test_f_members_see_numbers_that_depend_on_no_key():
    """Of two keys with the same randomness f members hold the same shares; the others do not."""

    class Fixed:
        """A sampler that always starts from the same seed."""

        def __init__(self):
            self.drawn = np.random.Generator(np.random.PCG64(9))

        def field_elements(self, modulus, shape):
            return self.drawn.integers(0, modulus, shape)

    first, second = (verification._share_key(key(BOTH), LARGE, Fixed()) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        equal = [bool((a == b).all()) for a, b in zip(one, other, strict=True)]
        f = LARGE.corrupt_max
        assert equal == [True] * f + [False] * (LARGE.size - f)


@pytest.mark.parametrize(("packing", "most"), [(4, 1024), (8, 512)])
def test_a_members_share_of_the_smallest_key_is_short(packing, most):
    """Beside what the counts take: well below 2.5 KB for a committee of 64."""
    size = committee_size(64, 8, packing)
    plain, with_key = (
        verification.payload_bytes(Bounds(3, 0, 0, 9, **terms), size)
        for terms in ({}, {"key_length": 1024, "key_fields": 1})
    )
    assert with_key - plain == most
