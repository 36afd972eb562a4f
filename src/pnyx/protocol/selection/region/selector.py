"""Checking what regions made: 1 + k_r signatures, and hashes for everything else.

Whoever knows the certified nodes (a census, or certificates checked once an epoch) verifies an
actor list by the setter's signature and those of k_r other nodes around it. SEP2P verifies k_r
signatures and k_r certificates. The one more is what makes alpha hold over the whole network: a
coalition needs a *corrupt* centre with k_r others around it, of which there are at most C to try.
R1's random value is checked likewise by the setter's region, an honest node of which stands behind
the list; so nobody else needs it.
"""

from collections.abc import Callable, Collection
from itertools import pairwise

import msgspec

from pnyx.errors import InvalidCertificate, InvalidSignature, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.selection.region.messages import (
    ACTOR_PROOF_BYTES_MAX,
    ActorProof,
    Draw,
    RandomProof,
    Region,
    Witnesses,
)
from pnyx.protocol.selection.region.ring import NodeCache, Place, distance, reach
from pnyx.protocol.selection.region.rule import ATTEMPTS_MAX, RegionRule
from pnyx.protocol.selection.region.statements import (
    NO_VALUE,
    actors_statement,
    call_statement,
    draw_context,
    ordered,
    point_of,
    random_statement,
)
from pnyx.protocol.selection.selector import ActorList

Verify = Callable[[bytes, bytes, bytes], bool]
Finished = Callable[[Draw], ActorProof | None]


def _none(draw: Draw) -> None:
    del draw


