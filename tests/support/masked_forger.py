"""A masked contributor that proves what it likes: the prover of `masked_verification`, opened.

Honest unless told otherwise. The vector may be anything modulo p, the shared key another one,
digits, slack and mask may differ between the fields, blinds may be anything, shares may be
overwritten, and v is made to fit as well as can be. R' is expanded by the slow oracle of `forger`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from msgspec.structs import replace
from tests.support.forger import centred, projection

from pnyx.primitives.hashing import digest, merkle_root
from pnyx.primitives.ring import LANES, expand_public
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, verification
from pnyx.protocol.aggregation.ballots import to_bits
from pnyx.protocol.aggregation.bounds import ROWS, layout
from pnyx.protocol.aggregation.encoding import FIELDS, to_slots
from pnyx.protocol.aggregation.gaussian import discrete_gaussian
from pnyx.protocol.aggregation.masked_verification import commitments, proof, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.key_weights import RING, key_weights
from pnyx.protocol.aggregation.payloads import read_share
from pnyx.protocol.aggregation.verdicts import Verdict, judge_one
from pnyx.protocol.selection import CommitteeSize

CONTEXT = b"study 1, round 2, contributor 3"
CONTRIBUTOR = 3
ERRORS = 4.5

Digits = tuple[np.ndarray, np.ndarray, np.ndarray]  # a, b, slack bits: integers modulo p1·p2


@lru_cache(maxsize=8)
def public(blocks: int) -> np.ndarray:
    """The public polynomials of the round, transformed."""
    return expand_public(RING, b"p" * 32, blocks)


def update(bounds: MaskedBounds, share: float, seed: int) -> np.ndarray:
    """An update [length] of norm about share·norm_max."""
    generator = np.random.Generator(np.random.PCG64(seed))
    values = generator.normal(size=bounds.length)
    values *= share * bounds.norm_max / np.linalg.norm(values)
    return np.floor(values + generator.random(bounds.length)).astype(np.int64)


def hidden(bounds: MaskedBounds, values: np.ndarray, seed: int) -> np.ndarray:
    """z = Δm + e in blocks [blocks, 1024, LANES], int32."""
    generator = np.random.Generator(np.random.PCG64(seed))
    z = np.zeros(bounds.blocks * BLOCK, dtype=np.int64)
    z[: bounds.coefficients] = np.rint(generator.normal(scale=ERRORS, size=bounds.coefficients))
    z[: len(values)] += bounds.scale * values
    return z.astype(np.int32).reshape(-1, RING_DEGREE, LANES)


def masked(z: np.ndarray, key: np.ndarray) -> np.ndarray:
    """y = a·s + z modulo p."""
    vector = RING.mask(public(len(z)), key.astype(np.uint32))
    return ((vector.astype(np.int64) + z) % MODULUS).astype(np.uint32)


def digits_of(sketch: np.ndarray, bounds: MaskedBounds, slack: Sequence[int] | None = None):
    """a, b and slack bits of a sketch, whatever its length; slack is cut to what bits can say."""
    upper = (sketch + bounds.digit // 2) // bounds.digit
    lower = sketch - bounds.digit * upper
    bits = []
    for at, (row, threshold) in enumerate(zip((upper, lower), bounds.thresholds, strict=True)):
        left = threshold - int(row @ row) if slack is None else slack[at]
        bits.append(to_bits(np.array([max(0, left)]), threshold)[:, 0])
    return upper, lower, np.concatenate(bits)


class MaskedForger:
    """One dishonest contribution.

    z: [blocks, 1024, LANES] integers modulo p. digits: what is shared, from the centred sketch;
    one triple, or one per field. grind: salts are drawn until the sketch is as wished.
    """

    def __init__(
        self,
        bounds: MaskedBounds,
        size: CommitteeSize,
        z: np.ndarray,
        *,
        seed: int = 0,
        shared_key: Callable[[np.ndarray], np.ndarray] | None = None,
        digits: Callable[[np.ndarray], Digits | tuple[Digits, Digits]] | None = None,
        blinds: Callable[[np.ndarray, int, int], np.ndarray] | None = None,
        shares: Callable[[list[np.ndarray], np.ndarray], None] | None = None,
        key_shares: Callable[[list[np.ndarray], np.ndarray], None] | None = None,
        context: bytes = CONTEXT,
        grind: Callable[[np.ndarray], bool] | None = None,
    ) -> None:
        self.masked, self.bounds, self.size = bounds, bounds.alone, size
        self.plan = layout(self.bounds, size)
        sampler = Sampler(digest("masked forger", seed.to_bytes(4, "big")), "test")
        self.key = sampler.field_elements(MODULUS, RING_DEGREE)
        self.vector = masked(z, self.key)
        self.root = merkle_root([block.tobytes() for block in self.vector])
        self.context = context
        dealing = self.dealing = proof.Dealing(self.bounds, size, sampler)
        dealing.share_key(self.key if shared_key is None else np.mod(shared_key(self.key), MODULUS))
        if key_shares is not None:
            key_shares(dealing._tables, np.arange(size.size) >= size.corrupt_max)
        self.key_root = dealing.commit_key()
        residues = ((z.astype(np.int64) + MODULUS // 2) % MODULUS) - MODULUS // 2
        for _ in range(5000):
            self.salt = sampler.bytes(16)
            sketched = commitments.sketch_commitment(context, self.root, self.key_root, self.salt)
            found = np.mod(sketch.Sketch(sketched).apply(residues), MODULUS)
            self.sketch = np.where(found > MODULUS // 2, found - MODULUS, found)
            if grind is None or grind(self.sketch):
                break
        made = digits_of(self.sketch, bounds) if digits is None else digits(self.sketch)
        per_field = made if isinstance(made[0], tuple) else (made, made)
        self._share_rest(per_field, sampler, blinds)
        if shares is not None:
            shares(dealing._tables, np.arange(size.size) >= size.corrupt_max)
        self.payloads = dealing.payloads()
        stated = sketch.masked_sketch(sketched, list(self.vector), bounds)
        self.claim = self.claims(stated)
        self.claim = replace(self.claim, published=self._published(per_field[0]))

    def claims(
        self, sketch: np.ndarray, context: bytes | None = None, published: bytes = b""
    ) -> coefficients.Claim:
        """What a header with this P·y claims, in this context or in another."""
        return commitments.masked_claim(
            CONTRIBUTOR,
            self.context if context is None else context,
            vector_root=self.root,
            key_root=self.key_root,
            salt=self.salt,
            shares_root=merkle_root(self.payloads),
            published=published,
            sketch=FIELDS[0].pack(sketch),
        )

    def _share_rest(self, per_field, sampler, blinds) -> None:
        dealing, plan = self.dealing, self.plan
        self.mask = discrete_gaussian(sampler, self.bounds.mask_width, ROWS)
        dealing.share_mask(self.mask)
        for at, rows in enumerate(per_field):
            start, field = 0, FIELDS[at]
            for row in rows:
                slots = field.reduce(to_slots(np.asarray(row), self.size.packing))
                columns = slice(start, start + slots.shape[1])
                dealing._share_with(verification.codes(self.size)[at][0], at, columns, slots)
                start = columns.stop
        for at, field in enumerate(FIELDS):
            start = plan.data
            for check, sharing in enumerate(verification.codes(self.size)[at]):
                secrets = sampler.field_elements(
                    field.modulus, (self.size.packing, plan.repetitions)
                )
                if check:
                    secrets[0] = np.mod(-secrets[1:].sum(axis=0), field.modulus)
                if blinds is not None:
                    secrets = np.mod(blinds(secrets, at, check), field.modulus)
                columns = slice(start, start + plan.repetitions)
                dealing._share_with(sharing, at, columns, secrets)
                start = columns.stop

    def _published(self, digits: Digits) -> bytes:
        """R'X + g modulo p1·p2 as integers, cut to what may be published."""
        matrix = projection(self.claim.commitment, self.plan.dimension)
        slots = [to_slots(np.asarray(row), self.size.packing) for row in digits]
        flat = centred(np.concatenate(slots, axis=1)).reshape(-1)
        exact = centred(matrix @ flat + self.mask)
        limit = self.bounds.published_max
        return np.clip(exact, -limit, limit).astype("<i4").tobytes()

    def key_row(self, challenge: bytes) -> np.ndarray:
        """What multiplies the key, as every honest member computes it."""
        everything = public(self.masked.blocks)
        return key_weights(self.claim, challenge, self.masked, self.bounds, self.size, everything)

    def shares(self, member: int):
        """A member's share."""
        return read_share(self.payloads[member], member, self.claim, self.bounds, self.size)

    def answers(self, challenge: bytes, members=None, key_row=None) -> dict[int, np.ndarray]:
        """What honest members answer."""
        chosen = range(self.size.size) if members is None else members
        row = self.key_row(challenge) if key_row is None else key_row
        return {
            m: verification.answers(
                self.shares(m), m, self.claim, challenge, self.bounds, self.size, row
            )
            for m in chosen
        }

    def verdict(self, challenge: bytes, given: dict[int, np.ndarray]) -> Verdict:
        """The verdict on answers."""
        return judge_one(self.size, self.bounds, self.claim, challenge, given)

    def judged(self, challenge: bytes, members=None) -> Verdict:
        """The verdict on honest members' answers."""
        return self.verdict(challenge, self.answers(challenge, members))
