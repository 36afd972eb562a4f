"""Packed sharing and its decoder: what is corrected, what is refused, and contract errors."""

import numpy as np
import pytest

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

FIELD = PrimeField(PRIMES[0])
SHARING = PackedSharing(FIELD, 24, 4, 2)  # the committee of a network of 36
ALL = tuple(range(24))
WIDTH = 9


def draw(*shape: int, domain: str = "a") -> Vector:
    return Sampler(bytes(32), domain).field_elements(FIELD.modulus, shape)


def shared(sharing: PackedSharing = SHARING, width: int = WIDTH) -> tuple[Vector, Vector]:
    secrets = draw(sharing.packing, width, domain="secrets")
    return secrets, sharing.share(secrets, draw(sharing.privacy, width, domain="randomness"))


def spoiled(shares: Vector, rows: tuple[int, ...]) -> Vector:
    wrong = shares.copy()
    for row in rows:
        wrong[row] = FIELD.add(wrong[row], 1 + draw(shares.shape[1], domain=f"lie {row}") % 1000)
    return wrong


def test_shares_are_a_polynomial_with_the_secrets_at_negative_points() -> None:
    tiny = PackedSharing(PrimeField(101), 5, 2, 2)
    secrets, randomness = np.array([[7], [100]]), np.array([[3], [50]])
    shares = tiny.share(secrets, randomness)[:, 0].tolist()
    points = [-1, -2, 1, 2]
    values = [7, 100, 3, 50]

    def lagrange(x: int) -> int:
        total = 0
        for i, a in enumerate(points):
            term = values[i]
            for b in points:
                if b != a:
                    term = term * (x - b) * pow(a - b, -1, 101) % 101
            total += term
        return total % 101

    assert tiny.degree == 3
    assert shares == [lagrange(x) for x in range(1, 6)]


@pytest.mark.parametrize("indices", [ALL, (23, 5, 11, 0, 17, 2), (18, 19, 20, 21, 22, 23, 0)])
def test_any_sufficient_shares_reconstruct(indices: tuple[int, ...]) -> None:
    secrets, shares = shared()
    assert np.array_equal(SHARING.reconstruct(indices, shares[list(indices)]), secrets)


def test_too_few_shares_do_not_reconstruct() -> None:
    _, shares = shared()
    with pytest.raises(DecodingError, match="5 shares do not suffice"):
        SHARING.reconstruct(range(5), shares[:5])


def test_shares_add_up_to_shares_of_the_sum() -> None:
    secrets, shares = shared()
    total = FIELD.add(shares, shares)
    assert np.array_equal(SHARING.reconstruct(ALL, total), FIELD.add(secrets, secrets))


def test_all_shares_can_be_recomputed() -> None:
    _, shares = shared()
    indices = (20, 3, 9, 1, 14, 7, 8)
    again = interpolate_all(FIELD, 24, indices, shares[list(indices)], SHARING.degree)
    assert np.array_equal(again, shares)


def test_codewords_are_told_column_by_column() -> None:
    _, shares = shared()
    assert is_codeword(FIELD, ALL, shares, SHARING.degree).all()
    shares[7, 3] = (shares[7, 3] + 1) % FIELD.modulus
    shares[0, 5] = (shares[0, 5] + 1) % FIELD.modulus
    correct = is_codeword(FIELD, ALL, shares, SHARING.degree)
    assert np.flatnonzero(~correct).tolist() == [3, 5]
    assert is_codeword(FIELD, range(6), shares[:6], SHARING.degree).all()
    assert not is_codeword(FIELD, ALL, draw(24, 1, domain="noise"), SHARING.degree).any()


def test_every_degree_is_told_apart() -> None:
    points = np.arange(1, 25)
    for degree in range(8):
        column = FIELD.power(points, degree)[:, np.newaxis]
        assert is_codeword(FIELD, ALL, column, degree)[0]
        assert degree == 0 or not is_codeword(FIELD, ALL, column, degree - 1)[0]


@pytest.mark.parametrize(
    ("answers", "degree", "corrupt_max", "radius"),
    [(24, 5, 4, 9), (20, 5, 4, 7), (20, 10, 4, 4), (19, 10, 4, 4), (15, 10, 4, 0), (32, 18, 9, 4)],
)
def test_safe_radius(answers: int, degree: int, corrupt_max: int, radius: int) -> None:
    assert safe_radius(answers, degree, corrupt_max) == radius


def test_no_radius_is_safe_when_honest_shares_do_not_fix_a_codeword() -> None:
    with pytest.raises(DecodingError, match="14 shares do not suffice for degree 10"):
        safe_radius(14, 10, 4)


