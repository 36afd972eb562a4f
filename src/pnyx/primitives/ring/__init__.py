"""Arithmetic of masked sums: polynomials modulo X^n + 1, their errors, and a linear hash.

    arithmetic   `Ring`: number-theoretic transforms, masks, sums and their packed form
    public       the public polynomials of a round, expanded from a seed
    gaussian     errors drawn exactly from a discrete Gaussian
    linear_hash  `LinearHash`: the hash of a sum is the sum of the hashes
    packing      residues as bits

Polynomials travel in blocks: uint32 arrays [blocks, n, LANES], coefficient i of polynomial l of
block b at [b, i, l]. The innermost loop then runs over LANES equal steps without a branch, which
compilers turn into vector instructions.

Two implementations of the loops give the same bytes, one compiled by numba and one in numpy, with
transforms twenty times slower; `_choice` decides at first use. Neither is constant-time.
"""

from pnyx.primitives.ring._choice import implementation
from pnyx.primitives.ring._kernels import LANES, LIMB_BITS
from pnyx.primitives.ring.arithmetic import Ring, TransformedKey
from pnyx.primitives.ring.gaussian import gaussian_errors
from pnyx.primitives.ring.linear_hash import LinearHash
from pnyx.primitives.ring.packing import compose, extract
from pnyx.primitives.ring.public import expand_public

__all__ = [
    "LANES",
    "LIMB_BITS",
    "LinearHash",
    "Ring",
    "TransformedKey",
    "compose",
    "expand_public",
    "extract",
    "gaussian_errors",
    "implementation",
]
