"""Probabilities of drawing too many: exact hypergeometric and binomial tails.

Every promise about a committee or a region is a tail: of `population` nodes `marked` are corrupted
(or absent); how likely is it that `draws` of them contain at least so many? Floating-point
subtraction would lose exactly the tiny values that matter (1e-6 and below), so

- the hypergeometric tail is a quotient of two integers, rounded once at the end;
- the binomial tail is summed outwards from the threshold, away from the mode, starting from a
  logarithm; it agrees with exact fractions to better than 1e-9 (relative) up to 10⁷ trials.

Standard library only: `pnyx --help` and the simulator both load this.
"""

import math
from fractions import Fraction

_RELATIVE_PRECISION = 1e-17  # terms smaller than this share of the sum cannot change it
_EXACT_LOGARITHM_MAX = 2_000  # below, a sum of logarithms; above, log-gamma, to stay fast


def hypergeometric_upper(population: int, marked: int, draws: int, at_least: int) -> float:
    """Return P(at least `at_least` marked among `draws` distinct nodes), correctly rounded."""
    if not (0 <= marked <= population and 0 <= draws <= population):
        raise ValueError("marked and draws must lie between 0 and the population")
    lowest, highest = max(0, draws - (population - marked)), min(draws, marked)
    if at_least <= lowest:
        return 1.0
    if at_least > highest:
        return 0.0
    plain = population - marked
    ways = math.comb(marked, at_least) * math.comb(plain, draws - at_least)
    total = ways
    for count in range(at_least, highest):
        ways = ways * ((marked - count) * (draws - count))
        ways //= (count + 1) * (plain - draws + count + 1)  # always divides exactly
        total += ways
    return total / math.comb(population, draws)


def binomial_upper(trials: int, chance: float, at_least: int) -> float:
    """Return P(at least `at_least` successes in `trials` independent trials of this chance)."""
    return _binomial_tail(trials, chance, at_least, upwards=True)


def binomial_lower(trials: int, chance: float, at_most: int) -> float:
    """Return P(at most `at_most` successes in `trials` independent trials of this chance)."""
    return _binomial_tail(trials, chance, at_most, upwards=False)


def at_least_once(chance: float, times: int) -> float:
    """Return P(an event of this chance happens in any of `times` independent draws)."""
    if chance >= 1:
        return 1.0 if times else 0.0
    return -math.expm1(times * math.log1p(-chance))


def head_count(share: float, population: int) -> int:
    """Return ⌈share · population⌉, reading `share` as the decimal that a person typed.

    Binary rounding alone would make 7 % of 100 nodes eight.
    """
    return math.ceil(Fraction(repr(float(share))) * population)


def _binomial_tail(trials: int, chance: float, start: int, *, upwards: bool) -> float:
    """Return P(X >= start) or P(X <= start), summing on the side where terms fall."""
    if trials < 0 or not 0 <= chance <= 1:
        raise ValueError("trials must not be negative and chance must lie between 0 and 1")
    if start < 0 or start > trials:
        return float(upwards == (start < 0))
    if chance in (0, 1):  # all of the mass sits at one end
        certain = trials * int(chance)
        return float(start <= certain if upwards else start >= certain)
    if upwards == (start > trials * chance):
        return _binomial_sum(trials, chance, start, upwards=upwards)
    beyond = start - 1 if upwards else start + 1
    return 1.0 - _binomial_sum(trials, chance, beyond, upwards=not upwards)


def _binomial_sum(trials: int, chance: float, start: int, *, upwards: bool) -> float:
    """Sum the probabilities from `start` outwards; `start` is on that side of the mode."""
    if start < 0 or start > trials:
        return 0.0
    logarithm = _log_choose(trials, start) + start * math.log(chance)
    term = math.exp(logarithm + (trials - start) * math.log1p(-chance))
    odds = chance / (1 - chance)
    terms, count, end = [term], start, trials if upwards else 0
    while count != end and term > _RELATIVE_PRECISION * terms[0]:
        if upwards:
            term *= (trials - count) / (count + 1) * odds
            count += 1
        else:
            term *= count / ((trials - count + 1) * odds)
            count -= 1
        terms.append(term)
    return min(1.0, math.fsum(terms))


def _log_choose(trials: int, chosen: int) -> float:
    """Return log C(trials, chosen)."""
    chosen = min(chosen, trials - chosen)
    if chosen > _EXACT_LOGARITHM_MAX:
        return math.lgamma(trials + 1) - math.lgamma(chosen + 1) - math.lgamma(trials - chosen + 1)
    return math.fsum(math.log((trials - i) / (i + 1)) for i in range(chosen))
