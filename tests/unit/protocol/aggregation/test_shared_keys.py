"""A key travels with a contribution, on the same polynomials, and only its sum comes out."""

import numpy as np
import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives.field import PRIMES
from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import direct, verification
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


def shared(bounds, secret, who=1):
    seed = who.to_bytes(32, "big")
    proven = verification.prove(COUNTS, bounds, SIZE, seed, b"round", secret)
    commitment = verification.commit(b"round", merkle_root(proven.payloads))
    claim = verification.Claim(who, commitment, proven.published)
    return claim, [verification.read_payload(p, bounds, SIZE) for p in proven.payloads]


def judged(bounds, claim, shares):
    given = {
        m: verification.answers(shares[m], m, claim, CHALLENGE, bounds, SIZE)
        for m in range(SIZE.size)
    }
    return judge_one(SIZE, bounds, claim, CHALLENGE, given)


@pytest.mark.parametrize("bounds", [ONE, BOTH])
def test_keys_add_up_beside_the_counts(bounds):
    secrets = [key(bounds) for _ in range(5)]
    contributions = [shared(bounds, secret, who) for who, secret in enumerate(secrets)]
    for claim, shares in contributions:
        assert judged(bounds, claim, shares) == Verdict(accepted=True)
    length = verification.summed_length(bounds, SIZE)
    widths = verification.key_widths(bounds, SIZE)
    released = {}
    for m in range(SIZE.size):
        data = verification.sum_share([shares[m] for _, shares in contributions], bounds, SIZE)
        assert len(data) == verification.released_bytes(bounds, SIZE)
        released[m] = direct.read_released(data, length, SIZE.packing, widths)
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
        np.zeros_like(row) for row in verification._coefficients(claim, CHALLENGE, ONE, SIZE)[1]
    )
    honest = verification._coefficients

    def without_the_key(*given):
        rows, _, taus = honest(*given)
        return rows, blind, taus

    monkeypatch.setattr(verification, "_coefficients", without_the_key)
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
