"""R2: a node that a record excludes is imposed no more: not as trigger, setter, witness or actor.

Points are owned, and regions filled, among the nodes that no record excludes. The exclusions are
those of the record that opens a round, which everybody has that takes part in the round's draw; so
all impose the same nodes, and a culprit costs no further attempt by its silence.
"""

import pytest
from msgspec.structs import replace
from tests.adversarial.test_two_words_in_a_draw import TwoRolls
from tests.support.regions import STUDY, Ring, beacon_of, listed

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.selection.region import draw_context
from pnyx.protocol.selection.region.rule import ATTEMPTS_MAX
from pnyx.protocol.selection.region.selector import RegionSelector
from pnyx.protocol.selection.region.statements import point_of

NODES, COUNT = 60, 12


def triggers(selector, wanted) -> set[int]:
    """Whom the attempts at a draw impose, one after the other."""
    draws = (replace(wanted, attempt=number) for number in range(1, ATTEMPTS_MAX + 1))
    return {selector.cache.owner(point_of(draw_context(draw))).number for draw in draws}


def after_an_exclusion() -> tuple[TwoRolls, list]:
    """A caller shows two rolls and is excluded; the plans of the rounds whose draws follow."""
    attack = TwoRolls()
    assert attack.excluded()[0] == (attack.liar,)
    machine = attack.town.machines[0]
    state = machine.studies[attack.study]
    return attack, [state.plan_at(number, 1, machine.params) for number in (1, 2)]


def test_whoever_was_excluded_triggers_no_attempt():
    attack, plans = after_an_exclusion()
    first = attack.town.machines[0].studies[attack.study].plan_at(0, 1, attack.town.params)
    everybody = first.following.selector
    for plan in plans:
        following = plan.following
        assert attack.liar not in triggers(following.selector, following.wanted)
    imposed = [triggers(everybody, plan.following.wanted) for plan in plans]
    assert any(attack.liar in each for each in imposed), "among all it would be imposed again"


def test_unless_exclusions_count_in_draws_it_triggers_again(monkeypatch):
    monkeypatch.setattr(RegionSelector, "without", lambda selector, excluded: selector)
    attack, plans = after_an_exclusion()
    imposed = [triggers(plan.following.selector, plan.following.wanted) for plan in plans]
    assert any(attack.liar in each for each in imposed)


class Forged:
    """Lists that a coalition made with all keys of a ring; `out` is a node that is excluded."""

    def __init__(self) -> None:
        self.ring = ring = Ring(NODES)
        self.draw = ring.selector.draw(beacon_of(0), STUDY, 1, "actors", COUNT, 1)
        self.proof = listed(ring.selector, self.draw, ring.crypto)

    def accepted(self, node: bytes) -> bool:
        """Whether the list counts where this node is excluded."""
        among = self.ring.selector.without([self.ring.ids.index(node)])
        try:
            among.read(codec.encode(self.proof), beacon_of(0), STUDY, 1, "actors", COUNT)
        except ProtocolError:
            return False
        return True

    def parts(self) -> dict[str, bytes]:
        """One node of each part in the list that has no other part in it."""
        proof = self.proof
        voices = [each.node for each in proof.witnesses]
        parts = {
            "setter": [proof.setter],
            "witness": [node for node in voices if node not in proof.actors],
            "actor": [node for node in proof.actors if node not in (proof.setter, *voices)],
        }
        inside = {proof.setter, *voices, *proof.actors}
        return {
            **{part: nodes[0] for part, nodes in parts.items()},
            "nobody": next(node for node in self.ring.ids if node not in inside),
        }


F = Forged()


@pytest.mark.parametrize("part", ["setter", "witness", "actor"])
def test_a_list_in_which_an_excluded_node_has_a_part_is_refused(part):
    assert not F.accepted(F.parts()[part])
    assert F.accepted(F.parts()["nobody"]), "a list without it counts"


@pytest.mark.parametrize("part", ["setter", "witness", "actor"])
def test_unless_exclusions_count_such_a_list_is_believed(part, monkeypatch):
    monkeypatch.setattr(RegionSelector, "without", lambda selector, excluded: selector)
    assert F.accepted(F.parts()[part])


def test_an_excluded_node_is_called_by_nobody_and_the_next_one_takes_its_point():
    ring, cache = F.ring, F.ring.cache
    for number, node in enumerate(ring.ids):
        rest = ring.selector.without([number])
        point = ring.position(node)
        assert cache.owner(point).node_id == node
        heir = rest.cache.owner(point)
        assert heir == cache.owner(point + 1)
        assert rest.cache.find(node) is None
        assert node not in {place.node_id for place in rest.called_by(heir)}
        assert cache.find(node) is not None, "the census is as it was"
