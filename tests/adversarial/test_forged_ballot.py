"""A voter that votes twice, against itself, in circles, or with numbers that only look like votes.

Attack A9: malformed votes. Each forged ballot must be rejected, whatever slack comes with it, and
the voter named; each passes when the rule that it breaks is not checked. The last two are attacks
that broke earlier forms of such proofs: sums of x(x - 1) that vanish modulo a prime only, and
rules that cancel each other because they are added up without weights.
"""

import itertools

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.forger import PRODUCT, Forger, two_squares

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, verdicts, verification
from pnyx.protocol.aggregation.ballots import Ballot, is_valid, slack_of, to_bits
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import to_slots
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.selection import committee_size

SIZE = committee_size(7, 1, 2)
TRIALS = 100
FULL = 10_000

CHOICE = Bounds(6, 0, 0, 1, 1, 0, Ballot("choice", 3))
APPROVAL = Bounds(4, 0, 0, 1, 1, 0, Ballot("approval", 4, 2))
RANKING = Bounds(3, 0, 0, 1, 1, 0, Ballot("ranking", 3))
NOISY = Bounds(3, 0, 0, 1, 4, 10, Ballot("choice", 3))


def short(bounds: Bounds, entries, slack, noise_bits=None) -> np.ndarray:
    """Slots [packing, short] of any entries, slack and noise bits, whether they are bits or not."""
    pieces = [np.zeros((SIZE.packing, 0), dtype=np.int64), to_slots(entries, SIZE.packing)]
    if bounds.noise_max:
        pieces += [to_slots(row, SIZE.packing) for row in noise_bits]
    return np.concatenate([*pieces, to_slots(np.asarray(slack), SIZE.packing)], axis=1)


def rules(bounds: Bounds, ballots, trials: int) -> set[Rule | None]:
    found = set()
    for trial, columns in zip(range(trials), itertools.cycle(ballots)):
        forger = Forger(bounds, SIZE, columns, seed=trial)
        verdict = forger.judged(trial.to_bytes(32, "big"))
        assert not verdict.off, "no honest member is named"
        found.add(verdict.rule)
    return found


def forged(bounds: Bounds, entries) -> list[np.ndarray]:
    """A forged ballot with every slack there can be."""
    vector = np.array(entries)
    bits = bounds.ballot_slack
    return [short(bounds, vector, slack) for slack in itertools.product((0, 1), repeat=bits)]


FORGED = [
    (CHOICE, [1, 1, 0, 0, 1, 0]),  # two votes in one question
    (CHOICE, [0, 0, 0, 0, 1, 0]),  # none
    (CHOICE, [1, 1, 1, 1, 1, 1]),
    (APPROVAL, [1, 1, 1, 0]),  # too many
    (APPROVAL, [1, 1, 1, 1]),
    (RANKING, [1, 0, 1]),  # a before b, b before c, c before a
    (RANKING, [0, 1, 0]),
]
VALID = [
    (CHOICE, [1, 0, 0, 0, 0, 1]),
    (APPROVAL, [0, 1, 0, 1]),
    (APPROVAL, [0, 0, 0, 0]),
    (RANKING, [1, 1, 0]),
]


@pytest.mark.parametrize(("bounds", "entries"), VALID)
def test_valid_ballots_pass(bounds, entries):
    vector = np.array(entries)
    assert rules(bounds, [short(bounds, vector, slack_of(bounds.ballot, vector))], 20) == {None}


@pytest.mark.parametrize(("bounds", "entries"), FORGED)
def test_ballots_that_break_their_rule(bounds, entries, monkeypatch):
    assert not is_valid(bounds.ballot, np.array(entries))
    assert rules(bounds, forged(bounds, entries), TRIALS) == {Rule.RANGE}
    with pytest.raises(ValueError, match="not within"):
        verification.prove(np.array(entries), bounds, SIZE, bytes(32), b"")
    unruled(monkeypatch)
    assert rules(bounds, forged(bounds, entries), 5) == {None}


def unruled(monkeypatch) -> None:
    """Members and judges that leave the rules of ballots out."""
    rows = coefficients._ballot_rows
    monkeypatch.setattr(coefficients, "_ballot_rows", lambda *args: 0 * rows(*args))
    monkeypatch.setattr(
        verdicts, "ballot_wanted", lambda theta, bounds, field: np.zeros(len(theta), np.int64)
    )
    coefficients._remembered.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_coefficients():
    yield
    coefficients._remembered.cache_clear()


