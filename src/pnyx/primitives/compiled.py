"""How inner loops are compiled by numba, wherever there are some: one thread, no fast-math.

Importing this module imports numba (0.2 s), so only modules of compiled loops do, which a package's
`_choice` imports at first use. It raises ImportError where numba is missing or is told by its
settings not to compile; then loops in numpy serve.

All types are stated, so a loop is compiled, or taken from numba's cache, when the module that holds
it is imported, and never later, in a process that may have been confined since. Where the cache can
be neither read nor written, loops are compiled in memory.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import types

if getattr(numba.config, "DISABLE_JIT", False):
    raise ImportError("numba is told by its settings not to compile")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def array(item: Any, dimensions: int, *, readonly: bool = True) -> Any:
    """The type of a C-contiguous array; one that is not read-only is written to."""
    return types.Array(item, dimensions, "C", readonly=readonly)


def compiled(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Compile for these types, through the cache where there is one."""

    def decorate(function: _Function) -> _Function:
        signature = result(*arguments)
        try:
            kernel = numba.njit(signature, cache=True)(function)
        except Exception:  # noqa: BLE001  a damaged cache raises anything; without it we see
            kernel = numba.njit(signature)(function)
        return cast(_Function, kernel)

    return decorate
