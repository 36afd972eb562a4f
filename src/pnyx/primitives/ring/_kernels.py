"""The inner loops of ring arithmetic: what they compute, and which implementation does.

Every kernel works on arrays that the caller has checked and allocated: C-contiguous, aligned, of
the stated type. Blocks are uint32 [blocks, n, LANES] with values below the modulus p < 2^30.

Shoup multiplication by a constant w < p: with w' = floor(w·2^32/p) precomputed, the number
w·v - floor(w'·v/2^32)·p lies in [0, 2p) and is congruent to w·v, for every v < 2^32 (Shoup; see
Harvey, "Faster arithmetic for number-theoretic transforms", 2014, section 3). It takes three
multiplications of 32-bit words and no division. Tables named `roots` and `shoup` hold w and w'.
"""

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LANES = 32
WORD_BITS = 32

Block = NDArray[np.uint32]
Words = NDArray[np.uint32]


class Kernels(Protocol):
    """What both implementations offer; they give the same bytes."""

    def forward(self, blocks: Block, roots: Words, shoup: Words, modulus: int) -> None:
        """Transform every polynomial in place (Cooley-Tukey, natural to bit-reversed order)."""

    def inverse(
        self, blocks: Block, roots: Words, shoup: Words, modulus: int, scale: int, scale_shoup: int
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
        scale: int,
        scale_shoup: int,
        out: Block,
    ) -> None:
        """Write the inverse transforms of public·key, with a transformed key [n]."""

    def multiply(self, a: Block, b: Block, modulus: int, out: Block) -> None:
        """Write the element-wise products."""

    def add_into(self, total: Block, block: Block, modulus: int) -> None:
        """Add a block to a total, in place."""

    def add_signed_into(self, total: Block, values: NDArray[np.int64], modulus: int) -> None:
        """Add integers of absolute value below 2^62 to a total, in place."""

    def subtract(self, a: Block, b: Block, modulus: int, out: Block) -> None:
        """Write the element-wise differences."""

    def pack(self, rows: Block, bits: int, words: Words) -> None:
        """Pack [groups, 32, LANES] values below 2^bits into [groups, bits, LANES] words.

        Bit j of value r of a lane is bit bits·r + j of the lane's column of words, taken as one
        little-endian number.
        """

    def unpack(self, words: Words, bits: int, rows: Block) -> int:
        """Undo `pack`; return the largest value."""

    def accept(self, words: Words, mask: int, modulus: int, out: Words) -> int:
        """Write the words, cut by the mask, that are below the modulus; return how many."""

    def hash_into(
        self,
        residues: Block,
        key: Block,
        roots: Words,
        shoup: Words,
        modulus: int,
        low: NDArray[np.uint64],
        high: NDArray[np.uint64],
    ) -> None:
        """Add the lower and upper 32 bits of products key·forward(residues) to [n] sums.

        The sums run over blocks and lanes. Their split depends on how far values were reduced;
        low + 2^32·high modulo p does not.
        """


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """Return the compiled loops, or the slower ones of numpy where numba cannot be imported."""
    from pnyx.primitives.ring import _kernels_numpy

    return _kernels_numpy
