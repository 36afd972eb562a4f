"""The security that masked parameters claim is what the literature's estimates give, recomputed."""

from math import floor, sqrt
from pathlib import Path

import pytest
from tests.independent import lattice

from pnyx.primitives.ring.linear_hash import HASH_DEGREE, HASH_PRIMES, INTEGER_BITS_MAX
from pnyx.protocol.aggregation.masked import parameters
from pnyx.protocol.aggregation.masked.checked_sum import HASH_SECURITY_BITS

HINTED_WIDTH = parameters.NOISE_WIDTH / sqrt(2)  # two honest contributors, their sum known
PRIME_BITS = 27


# Homomorphic Encryption Standard (2018), table for 128 bits, column uSVP
@pytest.mark.parametrize(
    ("degree", "bits", "published"), [(1024, 27, 131.6), (2048, 54, 129.7), (4096, 109, 128.1)]
)
def test_the_standard_s_ternary_secrets(degree, bits, published):
    found = lattice.primal_usvp(degree, bits, lattice.STANDARD_WIDTH, lattice.TERNARY_WIDTH)
    assert found == pytest.approx(published, abs=0.3)


@pytest.mark.parametrize(
    ("degree", "bits", "published"), [(1024, 29, 131.2), (2048, 56, 129.8), (4096, 111, 128.2)]
)
def test_the_standard_s_uniform_secrets(degree, bits, published):
    width = lattice.STANDARD_WIDTH
    found = lattice.primal_usvp(degree, bits, width, width)
    assert found == pytest.approx(published, abs=0.4)


def test_the_projected_dimension_is_near_that_of_the_lattice_estimator():
    """Its documentation gives β 374, η 404, d 2044 for n 1024, q 2^27, σ 3 (primal_bdd)."""
    block, dimension = 374, 2044
    volume = 27 * (dimension - 1025) / dimension
    slope = lattice.root_hermite_log2(block)
    found = lattice._projected_dimension(block, dimension, slope, volume, 3.0)
    assert 404 - 12 <= found <= 404  # a smaller one is cheaper for the attacker


@pytest.mark.parametrize("ring", parameters.RINGS, ids=["P0", "P1", "P2"])
def test_claimed_bits_of_each_ring_are_the_estimate(ring):
    bits = PRIME_BITS * len(ring.primes)
    found = lattice.ring_lwe(ring.degree, bits, HINTED_WIDTH)
    assert floor(found) == ring.security_bits
    assert ring.security_bits >= parameters.SECURITY_BITS_MIN


@pytest.mark.parametrize(
    ("degree", "bits"), [(1024, 31), (2048, 62), (4096, PRIME_BITS * 5), (1024, 54), (2048, 81)]
)
def test_larger_moduli_are_weak(degree, bits):
    """What `test_weak_ring_parameters` shows to be refused is refused for a reason."""
    assert lattice.ring_lwe(degree, bits, HINTED_WIDTH) < parameters.SECURITY_BITS_MIN


def test_narrow_errors_are_weak():
    """P2 would be below 128 bits if errors were a third as wide."""
    assert lattice.ring_lwe(4096, 108, HINTED_WIDTH / 3) < parameters.SECURITY_BITS_MIN


def test_the_linear_hash_has_the_claimed_bits():
    bits = sum(prime.bit_length() for prime in HASH_PRIMES)
    found = lattice.ring_sis(HASH_DEGREE, bits, INTEGER_BITS_MAX)
    assert floor(found) == HASH_SECURITY_BITS
    largest_sum = parameters.CONTRIBUTORS_MAX * (2**PRIME_BITS - 1)
    assert largest_sum < 2**INTEGER_BITS_MAX


@pytest.mark.parametrize(("primes", "bits"), [(1, 59), (2, 122)])
def test_fewer_primes_make_a_weak_hash(primes, bits):
    assert floor(lattice.ring_sis(HASH_DEGREE, 30 * primes, INTEGER_BITS_MAX)) == bits


def test_documents_say_what_is_computed():
    documents = Path(__file__).parents[2] / "docs"
    decision = (documents / "adr" / "0024-ring-arithmetic-with-numba.md").read_text()
    text = " ".join(decision.split())
    assert (
        f"gives {HASH_SECURITY_BITS} bits for sums of 256 vectors, and 122 for two primes" in text
    )
    protocol = (documents / "protocol.md").read_text()
    assert f"ring-SIS for the linear hash: {HASH_SECURITY_BITS} bits for sums below 2³⁵" in protocol


def test_multiples_of_one_prime_are_no_way_around_the_others():
    """p_1·w with |w| < 2^5 vanishes modulo p_1; the two other primes must still be met."""
    left = lattice.ring_sis(HASH_DEGREE, 60, INTEGER_BITS_MAX - 30)
    assert left > HASH_SECURITY_BITS
