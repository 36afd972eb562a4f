"""Parameter sets of masked aggregation: which exist, what they hold, and why a sum never wraps.

A contribution is y = a·s + e + Δ·m in Z_Q[X]/(X^n + 1) (ring learning with errors), Q a product of
27-bit primes, residues modulo each prime apart. Δ = 2^shift; a coefficient of m holds `slots`
values of `slot_bits` each, lowest first, shifted to be positive: 0 < u < 2^value_bits. Three rings
are known to be safe:

    ring  n     primes  log₂ Q  estimate (bits)   bytes of a key, per member and packing 4
    P0    1024  1        27     137               1 KiB
    P1    2048  2        54     132               4 KiB
    P2    4096  4       108     130               16 KiB

The estimates are for errors of width σ/√2: with the sum of the keys everybody learns the sum of
the errors, and given e₁ + e₂, each of two honest contributors' errors is still a Gaussian of that
width. Each is the cheapest of two primal attacks and a dual one, by sieving (0.292β + 16.4 +
log₂ 8d); `tests/independent/lattice.py` computes them, and a test fails when a constant changes
here without them. A set is refused if its modulus is larger than its degree is safe for, or its
errors are narrower than σ = 4.5.

**Why a sum is exact.** Let h contributors be summed, T = 2^(shift - 1), N coefficients be sent.

1. Slots do not run over: h·(2^value_bits - 1) < 2^slot_bits.
2. Nothing wraps: Δ·(M + 1) <= Q for the largest packed sum M. The decoder adds T modulo Q and
   divides by Δ, rounding down: exact for every sum of errors E in -T <= E < T, a coefficient of
   zero with a negative error included ("centred": without it, Q - 1 decodes to the largest value).
3. |E| < T, but for probability 2^-64 over *all* N coefficients of the sum: a discrete Gaussian of
   parameter σ has E[exp(tx)] <= exp(σ²t²/2) for every t, like the continuous one (Canonne, Kamath
   and Steinke 2020), so P[|E| >= T] <= 2·exp(-T²/2hσ²), and N times that is at most 2^-64. The
   sampler cuts the tails, which makes them lighter, and is within 2^-120 of this distribution per
   draw (`primitives.ring.gaussian`): 2^32 draws add 2^-88.

A contributor that deviates can add what it likes to a sum: masking hides and adds, it verifies
nothing.
"""

from functools import lru_cache
from math import log, log2, prod
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from pnyx.primitives.field import PrimeField

LANES = 32  # polynomials that are transformed side by side
RESIDUE_BITS = 27
CONTRIBUTORS_MAX = 256  # so that integer sums of residues stay below 2^35, see `checked_sum`
CONTRIBUTORS_MIN = 2  # a sum of one is no sum
LENGTH_MAX = 1 << 24
VALUE_BITS_MAX = 32
NOISE_WIDTH = 4.5  # σ of every error
SECURITY_BITS_MIN = 128
FAILURE_LOG2_MAX = -64.0

GROUP_ROWS = 32  # rows are packed 32 at a time
GROUP = GROUP_ROWS * LANES  # coefficients
GROUP_BYTES = GROUP * RESIDUE_BITS // 8  # modulo one prime
_NOISE_WIDTH_MAX = 9.0  # errors are bytes
_SEGMENT_RESIDUES = 1 << 18  # a segment is at least one block, and about a megabyte


class SafeRing(NamedTuple):
    """A ring in which masks are believed to hide: the largest modulus for its degree."""

    degree: int
    primes: tuple[int, ...]
    security_bits: int  # at width NOISE_WIDTH/√2, rounded down


P0 = SafeRing(1024, (134176769,), 137)
P1 = SafeRing(2048, (134176769, 134111233), 132)
P2 = SafeRing(4096, (134176769, 134111233, 134012929, 133963777), 130)
RINGS = (P0, P1, P2)
# Those whose keys the committee can share: it shares in the fields of `encoding.FIELDS`.
SHARED_RINGS = (P0, P1)

_SAFE_BITS = {ring.degree: RESIDUE_BITS * len(ring.primes) for ring in RINGS}

