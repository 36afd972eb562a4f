"""A bit flipped in a parcel is found when the node computes with it, and blamed on nobody.

A damaged sum would have a member refuse every aggregator that offered it, a damaged vector would
convict its contributor's name, and a damaged model would be trained from. The file goes, and the
node stops: when it starts again it lacks the parcel, and fetches it as if it had never come.
"""

import asyncio

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring
from tests.support.parcels import content
from tests.support.weakened import succeeds, weaken

from pnyx.errors import VaultError
from pnyx.node import parcel_store
from pnyx.node.daemon import Daemon
from pnyx.node.parcel_store import FileParcelStore
from pnyx.protocol.aggregation.masked.parameters import P0
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.events import Event, ReadParcel, SumVectors

CONTEXT, NAME = b"c" * 32, b"n" * 32
FLIPS = 24


def kept(store: FileParcelStore, data: bytes) -> bytes:
    """Seal bytes as a parcel; returns its name."""
    parcel = describe(chunks_of(data))
    for index, chunk in enumerate(chunks_of(data)):
        store.write(parcel.name, index, chunk)
    store.seal(parcel.name, parcel.length)
    return parcel.name


def flip(directory, parcel: bytes, bit: int) -> None:
    path = directory / f"{parcel.hex()}.parcel"
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


class Fixed:
    """A machine that asks the shell for one thing, and notes what it answers."""

    def __init__(self, effect) -> None:
        self.effect, self.heard = effect, []

    def handle(self, event, now):
        self.heard.append(event)
        return [self.effect] if len(self.heard) == 1 else []

    def next_deadline(self):
        return None


def asked(store: FileParcelStore, effect) -> tuple[Exception | None, list[Event]]:
    """What ends a daemon that is asked for something, if anything does; and its answers."""

    async def live() -> tuple[Exception | None, list[Event]]:
        daemon, machine = Daemon.__new__(Daemon), Fixed(effect)
        daemon._machine, daemon._parcels, daemon._postman = machine, store, None
        daemon._pending, daemon._committed, daemon._failure = [], None, None
        daemon._timer, daemon._timer_at, daemon._tasks = None, float("inf"), set()
        daemon._stopping = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(daemon._on_loop_error)
        daemon.deliver(Event())
        await asyncio.sleep(0)
        while daemon._tasks:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        return daemon._failure, machine.heard[1:]

    return asyncio.run(live())


def test_flipped_bit_in_a_parcel_that_is_read(tmp_path):
    data = content(3, 1000)
    for bit in np.random.default_rng(5).integers(8 * len(data), size=FLIPS):
        store = FileParcelStore(tmp_path)
        store.retain({})
        parcel = kept(store, data)
        failure, heard = asked(store, ReadParcel(CONTEXT, parcel))
        assert failure is None
        assert [each.data for each in heard] == [data]
        flip(tmp_path, parcel, int(bit))
        failure, heard = asked(store, ReadParcel(CONTEXT, parcel))
        assert isinstance(failure, VaultError)
        assert heard == [], "no role sees it, so none is blamed for it"
        again = FileParcelStore(tmp_path)
        assert again.retain({parcel: len(data)}) == {parcel}, "and after a start it is not here"
        kept(again, data)
        assert b"".join(again.chunks(parcel)) == data


def test_flipped_bit_in_a_vector_that_is_added_up(tmp_path):
    store = FileParcelStore(tmp_path)
    parameters = in_ring(P0, 100_000, 12, 24)
    code = VectorCode(parameters, CONTEXT)
    made = [code.mask(update, b"s" * 32, b"own") for update in masked.draw(parameters, 3)]
    parcels = tuple(kept(store, b"".join(each.segments)) for each in made)
    linear_hash = code.summed_hash([each.linear_hash for each in made])
    effect = SumVectors(CONTEXT, NAME, parcels, parameters, linear_hash)
    failure, heard = asked(store, effect)
    assert failure is None
    assert len(heard) == 1
    flip(tmp_path, parcels[1], 12345)
    failure, heard = asked(store, effect)
    assert isinstance(failure, VaultError)
    assert heard == [], "no aggregator offers a wrong sum because of its disk"


def test_flipped_bit_in_a_model(tmp_path):
    store, data = FileParcelStore(tmp_path), content(2)
    parcel = kept(store, data)
    flip(tmp_path, parcel, 12345)

    async def live() -> Exception | None:
        daemon = Daemon.__new__(Daemon)
        daemon._parcels, daemon._postman, daemon._failure = store, None, None
        daemon._stopping = asyncio.Event()
        with pytest.raises(VaultError, match="damaged on the disk, and removed"):
            daemon.model_of(parcel)
        assert daemon._stopping.is_set(), "it said that it has the model"
        return daemon._failure

    assert isinstance(asyncio.run(live()), VaultError)


def test_the_name_is_the_defence(monkeypatch, tmp_path):
    compared = " and parcel_of(length, hashes).name != parcel"
    weaken(monkeypatch, parcel_store, (compared, " and False"))
    for at, attack in enumerate(
        (
            test_flipped_bit_in_a_parcel_that_is_read,
            test_flipped_bit_in_a_vector_that_is_added_up,
            test_flipped_bit_in_a_model,
        )
    ):
        assert succeeds(attack, tmp_path / str(at))
