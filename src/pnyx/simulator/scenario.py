"""A run of the protocol from one seed: who takes part, and which faults fall.

`random_scenario(seed)` mixes faults within what the protocol promises to survive: as many corrupt
nodes as one committee tolerates, kills anywhere, loss, duplication, reordering, partitions and cut
links that heal, copies of messages that come long after their round, clocks that are an hour off.
Every round of such a scenario must end. `outlasting_scenario(seed)` adds to it what an attempt does
not survive: divisions that outlast the patience of its committee, and members that leave for good
in the middle. `simulation` drives both.
"""

from typing import Literal

import msgspec

from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.selection import CommitteeSize, choose_committee
from pnyx.simulator.behaviours import BEHAVIOURS
from pnyx.simulator.network import Cut, Link, Partition
from pnyx.simulator.population import Clock, Owner


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """A process is killed at a time, or after its n-th effect, and comes back later or never."""

    node: int
    at_s: float = 0.0
    after_effects: int | None = None
    away_s: float | None = 1.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that determines a run."""

    seed: int
    nodes: int = 10
    rounds: int = 1
    cohort_min: int = 3  # of each group
    groups: int = 1
    tolerated: int = 0  # groups that the rule for the model withstands
    vector_length: int = 0  # at least two entries a slot
    slots: int = 0  # of the vector that shows who was counted; 0: one for each node
    target: int = 0  # contributors at which a round closes; 0: two thirds of the nodes
    drawn: int = 0  # contributors drawn; 0: five sixths of the nodes
    committee: CommitteeSize | None = None  # None: what the security of a network asks for
    masks: bool = False  # whether the model's part of it travels masked
    verified: bool = False  # whether it does, and its norm is verified
    selection: Literal["census", "region"] = "census"  # how the study's rounds get their actors
    join_window_s: float = 3.0
    deadline_s: float = 10.0
    link: Link = Link()
    partitions: tuple[Partition, ...] = ()
    cuts: tuple[Cut, ...] = ()
    crashes: tuple[Crash, ...] = ()
    corrupt: tuple[tuple[int, str], ...] = ()  # node -> key of behaviours.BEHAVIOURS
    owners: tuple[tuple[int, Owner], ...] = ()  # those that are not the default
    clocks: tuple[tuple[int, Clock], ...] = ()  # those that are not right
    addresses: bool = True  # whether nodes tell each other their addresses
    deaths_noticed: bool = True  # whether everybody may notice that a process died
    studies: int = 1
    proposed_s: float = 1.0
    limit_s: float = 300.0  # by when every live honest node must have finished
    lingers_s: float = 0.0  # afterwards, for messages that are still on their way
    params: ProtocolParams = ProtocolParams()


def random_scenario(seed: int, *, short: bool = False) -> Scenario:
    """Draw a scenario whose rounds must all end.

    short: among the smallest networks and mostly of one round, to run thousands of them.
    """
    draw = Sampler(digest("pnyx/simulator/scenario", seed.to_bytes(8, "big")), "scenario")

    def chance(percent: int) -> bool:
        return draw.below(100) < percent

    def between(low: float, high: float) -> float:
        return low + (high - low) * draw.below(10_000) / 10_000

    nodes = 6 + draw.below(3) if short else 8 + draw.below(7)
    size = choose_committee(nodes)
    order = draw.sample(nodes, nodes)
    corrupt = order[: size.corrupt_max] if chance(60) else []
    kinds = sorted(BEHAVIOURS)
    honest = order[len(corrupt) :]
    link = Link(
        latency_s=between(0.005, 0.08),
        latency_tail_s=between(0.0, 0.06),
        loss=between(0.0, 0.2) if chance(40) else 0.0,
        duplication=between(0.0, 0.2) if chance(30) else 0.0,
        reordering=chance(40),
        hint=between(0.0, 1.0),
    )
    crashes = tuple(
        Crash(
            node=honest[draw.below(len(honest))],
            at_s=between(0.2, 8.0),
            after_effects=draw.below(600) if chance(50) else None,
            away_s=between(0.1, 6.0),
        )
        for _ in range(draw.below(4) if chance(60) else 0)
    )
    partitions = (
        (Partition(tuple(order[: 1 + draw.below(nodes - 1)]), between(0, 5), between(5, 12)),)
        if chance(25)
        else ()
    )
    ends = [draw.sample(nodes, 2) for _ in range(draw.below(4) if chance(25) else 0)]
    cuts = tuple(Cut(pair[0], pair[1], between(0, 4), between(4, 12)) for pair in ends)
    owners = [(node, Owner(consents=False)) for node in honest[:1] if chance(50)]
    if chance(20):
        owners.append((honest[1], Owner(withdraws_s=between(2.0, 7.0))))
    if chance(20):
        owners.append((honest[2], Owner(training_s=between(0.5, 12.0))))
    if chance(10):
        owners.append((honest[3], Owner(training_fails=True)))
    if chance(10):
        owners.append((honest[4], Owner(rounds_paid_max=1)))
    rounds = 1 + (draw.below(8) // 7 if short else draw.below(2))
    kinds_of = tuple((node, kinds[draw.below(len(kinds))]) for node in corrupt)
    late = chance(20)
    link = msgspec.structs.replace(
        link, late=between(0.0, 0.1) if late else 0.0, late_s=between(1.0, 20.0)
    )
    clocks = tuple(
        (node, Clock(between(-3600.0, 3600.0), between(0.95, 1.05)))
        for node in (honest if chance(20) else [])
    )
    return Scenario(
        seed=seed,
        nodes=nodes,
        rounds=rounds,
        link=link,
        partitions=partitions,
        cuts=cuts,
        crashes=crashes,
        corrupt=kinds_of,
        owners=tuple(owners),
        clocks=clocks,
        lingers_s=link.late_s if late else 0.0,
    )


def outlasting_scenario(seed: int) -> Scenario:
    """Draw a scenario in which many attempts must be aborted; its rounds must all end, too.

    Patience is short in it, so that a run stays short. The divisions follow each other closely
    enough to catch first and second attempts, as training takes a while; those who leave for good
    are the planned absences.
    """
    base = random_scenario(seed)
    draw = Sampler(digest("pnyx/simulator/outlasting", seed.to_bytes(8, "big")), "scenario")
    size = choose_committee(base.nodes)

    def between(low: float, high: float) -> float:
        return low + (high - low) * draw.below(10_000) / 10_000

    patience_s = 12.0
    divisions: list[Partition] = []
    training_s = between(2.0, 5.0)
    begins = between(5.2, 5.2 + training_s)
    for _ in range(1 + draw.below(3)):
        ends = begins + patience_s + base.deadline_s + between(5.0, 15.0)
        for _ in range(2):  # into four parts, so that none holds a quorum
            side = draw.sample(base.nodes, base.nodes // 2)
            divisions.append(Partition(tuple(side), begins, ends))
        begins = ends + between(2.0, 8.0)
    slow = {node: Owner(training_s=training_s) for node in range(base.nodes)}
    slow |= {n: msgspec.structs.replace(o, training_s=training_s) for n, o in base.owners}
    corrupt = {node for node, _ in base.corrupt}
    leavers = [node for node in draw.sample(base.nodes, base.nodes) if node not in corrupt]
    leaving = tuple(
        Crash(node=node, at_s=between(4.8, begins), away_s=None)
        for node in leavers[: draw.below(size.absent_max + 1)]
    )
    stays = tuple(crash for crash in base.crashes if crash.node not in {c.node for c in leaving})
    return msgspec.structs.replace(
        base,
        partitions=base.partitions + tuple(divisions),
        crashes=stays + leaving,
        owners=tuple(slow.items()),
        limit_s=900.0,
        params=ProtocolParams(
            attempt_timeout_s=patience_s, view_timeout_s=2.0, view_timeout_s_max=8.0
        ),
    )
