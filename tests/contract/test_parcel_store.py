"""What a parcel store promises, of whichever kind: files, or the simulator's memory."""

import pytest
from tests.support.parcels import content, cut

from pnyx.node.parcel_store import FileParcelStore
from pnyx.protocol.chunks import describe
from pnyx.protocol.messages import CHUNK_BYTES
from pnyx.simulator.parcel_store import MemoryParcelStore

NAME, OTHER = b"n" * 32, b"o" * 32


class Memory:
    """A simulated disk, whose process can be started again."""

    def __init__(self, directory):
        self.store = MemoryParcelStore()

    def restart(self):
        return self.store


class Files:
    """A directory, opened by one process after another."""

    def __init__(self, directory):
        self.directory = directory / "parcels"
        self.store = FileParcelStore(self.directory)
        self.store.retain({})

    def restart(self):
        self.store = FileParcelStore(self.directory)
        return self.store


@pytest.fixture(params=[Memory, Files])
def place(request, tmp_path):
    return request.param(tmp_path)


def stored(store, name: bytes, data: bytes, order=None) -> None:
    chunks = cut(data)
    for index in order or range(len(chunks)):
        store.write(name, index, chunks[index])
    store.seal(name, len(data))


@pytest.mark.parametrize(("count", "rest"), [(1, 1), (1, CHUNK_BYTES), (3, 1), (3, CHUNK_BYTES)])
def test_what_is_sealed_can_be_read_again_and_again(place, count, rest):
    data = content(count, rest)
    name = describe(cut(data)).name
    stored(place.store, name, data, order=reversed(range(count)))
    for _ in range(2):
        assert [place.store.read(name, at) for at in range(count)] == cut(data)
        assert b"".join(place.store.chunks(name)) == data
        assert place.restart().retain({name: len(data)}) == frozenset()


def test_what_is_not_sealed_cannot_be_read_and_does_not_outlive_the_process(place):
    data = content(3)
    for index, chunk in enumerate(cut(data)):
        place.store.write(NAME, index, chunk)
    assert place.store.read(NAME, 0) is None
    store = place.restart()
    assert store.retain({NAME: len(data)}) == {NAME}
    assert store.read(NAME, 0) is None
    with pytest.raises(ValueError, match="missing"):
        store.seal(NAME, len(data))
    stored(store, NAME, data)
    assert store.read(NAME, 2) == cut(data)[2]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_parcel_is_sealed_whole_or_not_at_all(place, missing):
    data = content(3)
    for index, chunk in enumerate(cut(data)):
        if index != missing:
            place.store.write(NAME, index, chunk)
    with pytest.raises(ValueError, match="missing"):
        place.store.seal(NAME, len(data))
    place.store.write(NAME, missing, cut(data)[missing])
    for length in (len(data) - 1, len(data) + 1, 2 * CHUNK_BYTES, 4 * CHUNK_BYTES):
        with pytest.raises(ValueError, match="missing"):
            place.store.seal(NAME, length)
    place.store.seal(NAME, len(data))


def test_a_chunk_may_be_written_again_until_the_parcel_is_sealed(place):
    data = content(2)
    name = describe(cut(data)).name
    place.store.write(name, 0, bytes(CHUNK_BYTES))
    stored(place.store, name, data)
    assert b"".join(place.store.chunks(name)) == data
    place.store.write(name, 0, bytes(CHUNK_BYTES))  # its name says what it is
    place.store.seal(name, len(data))
    assert b"".join(place.store.chunks(name)) == data


def test_only_what_is_to_be_retained_stays(place):
    data = content(2)
    for name in (NAME, OTHER):
        stored(place.store, name, data)
    store = place.restart()
    gone = b"g" * 32
    assert store.retain({NAME: len(data), gone: 5}) == {gone}
    assert store.read(NAME, 1) == cut(data)[1]
    assert store.read(OTHER, 0) is None
    assert place.restart().retain({OTHER: len(data)}) == {OTHER}


def test_a_parcel_of_another_length_is_lost(place):
    data = content(2)
    stored(place.store, NAME, data)
    store = place.restart()
    assert store.retain({NAME: len(data) + 1}) == {NAME}
    assert store.read(NAME, 0) is None


def test_what_is_removed_is_gone_and_can_be_stored_again(place):
    data = content(2)
    stored(place.store, NAME, data)
    place.store.remove(NAME)
    place.store.write(OTHER, 0, b"x")
    place.store.remove(OTHER)
    place.store.remove(OTHER)
    assert place.store.read(NAME, 0) is None
    with pytest.raises(ValueError, match="missing"):
        place.store.seal(OTHER, 1)
    stored(place.store, NAME, data)
    assert place.restart().retain({NAME: len(data)}) == frozenset()


def test_reading_beyond_the_end(place):
    stored(place.store, NAME, content(2))
    assert not place.store.read(NAME, 2)
    assert place.store.read(OTHER, 0) is None
