"""Masked vectors that lie in a store as parcels are added up to the parcel of their sum."""

import tracemalloc

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support import masked
from tests.support.masked import check_sum, in_ring

from pnyx.errors import MalformedMessage, VaultError
from pnyx.node import parcel_store
from pnyx.node.parcel_store import FileParcelStore
from pnyx.protocol import vector_sums
from pnyx.protocol.aggregation.masked import vectors
from pnyx.protocol.aggregation.masked.parameters import P0, layout
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.events import SumVectors
from pnyx.protocol.messages import CHUNK_BYTES
from pnyx.protocol.vector_sums import check_summed, store_sum, summed_chunks
from pnyx.simulator.parcel_store import MemoryParcelStore

CONTEXT, NAME = b"c" * 32, b"n" * 32


@pytest.fixture(params=["memory", "files"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryParcelStore()
        return
    yield FileParcelStore(tmp_path / "parcels")


def kept(store, data):
    """Store bytes as a sealed parcel; its name."""
    parcel = describe(chunks_of(data))
    for index, chunk in enumerate(chunks_of(data)):
        store.write(parcel.name, index, chunk)
    store.seal(parcel.name, parcel.length)
    return parcel.name


class Held:
    """Masked updates of a length, in a store."""

    def __init__(self, store, length):
        self.store, self.parameters = store, in_ring(P0, length, 12, 24)
        self.code = VectorCode(self.parameters, CONTEXT)
        self.updates = masked.draw(self.parameters, 3)
        self.made = [
            self.code.mask(update, bytes([who]) * 32, b"own")
            for who, update in enumerate(self.updates)
        ]
        self.parcels = tuple(kept(store, b"".join(each.segments)) for each in self.made)

    def effect(self, parcels=None):
        chosen = self.parcels if parcels is None else parcels
        linear_hash = self.code.summed_hash([each.linear_hash for each in self.made])
        return SumVectors(CONTEXT, NAME, chosen, self.parameters, linear_hash)


def lengths():
    """A vector within one chunk; one of some chunks; and one of more than one segment."""
    return 5, 100_000, layout(in_ring(P0, 1, 12, 24)).segment_values + 70_000


@pytest.mark.parametrize("length", lengths())
def test_the_sum_is_stored_and_opens(store, length):
    held = Held(store, length)
    chunks = summed_chunks(store, held.effect())
    assert {len(chunk) for chunk in chunks[:-1]} <= {CHUNK_BYTES}
    assert 0 < len(chunks[-1]) <= CHUNK_BYTES
    answer = store_sum(store, held.effect(), chunks, check_summed(held.effect(), chunks))
    parcel = describe(chunks)
    assert (answer.context, answer.name) == (CONTEXT, NAME)
    assert (answer.length, answer.hashes) == (held.code.sum_bytes, parcel.hashes)
    total = b"".join(store.chunks(parcel.name))
    check_sum(held.code, total, [each.linear_hash for each in held.made])
    [prime] = held.parameters.primes
    keys = (sum(each.key[0] for each in held.made) % prime,)
    assert np.array_equal(held.code.unmask(total, keys, 3), held.updates.sum(axis=0))


def test_a_sum_that_ends_with_a_chunk_leaves_no_empty_one(store):
    """4,480 bytes for 1,024 values: 1,024 such groups are 35 chunks of a parcel."""
    held = Held(store, 1024 * 1024)
    assert held.code.sum_bytes == 35 * CHUNK_BYTES
    chunks = summed_chunks(store, held.effect())
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES] * 35
    assert store_sum(store, held.effect(), chunks, ()).length == 35 * CHUNK_BYTES


class Measured:
    """A store that looks at what is in memory whenever the last of the vectors is read on.

    The others were read as far before. Only what was allocated since the start counts, by the code
    that reads and cuts: so no other test of the process, and nothing that is loaded once.
    """

    READING = tuple(
        tracemalloc.Filter(inclusive=True, filename_pattern=module.__file__)
        for module in (parcel_store, vector_sums, vectors)
    )

    def __init__(self, store, count):
        self._store, self._left, self.most = store, count, 0

    def chunks(self, name):
        self._left -= 1
        return self._looking(name) if not self._left else self._store.chunks(name)

    def _looking(self, name):
        for chunk in self._store.chunks(name):
            traces = tracemalloc.take_snapshot().filter_traces(self.READING).traces
            self.most = max(self.most, sum(trace.size for trace in traces))
            yield chunk


def test_memory_is_that_of_a_segment_whoever_contributes(tmp_path):
    """Each vector costs two chunks at most, never the whole: 3.5 MB for the million values here."""
    store = FileParcelStore(tmp_path / "parcels")
    parameters = in_ring(P0, 1024 * 1024, 10, 64)
    parcel = kept(store, bytes(VectorCode(parameters, CONTEXT).vector_bytes))
    most = {}
    asked = SumVectors(CONTEXT, NAME, (parcel,) * 2, parameters, b"")
    summed_chunks(store, asked)  # what is loaded once would make each look a long one
    for count in (2, 33, 64):
        watched = Measured(store, count)
        tracemalloc.start()
        try:
            summed_chunks(watched, replace(asked, parcels=(parcel,) * count))
        finally:
            tracemalloc.stop()
        most[count] = watched.most
    assert 0 < most[33] - most[2] < 31 * 2 * CHUNK_BYTES
    assert 0 < most[64] - most[33] < 31 * 2 * CHUNK_BYTES
    assert most[2] < 6 << 20  # two vectors and the sum alone are 11.5 MB


def test_adding_up_again_gives_the_same_parcel(store):
    held = Held(store, 5)
    first = store_sum(store, held.effect(), summed_chunks(store, held.effect()), ())
    assert store_sum(store, held.effect(), summed_chunks(store, held.effect()), ()) == first


def test_a_parcel_that_holds_no_vector_is_not_added(store):
    """An aggregator has checked each before; whoever has not is told."""
    held = Held(store, 100_000)
    vector = b"".join(held.made[0].segments)
    for wrong in (vector[:-1], vector + b"\0", b"\xff" * len(vector)):
        with pytest.raises(MalformedMessage):
            summed_chunks(store, held.effect((held.parcels[0], kept(store, wrong))))


def test_a_parcel_that_went_meanwhile_is_told(tmp_path):
    store = FileParcelStore(tmp_path / "parcels")
    held = Held(store, 5)
    store.remove(held.parcels[1])
    with pytest.raises(VaultError):
        summed_chunks(store, held.effect())
