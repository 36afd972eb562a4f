"""The contributor: a masked vector with a proof that its norm is bounded, in one message.

Given z = Δm + e (`bounds`), the key s under which it is masked, and the root of y = a·s + z,

1. share s over the ring's field, and commit to y and the shares: C1 gives the sketch P;
2. u = P·z over the integers; u = D·a + b. When Σa² or Σb² is over its threshold, draw another salt
   for C1, hence another P. Slack bits say what the thresholds leave;
3. share X = (a, b, bits) and a Gaussian mask g over *both* fields, and the blinds for one
   challenge; C2 gives R', and v = R'X + g is published when rejection sampling agrees, else g is
   drawn anew.

Randomness comes from the seed, the context, the key and the vector's root: repeating a call gives
the same contribution, any other call an independent one. *Neither key nor seed serves twice*, not
even for a contribution that was never sent.

That P passed tells that its thresholds hold, which is what the committee finds out anyway.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.hashing import digest, merkle_commit, merkle_root
from pnyx.primitives.sampling import SEED_BYTES, Sampler
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation.ballots import to_bits
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector, to_slots
from pnyx.protocol.aggregation.gaussian import discrete_gaussian, hides
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    Layout,
    MaskedBounds,
    layout,
)
from pnyx.protocol.aggregation.masked_verification.payloads import (
    Binding,
    commitment,
    expand,
    sketch_commitment,
)
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch
from pnyx.protocol.aggregation.ranges import project
from pnyx.protocol.aggregation.verification import SALT_BYTES, codes
from pnyx.protocol.selection.security import CommitteeSize

SKETCHES_MAX = 64  # a vector within its bound needs as many with probability 2^-64 at most

_WORD = "<u4"


class Proven(msgspec.Struct, frozen=True):
    """A proven contribution: what is signed, v, and each member's payload and key proof."""

    binding: Binding
    published: bytes
    payloads: tuple[bytes, ...]
    key_proofs: tuple[tuple[bytes, ...], ...]

    def __repr__(self) -> str:
        return "Proven(...)"  # payloads are secret


def prove(
    hidden: Sequence[NDArray[np.int32]],
    key: NDArray[np.integer],
    vector_root: bytes,
    bounds: MaskedBounds,
    size: CommitteeSize,
    seed: bytes,
    context: bytes,
) -> Proven:
    """Share a masked vector's key with a proof that the vector is within its bounds.

    hidden: z in chunks of one block, read once per sketch, zero where nothing is sent. key: s
    [1024] modulo p₁. vector_root: commitment to y. seed: secret, fresh for this contribution.
    context: names network, study, round, attempt and contributor. Raises ValueError when the
    vector is out of bounds.
    """
    if len(hidden) != bounds.blocks or key.shape != (RING_DEGREE,):
        raise ValueError("expected the blocks of the bounds, and one key")
    if hidden[-1].reshape(-1)[bounds.sent(bounds.blocks - 1) :].any():
        raise ValueError("entries that are not sent are not zero")
    wide = key.astype(np.int64)
    secret = digest("pnyx/masked-verification/seed", seed, context, vector_root, wide.tobytes())
    dealing = _Dealing(layout(bounds, size), size, Sampler(secret, "pnyx/masked-verification"))
    dealing.share(0, slice(0, dealing.plan.key), wide)
    key_root, key_proofs = merkle_commit(dealing.key_leaves())
    for _ in range(SKETCHES_MAX):
        salt = dealing.sampler.bytes(SALT_BYTES)
        sketched = sketch_commitment(context, vector_root, key_root, salt)
        short = short_integers(Sketch(sketched).apply(hidden), bounds)
        if short is not None:
            break
    else:
        raise ValueError("the vector is longer than its bound")
    dealing.share_short(short)
    dealing.share_blinds()
    shares_root, published = _publish(dealing, sketched, short, bounds)
    binding = Binding(vector_root, key_root, salt, shares_root)
    return Proven(binding, published, dealing.payloads(), tuple(key_proofs))


