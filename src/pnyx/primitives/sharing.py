"""Packed Shamir sharing, and decoding when some members lie.

Member j (from 0) holds a polynomial of degree D = privacy + packing - 1 at the point j + 1; its
values at -1, ..., -packing are the secrets (Franklin and Yung, 1992). `privacy` members together
learn nothing, one more learns one linear relation, privacy + packing learn everything. Sharing is
linear: shares of a sum are sums of shares.

The shares of one column form a Reed-Solomon word. The usual decoder corrects up to half the
distance, which is too much here: a dealer who colludes with liars can deal a word within half the
distance of two codewords and let the liars choose, with honest members blamed. `safe_radius`
stops where every word that decodes has at least D + 1 honest shares on the codeword that is
found (tests/adversarial/test_colluding_dealer_steers_decoding.py shows the attack).

Arrays are [members, width]: one row per member, one column per packed word. `indices` are member
numbers, from 0, in the order of the rows. Matrices that depend only on who answered are cached.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import DecodingError
from pnyx.primitives.field import PrimeField, Vector

_MATRICES_MAX = 64


class PackedSharing:
    """Packed Shamir sharing of columns of `packing` secrets among `members`."""

    __slots__ = ("_matrix", "degree", "field", "members", "packing", "privacy")

    def __init__(self, field: PrimeField, members: int, privacy: int, packing: int) -> None:
        if privacy < 1 or packing < 1:
            raise ValueError("privacy and packing are at least one")
        if members < privacy + packing:
            raise ValueError("too few members to reconstruct: members >= privacy + packing")
        if members + packing >= field.modulus:
            raise ValueError("the field is too small for so many members")
        self.field, self.members = field, members
        self.privacy, self.packing = privacy, packing
        self.degree = privacy + packing - 1
        self._matrix = _lagrange(
            field,
            _secret_points(field, packing) + _points(range(privacy)),
            _points(range(privacy, members)),
        )

    def share(self, secrets: Vector, randomness: Vector) -> Vector:
        """Share secrets [packing, width]; returns shares [members, width].

        randomness: [privacy, width] uniform field elements, secret, used once. They *are* the
        shares of the first `privacy` members, which fixes the polynomial just as uniform
        coefficients would, and lets those shares travel as a seed.
        """
        width = secrets.shape[1]
        if secrets.shape[0] != self.packing or randomness.shape != (self.privacy, width):
            raise ValueError("expected secrets [packing, width] and randomness [privacy, width]")
        others = self.field.matmul(self._matrix, np.concatenate([secrets, randomness]))
        return np.concatenate([randomness, others])

    def reconstruct(self, indices: Sequence[int], shares: Vector) -> Vector:
        """Return the secrets [packing, width] from the first degree + 1 of shares [n, width].

        Trusts the shares: use `decode` on those that peers sent. Raises DecodingError if too few.
        """
        if not all(0 <= index < self.members for index in indices):
            raise ValueError("an index is not the number of a member")
        targets = _secret_points(self.field, self.packing)
        return _interpolate(self.field, indices, shares, self.degree, targets)


def interpolate_all(
    field: PrimeField, members: int, indices: Sequence[int], shares: Vector, degree: int
) -> Vector:
    """Recompute the shares of all members [members, width] from degree + 1 of shares [n, width]."""
    return _interpolate(field, indices, shares, degree, _points(range(members)))


def safe_radius(answers: int, degree: int, corrupt_max: int) -> int:
    """Return how many wrong shares may be corrected among `answers` without being steered.

    Half the distance, but never so many that fewer than degree + 1 honest shares are left on the
    codeword. Raises DecodingError when honest shares alone would not fix a codeword.
    """
    spare = answers - corrupt_max - degree - 1
    if spare < 0:
        raise DecodingError(
            f"{answers} shares do not suffice for degree {degree} with up to {corrupt_max} "
            "corrupted members: wait for more."
        )
    return min((answers - degree - 1) // 2, spare)


def is_codeword(
    field: PrimeField, indices: Sequence[int], values: Vector, degree: int
) -> NDArray[np.bool_]:
    """Tell for each column of values [n, m] whether it is a polynomial of at most `degree`.

    Up to degree + 1 values always are. Returns [m] booleans.
    """
    if len(indices) <= degree + 1:
        return np.ones(values.shape[1], dtype=np.bool_)
    expected = _interpolate(field, indices, values, degree, _points(indices[degree + 1 :]))
    return np.asarray((expected == values[degree + 1 :]).all(axis=0))


def locate_errors(
    field: PrimeField, indices: Sequence[int], values: Vector, degree: int, errors_max: int
) -> tuple[int, ...]:
    """Return the positions, in `indices`, of the wrong ones among values [n].

    errors_max: at most half the distance, (n - degree - 1) / 2; see `safe_radius`.
    Raises DecodingError when no codeword differs in errors_max places or fewer.
    """
    if not 0 <= 2 * errors_max <= len(indices) - degree - 1:
        raise ValueError("errors_max must lie between 0 and half the distance of the code")
    column = values[:, np.newaxis]
    if is_codeword(field, indices, column, degree)[0]:
        return ()
    syndromes = field.matmul(_syndrome_matrix(field, tuple(indices), degree), column)[:, 0]
    locator = _berlekamp_massey(syndromes.tolist(), field.modulus)
    if len(locator) - 1 <= errors_max:
        wrong = _roots(field, locator, _points(indices))
        kept = [position for position in range(len(indices)) if position not in wrong]
        kept_indices = [indices[position] for position in kept]
        # the final word: a locator of another shape comes from too many errors
        if is_codeword(field, kept_indices, column[kept], degree)[0]:
            return wrong
    raise DecodingError(
        f"More than {errors_max} of {len(indices)} shares are wrong: "
        "open a dispute and blame nobody yet."
    )


def decode(
    sharing: PackedSharing,
    indices: Sequence[int],
    shares: Vector,
    corrupt_max: int,
    combination: Vector,
) -> tuple[Vector, tuple[int, ...]]:
    """Reconstruct secrets from shares [n, width] of which up to `safe_radius` rows are wrong.

    indices: distinct member numbers, one for each row.
    combination: [width] uniform field elements, drawn *after* the shares are fixed. The columns
    combined with it form one word that names the liars (each one escapes with chance 1/p); then
    every column must be a codeword without them, so a chance escape is refused, never decoded.

    Returns (secrets [packing, width], member numbers of the liars). Raises DecodingError.
    """
    field, degree = sharing.field, sharing.degree
    errors_max = safe_radius(len(indices), degree, corrupt_max)
    combined = field.matmul(shares, combination[:, np.newaxis])[:, 0]
    wrong = locate_errors(field, indices, combined, degree, errors_max)
    kept = [position for position in range(len(indices)) if position not in wrong]
    kept_indices = [indices[position] for position in kept]
    kept_shares = shares[kept] if wrong else shares
    if not is_codeword(field, kept_indices, kept_shares, degree).all():
        raise DecodingError("Shares disagree outside the located errors: decode them once more.")
    liars = tuple(sorted(indices[position] for position in wrong))
    return sharing.reconstruct(kept_indices, kept_shares), liars


def _points(indices: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(index) + 1 for index in indices)


def _secret_points(field: PrimeField, packing: int) -> tuple[int, ...]:
    return tuple(field.modulus - 1 - slot for slot in range(packing))


def _interpolate(
    field: PrimeField,
    indices: Sequence[int],
    shares: Vector,
    degree: int,
    targets: tuple[int, ...],
) -> Vector:
    """Evaluate at `targets` the polynomials through the first degree + 1 rows of shares."""
    if len(indices) != len(shares):
        raise ValueError("expected one row of shares for each index")
    if len(indices) <= degree:
        raise DecodingError(
            f"{len(indices)} shares do not suffice for degree {degree}: wait for more."
        )
    matrix = _lagrange(field, _points(indices[: degree + 1]), targets)
    return field.matmul(matrix, shares[: degree + 1])


@lru_cache(maxsize=_MATRICES_MAX)
def _lagrange(field: PrimeField, sources: tuple[int, ...], targets: tuple[int, ...]) -> Vector:
    """Return the matrix [targets, sources] from values at `sources` to values at `targets`."""
    differences = _differences(field, targets, sources)
    known = differences == 0  # a target that is itself a source: its row selects that value
    factors = np.where(known, 1, differences)
    matrix = field.multiply(field.inverse(factors), _barycentric_weights(field, sources))
    matrix = field.multiply(matrix, _row_products(field, factors)[:, np.newaxis])
    selects = known.any(axis=1)
    matrix[selects] = known[selects]
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=_MATRICES_MAX)
def _syndrome_matrix(field: PrimeField, indices: tuple[int, ...], degree: int) -> Vector:
    """Return the parity check [n - degree - 1, n] whose row r is v_i·x_i^r.

    x_i are the points and v_i their barycentric weights: the dual of a Reed-Solomon code is a
    generalised Reed-Solomon code (MacWilliams and Sloane, chapter 10, theorem 4).
    """
    points = np.array(_points(indices), dtype=np.int64)
    row = _barycentric_weights(field, _points(indices))
    rows = []
    for _ in range(len(indices) - degree - 1):
        rows.append(row)
        row = field.multiply(row, points)
    matrix = np.stack(rows)
    matrix.setflags(write=False)
    return matrix


def _barycentric_weights(field: PrimeField, points: tuple[int, ...]) -> Vector:
    """Return 1 / prod over i of (x_j - x_i), i ≠ j, for each of the distinct points x_j."""
    differences = _differences(field, points, points)
    np.fill_diagonal(differences, 1)
    if not differences.all():
        raise ValueError("the same member is given twice")
    return field.inverse(_row_products(field, differences))


def _differences(field: PrimeField, left: tuple[int, ...], right: tuple[int, ...]) -> Vector:
    """Return the matrix [left, right] of differences between two lists of points."""
    columns = np.array(right, dtype=np.int64)
    return field.reduce(np.array(left, dtype=np.int64)[:, np.newaxis] - columns)


def _row_products(field: PrimeField, matrix: Vector) -> Vector:
    products = np.ones(len(matrix), dtype=np.int64)
    for column in matrix.T:
        products = field.multiply(products, column)
    return products


def _roots(field: PrimeField, locator: Sequence[int], points: tuple[int, ...]) -> tuple[int, ...]:
    """Return the positions of the points whose inverse is a root of the locator polynomial."""
    inverses = field.inverse(np.array(points, dtype=np.int64))
    values = np.zeros_like(inverses)
    for coefficient in reversed(locator):  # Horner
        values = field.add(field.multiply(values, inverses), coefficient)
    return tuple(np.flatnonzero(values == 0).tolist())


def _berlekamp_massey(syndromes: Sequence[int], modulus: int) -> list[int]:
    """Return the shortest linear recurrence [1, c_1, ..., c_L] that generates the syndromes.

    Massey (1969): sum over i of c_i·s_(r-i) = 0 for r >= L. With at most half as many errors as
    syndromes, the c_i are the coefficients of the error locator prod over errors of (1 - x·X).
    """
    current, previous = [1], [1]
    length, shift, previous_discrepancy = 0, 1, 1
    for index in range(len(syndromes)):
        discrepancy = 0
        for offset, coefficient in enumerate(current[: length + 1]):
            discrepancy += coefficient * syndromes[index - offset]
        discrepancy %= modulus
        if discrepancy == 0:
            shift += 1
            continue
        factor = discrepancy * pow(previous_discrepancy, -1, modulus) % modulus
        updated = current + [0] * (len(previous) + shift - len(current))
        for offset, coefficient in enumerate(previous):
            updated[offset + shift] = (updated[offset + shift] - factor * coefficient) % modulus
        if 2 * length <= index:
            previous, previous_discrepancy = current, discrepancy
            length, shift = index + 1 - length, 1
        else:
            shift += 1
        current = updated
    return (current + [0] * (length + 1))[: length + 1]