_Positive = Annotated[int, Meta(ge=1, lt=2**53)]


class UnsafeParameters(ValueError):
    """A parameter set is insecure, or could give a wrong sum: field, its value, and the limit."""

    def __init__(self, field: str, value: object, limit: object, why: str) -> None:
        super().__init__(f"{field} is {value}, the limit is {limit}: {why}")
        self.field, self.value, self.limit = field, value, limit


class ParameterSet(msgspec.Struct, frozen=True, array_like=True):
    """Everything that contributors, aggregators and the committee must agree on to mask a vector.

    Build it with `choose`. An unsafe set cannot exist: making one raises UnsafeParameters, which
    decoders report as a malformed message.
    """

    degree: _Positive  # n
    primes: Annotated[tuple[int, ...], Meta(min_length=1, max_length=4)]
    length: _Positive  # values of the vector
    value_bits: _Positive  # values lie in -(2^(b-1) - 1) .. 2^(b-1) - 1
    contributors_max: _Positive  # h, the most that may be summed
    slots: _Positive  # values in a coefficient
    slot_bits: _Positive
    shift: _Positive  # log₂ Δ
    noise_width: float = NOISE_WIDTH

    def __post_init__(self) -> None:
        _check_ring(self.degree, self.primes)
        _check_range("noise_width", self.noise_width, NOISE_WIDTH, _NOISE_WIDTH_MAX)
        _check_range("length", self.length, 1, LENGTH_MAX)
        _check_range("value_bits", self.value_bits, 1, VALUE_BITS_MAX)
        _check_range("contributors_max", self.contributors_max, CONTRIBUTORS_MIN, CONTRIBUTORS_MAX)
        _check_range("slots", self.slots, 1, RESIDUE_BITS * len(self.primes))
        _check_range("slot_bits", self.slot_bits, 1, RESIDUE_BITS * len(self.primes))
        _check_range("shift", self.shift, 1, RESIDUE_BITS - 1)
        for limit, why in (
            (self._slots_hold, "a slot would run over into the next"),
            (self._modulus_holds, "the packed sum would wrap around the modulus"),
            (self._noise_holds, "the sum of the errors could reach the values"),
        ):
            if self.contributors_max > limit:
                raise UnsafeParameters("contributors_max", self.contributors_max, limit, why)

    @property
    def modulus(self) -> int:
        """Q."""
        return prod(self.primes)

    @property
    def offset(self) -> int:
        """What is added to a value to make it positive."""
        return 1 << (self.value_bits - 1)

    @property
    def value_max(self) -> int:
        """The largest absolute value of an entry."""
        return self.offset - 1

    @property
    def slot_value_max(self) -> int:
        """The largest shifted value."""
        return (1 << self.value_bits) - 1

    @property
    def coefficients(self) -> int:
        """N: coefficients that are sent, padding included, each modulo every prime."""
        return layout(self).coefficients

    @property
    def capacity(self) -> int:
        """The most contributions that these slots, shift and modulus can hold."""
        return min(self._slots_hold, self._modulus_holds, self._noise_holds, CONTRIBUTORS_MAX)

    @property
    def bytes(self) -> int:
        """Size of a masked vector: its packed residues."""
        return self.coefficients // GROUP * GROUP_BYTES * len(self.primes)

    @property
    def failure_log2(self) -> float:
        """log₂ of a bound on the chance that any coefficient of a sum decodes wrongly."""
        return _failure_log2(self.coefficients, self.contributors_max, self.noise_width, self.shift)

    @property
    def _slots_hold(self) -> int:
        return ((1 << self.slot_bits) - 1) // self.slot_value_max

    @property
    def _modulus_holds(self) -> int:
        ones = sum(1 << (self.slot_bits * slot) for slot in range(self.slots))
        return ((self.modulus >> self.shift) - 1) // (self.slot_value_max * ones)

    @property
    def _noise_holds(self) -> int:
        return _noise_capacity(self.coefficients, self.noise_width, self.shift)


