"""How a shell adds up masked vectors that it stores as parcels, for an aggregator of its node."""

from collections.abc import Iterable, Iterator

from pnyx.protocol.aggregation.masked.checkpoints import checkpoint
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import SumVectors, VectorsSummed
from pnyx.protocol.messages import CHUNK_BYTES
from pnyx.protocol.ports import ParcelStore


def summed_chunks(store: ParcelStore, effect: SumVectors) -> list[bytes]:
    """Add up sealed parcels to the chunks of a new one; a segment of each is in memory at a time.

    Slow for large vectors, and reads only: a shell that serves others does it in a thread. Raises
    VaultError when a parcel is not there any more.
    """
    vectors = [store.chunks(parcel) for parcel in effect.parcels]
    return list(_recut(sum_vectors(effect.parameters, vectors)))


def check_summed(effect: SumVectors, chunks: list[bytes]) -> tuple[bytes, ...]:
    """Compare a sum with its linear hash, as members will: memory may fail, or a vector be false.

    As slow as to add up. Returns its checkpoints but for the last. Raises RuleBroken or
    MalformedMessage when it is another sum.
    """
    code = VectorCode(effect.parameters, effect.context)
    found = code.check_hash(b"".join(chunks), effect.linear_hash, len(effect.parcels))
    return tuple(map(checkpoint, found[:-1]))


def linear_hashes_of(effect: SumVectors, chunks: list[bytes]) -> tuple[bytes, ...]:
    """The linear hash of a sum after each segment. Raises RuleBroken or MalformedMessage."""
    code = VectorCode(effect.parameters, effect.context)
    return code.linear_hashes_of_sum(b"".join(chunks), len(effect.parcels))


def store_sum(
    store: ParcelStore, effect: SumVectors, chunks: list[bytes], earlier: tuple[bytes, ...]
) -> VectorsSummed:
    """Seal a sum; returns the answer to the effect. Raises VaultError.

    earlier: its checkpoints but for the last.
    """
    parcel = describe(chunks)
    for index, data in enumerate(chunks):
        store.write(parcel.name, index, data)
    store.seal(parcel.name, parcel.length)
    return VectorsSummed(effect.context, effect.name, parcel.length, parcel.hashes, earlier)


def _recut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut pieces of any size into the chunks of a parcel."""
    rest = b""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % CHUNK_BYTES
        for start in range(0, whole, CHUNK_BYTES):
            yield rest[start : start + CHUNK_BYTES]
        rest = rest[whole:]
    if rest:
        yield rest
