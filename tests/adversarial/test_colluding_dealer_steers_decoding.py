"""A dealer and the members it colludes with choose, after the fact, what their shares decode to.

The dealer deals honest members a word that lies
between two codewords; the liars answer with whichever suits them once they know the challenge,
and the honest members off that codeword would be "corrected" and blamed. Decoding within the
safe radius refuses instead. The last test decodes to the usual radius, half the distance, and
shows that the attack then works: the bound is what stops it.
"""

import numpy as np
import pytest

from pnyx.errors import DecodingError
from pnyx.primitives.field import PRIMES, PrimeField, Vector
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, decode, locate_errors, safe_radius

MEMBERS, CORRUPT_MAX, DEGREE = 32, 9, 18
FIELD = PrimeField(PRIMES[0])
SHARING = PackedSharing(FIELD, MEMBERS, privacy=DEGREE - 3, packing=4)
USUAL_RADIUS = (MEMBERS - DEGREE - 1) // 2
TRIALS = 100


class Attack:
    """Two codewords that agree on as many honest members as two codewords can."""

    def __init__(self, seed: int) -> None:
        self.sampler = Sampler(bytes([seed]) * 32, "attack")
        order = self.sampler.sample(MEMBERS, MEMBERS)
        self.liars = order[:CORRUPT_MAX]
        common = order[CORRUPT_MAX : CORRUPT_MAX + DEGREE]
        self.outvoted = sorted(order[CORRUPT_MAX + DEGREE :])  # honest members to be blamed
        self.first = SHARING.share(self._uniform(4), self._uniform(DEGREE - 3))
        # the difference of the two codewords vanishes at the common members
        points = np.arange(1, MEMBERS + 1)
        difference = np.ones(MEMBERS, dtype=np.int64)
        for member in common:
            difference = FIELD.multiply(difference, FIELD.reduce(points - (member + 1)))
        self.second = FIELD.add(self.first, difference[:, np.newaxis])

    def answers(self, steered: bool) -> Vector:
        """Honest members answer what they were dealt; the liars choose the codeword."""
        answers = self.first.copy()
        if steered:
            answers[self.liars] = self.second[self.liars]
        return answers

    def _uniform(self, rows: int) -> Vector:
        return self.sampler.field_elements(FIELD.modulus, (rows, 1))


def test_a_steered_word_is_refused_and_nobody_is_blamed() -> None:
    one = np.ones(1, dtype=np.int64)
    for seed in range(TRIALS):
        attack = Attack(seed)
        secrets, liars = decode(SHARING, range(MEMBERS), attack.answers(False), CORRUPT_MAX, one)
        assert np.array_equal(secrets, SHARING.reconstruct(range(MEMBERS), attack.first))
        assert liars == ()
        with pytest.raises(DecodingError):
            decode(SHARING, range(MEMBERS), attack.answers(True), CORRUPT_MAX, one)


def test_erasing_members_first_does_not_widen_the_radius() -> None:
    """Attack 8: members erased by another test leave too few honest shares to fix a codeword."""
    one = np.ones(1, dtype=np.int64)
    for seed in range(TRIALS):
        attack = Attack(seed)
        answers = attack.answers(True)
        left = [member for member in range(MEMBERS) if member not in attack.outvoted]
        assert len(left) - CORRUPT_MAX < DEGREE + 1
        # what is left is a clean codeword, the liars' choice: only the count gives it away
        assert np.array_equal(answers[left], attack.second[left])
        with pytest.raises(DecodingError, match="do not suffice"):
            decode(SHARING, left, answers[left], CORRUPT_MAX, one)


def test_decoding_to_the_usual_radius_would_be_steered() -> None:
    assert safe_radius(MEMBERS, DEGREE, CORRUPT_MAX) < USUAL_RADIUS
    for seed in range(TRIALS):
        attack = Attack(seed)
        word = attack.answers(True)[:, 0]
        blamed = locate_errors(FIELD, range(MEMBERS), word, DEGREE, USUAL_RADIUS)
        assert list(blamed) == attack.outvoted


def test_within_the_safe_radius_the_decoded_word_is_fixed_by_honest_members() -> None:
    for answers in range(20, 40):
        for degree in range(3, 19):
            for corrupt in range(10):
                if answers - corrupt < degree + 1:
                    continue
                radius = safe_radius(answers, degree, corrupt)
                # two codewords share `degree` places at most, so the honest answers on a decoded
                # word must be more than that
                assert answers - corrupt - radius >= degree + 1
                assert 2 * radius <= answers - degree - 1
