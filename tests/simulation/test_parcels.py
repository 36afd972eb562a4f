"""Whole nodes pull parcels over a bad network, from sources that die or lie, and die themselves.

No round takes part here: the nodes are told what to keep and what to fetch, and told again when
they come back, as the roles of a round would be.
"""

from collections.abc import Callable

import msgspec
import pytest
from tests.support.parcels import content, cut

from pnyx.primitives import codec
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import (
    Effect,
    ForgetParcel,
    PeerBlamed,
    Persist,
    SealParcel,
    Send,
    SendChunk,
    StoreChunk,
    TimerExpired,
)
from pnyx.protocol.messages import Chunk
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import Parcels
from pnyx.simulator import Crash, Link, Scenario, Simulation
from pnyx.simulator.adversary import Wrapper
from pnyx.simulator.population import SimulatedNode

BEGINS_S = 4.0
Task = Callable[[Parcels], None]


class Delivery(Simulation):
    """A run without studies, in which some nodes hold a parcel and others pull it.

    holders keep it; pullers fetch it of `sources`, and let everybody read what they have.
    """

    def __init__(self, scenario: Scenario, data: bytes, holders, pullers, sources) -> None:
        self.data = data
        self.name = describe(cut(data)).name
        self.pullers = tuple(pullers)
        self.done_at: dict[int, float] = {}
        self.blamed: set[int] = set()
        self.begun: dict[int, int] = {}  # effects that a node had done when the parcel came up
        self._sources = sources
        self._tasks: dict[int, Task] = dict.fromkeys(holders, self._keep)
        self._tasks |= {puller: self._puller(puller) for puller in self.pullers}
        super().__init__(scenario)
        for node in self.nodes:
            self.scheduler.call_at(BEGINS_S, self._begin, node)

    def _keep(self, parcels: Parcels) -> None:
        assert parcels.keep(cut(self.data), self.population.census.node_ids) == self.name

    def _puller(self, index: int) -> Task:
        def fetch(parcels: Parcels) -> None:
            ids = self.population.census.node_ids
            sources = [ids[source] for source in self._sources(index)]

            def done(name: bytes) -> None:
                parcels.grant(name, ids)
                self.done_at.setdefault(index, self.scheduler.now)

            parcels.fetch(self.name, len(self.data), sources, done)

        return fetch

    def _begin(self, node: SimulatedNode) -> None:
        self.begun.setdefault(node.index, node.effects_done)
        task = self._tasks.get(node.index)
        if task is not None and node.machine is not None:
            task(node.machine.parcels)
            node.handle(TimerExpired())

    def crashed(self, node: SimulatedNode) -> None:
        super().crashed(node)
        away = self._returns.get(node.index)
        if away is not None:
            back_at = max(BEGINS_S, self.scheduler.now + away) + 0.001
            self.scheduler.call_at(back_at, self._begin, node)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        if isinstance(effect, PeerBlamed):
            self.blamed.add(self.population.census.index_of(effect.peer))

    def done(self) -> bool:
        return all(
            node.up and self.name in node.machine.parcels
            for node in (self.nodes[puller] for puller in self.pullers)
        )

    def check(self) -> None:
        """Everybody who is to have the parcel has its bytes, and nothing else lies around."""
        for puller in self.pullers:
            node = self.nodes[puller]
            assert b"".join(node.parcels.chunks(self.name)) == self.data
            assert set(node.parcels._sealed) == {self.name}
            assert not node.parcels._parts


def lying(hand_out: int = 3) -> Wrapper:
    """Sends a few chunks as they are, and then wrong ones."""

    class Liar(Wrapper):
        sent = 0

        def emit(self, effects, now):
            return [self._one(effect) for effect in effects]

        def _one(self, effect):
            if not isinstance(effect, SendChunk):
                return effect
            Liar.sent += 1
            if Liar.sent <= hand_out:
                return effect
            wrong = Chunk(
                effect.parcel, effect.length, effect.index, effect.root, b"lie", effect.proof
            )
            return Send(effect.peer, codec.encode(wrong))

    return Liar()


BAD_LINK = Link(
    latency_tail_s=0.05, loss=0.1, duplication=0.1, reordering=True, hint=0.5, bytes_per_s=50e6
)
NODES = 15
KILLED, LIAR, HONEST = 0, 1, 2


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full)])
def test_twelve_nodes_pull_five_megabytes_from_sources_that_die_and_lie(seed):
    scenario = Scenario(
        seed=seed,
        nodes=NODES,
        studies=0,
        link=BAD_LINK,
        crashes=(
            Crash(node=KILLED, at_s=BEGINS_S + 0.3, away_s=None),
            Crash(node=7, at_s=BEGINS_S + 0.7, away_s=2.0),
        ),
        limit_s=300.0,
    )
    pullers = range(3, NODES)

    def sources(index):
        others = [3 + (index + step) % len(pullers) for step in (1, 5)]
        return [(KILLED, LIAR, HONEST)[(index + at) % 3] for at in range(3)] + others

    run = Delivery(scenario, content(39, 20_000), (KILLED, LIAR, HONEST), pullers, sources)
    run.nodes[LIAR].adversary = lying()
    assert len(run.data) == 5_000_736
    assert run.scheduler.run(scenario.limit_s, run.done), run.done_at
    run.check()
    assert run.blamed == {LIAR}
    assert run.kills == 2
    served = [node.index for node in run.nodes if node.parcels.read(run.name, 0)]
    assert set(served) >= {HONEST, *pullers}


