"""A source answers just in time, for ever, so that nobody else is asked.

Whoever is asked first can be corrupt: an aggregator that offers others' vectors or tells the right
sum, a node that announces a model. It sends one chunk each time before patience ends, three times
as late as the one before. Others hold the same parcel, and the puller knows them.
"""

import pytest
from tests.support.parcels import NODES, OTHER, OWNER, PULLER, Net, Node, content, cut
from tests.support.weakened import succeeds, weaken

from pnyx.protocol import fetches
from pnyx.protocol.messages import Chunk
from pnyx.protocol.params import ProtocolParams

PARAMS = ProtocolParams()
TURN_S = PARAMS.parcel_turn_s
STEP_S = 0.25


class Trickle:
    """A net in which some nodes send a chunk at the last moment; time goes on in small steps."""

    def __init__(self, corrupt: set[bytes], *nodes: Node) -> None:
        self.net = Net(*nodes, wire=self._hold)
        self.sent: dict[bytes, int] = {}  # chunks that each of the corrupt sent
        self._puller = self.net.nodes[PULLER]
        self._corrupt = corrupt
        self._held: dict[tuple[bytes, bytes], list[tuple[float, Chunk]]] = {}

    def _hold(self, sender, _, message):
        if sender not in self._corrupt or not isinstance(message, Chunk):
            return None
        held = self._held.setdefault((sender, message.parcel), [])
        if all(chunk.index != message.index for _, chunk in held):
            held.append((self.net.now, message))
        return []

    def _send(self) -> None:
        """Of each parcel one chunk, if patience would end before the next step."""
        for (sender, name), held in self._held.items():
            wanted = self._puller.parcels._wanted.get(name)
            if wanted is None or not held:
                continue
            asked_at, chunk = held[0]
            ends = asked_at + wanted.fetch._patience_s
            if self.net.now + STEP_S >= ends and wanted.fetch.expects(sender, chunk.index):
                del held[0]
                held[:] = [(self.net.now, each) for _, each in held]
                self._puller.parcels.handle(sender, chunk, self.net.now)
                self.sent[sender] = self.sent.get(sender, 0) + 1

    def run(self, until, seconds: float) -> bool:
        end = self.net.now + seconds
        self.net.settle()
        while not until() and self.net.now < end:
            self.net.now += STEP_S
            self._send()
            for node in self.net.nodes.values():
                node.parcels.tick(self.net.now)
            self.net.settle()
        return until()


def pulled(corrupt: set[bytes], sources: list[bytes], count: int = 1, chunks: int = 26) -> Trickle:
    """A node pulls parcels that all the sources hold, and asks them in this order."""
    holders = {name: Node(name) for name in sources}
    puller = Node(PULLER)
    for at in range(count):
        data = content(chunks, 1000, seed=at)
        for node in holders.values():
            name = node.parcels.keep(cut(data), [PULLER])
        puller.fetch(name, len(data), sources)
    return Trickle(corrupt, *holders.values(), puller)


def attack_one_fetch() -> None:
    run = pulled({OWNER}, [OWNER, OTHER])
    puller = run.net.nodes[PULLER]
    assert run.run(lambda: len(puller.done) == 1, TURN_S + 1.0)
    assert 1 <= run.sent[OWNER] <= 5, "what it sent is kept"


def test_trickling_source_is_left_for_another():
    attack_one_fetch()


def test_slices_are_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        fetches,
        ("return self._slice_s if len(self._sources) > 1 else inf", "return inf"),
    )
    assert succeeds(attack_one_fetch)
    run = pulled({OWNER}, [OWNER, OTHER])
    assert not run.run(lambda: bool(run.net.nodes[PULLER].done), 300.0)


@pytest.mark.parametrize("corrupt", [1, 2, 4])
def test_several_trickling_sources_before_an_honest_one(corrupt):
    liars = [OWNER, *NODES[4:6], bytes((9,)) * 32][:corrupt]
    run = pulled(set(liars), [*liars, OTHER])
    puller = run.net.nodes[PULLER]
    assert run.run(lambda: len(puller.done) == 1, corrupt * TURN_S + 1.0)


