"""Actors that regions draw: the list that a round takes its own from, and the one it fixes.

In a study that selects by regions, the committee of round r agrees, with its closed list, on the
actor list of round r + 1. Two regions have made it meanwhile (`selection.region`). So there is one
list for a round, whoever made others. The record carries it and commits to it with its joins. Which
of the listed nodes are the committee follows from the beacon, which opens later.

After a round whose attempts were both aborted there is no closed list: its own list serves again.
"""

from collections.abc import Sequence

import msgspec

from pnyx.primitives import codec
from pnyx.protocol.identity import Census
from pnyx.protocol.selection.region.messages import ACTOR_PROOF_BYTES_MAX, ActorProof, Draw
from pnyx.protocol.selection.region.ring import CensusCache
from pnyx.protocol.selection.region.rule import region_rule
from pnyx.protocol.selection.region.selector import RegionSelector, Verify, list_order
from pnyx.protocol.selection.security import CommitteeSize

ROLE = "actors"
_SPARE = 4  # a quarter more than a committee: stand-ins, and aggregators


def listed_count(size: CommitteeSize, nodes: int) -> int:
    """How many actors are drawn for a round."""
    return min(nodes, size.size + -(-size.size // _SPARE))


def selector_for(census: Census, epoch: int, epoch_beacon: bytes, verify: Verify) -> RegionSelector:
    """Region selection of an epoch, over everybody in the census."""
    return RegionSelector(
        network=census.network,
        epoch=epoch,
        census_root=census.root,
        cache=CensusCache(census.node_ids, census.public_keys, epoch_beacon),
        rule=region_rule(len(census), census.committee.corrupt_max),
        verify=verify,
    )


class NextActors(msgspec.Struct, frozen=True):
    """The list that a round's committee fixes for the next round."""

    selector: RegionSelector
    wanted: Draw  # its first attempt

    def read(self, encoded: bytes) -> ActorProof:
        """Check a list of any attempt. Raises ProtocolError."""
        wanted = self.wanted
        return self.selector.read(
            encoded,
            wanted.beacon,
            wanted.study,
            wanted.round_number,
            wanted.role,
            wanted.count,
        )


def read_actors(encoded: bytes) -> ActorProof:
    """Decode a list that was checked before. Raises MalformedMessage."""
    return codec.decode(encoded, ActorProof, bytes_max=ACTOR_PROOF_BYTES_MAX)


def in_order(
    census: Census,
    proof: ActorProof,
    beacon: bytes,
    round_number: int,
    role: str,
    excluded: Sequence[int],
) -> tuple[int, ...]:
    """Census indices of the listed in the order of a role; the excluded come last."""
    ids = list_order(beacon, proof.draw.study, round_number, role, proof.actors)
    indices = [index for node in ids if (index := census.index_of(node)) is not None]
    out = frozenset(excluded)
    return tuple(sorted(indices, key=out.__contains__))
