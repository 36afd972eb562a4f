"""One search, answered by hand: phases, bounds, and what it takes for an answer."""

from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import RING_SIZE, forward, position_of
from pnyx.protocol.overlay.records import KnownRecord
from pnyx.protocol.overlay.search import Place, Search

BEACON = b"b" * 32
OWN = digest("own")
PARAMS = OverlayParams(
    paths=2,
    margin=2,
    tries=2,
    waves_max=2,
    parallel_asks=3,
    neighbours_per_side=8,
    step_records_per_side=2,
)


def record(number, sequence=1):
    node_id = digest("node", number.to_bytes(4, "big"))
    return KnownRecord(node_id, sequence, "h", 1, Signed(node_id, b"", bytes(64)))


def place_of(one):
    return position_of(one.node_id, BEACON)


class World:
    """Nodes in order, and what each tells: the truth, unless it is told otherwise."""

    def __init__(self, count, per_side=8):
        self.ring = sorted((record(number) for number in range(count)), key=place_of)
        self.per_side = per_side
        self.dead = set()
        self.hidden = set()  # left out by everybody in `liars`
        self.liars = set()
        self.asked = []

    def ahead(self, key, nodes=None):
        return sorted(nodes or self.ring, key=lambda one: forward(key, place_of(one)))

    def answer(self, search, ask):
        self.asked.append(ask)
        node_id = ask.record.node_id
        if node_id in self.dead:
            search.silent(node_id)
            return
        lies = node_id in self.liars
        told = [o for o in self.ring if not (lies and o.node_id in self.hidden)]
        told = [one for one in self.ahead(ask.key, told) if one.node_id != node_id]
        per_side = min(self.per_side, ask.per_side)
        after = told[:per_side]
        before = [one for one in reversed(told) if one not in after][:per_side]
        search.answered(node_id, ask.key, before, after)

    def run(self, search):
        pending = search.asks()
        for _ in range(10_000):
            if search.result is not None:
                return search.result
            assert pending, "a search that waits for nothing has ended"
            self.answer(search, pending.pop(0))
            pending += search.asks()
        raise AssertionError("the search does not end")

    def search(self, place, seeds=None, own=None, gap=None, params=PARAMS, others=()):
        seeds = self.ring[:3] if seeds is None else seeds
        return Search(
            place,
            params=params,
            beacon=BEACON,
            own_id=OWN,
            own=own,
            seeds=lambda key: seeds,
            nearby=(),
            others=others,
            gap=gap,
            sampler=Sampler(bytes(32), "test"),
        )


def test_look_up_finds_the_first_nodes_at_or_behind_the_key():
    world = World(40)
    key = 77 << 240
    found = world.run(world.search(Place(key, 5)))
    assert list(found.nodes) == world.ahead(key)[:5]
    assert (found.sparse, found.waves, found.omissions) == (False, 1, ())
    assert found.asks == len(world.asked)


def test_node_at_the_key_is_the_first():
    world = World(20)
    key = place_of(world.ring[7])
    assert world.run(world.search(Place(key, 2))).nodes[0] == world.ring[7]


def test_dead_nodes_are_asked_again_and_then_left_out():
    world = World(40)
    key = 77 << 240
    first = world.ahead(key)
    world.dead = {first[0].node_id, first[3].node_id}
    found = world.run(world.search(Place(key, 5)))
    alive = [one for one in first if one.node_id not in world.dead]
    assert list(found.nodes) == alive[:5]
    asked = [ask.record.node_id for ask in world.asked]
    assert asked.count(first[0].node_id) == PARAMS.tries


def test_disjoint_paths_ask_no_node_twice():
    world = World(60, per_side=2)
    search = world.search(Place(5, 3), seeds=world.ring[10:14])
    world.run(search)
    asked = [ask.record.node_id for ask in world.asked]
    assert len(asked) == len(set(asked))


def test_omitted_node_is_found_by_its_honest_neighbour_and_who_omitted_it_is_told():
    world = World(40)
    key = 77 << 240
    first = world.ahead(key)
    world.hidden = {first[1].node_id}
    world.liars = {first[0].node_id, first[2].node_id}
    found = world.run(world.search(Place(key, 5)))
    assert list(found.nodes) == first[:5]
    told = {(omission.node_id, omission.omitted) for omission in found.omissions}
    assert told == {(liar, first[1].node_id) for liar in world.liars}


def test_own_node_is_in_the_answer_once_it_is_on_the_ring():
    world = World(20)
    own = KnownRecord(OWN, 1, "h", 1, Signed(OWN, b"", bytes(64)))
    key = place_of(own) - 1
    assert own in world.run(world.search(Place(key, 3), own=own)).nodes
    assert own not in world.run(world.search(Place(key, 3))).nodes
    world.ring = sorted([*world.ring, own], key=place_of)
    named = world.run(world.search(Place(key, 3)))
    assert named.nodes[0] == own, "others name it: it need not ask itself"
    assert OWN not in {ask.record.node_id for ask in world.asked}


def test_sparse_place_brings_another_wave():
    world = World(60)
    world.liars = {one.node_id for one in world.ring[::4]}
    world.hidden = {one.node_id for one in world.ring} - world.liars
    liars = [one for one in world.ring if one.node_id in world.liars]
    honest = [one for one in world.ring if one.node_id not in world.liars]
    key = 77 << 240
    gap = 1 / 60
    deceived = world.run(world.search(Place(key, 4), seeds=liars[:3]))
    assert {one.node_id for one in deceived.nodes} <= world.liars
    search = world.search(Place(key, 4), seeds=liars[:3], gap=gap, others=[*honest[:8], liars[0]])
    found = world.run(search)
    assert list(found.nodes) == world.ahead(key)[:4]
    assert found.waves == 2
    lost = world.run(world.search(Place(key, 4), seeds=liars[:3], gap=gap, others=liars))
    assert lost.sparse, "nobody else to ask: at least it says so"
    nobody = world.run(world.search(Place(key, 4), seeds=liars[:3], gap=gap, others=()))
    assert nobody.sparse


