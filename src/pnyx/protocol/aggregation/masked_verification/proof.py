"""The contributor: a masked vector with a proof that its norm is bounded, in one message.

Given z = Δm + e (`bounds`), the key s that masks it, the root of y = a·s + z, and counts,

1. share s over the ring's field, and commit to y and the shares: C1 gives the sketch P;
2. u = P·z over the integers; u = D·a + b. When Σa² or Σb² is over its threshold, draw another
   salt for C1, hence another P. Slack bits say what the thresholds leave;
3. share X = (a, b, slack bits, bits of the counts) and a Gaussian mask g over *both* fields, and
   the blinds for one challenge; C2 gives R', and v = R'X + g is published when rejection sampling
   agrees, else g is drawn anew.

Randomness comes from the seed, the context, the key, the counts and the vector's root: repeating a
call gives the same contribution, any other call an independent one. *Neither key nor seed serves
twice*, not even for a contribution that was never sent.

That P passed tells that its thresholds hold, which is what the committee finds out anyway.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.hashing import digest, merkle_commit, merkle_root
from pnyx.primitives.sampling import SEED_BYTES, Sampler
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation.bounds import ROWS, Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector, to_slots
from pnyx.protocol.aggregation.gaussian import discrete_gaussian, hides
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.commitments import (
    commitment,
    sketch_commitment,
)
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch, without_offset
from pnyx.protocol.aggregation.payloads import expand, key_leaf
from pnyx.protocol.aggregation.ranges import project
from pnyx.protocol.aggregation.verification import SALT_BYTES, codes, short_integers
from pnyx.protocol.selection.security import CommitteeSize

SKETCHES_MAX = 64  # a vector within its bound needs as many with probability 2^-64 at most

_WORD = "<u4"


class MaskedProof(msgspec.Struct, frozen=True):
    """A proven contribution: what its header states, and each member's payload.

    key_root: of the key shares. salt: of the sketch. sketched: C1. sketches: P·y, packed, after
    each part of y as it was given.
    """

    payloads: tuple[bytes, ...]
    published: bytes
    key_root: bytes
    salt: bytes
    sketched: bytes
    sketches: tuple[bytes, ...]

    @property
    def sketch(self) -> bytes:
        """P·y of all of it, as a header states it."""
        return self.sketches[-1]

    def __repr__(self) -> str:
        return "MaskedProof(...)"  # payloads are secret


def prove_masked(
    hidden: Sequence[NDArray[np.int32]],
    key: IntVector,
    vector_root: bytes,
    counts: IntVector,
    masked: MaskedBounds,
    bounds: Bounds,
    size: CommitteeSize,
    seed: bytes,
    context: bytes,
    *,
    vector: Sequence[NDArray[np.uint32]] = (),
    offset: int = 0,
    every: int | None = None,
) -> MaskedProof:
    """Share a masked vector's key, and counts, with a proof that all is within its bounds.

    hidden: z in chunks of one block, read once per sketch, zero where nothing is sent. key: s
    [1024] modulo p₁. vector_root: commitment to y. counts: [given_length of `bounds`]. seed:
    secret, fresh for this contribution. context: names network, study, round, attempt and
    contributor. vector, offset: y as `sketch.masked_sketch` takes it, where P·y is wanted too: one
    pass does for both. every: so many blocks of y are a part. Raises ValueError when something is
    out of bounds.
    """
    if len(hidden) != masked.blocks or key.shape != (RING_DEGREE,):
        raise ValueError("expected the blocks of the bounds, and one key")
    if hidden[-1].reshape(-1)[masked.sent(masked.blocks - 1) :].any():
        raise ValueError("entries that are not sent are not zero")
    parts = (key.astype("<i8").tobytes(), counts.astype("<i8").tobytes())
    secret = digest("pnyx/masked-verification/seed", seed, context, vector_root, *parts)
    dealing = Dealing(bounds, size, Sampler(secret, "pnyx/masked-verification"))
    dealing.share_key(key)
    key_root = dealing.commit_key()
    for _ in range(SKETCHES_MAX):
        salt = dealing.sampler.bytes(SALT_BYTES)
        sketched = sketch_commitment(context, vector_root, key_root, salt)
        if vector:
            beside = without_offset(vector, masked, offset)
            found, of_vector = Sketch(sketched).apply_both(hidden, beside, every or len(vector))
        else:
            found, of_vector = Sketch(sketched).apply(hidden), []
        digits = digits_of(found, masked)
        if digits is not None:
            break
    else:
        raise ValueError("the vector is longer than its bound")
    short = short_integers(counts, bounds, size, digits)
    dealing.share(slice(0, dealing.plan.short), short)
    dealing.share_blinds()
    published = _publish(dealing, sketched, short.reshape(-1), bounds)
    sketches = tuple(FIELDS[0].pack(FIELDS[0].reduce(each)) for each in of_vector)
    return MaskedProof(dealing.payloads(), published, key_root, salt, sketched, sketches)


def digits_of(sketch: IntVector, masked: MaskedBounds) -> tuple[IntVector, IntVector] | None:
    """Upper and lower digits of a sketch [256]; None over a threshold."""
    limit = MODULUS // 2  # beyond it no digits could be within their thresholds
    if int(np.abs(sketch).max()) > limit:
        return None
    upper = (sketch + masked.digit // 2) // masked.digit
    lower = sketch - masked.digit * upper
    for digits, threshold in zip((upper, lower), masked.thresholds, strict=True):
        if int(digits @ digits) > threshold:
            return None
    return upper, lower


def _publish(dealing: "Dealing", sketched: bytes, short: IntVector, bounds: Bounds) -> bytes:
    """Draw masks until v tells nothing of X, three times on average; returns v."""
    step = bounds.range_step
    while True:
        mask = discrete_gaussian(dealing.sampler, step.mask_width, ROWS)
        dealing.share_mask(mask)
        shares_root = merkle_root(dealing.payloads())
        hidden = project(commitment(sketched, shares_root), short)
        masked = hidden + mask
        if (
            int(hidden @ hidden) <= step.projection_squared_max
            and int(np.abs(masked).max()) <= step.published_max
            and hides(dealing.sampler, hidden, masked, step.mask_width)
        ):
            return masked.astype("<i4").tobytes()


class Dealing:
    """The shares of all members while they are made; see `payloads` for their form.

    Rows of the first f members are expanded from their seeds, and take the place of randomness.
    """

    def __init__(self, bounds: Bounds, size: CommitteeSize, sampler: Sampler) -> None:
        self.plan, self.bounds, self.size, self.sampler = (
            layout(bounds, size),
            bounds,
            size,
            sampler,
        )
        seeded = size.corrupt_max
        self._seeds = [sampler.bytes(SEED_BYTES) for _ in range(seeded)]
        self._salts = [sampler.bytes(SALT_BYTES) for _ in range(size.size - seeded)]
        self._proofs: list[bytes] = [b""] * size.size
        self._tables = [
            np.zeros((size.size, self.plan.columns + keys), dtype=_WORD) for keys in self.plan.keys
        ]
        for member, seed in enumerate(self._seeds):
            for table, row in zip(self._tables, expand(seed, self.plan), strict=True):
                table[member] = row

    def share(self, columns: slice, secrets: IntVector) -> None:
        """Share integers [packing, columns] over both fields, in the place of what was there."""
        for at, field in enumerate(FIELDS):
            self._share_with(codes(self.size)[at][0], at, columns, field.reduce(secrets))

    def _share_with(
        self, sharing: PackedSharing, at: int, columns: slice, secrets: IntVector
    ) -> None:
        table, seeded = self._tables[at], self.size.corrupt_max
        more = (sharing.privacy - seeded, secrets.shape[1])
        randomness = self.sampler.field_elements(sharing.field.modulus, more)
        rows = table[:seeded, columns].astype(np.int64)
        table[:, columns] = sharing.share(secrets, np.concatenate([rows, randomness]))

    def share_key(self, key: IntVector) -> None:
        """Share the key, over the ring's field."""
        columns = slice(self.plan.columns, self.plan.columns + self.plan.keys[0])
        secrets = to_slots(key, self.size.packing)
        self._share_with(codes(self.size)[0][0], 0, columns, secrets)

    def share_blinds(self) -> None:
        """Share blinds for one challenge: slots of V are uniform, those of L and Q sum to zero."""
        for at, field in enumerate(FIELDS):
            start = self.plan.data
            for check, sharing in enumerate(codes(self.size)[at]):
                shape = (self.size.packing, self.plan.repetitions)
                secrets = self.sampler.field_elements(field.modulus, shape)
                if check:
                    secrets[0] = field.negate(field.reduce(secrets[1:].sum(axis=0)))
                columns = slice(start, start + self.plan.repetitions)
                self._share_with(sharing, at, columns, secrets)
                start = columns.stop

    def share_mask(self, mask: IntVector) -> None:
        """Share a mask over both fields, in the place of one that was never shown to anybody."""
        columns = slice(self.plan.short, self.plan.data)
        self.share(columns, to_slots(mask, self.size.packing))

    def commit_key(self) -> bytes:
        """Commit to every member's key shares, as they are now; payloads carry the proofs."""
        members = enumerate(self._bodies())
        leaves = [key_leaf(body, self.bounds, self.size, member) for member, body in members]
        root, proofs = merkle_commit(leaves)
        self._proofs = [b"".join(proof) for proof in proofs]
        return root

    def _bodies(self) -> list[bytes]:
        columns, seeded = self.plan.columns, self.size.corrupt_max
        bodies = list(self._seeds)
        for salt, *rows in zip(self._salts, *(t[seeded:] for t in self._tables), strict=True):
            plain = b"".join(row[:columns].tobytes() for row in rows)
            bodies.append(salt + plain + b"".join(row[columns:].tobytes() for row in rows))
        return bodies

    def payloads(self) -> tuple[bytes, ...]:
        """Every member's payload."""
        return tuple(a + b for a, b in zip(self._bodies(), self._proofs, strict=True))
