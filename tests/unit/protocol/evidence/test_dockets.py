"""Evidence under several censuses: what is kept again, and for whom."""

from collections.abc import Callable
from functools import lru_cache

import pytest
from msgspec.structs import replace
from tests.adversarial.test_evidence_flooded import of_study, plan_of, two_keys
from tests.support.evidence import LIAR, OUTSIDER, encoded_size, scene
from tests.support.weakened import succeeds, weaken

from pnyx.errors import RuleBroken
from pnyx.protocol.evidence import dockets as module
from pnyx.protocol.evidence.docket import PREFIX, Admitted
from pnyx.protocol.evidence.dockets import Dockets
from pnyx.protocol.identity import Census, CensusEntry
from pnyx.protocol.messages import Evidence
from pnyx.protocol.params import ProtocolParams

PEER = b"p" * 32
S = scene()
FIRST = S.c.plan.census
NEWCOMER = bytes(32)  # the lowest id, so all others have another place


@lru_cache
def census(number: int, *, newcomer: bool = False, left: int | None = None) -> Census:
    """A census of the first one's nodes, and of whom it says."""
    pairs = zip(FIRST.node_ids, FIRST.public_keys, strict=True)
    entries = [CensusEntry(node, key) for at, (node, key) in enumerate(pairs) if at != left]
    if newcomer:
        entries.insert(0, CensusEntry(NEWCOMER, bytes(32)))
    return Census(replace(FIRST.body, number=number), bytes((number,)) * 32, entries)


def dockets(**terms: int) -> Dockets:
    """Dockets of a node that believes what it is shown."""
    params = ProtocolParams(**terms)
    return Dockets(S.c.folk.cryptos[OUTSIDER], params, verify=lambda *_: None)


def under(named: Census, evidence: Evidence) -> Evidence:
    """The same, in a study of another census: the culprit has another place there."""
    place = named.index_of(FIRST.node_ids[evidence.culprit])
    assert place is not None
    return replace(evidence, culprit=place, study=named.root)


def admit(held: Dockets, named: Census, evidence: Evidence) -> Admitted:
    return held.of(named).admit(under(named, evidence), S.c.plan)


def wants(held: Dockets, named: Census, evidence: Evidence) -> bool:
    return held.wants(named, under(named, evidence), PEER)


def stored(*admitted: Admitted) -> dict[str, bytes]:
    return {each.kept.key: each.item for each in admitted if each.kept is not None}


@pytest.mark.parametrize("left", [None, 0, OUTSIDER])
def test_census_that_lists_nobody_new_is_shown_the_item_of_the_one_before(left: int | None) -> None:
    second, held = census(1, left=left), dockets()
    assert wants(held, second, two_keys(0))
    kept = admit(held, FIRST, two_keys(0))
    for each in (FIRST, second):
        assert not wants(held, each, two_keys(1))
        assert held.convicts(each, under(each, two_keys(1)).culprit, b"s" * 32)
    assert wants(held, second, replace(two_keys(1), culprit=LIAR + 1)), "of another node"
    restarted = dockets()
    assert restarted.restore(stored(kept), [FIRST, second]) == [kept.item]
    assert not wants(restarted, second, two_keys(1))


def test_newcomers_are_shown_what_they_can_judge() -> None:
    """They take up no study that ended before its first record, so they may not judge the first.

    A node could convict itself in such a study, and nothing later would be spread to them.
    """
    second, third, held = census(1, newcomer=True), census(2, newcomer=True, left=0), dockets()
    first = admit(held, FIRST, two_keys(0))
    place = second.index_of(FIRST.node_ids[LIAR])
    assert place == LIAR + 1
    assert held.convicts(second, place, b"s" * 32), "at once, all the same"
    assert wants(held, second, two_keys(1))
    again = admit(held, second, two_keys(1))
    assert again.kept is not None
    assert again.replaced == (), "who knows the first study alone is still shown that"
    assert not wants(held, second, two_keys(2)), "once for them"
    assert not wants(held, third, two_keys(2)), "who are all in the second"
    assert [each.node for each in held.convictions] == [FIRST.node_ids[LIAR]] * 2
    kept = stored(first, again)
    assert len(kept) == 2
    assert sorted(key.startswith(PREFIX) for key in kept) == [False, True]
    restarted = dockets()
    assert restarted.restore(kept, [FIRST, second, third]) == [first.item, again.item]
    assert not wants(restarted, third, two_keys(2))


def test_older_census_is_shown_what_is_kept_under_a_later_one() -> None:
    """If that lists all of its nodes."""
    held = dockets()
    admit(held, census(1, newcomer=True), two_keys(0))
    assert not wants(held, FIRST, two_keys(1))
    held = dockets()
    admit(held, census(1, left=0), two_keys(0))
    assert wants(held, FIRST, two_keys(1)), "whoever left it may know the older study alone"


def test_full_docket_of_one_census_leaves_the_next_its_room() -> None:
    """What had no room convicts here and is shown to nobody; under the next it is."""
    held = dockets(docket_bytes_max=encoded_size(two_keys(0)))
    assert admit(held, FIRST, replace(two_keys(0), culprit=OUTSIDER)).kept is not None
    assert admit(held, FIRST, two_keys(0)).kept is None
    second = census(1)
    assert held.convicts(second, LIAR, b"s" * 32)
    assert wants(held, second, two_keys(1))
    assert admit(held, second, two_keys(1)).kept is not None


def test_what_counts_in_one_study_is_wanted_in_each() -> None:
    second, held = census(1), dockets()
    admit(held, FIRST, of_study(plan_of(1)))
    assert wants(held, second, of_study(plan_of(1)))
    assert wants(held, second, two_keys(0))
    admit(held, FIRST, two_keys(0))
    assert wants(held, second, of_study(plan_of(1)))


def test_who_is_in_one_census_alone() -> None:
    second, held = census(1, newcomer=True, left=0), dockets()
    admit(held, FIRST, replace(two_keys(0), culprit=0))
    assert wants(held, second, two_keys(0))
    assert held.wants(second, replace(two_keys(0), culprit=0), PEER), "the newcomer"
    with pytest.raises(RuleBroken, match="outside the census"):
        held.wants(second, replace(two_keys(0), culprit=len(second)), PEER)


@pytest.mark.parametrize(
    ("attack", "old"),
    [
        (test_newcomers_are_shown_what_they_can_judge, " and set(other.node_ids).issuperset(here)"),
        (test_full_docket_of_one_census_leaves_the_next_its_room, " and docket.keeps(place)"),
    ],
)
def test_who_can_have_the_other_item_is_the_defence(
    monkeypatch: pytest.MonkeyPatch, attack: Callable[[], None], old: str
) -> None:
    weaken(monkeypatch, module, (old, ""))
    assert succeeds(attack)
