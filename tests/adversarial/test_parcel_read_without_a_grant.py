"""A certified node asks for parcels that it was not granted (THREATS A1).

It gets no chunk, and cannot tell a parcel that it may not read from one that is not there. A grant
holds for one parcel, for the nodes that it names, and as long as what it was given for.
"""

import pytest
from tests.support.parcels import content as bytes_of
from tests.support.parcels import cut
from tests.support.town import Town

from pnyx.primitives import codec
from pnyx.protocol.events import MessageRejected, Send, SendChunk, TimerExpired
from pnyx.protocol.messages import Chunk, ChunkRequest, Message
from pnyx.protocol.parcels import COMMON_SCOPE

HOLDER, READER, THIEF = 0, 1, 2
SCOPE = "round/ab/000001"
REFUSED = "asks for a parcel that it may not read"


class Everybody(set):
    """Readers of a parcel as they would be if nobody looked."""

    def __contains__(self, peer):
        return True


def town() -> Town:
    made = Town()
    made.run(seconds=0.5)
    return made


def keep(made: Town, data: bytes, readers: list[int], scope: str = COMMON_SCOPE) -> bytes:
    ids = made.census.node_ids
    name = made.machines[HOLDER].parcels.keep(cut(data), [ids[at] for at in readers], scope)
    made.handle(HOLDER, TimerExpired())
    return name


def ask(made: Town, asker: int, name: bytes, holder: int = HOLDER) -> list:
    """What the holder does when it is asked for two chunks."""
    return made.inject(asker, holder, ChunkRequest(name, (0, 1)))


def chunks_in(effects: list) -> list:
    sent = [
        codec.decode(e.payload, Message, bytes_max=2**24) for e in effects if isinstance(e, Send)
    ]
    return [e for e in effects if isinstance(e, SendChunk)] + [
        m for m in sent if isinstance(m, Chunk)
    ]


def steal(made: Town, name: bytes, holder: int = HOLDER) -> int:
    """How many chunks the thief gets."""
    return len(chunks_in(ask(made, THIEF, name, holder)))


def test_who_was_not_granted_a_parcel_gets_nothing():
    made = town()
    name = keep(made, bytes_of(3), [READER])
    assert len(chunks_in(ask(made, READER, name))) == 2
    effects = ask(made, THIEF, name)
    assert effects == [MessageRejected(made.census.node_ids[THIEF], REFUSED)]


def test_what_may_not_be_read_looks_like_what_is_not_there():
    made = town()
    name = keep(made, bytes_of(3), [READER])
    assert ask(made, THIEF, name) == ask(made, THIEF, bytes(32))
    beyond = ChunkRequest(name, (60_000,)), ChunkRequest(bytes(32), (60_000,))
    assert made.inject(THIEF, HOLDER, beyond[0]) == made.inject(THIEF, HOLDER, beyond[1])


def test_a_grant_is_of_one_parcel():
    made = town()
    keep(made, bytes_of(3), [THIEF])
    other = keep(made, bytes_of(3, 1000, seed=1), [READER])
    assert steal(made, other) == 0


def test_a_grant_ends_with_what_it_was_for():
    made = town()
    name = keep(made, bytes_of(3), [THIEF], SCOPE)
    keep(made, bytes_of(3), [READER])
    assert steal(made, name) == 2
    made.machines[HOLDER].parcels.forget_scope(SCOPE)
    made.handle(HOLDER, TimerExpired())
    made.run(seconds=0.1)
    assert steal(made, name) == 0
    assert len(chunks_in(ask(made, READER, name))) == 2


def test_grants_survive_a_restart_and_grow_no_larger():
    made = town()
    name = keep(made, bytes_of(3), [READER])
    made.crash(HOLDER)
    made.restart(HOLDER)
    made.handle(HOLDER, TimerExpired())
    assert len(chunks_in(ask(made, READER, name))) == 2
    assert steal(made, name) == 0


def test_who_was_granted_a_parcel_does_not_pass_it_on():
    """Neither half of it while it arrives, nor the whole."""
    made = town()
    data = bytes_of(20)
    name = keep(made, data, [READER])
    reader = made.machines[READER]
    asked_halfway: list[int] = []

    def wire(sender, receiver, message):
        if isinstance(message, Chunk) and message.index == 9:
            asked_halfway.append(steal(made, name, READER))
        return

    made.wire = wire
    done: list[bytes] = []
    reader.parcels.fetch(name, len(data), [made.census.node_ids[HOLDER]], done.append)
    made.handle(READER, TimerExpired())
    assert made.run(lambda: bool(done))
    assert asked_halfway == [0]
    assert steal(made, name, READER) == 0


@pytest.mark.parametrize("scene", ["never granted", "of another parcel", "after the scope"])
def test_the_list_of_readers_is_the_defence(scene):
    made = town()
    name = keep(made, bytes_of(3), [READER])
    if scene == "of another parcel":
        keep(made, bytes_of(3, 1000, seed=1), [THIEF])
    if scene == "after the scope":
        keep(made, bytes_of(3), [THIEF], SCOPE)
        made.machines[HOLDER].parcels.forget_scope(SCOPE)
    assert steal(made, name) == 0
    readers = made.machines[HOLDER].parcels._held[name].readers
    for scope in readers:
        readers[scope] = Everybody()
    assert steal(made, name) == 2
