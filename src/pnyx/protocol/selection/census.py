"""Selection over the census: actor j is census[H(beacon ‖ study ‖ round ‖ role ‖ j) mod n].

Whoever holds the beacon and the census size recomputes the list with hashes alone, so a list
needs no proof, and nothing but the beacon decides: indices that were drawn before are skipped, the
others are uniform (256 hash bits modulo n favour no index by more than n·2⁻²⁵⁶). The sequence goes
on for ever: stand-ins are simply its next members, in order.

Every input is bound: a list for another beacon, study, round or role is another list. The attempt
is not, on purpose: a second attempt keeps the committee of the first, or a coalition could provoke
failures until it likes the draw.

The two other draws rank nodes by a hash that the nodes themselves cannot choose: contributors
among the joins that were fixed before the beacon opened, and the genesis committee, by the census
root. The authority could bias that one by trying censuses; docs/threat-model.md says so.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from heapq import nsmallest
from itertools import islice

from pnyx.errors import RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.selection.selector import ActorList

_SELECTION = "pnyx/selection/census"
_CONTRIBUTOR = "pnyx/selection/contributor"
_GROUP = "pnyx/selection/group"
_GENESIS = "pnyx/selection/genesis"


class CensusSelector:
    """The `census` back-end of `Selector`, for a census of `population` nodes."""

    def __init__(self, population: int, exclude: Set[int] = frozenset()) -> None:
        self._population = population
        self._exclude = frozenset(exclude)

    def select(
        self, beacon: bytes, study: bytes, round_number: int, role: str, count: int
    ) -> ActorList:
        """Return the `count` actors that this beacon imposes for the role."""
        return ActorList(
            select_census(beacon, study, round_number, role, count, self._population, self._exclude)
        )

    def verify(
        self,
        actors: ActorList,
        beacon: bytes,
        study: bytes,
        round_number: int,
        role: str,
        count: int,
    ) -> None:
        """Raise RuleBroken unless the actors are the ones that this beacon imposes."""
        verify_selection(
            actors.indices,
            beacon,
            study,
            round_number,
            role,
            count,
            self._population,
            self._exclude,
        )
        if actors.proof:
            raise RuleBroken("an actor list drawn from the census carries no proof")


def select_census(
    beacon: bytes,
    study: bytes,
    round_number: int,
    role: str,
    count: int,
    population: int,
    exclude: Set[int] = frozenset(),
) -> tuple[int, ...]:
    """Return `count` distinct census indices below `population`, in the order of the draw.

    exclude: indices that may not serve in this role, such as those of another role.
    """
    _check_count(count, population, exclude)
    return tuple(islice(_sequence(beacon, study, round_number, role, population, exclude), count))


def stand_ins(
    beacon: bytes,
    study: bytes,
    round_number: int,
    role: str,
    after: int,
    count: int,
    population: int,
    exclude: Set[int] = frozenset(),
) -> tuple[int, ...]:
    """Return the `count` indices that follow the first `after` of the draw, in order."""
    _check_count(after + count, population, exclude)
    drawn = _sequence(beacon, study, round_number, role, population, exclude)
    return tuple(islice(drawn, after, after + count))


def verify_selection(
    indices: tuple[int, ...],
    beacon: bytes,
    study: bytes,
    round_number: int,
    role: str,
    count: int,
    population: int,
    exclude: Set[int] = frozenset(),
) -> None:
    """Raise RuleBroken unless these are the imposed actors, all of them, in order."""
    imposed = select_census(beacon, study, round_number, role, count, population, exclude)
    if tuple(indices) != imposed:
        raise RuleBroken(f"the actor list for {role} is not the one that the beacon imposes")


def draw_contributors(beacon: bytes, joined: Iterable[bytes], count: int) -> tuple[bytes, ...]:
    """Return the `count` joined node ids with the lowest H(beacon ‖ id), lowest first.

    Fewer when fewer joined. A node that joined twice is drawn once.
    """
    return _lowest(_CONTRIBUTOR, beacon, joined, count)


def contributor_groups(beacon: bytes, drawn: Sequence[bytes], groups: int) -> tuple[int, ...]:
    """Return the group of each drawn node: its rank by H(beacon ‖ id) among them, mod groups.

    Independent of the order in which they were drawn. Sizes differ by one at most.
    """
    if groups < 1:
        raise ValueError("there is at least one group")
    ranked = _lowest(_GROUP, beacon, drawn, len(drawn))
    group_of = {node: rank % groups for rank, node in enumerate(ranked)}
    return tuple(group_of[node] for node in drawn)


def genesis_committee(census_root: bytes, ids: Iterable[bytes], size: int) -> tuple[bytes, ...]:
    """Return the `size` node ids with the lowest H(census root ‖ id): the first committee."""
    drawn = _lowest(_GENESIS, census_root, ids, size)
    if len(drawn) < size:
        raise ValueError(f"a committee of {size} needs as many distinct nodes, not {len(drawn)}")
    return drawn


def _sequence(
    beacon: bytes, study: bytes, round_number: int, role: str, population: int, exclude: Set[int]
) -> Iterator[int]:
    """Yield distinct indices without end of the search; callers take no more than there are."""
    round_bytes, role_bytes = round_number.to_bytes(8, "big"), role.encode()
    seen = set(exclude)
    draw = 0
    while True:
        hashed = digest(_SELECTION, beacon, study, round_bytes, role_bytes, draw.to_bytes(8, "big"))
        index = int.from_bytes(hashed, "big") % population
        if index not in seen:
            seen.add(index)
            yield index
        draw += 1


def _check_count(count: int, population: int, exclude: Set[int]) -> None:
    """Refuse draws that could never end."""
    eligible = population - sum(0 <= index < population for index in exclude)
    if not 0 <= count <= eligible:
        raise ValueError(f"cannot draw {count} distinct nodes from {eligible} eligible ones")


def _lowest(domain: str, seed: bytes, ids: Iterable[bytes], count: int) -> tuple[bytes, ...]:
    """Return the ids that hash lowest; ties, which would be collisions, fall to the lower id."""
    return tuple(nsmallest(count, set(ids), key=lambda each: (digest(domain, seed, each), each)))
