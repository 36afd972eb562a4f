"""Whole networks with both machines: who is drawn is who the ring lists, not who is gone.

One of twelve nodes holds a certificate and has never answered anybody. Nine actors are drawn for a
round. Once the ring has listed the others, regions draw among those.
"""

from tests.support.ringed_town import RingedTown
from tests.support.town import Town, manifest, phase

from pnyx.protocol.round.actors import read_actors

NODES, ROUNDS = 12, 4


def lists(town: Town) -> tuple[list[set[int]], set[int]]:
    """Who is on the list of each round of a study, and whom nobody hears of."""
    gone = {i for i, node in enumerate(town.census.node_ids) if node not in town.census.genesis}
    gone = {min(gone)}
    for index in gone:
        town.crash(index)
    plan = manifest(NODES, [phase(NODES, rounds=ROUNDS, drawn=9)], selection="region")
    study = town.propose(proposer=next(i for i in range(NODES) if i not in gone), plan=plan)
    assert town.run(town.finished(study), 300.0)
    honest = next(machine for i, machine in enumerate(town.machines) if town.alive[i])
    records = [record for record in honest.studies[study].records if record.actors]
    actors = [read_actors(record.actors).actors for record in records]
    return [{town.census.index_of(node) for node in each} for each in actors], gone


def test_lists_are_drawn_among_nodes_that_the_ring_has_listed():
    town = RingedTown(count=NODES)
    found, gone = lists(town)
    living = {i for i in range(NODES) if i not in gone}
    heard = {
        at: {town.census.index_of(node) for node in listed.nodes} for at, listed in town.listed
    }
    assert set(heard) == living, "every living node has listed its surroundings"
    assert set().union(*heard.values()) == living
    assert found[0] & gone, "the first list is drawn before the ring stands"
    assert not set().union(*found[1:]) & gone
    assert all(len(each) == 9 for each in found)


def test_without_a_ring_everybody_with_a_certificate_is_a_candidate():
    found, gone = lists(Town(count=NODES))
    assert any(each & gone for each in found[1:])
