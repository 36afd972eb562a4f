"""The decoded sum is the plain sum, whoever answers and whoever lies within the radius."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.primitives.sharing import safe_radius
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS, SUM_MAX
from pnyx.protocol.selection import CommitteeSize, committee_size

SIZES = [committee_size(7, 1, 2), committee_size(11, 2, 2), committee_size(9, 2, 1)]


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
    shares = []
    for who, row in enumerate(rows):
        payloads = direct.share_vector(row, size, bytes((who,)) * 32)
        shares.append([direct.read_payload(p, length, size.packing) for p in payloads])
    released = {
        m: direct.read_released(
            direct.add_shares([share[m] for share in shares], length, size.packing),
            length,
            size.packing,
        )
        for m in members
    }
    generator = np.random.Generator(np.random.PCG64(seed))
    radius = min(size.corrupt_max, safe_radius(len(members), size.degree, size.corrupt_max))
    liars = generator.choice(members, size=generator.integers(0, radius + 1), replace=False)
    for liar in liars:
        field = int(generator.integers(len(FIELDS)))
        released[int(liar)][field][...] = generator.integers(
            FIELDS[field].modulus, size=released[int(liar)][field].shape
        )
    total, named = direct.decode_sum(size, released, length)
    assert total.tolist() == rows.sum(axis=0).tolist()
    assert set(named) <= {int(liar) for liar in liars}


@given(
    st.sampled_from(SIZES),
    st.dictionaries(st.integers(0, 10), st.sets(st.integers(0, 4)), min_size=1),
    st.permutations(range(5)),
)
@settings(deadline=None, max_examples=40)
def test_judgement_is_a_function_of_the_answers(size, held, order):
    """Whatever is held by whom: same answers, same judgement, and a quorum can add it up."""
    contributions = {}
    for who in range(5):
        payloads = direct.share_vector(np.array([who]), size, bytes((who,)) * 32)
        contributions[who] = [direct.read_payload(p, 1, size.packing) for p in payloads]
    answers = {
        m: {w: direct.check_values(contributions[w][m], b"c" * 32, w) for w in sorted(whom)}
        for m, whom in held.items()
        if m < size.size
    }
    judged = direct.judge(size, range(5), answers)
    shuffled = dict(reversed(answers.items()))
    assert judged == direct.judge(size, order, shuffled)
    assert sorted(judged.accepted + judged.rejected) == list(range(5))
    if judged.accepted:
        assert len(judged.pool) >= size.quorum
        assert all(w in answers[m] for m in judged.pool for w in judged.accepted)
