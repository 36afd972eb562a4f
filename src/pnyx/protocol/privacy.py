"""What the noise of contributors costs in accuracy and buys in privacy.

**Mechanism.** Every contributor adds a discrete Gaussian to each entry (`aggregation.gaussian`), so
that nobody has to be trusted with the sum: the noise of any `honest_min` honest contributors is
enough for the stated cost, even if all others add none, or tell theirs. Who takes part is public,
so neighbours differ in one owner's contribution, against zeros in its place.

**Accounting** is in zero-concentrated differential privacy (Bun and Steinke 2016). The sum of h
discrete Gaussians of width σ, added to what one owner moves by at most Δ in L2 norm, costs

    ρ = Δ² / (2·h·σ²)

up to a term below 2^-200 for σ >= 4 and a million entries (Kairouz, Liu and Steinke 2021, "The
distributed discrete Gaussian mechanism", theorem 1: τ < 11·exp(-π²σ²)). Costs add up over the
parts of a contribution, rounds, phases and studies. `epsilon` turns a sum of costs into the (ε, δ)
that people know, by the best known conversion (Canonne, Kamath and Steinke 2020, proposition 12).
Selection by lot adds nothing, because it is public too.

Whether a contributor adds its noise cannot be verified: noise is random. What it cannot do is go
beyond the bound, which is looser by the noise. `noise` draws it and gives bounds that cover it.
"""

import math
from fractions import Fraction

from pnyx.protocol.manifest import Manifest, StudyPhase
from pnyx.protocol.noise import counts_norm_squared

DELTA = 1e-6
COST_UNIT = 1 << 30  # a record counts costs in units of ρ/2^30, rounded up

_ALPHA_LOG_MIN, _ALPHA_LOG_MAX = -14.0, 14.0  # of ln(α - 1), where the best order is looked for
_SEARCH_STEPS = 200


def round_cost(phase: StudyPhase) -> Fraction | None:
    """ρ of one round of a phase; None when some part of the sum has no noise.

    Exact rational arithmetic, so that every member of a committee obtains the same.
    """
    bounds, noise = phase.bounds, phase.noise
    cost = Fraction(0)
    if phase.update_length:
        if not noise.update_width:
            return None
        cost += Fraction(phase.clip**2, 2 * noise.honest_min * noise.update_width**2)
    if bounds.counts:
        if not noise.count_width:
            return None
        moved = bounds.count_scale**2 * counts_norm_squared(bounds)
        cost += Fraction(moved, 2 * noise.honest_min * noise.count_width**2)
    return cost


def spent_after(spent: int | None, phase: StudyPhase | None, *, opened: bool) -> int | None:
    """What a study has cost after a round, in units of ρ/`COST_UNIT`; None is without bound."""
    if spent is None or phase is None or not opened:
        return spent
    cost = round_cost(phase)
    return None if cost is None else spent + math.ceil(cost * COST_UNIT)


def study_rho(manifest: Manifest) -> float:
    """ρ for an owner that contributes to every round; infinite without noise."""
    costs = [(phase.rounds, round_cost(phase)) for phase in manifest.phases]
    if any(cost is None for _, cost in costs):
        return math.inf
    return math.fsum(rounds * float(cost) for rounds, cost in costs if cost is not None)


def phase_rho(phase: StudyPhase) -> float:
    """ρ of one round of a phase; infinite without noise."""
    cost = round_cost(phase)
    return math.inf if cost is None else float(cost)


def epsilon(rho: float, delta: float = DELTA) -> float:
    """The ε of ρ-zCDP at this δ: minimised over the order α, so any α gives a valid bound."""
    if rho == 0 or math.isinf(rho):
        return rho

    def bound(log_excess: float) -> float:
        excess = math.exp(log_excess)  # α - 1
        alpha = 1 + excess
        return (
            alpha * rho
            + (-math.log(delta) - math.log(excess) + alpha * (math.log(excess) - math.log(alpha)))
            / excess
        )

    low, high = _ALPHA_LOG_MIN, _ALPHA_LOG_MAX
    for _ in range(_SEARCH_STEPS):  # of a function with one minimum
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if bound(left) < bound(right):
            high = right
        else:
            low = left
    return max(0.0, bound(low))


def rho_for(wanted: float, delta: float = DELTA) -> float:
    """The largest ρ whose ε at this δ is at most the wanted one."""
    low, high = 0.0, max(1.0, wanted)
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        if epsilon(middle, delta) <= wanted:
            low = middle
        else:
            high = middle
    return low
