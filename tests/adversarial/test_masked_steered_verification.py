"""A dealer of a masked contribution and the members it colludes with steer its norm check.

The masked counterpart of `test_colluding_dealer_steers_verification`: a vector three times too long
with forged slack bits, everything else honest; f liars wait for everybody's answers, and put Q on a
polynomial through *some* honest answers whose slots sum to what is wanted.
"""

import numpy as np
import pytest
from tests.support.forger import wanted_sums
from tests.support.masked_forger import MaskedForger, digits_of, hidden, update

from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, interpolate_all
from pnyx.protocol.aggregation import verdicts as decoding
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification.bounds import MaskedBounds
from pnyx.protocol.aggregation.verdicts import UNDECIDED, Rule, Verdict
from pnyx.protocol.selection import committee_size

SIZE = committee_size(24, 4, 2, 4)
BOUNDS = MaskedBounds(20_000, 4096, 1024, 24, 6, 512)
CHALLENGE = b"c" * 32
Q, DEGREE = 2, 2 * SIZE.degree
TRIALS = 10


def steered(forger: MaskedForger, kept: list[int], liars: list[int], answers):
    """Answers in which the liars put Q on a polynomial through `kept` with the wanted slot sum."""
    shape = (len(FIELDS), 3, forger.plan.repetitions)
    wanted = wanted_sums(SIZE, forger.bounds, forger.claim, CHALLENGE)
    table = {m: given.reshape(shape).copy() for m, given in answers.items()}
    free = liars[: DEGREE + 1 - len(kept)]  # values here fix the polynomial
    points = kept + free
    for at, field in enumerate(FIELDS):
        code = PackedSharing(field, SIZE.size, DEGREE + 1 - SIZE.packing, SIZE.packing)
        unit = np.eye(len(points), dtype=np.int64)
        weights = field.reduce(code.reconstruct(points, unit).sum(axis=0))  # of the slots' sum
        known = np.stack([table[m][at, Q] for m in kept])
        values = np.concatenate([known, np.zeros((len(free), shape[2]), dtype=np.int64)])
        missing = field.reduce(wanted[at, 1] - field.matmul(weights[np.newaxis], values)[0])
        values[-1] = field.multiply(missing, pow(int(weights[-1]), -1, field.modulus))
        word = interpolate_all(field, SIZE.size, points, values, DEGREE)
        for liar in liars:
            table[liar][at, Q] = word[liar]
    return {m: given.reshape(-1) for m, given in table.items()}


def cast(trial: int, count: int) -> tuple[list[int], list[int], list[int]]:
    """Members that answer, the liars and the honest ones among them."""
    order = Sampler(bytes([trial]) * 32, "cast").sample(SIZE.size, count)
    return sorted(order), order[: SIZE.corrupt_max], order[SIZE.corrupt_max :]


def over_norm(trial: int, shares=None) -> MaskedForger:
    z = hidden(BOUNDS, update(BOUNDS, 3, trial), trial)
    return MaskedForger(
        BOUNDS,
        SIZE,
        z,
        seed=trial,
        digits=lambda sketch: digits_of(sketch, BOUNDS, slack=(0, 0)),
        shares=shares,
    )


def usual_radius(answers: int, size) -> int:
    """Half the distance, whatever the liars could do with it."""
    return (answers - 2 * size.degree - 1) // 2


def beyond_the_safe_radius(trial: int):
    """17 answers: half the distance is 3, but with 3 off only 10 honest members would be on."""
    members, liars, honest = cast(trial, 17)
    forger = over_norm(trial)
    answers = steered(forger, honest[3:], liars, forger.answers(CHALLENGE, members))
    return forger, answers, frozenset(honest[:3])


def test_steered_product_is_undecided():
    for trial in range(TRIALS):
        forger, answers, _ = beyond_the_safe_radius(trial)
        assert forger.verdict(CHALLENGE, answers) == UNDECIDED


def test_steered_product_would_pass_within_the_usual_radius(monkeypatch):
    monkeypatch.setattr(decoding, "_radius", usual_radius)
    for trial in range(TRIALS):
        forger, answers, blamed = beyond_the_safe_radius(trial)
        found = forger.verdict(CHALLENGE, answers)
        assert found == Verdict(accepted=True, off=blamed), "honest members would be named"


def erased_first(trial: int):
    """19 answers, of which 6 honest ones fail V because the dealer dealt them wrong shares."""
    members, liars, honest = cast(trial, 19)
    free = [member for member in honest if member >= SIZE.corrupt_max]  # others expand a seed
    victims = free[:6]

    def shares(tables, _free):
        for nth, victim in enumerate(victims):
            for at, field in enumerate(FIELDS):
                tables[at][victim, 0] = (int(tables[at][victim, 0]) + 1 + nth) % field.modulus

    forger = over_norm(trial, shares)
    kept = [member for member in honest if member not in victims]
    answers = steered(forger, kept, liars, forger.answers(CHALLENGE, members))
    return forger, answers, frozenset(victims)


def test_erasing_members_first_convicts_the_dealer():
    """Six off V are more than can lie: nothing is decoded, and the dealer dealt no vector."""
    for trial in range(TRIALS):
        forger, answers, _ = erased_first(trial)
        assert forger.verdict(CHALLENGE, answers) == Verdict(accepted=False, rule=Rule.SHARING)


def test_erasing_members_first_would_pass_without_counting_honest_answers(monkeypatch):
    monkeypatch.setattr(decoding, "_radius", lambda n, size: (n - size.degree - 1) // 2)
    for trial in range(TRIALS):
        forger, answers, erased = erased_first(trial)
        assert forger.verdict(CHALLENGE, answers) == Verdict(accepted=True, off=erased)


def test_too_few_honest_answers_to_fix_a_polynomial():
    forger = over_norm(0)
    fewest = DEGREE + 1 + SIZE.corrupt_max
    assert forger.judged(CHALLENGE, range(fewest - 1)) == UNDECIDED
    assert forger.judged(CHALLENGE, range(fewest)).rule is Rule.BOUND


@pytest.mark.parametrize("liars", [1, 4])
def test_lying_members_are_named_and_change_nothing(liars):
    for trial in range(TRIALS):
        sampler = Sampler(bytes([trial]) * 32, "lies")
        members = sampler.sample(SIZE.size, liars)
        z = hidden(BOUNDS, update(BOUNDS, 0.8, trial), trial)
        for forger, rule in (
            (MaskedForger(BOUNDS, SIZE, z, seed=trial), None),
            (over_norm(trial), Rule.BOUND),
        ):
            answers = forger.answers(CHALLENGE)
            for member in members:
                place = sampler.below(answers[member].size)
                answers[member] = answers[member].copy()
                answers[member][place] ^= 1
            found = forger.verdict(CHALLENGE, answers)
            assert found == Verdict(accepted=rule is None, rule=rule, off=frozenset(members))


@pytest.mark.full
def test_steering_many_times(monkeypatch):
    for trial in range(250):
        for make in (beyond_the_safe_radius, erased_first):
            forger, answers, _ = make(trial)
            assert not forger.verdict(CHALLENGE, answers).accepted
