"""The decoded sum is the plain sum, whoever answers and whoever lies within the radius."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.shares import release, share_plain

from pnyx.primitives.sharing import safe_radius
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS, SUM_MAX
from pnyx.protocol.aggregation.verdicts import UNDECIDED, Rule, Verdict
from pnyx.protocol.selection import CommitteeSize, committee_size

SIZES = [committee_size(7, 1, 2), committee_size(11, 2, 2), committee_size(9, 2, 1)]
ANSWER = np.zeros(1, dtype=np.int64)


@st.composite
def sums(draw: st.DrawFn) -> tuple[CommitteeSize, np.ndarray, list[int], int]:
    """Sizes, contributions [count, length], the members that release, and a seed for liars."""
    size = draw(st.sampled_from(SIZES))
    count, length = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    limit = SUM_MAX // count
    entry = st.integers(-limit, limit)
    rows = draw(
        st.lists(st.lists(entry, min_size=length, max_size=length), min_size=count, max_size=count)
    )
    least = size.degree + 1 + size.corrupt_max
    members = draw(
        st.lists(st.integers(0, size.size - 1), min_size=least, max_size=size.size, unique=True)
    )
    return size, np.array(rows, dtype=np.int64), members, draw(st.integers(0, 2**32))


@given(sums())
@settings(deadline=None, max_examples=40)
def test_shared_sum_equals_plain_sum(case):
    size, rows, members, seed = case
    length = rows.shape[1]
    shares = [share_plain(row, size, bytes((who,)) * 32) for who, row in enumerate(rows)]
    released = release(shares, members)
    generator = np.random.Generator(np.random.PCG64(seed))
    radius = min(size.corrupt_max, safe_radius(len(members), size.degree, size.corrupt_max))
    liars = generator.choice(members, size=generator.integers(0, radius + 1), replace=False)
    for liar in liars:
        field = int(generator.integers(len(FIELDS)))
        released[int(liar)][field][...] = generator.integers(
            FIELDS[field].modulus, size=released[int(liar)][field].shape
        )
    total, _, named = direct.decode_sum(size, released, length)
    assert total.tolist() == rows.sum(axis=0).tolist()
    assert set(named) <= {int(liar) for liar in liars}


@st.composite
def judged(draw: st.DrawFn):
    """A size, verdicts on five contributions, and who answered for which."""
    size = draw(st.sampled_from(SIZES))
    member = st.integers(0, size.size - 1)
    verdict = st.one_of(
        st.frozensets(member, max_size=size.corrupt_max).map(lambda off: Verdict(True, None, off)),
        st.sampled_from((UNDECIDED, Verdict(False, Rule.RANGE), Verdict(False, Rule.BOUND))),
    )
    verdicts = {who: draw(verdict) for who in range(5)}
    answers = draw(st.dictionaries(member, st.frozensets(st.integers(0, 4), min_size=3)))
    return size, verdicts, {m: dict.fromkeys(whom, ANSWER) for m, whom in answers.items()}


@given(judged(), st.permutations(range(5)))
@settings(deadline=None, max_examples=80)
def test_the_accepted_set_is_a_function_of_verdicts_and_answers(case, order):
    """Same answers, same set, in any order; a quorum holds a good share of all that is in it."""
    size, verdicts, answers = case
    found = direct.settle(size, verdicts, answers)
    shuffled = dict(reversed(answers.items()))
    assert found == direct.settle(size, {who: verdicts[who] for who in order}, shuffled)
    assert sorted([*found.accepted, *found.rejected]) == list(range(5))
    assert all(verdicts[who].accepted for who in found.accepted)
    assert all(found.rejected[who] is verdicts[who].rule for who in found.rejected)
    if found.accepted:
        assert len(found.pool) >= size.quorum
    for member in found.pool:
        assert all(who in answers[member] for who in found.accepted)
        assert all(member not in verdicts[who].off for who in found.accepted)


SETTLED = [committee_size(24, 4, 2, 4), committee_size(14, 2, 2, 2), committee_size(8, 1, 1, 2)]


@st.composite
def starved(draw: st.DrawFn):
    """Who lacks what: corrupt members omit at will, corrupt contributors starve whom they like.

    Returns the size, the members that answer, contributor -> members that lack it, the whole ones.
    """
    size = draw(st.sampled_from(SETTLED))
    answering = draw(
        st.sets(
            st.integers(0, size.size - 1),
            min_size=size.quorum + size.corrupt_max,
            max_size=size.size,
        )
    )
    members = sorted(answering)
    corrupt = draw(st.sets(st.sampled_from(members), max_size=size.corrupt_max))
    whole = set(range(draw(st.integers(1, 16))))
    omitted = st.sets(st.sampled_from(sorted(corrupt))) if corrupt else st.just(set())
    lacks = {who: draw(omitted) for who in whole}
    most = draw(st.sampled_from([size.corrupt_max, size.corrupt_max + 1, size.size]))
    for who in range(100, 100 + draw(st.integers(0, 8))):
        lacks[who] = draw(st.sets(st.sampled_from(members), max_size=most))
    honest = answering - corrupt
    return size, members, lacks, {who for who, lacking in lacks.items() if not lacking & honest}


@given(starved())
@settings(deadline=None, max_examples=400)
def test_whole_contributions_are_lost_only_to_those_that_starve_a_few(case):
    """The guarantee that `settle` states: at most b·f²/(n - q) whole contributions are lost."""
    size, members, lacks, whole = case
    answers = {
        m: {who: ANSWER for who, lacking in lacks.items() if m not in lacking} for m in members
    }
    judgement = direct.settle(size, {who: Verdict(accepted=True) for who in lacks}, answers)
    few = [who for who in lacks if who not in whole and len(lacks[who]) <= size.corrupt_max]
    bound = len(few) * size.corrupt_max**2 // (len(members) - size.quorum)
    assert len(whole - set(judgement.accepted)) <= bound
    assert len(judgement.pool) >= size.quorum