@pytest.mark.full
@pytest.mark.parametrize(("bounds", "entries"), FORGED)
def test_ballots_that_break_their_rule_full(bounds, entries):
    assert rules(bounds, forged(bounds, entries), FULL) == {Rule.RANGE}


@pytest.mark.parametrize("entries", [[2, -1, 0, 1, 0, 0], [-1, 1, 1, 0, 0, 1], [3, -2, 0, 0, 1, 0]])
def test_votes_of_two_and_minus_one(entries, monkeypatch):
    """Every question still adds up to one; that the entries are no bits gives them away."""
    ballots = [short(CHOICE, np.array(entries), [])]
    assert rules(CHOICE, ballots, TRIALS) == {Rule.BOUND}
    products = verification._products
    monkeypatch.setattr(verification, "_products", lambda *args: products(*args) * np.array([1, 0]))
    assert rules(CHOICE, ballots, 5) == {None}


def test_noise_beyond_its_bound(monkeypatch):
    """A noise "bit" of 3 would add any amount to the count that noise only hides."""
    honest = to_bits(np.array([10, 0, 20]), 2 * NOISY.noise_max)
    vote = np.array([0, 1, 0])
    assert rules(NOISY, [short(NOISY, vote, [], honest)], 20) == {None}
    louder = honest.copy()
    louder[-1, 1] = 3
    ballots = [short(NOISY, vote, [], louder)]
    assert rules(NOISY, ballots, TRIALS) == {Rule.BOUND}
    products = verification._products
    monkeypatch.setattr(verification, "_products", lambda *args: products(*args) * np.array([1, 0]))
    assert rules(NOISY, ballots, 5) == {None}


def test_noise_cannot_stand_in_for_a_vote(monkeypatch):
    """The rules are about the votes alone: noise that looks like the missing vote is none."""
    bits = to_bits(np.array([10 + NOISY.count_scale, 10, 10]), 2 * NOISY.noise_max)
    ballots = [short(NOISY, np.zeros(3, dtype=np.int64), [], bits)]
    assert rules(NOISY, ballots, TRIALS) == {Rule.RANGE}
    unruled(monkeypatch)
    assert rules(NOISY, ballots, 5) == {None}


def _only_modulo(trial: int) -> np.ndarray:
    """Two numbers x, y with x(x - 1) + y(y - 1) = 0 modulo both primes, and neither is a bit."""
    half = pow(2, -1, PRODUCT)
    first, second = two_squares(2, Sampler(trial.to_bytes(32, "big"), "test"))
    return np.array([(first + 1) * half % PRODUCT, (second + 1) * half % PRODUCT, 0, 0])


def modulo_trials(trials: int) -> list[np.ndarray]:
    return [short(APPROVAL, _only_modulo(trial), [0, 0]) for trial in range(trials)]


def test_votes_that_are_bits_modulo_the_primes_only(monkeypatch):
    """Sums of x(x - 1) vanish, as earlier forms checked; that x is not short gives it away."""
    assert rules(APPROVAL, modulo_trials(TRIALS), TRIALS) == {Rule.RANGE}
    left = verdicts._verdict

    def without_range_step(holds, off):
        ignored = holds.copy()
        ignored[:, 0] = True
        return left(ignored, off)

    monkeypatch.setattr(verdicts, "_verdict", without_range_step)
    assert rules(APPROVAL, modulo_trials(5), 5) == {None}


@pytest.mark.full
def test_votes_that_are_bits_modulo_the_primes_only_full():
    assert rules(APPROVAL, modulo_trials(FULL), FULL) == {Rule.RANGE}


def test_rules_that_cancel_each_other(monkeypatch):
    """Two votes in one question and none in the other: right on the whole, wrong in each."""
    ballots = [short(CHOICE, np.array([1, 1, 0, 0, 0, 0]), [])]
    assert rules(CHOICE, ballots, TRIALS) == {Rule.RANGE}
    weights = coefficients.weights

    def without_weights(*args):
        drawn = weights(*args)
        return replace(drawn, theta=np.ones_like(drawn.theta))

    monkeypatch.setattr(coefficients, "weights", without_weights)
    monkeypatch.setattr(verdicts, "weights", without_weights)
    coefficients._remembered.cache_clear()
    assert rules(CHOICE, ballots, 5) == {None}
