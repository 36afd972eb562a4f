"""The work of other systems done by ours, additive shares beside it, and how costs grow.

Figures of others are theirs, as published or measured for this project's design, and are named as
such; what runs here is ours: masked rounds, plain sums, additive shares, over one transport.
"""

from typing import Any

from benchmarks.side_by_side.series import case, described, in_turns
from benchmarks.side_by_side.work import Work
from pnyx.protocol.selection import CommitteeSize, committee_size

SERVERS = (3, 5, 10)
PEERS = 8
COMMITTEES = (committee_size(8, 1, 1, 0), committee_size(16, 3, 1, 2), committee_size(24, 4, 2, 4))
PUBLISHED = {
    "hivemind, 8 peers, 10^6 values, unprotected": {"wall_s": 0.87, "cpu_s": 1.7},
    "Flower SecAgg+, 50 clients, 10^5 values": {"client_ms": 71},
    "Flower SecAgg+, 50 clients, 10^6 values": {"client_ms": 155},
    "Flower SecAgg+, unmasking": {"seconds": [1.9, 4.3]},
    "Flower SecAgg+, a value": {"bytes": 8},
    "Flower SecAgg+, a round against its unprotected one": {"ratio": 13},
}


def run(*, long: bool = False) -> dict[str, Any]:
    """Eight peers beside additive shares; with `long`, a million values and growth."""
    found = {"published": PUBLISHED, "eight_peers": _eight_peers(1_000_000 if long else 100_000)}
    return found | {"growth": _growth()} if long else found


def _eight_peers(values: int) -> dict[str, Any]:
    """All eight contribute and hear the result; servers of additive shares are among them."""
    work = Work(values, PEERS, 2)
    cases = [case("plain", work), case("protected", work)]
    cases += [case("additive", work, servers=k, nodes=max(k, PEERS)) for k in SERVERS]
    return {**described(cases[0]), **in_turns(cases, 1)}


def _growth() -> dict[str, list[dict[str, Any]]]:
    """In values, in contributors, in members of the committee; the others stay."""
    usual = COMMITTEES[0]
    return {
        "values": [_point(values, 12, usual) for values in (10_000, 100_000, 1_000_000)],
        "contributors": [_point(100_000, count, usual) for count in (6, 12, 24, 48)],
        "members": [_point(100_000, 24, committee) for committee in COMMITTEES],
    }


def _point(values: int, contributors: int, committee: CommitteeSize) -> dict[str, Any]:
    work = Work(values, contributors)
    nodes = max(contributors, committee.size + 1)
    cases = [case(way, work, nodes=nodes, committee=committee) for way in ("plain", "protected")]
    cases += [
        case("additive", work, nodes=max(k, nodes), committee=committee, servers=k) for k in SERVERS
    ]
    return {**described(cases[0]), **in_turns(cases, 1)}