def short_integers(sketch: IntVector, bounds: MaskedBounds) -> tuple[IntVector, ...] | None:
    """The rows of X: digits a and b of a sketch [256], and slack bits; None over a threshold."""
    limit = MODULUS // 2  # beyond it no digits could be within their thresholds
    if int(np.abs(sketch).max()) > limit:
        return None
    upper = (sketch + bounds.digit // 2) // bounds.digit
    lower = sketch - bounds.digit * upper
    slack = []
    for digits, threshold in zip((upper, lower), bounds.thresholds, strict=True):
        left = threshold - int(digits @ digits)
        if left < 0:
            return None
        slack.append(to_bits(np.array([left]), threshold)[:, 0])
    return upper, lower, np.concatenate(slack)


def _publish(
    dealing: "_Dealing", sketched: bytes, short: tuple[IntVector, ...], bounds: MaskedBounds
) -> tuple[bytes, bytes]:
    """Draw masks until v tells nothing of X, three times on average; payloads' root and v."""
    step, packing = bounds.range_step, dealing.size.packing
    flat = np.concatenate([to_slots(row, packing) for row in short], axis=1).reshape(-1)
    while True:
        mask = discrete_gaussian(dealing.sampler, step.mask_width, ROWS)
        dealing.share_mask(mask)
        shares_root = merkle_root(dealing.payloads())
        hidden = project(commitment(sketched, shares_root), flat)
        masked = hidden + mask
        if (
            int(hidden @ hidden) <= step.projection_squared_max
            and int(np.abs(masked).max()) <= step.published_max
            and hides(dealing.sampler, hidden, masked, step.mask_width)
        ):
            return shares_root, masked.astype("<i4").tobytes()


class _Dealing:
    """The shares of all members while they are made; see `payloads` for their form.

    Rows of the first f members are expanded from their seeds, and take the place of randomness.
    """

    def __init__(self, plan: Layout, size: CommitteeSize, sampler: Sampler) -> None:
        self.plan, self.size, self.sampler = plan, size, sampler
        seeded = size.corrupt_max
        self._seeds = [sampler.bytes(SEED_BYTES) for _ in range(seeded)]
        self._salts = [sampler.bytes(SALT_BYTES) for _ in range(size.size - seeded)]
        self._tables = [
            np.zeros((size.size, plan.columns(at)), dtype=_WORD) for at in range(len(FIELDS))
        ]
        for member, seed in enumerate(self._seeds):
            for table, row in zip(self._tables, expand(seed, plan), strict=True):
                table[member] = row

    def share(self, at: int, columns: slice, values: IntVector) -> None:
        """Share values over one field, into columns where seeded rows are in place."""
        secrets = FIELDS[at].reduce(to_slots(values, self.size.packing))
        self._share_with(codes(self.size)[at][0], at, columns, secrets)

    def _share_with(
        self, sharing: PackedSharing, at: int, columns: slice, secrets: IntVector
    ) -> None:
        table, seeded = self._tables[at], self.size.corrupt_max
        more = (sharing.privacy - seeded, secrets.shape[1])
        randomness = self.sampler.field_elements(sharing.field.modulus, more)
        rows = table[:seeded, columns].astype(np.int64)
        table[:, columns] = sharing.share(secrets, np.concatenate([rows, randomness]))

    def share_short(self, short: tuple[IntVector, ...]) -> None:
        """Share X over both fields."""
        for at in range(len(FIELDS)):
            start = self.plan.start(at)
            for row, width in zip(
                short, (self.plan.digits, self.plan.digits, self.plan.bits), strict=True
            ):
                self.share(at, slice(start, start + width), row)
                start += width

    def share_blinds(self) -> None:
        """Share blinds for one challenge: slots of V are uniform, those of L and Q sum to zero."""
        for at, field in enumerate(FIELDS):
            start = self.plan.data(at)
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
        for at in range(len(FIELDS)):
            self.share(at, self.plan.mask(at), mask)

    def key_leaves(self) -> list[bytes]:
        """What fixes every member's key shares (`payloads.key_leaf`)."""
        full = self._tables[0][self.size.corrupt_max :, : self.plan.key]
        pairs = zip(self._salts, full, strict=True)
        return [*self._seeds, *(salt + row.tobytes() for salt, row in pairs)]

    def payloads(self) -> tuple[bytes, ...]:
        """Every member's payload."""
        seeded = self.size.corrupt_max
        rows = zip(self._salts, *(table[seeded:] for table in self._tables), strict=True)
        full = (salt + first.tobytes() + second.tobytes() for salt, first, second in rows)
        return (*self._seeds, *full)
