"""Which implementation of the inner loops serves this process.

numba is imported at first use: it takes 0.2 s, and most commands need no ring arithmetic. Where it
is missing, does not fit numpy's version or cannot be read (a confined child opens no files),
numpy's loops serve, which are imported beforehand for that reason.
"""

from functools import lru_cache

from pnyx.primitives.ring import _kernels_numpy
from pnyx.primitives.ring._kernels import Kernels


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """Return the compiled loops, or numpy's."""
    try:
        from pnyx.primitives.ring import _kernels_numba
    except ImportError:
        return _kernels_numpy
    return _kernels_numba


def implementation() -> str:
    """Load the loops, unless they are, and name them: "numba" or "numpy".

    To call before forking or confining a process that will need them: compiling for the first time
    takes seconds, and a confined process cannot load them any more.
    """
    return "numpy" if kernels() is _kernels_numpy else "numba"
