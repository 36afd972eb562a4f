"""A sum with a negative error must decode to the sum all the same.

A decoder that divides by Δ without centring finds one too little wherever an error is negative, and
at the least value that is below what any sum can be. A coefficient of zeros is worse: it is the sum
of the errors alone, negative half of the time, which modulo Q is a number just below Q, and the
largest value is found there. No value is shifted to 0, so only who deviates sends such a one.
"""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring
from tests.support.weakened import weaken

from pnyx.errors import DecodingError
from pnyx.protocol.aggregation.masked import coding
from pnyx.protocol.aggregation.masked.parameters import P0, RINGS

COUNT = 5


@pytest.fixture(params=RINGS, ids=["P0", "P1", "P2"])
def parameters(request):
    return in_ring(request.param, 5000, 12, 24)


@pytest.fixture
def _no_centring(monkeypatch):
    """The decoder as one would first write it: residues taken as they are."""
    honest = coding.compose
    monkeypatch.setattr(coding, "compose", lambda *taken: honest(*taken[:-1], 0))


def vectors_of(parameters, value):
    return np.full((COUNT, parameters.length), value)


@pytest.mark.parametrize("value", [-2047, 2047, 0, -1])
def test_constant_vectors_are_summed_exactly(parameters, value):
    found = masked.sum_of(parameters, vectors_of(parameters, value))
    assert set(found.tolist()) == {COUNT * value}


@pytest.mark.usefixtures("_no_centring")
def test_without_centring_the_least_values_are_garbage(parameters):
    with pytest.raises(DecodingError):
        masked.sum_of(parameters, vectors_of(parameters, -2047))


@pytest.mark.usefixtures("_no_centring")
def test_without_centring_every_negative_error_costs_one(parameters):
    """Silently: in the middle of the range nothing is out of range."""
    vectors = vectors_of(parameters, 0)
    lowest = masked.sum_of(parameters, vectors)[: parameters.length // parameters.slots // 2]
    wrong = np.flatnonzero(lowest != 0)
    assert set(lowest[wrong].tolist()) == {-1}
    assert 0.3 * len(lowest) < len(wrong) < 0.7 * len(lowest)


@pytest.mark.usefixtures("_no_centring")
def test_without_centring_and_range_check_the_largest_value_appears(monkeypatch):
    """With neither, coefficients of zeros would push a parameter as far as it goes."""
    parameters = in_ring(P0, 1000, 12, 24)
    monkeypatch.setattr(coding, "_any_beyond", lambda low, high, bits: False)
    monkeypatch.setattr(type(parameters), "slot_value_max", property(lambda self: 1 << 40))
    vectors = vectors_of(parameters, -2047)
    keys = [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    sums = masked.add(
        parameters, [masked.mask(parameters, k, v) for k, v in zip(keys, vectors, strict=True)]
    )
    [total] = sums[0]
    total -= np.uint64(COUNT << parameters.shift)  # Δ from each, as who deviates can take
    weaken(monkeypatch, coding, (" and int(row.min()) >= count - less", ""))
    key_sum = masked.add_keys(parameters, [key.secret for key in keys])
    found = masked.unmask(parameters, key_sum, sums, COUNT) + COUNT * parameters.offset
    assert found.min() == 0
    assert found.max() > COUNT * 4095
