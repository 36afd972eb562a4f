"""Chains whose actors regions drew: both verifiers believe them, and refuse the same forgeries."""

import pytest
from msgspec.structs import replace
from tests.independent.agreement import agree, findings
from tests.independent.forge import forged, three_rounds
from tests.independent.regions import signers_and_share

from pnyx.protocol.selection.region import region_rule
from pnyx.protocol.selection.region.selector import RegionSelector

BY_REGIONS = three_rounds(selection="region")


def chain(**edit) -> bytes:
    """Round 1's record carries what the edit says, in everybody's name."""
    return forged({1: edit}, BY_REGIONS)


def test_chain_by_regions_is_believed() -> None:
    assert agree(forged(plan=BY_REGIONS))
    assert findings(forged(plan=BY_REGIONS)) == []


CHANGES = {
    "another draw": lambda p: replace(p, draw=replace(p.draw, round_number=1)),
    "another network": lambda p: replace(p, draw=replace(p.draw, network=bytes(32))),
    "an expired draw": lambda p: replace(p, draw=replace(p.draw, expires=7)),
    "another attempt": lambda p: replace(p, draw=replace(p.draw, attempt=2)),
    "another value": lambda p: replace(p, value=b"w" * 32),
    "another setter": lambda p: replace(p, setter=p.actors[-1]),
    "another order": lambda p: replace(p, order=b"p" * 32),
    "actors swapped": lambda p: replace(p, actors=(p.actors[1], p.actors[0], *p.actors[2:])),
    "an actor left out": lambda p: replace(p, actors=p.actors[1:]),
    "a witness left out": lambda p: replace(p, witnesses=p.witnesses[1:]),
    "a witness twice": lambda p: replace(p, witnesses=(p.witnesses[0],) * len(p.witnesses)),
    "a stranger": lambda p: replace(p, actors=(b"s" * 32, *p.actors[1:])),
    "a forged call": lambda p: replace(p, call=bytes(64)),
    "a forged witness": lambda p: replace(
        p, witnesses=(*p.witnesses[:-1], replace(p.witnesses[-1], signature=bytes(64)))
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_altered_list_is_refused_by_both(name) -> None:
    assert not agree(chain(actors=CHANGES[name]))


def test_no_list_and_one_too_many_are_refused_by_both() -> None:
    assert not agree(chain(record_actors=b""))
    assert not agree(forged({1: {"record_actors": b"x"}}))  # the census selects
    assert not agree(forged({3: {"record_actors": b"x"}}, BY_REGIONS))  # nothing follows


@pytest.mark.parametrize(("nodes", "corrupt_max"), [(9, 1), (36, 4), (300, 5), (2_000, 21)])
def test_both_size_regions_alike(nodes, corrupt_max) -> None:
    rule = region_rule(nodes, corrupt_max)
    signers, share = signers_and_share(nodes, corrupt_max)
    assert signers == rule.signers
    assert share == pytest.approx(rule.region_share, rel=1e-9)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_second_attempt_takes_stand_ins_from_the_list(number) -> None:
    content = forged({number: {"aborted": {}}}, BY_REGIONS)
    assert agree(content)
    assert findings(content) == []


def test_after_a_skip_the_list_serves_again() -> None:
    aborted = {}
    content = forged({1: {"aborted": aborted, "skip": True}}, BY_REGIONS)
    assert agree(content)
    assert findings(content) == []
    other = {"aborted": aborted, "skip": True, "record_actors": b"x"}
    assert not agree(forged({1: other}, BY_REGIONS))


def test_the_excluded_have_no_part_in_the_next_draw() -> None:
    """Record 0 excludes a node: the list that record 1 carries is drawn among the others."""
    for out in range(9):
        content = forged({0: {"excluded": (out,)}}, BY_REGIONS)
        assert agree(content)
        assert findings(content) == []


def test_a_list_drawn_among_all_is_refused_by_both(monkeypatch) -> None:
    """Whoever made it left nobody out; verifiers do."""
    without = RegionSelector.without
    monkeypatch.setattr(RegionSelector, "without", lambda selector, excluded: selector)
    content = forged({0: {"excluded": (4,)}}, BY_REGIONS)
    monkeypatch.setattr(RegionSelector, "without", without)
    assert not agree(content)
