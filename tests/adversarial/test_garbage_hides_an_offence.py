"""A contributor hides what it did wrong behind answers that decode to nothing (THREATS A9).

Besides its offence it deals garbage, in one column, to more members than can be lying. Were that
undecided, every offence could be had for nothing: no member knows itself to be off, nobody opens a
share. So it convicts; and no lies of f members make an honest contributor look like it.
"""

import numpy as np
import pytest
from tests.adversarial.test_over_scale_contributor import attacked, borrowed
from tests.support.forger import Forger, parts, slack_of
from tests.support.town import SMALL

from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import interpolate_all
from pnyx.protocol.aggregation import verdicts, verification
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verdicts import UNDECIDED, Rule, Verdict
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.selection import committee_size

SIZE = committee_size(24, 4, 2, 4)
BOUNDS = Bounds(3, 3, 60, 0)
PLAN = layout(BOUNDS, SIZE)
F, D = SIZE.corrupt_max, SIZE.degree
CHALLENGE = b"c" * 32
UPDATE = np.array([1, 2, 3])
# the first data column; the first blind of V, of L and of Q: each decides a polynomial alone
COLUMNS = [0, *(PLAN.data + check * PLAN.repetitions for check in range(3))]
NEEDED = [D + 1, D + 1, D + SIZE.packing, 2 * D + 1]  # answers that fix its polynomial


def honest(seed: int, shares=None) -> Forger:
    short = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE))
    return Forger(BOUNDS, SIZE, short, seed=seed, shares=shares)


def garbage(column: int, victims: range, seed: int = 1):
    """Random shares of one column in one field, for some members."""
    noise = Sampler(bytes([seed]) * 32, "garbage")

    def change(table):
        words = noise.field_elements(FIELDS[1].modulus, (len(victims),))
        table[victims.start : victims.stop, 1, column] = words

    return change


def judged(forger: Forger, answers) -> Verdict:
    return verdicts.judge_one(SIZE, BOUNDS, forger.claim, CHALLENGE, answers)


@pytest.mark.parametrize(("column", "needed"), list(zip(COLUMNS, NEEDED, strict=True)))
@pytest.mark.parametrize("seed", range(3))
def test_garbage_for_more_than_can_lie_convicts(column, needed, seed):
    """As soon as f errors could be told from more: with 2f answers above what fixes the column."""
    forger = honest(seed, garbage(column, range(F + 1), seed))
    answers = forger.answers(CHALLENGE, range(needed + 2 * F))
    assert judged(forger, answers) == Verdict(accepted=False, rule=Rule.SHARING)
    assert judged(forger, forger.answers(CHALLENGE)).rule is Rule.SHARING
    answers = forger.answers(CHALLENGE, range(needed + 2 * F - 1))
    assert judged(forger, answers) == UNDECIDED, "it might still be f liars"


@pytest.mark.parametrize("column", COLUMNS)
def test_garbage_for_everybody_convicts(column):
    forger = honest(0, garbage(column, range(SIZE.size)))
    assert judged(forger, forger.answers(CHALLENGE)).rule is Rule.SHARING


def lies(style: str, answers, liars: list[int], sampler: Sampler):
    """What liars could say to be taken for more than they are."""
    shape = (len(FIELDS), 3, PLAN.repetitions)
    table = {m: given.reshape(shape).copy() for m, given in answers.items()}
    for nth, liar in enumerate(liars):
        for at, field in enumerate(FIELDS):
            random = sampler.field_elements(field.modulus, shape[1:])
            if style == "random":
                table[liar][at] = random
            elif style == "one column each":
                table[liar][nth % 2, nth % 3, nth % shape[2]] = random[0, 0]
            elif style == "on a false polynomial":
                for check, degree in enumerate((D, D + SIZE.packing - 1, 2 * D)):
                    points = [*[m for m in table if m not in liars][:degree], liars[0]]
                    known = np.stack([table[m][at, check] for m in points])
                    known[-1] = random[0]
                    words = interpolate_all(field, SIZE.size, points, known, degree)
                    table[liar][at, check] = words[liar]
    return {m: given.reshape(-1) for m, given in table.items()}


@pytest.mark.parametrize("style", ["random", "one column each", "on a false polynomial"])
def test_honest_contributor_is_never_convicted_by_f_liars(style):
    """Whoever picks the answers: every number of them, the fewest that decide included."""
    forger = honest(7)
    everything = forger.answers(CHALLENGE)
    sampler = Sampler(bytes(32), style)
    for count in range(F + 1, SIZE.size + 1):
        for _ in range(4):
            members = sampler.sample(SIZE.size, count)
            liars = members[:F]
            if style == "on a false polynomial" and count - F < 2 * D:
                continue
            answers = lies(style, {m: everything[m] for m in members}, liars, sampler)
            found = judged(forger, answers)
            assert found.rule in (None, Rule.UNDECIDED)
            assert found.off <= set(liars)
            if count >= 2 * D + 1 + 2 * F:
                assert found == Verdict(accepted=True, off=frozenset(liars))


def hidden(vector, bounds, context):
    """More than the bound, and behind it garbage that keeps every answer from decoding."""
    payloads, published = borrowed(vector, bounds, context)
    for member in range(SMALL.corrupt_max + 1):
        shares = [s.copy() for s in verification.read_payload(payloads[member], bounds, SMALL)]
        shares[0][0] = (shares[0][0] + 1 + member) % FIELDS[0].modulus
        packed = b"".join(f.pack(s) for f, s in zip(FIELDS, shares, strict=True))
        payloads[member] = payloads[member][: verification.SALT_BYTES] + packed
    return payloads, published


def blamed(town) -> set[tuple[int, int, str, bool]]:
    """Who says what of whom, and whether with evidence."""
    return {
        (at, town.census.index_of(effect.peer), effect.rule, bool(effect.evidence))
        for _, at, effect in town.log
        if isinstance(effect, PeerBlamed)
    }


def test_contributor_that_hides_its_offence_is_convicted_before_everybody():
    town, study, traitor, _ = attacked(hidden)
    assert town.model(study)[traitor] == 0
    told = blamed(town)
    assert {(who, rule) for _, who, rule, _ in told} == {(traitor, Rule.SHARING.value)}
    assert {at for at, _, _, proven in told if proven} >= set(range(town.count)) - {traitor}


def test_without_the_rule_it_is_never_named(monkeypatch):
    monkeypatch.setattr(verdicts, "_undecoded", lambda *given: UNDECIDED)
    town, study, traitor, _ = attacked(hidden)
    assert town.model(study)[traitor] == 0
    assert blamed(town) == set()