class Layout(NamedTuple):
    """How a vector is cut: segments of blocks of rows of 32 coefficients, one for each lane.

    Segment i holds the values [i·segment_values, (i + 1)·segment_values) of the vector; the last
    one what is left. A segment with c coefficients has `slots` planes of c values: plane j is
    slot j of its coefficients, in the order (block, row, lane), and zeros fill the last plane.
    c is a multiple of 1024, and fills the last block only in part: what is beyond is neither drawn
    nor sent.
    """

    length: int
    slots: int
    degree: int
    primes: int
    segment_blocks: int

    @property
    def segment_values(self) -> int:
        """Values of a full segment."""
        return self.slots * LANES * self.segment_blocks * self.degree

    @property
    def segments(self) -> int:
        """Segments of the vector."""
        return -(-self.length // self.segment_values)

    @property
    def coefficients(self) -> int:
        """Coefficients of all segments."""
        last = self.segments - 1
        return last * (self.segment_values // self.slots) + self.segment_coefficients(last)

    def start(self, segment: int) -> int:
        """First value of a segment."""
        if not 0 <= segment < self.segments:
            raise ValueError("there is no such segment")
        return segment * self.segment_values

    def values(self, segment: int) -> int:
        """Values of a segment."""
        return min(self.segment_values, self.length - self.start(segment))

    def segment_coefficients(self, segment: int) -> int:
        """Coefficients of a segment that are sent."""
        return GROUP * -(-self.values(segment) // (self.slots * GROUP))

    def blocks(self, segment: int) -> int:
        """Blocks of a segment, the last one perhaps in part."""
        return -(-self.segment_coefficients(segment) // (self.degree * LANES))

    def segment_bytes(self, segment: int) -> int:
        """Size of a packed segment."""
        return self.primes * GROUP_BYTES * (self.segment_coefficients(segment) // GROUP)


@lru_cache(maxsize=64)
def layout(parameters: ParameterSet) -> Layout:
    """Return how a vector of these parameters is cut."""
    return _layout(parameters.length, parameters.slots, parameters.degree, len(parameters.primes))


def choose(
    length: int,
    value_bits: int,
    contributors_max: int,
    *,
    members: int = 0,
    packing: int = 1,
    noise_width: float = NOISE_WIDTH,
    rings: tuple[SafeRing, ...] = RINGS,
) -> ParameterSet:
    """Return the parameter set that sends the fewest bytes, of those that hold.

    length: values of the vector, each of `value_bits` signed bits. contributors_max: the most that
    are summed. members, packing: of the committee; its shares of the key count as bytes as well (a
    short vector is better off with a short key). Of equals, the first ring of `RINGS` is taken.
    Raises UnsafeParameters when one of these is out of range, or no ring of `rings` holds a value:
    the largest of `RINGS` holds any.
    """
    _check_range("length", length, 1, LENGTH_MAX)
    _check_range("value_bits", value_bits, 1, VALUE_BITS_MAX)
    _check_range("contributors_max", contributors_max, CONTRIBUTORS_MIN, CONTRIBUTORS_MAX)
    _check_range("noise_width", noise_width, NOISE_WIDTH, _NOISE_WIDTH_MAX)
    found = [_fullest(ring, length, value_bits, contributors_max, noise_width) for ring in rings]
    fitting = [parameters for parameters in found if parameters is not None]
    if not fitting:
        raise _too_large_for(rings, length, value_bits, contributors_max, noise_width)
    return min(fitting, key=lambda p: p.bytes + members * key_share_bytes(p, packing))


def _too_large_for(
    rings: tuple[SafeRing, ...], length: int, value_bits: int, contributors: int, noise_width: float
) -> UnsafeParameters:
    """What is wrong where not one value fits into a coefficient of these rings."""
    degrees = ", ".join(str(ring.degree) for ring in rings)
    fewer = (
        bits
        for bits in range(value_bits - 1, 0, -1)
        if any(_fullest(ring, length, bits, contributors, noise_width) for ring in rings)
    )
    why = f"sums of {contributors} contributors do not fit a coefficient of degree {degrees}"
    return UnsafeParameters("value_bits", value_bits, next(fewer, 0), why)


def key_share_bytes(parameters: ParameterSet, packing: int) -> int:
    """Size of one member's share of a key, without its salt: 4 bytes for each field element."""
    return 4 * len(parameters.primes) * -(-parameters.degree // packing)


def _fullest(
    ring: SafeRing, length: int, value_bits: int, contributors: int, noise_width: float
) -> ParameterSet | None:
    """The set of this ring with the most slots in a coefficient, or None if not one fits."""
    slot_bits = (contributors * ((1 << value_bits) - 1)).bit_length()
    modulus = prod(ring.primes)
    for slots in range(modulus.bit_length() // slot_bits, 0, -1):
        shape = _layout(length, slots, ring.degree, len(ring.primes))
        shift = _shift_for(shape.coefficients, contributors, noise_width)
        ones = sum(1 << (slot_bits * slot) for slot in range(slots))
        largest = contributors * ((1 << value_bits) - 1) * ones
        if (largest + 1) << shift <= modulus:
            return ParameterSet(
                degree=ring.degree,
                primes=ring.primes,
                length=length,
                value_bits=value_bits,
                contributors_max=contributors,
                slots=slots,
                slot_bits=slot_bits,
                shift=shift,
                noise_width=noise_width,
            )
    return None


def _layout(length: int, slots: int, degree: int, primes: int) -> Layout:
    blocks = max(1, _SEGMENT_RESIDUES // (degree * LANES * primes))
    return Layout(length, slots, degree, primes, blocks)


def _failure_log2(coefficients: int, contributors: int, noise_width: float, shift: int) -> float:
    """log₂ of N·2·exp(-T²/2hσ²), T = 2^(shift - 1)."""
    reach = 1 << (shift - 1)
    exponent = reach * reach / (2 * contributors * noise_width * noise_width)
    return 1 + log2(coefficients) - exponent / log(2)


def _noise_capacity(coefficients: int, noise_width: float, shift: int) -> int:
    """The most contributors whose errors stay below T with the wanted probability."""
    low, high = 0, CONTRIBUTORS_MAX + 1  # low holds, high is never looked at
    while high - low > 1:
        middle = (low + high) // 2
        if _failure_log2(coefficients, middle, noise_width, shift) <= FAILURE_LOG2_MAX:
            low = middle
        else:
            high = middle
    return low


def _shift_for(coefficients: int, contributors: int, noise_width: float) -> int:
    shift = 1
    while _failure_log2(coefficients, contributors, noise_width, shift) > FAILURE_LOG2_MAX:
        shift += 1
    return shift


def _check_ring(degree: int, primes: tuple[int, ...]) -> None:
    """Refuse a ring without an estimate of 128 bits at least, or without its transform."""
    if degree not in _SAFE_BITS:
        raise UnsafeParameters("degree", degree, sorted(_SAFE_BITS), "no estimate is known")
    modulus_bits = (prod(primes) - 1).bit_length()
    if modulus_bits > _SAFE_BITS[degree]:
        raise UnsafeParameters(
            "primes",
            f"{modulus_bits} bits in all",
            f"{_SAFE_BITS[degree]} bits for degree {degree}",
            f"masks would be below {SECURITY_BITS_MIN} bits of security",
        )
    if len(set(primes)) != len(primes):
        raise UnsafeParameters("primes", primes, "each once", "they must differ")
    for prime in primes:
        if prime % (2 * degree) != 1:
            raise UnsafeParameters(
                "primes", prime, f"1 modulo {2 * degree}", "the ring has no transform"
            )
        try:
            PrimeField(prime)
        except ValueError as error:
            raise UnsafeParameters(
                "primes", prime, f"a prime below 2^{RESIDUE_BITS}", "no field has this modulus"
            ) from error


def _check_range(field: str, value: float, least: float, most: float) -> None:
    if not value >= least:
        raise UnsafeParameters(field, value, least, "too small")
    if not value <= most:
        raise UnsafeParameters(field, value, most, "too large")
