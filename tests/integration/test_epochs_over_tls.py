"""Nodes over TLS live through a change of epoch with a new census; studies go on meanwhile."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.support.epoch_nodes import EpochNodes
from tests.support.town import manifest, phase

from pnyx.protocol.round.actors import read_actors
from pnyx.protocol.study import read_body

COUNT, DROPPED, NEWCOMER = 10, 8, 9
EPOCH_S = 20.0


async def until(condition: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.05)


def asked(rounds: int, nonce: bytes):
    terms = {"rounds": rounds, "target": 8, "drawn": 9, "deadline_s": 20.0}
    return manifest(COUNT, [phase(COUNT, **terms)], selection="region", nonce=nonce)


def sums(node, study: bytes) -> list[set[int]]:
    """Who counts in each round, by the places of the study's census."""
    state = node.machine.studies[study]
    return [set(read_body(record).accepted) for record in state.records[1:]]


async def live(town: EpochNodes) -> None:
    nodes = town.nodes
    for node in nodes[:NEWCOMER]:
        await node.start(town.signed[:1])
    await until(lambda: all(0 in n.machine.epoch_beacons for n in nodes[:NEWCOMER]), 60.0)
    town.training_s = 3.0
    old = town.propose(0, asked(6, b"o" * 32))
    await until(lambda: all(old in n.machine.studies for n in nodes[:NEWCOMER]), 20.0)

    successor = town.publish([*range(DROPPED), NEWCOMER])
    await nodes[1].stop()  # its owner installs the new network file
    await nodes[1].start(town.signed)
    await nodes[NEWCOMER].start(town.signed)
    listed = [*nodes[:DROPPED], nodes[NEWCOMER]]
    await until(lambda: all(1 in n.machine.epoch_beacons for n in listed), 120.0)

    assert not all(n.machine.studies[old].finished for n in nodes[:DROPPED]), "it goes on over it"
    assert all(n.machine.census.root == successor.root for n in listed)
    assert nodes[NEWCOMER].machine.index >= 0
    assert nodes[DROPPED].node_id not in nodes[0].machine.census
    assert not nodes[0].admits(nodes[DROPPED].node_id)
    assert nodes[0].admits(nodes[NEWCOMER].node_id)

    town.training_s = 0.0
    new = town.propose(NEWCOMER, asked(2, b"n" * 32))

    def done() -> bool:
        pairs = [*((node, old) for node in nodes[:DROPPED]), *((node, new) for node in listed)]
        known = [node.machine.studies.get(study) for node, study in pairs]
        return all(state is not None and state.finished for state in known)

    await until(done, 200.0)

    for study, among, epoch, rounds in ((old, nodes[:DROPPED], 0, 6), (new, listed, 1, 2)):
        states = [node.machine.studies[study] for node in among]
        assert len({tuple(record.body for record in state.records) for state in states}) == 1
        assert len({state.model_hash for state in states}) == 1
        counted = sums(among[0], study)
        assert len(counted) == rounds
        assert all(len(who) >= 3 for who in counted)
        draws = [read_actors(record.actors).draw for record in states[0].records if record.actors]
        assert len(draws) == rounds, "regions drew the actors of each round"
        root = states[0].census.root
        assert {(draw.epoch, draw.census_root) for draw in draws} == {(epoch, root)}
    state = nodes[0].machine.studies[new]
    newcomer = state.census.index_of(nodes[NEWCOMER].node_id)
    assert newcomer in set().union(*sums(nodes[0], new)), "the newcomer takes part"
    assert any(each.epoch == 1 for node in listed for each in node.listed), "the new ring serves"
    broken = {rule for node in listed if node is not nodes[NEWCOMER] for rule in node.rules}
    left_out = "the peer is not in the census"  # said by whom it leaves out
    late = "asks for a parcel that it may not read"  # for a model that another took the place of
    assert broken <= {left_out, late}


def test_a_new_epoch_with_a_new_census_while_studies_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        town = EpochNodes(tmp_path, COUNT, range(NEWCOMER), epoch_s=EPOCH_S)
        try:
            await live(town)
        finally:
            await town.stop()

    asyncio.run(main())
