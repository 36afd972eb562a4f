"""Field vectors agree with integers; packing and residues round-trip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.errors import MalformedMessage
from pnyx.primitives.field import PRIMES, PrimeField, crt_centred

HALF = PRIMES[0] * PRIMES[1] // 2
fields = st.sampled_from([PrimeField(prime) for prime in PRIMES])
words = st.lists(st.integers(0, PRIMES[1] - 1) | st.sampled_from([0, PRIMES[1] - 1]), max_size=30)


@settings(deadline=None, max_examples=60)
@given(fields, words, st.integers(0, PRIMES[1] - 1), st.integers(0, 2**40))
def test_operations_agree_with_integers(
    field: PrimeField, values: list[int], scalar: int, exponent: int
) -> None:
    p, vector = field.modulus, np.array(values, dtype=np.int64)
    assert field.add(vector, scalar).tolist() == [(x + scalar) % p for x in values]
    assert field.subtract(vector, scalar).tolist() == [(x - scalar) % p for x in values]
    assert field.multiply(vector, scalar).tolist() == [x * scalar % p for x in values]
    assert field.power(vector, exponent).tolist() == [pow(x, exponent, p) for x in values]
    nonzero = vector[vector != 0]
    assert (field.multiply(field.inverse(nonzero), nonzero) == 1).all()
    centred = field.centred(vector)
    assert (abs(centred) <= p // 2).all()
    assert np.array_equal(field.reduce(centred), vector)
    assert np.array_equal(field.unpack(field.pack(vector), len(values)), vector)


@settings(deadline=None, max_examples=60)
@given(fields, st.lists(st.integers(0, 2**32 - 1), max_size=6), st.integers(0, 7))
def test_unpacking_accepts_exactly_the_packings(
    field: PrimeField, values: list[int], count: int
) -> None:
    data = b"".join(value.to_bytes(4, "little") for value in values)
    if count == len(values) and all(value < field.modulus for value in values):
        assert field.pack(field.unpack(data, count)) == data
    else:
        with pytest.raises(MalformedMessage):
            field.unpack(data, count)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-HALF, HALF), max_size=20))
def test_residues_give_back_the_integers(values: list[int]) -> None:
    vector = np.array(values, dtype=np.int64)
    residues = [PrimeField(prime).reduce(vector) for prime in PRIMES]
    assert crt_centred(residues).tolist() == values
