"""Every kind of corrupt node, by name."""

from collections.abc import Callable

from pnyx.simulator.adversary import ALONE, Hands, Wrapper
from pnyx.simulator.perjury import Perjurer, false_dealer

BEHAVIOURS: dict[str, Callable[[Hands], Wrapper]] = {
    **ALONE,
    "false dealer": false_dealer,
    "perjurer": Perjurer,
}
