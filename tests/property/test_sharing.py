"""Share, lose, spoil, decode: secrets come back exactly, or nothing does."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pnyx.errors import DecodingError
from pnyx.primitives.field import PRIMES, PrimeField, Vector
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import (
    PackedSharing,
    decode,
    interpolate_all,
    is_codeword,
    locate_errors,
    safe_radius,
)

FIELD = PrimeField(PRIMES[1])
WIDTH = 3


@st.composite
def committees(draw: st.DrawFn) -> PackedSharing:
    privacy, packing = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    members = privacy + packing + draw(st.integers(0, 20))
    return PackedSharing(FIELD, members, privacy, packing)


def deal(sharing: PackedSharing, sampler: Sampler) -> tuple[Vector, Vector]:
    secrets = sampler.field_elements(FIELD.modulus, (sharing.packing, WIDTH))
    randomness = sampler.field_elements(FIELD.modulus, (sharing.privacy, WIDTH))
    return secrets, sharing.share(secrets, randomness)


@settings(deadline=None, max_examples=60)
@given(committees(), st.binary(min_size=32, max_size=32), st.data())
def test_any_members_beyond_the_degree_reconstruct(
    sharing: PackedSharing, seed: bytes, data: st.DataObject
) -> None:
    sampler = Sampler(seed, "test")
    secrets, shares = deal(sharing, sampler)
    count = data.draw(st.integers(sharing.degree + 1, sharing.members))
    indices = sampler.sample(sharing.members, count)
    answers = shares[indices]
    assert np.array_equal(sharing.reconstruct(indices, answers), secrets)
    assert is_codeword(FIELD, indices, answers, sharing.degree).all()
    again = interpolate_all(FIELD, sharing.members, indices, answers, sharing.degree)
    assert np.array_equal(again, shares)


@settings(deadline=None, max_examples=60)
@given(committees(), st.binary(min_size=32, max_size=32))
def test_sharing_is_linear(sharing: PackedSharing, seed: bytes) -> None:
    sampler = Sampler(seed, "test")
    (a, shares_a), (b, shares_b) = deal(sharing, sampler), deal(sharing, sampler)
    factor = sampler.below(FIELD.modulus)
    combined = FIELD.add(FIELD.multiply(shares_a, factor), shares_b)
    expected = FIELD.add(FIELD.multiply(a, factor), b)
    assert np.array_equal(sharing.reconstruct(range(sharing.members), combined), expected)


@settings(deadline=None, max_examples=100)
@given(committees(), st.binary(min_size=32, max_size=32), st.data())
def test_liars_within_the_radius_are_named_and_harmless(
    sharing: PackedSharing, seed: bytes, data: st.DataObject
) -> None:
    sampler = Sampler(seed, "test")
    corrupt_max = data.draw(st.integers(0, sharing.members - sharing.degree - 1))
    answers_min = sharing.degree + 1 + corrupt_max
    indices = sampler.sample(sharing.members, data.draw(st.integers(answers_min, sharing.members)))
    radius = safe_radius(len(indices), sharing.degree, corrupt_max)
    liars = tuple(sorted(indices[: data.draw(st.integers(0, radius))]))
    secrets, shares = deal(sharing, sampler)
    for liar in liars:  # a lie changes at least one column
        shares[liar, sampler.below(WIDTH)] += 1 + sampler.below(FIELD.modulus - 1)
    answers = FIELD.reduce(shares[indices])
    combination = sampler.field_elements(FIELD.modulus, WIDTH)
    assume(combination.all())  # a zero (chance 2^-27) would miss a lie, and be refused
    decoded, named = decode(sharing, indices, answers, corrupt_max, combination)
    assert np.array_equal(decoded, secrets)
    assert named == liars


@settings(deadline=None, max_examples=100)
@given(committees(), st.binary(min_size=32, max_size=32), st.data())
def test_more_liars_are_never_decoded_to_something_else(
    sharing: PackedSharing, seed: bytes, data: st.DataObject
) -> None:
    """Up to corrupt_max liars among members: the dealt secrets, or a refusal."""
    sampler = Sampler(seed, "test")
    corrupt_max = data.draw(st.integers(0, sharing.members - sharing.degree - 1))
    answers_min = sharing.degree + 1 + corrupt_max
    indices = sampler.sample(sharing.members, data.draw(st.integers(answers_min, sharing.members)))
    secrets, shares = deal(sharing, sampler)
    _, other = deal(sharing, sampler)  # liars agree on another codeword
    liars = indices[:corrupt_max]
    shares[liars] = other[liars]
    combination = sampler.field_elements(FIELD.modulus, WIDTH)
    try:
        decoded, named = decode(sharing, indices, shares[indices], corrupt_max, combination)
    except DecodingError:
        return
    assert np.array_equal(decoded, secrets)
    assert set(named) == set(liars)


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.integers(2, 120), st.data())
def test_the_locator_finds_every_pattern_up_to_half_the_distance(
    seed: bytes, answers: int, data: st.DataObject
) -> None:
    degree = data.draw(st.integers(0, answers - 1))
    half = (answers - degree - 1) // 2
    sampler = Sampler(seed, "test")
    coefficients = sampler.field_elements(FIELD.modulus, degree + 1)
    values = np.zeros(answers, dtype=np.int64)
    for coefficient in coefficients.tolist():  # Horner at 1, ..., answers
        values = FIELD.add(FIELD.multiply(values, np.arange(1, answers + 1)), coefficient)
    errors = data.draw(st.integers(0, half))
    wrong = tuple(sorted(sampler.sample(answers, errors)))
    for position in wrong:
        values[position] = (values[position] + 1 + sampler.below(FIELD.modulus - 1)) % FIELD.modulus
    assert locate_errors(FIELD, range(answers), values, degree, half) == wrong
    if errors:
        with pytest.raises(DecodingError):
            locate_errors(FIELD, range(answers), values, degree, errors - 1)
