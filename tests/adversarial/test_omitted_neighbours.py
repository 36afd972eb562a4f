"""I3: colluders leave honest nodes out of what they tell, so that a region looks smaller.

An enumeration asks every node of the interval itself, from both ends, so one honest neighbour of
an omitted node brings it back. Who left it out has signed that.
"""

import pytest
from tests.support.ringtown import Unverified, corrupted_town

from pnyx.primitives import codec
from pnyx.protocol.overlay import ring
from pnyx.protocol.overlay.messages import BODY_BYTES_MAX, Neighbourhood
from pnyx.protocol.overlay.positions import interval_around, key_position


def enumerations(nodes, kind, count, seed, share=0.1):
    town = corrupted_town(nodes, kind, seed)
    honest = town.honest()
    for _ in range(count):
        start, end = interval_around(key_position(town.sampler.bytes(32)), share)
        town.enumerate(honest[town.sampler.below(len(honest))], start, end)
        town.run(0.5)
    town.run(20.0)
    assert not town.unanswered
    return town


def complete(town):
    return sum(verdict.correct for verdict in town.verdicts) / len(town.verdicts)


@pytest.mark.parametrize("kind", ["omitter", "liar"])
def test_enumeration_is_complete(kind):
    town = enumerations(200, kind, 8, seed=4)
    assert complete(town) == 1.0
    assert all(verdict.forged == 0 for verdict in town.verdicts)
    assert sum(verdict.found for verdict in town.verdicts) > 8 * 10, "twenty nodes each, about"


@pytest.mark.full
@pytest.mark.parametrize("kind", ["omitter", "liar", "silent", "mixed"])
def test_enumeration_of_a_large_ring_is_complete(kind):
    town = enumerations(2000, kind, 100, seed=5, share=0.02)
    print({"seed": 5, "complete": complete(town), **town.summary()})  # noqa: T201
    assert complete(town) >= 0.99


def test_asking_every_node_is_the_defence(monkeypatch):
    monkeypatch.setattr(ring, "Search", Unverified)
    assert complete(enumerations(200, "omitter", 8, seed=4)) < 0.5


def test_who_left_a_node_out_has_signed_it():
    """The omission comes with the signed words, and honest nodes are not the ones named."""
    town = enumerations(200, "omitter", 6, seed=4)
    assert town.omissions
    named = [town.by_id[each.node_id] for each in town.omissions]
    assert sum(node.corrupt for node in named) >= 0.9 * len(named)
    for each in town.omissions[:20]:
        town.check(each.answer)
        body = codec.decode(each.answer.body, Neighbourhood, bytes_max=BODY_BYTES_MAX)
        told = {record.signer for record in (*body.before, *body.after)}
        assert each.answer.signer == each.node_id
        assert each.omitted not in told