class RegionSelector:
    """The `region` back-end of `Selector`, in one epoch of one network.

    finished: where lists that were made are kept, by their draw. A region takes messages and time
    to make one; until then there is nothing to select.
    """

    def __init__(
        self,
        *,
        network: bytes,
        epoch: int,
        census_root: bytes,
        cache: NodeCache,
        rule: RegionRule,
        verify: Verify,
        finished: Finished = _none,
    ) -> None:
        self.network = network
        self.epoch = epoch
        self.census_root = census_root
        self.cache = cache
        self.rule = rule
        self._verify = verify
        self._finished = finished

    def without(self, excluded: Collection[int]) -> "RegionSelector":
        """The same selection among those that no record excludes.

        excluded: census indices, of a record that everybody has: so all select alike. They own no
        point, vouch for nothing and are no candidates. k_r and the regions of those who vouch stay:
        leaving nodes out puts no corrupt one in. R3 grows, as it must hold enough of the others.
        """
        if not excluded:
            return self
        left = self.rule.nodes - len(excluded)
        return RegionSelector(
            network=self.network,
            epoch=self.epoch,
            census_root=self.census_root,
            cache=self.cache.without(excluded),
            rule=msgspec.structs.replace(self.rule, nodes=left),
            verify=self._verify,
            finished=self._finished,
        )

    def called_by(self, caller: Place) -> tuple[Place, ...]:
        """The legitimate nodes of a call, nearest first: those around the caller, without it."""
        rule = self.rule
        around = self.cache.near(caller.position, rule.region_share, rule.legitimate_max + 1)
        return tuple(place for place in around if place != caller)[: rule.legitimate_max]

    def draw(
        self, beacon: bytes, study: bytes, round_number: int, role: str, count: int, attempt: int
    ) -> Draw:
        """What one attempt at a list is for; it counts in this epoch only."""
        return Draw(
            network=self.network,
            epoch=self.epoch,
            census_root=self.census_root,
            study=study,
            round_number=round_number,
            attempt=attempt,
            role=role,
            count=count,
            beacon=beacon,
            expires=self.epoch,
        )

    def select(
        self, beacon: bytes, study: bytes, round_number: int, role: str, count: int
    ) -> ActorList:
        """Return the list of the first attempt that came to one. Raises RuleBroken when none did.

        Raises ValueError when there are fewer nodes than that.
        """
        if not 0 <= count <= self.rule.nodes:
            raise ValueError(f"cannot draw {count} distinct nodes from {self.rule.nodes}")
        for attempt in range(1, ATTEMPTS_MAX + 1):
            made = self._finished(self.draw(beacon, study, round_number, role, count, attempt))
            if made is not None:
                return ActorList(self.indices(made), codec.encode(made))
        raise RuleBroken(f"no region has made the actor list for {role} yet")

    def verify(
        self,
        actors: ActorList,
        beacon: bytes,
        study: bytes,
        round_number: int,
        role: str,
        count: int,
    ) -> None:
        """Raise ProtocolError unless regions imposed these actors for exactly this."""
        proof = self.read(actors.proof, beacon, study, round_number, role, count)
        if self.indices(proof) != actors.indices:
            raise RuleBroken(f"the actor list for {role} is not the one that its proof shows")

    def read(
        self, encoded: bytes, beacon: bytes, study: bytes, round_number: int, role: str, count: int
    ) -> ActorProof:
        """Decode and check a list that was made for this. Raises ProtocolError."""
        proof = codec.decode(encoded, ActorProof, bytes_max=ACTOR_PROOF_BYTES_MAX)
        first = self.draw(beacon, study, round_number, role, count, 1)
        if msgspec.structs.replace(proof.draw, attempt=1) != first:
            raise WrongContext("an actor list was drawn for something else")
        self.check_list(proof)
        return proof

    def check_list(self, proof: ActorProof) -> None:
        """Check a list as such, and that it counts in this epoch. Raises ProtocolError."""
        draw, context = proof.draw, self._check_draw(proof.draw)
        setter = self._caller(proof.setter, point_of(context, proof.value))
        if proof.value == NO_VALUE:
            raise RuleBroken("an actor list without a random value")
        if len(proof.actors) != draw.count or list(proof.actors) != ordered(
            proof.order, set(proof.actors)
        ):
            raise RuleBroken("an actor list is too short or long, or out of order")
        centre = point_of(context, proof.value)
        furthest = reach(self.rule.candidate_share(draw.count))
        for node in proof.actors:
            if distance(self._place(node).position, centre) > furthest:
                raise RuleBroken("an actor list names a node of another region")
        made = actors_statement(context, proof.value, proof.setter, proof.order, proof.actors)
        called = call_statement(context, Region.LIST, proof.setter, proof.value)
        self._check_witnesses(setter, called, proof.call, made, proof.witnesses)

    def check_random(self, proof: RandomProof) -> None:
        """Check R1's random value. Raises ProtocolError."""
        context = self._check_draw(proof.draw)
        trigger = self._caller(proof.trigger, point_of(context))
        if proof.value == NO_VALUE:
            raise RuleBroken("a random value is none")
        made = random_statement(context, proof.trigger, proof.value)
        called = call_statement(context, Region.VALUE, proof.trigger, NO_VALUE)
        self._check_witnesses(trigger, called, proof.call, made, proof.witnesses)

    def indices(self, proof: ActorProof) -> tuple[int, ...]:
        """Census indices of the listed actors, in order."""
        return tuple(self._place(node).number for node in proof.actors)

    def _check_draw(self, draw: Draw) -> bytes:
        """Refuse draws of other networks, of other epochs, and of attempts that are not made."""
        here = (self.network, self.epoch, self.census_root)
        if (draw.network, draw.epoch, draw.census_root) != here or draw.expires < self.epoch:
            raise WrongContext("a draw belongs to another network or epoch, or has expired")
        if draw.attempt > ATTEMPTS_MAX:
            raise RuleBroken(f"a draw has at most {ATTEMPTS_MAX} attempts")
        return draw_context(draw)

    def _caller(self, node_id: bytes, point: int) -> Place:
        caller = self._place(node_id)
        if self.cache.owner(point) != caller:
            raise RuleBroken("a draw was called by a node that its point does not impose")
        return caller

    def _place(self, node_id: bytes) -> Place:
        found = self.cache.find(node_id)
        if found is None:
            raise InvalidCertificate(f"node {node_id.hex()[:12]} is not known here")
        return found

    def _check_witnesses(
        self, centre: Place, called: bytes, call: bytes, made: bytes, witnesses: Witnesses
    ) -> None:
        """Exactly k_r nodes of the region, none of them its centre; cheap checks come first."""
        if len(witnesses) != self.rule.signers:
            raise RuleBroken(f"a region vouches by {self.rule.signers} signatures, no other number")
        if any(a.node >= b.node for a, b in pairwise(witnesses)):
            raise RuleBroken("a region names its nodes out of order, or one of them twice")
        furthest = reach(self.rule.region_share)
        places = [self._place(each.node) for each in witnesses]
        for place in places:
            if place == centre or distance(place.position, centre.position) > furthest:
                raise RuleBroken("a draw is vouched for by its caller, or from another region")
        if not self._verify(centre.public_key, called, call):
            raise InvalidSignature("a caller did not sign its call")
        for place, each in zip(places, witnesses, strict=True):
            if not self._verify(place.public_key, made, each.signature):
                raise InvalidSignature("a node of a region did not sign what it made")


def list_order(
    beacon: bytes, study: bytes, round_number: int, role: str, actors: tuple[bytes, ...]
) -> list[bytes]:
    """A list in the order in which a round takes actors of a role from it, stand-ins included.

    By the round's beacon, which opens after the list is made: nobody knows a committee before.
    """
    number = round_number.to_bytes(8, "big")

    def rank(node: bytes) -> bytes:
        return digest("pnyx/region/role", beacon, study, number, role.encode(), node)

    return sorted(actors, key=rank)
