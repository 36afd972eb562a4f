"""Corrupt contributors of verified masked rounds: too much, or a proof of something else.

Wrappers around an honest machine, as in `masquerade`. Each adds to one entry of its masked vector
three times what a whole update may be, and proves what it can:

    over norm       the true digits of its sketch, with slack bits that say there is none
    false sketch    the digits, and P·y, of what it would have masked: a proof without a fault, of
                    which only who holds the masked vector sees that it is another vector's
"""

import msgspec
import numpy as np

from pnyx.primitives.hashing import merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.encoding import IntVector, to_slots
from pnyx.protocol.aggregation.gaussian import discrete_gaussian
from pnyx.protocol.aggregation.masked.segments import pack_segment
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode
from pnyx.protocol.aggregation.masked_verification.bounds import MODULUS, MaskedBounds
from pnyx.protocol.aggregation.masked_verification.commitments import (
    commitment,
    sketch_commitment,
)
from pnyx.protocol.aggregation.masked_verification.proof import Dealing
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch, stated_sketch
from pnyx.protocol.aggregation.ranges import project
from pnyx.protocol.aggregation.verification import SALT_BYTES, short_integers
from pnyx.protocol.messages import SketchProof
from pnyx.simulator.adversary import Hands, Wrapper
from pnyx.simulator.masquerade import MaskedForger, Materials, Shown, honest_proof

FACTOR = 3


def overreached(update: MaskedUpdate, code: VectorCode, amount: int) -> MaskedUpdate:
    """The masked vector whose first entry holds so much more, with its own linear hash."""
    added = (amount << code.parameters.shift) % MODULUS
    first = update.blocks[0].copy()
    first[0, 0] = (int(first[0, 0]) + added) % MODULUS
    hidden = update.hidden[0].copy()
    hidden[0, 0] += amount << code.parameters.shift
    blocks = (first, *update.blocks[1:])
    whole = np.stack(blocks)
    segments = (pack_segment(code.parameters, 0, (whole,)), *update.segments[1:])
    return update._replace(
        segments=segments,
        linear_hashes=code.linear_hashes(b"".join(segments)),
        blocks=blocks,
        hidden=(hidden, *update.hidden[1:]),
    )


def forged_proof(made: Materials) -> Shown:
    """Prove a vector that is too long as well as can be: true digits, and no slack."""
    own, size, bounds = made.own, made.size, made.own.bounds
    assert own.verified is not None
    assert own.masked is not None
    dealing = Dealing(bounds, size, Sampler(made.seed, "overreach"))
    dealing.share_key(made.masked.key[0])
    key_root, salt = dealing.commit_key(), dealing.sampler.bytes(SALT_BYTES)
    sketched = sketch_commitment(made.context, made.parcel, key_root, salt)
    short = _too_long(made.counts, Sketch(sketched).apply(made.masked.hidden), made, own.verified)
    dealing.share(slice(0, dealing.plan.short), short)
    dealing.share_blinds()
    mask = discrete_gaussian(dealing.sampler, bounds.mask_width, ROWS)
    dealing.share_mask(mask)
    payloads = dealing.payloads()
    bound = commitment(sketched, merkle_root(payloads))
    limit = bounds.published_max
    published = np.clip(project(bound, short.reshape(-1)) + mask, -limit, limit)
    sketch = stated_sketch(own.masked, own.verified, sketched, made.masked.blocks)
    proof = SketchProof(key_root, salt, sketch)
    return Shown(payloads, published.astype("<i4").tobytes(), proof)


def _too_long(
    counts: IntVector, sketch: IntVector, made: Materials, verified: MaskedBounds
) -> IntVector:
    """X with digits beyond their thresholds: what an honest X has, but for them and their slack."""
    nothing = np.zeros(ROWS, dtype=np.int64)
    bounds, size = made.own.bounds, made.size
    short = short_integers(counts, bounds, size, (nothing, nothing))
    upper = (sketch + verified.digit // 2) // verified.digit
    digits = [to_slots(row, size.packing) for row in (upper, sketch - verified.digit * upper)]
    width = digits[0].shape[1]
    short[:, : 2 * width] = np.concatenate(digits, axis=1)
    slack = sum(each.threshold.bit_length() for each in bounds.squares)
    short[:, 2 * width : 2 * width + -(-slack // size.packing)] = 0
    return short


def over_norm(hands: Hands) -> Wrapper:
    """Masks an update of three times the norm that is verified."""

    def pretend(code: VectorCode, update: MaskedUpdate) -> MaskedUpdate:
        return overreached(update, code, _amount(hands, code))

    return MaskedForger(hands, pretend=pretend, prove=forged_proof)


def false_sketch(hands: Hands, wanted: int | None = None) -> Wrapper:
    """Masks as much, and proves what it would have masked. wanted: as `MaskedForger` takes it."""
    said: dict[bytes, MaskedUpdate] = {}  # by the linear hash of what is masked

    def pretend(code: VectorCode, update: MaskedUpdate) -> MaskedUpdate:
        masked = overreached(update, code, _amount(hands, code))
        said[masked.linear_hash] = update
        return masked

    def prove(made: Materials) -> Shown:
        return honest_proof(msgspec.structs.replace(made, masked=said[made.masked.linear_hash]))

    return MaskedForger(hands, pretend=pretend, prove=prove, wanted=wanted)


def _amount(hands: Hands, code: VectorCode) -> int:
    verified = hands.contribution(code.context).verified
    assert verified is not None, "nothing is verified of this study's masked updates"
    return FACTOR * verified.norm_max
