"""A contributor that proves what it likes: the prover of `verification`, with every part open.

Honest unless told otherwise. X and the mask may differ between the fields, blinds may be anything,
columns of shares may be overwritten, and v is made to fit as well as can be. R' is expanded here a
second time, slowly, so that these tests do not lean on `ranges`.
"""

from collections.abc import Callable
from math import isqrt

import numpy as np

from pnyx.primitives.field import PRIMES
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, verdicts, verification
from pnyx.protocol.aggregation.ballots import bit_weights, to_bits
from pnyx.protocol.aggregation.bounds import ROWS, Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS, to_slots
from pnyx.protocol.aggregation.gaussian import discrete_gaussian
from pnyx.protocol.selection import CommitteeSize

PRODUCT = PRIMES[0] * PRIMES[1]
CONTEXT = b"study 1, round 2, contributor 3"
CONTRIBUTOR = 3


def projection(commitment: bytes, dimension: int) -> np.ndarray:
    """R' [256, dimension], one trit at a time."""
    stream = Sampler(commitment, "pnyx/verify/projection").bytes(64 * dimension)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little").astype(np.int64)
    pairs = bits.reshape(dimension, ROWS, 2)
    return (pairs[:, :, 0] - pairs[:, :, 1]).T


def centred(values: np.ndarray) -> np.ndarray:
    """Representatives modulo p1·p2 around zero."""
    reduced = np.mod(values, PRODUCT)
    return np.where(reduced > PRODUCT // 2, reduced - PRODUCT, reduced)


def wanted_sums(
    size: CommitteeSize, bounds: Bounds, claim: verdicts.Claim, challenge: bytes
) -> np.ndarray:
    """What the slots of L and Q must sum to: [fields, 2, repetitions]."""
    published = verdicts.check_published(claim.published, bounds)
    sketch = verdicts.check_sketch(claim.sketch, bounds)
    return verdicts._wanted(size, bounds, claim, challenge, published, sketch)


class Forger:
    """One dishonest contribution. `short` and `mask` are integers modulo p1·p2, or one per field.

    short: [packing, short] slots; see `parts` for its pieces.
    """

    def __init__(
        self,
        bounds: Bounds,
        size: CommitteeSize,
        short: np.ndarray | tuple[np.ndarray, np.ndarray],
        *,
        seed: int = 0,
        blinds: Callable[[np.ndarray, int, int], np.ndarray] | None = None,
        shares: Callable[[np.ndarray], None] | None = None,
        context: bytes = CONTEXT,
        mask: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.bounds, self.size, self.plan = bounds, size, layout(bounds, size)
        sampler = Sampler(digest("forger", seed.to_bytes(4, "big")), "test")
        if mask is None:
            plain = to_slots(discrete_gaussian(sampler, bounds.mask_width, ROWS), size.packing)
            mask = (plain, plain)
        per_field = short if isinstance(short, tuple) else (short, short)
        table = np.zeros((size.size, len(FIELDS), self.plan.columns), dtype=np.int64)
        for at, (field, sharings) in enumerate(zip(FIELDS, verification.codes(size), strict=True)):
            secrets = np.mod(np.concatenate([per_field[at], mask[at]], axis=1), field.modulus)
            noise = sampler.field_elements(field.modulus, (size.corrupt_max, secrets.shape[1]))
            table[:, at, : self.plan.data] = sharings[0].share(secrets, noise)
            start = self.plan.data
            for check, sharing in enumerate(sharings):
                shape = (size.packing, self.plan.repetitions)
                secrets = sampler.field_elements(field.modulus, shape)
                if check:
                    secrets[0] = np.mod(-secrets[1:].sum(axis=0), field.modulus)
                if blinds is not None:
                    secrets = np.mod(blinds(secrets, at, check), field.modulus)
                noise = sampler.field_elements(field.modulus, (sharing.privacy, shape[1]))
                table[:, at, start : start + shape[1]] = sharing.share(secrets, noise)
                start += shape[1]
        if shares is not None:
            shares(table)
        self.payloads = [bytes(16) + row.astype("<u4").tobytes() for row in table]
        commitment = verification.commit(context, merkle_root(self.payloads))
        # Modulo p1·p2 when the fields agree; otherwise the first field's v, for want of a better.
        matrix = projection(commitment, self.plan.dimension)
        self.exact = centred(
            matrix @ centred(per_field[0]).reshape(-1) + mask[0].reshape(-1)[:ROWS]
        )
        fitted = np.clip(self.exact, -bounds.published_max, bounds.published_max)
        self.claim = coefficients.Claim(CONTRIBUTOR, commitment, fitted.astype("<i4").tobytes())

    def answers(self, challenge: bytes, members=None) -> dict[int, np.ndarray]:
        """What honest members answer."""
        chosen = range(self.size.size) if members is None else members
        return {
            m: verification.answers(
                verification.read_payload(self.payloads[m], self.bounds, self.size),
                m,
                self.claim,
                challenge,
                self.bounds,
                self.size,
            )
            for m in chosen
        }

    def judged(self, challenge: bytes, members=None) -> verdicts.Verdict:
        """The verdict on honest members' answers."""
        given = self.answers(challenge, members)
        return verdicts.judge_one(self.size, self.bounds, self.claim, challenge, given)


def parts(
    bounds: Bounds,
    size: CommitteeSize,
    update: np.ndarray,
    slack: np.ndarray | int,
    count_bits: np.ndarray | None = None,
) -> np.ndarray:
    """Slots [packing, short] of an update, a slack or its bits, and count bits [bits, counts]."""
    if isinstance(slack, int):
        slack = to_bits(np.array([slack]), bounds.norm_squared)[:, 0]
    if count_bits is None:
        count_bits = np.zeros((bounds.count_max.bit_length(), bounds.counts), dtype=np.int64)
    pieces = [to_slots(update, size.packing), to_slots(slack, size.packing)]
    if bounds.counts:
        pieces += [to_slots(row, size.packing) for row in count_bits]
    return np.concatenate(pieces, axis=1)


def slack_of(bounds: Bounds, update: np.ndarray) -> int:
    """What an update leaves of the bound, cut to what bits can say."""
    return max(0, bounds.norm_squared - int(sum(int(x) ** 2 for x in update)))


def forged_slack(bounds: Bounds, slack: int) -> np.ndarray:
    """'Bits' that encode any slack, negative ones too, by not being bits."""
    bits = np.zeros(len(bit_weights(bounds.norm_squared)), dtype=np.int64)
    bits[0] = slack
    return bits


def square_root(value: int, prime: int) -> int | None:
    """A square root modulo a prime, by Tonelli and Shanks."""
    if pow(value, (prime - 1) // 2, prime) != 1:
        return None
    odd, twos = prime - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    order, factor = twos, pow(_non_residue(prime), odd, prime)
    rest, root = pow(value, odd, prime), pow(value, (odd + 1) // 2, prime)
    while rest != 1:
        steps, power = 0, rest
        while power != 1:
            steps, power = steps + 1, power * power % prime
        step = pow(factor, 1 << (order - steps - 1), prime)
        order, factor = steps, step * step % prime
        rest, root = rest * factor % prime, root * step % prime
    return root


def two_squares(target: int, sampler: Sampler) -> tuple[int, int]:
    """Integers modulo p1·p2 whose squares add up to `target` modulo both primes."""
    while True:
        first = sampler.below(PRODUCT)
        roots = [square_root((target - first * first) % p, p) for p in PRIMES]
        if None not in roots:
            break
    inverse = pow(PRIMES[0], -1, PRIMES[1])
    second = roots[0] + PRIMES[0] * ((roots[1] - roots[0]) * inverse % PRIMES[1])
    assert (first * first + second * second - target) % PRODUCT == 0
    return first, second


def as_two_squares(value: int) -> tuple[int, int] | None:
    """Two integers whose squares add up to a prime that is 1 modulo 4; None for other values."""
    if value % 4 != 1 or any(pow(base, value - 1, value) != 1 for base in (2, 3, 5, 7, 11)):
        return None
    larger, smaller = value, pow(_non_residue(value), (value - 1) // 4, value)
    while smaller * smaller > value:  # Euclid's algorithm, halfway (Cornacchia)
        larger, smaller = smaller, larger % smaller
    other = isqrt(value - smaller * smaller)
    return (smaller, other) if smaller**2 + other**2 == value else None


def _non_residue(prime: int) -> int:
    return next(z for z in range(2, 199) if pow(z, (prime - 1) // 2, prime) == prime - 1)
