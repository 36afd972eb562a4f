"""A dealer and the members it colludes with steer the norm check of its contribution.

AGGREGATION.md, section 4, attacks 3 and 8. The update is three times too long and everything else
is honest; the f liars wait for everybody's answers, and choose theirs so that a polynomial of
degree 2D through *some* honest answers has slots that sum to what is wanted. Honest members off
that polynomial would be named, and the update accepted.
"""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from tests.support.forger import Forger, parts, wanted_sums

from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, interpolate_all
from pnyx.protocol.aggregation import verdicts, verification
from pnyx.protocol.aggregation.bounds import Bounds, deciding_honest, steered_sets
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verdicts import UNDECIDED
from pnyx.protocol.selection import committee_size

SIZE = committee_size(24, 4, 2, 4)
BOUNDS = Bounds(3, 3, 60, 0)
UPDATE = np.array([120, -120, 60])
CHALLENGE = b"c" * 32
Q, DEGREE = 2, 2 * SIZE.degree
TRIALS = 25
GUILTY = verdicts.Verdict(accepted=False, rule=verdicts.Rule.SHARING)


def steered(forger: Forger, members: list[int], kept: list[int], liars: list[int], answers):
    """Answers in which the liars put Q on a polynomial through `kept` with the wanted slot sum."""
    shape = (len(FIELDS), 3, forger.plan.repetitions)
    wanted = wanted_sums(SIZE, BOUNDS, forger.claim, CHALLENGE)
    table = {m: given.reshape(shape).copy() for m, given in answers.items()}
    for at, field in enumerate(FIELDS):
        code = PackedSharing(field, SIZE.size, DEGREE + 1 - SIZE.packing, SIZE.packing)
        for repetition in range(shape[2]):
            known = [int(table[m][at, Q, repetition]) for m in kept]
            free = liars[: DEGREE + 1 - len(kept)]  # values here fix the polynomial
            points = kept + free

            def slot_sum(values, code=code, points=points):
                slots = code.reconstruct(points, np.array(values)[:, None])
                return int(slots.sum()) % code.field.modulus

            zeros = [0] * (len(free) - 1)
            base = slot_sum([*known, *zeros, 0])
            slope = (slot_sum([*known, *zeros, 1]) - base) % field.modulus
            missing = int(wanted[at, 1, repetition]) - base
            last = missing * pow(slope, -1, field.modulus) % field.modulus
            column = np.array([*known, *zeros, last])[:, None]
            word = interpolate_all(field, SIZE.size, points, column, DEGREE)[:, 0]
            for liar in liars:
                table[liar][at, Q, repetition] = word[liar]
    return {m: table[m].reshape(-1) for m in members}


def cast(trial: int, count: int) -> tuple[list[int], list[int], list[int]]:
    """Members that answer, the liars and the honest ones among them."""
    order = Sampler(bytes([trial]) * 32, "cast").sample(SIZE.size, count)
    liars = order[: SIZE.corrupt_max]
    return sorted(order), liars, order[SIZE.corrupt_max :]


def verdict(forger: Forger, answers) -> verdicts.Verdict:
    return verdicts.judge_one(SIZE, BOUNDS, forger.claim, CHALLENGE, answers)


def usual_radius(answers: int, size) -> int:
    """Half the distance, whatever the liars could do with it."""
    return (answers - 2 * size.degree - 1) // 2


def over_norm(trial: int, shares=None) -> Forger:
    return Forger(BOUNDS, SIZE, parts(BOUNDS, SIZE, UPDATE, 0), seed=trial, shares=shares)


def beyond_the_safe_radius(trial: int):
    """17 answers: half the distance is 3, but with 3 off only 10 honest members would be on."""
    members, liars, honest = cast(trial, 17)
    forger = over_norm(trial)
    answers = steered(forger, members, honest[3:], liars, forger.answers(CHALLENGE, members))
    return forger, answers, frozenset(honest[:3])


def test_steered_product_is_undecided():
    for trial in range(TRIALS):
        forger, answers, _ = beyond_the_safe_radius(trial)
        assert verdict(forger, answers) == UNDECIDED


def test_steered_product_would_pass_within_the_usual_radius(monkeypatch):
    monkeypatch.setattr(verdicts, "_radius", usual_radius)
    for trial in range(TRIALS):
        forger, answers, blamed = beyond_the_safe_radius(trial)
        assert verdict(forger, answers) == verdicts.Verdict(accepted=True, off=blamed)


def erased_first(trial: int):
    """19 answers, of which 6 honest ones fail V because the dealer dealt them wrong shares."""
    members, liars, honest = cast(trial, 19)
    victims = honest[:6]

    def shares(table):
        for nth, victim in enumerate(victims):
            table[victim, :, 0] = (table[victim, :, 0] + 1 + nth) % FIELDS[1].modulus

    forger = over_norm(trial, shares)
    answers = steered(forger, members, honest[6:], liars, forger.answers(CHALLENGE, members))
    return forger, answers, frozenset(victims)


def test_erasing_members_first_convicts_the_dealer():
    """Six off V are more than can lie: nobody is erased, and nothing decoded."""
    for trial in range(TRIALS):
        forger, answers, _ = erased_first(trial)
        assert verdict(forger, answers) == GUILTY