def attack_many_fetches() -> None:
    """A corrupt aggregator offers everybody's vectors before anybody else does."""
    run = pulled({OWNER}, [OWNER, OTHER], count=40, chunks=12)
    puller = run.net.nodes[PULLER]
    assert run.run(lambda: len(puller.done) == 40, 2 * TURN_S + 1.0)


def test_trickling_source_of_many_parcels_is_asked_first_once():
    attack_many_fetches()


def test_the_memory_of_slow_sources_is_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        fetches,
        (
            "        if not silent:\n            self._slices",
            "        if False:\n            self._slices",
        ),
    )
    assert succeeds(attack_many_fetches)


def test_slow_sources_are_forgotten_in_time():
    run = pulled({OWNER}, [OWNER, OTHER])
    puller = run.net.nodes[PULLER]
    assert run.run(lambda: len(puller.done) == 1, TURN_S + 1.0)
    assert set(puller.parcels._slices) == {OWNER}
    puller.parcels.tick(run.net.now + 64 * TURN_S)
    assert not puller.parcels._slices


def attack_end_of_turn() -> None:
    """Others wait for a place, and the parcel's turn ends together with the slice."""
    run = pulled({OWNER}, [OWNER, OTHER], chunks=40)
    puller = run.net.nodes[PULLER]
    for at in range(12):
        puller.fetch(bytes((at,)) * 32, 1000, [bytes((77,)) * 32])
    (name,) = [name for name in puller.parcels._wanted if len(set(name)) > 1]
    assert run.run(lambda: name in puller.done, 4 * TURN_S)


def test_trickling_source_while_others_wait():
    attack_end_of_turn()


def test_the_fastest_goes_on_and_a_slow_honest_line_is_not_starved():
    """The honest one needs two seconds a chunk; the corrupt one sends as much at first."""
    chunks = 60
    run = pulled({OWNER}, [OWNER, OTHER], chunks=chunks)
    puller, due = run.net.nodes[PULLER], []
    hold = run.net.wire

    def slow_line(sender, receiver, message):
        if sender == OTHER and isinstance(message, Chunk):
            if all(message.index != each.index for _, each in due):
                due.append((max([run.net.now, *(at for at, _ in due)]) + 1.5, message))
            return []
        return hold(sender, receiver, message)

    run.net.wire = slow_line

    def arrive() -> bool:
        while due and due[0][0] <= run.net.now:
            _, chunk = due.pop(0)
            wanted = puller.parcels._wanted.get(chunk.parcel)
            if wanted is not None and wanted.fetch.expects(OTHER, chunk.index):
                puller.parcels.handle(OTHER, chunk, run.net.now)
        return bool(puller.done)

    assert run.run(arrive, 2.0 * 1.5 * chunks + TURN_S), "half of the time, at least"


def test_honest_sources_of_a_long_parcel_take_turns_and_little_comes_twice():
    """No source is slower than another: what is under way when a slice ends comes twice."""
    chunks = 400
    run = pulled(set(), [OWNER, OTHER], chunks=chunks)
    puller, due = run.net.nodes[PULLER], {OWNER: [], OTHER: []}
    arrived = 0

    def line(sender, _, message):
        if not isinstance(message, Chunk):
            return None
        mine = due[sender]
        mine.append((max([run.net.now, *(at for at, _ in mine)]) + 0.125, message))
        return []

    run.net.wire = line

    def arrive() -> bool:
        nonlocal arrived
        for sender, mine in due.items():
            while mine and mine[0][0] <= run.net.now and not puller.done:
                puller.parcels.handle(sender, mine.pop(0)[1], run.net.now)
                arrived += 1
        return bool(puller.done)

    assert run.run(arrive, 100.0)
    assert arrived <= 1.1 * chunks