@pytest.mark.parametrize("wrong", [(), (0,), (23,), (0, 1, 2), (3, 9, 20), tuple(range(0, 18, 2))])
def test_errors_are_located_up_to_half_the_distance(wrong: tuple[int, ...]) -> None:
    _, shares = shared()
    values = spoiled(shares, wrong)[:, 0]
    assert locate_errors(FIELD, ALL, values, SHARING.degree, 9) == wrong
    order = (5, 0, 9, 3, 20, 23, 1, 2, 11, 12, 13, 14, 15, 16)
    located = locate_errors(FIELD, order, spoiled(shares, (0, 3))[list(order), 0], 5, 4)
    assert located == (1, 3)


def test_errors_beyond_the_bound_are_refused_not_guessed() -> None:
    _, shares = shared()
    values = spoiled(shares, (2, 4, 6))[:, 0]
    assert locate_errors(FIELD, ALL, values, SHARING.degree, 3) == (2, 4, 6)
    with pytest.raises(DecodingError, match="More than 2 of 24"):
        locate_errors(FIELD, ALL, values, SHARING.degree, 2)
    with pytest.raises(DecodingError, match="More than 0 of 24"):
        locate_errors(FIELD, ALL, values, SHARING.degree, 0)
    with pytest.raises(DecodingError):
        locate_errors(FIELD, ALL, draw(24, domain="noise"), SHARING.degree, 9)


def test_asking_for_more_than_half_the_distance_is_a_bug() -> None:
    _, shares = shared()
    for errors_max in (-1, 10):
        with pytest.raises(ValueError, match="half the distance"):
            locate_errors(FIELD, ALL, shares[:, 0], SHARING.degree, errors_max)


def test_decoding_corrects_and_names_liars() -> None:
    secrets, shares = shared()
    combination = draw(WIDTH, domain="after")
    for liars in ((), (0,), (2, 19), (1, 5, 8, 23), tuple(range(9))):
        decoded, named = decode(SHARING, ALL, spoiled(shares, liars), 4, combination)
        assert np.array_equal(decoded, secrets)
        assert named == liars


def test_decoding_names_members_not_positions() -> None:
    secrets, shares = shared()
    indices = (23, 4, 8, 15, 16, 0, 11, 12, 13, 14, 7, 9)
    answers = spoiled(shares, (16, 8))[list(indices)]
    decoded, named = decode(SHARING, indices, answers, 4, draw(WIDTH, domain="after"))
    assert np.array_equal(decoded, secrets)
    assert named == (8, 16)


def test_a_lie_in_one_column_is_found() -> None:
    secrets, shares = shared()
    shares[6, WIDTH - 1] = (shares[6, WIDTH - 1] + 1) % FIELD.modulus
    decoded, named = decode(SHARING, ALL, shares, 4, draw(WIDTH, domain="after"))
    assert np.array_equal(decoded, secrets)
    assert named == (6,)


def test_a_lie_that_the_combination_misses_is_refused() -> None:
    _, shares = shared()
    combination = draw(WIDTH, domain="after")
    combination[2] = 0
    shares[6, 2] = (shares[6, 2] + 1) % FIELD.modulus
    with pytest.raises(DecodingError, match="outside the located errors"):
        decode(SHARING, ALL, shares, 4, combination)


def test_decoding_needs_honest_shares_that_fix_the_codeword() -> None:
    _, shares = shared()
    with pytest.raises(DecodingError, match="9 shares do not suffice"):
        decode(SHARING, range(9), shares[:9], 4, draw(WIDTH, domain="after"))


@pytest.mark.parametrize(
    ("members", "privacy", "packing", "rule"),
    [
        (5, 0, 2, "at least one"),
        (5, 2, 0, "at least one"),
        (3, 2, 2, "too few members"),
        (99, 2, 2, "too small"),
    ],
)
def test_impossible_parameters_are_bugs(
    members: int, privacy: int, packing: int, rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        PackedSharing(PrimeField(101), members, privacy, packing)


def test_a_committee_of_exactly_enough_members_and_a_field_exactly_large_enough() -> None:
    assert PackedSharing(PrimeField(101), 4, 2, 2).degree == 3
    assert PackedSharing(PrimeField(101), 98, 2, 2).members == 98


def test_arrays_that_do_not_fit_are_bugs() -> None:
    _, shares = shared()
    with pytest.raises(ValueError, match="expected secrets"):
        SHARING.share(draw(3, WIDTH), draw(4, WIDTH))
    with pytest.raises(ValueError, match="expected secrets"):
        SHARING.share(draw(2, WIDTH), draw(4, WIDTH - 1))
    with pytest.raises(ValueError, match="one row of shares"):
        SHARING.reconstruct(ALL, shares[:23])
    for indices in ((0, 1, 2, 3, 4, 24), (0, 1, 2, 3, 4, -1)):
        with pytest.raises(ValueError, match="number of a member"):
            SHARING.reconstruct(indices, shares[:6])
    with pytest.raises(ValueError, match="given twice"):
        SHARING.reconstruct((0, 1, 2, 3, 4, 4), shares[:6])
