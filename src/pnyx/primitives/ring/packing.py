"""Residues as bits: as many for each as the modulus has, nothing between them and nothing after.

Values come in groups [32, LANES]. The 32 values of a lane make one little-endian number, the first
value lowest; it is cut into as many 32-bit words as a value has bits. Words are written
little-endian in the order [group, word, lane]. Packing runs along lanes, so it goes by whole
vectors of words. Every bit is used: equal values have equal bytes, and the other way round.
"""

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring import _choice
from pnyx.primitives.ring._kernels import LANES, LIMB_BITS, ROWS_MAX, WORD_BITS, Block


def packed_bytes(count: int, modulus: int) -> int:
    """Bytes that `count` residues take, a multiple of 32·LANES."""
    return count * modulus.bit_length() // 8


def pack_residues(values: Block, modulus: int) -> bytes:
    """Write reduced residues in C order; their number is a multiple of 32·LANES."""
    rows, bits = values.reshape(-1, WORD_BITS, LANES), modulus.bit_length()
    words = np.empty((len(rows), bits, LANES), dtype=np.uint32)
    if _choice.kernels().pack(rows, bits, words) >= modulus:
        raise ValueError("only reduced residues can be packed")
    return words.astype("<u4", copy=False).tobytes()


def unpack_residues(data: bytes, shape: tuple[int, ...], modulus: int) -> Block:
    """Read exactly an array of this shape, or raise MalformedMessage."""
    values, bits = np.empty(shape, dtype=np.uint32), modulus.bit_length()
    expected = packed_bytes(values.size, modulus)
    if len(data) != expected:
        raise MalformedMessage(
            f"{values.size} residues of {bits} bits take {expected} bytes, not {len(data)}."
        )
    words = np.require(np.frombuffer(data, dtype="<u4"), dtype=np.uint32, requirements=["C", "A"])
    rows = values.reshape(-1, WORD_BITS, LANES)
    if _choice.kernels().unpack(words.reshape(-1, bits, LANES), bits, rows) >= modulus:
        raise MalformedMessage(f"A residue is not below the prime {modulus}.")
    return values


def compose(
    residues: NDArray[np.int64],
    weights: NDArray[np.int64],
    moduli: NDArray[np.int64],
    added: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Put numbers together from residues modulo up to four primes of 27 bits, in mixed radix.

    residues: [primes, n] signed integers, to each of which `added` is added; between -2^35 and
    3·2^34 then. weights: [primes, primes], below the primes, what digits before and the residue
    are multiplied by to give a digit (`Kernels.compose`). Returns the limbs of `LIMB_BITS` bits,
    lower and upper; the upper is empty for two primes or fewer.
    """
    count = len(moduli)
    if residues.shape[0] != count or weights.shape != (count, count) or not 1 <= count <= ROWS_MAX:
        raise ValueError("expected a row of residues and of weights for each of up to four primes")
    if int(moduli.max()) >> (LIMB_BITS // 2):
        raise ValueError("two primes make a limb, so they have half its bits")
    if not residues.flags.c_contiguous or residues.dtype != np.int64:
        raise ValueError("residues are a contiguous array of int64")
    low = np.empty(residues.shape[1], dtype=np.uint64)
    high = np.empty(residues.shape[1] if count > 2 else 0, dtype=np.uint64)
    _choice.kernels().compose(residues, weights, moduli, added, low, high)
    return low, high


def extract(
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    limb_bits: int,
    shift: int,
    bits: int,
    less: int,
    out: NDArray[np.int64],
) -> int:
    """Write some bits of numbers of two limbs, low + high·2^limb_bits, each minus `less`.

    The bits are `shift` to `shift + bits`. low: below 2^limb_bits; high: empty where it is zero;
    both at least as long as `out` and contiguous. Returns the largest value before `less` was taken
    off.
    """
    if len(low) < len(out) or 0 < len(high) < len(out):
        raise ValueError("there are fewer numbers than are to be written")
    if not (0 < limb_bits < 63 and 0 < bits < 63 and 0 <= shift < 64 + limb_bits):
        raise ValueError("numbers have two limbs of fewer than 63 bits")
    return int(_choice.kernels().extract(low, high, limb_bits, shift, bits, less, out))
