"""The linear hash: additive, bound to every residue and its place, and hard to collide."""

import math

import numpy as np
import pytest
from tests.support.ring import IMPLEMENTATIONS, MASK_PRIMES, random_blocks, schoolbook, use

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring import LANES, LinearHash, Ring, expand_public
from pnyx.primitives.ring.linear_hash import (
    DIGEST_BYTES,
    HASH_DEGREE,
    HASH_PRIMES,
    INTEGER_BITS_MAX,
    combine_digest,
)

HASH = LinearHash(bytes(range(32)))
RING = Ring(1024, MASK_PRIMES[0])


@pytest.fixture(params=list(IMPLEMENTATIONS), autouse=True)
def implementation(request, monkeypatch):
    use(monkeypatch, request.param)


def total_of(*digests):
    total = digests[0]
    for digest in digests[1:]:
        total = HASH.add(total, digest)
    return total


def test_digests_are_sums_of_products() -> None:
    """By definition, with the key and the digest brought back from transformed form."""
    residues = np.zeros((1, HASH_DEGREE, LANES), dtype=np.uint32)
    residues[0, :, 3] = random_blocks(RING, 1)[0, :, 3]
    residues[0, 5, 30] = MASK_PRIMES[0] - 1
    digest = HASH.digest(residues)
    for number, prime in enumerate(HASH_PRIMES):
        ring = Ring(HASH_DEGREE, prime)
        key = ring.inverse(expand_public(ring, HASH.seed, 1))[0]
        first = schoolbook(key[:, 3].tolist(), residues[0, :, 3].tolist(), prime)
        second = schoolbook(key[:, 30].tolist(), residues[0, :, 30].tolist(), prime)
        expected = [(x + y) % prime for x, y in zip(first, second, strict=True)]
        assert ring.inverse(digest[number]).tolist() == expected


@pytest.mark.parametrize("degree", [1024, 2048, 4096])
def test_the_digest_of_a_sum_is_the_sum_of_digests(degree: int) -> None:
    ring = Ring(degree, MASK_PRIMES[2])
    vectors = [random_blocks(ring, 2, seed) for seed in range(3)]
    vectors.append(np.full_like(vectors[0], ring.modulus - 1))
    digests = [HASH.digest(vector, first_block=5) for vector in vectors]
    total = np.sum(vectors, axis=0, dtype=np.uint64)
    assert np.array_equal(HASH.digest(total, first_block=5), total_of(*digests))
    assert np.array_equal(HASH.digest(total.astype(np.uint32), first_block=5), total_of(*digests))


def test_the_largest_sum_of_256_contributions() -> None:
    largest = np.full((1, 1024, LANES), MASK_PRIMES[0] - 1, dtype=np.uint32)
    total = largest.astype(np.uint64) * 256
    assert int(total.max()).bit_length() == INTEGER_BITS_MAX
    digest = HASH.digest(largest)
    for _ in range(8):
        digest = HASH.add(digest, digest)
    assert np.array_equal(HASH.digest(total), digest)


def test_parts_are_hashed_apart() -> None:
    """Eleven blocks of 2,048 coefficients: more than are hashed at a time."""
    ring = Ring(2048, MASK_PRIMES[0])
    vector = random_blocks(ring, 11)
    whole = HASH.digest(vector)
    parts = [
        HASH.digest(vector[start:end], first_block=start)
        for start, end in ((0, 1), (1, 8), (8, 11))
    ]
    assert np.array_equal(total_of(*parts), whole)
    key = HASH.expand(11, 2048)
    assert np.array_equal(HASH.digest(vector, key=key), whole)
    assert np.array_equal(HASH.expand(3, 2048, first_block=4), key[:, 8:14])
    assert np.array_equal(
        HASH.digest(vector[4:7], 4, HASH.expand(3, 2048, 4)), HASH.digest(vector[4:7], 4)
    )
    nothing = HASH.digest(vector[:0])
    assert nothing.shape == (3, HASH_DEGREE)
    assert not nothing.any()