def test_nobody_known_is_an_empty_answer():
    world = World(5)
    found = world.run(world.search(Place(0, 3), seeds=[]))
    assert (found.nodes, found.sparse, found.asks) == ((), True, 0)


def test_everybody_dead_is_an_empty_answer():
    world = World(6)
    world.dead = {one.node_id for one in world.ring}
    found = world.run(world.search(Place(0, 3), others=world.ring))
    assert found.nodes == ()
    assert found.sparse


def test_enumeration_of_an_interval_and_of_the_ring():
    world = World(50)
    start, end = RING_SIZE // 5, RING_SIZE // 2
    found = world.run(world.search(Place(start, 0, end)))
    assert list(found.nodes) == [one for one in world.ring if start <= place_of(one) < end]
    for ask in world.asked:
        if start <= place_of(ask.record) < end:
            assert ask.key in (place_of(ask.record), start, end)
    everybody = world.run(world.search(Place(9, 0, 9)))
    assert set(everybody.nodes) == set(world.ring)


def test_long_look_up_asks_nodes_for_their_own_surroundings():
    world = World(60)
    key = 77 << 240
    found = world.run(world.search(Place(key, 30)))
    assert list(found.nodes) == world.ahead(key)[:30]


def test_bounds_on_asks_and_steps():
    world = World(200, per_side=1)
    few = OverlayParams(
        paths=1, margin=1, asks_max=6, enumeration_asks_max=9, waves_max=1, neighbours_per_side=9
    )
    assert world.run(world.search(Place(0, 8), params=few)).asks <= 6
    assert world.run(world.search(Place(0, 0, RING_SIZE // 2), params=few)).asks <= 9
    short = OverlayParams(paths=1, margin=1, path_steps_max=2, waves_max=1)
    assert world.run(world.search(Place(place_of(world.ring[150]), 2), params=short)).steps == 2


def test_closure_asks_so_many_at_a_time():
    world = World(30, per_side=6)
    search = world.search(Place(3 << 250, 8))
    pending, most = search.asks(), 0
    while search.result is None:
        most = max(most, len(pending))
        world.answer(search, pending.pop(0))
        pending += search.asks()
    assert most <= max(PARAMS.paths, PARAMS.parallel_asks)


def test_node_that_moved_is_asked_at_its_new_address():
    """Silent at first; then somebody shows a newer record, and it is asked again."""
    world = World(12, per_side=6)
    key = place_of(world.ring[5])
    moved, newer = world.ring[5], None
    search = world.search(Place(key, 3), seeds=world.ring[:2])
    pending = search.asks()
    while search.result is None:
        ask = pending.pop(0)
        if ask.record.node_id == moved.node_id and ask.record.sequence == 1:
            search.silent(moved.node_id)
            if newer is None and sum(a.record == moved for a in world.asked) == 1:
                newer = KnownRecord(
                    moved.node_id, 2, "elsewhere", 1, Signed(moved.node_id, b"", bytes(64))
                )
                world.ring[5] = newer
            world.asked.append(ask)
        else:
            world.answer(search, ask)
        pending += search.asks()
    assert newer in search.result.nodes


def test_interval_node_that_falls_silent_after_it_answered():
    """It answered a step of a path, and not the question for its own surroundings."""
    world = World(30)
    start, end = RING_SIZE // 5, RING_SIZE // 2
    search = world.search(Place(start, 0, end))
    pending, gone = search.asks(), None
    while search.result is None:
        ask = pending.pop(0)
        inside = start <= place_of(ask.record) < end
        if inside and gone is None and ask.key != place_of(ask.record):
            gone = ask.record
            world.answer(search, ask)
        elif ask.record is gone:
            search.silent(gone.node_id)
        else:
            world.answer(search, ask)
        pending += search.asks()
    if gone is not None:
        assert gone not in search.result.nodes


def test_seeds_that_name_this_node_are_passed_over():
    world = World(20)
    own = KnownRecord(OWN, 1, "h", 1, Signed(OWN, b"", bytes(64)))
    found = world.run(world.search(Place(3 << 250, 3), seeds=[own, *world.ring[:2]]))
    assert list(found.nodes) == world.ahead(3 << 250)[:3]


def test_newer_record_of_a_live_node_replaces_the_older_one():
    world = World(12)
    search = world.search(Place(place_of(world.ring[3]), 3), seeds=world.ring[:2])
    pending = search.asks()
    while search.result is None:
        world.answer(search, pending.pop(0))
        world.ring[3] = KnownRecord(
            world.ring[3].node_id, 2, "new", 1, Signed(world.ring[3].node_id, b"", bytes(64))
        )
        pending += search.asks()
    assert search.result.nodes[0].host == "new"


def test_interval_node_that_answered_a_path_and_is_silent_ever_after():
    world = World(24)
    start = place_of(world.ring[5])
    search = world.search(Place(start, 0, place_of(world.ring[9])), seeds=world.ring[:2])
    search.asks()
    name = next(iter(search._candidates))
    first = search._candidates[name]
    search.answered(name, start, [], [])
    for _ in range(3):
        search._ask(first, first.position, 8)
        search.silent(name)
    search.asks()
    assert first.record not in [each.record for each in search._place_nodes()]
