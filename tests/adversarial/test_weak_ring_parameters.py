"""A proposer who names a weak ring would read every vector: such a set cannot be made or decoded.

`tests/independent/test_lattice_estimates.py` shows that the rings refused here are below 128 bits;
the last test, that the check is what refuses them.
"""

import msgspec
import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives.codec import decode, encode
from pnyx.protocol.aggregation.masked import parameters
from pnyx.protocol.aggregation.masked.parameters import P1, P2, ParameterSet, UnsafeParameters

# the largest primes of 31 bits that are 1 modulo 8192
LARGE = (2147377153, 2147352577)
FIFTH = 133857281  # of 27 bits, 1 modulo 8192

SAFE = {"length": 100, "value_bits": 8, "contributors_max": 24, "slots": 1, "slot_bits": 13}
WEAK = [
    pytest.param({"degree": 1024, "primes": LARGE[:1]}, "primes", id="1024, 31 bits"),
    pytest.param({"degree": 1024, "primes": P1.primes}, "primes", id="1024, 54 bits"),
    pytest.param({"degree": 2048, "primes": LARGE}, "primes", id="2048, 62 bits"),
    pytest.param({"degree": 2048, "primes": P2.primes[:3]}, "primes", id="2048, 81 bits"),
    pytest.param({"degree": 4096, "primes": (*LARGE, *LARGE)}, "primes", id="4096, 124 bits"),
    pytest.param({"degree": 512, "primes": P2.primes[:1]}, "degree", id="512"),
    pytest.param({"degree": 1536, "primes": P2.primes[:1]}, "degree", id="1536"),
    pytest.param(
        {"degree": 2048, "primes": P1.primes, "noise_width": 3.0}, "noise_width", id="narrow"
    ),
    pytest.param(
        {"degree": 2048, "primes": P1.primes, "noise_width": float("nan")},
        "noise_width",
        id="no width",
    ),
    pytest.param({"degree": 2048, "primes": P1.primes[:1] * 2}, "primes", id="one prime twice"),
    pytest.param({"degree": 4096, "primes": (134217689,)}, "primes", id="no transform"),
]

PASSING = [case for case in WEAK if case.id not in ("no transform", "no width")]


@pytest.mark.parametrize(("fields", "named"), WEAK)
def test_a_weak_ring_is_refused_by_name(fields, named):
    with pytest.raises(UnsafeParameters, match=named) as raised:
        ParameterSet(**SAFE, shift=10, **fields)
    assert raised.value.field == named
    assert str(raised.value.limit) in str(raised.value)


def test_a_modulus_that_is_no_prime_is_refused():
    composite = next(number for number in range(134176769 - 8192, 0, -8192) if number % 3 == 0)
    for number in (1, composite):
        with pytest.raises(UnsafeParameters, match="a prime below") as raised:
            ParameterSet(**SAFE, shift=10, degree=4096, primes=(number,))
        assert (raised.value.field, raised.value.value) == ("primes", number)


@pytest.mark.parametrize(("fields", "named"), WEAK)
def test_a_weak_ring_from_a_peer_is_malformed(fields, named):
    honest = parameters.choose(100, 8, 24)
    values = {**msgspec.structs.asdict(honest), **fields}
    with pytest.raises(MalformedMessage, match=named):
        decode(msgspec.msgpack.encode(list(values.values())), ParameterSet, bytes_max=300)
    assert decode(encode(honest), ParameterSet, bytes_max=300) == honest


@pytest.mark.parametrize(("fields", "named"), PASSING)
def test_without_the_checks_a_weak_ring_would_pass(monkeypatch, fields, named):
    monkeypatch.setattr(parameters, "_check_ring", lambda degree, primes: None)
    monkeypatch.setattr(parameters, "_check_range", lambda field, value, least, most: None)
    monkeypatch.setattr(parameters, "FAILURE_LOG2_MAX", float("inf"))
    assert ParameterSet(**SAFE, shift=10, **fields).degree == fields["degree"]
