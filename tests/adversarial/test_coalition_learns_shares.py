"""A coalition of committee members pools its secret shares (THREATS A1).

What a coalition learns of the packed secrets is linear: the rank of its shares as functions of
(secrets, randomness), less their rank as functions of the randomness alone. It must be 0 for f
members, at least 1 for f + 1 (so that the bound is real) and everything for f + l.
"""

from itertools import combinations, product

import numpy as np
import pytest

from pnyx.primitives.field import PRIMES, PrimeField, Vector
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing


def rank(field: PrimeField, matrix: Vector) -> int:
    """Rank over the field, by elimination."""
    rows = matrix.copy()
    found = 0
    for column in range(rows.shape[1]):
        pivots = np.flatnonzero(rows[found:, column])
        if not len(pivots):
            continue
        pivot = found + pivots[0]
        rows[[found, pivot]] = rows[[pivot, found]]
        rows[found] = field.multiply(rows[found], int(field.inverse(rows[found, column])))
        for other in range(found + 1, len(rows)):
            rows[other] = field.subtract(
                rows[other], field.multiply(rows[found], int(rows[other, column]))
            )
        found += 1
        if found == len(rows):
            break
    return found


def relations_learned(sharing: PackedSharing, coalition: tuple[int, ...]) -> int:
    """Count the independent linear relations on the secrets that a coalition's shares give."""
    inputs = np.eye(sharing.packing + sharing.privacy, dtype=np.int64)
    shares = sharing.share(inputs[: sharing.packing], inputs[sharing.packing :])
    seen = shares[list(coalition)]
    return rank(sharing.field, seen) - rank(sharing.field, seen[:, sharing.packing :])


@pytest.mark.parametrize("prime", PRIMES)
@pytest.mark.parametrize(("members", "privacy", "packing"), [(7, 3, 2), (7, 2, 3), (6, 1, 1)])
def test_every_coalition_of_a_small_committee(
    prime: int, members: int, privacy: int, packing: int
) -> None:
    sharing = PackedSharing(PrimeField(prime), members, privacy, packing)
    for size in range(1, privacy + packing + 1):
        for coalition in combinations(range(members), size):
            assert relations_learned(sharing, coalition) == max(0, size - privacy)


@pytest.mark.parametrize(("members", "privacy", "packing"), [(24, 4, 2), (64, 12, 8)])
def test_random_coalitions_of_full_committees(members: int, privacy: int, packing: int) -> None:
    sharing = PackedSharing(PrimeField(PRIMES[0]), members, privacy, packing)
    sampler = Sampler(bytes(32), "coalitions")
    sizes = [(privacy, 0), (privacy + 1, 1), (privacy + packing, packing)]
    for size, learned in sizes:
        for _ in range(10):
            coalition = tuple(sampler.sample(members, size))
            assert relations_learned(sharing, coalition) == learned


class WithoutRandomness(PackedSharing):
    """The weak sharing: what it draws is not used."""

    def share(self, secrets: Vector, randomness: Vector) -> Vector:
        return super().share(secrets, np.zeros_like(randomness))


@pytest.mark.parametrize("prime", PRIMES)
def test_the_randomness_is_the_defence(prime: int) -> None:
    weak = WithoutRandomness(PrimeField(prime), 7, 3, 2)
    assert relations_learned(weak, (3, 4, 5)) > 0


def test_the_shares_of_f_members_are_uniform_whatever_the_secrets() -> None:
    """Exhaustive over all randomness of a tiny field: the view says nothing, not even a little."""
    field = PrimeField(11)
    sharing = PackedSharing(field, 6, 2, 2)
    randomness = np.array(list(product(range(11), repeat=2)), dtype=np.int64).T  # [2, 121]
    for secret in ((0, 0), (1, 0), (7, 10)):
        secrets = np.repeat(np.array(secret, dtype=np.int64)[:, np.newaxis], 121, axis=1)
        shares = sharing.share(secrets, randomness)
        for coalition in combinations(range(6), 2):
            views = set(zip(*shares[list(coalition)].tolist(), strict=True))
            assert len(views) == 121
