"""Actor lists of regions, verified from docs/protocol.md, section 25, by nothing but that text."""

from itertools import pairwise
from math import exp, fsum, lgamma, log, log1p
from typing import Any

import msgspec

from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import verify as signature_valid

RING = 2**256
ALPHA, SPARSE = 1e-6, 1e-3
ATTEMPTS = 16


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def chance(trials: int, share: float, counts: range) -> float:
    """P[Bin(trials, share) is one of the counts]."""
    if share >= 1.0:
        return float(trials in counts)
    terms = [
        lgamma(trials + 1)
        - lgamma(count + 1)
        - lgamma(trials - count + 1)
        + count * log(share)
        + (trials - count) * log1p(-share)
        for count in counts
        if count <= trials
    ]
    return fsum(exp(term) for term in terms)


def bisect(holds: Any, low: float, high: float) -> float:
    """The largest share for which something holds that holds at `low` and not at `high`."""
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def signers_and_share(nodes: int, corrupt_max: int) -> tuple[int, float]:
    """k_r, and the share of the ring that R1 and R2 have."""
    corrupted = max(-(-nodes // 20), corrupt_max)
    others = corrupted - 1
    for signers in range(2, nodes):
        share = 1.0
        if signers <= others:
            reaches = range(signers, min(others, signers + 400) + 1)
            share = bisect(
                lambda r, t=reaches: chance(others, r, t) <= ALPHA / corrupted, 1e-15, 1.0
            )
        if chance(nodes - 1, share, range(signers)) <= SPARSE:
            return signers, share
    raise ValueError("no rule for this network")


def within(share: float) -> int:
    above, below = share.as_integer_ratio()
    return RING * above // (2 * below)


def apart(one: int, other: int) -> int:
    return min((one - other) % RING, (other - one) % RING)


class Regions:
    """The ring of an epoch: census index -> position."""

    def __init__(self, census: Any, epoch_beacon: bytes, epoch: int = 0) -> None:
        self.census, self.epoch = census, epoch
        self.places = [number(digest("pnyx/position", n, epoch_beacon)) for n in census.ids]
        self.signers, self.share = signers_and_share(len(census.ids), census.corrupt_max)

    def count(self, nodes: int) -> int:
        """How many actors are listed, of so many nodes that no record excludes."""
        return min(nodes, self.census.size + -(-self.census.size // 4))

    def owner(self, point: int, excluded: tuple[int, ...]) -> bytes:
        ahead = [
            ((place - point) % RING, node)
            for at, (place, node) in enumerate(zip(self.places, self.census.ids, strict=True))
            if at not in excluded
        ]
        return min(ahead)[1]

    def candidates_share(self, nodes: int) -> float:
        count = self.count(nodes)
        if 4 * count >= nodes:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            few = chance(nodes, middle, range(count)) <= SPARSE
            low, high = (low, middle) if few else (middle, high)
        return high

    def broken(
        self,
        names: Any,
        study: bytes,
        round_number: int,
        beacon: bytes,
        excluded: tuple[int, ...] = (),
    ) -> list[str]:
        """The rules that a list breaks. excluded: by the record before, with no part in it."""
        draw, census = names.draw, self.census
        ids = census.ids
        known = set(ids) - {ids[index] for index in excluded}
        nodes, count = len(known), self.count(len(known))
        if not known.issuperset(names.actors) or not known.issuperset(
            each.node for each in names.witnesses
        ):
            return ["names a stranger"]
        plain = [
            140, draw.network, draw.epoch, draw.census_root, draw.study, draw.round,
            draw.attempt, draw.role, draw.count, draw.beacon, draw.expires,
        ]  # fmt: skip
        context = digest("pnyx/region/draw", msgspec.msgpack.encode(plain))
        point = number(digest("pnyx/region/setter", context, names.value))
        if names.setter not in known:
            return ["called by a stranger"]
        centre = self.places[ids.index(names.setter)]
        parts = (b"\x01", names.setter, names.value)
        called = b"pnyx/region/" + digest("pnyx/region/call", context, *parts)
        listed = digest("pnyx/region/names", *names.actors)
        statement = digest(
            "pnyx/region/actors",
            context,
            b"\x01",
            names.value,
            names.setter,
            names.order,
            listed,
        )
        made = b"pnyx/region/" + statement
        order = sorted(names.actors, key=lambda n: digest("pnyx/region/order", names.order, n))
        places = [self.places[ids.index(node)] for node in names.actors]
        voices = [each.node for each in names.witnesses]
        wanted = (
            census.network,
            self.epoch,
            census.root,
            study,
            round_number,
            "actors",
            count,
        )
        drawn = (draw.network, draw.epoch, draw.census_root, draw.study, draw.round)
        near = [apart(self.places[ids.index(node)], centre) for node in voices]
        rules = {
            "drawn for something else": (*drawn, draw.role, draw.count) == wanted
            and (draw.beacon, draw.expires) == (beacon, self.epoch),
            "an attempt that is not made": draw.attempt <= ATTEMPTS,
            "no random value": names.value != bytes(32),
            "called by another node": self.owner(point, excluded) == names.setter,
            "number of actors": len(names.actors) == len(set(names.actors)) == count,
            "order of actors": order == names.actors,
            "actors of another region": all(
                apart(place, point) <= within(self.candidates_share(nodes)) for place in places
            ),
            "number of witnesses": len(voices) == self.signers,
            "order of witnesses": all(a < b for a, b in pairwise(voices)),
            "its caller vouches": names.setter not in voices,
            "witnesses of another region": all(far <= within(self.share) for far in near),
            "signature of the call": signature_valid(
                census.keys[ids.index(names.setter)], called, names.call
            ),
            "signature of a witness": all(
                signature_valid(census.keys[ids.index(each.node)], made, each.signature)
                for each in names.witnesses
            ),
        }
        return [rule for rule, holds in rules.items() if not holds]

    def in_order(
        self, names: Any, beacon: bytes, round_number: int, role: str, excluded: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Census indices of the listed as a role takes them; the excluded come last."""
        at = round_number.to_bytes(8, "big")

        def rank(node: bytes) -> bytes:
            return digest("pnyx/region/role", beacon, names.draw.study, at, role.encode(), node)

        known = [node for node in sorted(names.actors, key=rank) if node in self.census.ids]
        indices = [self.census.ids.index(node) for node in known]
        return tuple(
            [i for i in indices if i not in excluded] + [i for i in indices if i in excluded]
        )
