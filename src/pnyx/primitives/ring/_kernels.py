"""What the inner loops of ring arithmetic compute; `_choice` says which implementation does.

Every kernel works on arrays that the caller has checked and allocated: C-contiguous, aligned, of
the stated type. Blocks are uint32 [blocks, n, LANES] and words uint32 of one dimension, with values
below the modulus p, 2^26 < p < 2^30.

Shoup multiplication by a constant w < p: with w' = floor(w·2^32/p) precomputed, the number
w·v - floor(w'·v/2^32)·p lies in [0, 2p) and is congruent to w·v, for every v < 2^32 (Shoup; see
Harvey, "Faster arithmetic for number-theoretic transforms", 2014, section 3). It takes three
multiplications of 32-bit words and no division. Tables named `roots` and `shoup` hold w and w'.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LANES = 32
WORD_BITS = 32
LIMB_BITS = 54
ROWS_MAX = 4  # of residues from which numbers are composed

Block = NDArray[np.uint32]
Words = NDArray[np.uint32]


class Kernels(Protocol):
    """What both implementations offer; they give the same bytes."""

    def forward(self, blocks: Block, roots: Words, shoup: Words, modulus: int, /) -> None:
        """Transform every polynomial in place (Cooley-Tukey, natural to bit-reversed order)."""

    def forward_one(self, values: Words, roots: Words, shoup: Words, modulus: int, /) -> None:
        """Transform one polynomial [n] in place, as `forward` transforms those of a block."""

    def inverse(
        self,
        blocks: Block,
        roots: Words,
        shoup: Words,
        modulus: int,
        scale: int,
        scale_shoup: int,
        /,
    ) -> None:
        """Undo `forward` in place (Gentleman-Sande); scale is 1/n."""

    def mask(
        self,
        public: Block,
        key: Words,
        key_shoup: Words,
        roots: Words,
        shoup: Words,
        modulus: int,
        out: Block,
        /,
    ) -> None:
        """Write the inverse transforms of public·key; the transformed key [n] has a factor 1/n."""

    def multiply(self, a: Words, b: Words, modulus: int, out: Words, /) -> None:
        """Write the element-wise products."""

    def add_into(self, total: Words, block: Words, modulus: int, /) -> None:
        """Add residues to a total, in place."""

    def add_signed_into(
        self, total: Words, values: NDArray[np.int64], factor: int, modulus: int, /
    ) -> None:
        """Add integers times a factor to a total, in place; |value·factor| < 2^62."""

    def add_combination_into(
        self,
        total: Words,
        values: NDArray[np.int64],
        factors: NDArray[np.int64],
        modulus: int,
        /,
    ) -> None:
        """Add Σ factors[k]·values[k] to a total, in place; -2^62 < the sum, and all before < 2^63.

        values: [rows, len(total)].
        """

    def add_errors_into(self, total: Words, errors: NDArray[np.int8], modulus: int, /) -> None:
        """Add small integers to a total, in place."""

    def subtract(self, a: Words, b: Words, modulus: int, out: Words, /) -> None:
        """Write the element-wise differences."""

    def pack(self, rows: Block, bits: int, words: Block, /) -> int:
        """Pack [groups, 32, LANES] values below 2^bits into [groups, bits, LANES] words.

        Bit j of value r of a lane is bit bits·r + j of the lane's column of words, taken as one
        little-endian number; bits is from 16 to 31. Returns the largest value.
        """

    def unpack(self, words: Block, bits: int, rows: Block, /) -> int:
        """Undo `pack`; return the largest value."""

    def accept(self, words: Words, mask: int, modulus: int, out: Words, /) -> int:
        """Write the words, cut by the mask, that are below the modulus; return how many.

        There is room for all of them; what lies beyond those accepted is arbitrary.
        """

    def compose(
        self,
        residues: NDArray[np.int64],
        weights: NDArray[np.int64],
        moduli: NDArray[np.int64],
        added: int,
        low: NDArray[np.uint64],
        high: NDArray[np.uint64],
        /,
    ) -> None:
        """Write the numbers with these residues, `added` to each, in limbs of LIMB_BITS bits.

        residues: [rows, n], signed; -2^35 < residue + added < 3·2^34. moduli: [rows], of at most
        LIMB_BITS / 2 bits, at most ROWS_MAX. weights: [rows, rows], below the moduli: digit i is
        Σ weights[i, j]·digit j over j < i plus weights[i, i]·(residue i + added), modulo the i-th.
        low, high: [n]; high is left as it is where there are two rows or fewer.
        """

    def extract(
        self,
        low: NDArray[np.uint64],
        high: NDArray[np.uint64],
        limb_bits: int,
        shift: int,
        bits: int,
        less: int,
        out: NDArray[np.int64],
        /,
    ) -> int:
        """Write bits `shift` to `shift + bits` of low + high·2^limb_bits, minus `less`.

        low, high: [at least len(out)], low below 2^limb_bits; high is empty where it is zero.
        limb_bits and bits are below 63, shift is below 64 + limb_bits. Returns the largest value
        before `less` was taken off.
        """

    def look_up(
        self, places: NDArray[np.uint16], table: NDArray[np.int8], out: NDArray[np.int8], /
    ) -> None:
        """Write the entries of a table of at least 2^16."""

    def hash_into(
        self,
        residues: Block,
        key: Block,
        roots: Words,
        shoup: Words,
        modulus: int,
        sums: NDArray[np.uint64],
        /,
    ) -> None:
        """Add the products key·forward(residues), over blocks and lanes, to [n] reduced sums."""

    def dot(self, values: Words, weights: Words, modulus: int, /) -> int:
        """Return Σ values·weights modulo p; values are any words, weights are below p."""
