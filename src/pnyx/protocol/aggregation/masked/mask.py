"""Masking, adding and unmasking, one segment at a time.

    contributor   y = a·s + e + Δ·m modulo each prime          `mask_segment`
    aggregator    Σy over the integers, never reduced          `SegmentSum`
    anybody       Σy - a·Σs, decoded exactly                   `unmask_segment`

a is public: expanded from the context of the attempt, the same for every contributor, so that masks
add up to the mask of the summed key. Memory is that of a segment, whatever the length of the
vector. Whoever handles many contributions of one segment expands its public polynomials once, and
whoever handles many segments of one vector transforms its key once (`transform_key`).

Sums are kept as integers (below 2^35) because the linear hash of `checked_sum` is one of integers.
An aggregator adds 27-bit residues into 32-bit words and moves them into 64-bit ones after every
32nd, so that adding one costs what numpy's own addition costs.
"""

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.primitives.ring import LANES, Ring, TransformedKey, expand_public, gaussian_errors
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.coding import (
    PIECE,
    decode,
    decode_signed,
    factors,
    pieces,
    shifted,
)
from pnyx.protocol.aggregation.masked.keys import KeySum
from pnyx.protocol.aggregation.masked.parameters import (
    GROUP,
    RESIDUE_BITS,
    ParameterSet,
    UnsafeParameters,
    layout,
)

Residues = tuple[NDArray[np.uint32], ...]  # a segment modulo each prime: [blocks, n, LANES]
Sums = tuple[NDArray[np.uint64], ...]  # likewise, added up as integers
Key = tuple[TransformedKey, ...]  # a key, or a sum of keys, for each prime; secret like it

_Number = TypeVar("_Number", np.int8, np.int64, np.uint32)

_PENDING_MAX = 1 << (32 - RESIDUE_BITS)


@lru_cache(maxsize=64)
def rings(parameters: ParameterSet) -> tuple[Ring, ...]:
    """One ring for each prime."""
    return tuple(Ring(parameters.degree, prime) for prime in parameters.primes)


def public_segment(parameters: ParameterSet, context: bytes, segment: int) -> Residues:
    """Expand the public polynomials of a segment, transformed.

    context: names network, study, round and attempt, but no contributor.
    """
    shape = layout(parameters)
    shape.start(segment)  # there is such a segment
    return tuple(
        expand_public(
            ring,
            digest("pnyx/masked/public", context),
            shape.blocks(segment),
            segment * shape.segment_blocks,
        )
        for ring in rings(parameters)
    )


def transform_key(parameters: ParameterSet, key: KeySum) -> Key:
    """Transform a key, or a sum of keys, as all segments of a vector need it."""
    return tuple(
        ring.transform_key(part) for ring, part in zip(rings(parameters), key, strict=True)
    )


def mask_segment(
    parameters: ParameterSet,
    public: Residues,
    key: Key,
    errors_seed: bytes,
    segment: int,
    values: IntVector,
) -> Residues:
    """Mask the values of a segment.

    public: what `public_segment` gives. key, errors_seed: of this one contribution
    (`keys.MaskingKey`), the key transformed. values: [k] integers, as many as the layout says.
    Raises ValueError when they are out of range, or too many or few.
    """
    shape = layout(parameters)
    if values.shape != (shape.values(segment),):
        raise ValueError("these are not the values of this segment")
    errors = segment_errors(parameters, errors_seed, segment)
    masked = tuple(
        ring.mask(a, s) for ring, a, s in zip(rings(parameters), public, key, strict=True)
    )
    for within in _pieces_sent(parameters, segment):
        slots = shifted(parameters, values, within)
        error = _piece(errors[within])
        for ring, residues, weights in zip(
            pieces(parameters), masked, factors(parameters), strict=True
        ):
            target = _piece(residues.reshape(-1)[within.start : within.start + PIECE])
            ring.add_combination_into(target, slots, weights)
            ring.add_errors_into(target, error)
    for residues in masked:
        residues.reshape(-1)[len(errors) :] = 0  # nothing is given out without an error
    return masked


def _subtract_masks(sums: Sums, masks: Residues, within: slice, out: IntVector) -> None:
    """Write some coefficients of sums less masks, one row for each prime."""
    for total, mask, row in zip(sums, masks, out, strict=True):
        row[:] = mask.reshape(-1)[within]  # numpy converts faster than it mixes two types
        np.subtract(total.reshape(-1)[within].view(np.int64), row, out=row)


def segment_errors(parameters: ParameterSet, errors_seed: bytes, segment: int) -> NDArray[np.int8]:
    """The errors of all coefficients of a segment that are sent."""
    return gaussian_errors(
        errors_seed,
        parameters.noise_width,
        layout(parameters).segment_coefficients(segment),
        f"pnyx/masked/errors/{segment}",
    )


