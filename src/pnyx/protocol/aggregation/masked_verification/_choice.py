"""Which implementation of the inner loops serves this process: as in `primitives.ring`."""

from functools import lru_cache

from pnyx.protocol.aggregation.masked_verification import _kernels_numpy
from pnyx.protocol.aggregation.masked_verification._kernels import Kernels


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """Return the compiled loops, or numpy's where numba cannot be imported."""
    try:
        from pnyx.protocol.aggregation.masked_verification import _kernels_numba
    except ImportError:
        return _kernels_numpy
    return _kernels_numba


def load_sketches() -> None:
    """Load the loops, unless they are: before a process is forked or confined that needs them."""
    kernels()
