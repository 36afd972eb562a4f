"""A daemon seals parcels before what the machine says of them, and removes them after."""

import asyncio

import pytest

from pnyx.errors import VaultError
from pnyx.node.daemon import Daemon
from pnyx.node.parcel_sender import ParcelSender
from pnyx.node.postman import Postman
from pnyx.protocol.events import (
    Forget,
    ForgetParcel,
    Persist,
    SealParcel,
    Send,
    SendChunk,
    StoreChunk,
    TimerExpired,
)

PEER, NAME = b"p" * 32, b"n" * 32


class Machine:
    def __init__(self, effects) -> None:
        self.effects = effects

    def handle(self, event, now):
        effects, self.effects = self.effects, []
        return effects

    def next_deadline(self):
        return None


class Disk:
    """Round store, parcel store and wire, which all write into one diary."""

    def __init__(self, fails="") -> None:
        self.diary: list[str] = []
        self.fails = fails

    def apply(self, puts, forgets):
        words = [f"put {key}" for key, _ in puts] + [f"forget {prefix}" for prefix in forgets]
        self.diary.append(" + ".join(words))

    def _note(self, word):
        if word == self.fails:
            raise VaultError("The disk is full.")
        self.diary.append(word)

    def write(self, parcel, index, data):
        self._note(f"write {index}")

    def seal(self, parcel, length):
        self._note("seal")

    def remove(self, parcel):
        self._note("remove")

    def read(self, parcel, index):
        self._note(f"read {index}")

    async def request(self, peer, payload):
        self._note("send")
        return b""


def diary(effects, fails="") -> tuple[list[str], Daemon]:
    async def live() -> tuple[list[str], Daemon]:
        daemon, disk = Daemon.__new__(Daemon), Disk(fails)
        daemon._machine, daemon._rounds, daemon._parcels = Machine(effects), disk, disk
        daemon._postman = Postman(disk, lambda *_: None, lambda *_: None, lambda _: None)
        daemon._sender = ParcelSender(
            disk, daemon._postman.post, daemon.soon, lambda _: None, daemon._fail
        )
        daemon._pending, daemon._committed, daemon._failure = [], None, None
        daemon._timer, daemon._timer_at = None, float("inf")
        daemon._stopping = asyncio.Event()
        daemon.deliver(TimerExpired())
        await asyncio.sleep(0.01)
        return disk.diary, daemon

    return asyncio.run(live())


KEPT = [
    Persist("chain/before", b""),
    StoreChunk(NAME, 0, b"a"),
    StoreChunk(NAME, 1, b"b"),
    SealParcel(NAME, 2),
    Persist("chain/parcel/n/hashes", b""),
    Send(PEER, b"it is here"),
]


def test_a_parcel_is_sealed_before_its_description_is_durable_and_before_it_is_spoken_of():
    told, _ = diary(KEPT)
    assert told == [
        "write 0",
        "write 1",
        "seal",
        "put chain/before + put chain/parcel/n/hashes",
        "send",
    ]


def test_a_parcel_is_removed_after_its_description():
    told, _ = diary([Forget("chain/parcel/n/"), ForgetParcel(NAME), Send(PEER, b"x")])
    assert told == ["forget chain/parcel/n/", "remove", "send"]


def test_forgotten_and_kept_again_in_one_commit():
    told, _ = diary([Forget("chain/parcel/n/"), ForgetParcel(NAME), *KEPT])
    assert told[:3] == ["forget chain/parcel/n/", "remove", "write 0"]
    assert told[-2:] == ["put chain/before + put chain/parcel/n/hashes", "send"]


@pytest.mark.parametrize("fails", ["write 1", "seal", "remove"])
def test_a_node_whose_parcels_cannot_be_kept_says_nothing_more(fails):
    told, daemon = diary([*KEPT, ForgetParcel(NAME)], fails)
    assert isinstance(daemon._failure, VaultError)
    assert daemon._stopping.is_set()
    assert "send" not in told
    if fails != "remove":
        assert not any("hashes" in word for word in told)


def test_a_chunk_is_read_after_what_was_persisted_before_it():
    chunk = SendChunk(PEER, NAME, 2, 0, bytes(32), ())
    told, _ = diary([Persist("chain/a", b""), chunk])
    assert told == ["put chain/a", "read 0"]
