"""Every kind of corrupt node, and every strategy of a coalition, by name."""

from collections.abc import Callable

from pnyx.simulator import masquerade, overreach
from pnyx.simulator.adversary import ALONE, Hands, Wrapper
from pnyx.simulator.masquerade import Chain
from pnyx.simulator.perjury import Perjurer, false_dealer
from pnyx.simulator.stuffing import stuffing

_Kind = Callable[[Hands], Wrapper]


def _both(direct: _Kind, masked: _Kind) -> _Kind:
    """One behaviour in both kinds of rounds."""
    return lambda hands: Chain(direct(hands), masked(hands))


_ALSO_MASKED: dict[str, _Kind] = {
    "two headers": masquerade.two_vectors,
    "off polynomial": masquerade.off_polynomial,
    "bad share": masquerade.bad_share,
    "over scale": masquerade.over_scale,
}

BEHAVIOURS: dict[str, _Kind] = {
    **ALONE,
    **{name: _both(ALONE[name], masked) for name, masked in _ALSO_MASKED.items()},
    "false dealer": false_dealer,
    "perjurer": Perjurer,
}

VERIFIED: dict[str, _Kind] = {
    "over norm": overreach.over_norm,
    "false sketch": overreach.false_sketch,
}
"""Those that mean something in verified masked rounds only."""

MASKED: dict[str, _Kind] = {
    "wrong sum": masquerade.wrong_sum,
    "unsent sum": masquerade.unsent_sum,
    "silent aggregator": masquerade.silent_aggregator,
    "empty receipts": masquerade.EmptyReceipts,
    "other key": masquerade.other_key,
    "other hash": masquerade.other_hash,
}
"""Those that mean something in masked rounds only."""

POISON = "poison"

STRATEGIES: dict[str, _Kind] = {
    "withhold": BEHAVIOURS["withheld reveals"],
    "equivocate": _both(BEHAVIOURS["equivocating leader"], BEHAVIOURS["two headers"]),
    "stuff": stuffing,
    "omit": _both(BEHAVIOURS["silent leader"], BEHAVIOURS["censoring leader"]),
    "replay": BEHAVIOURS["replaying"],
    "lie": BEHAVIOURS["liar"],
    "over-scale": BEHAVIOURS["over scale"],
    POISON: lambda _: Wrapper(),  # keeps every rule: only what it contributes is chosen to harm
    "garbage": BEHAVIOURS["garbage"],
}
"""What a coalition does, in the words of scenario files."""

WHOLE = frozenset({"equivocating leader", "equivocate", "perjurer"})
"""Those that alter what they propose, and so propose it whole, however large."""