def test_every_change_of_a_sum_shows() -> None:
    """What a lying aggregator may try, each against the sum of the signed digests."""
    p = RING.modulus
    vectors = [random_blocks(RING, 2, seed) for seed in (1, 2)]
    signed = total_of(*(HASH.digest(vector) for vector in vectors))
    honest = np.sum(vectors, axis=0, dtype=np.uint64)
    assert np.array_equal(HASH.digest(honest), signed)
    lies = {
        name: honest.copy()
        for name in ("one more", "modulus", "reduced", "lanes", "rows", "blocks")
    }
    lies["one more"][1, 1023, 31] += 1
    lies["modulus"][0, 0, 0] += p  # the same sum modulo p
    lies["reduced"] %= p
    lies["lanes"] = honest[:, :, ::-1].copy()
    lies["rows"] = honest[:, ::-1].copy()
    lies["blocks"] = honest[::-1].copy()
    lies["one left out"] = vectors[0].astype(np.uint64)
    lies["one twice"] = honest + vectors[0]
    lies["moved"] = honest.copy()
    lies["moved"][0, 0, 0] += 1
    lies["moved"][0, 1, 0] -= 1
    for name, lie in lies.items():
        assert not np.array_equal(HASH.digest(lie), signed), name


def test_one_key_for_all_would_let_lanes_and_blocks_be_swapped() -> None:
    """Why every polynomial has a key of its own: with one for all, an exchange goes unseen."""
    vector = random_blocks(RING, 2)
    swapped = vector[::-1, :, ::-1].copy()
    key = HASH.expand(2, 1024)
    same = np.ascontiguousarray(np.broadcast_to(key[:, :1, :, :1], key.shape))
    assert np.array_equal(HASH.digest(vector, key=same), HASH.digest(swapped, key=same))
    assert not np.array_equal(HASH.digest(vector, key=key), HASH.digest(swapped, key=key))


def test_multiples_of_a_prime_collide_under_it_alone() -> None:
    """Why there are three primes, and a bound on integers."""
    vector = random_blocks(RING, 1).astype(np.uint64)
    digest = HASH.digest(vector)
    for number, prime in enumerate(HASH_PRIMES):
        shifted = vector.copy()
        shifted[0, 7, 7] += prime
        equal = [np.array_equal(*pair) for pair in zip(HASH.digest(shifted), digest, strict=True)]
        assert equal == [other == number for other in range(3)]
    whole = vector.copy()
    whole[0, 7, 7] += math.prod(HASH_PRIMES) % 2**64
    with pytest.raises(ValueError, match="below"):
        HASH.digest(whole)


def test_integers_beyond_the_bound_are_refused() -> None:
    vector = np.zeros((1, 1024, LANES), dtype=np.uint64)
    vector[0, 1000, 3] = 2**INTEGER_BITS_MAX - 1
    HASH.digest(vector)
    vector[0, 1000, 3] += 1
    with pytest.raises(ValueError, match="below"):
        HASH.digest(vector)


def root_hermite_bits(log_modulus: float, log_length: float) -> float:
    """log2 of the root Hermite factor that finds a vector this short, in the best dimension.

    Micciancio and Regev (2009): min over m of q^(n/m)·d^m is 2^(2·sqrt(n·log q·log d)).
    """
    return log_length**2 / (4 * HASH_DEGREE * log_modulus)


def block_size(log_hermite: float) -> int:
    """The least BKZ block with this root Hermite factor (Chen 2013)."""
    for size in range(60, 5000):
        factor = (math.pi * size) ** (1 / size) * size / (2 * math.pi * math.e)
        if math.log2(factor) / (2 * (size - 1)) <= log_hermite:
            return size
    raise AssertionError("no block size")


def bits_of_security(primes: int) -> float:
    """Classical cost 2^(0.292·b) of sieving (BDGL 2016), nothing else counted.

    A collision is the difference of two sums: coefficients below 2^35. The attacker chooses the
    dimension m of its lattice; the norm below is that of m such coefficients at its best m.
    """
    log_modulus = sum(math.log2(prime) for prime in HASH_PRIMES[:primes])
    dimension = float(HASH_DEGREE)
    for _ in range(50):
        length = INTEGER_BITS_MAX + math.log2(dimension) / 2
        hermite = root_hermite_bits(log_modulus, length)
        dimension = math.sqrt(HASH_DEGREE * log_modulus / hermite)
    return 0.292 * block_size(hermite)