# --- killed at every effect ----------------------------------------------------------------------

SMALL = Scenario(
    seed=3,
    nodes=6,
    studies=0,
    limit_s=60.0,
    params=ProtocolParams(parcel_window_chunks=2, gossip_interval_s=30.0),
)
DATA = content(5, 99)
SOURCE, PULLER = 0, 1


def small(*crashes: Crash, scenario: Scenario = SMALL) -> Delivery:
    crashing = msgspec.structs.replace(scenario, crashes=crashes)
    return Delivery(crashing, DATA, [SOURCE], [PULLER], lambda _: [SOURCE])


def finish(run: Delivery) -> None:
    assert run.scheduler.run(run.scenario.limit_s, run.done), "the parcel never came"
    run.check()
    assert run.blamed == set()


def effects_of_interest() -> dict[int, range]:
    """Which effects of source and puller belong to the parcel's way, when nobody is killed."""
    run = small()
    finish(run)
    return {
        index: range(run.begun[index], run.nodes[index].effects_done + 1)
        for index in (SOURCE, PULLER)
    }


INTEREST = effects_of_interest()


def test_all_effects_of_parcels_are_among_those_that_are_killed_at():
    kinds: dict[int, set[type]] = {SOURCE: set(), PULLER: set()}
    run = small()
    observe = run.observe

    def watch(node, effect):
        if node.index in kinds and node.effects_done > INTEREST[node.index].start:
            kinds[node.index].add(type(effect))
        observe(node, effect)

    run.observe = watch
    finish(run)
    assert kinds[SOURCE] >= {StoreChunk, SealParcel, Persist, SendChunk}
    assert kinds[PULLER] >= {StoreChunk, SealParcel, Persist, Send}


@pytest.mark.parametrize("away_s", [0.3, 7.0])
@pytest.mark.parametrize("victim", [SOURCE, PULLER])
def test_killed_at_every_effect(victim, away_s):
    for after in INTEREST[victim]:
        run = small(Crash(node=victim, after_effects=after, away_s=away_s))
        finish(run)
        assert run.kills == (after < INTEREST[victim].stop - 1), after


def test_killed_while_a_parcel_is_forgotten():
    """Between the description and the file: the file goes with the next start."""
    for after in range(3):
        run = small()
        finish(run)
        node = run.nodes[PULLER]
        node.kill_after = node.effects_done + after
        run._returns[PULLER] = None
        node.machine.parcels.forget(run.name)
        node.handle(TimerExpired())
        node.kill_after = None
        node.crash()
        node.start()
        held = after == 0
        assert (run.name in node.machine.parcels) == held
        assert (node.parcels.read(run.name, 0) is not None) == held


class Hasty(Wrapper):
    """A shell that lets a parcel be described before it is sealed."""

    def emit(self, effects, now):
        late = [effect for effect in effects if isinstance(effect, SealParcel)]
        return [effect for effect in effects if not isinstance(effect, SealParcel)] + late


class Careless(Wrapper):
    """A shell that removes a parcel before that is written down."""

    def emit(self, effects, now):
        early = [effect for effect in effects if isinstance(effect, ForgetParcel)]
        return early + [effect for effect in effects if not isinstance(effect, ForgetParcel)]


def test_without_the_order_of_sealing_a_kill_leaves_a_promise_unkept():
    def kill_everywhere() -> None:
        for after in INTEREST[SOURCE]:
            run = small(Crash(node=SOURCE, after_effects=after, away_s=0.3))
            run.nodes[SOURCE].adversary = Hasty()
            run.scheduler.run(SMALL.limit_s, run.done)

    with pytest.raises(RuntimeError, match="never sealed"):
        kill_everywhere()


def test_without_the_order_of_forgetting_a_kill_leaves_a_promise_unkept():
    run = small()
    finish(run)
    node = run.nodes[PULLER]
    node.adversary = Careless()
    node.kill_after = node.effects_done + 1
    run._returns[PULLER] = None
    node.machine.parcels.forget(run.name)
    node.handle(TimerExpired())
    assert not node.up
    with pytest.raises(RuntimeError, match="never sealed"):
        node.start()


# --- slow lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bytes_per_s", [10e3, 50e3, 100e3, 200e3, 1e6])
def test_a_slow_line_is_not_flooded_with_repetitions(bytes_per_s):
    """A window of chunks takes longer than patience lasts: asking again would only add to it."""
    quiet = ProtocolParams(gossip_interval_s=1e6)
    slow = msgspec.structs.replace(
        SMALL, link=Link(bytes_per_s=bytes_per_s), limit_s=1e4, params=quiet
    )
    run = Delivery(slow, content(40, 1000), [SOURCE], [PULLER], lambda _: [SOURCE])
    before = run.network.bytes_sent
    finish(run)
    ideal_s = len(run.data) / bytes_per_s
    assert run.network.bytes_sent - before < 1.25 * len(run.data)
    assert run.done_at[PULLER] - BEGINS_S < 1.25 * ideal_s + 2.0
