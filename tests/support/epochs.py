"""A town through several epochs, whose authority signs one census after the other.

Everybody who is ever enrolled has a place in `census`, which serves as a directory; `genesis` and
the successors list some of them. Who is not in any census that it knows has no machine yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from tests.support.town import NETWORK, Town, ideal, manifest

from pnyx.primitives import codec
from pnyx.protocol.events import EpochOpened, TimerExpired
from pnyx.protocol.identity import (
    Census,
    CensusEntry,
    SignedCensus,
    make_census,
    verify_census,
)
from pnyx.protocol.machine import NodeMachine

AUTHORITY = ideal(b"Z" * 32)
LENGTH_S = 20.0


@dataclass
class EpochTown(Town):
    """first: places of those whom the first census lists; None for everybody."""

    first: Sequence[int] | None = None
    length_s: float = LENGTH_S
    valid_until: int = 10**9
    machine_type: type[NodeMachine] = NodeMachine

    def __post_init__(self) -> None:
        self.authority = self.make(b"Z" * 32)
        self.params = replace(self.params, epoch_length_s=self.length_s)
        self.signed: list[SignedCensus] = []
        self.files: list[list[bytes]] = [[] for _ in range(self.count)]  # censuses of its file
        super().__post_init__()
        for index in self.listed(0):
            self.join(index)

    def _machine(self, index: int) -> NodeMachine | None:
        if not self.files[index]:
            self.alive[index] = False
            return None
        return self.start(
            self.machine_type,
            index,
            self.genesis,
            censuses=self.files[index],
            authority_key=self.authority.public_key,
        )

    def sign(self, members: Sequence[int], number: int, previous: bytes, **terms) -> SignedCensus:
        """What the authority signs for these members."""
        pairs = [(self.census.node_ids[at], self.census.public_keys[at]) for at in members]
        return make_census(
            self.authority.sign,
            **{
                "network": NETWORK,
                "number": number,
                "previous": previous,
                "entries": [CensusEntry(*pair) for pair in pairs],
                "committee": self.size,
                "issued_at": number,
                "valid_until": self.valid_until,
                **terms,
            },
        )

    @property
    def genesis(self) -> Census:
        """The first census."""
        if not self.signed:
            everybody = range(self.count) if self.first is None else self.first
            self.signed.append(self.sign(everybody, 0, bytes(32)))
        key = self.authority.public_key
        return verify_census(
            self.signed[0], network=NETWORK, authority_key=key, crypto=self.authority, now=0
        )

    def listed(self, number: int) -> list[int]:
        """Places of those in a census."""
        if number == 0:
            _ = self.genesis
        return [self.census.index_of(entry.node_id) for entry in self.signed[number].entries]

    def publish(self, members: Sequence[int], **terms) -> SignedCensus:
        """The authority signs the next census; nobody has it yet."""
        self.signed.append(self.sign(members, len(self.signed), self.signed[-1].root, **terms))
        return self.signed[-1]

    def join(self, index: int, *signed: SignedCensus) -> None:
        """Start a node with a network file that holds the first census and these."""
        self.files[index] = [codec.encode(each) for each in (self.signed[0], *signed)]
        self.alive[index] = True
        self.machines[index] = self._machine(index)
        self.push(index, TimerExpired(), after=0.001 * index)

    # --- what tests ask -------------------------------------------------------------------------

    def living(self) -> list[NodeMachine]:
        """Machines that are up."""
        return [m for m, alive in zip(self.machines, self.alive, strict=True) if alive]

    def in_epoch(self, number: int) -> Callable[[], bool]:
        """Condition: every living node is in this epoch or a later one."""
        return lambda: all(number in machine.epoch_beacons for machine in self.living())

    def propose_now(self, proposer: int, **terms) -> bytes:
        """Propose a study in the newest epoch that the proposer knows."""
        epoch = max(self.machines[proposer].epoch_beacons, default=0)
        return self.propose(proposer, manifest(self.count, epoch=epoch, **terms))

    def opened(self, index: int) -> list[int]:
        """The epochs that a node told of, in order."""
        return [effect.epoch for effect in self.effects(EpochOpened, index)]
