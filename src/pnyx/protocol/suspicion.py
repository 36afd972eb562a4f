"""Whom spoiled sums point at: suspicion over rounds, each of which draws its groups anew.

Where updates travel masked and are not verified, one contributor can share another key than it
masks with. Then the sum of its group comes to nothing (`round.groups.NO_SUM`), and nothing says who
it was: the group is left out whole, and never opened in parts. But the beacon of each round makes
other groups. Who spoils is in one that came to nothing every time; the others are there by chance.

Take a round of n contributors in opened groups, where s of these came to nothing, with M
contributors in them. At least s contributors spoiled. An innocent one has one of the places that
they left, so it is in such a group with a chance of (M - s) / (n - s) at most. That holds as long
as whoever spoils does so without regard to who is in its group, now or before. With p the mean of
this over the T rounds in which anything came to nothing and the contributor counted, it was in K
such groups or more with a chance of at most

    exp(-T·D),  D = a·ln(a/p) + (1 - a)·ln((1 - a)/(1 - p)),  a = K/T > p

(Hoeffding, JASA 58, 1963, theorem 1), which is p^T for K = T. Of many innocent contributors some
looks so with as many times that chance at most (Bonferroni).

**This is suspicion, and no proof.** Nobody is excluded by it, drawn less often or told off. Who
spoils only when a certain other one is in its group makes both stand out alike, and those who take
turns make none. Records alone decide it, so whoever verifies a study finds the same.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pnyx.protocol.messages import Indices, RecordBody
from pnyx.protocol.round.groups import NO_SUM

STANDS_OUT = 0.01  # chance of any: in one study of a hundred somebody is suspected for nothing


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """What the records of a study say of one contributor.

    node: its id. rounds: in which it counted. troubled: those of them in which a sum came to
    nothing; spoiled: that of its own group. chance: the most that an innocent contributor is in so
    many such groups with, or in more. chance_of_any: the same for any of all contributors.
    """

    node: bytes
    rounds: int
    troubled: int
    spoiled: int
    chance: float
    chance_of_any: float

    @property
    def stands_out(self) -> bool:
        """Whether chance hardly explains it, with so many contributors to look at."""
        return self.chance_of_any <= STANDS_OUT


def suspicions(
    rounds: Iterable[tuple[RecordBody, Mapping[int, Indices]]], nodes: Sequence[bytes]
) -> tuple[Suspicion, ...]:
    """What verified records say of every contributor; those whom chance explains least first.

    rounds: each record with the contributors that it counts by the group that they were in (census
    indices, `RoundPlan.opened`). nodes: the ids of the census.
    """
    counted: Counter[int] = Counter()
    spoiled: Counter[int] = Counter()
    chances: defaultdict[int, list[float]] = defaultdict(list)  # of the rounds with trouble
    for body, groups in rounds:
        counted.update(who for group in groups.values() for who in group)
        nothing = [groups[each.group] for each in body.sums if each.sum == NO_SUM]
        if not nothing:
            continue
        spoiled.update(who for group in nothing for who in group)
        innocent = sum(map(len, groups.values())) - len(nothing)
        chance = (sum(map(len, nothing)) - len(nothing)) / innocent
        for group in groups.values():
            for who in group:
                chances[who].append(chance)
    found = []
    for who, count in counted.items():
        chance = _chance_at_most(chances[who], spoiled[who])
        found.append(
            Suspicion(
                node=nodes[who],
                rounds=count,
                troubled=len(chances[who]),
                spoiled=spoiled[who],
                chance=chance,
                chance_of_any=min(1.0, len(counted) * chance),
            )
        )
    return tuple(sorted(found, key=lambda each: (each.chance, each.node)))


def _chance_at_most(chances: Sequence[float], at_least: int) -> float:
    """A bound on the chance that so many of these independent events happen."""
    if not chances or at_least <= sum(chances):
        return 1.0
    mean, share = sum(chances) / len(chances), at_least / len(chances)
    divergence = share * math.log(share / mean)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - mean))
    return math.exp(-len(chances) * divergence)
