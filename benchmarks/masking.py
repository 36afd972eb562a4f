"""What masking costs for a million values, each step beside the cheapest pass over the same bytes.

Milliseconds of thread CPU time, medians. The steps take turns, so that a busy machine slows all of
them alike, and each runs once before it is timed, so that all find their bytes in the same cache.
The bytes are the four of a residue before it is packed; errors take one each.
"""

import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from pnyx.primitives.field import PRIMES
from pnyx.primitives.ring import (
    LANES,
    LinearHash,
    Ring,
    _choice,
    _kernels_numpy,
    expand_public,
    gaussian_errors,
    implementation,
)

VALUES = 1_000_000
RING = Ring(1024, PRIMES[0])
BLOCKS = -(-VALUES // (RING.degree * LANES))
REPEATS = 25
REPEATS_NUMPY = 3
SIGMA = 4.5
SEED = bytes(range(32))

Steps = dict[str, Callable[[], object]]


def milliseconds(steps: Steps, repeats: int) -> dict[str, float]:
    """Median CPU milliseconds per million values of each step; the steps take turns."""
    samples: dict[str, list[int]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, act in steps.items():
            act()
            start = time.thread_time_ns()
            act()
            samples[name].append(time.thread_time_ns() - start)
    padded = BLOCKS * RING.degree * LANES
    scale = VALUES / padded / 1e6
    return {name: round(float(np.median(each)) * scale, 3) for name, each in samples.items()}


def yardsticks() -> Steps:
    """Passes that do as little as possible: a copy, a cipher, an addition without modulus."""
    words = np.arange(BLOCKS * RING.degree * LANES, dtype=np.uint32)
    target, zeros = words.copy(), bytes(words.nbytes)
    buffer = bytearray(words.nbytes + 15)

    def encrypt() -> None:
        Cipher(AES256(SEED), CTR(bytes(16))).encryptor().update_into(zeros, buffer)

    return {
        "memcpy": lambda: np.copyto(target, words),
        "aes_ctr": encrypt,
        "numpy_add_in_place": lambda: np.add(target, words, out=target),
    }


def ring_steps() -> Steps:
    """Every step of masking, adding and hashing."""
    public = expand_public(RING, SEED, BLOCKS)
    key = public[0, :, 0].copy()
    shape = (BLOCKS, RING.degree, LANES)
    masks = RING.mask(public, key)
    total, signed = masks.copy(), np.full(shape, -3, dtype=np.int64)
    summed = masks.astype(np.uint64) << np.uint64(7)
    errors = gaussian_errors(SEED, SIGMA, shape, "bench")
    packed = RING.pack(masks)
    linear = LinearHash(SEED)
    expanded = linear.expand(BLOCKS, RING.degree)

    def contribute() -> bytes:
        vector = RING.mask(public, key)
        RING.add_signed_into(vector, signed, 1 << 10)
        RING.add_errors_into(vector, gaussian_errors(SEED, SIGMA, shape, "bench"))
        return RING.pack(vector)

    return {
        "mask": lambda: RING.mask(public, key),
        "gaussian_errors": lambda: gaussian_errors(SEED, SIGMA, shape, "bench"),
        "add_signed_into": lambda: RING.add_signed_into(total, signed, 1 << 10),
        "add_errors_into": lambda: RING.add_errors_into(total, errors),
        "pack": lambda: RING.pack(masks),
        "contribute_all": contribute,
        "add_into": lambda: RING.add_into(total, masks),
        "subtract": lambda: RING.subtract(total, masks),
        "centred": lambda: RING.centred(masks),
        "unpack": lambda: RING.unpack(packed, BLOCKS),
        "expand_public": lambda: expand_public(RING, SEED, BLOCKS),
        "forward": lambda: RING.forward(public),
        "inverse": lambda: RING.inverse(public),
        "multiply": lambda: RING.multiply(public, masks),
        "linear_hash": lambda: linear.digest(masks, key=expanded),
        "linear_hash_of_sum": lambda: linear.digest(summed, key=expanded),
        "linear_hash_expand": lambda: linear.expand(BLOCKS, RING.degree),
    }


def run() -> dict[str, Any]:
    """Milliseconds per 10^6 values and ratios to AES-CTR; compiled, and in numpy alone."""
    compiled = milliseconds(yardsticks() | ring_steps(), REPEATS)
    with patch.object(_choice, "kernels", lambda: _kernels_numpy):
        plain = milliseconds(ring_steps(), REPEATS_NUMPY)
    aes = compiled["aes_ctr"]
    return {
        "implementation": implementation(),
        "ms_per_million": compiled,
        "per_aes_ctr": {name: round(took / aes, 2) for name, took in compiled.items()},
        "add_into_per_numpy_add": round(compiled["add_into"] / compiled["numpy_add_in_place"], 2),
        "numpy_ms_per_million": plain,
    }
