"""R3: an actor list is taken for what it was imposed for, whole and in order, and for no more.

Every field of what imposes a list is altered, and the list itself, in any way Hypothesis finds.
`test_forged_actor_list` has each alteration by name, and takes each defence away.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, assume, given, settings
from tests.support.weakened import weaken

from pnyx.errors import RuleBroken
from pnyx.protocol.selection import ActorList, CensusSelector
from pnyx.protocol.selection import census as module

SIZE = 12  # chance equality of two lists of twelve is below 10^-11


@dataclass(frozen=True)
class Imposed:
    """What imposes a list."""

    beacon: bytes
    study: bytes
    number: int
    role: str
    population: int
    excluded: frozenset[int]

    @property
    def selector(self) -> CensusSelector:
        return CensusSelector(self.population, self.excluded)

    @property
    def actors(self) -> tuple[int, ...]:
        drawn = self.selector.select(self.beacon, self.study, self.number, self.role, SIZE)
        return drawn.indices

    def accepts(self, indices: tuple[int, ...], proof: bytes = b"") -> bool:
        try:
            self.selector.verify(
                ActorList(indices, proof), self.beacon, self.study, self.number, self.role, SIZE
            )
        except RuleBroken:
            return False
        return True


FIELDS = {
    "beacon": st.binary(min_size=32, max_size=32),
    "study": st.binary(min_size=32, max_size=32),
    "number": st.integers(0, 2**32),
    "role": st.text("abcdefgh", min_size=1, max_size=10),
    "population": st.integers(36, 10_000),
    "excluded": st.frozensets(st.integers(0, 35), max_size=8),
}
imposed = st.builds(Imposed, **FIELDS)
places = st.integers(0, SIZE - 1)


@st.composite
def elsewhere(draw: st.DrawFn) -> tuple[Imposed, Imposed]:
    """Two that differ in one field."""
    here = draw(imposed)
    name = draw(st.sampled_from(sorted(FIELDS)))
    there = replace(here, **{name: draw(FIELDS[name])})
    assume(there != here)
    if name == "excluded":  # who was not drawn anyhow makes no difference
        assume((here.excluded ^ there.excluded) & {*here.actors, *there.actors})
    return here, there


@st.composite
def altered(draw: st.DrawFn) -> tuple[Imposed, tuple[int, ...]]:
    """A list with some of it exchanged, repeated, left out, put in or moved."""
    here = draw(imposed)
    actors = list(here.actors)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(actors) - 1)) if actors else 0
        match draw(st.sampled_from(["replace", "repeat", "drop", "add", "swap"])):
            case "replace" if actors:
                actors[at] = draw(st.integers(0, here.population))
            case "repeat" if actors:
                actors[at] = actors[0]
            case "drop" if actors:
                del actors[at]
            case "add":
                actors.insert(at, draw(st.integers(0, here.population)))
            case "swap" if actors:
                actors[0], actors[at] = actors[at], actors[0]
    assume(tuple(actors) != here.actors)
    return here, tuple(actors)


COUNTS = [100, pytest.param(100_000, marks=pytest.mark.full)]
SOUGHT = settings(
    max_examples=200, deadline=None, derandomize=True, phases=[Phase.generate], database=None
)


def replayed(pair: tuple[Imposed, Imposed]) -> None:
    here, there = pair
    assert here.accepts(here.actors)
    assert not there.accepts(here.actors)


def forged(pair: tuple[Imposed, tuple[int, ...]]) -> None:
    here, actors = pair
    assert not here.accepts(actors)


def with_a_proof(pair: tuple[Imposed, bytes]) -> None:
    """Of another kind of selection: what is not read is not let through either."""
    here, proof = pair
    assert not here.accepts(here.actors, proof)


ATTACKS = {
    replayed: elsewhere(),
    forged: altered(),
    with_a_proof: st.tuples(imposed, st.binary(min_size=1, max_size=8)),
}


def run(attack: Callable[..., None], configured: settings) -> None:
    configured(given(ATTACKS[attack])(attack))()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_lists_that_were_not_imposed(attack: Callable[..., None], count: int) -> None:
    run(attack, settings(max_examples=count, deadline=None))


@pytest.mark.parametrize(
    ("attack", "old", "new"),
    [
        (forged, "if tuple(indices) != imposed:", "if set(indices) != set(imposed):"),
        (forged, "if tuple(indices) != imposed:", "if set(indices) - set(imposed):"),
        (replayed, "_SELECTION, beacon, study,", '_SELECTION, beacon, b"",'),
        (replayed, "_SELECTION, beacon, study, round_bytes,", '_SELECTION, beacon, study, b"",'),
        (replayed, "round_bytes, role_bytes, draw", 'round_bytes, b"", draw'),
        (replayed, "_SELECTION, beacon, study,", '_SELECTION, b"", study,'),
        (replayed, "seen = set(exclude)", "seen: set[int] = set()"),
        (with_a_proof, "if actors.proof:", "if False:"),
    ],
)
def test_each_comparison_is_a_defence(monkeypatch: pytest.MonkeyPatch, attack, old, new) -> None:
    weaken(monkeypatch, module, (old, new))
    with pytest.raises(AssertionError):
        run(attack, SOUGHT)
