"""The one interface behind which actors are selected, whatever proves the choice.

The `census` back-end needs no proof: who holds the census recomputes the draw. The `region`
back-end carries a verifiable actor list. Callers select and verify; they never look inside.
"""

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

PROOF_BYTES_MAX = 1024 * 1024


class ActorList(msgspec.Struct, frozen=True, array_like=True):
    """Nodes selected for one role of one round, in the order of the draw."""

    indices: Annotated[
        tuple[Annotated[int, Meta(ge=0, lt=2**32)], ...], Meta(max_length=1_000_000)
    ]  # positions in the census that the round pins
    proof: Annotated[bytes, Meta(max_length=PROOF_BYTES_MAX)] = b""


class Selector(Protocol):
    """Selects actors by a beacon, and checks what others selected."""

    def select(
        self, beacon: bytes, study: bytes, round_number: int, role: str, count: int
    ) -> ActorList:
        """Return the `count` actors that this beacon imposes for the role."""
        ...

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
        ...