def test_erasing_members_first_would_pass_with_a_radius_per_polynomial(monkeypatch):
    monkeypatch.setattr(verdicts, "_radius", lambda n, size: (n - size.degree - 1) // 2)
    for trial in range(TRIALS):
        forger, answers, erased = erased_first(trial)
        assert verdict(forger, answers) == verdicts.Verdict(accepted=True, off=erased)


def test_too_few_honest_answers_to_fix_a_polynomial():
    forger = over_norm(0)
    fewest = DEGREE + 1 + SIZE.corrupt_max
    answers = forger.answers(CHALLENGE, range(fewest - 1))
    assert verdict(forger, answers) == UNDECIDED
    answers = forger.answers(CHALLENGE, range(fewest))
    assert verdict(forger, answers).rule is verdicts.Rule.BOUND


def test_liars_never_exceed_f_together():
    """V, L and Q are about the same members: f off each, all different, is too many."""
    honest = parts(BOUNDS, SIZE, np.array([1, 2, 3]), 3600 - 14)
    forger = Forger(BOUNDS, SIZE, honest)
    answers = forger.answers(CHALLENGE)
    for member in range(5):
        answers[member] = answers[member].copy()
        place = forger.plan.repetitions * (member % 3)
        answers[member][place] += 1 if answers[member][place] < 9 else -1
    assert verdict(forger, answers) == GUILTY, "five cannot all be lying"
    del answers[4]
    assert verdict(forger, answers) == verdicts.Verdict(accepted=True, off=frozenset(range(4)))


@pytest.mark.parametrize("liars", [1, 2, 3, 4])
def test_lying_members_are_named_and_change_nothing(liars):
    honest = parts(BOUNDS, SIZE, np.array([1, 2, 3]), 3600 - 14)
    too_long = parts(BOUNDS, SIZE, UPDATE, 0)
    for trial in range(TRIALS):
        sampler = Sampler(bytes([trial]) * 32, "lies")
        members = sampler.sample(SIZE.size, liars)
        for short, rule in ((honest, None), (too_long, verdicts.Rule.BOUND)):
            forger = Forger(BOUNDS, SIZE, short, seed=trial)
            answers = forger.answers(CHALLENGE)
            for member in members:
                lie = answers[member].reshape(2, -1).copy()
                for at, field in enumerate(FIELDS):
                    lie[at] = sampler.field_elements(field.modulus, lie.shape[1])
                if trial % 2:  # everything but one element is true
                    element = sampler.below(answers[member].size)
                    kept, lie = lie.reshape(-1)[element], answers[member].copy()
                    lie[element] = kept
                answers[member] = lie.reshape(-1)
            found = verdict(forger, answers)
            assert found == verdicts.Verdict(
                accepted=rule is None, rule=rule, off=frozenset(members)
            )


def decodable_sets(honest: list[int]) -> list[tuple[int, ...]]:
    """The most sets of 2D + 2 of these members whose points have one and the same sum."""
    by_sum: dict[int, list[tuple[int, ...]]] = {}
    for members in combinations(honest, DEGREE + 2):
        by_sum.setdefault(sum(members), []).append(members)
    return max(by_sum.values(), key=len)


def test_choosing_who_answers_is_what_the_repetitions_pay_for():
    """A dealer delivers late, and a leader picks the answers: thousands of sets decode, each anew.

    The blinds of Q are x^12 - σx^11, which a polynomial of degree 10 meets on every 12 points of
    sum σ. Each such set of honest members, with liars who fit in, is one more try at the wanted
    slot sums, after the challenge. The count is in `cheating_log2`.
    """
    liars, honest = list(range(SIZE.corrupt_max)), list(range(SIZE.corrupt_max, SIZE.size))
    sets = decodable_sets(honest)
    once = comb(DEGREE + 1 + SIZE.corrupt_max, SIZE.corrupt_max)
    assert (once, len(sets), deciding_honest(SIZE)) == (1365, 3788, 12)
    assert len(sets) <= steered_sets(SIZE)
    total = sum(member + 1 for member in sets[0])

    def shares(table):
        blinds = table[:, :, -forged.repetitions :]
        for member in range(SIZE.size):
            for at, field in enumerate(FIELDS):
                point = member + 1
                blinds[member, at] = (point**12 - total * point**11) % field.modulus

    forged = verification.layout(BOUNDS, SIZE)
    forger = over_norm(0, shares)
    answers = forger.answers(CHALLENGE)
    assert not verdict(forger, answers).accepted
    tries = set()
    for chosen in sets[:: len(sets) // 8]:
        members = sorted([*liars, *chosen])
        assert len(members) == SIZE.quorum
        shape = (len(FIELDS), 3, forged.repetitions)
        table = {m: answers[m].reshape(shape).copy() for m in members}
        for at, field in enumerate(FIELDS):
            known = np.stack([table[m][at, Q] for m in chosen])
            words = interpolate_all(field, SIZE.size, chosen, known, DEGREE)
            for liar in liars:
                table[liar][at, Q] = words[liar]
        found = verdict(forger, {m: given.reshape(-1) for m, given in table.items()})
        assert found == verdicts.Verdict(accepted=False, rule=verdicts.Rule.BOUND)
        code = verification.codes(SIZE)[0][Q]
        slots = code.reconstruct(members, np.stack([table[m][0, Q] for m in members]))
        tries.add(tuple((slots.sum(axis=0) % FIELDS[0].modulus).tolist()))
    assert len(tries) > 7, "another sum of slots each time"
