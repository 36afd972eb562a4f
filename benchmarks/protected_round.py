"""Rounds of 50 contributors, protected against unprotected over the same transport.

`benchmarks.side_by_side` tells what runs. Without training; connections are open before. The
committee of 24 tolerates 4 corrupt members. With `long` also for a million values.

What both sides have alike: nodes, TLS connections, postman and framing, parcels with their hashes
and proofs, sizes of vectors (27 bits a value; one way has 16), aggregators that copy vectors to
each other, a model that every node computes or pulls and stores durably. What the plain side lacks
is more than protection: who contributes is known beforehand, nobody agrees on who did, no record
names the sum, nothing is gossiped, no ring runs beside, and one who is silent stops it. So the
ratio is to the barest sum over this transport, and overstates what protection alone costs.
`protected_steps` tells the parts of a protected round.
"""

from typing import Any

from benchmarks.side_by_side.series import case, described, in_turns
from benchmarks.side_by_side.work import Work
from pnyx.protocol.selection import committee_size

CONTRIBUTORS, NODES = 50, 60
COMMITTEE = committee_size(24, 4, 2, 4)
SHORT, LONG = 100_000, 1_000_000


def run(*, long: bool = False) -> dict[str, Any]:
    """Medians and ratios by length."""
    return {
        str(values): _measured(Work(values, CONTRIBUTORS, rounds), repeats)
        for values, rounds, repeats in ((SHORT, 2, 3), (LONG, 1, 1))
        if long or values == SHORT
    }


def _measured(work: Work, repeats: int) -> dict[str, Any]:
    ways = ("plain", "protected", "plain, 2 bytes a value")
    cases = [case(way, work, nodes=NODES, committee=COMMITTEE) for way in ways]
    return {**described(cases[0]), **in_turns(cases, repeats)}