def hidden_segment(
    parameters: ParameterSet, errors_seed: bytes, segment: int, values: IntVector
) -> NDArray[np.int32]:
    """z = Δ·m + e of a segment, as signed integers: [blocks, n, LANES], zero where nothing is sent.

    What a segment hides, less the offset of its values; where a coefficient holds one value.
    """
    if parameters.slots != 1:
        raise ValueError("a coefficient holds one value where its vector is verified")
    shape = layout(parameters)
    errors = segment_errors(parameters, errors_seed, segment)
    blocks = (shape.blocks(segment), parameters.degree, LANES)
    hidden = np.zeros(blocks, dtype=np.int32)
    flat = hidden.reshape(-1)
    flat[: len(errors)] = errors
    flat[: len(values)] += (values << parameters.shift).astype(np.int32)
    return hidden


def _pieces_sent(parameters: ParameterSet, segment: int) -> list[slice]:
    """The coefficients of a segment that are sent, piece by piece."""
    sent = layout(parameters).segment_coefficients(segment)
    return [slice(start, min(start + PIECE, sent)) for start in range(0, sent, PIECE)]


def _piece(values: NDArray[_Number]) -> NDArray[_Number]:
    """Up to `PIECE` values as [1, 1024, 32], with zeros after the last one."""
    if len(values) < PIECE:
        values = np.concatenate([values, np.zeros(PIECE - len(values), dtype=values.dtype)])
    return values.reshape(1, GROUP, LANES)


class SegmentSum:
    """The sum of one segment of several contributions, over the integers."""

    __slots__ = ("_pending", "_pending_count", "_total", "count", "parameters")

    def __init__(self, parameters: ParameterSet, segment: int) -> None:
        shape = (layout(parameters).blocks(segment), parameters.degree, LANES)
        self.parameters, self.count = parameters, 0
        self._pending_count = 0
        # Not filled: the first residues that come take its place.
        self._pending = tuple(np.empty(shape, dtype=np.uint32) for _ in parameters.primes)
        self._total: Sums | None = None

    def add(self, residues: Residues) -> None:
        """Add a contribution's residues, as `segments` reads them.

        Which contributions are added, and that each is added once, is up to the caller. Raises
        UnsafeParameters when they are more than the parameters hold.
        """
        if self.count == self.parameters.contributors_max:
            raise UnsafeParameters("contributors", self.count + 1, self.count, "too many to add up")
        if self._pending_count == _PENDING_MAX:
            self._settle()
        for pending, residue in zip(self._pending, residues, strict=True):
            if self._pending_count:
                np.add(pending, residue, out=pending)
            else:
                pending[...] = residue
        self._pending_count += 1
        self.count += 1

    def total(self) -> Sums:
        """The sums so far; later additions may change the arrays."""
        return self._settle()

    def _settle(self) -> Sums:
        if self._total is None:
            empty = self._pending_count == 0
            self._total = tuple(
                np.zeros(each.shape, np.uint64) if empty else each.astype(np.uint64)
                for each in self._pending
            )
        elif self._pending_count:
            for total, each in zip(self._total, self._pending, strict=True):
                np.add(total, each, out=total)
        self._pending_count = 0
        return self._total


def check_sums(parameters: ParameterSet, sums: Sums, count: int) -> None:
    """Refuse numbers that no sum of `count` contributions reaches. Raises RuleBroken."""
    for prime, total in zip(parameters.primes, sums, strict=True):
        if (largest := int(total.max())) > count * (prime - 1):
            raise RuleBroken(
                f"a coefficient of a masked sum is {largest}, larger than its contributions can "
                f"make it: {count * (prime - 1)}"
            )


def unmask_segment(
    parameters: ParameterSet,
    public: Residues,
    key_sum: Key,
    sums: Sums,
    segment: int,
    count: int,
    out: IntVector | None = None,
    reach: int = 0,
) -> IntVector:
    """Return the exact sum of the values of a segment.

    key_sum: the sum of the keys of exactly the contributions in `sums`, transformed. count: how
    many they are. out: the place in a vector to write to, if there is one. reach: where
    contributions were verified, the largest absolute value of their sum (`coding.decode_signed`).
    Raises UnsafeParameters when they are more than the parameters hold, DecodingError when key and
    sums do not belong together.
    """
    if not 1 <= count <= parameters.contributors_max:
        raise UnsafeParameters(
            "contributors", count, parameters.contributors_max, "the parameters hold no such sum"
        )
    shape = layout(parameters)
    found = np.empty(shape.values(segment), dtype=np.int64) if out is None else out
    if found.shape != (shape.values(segment),) or not found.flags.c_contiguous:
        raise ValueError("there is no room for the values of this segment")
    masks = tuple(
        ring.mask(a, s) for ring, a, s in zip(rings(parameters), public, key_sum, strict=True)
    )
    by_slot = parameters.slots, shape.segment_coefficients(segment)
    padded = len(found) < by_slot[0] * by_slot[1]
    slots = np.empty(by_slot, dtype=np.int64) if padded else found.reshape(by_slot)
    room = np.empty((len(masks), PIECE), dtype=np.int64)
    for within in _pieces_sent(parameters, segment):
        size = within.stop - within.start
        unmasked = room if size == PIECE else np.empty((len(masks), size), dtype=np.int64)
        _subtract_masks(sums, masks, within, unmasked)
        if reach:
            decode_signed(parameters, unmasked[0], count, reach, slots[0, within])
        else:
            decode(parameters, unmasked, count, slots[:, within])
    if padded:
        found[:] = slots.reshape(-1)[: len(found)]
    return found