def test_collisions_are_out_of_reach_of_lattice_reduction() -> None:
    assert 150 < bits_of_security(3) < 170
    assert bits_of_security(2) < 100  # why there are three primes


def test_packed_digests() -> None:
    digest = HASH.digest(random_blocks(RING, 1))
    data = HASH.pack(digest)
    assert len(data) == DIGEST_BYTES == 3 * 1024 * 30 // 8
    assert np.array_equal(HASH.unpack(data), digest)
    for wrong in (b"", data[:-1], data + b"\x00", data[: DIGEST_BYTES // 3]):
        with pytest.raises(MalformedMessage, match="linear hash"):
            HASH.unpack(wrong)
    for part in range(3):
        start = part * DIGEST_BYTES // 3
        cut = data[:start] + b"\xff" * 4096 + data[start + 4096 :]
        with pytest.raises(MalformedMessage, match=r"not below|linear hash"):
            HASH.unpack(cut[:DIGEST_BYTES])


def test_wrong_arguments_are_bugs() -> None:
    vector, digest = random_blocks(RING, 2), np.zeros((3, HASH_DEGREE), dtype=np.uint32)
    for wrong in (
        vector[0],
        vector[:, :, :16],
        vector[:, :512],
        np.zeros((1, 1536, LANES), np.uint32),
    ):
        with pytest.raises(ValueError, match=r"blocks|multiple"):
            HASH.digest(wrong)
    for wrong in (vector.astype(np.int64), vector.astype(np.float64), vector.astype(np.uint16)):
        with pytest.raises(ValueError, match="unsigned"):
            HASH.digest(wrong)
    for key in (HASH.expand(1, 1024), HASH.expand(2, 1024)[:2]):
        with pytest.raises(ValueError, match="key"):
            HASH.digest(vector, key=key)
    too_large = digest.copy()
    too_large[1, 5] = HASH_PRIMES[1]
    for wrong in (digest[:2], digest.astype(np.int64), too_large):
        for act in (
            HASH.pack,
            lambda one: HASH.add(one, digest),
            lambda one: HASH.add(digest, one),
        ):
            with pytest.raises(ValueError, match="digest"):
                act(wrong)


def rows_of(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = [generator.integers(0, prime, HASH_DEGREE) for prime in HASH_PRIMES]
    return np.stack(rows).astype(np.uint32)


@pytest.mark.parametrize("degree", [1024, 2048])
def test_a_combination_of_residues_is_that_of_their_digest(degree: int) -> None:
    """What `weights` takes from the vector's side is what `combine_digest` takes from the hash."""
    ring, rows = Ring(degree, MASK_PRIMES[2]), rows_of(1)
    weights = HASH.weights(rows, 10, degree, first_block=3)
    largest = np.full((10, degree, LANES), 2**32 - 1, dtype=np.uint32)
    for residues in (random_blocks(ring, 10), ring.zeros(10), largest):
        digest = HASH.digest(residues, first_block=3)
        assert HASH.combine(residues, weights) == combine_digest(rows, digest)
        assert digest.any() == residues.any()


def test_a_combination_tells_of_one_residue_and_of_its_place() -> None:
    residues, rows = random_blocks(RING, 2), rows_of(2)
    weights = HASH.weights(rows, 2, HASH_DEGREE)
    right = combine_digest(rows, HASH.digest(residues))
    assert HASH.combine(residues, weights) == right
    assert HASH.combine(residues[::-1], weights) != right
    residues[1, 700, 31] += 1
    assert HASH.combine(residues, weights) != right


def test_weights_are_for_certain_blocks() -> None:
    with pytest.raises(ValueError, match="other blocks"):
        HASH.combine(RING.zeros(2), HASH.weights(rows_of(3), 1, HASH_DEGREE))
    with pytest.raises(ValueError, match="reduced"):
        HASH.weights(rows_of(3) | np.uint32(3 << 30), 1, HASH_DEGREE)
