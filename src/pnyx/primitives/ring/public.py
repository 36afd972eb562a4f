"""Public polynomials, expanded from a seed that everybody knows.

They are uniform, and so is the transform of a uniform polynomial: they are drawn in transformed
form, which saves the transform. Block b of a ring is the first n·LANES field elements of the
sampler with domain "ring/public/n/p/b" (see `sampling`), in C order of [n, LANES]. Every block has
a stream of its own, so any part of a long vector can be expanded alone.
"""

import numpy as np

from pnyx.primitives.ring import _choice
from pnyx.primitives.ring._kernels import LANES, Block, Words
from pnyx.primitives.ring.arithmetic import Ring
from pnyx.primitives.sampling import Sampler

_WORD_BYTES = 4


def expand_public(ring: Ring, seed32: bytes, blocks: int, first_block: int = 0) -> Block:
    """Return blocks `first_block` to `first_block + blocks` of the seed, in transformed form."""
    if blocks < 0 or first_block < 0:
        raise ValueError("blocks are counted from zero")
    out = np.empty((blocks, ring.degree, LANES), dtype=np.uint32)
    fill_public(ring, seed32, out, first_block)
    return out


def fill_public(ring: Ring, seed32: bytes, out: Block, first_block: int) -> None:
    """Write blocks `first_block` and following of the seed to an array of blocks."""
    for index, block in enumerate(out, first_block):
        domain = f"ring/public/{ring.degree}/{ring.modulus}/{index}"
        _fill_uniform(Sampler(seed32, domain), ring.modulus, block.reshape(-1))


def _fill_uniform(sampler: Sampler, modulus: int, out: Words) -> None:
    """Draw what `Sampler.field_elements` draws, without its 64-bit integers."""
    mask = (1 << modulus.bit_length()) - 1
    filled = 0
    while filled < len(out):
        stream = sampler.bytes(_WORD_BYTES * (len(out) - filled))
        words = np.frombuffer(stream, dtype="<u4").astype(np.uint32, copy=False)
        filled += _choice.kernels().accept(words, mask, modulus, out[filled:])
