"""How hard the lattice problems behind masked sums are: estimates, in plain floating point.

Written from the literature and sharing nothing with pnyx but the numbers given to it.

Model. BKZ with block size β reaches the root Hermite factor δ(β) = ((πβ)^(1/β)·β/2πe)^(1/2(β-1))
(Chen 2013), basis profiles follow the geometric series assumption, one call to a sieve in dimension
β costs 2^(0.292β + 16.4) (Becker, Ducas, Gama and Laarhoven 2016), BKZ in dimension d makes 8d of
them. This is the model of the tables of the Homomorphic Encryption Standard (Albrecht et al. 2018),
which are used for calibration.

- `primal_usvp`: BKZ finds (e, s) as the unusually short vector of an embedding, when
  σ√β <= δ^(2β - d - 1)·vol^(1/d) (Alkim, Ducas, Pöppelmann and Schwabe 2016). A narrower secret is
  scaled to the width of the errors (Bai and Galbraith 2014).
- `primal_bdd`: BKZ with a smaller block, then one sieve in dimension η, where the projected error
  is shorter than the basis: σ√η <= length of the (d - η)-th vector of the profile (Liu and Nguyen
  2013, without pruning).
- `dual`: short vectors of the dual lattice tell samples from uniform ones with advantage
  exp(-2π²(lσ/q)²); one sieve gives 2^(0.2075β) of them. No guessing, no modulus switching: in these
  ranges that is known to cost more than the primal attacks.
- `ring_sis`: BKZ finds a vector of length bound·√m, each coefficient at most `bound`, that the hash
  maps to zero; over the number m of columns that suits the attacker.

The ring's structure is ignored, as everywhere: no attack that uses it is known for these rings.
"""

from math import e, log2, pi, sqrt

STANDARD_WIDTH = 8 / sqrt(2 * pi)  # 3.19
TERNARY_WIDTH = sqrt(2 / 3)

_BLOCKS = range(60, 1200)


def root_hermite_log2(block: int) -> float:
    """log₂ δ(β)."""
    return log2((pi * block) ** (1 / block) * block / (2 * pi * e)) / (2 * (block - 1))


def sieve_log2(block: float) -> float:
    return 0.292 * block + 16.4


def reduction_log2(block: int, dimension: int) -> float:
    return sieve_log2(block) + log2(8 * dimension)


def _embeddings(degree: int, modulus_log2: float, error: float, secret: float, step: int):
    """Dimension, and log₂ of the d-th root of the volume, for every number of samples."""
    scaling = degree * log2(max(1.0, error / secret))
    for samples in range(degree // 4, 3 * degree, step):
        dimension = degree + samples + 1
        yield dimension, (modulus_log2 * samples + scaling) / dimension


def primal_usvp(degree: int, modulus_log2: float, error: float, secret: float) -> float:
    """log₂ of the operations of the embedding attack, the secret Gaussian or uniform.

    A uniform secret counts as one of the errors' width: n samples turn it into such a one.
    """
    shapes = list(_embeddings(degree, modulus_log2, error, secret, max(1, degree // 256)))
    best = float("inf")
    for block in _BLOCKS:
        slope, wanted = root_hermite_log2(block), log2(block) / 2 + log2(error)
        working = [d for d, volume in shapes if wanted <= (2 * block - d - 1) * slope + volume]
        if working:
            best = min(best, reduction_log2(block, min(working)))
        if reduction_log2(block, degree) > best:
            break
    return best


def primal_bdd(degree: int, modulus_log2: float, error: float, secret: float) -> float:
    """log₂ of the operations of reducing, then solving the last projected part by one sieve."""
    best = float("inf")
    shapes = list(_embeddings(degree, modulus_log2, error, secret, max(1, degree // 64)))
    for block in _BLOCKS:
        slope = root_hermite_log2(block)
        for dimension, volume in shapes:
            if reduction_log2(block, dimension) < best:
                last = _projected_dimension(block, dimension, slope, volume, error)
                cost = _sum_log2(reduction_log2(block, dimension), sieve_log2(last))
                best = min(best, cost)
        if reduction_log2(block, degree) > best:
            break
    return best


def _projected_dimension(
    block: int, dimension: int, slope: float, volume: float, error: float
) -> int:
    """The smallest η that holds the projected error: the condition is monotone beyond β."""
    low, high = 2, dimension
    while low < high:
        middle = (low + high) // 2
        length = (2 * middle - dimension - 1) * slope + volume  # of b*_(d - η + 1)
        if log2(error) + log2(middle) / 2 <= length:
            high = middle
        else:
            low = middle + 1
    return low


def dual(degree: int, modulus_log2: float, error: float, secret: float) -> float:
    """log₂ of the operations of distinguishing samples by short dual vectors."""
    best = float("inf")
    for block in _BLOCKS:
        slope, many = root_hermite_log2(block), 0.2075 * block
        for samples in range(degree // 4, 3 * degree, max(1, degree // 64)):
            dimension = degree + samples
            scaled = degree * (modulus_log2 - log2(max(1.0, error / secret)))
            length = dimension * slope + scaled / dimension
            exponent = 2 * pi**2 * 2 ** min(600.0, 2 * (length + log2(error) - modulus_log2))
            advantage = -exponent * log2(e)
            cost = reduction_log2(block, dimension) + max(0.0, -2 * advantage - many)
            best = min(best, cost)
        if reduction_log2(block, degree) > best:
            break
    return best


def ring_lwe(degree: int, modulus_log2: float, error: float, secret: float | None = None) -> float:
    """log₂ of the cheapest attack; a uniform secret is one of the errors' width."""
    given = degree, modulus_log2, error, error if secret is None else secret
    return min(primal_usvp(*given), primal_bdd(*given), dual(*given))


def ring_sis(degree: int, modulus_log2: float, bound_log2: float) -> float:
    """log₂ of the operations that find a collision of bounded vectors under a linear hash."""
    best = float("inf")
    for block in _BLOCKS:
        slope = root_hermite_log2(block)
        for dimension in range(degree, 24 * degree, max(1, degree // 32)):
            reached = dimension * slope + degree * modulus_log2 / dimension
            if reached <= bound_log2 + log2(dimension) / 2:
                return min(best, reduction_log2(block, dimension))
    return best


def _sum_log2(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + log2(1 + 2 ** (low - high))
