"""Where a masked vector, or a sum, is not what somebody signed of it: one segment shows it.

Whoever holds all of it finds the segment (`first_false`), whoever is shown that segment judges it
(`check_false_segment`). Why there is one, and why none can be shown of what is true, say
`masked.checkpoints`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import NamedTuple

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.hashing import merkle_commit, verify_merkle_proof
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.masked_verification.bounds import MaskedBounds
from pnyx.protocol.aggregation.masked_verification.sketch import sketch_on
from pnyx.protocol.chunks import chunk_count, chunk_hash, chunks_of, parcel_name
from pnyx.protocol.messages import CHUNK_BYTES, AnyFalseVector, FalseVector, OpenedSegment


class Progress(NamedTuple):
    """Linear hash and, where one is stated, P·y of the segments so far; empty before the first."""

    linear_hash: bytes = b""
    sketch: bytes = b""


class Walk(NamedTuple):
    """How to go through a vector, or a sum, segment by segment.

    places: offset and size of each. step: the progress after a segment, from that before it; raises
    MalformedMessage or RuleBroken when its bytes are no segment.
    """

    places: list[tuple[int, int]]
    step: Callable[[Progress, int, bytes], Progress]

    @property
    def length(self) -> int:
        """Bytes of all segments."""
        return sum(self.places[-1])

    def chunks(self, segment: int) -> range:
        """Which chunks of the parcel hold a byte of a segment."""
        start, size = self.places[segment]
        return range(start // CHUNK_BYTES, chunk_count(start + size))


def vector_walk(code: VectorCode, bounds: MaskedBounds | None, claim: Claim) -> Walk:
    """Through a masked vector, of which a header claims this."""

    def step(before: Progress, segment: int, part: bytes) -> Progress:
        linear_hash = code.hash_on(before.linear_hash, segment, part)
        if bounds is None:
            return Progress(linear_hash)
        blocks, first = code.segment_blocks(segment, part), code.blocks_before(segment)
        stated = code.parameters, bounds, claim.sketched
        return Progress(linear_hash, sketch_on(*stated, before.sketch, blocks, first))

    return Walk(code.places(), step)


def sum_walk(code: VectorCode, count: int) -> Walk:
    """Through a sum of so many masked vectors."""

    def step(before: Progress, segment: int, part: bytes) -> Progress:
        return Progress(code.hash_sum_on(before.linear_hash, segment, part, count))

    return Walk(code.sum_places(), step)


def first_false(walk: Walk, data: bytes, checkpoints: Sequence[bytes]) -> OpenedSegment | None:
    """Open the first segment after which bytes are not what was signed; None if all fit.

    data: of the walk's length. checkpoints: as signed, one for each segment.
    """
    return Trail(walk, data).first_false(checkpoints)


class Trail:
    """A vector, or a sum, with its progress after each segment, up to one that cannot be read.

    Many may sign other checkpoints of the same bytes. So the tree over all chunks is built once,
    and a segment is opened once: evidence against all of them shares it.

    data: of the walk's length.
    """

    def __init__(self, walk: Walk, data: bytes) -> None:
        self._walk = walk
        self._data = data
        self.progress = tuple(_progress(walk, data))
        self._opened: dict[int, OpenedSegment] = {}

    @cached_property
    def checkpoints(self) -> tuple[bytes, ...]:
        """Its checkpoints, as far as it can be read."""
        return tuple(checkpoint(*each) for each in self.progress)

    def first_false(self, checkpoints: Sequence[bytes]) -> OpenedSegment | None:
        """Open the first segment after which it is not what was signed; None if all fit."""
        pairs = zip_longest(self.checkpoints, checkpoints)
        for segment, (own, signed) in enumerate(pairs):
            if own != signed:
                return self._open(segment)
        return None

    def _open(self, segment: int) -> OpenedSegment:
        if segment not in self._opened:
            before = self.progress[segment - 1] if segment else Progress()
            root, proofs = self._tree
            shown = self._walk.chunks(segment)
            part = slice(shown.start * CHUNK_BYTES, shown.stop * CHUNK_BYTES)
            self._opened[segment] = OpenedSegment(
                segment,
                before.linear_hash,
                before.sketch,
                root,
                tuple(chunks_of(memoryview(self._data)[part])),
                tuple(proofs[shown.start : shown.stop]),
            )
        return self._opened[segment]

    @cached_property
    def _tree(self) -> tuple[bytes, list[tuple[bytes, ...]]]:
        return merkle_commit([chunk_hash(each) for each in chunks_of(self._data)])


def check_false_segment(
    walk: Walk, opened: OpenedSegment, parcel: bytes, checkpoints: Sequence[bytes]
) -> None:
    """Check that a segment of a parcel is not what was signed. Raises RuleBroken if that is not.

    parcel: the name that was signed. checkpoints: as signed.
    """
    if len(checkpoints) != len(walk.places) or opened.segment >= len(walk.places):
        raise RuleBroken("a segment or a checkpoint is one that such a vector has not")
    before = Progress(opened.linear_hash, opened.sketch)
    if opened.segment == 0:
        committed = before == Progress()
    else:
        committed = checkpoint(*before) == checkpoints[opened.segment - 1]
    if not committed:
        raise RuleBroken("what comes before a segment is not what was signed of it")
    after = _step(walk, before, opened.segment, _segment(walk, opened, parcel))
    if after is not None and checkpoint(*after) == checkpoints[opened.segment]:
        raise RuleBroken("the segment is what was signed of it")


def shown_bytes(proof: AnyFalseVector) -> int:
    """How many bytes of a parcel a proof shows."""
    return sum(map(len, proof.opened.chunks)) if isinstance(proof, FalseVector) else 0


def _progress(walk: Walk, data: bytes) -> Iterator[Progress]:
    """The progress after each segment, up to one that cannot be read."""
    before = Progress()
    for segment, (start, size) in enumerate(walk.places):
        after = _step(walk, before, segment, data[start : start + size])
        if after is None:
            return
        yield after
        before = after


def _step(walk: Walk, before: Progress, segment: int, part: bytes) -> Progress | None:
    """The progress after a segment; None where its bytes are none."""
    try:
        return walk.step(before, segment, part)
    except (MalformedMessage, RuleBroken):
        return None


def _segment(walk: Walk, opened: OpenedSegment, parcel: bytes) -> bytes:
    """The bytes of a segment, from chunks that are proven to be the parcel's. Raises RuleBroken."""
    if parcel_name(walk.length, opened.root) != parcel:
        raise RuleBroken("a segment is not of the parcel that was signed")
    shown, count = walk.chunks(opened.segment), chunk_count(walk.length)
    if not len(shown) == len(opened.chunks) == len(opened.proofs):
        raise RuleBroken("a segment is shown by other chunks than those that hold it")
    for at, data, proof in zip(shown, opened.chunks, opened.proofs, strict=True):
        if not verify_merkle_proof(opened.root, chunk_hash(data), at, count, proof):
            raise RuleBroken("a chunk is not of the parcel that was signed")
    start, size = walk.places[opened.segment]
    first = start - shown.start * CHUNK_BYTES
    return b"".join(opened.chunks)[first : first + size]
