"""Runs in processes of their own, in turns, so that a busy machine slows all ways alike."""

import multiprocessing
import os
from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

import msgspec

from benchmarks.side_by_side.additive import run_additive
from benchmarks.side_by_side.plain import MASKED_BITS, SHORT_BITS, run_plain
from benchmarks.side_by_side.protected import run_protected
from benchmarks.side_by_side.work import Spent, Work
from pnyx.protocol.selection import CommitteeSize, choose_committee

Way = Literal["protected", "plain", "plain, 2 bytes a value", "additive"]


class Case(msgspec.Struct, frozen=True):
    """One way to sum one work. servers: of additive shares."""

    way: Way
    work: Work
    nodes: int
    committee: CommitteeSize
    servers: int = 0

    @property
    def name(self) -> str:
        """As results list it."""
        return f"additive, {self.servers} servers" if self.servers else self.way

    def run(self) -> Spent:
        """Run it here."""
        match self.way:
            case "protected":
                return run_protected(self.work, self.nodes, self.committee)
            case "additive":
                return run_additive(self.work, self.nodes, self.committee, self.servers)
            case _:
                bits = MASKED_BITS if self.way == "plain" else SHORT_BITS
                return run_plain(self.work, self.nodes, self.committee, value_bits=bits)


def case(
    way: Way,
    work: Work,
    *,
    nodes: int = 0,
    committee: CommitteeSize | None = None,
    servers: int = 0,
) -> Case:
    """A case; without more, as many nodes as contributors, and the committee that they get."""
    count = nodes or work.contributors
    return Case(way, work, count, committee or choose_committee(count), servers)


def in_turns(cases: Sequence[Case], repeats: int) -> dict[str, Any]:
    """Medians of every case, and ratios to the one named "plain" if there is one."""
    found: dict[str, list[Spent]] = {each.name: [] for each in cases}
    loads: list[float] = []
    context = multiprocessing.get_context("spawn")
    for _ in range(repeats):
        for each in cases:
            loads.append(os.getloadavg()[0])
            with context.Pool(1) as pool:
                found[each.name].append(pool.apply(each.run))
    medians = {
        name: {
            field: round(median(getattr(spent, field) for spent in runs), 3)
            for field in Spent.__struct_fields__
        }
        for name, runs in found.items()
    }
    result: dict[str, Any] = {
        "a_round": medians,
        "repeats": repeats,
        "load_min_max": [round(min(loads), 1), round(max(loads), 1)],
    }
    if "plain" in medians:
        result["per_plain"] = {
            name: {field: round(each[field] / medians["plain"][field], 2) for field in each}
            for name, each in medians.items()
        }
    return result


def described(each: Case) -> dict[str, int]:
    """What a case is about."""
    return {
        "values": each.work.values,
        "contributors": each.work.contributors,
        "nodes": each.nodes,
        "members": each.committee.size,
        "corrupt_max": each.committee.corrupt_max,
        "rounds_in_a_run": each.work.rounds,
    }
