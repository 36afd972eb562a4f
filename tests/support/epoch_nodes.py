"""Nodes that live through epochs over TLS: real keys, certificates and sockets, in one process.

Each has the machine of rounds and that of the ring, as `pnyx.node.daemon` drives them, less vault
and worker: its owner accepts every study and gives a unit vector, after `training_s`.
"""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace
from tests.support.town import SMALL, AddRule, unit
from tests.transport_kit import NOW
from tests.transport_kit import Town as Certified

from pnyx.node.crypto import NodeCrypto
from pnyx.node.overlay import OverlayShell
from pnyx.node.postman import Postman, unpack
from pnyx.node.transport import TransportLimits
from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.events import (
    AskConsent,
    ChunkSent,
    Compute,
    Computed,
    ConsentGiven,
    DebitRecorded,
    Effect,
    EpochOpened,
    Event,
    Forget,
    ForgetParcel,
    LearnAddress,
    MessageReceived,
    MessageRejected,
    ParcelRead,
    PeerReachable,
    PeerUnreachable,
    Persist,
    ReadParcel,
    RecordDebit,
    RegionListed,
    RegionWanted,
    SealParcel,
    Send,
    SendChunk,
    StartTraining,
    StoreChunk,
    StudyProposed,
    TimerExpired,
    TrainingFinished,
)
from pnyx.protocol.identity import (
    Census,
    CensusEntry,
    SignedCensus,
    make_census,
    network_id,
    verify_census,
)
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import Manifest, study_id
from pnyx.protocol.overlay.events import PeerKnown
from pnyx.protocol.overlay.machine import OverlayMachine
from pnyx.protocol.overlay.messages import is_overlay_message
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import chunk_message
from pnyx.simulator.parcel_store import MemoryParcelStore

LIMITS = TransportLimits(connect_s=20.0, handshake_s=20.0, request_s=20.0, close_s=2.0)


class EpochNode:
    """One node; `files` are the censuses that its network file holds, the first one first."""

    def __init__(self, town: "EpochNodes", index: int) -> None:
        self.town, self.index = town, index
        self.host = "127.0.0.1"
        person = town.certified.person()
        self.identity = town.certified.identity(person)
        self.node_id = self.identity.node_id
        self.crypto = NodeCrypto(SigningKey(person.seed))
        self.disk: dict[str, bytes] = {}
        self.parcels = MemoryParcelStore()
        self.starts = 0
        self.up = False
        self.listed: list[RegionListed] = []  # what its ring told of its surroundings
        self.rules: list[str] = []
        self.refused: list[bytes] = []  # peers that it did not let in

    async def start(self, files: Sequence[SignedCensus]) -> None:
        loop = asyncio.get_running_loop()
        town = self.town
        self.loop = loop
        self.transport = town.certified.transport(
            self.identity, host=self.host, limits=LIMITS, admit=self.admits
        )
        self.postman = Postman(self.transport, self.on_message, self.on_reachable, lambda _: None)
        self._timer: asyncio.TimerHandle | None = None
        await self.transport.start(self.serve)
        contacts = [node for node in town.nodes if node.up]
        for contact in contacts:
            self.transport.learn_address(contact.node_id, contact.host, contact.transport.port)
        self.starts += 1
        terms = {
            "node_id": self.node_id,
            "crypto": self.crypto,
            "seed": secrets.token_bytes(32),
            "address": (self.host, self.transport.port),
            "address_sequence": self.starts,
            "contacts": [contact.node_id for contact in contacts],
            "restored": dict(self.disk),
            "now": loop.time(),
        }
        self.machine = NodeMachine(
            census=town.first,
            censuses=[codec.encode(each) for each in files],
            authority_key=town.authority.public_key,
            rule=AddRule(),
            params=town.params,
            serve=True,
            unix_offset_s=-loop.time(),
            **terms,
        )
        ring = OverlayMachine(
            network=town.first.network,
            check=self.machine.epochs.check_in_force,
            params=town.overlay_params,
            **terms,
        )
        self.ring = OverlayShell(
            ring,
            post=self.postman.post,
            learn_address=self.transport.learn_address,
            persist=self.disk.__setitem__,
            observer=lambda notice: None,
        )
        self.up = True
        self.deliver(TimerExpired())

    def admits(self, peer: bytes) -> bool:
        admitted = self.machine.epochs.admits(peer)
        if not admitted:
            self.refused.append(peer)
        return admitted

    async def serve(self, peer: bytes, body: bytes) -> bytes:
        for message in unpack(body):
            self.on_message(peer, message)
        return self.postman.collect(peer)

    def on_message(self, peer: bytes, message: bytes) -> None:
        if is_overlay_message(message):
            self.ring.deliver(MessageReceived(peer, message))
        else:
            self.deliver(MessageReceived(peer, message))

    def on_reachable(self, peer: bytes, reachable: bool) -> None:
        if self.up:
            self.deliver(PeerReachable(peer) if reachable else PeerUnreachable(peer))
            if not reachable:
                self.ring.deliver(PeerUnreachable(peer))

    def deliver(self, event: Event) -> None:
        """Give the machine an event, and carry out what it asks for."""
        if not self.up:
            return
        for effect in self.machine.handle(event, self.loop.time()):
            self._carry_out(effect)
        if self._timer is not None:
            self._timer.cancel()
        due = self.machine.next_deadline()
        self._timer = self.loop.call_at(due, lambda: self.deliver(TimerExpired()))

    def _later(self, event: Event, after_s: float = 0.0) -> None:
        self.loop.call_later(after_s, self.deliver, event)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self.postman.post(effect.peer, effect.payload)
            case Persist():
                self.disk[effect.key] = effect.value
            case Forget():
                self.disk = {k: v for k, v in self.disk.items() if not k.startswith(effect.prefix)}
            case LearnAddress():
                self.transport.learn_address(effect.peer, effect.host, effect.port)
                self.ring.deliver(PeerKnown(effect.peer))
            case AskConsent():
                self._later(ConsentGiven(effect.study))
            case StartTraining():
                vector = unit(self.index, len(self.town.nodes))
                done = TrainingFinished(effect.study, effect.round_number, vector, effect.attempt)
                self._later(done, self.town.training_s)
            case RecordDebit():
                self._later(DebitRecorded(effect.context))
            case EpochOpened() if self.node_id in self.machine.epochs.census:
                self.ring.enter(effect.epoch, effect.beacon)
            case RegionWanted():
                self.town.tasks.append(self.loop.create_task(self._list(effect)))
            case Compute():
                self._later(Computed(effect.context, effect.name, effect.work()))
            case MessageRejected():
                self.rules.append(effect.rule)
            case _:
                self._carry_out_parcel(effect)

    async def _list(self, wanted: RegionWanted) -> None:
        listed = await self.ring.list_region(wanted)
        if listed is not None:
            self.listed.append(listed)
            self.deliver(listed)

    def _carry_out_parcel(self, effect: Effect) -> None:
        match effect:
            case StoreChunk():
                self.parcels.write(effect.parcel, effect.index, effect.data)
            case SealParcel():
                self.parcels.seal(effect.parcel, effect.length)
            case ForgetParcel():
                self.parcels.remove(effect.parcel)
            case ReadParcel():
                data = b"".join(self.parcels.chunks(effect.parcel))
                self._later(ParcelRead(effect.context, effect.parcel, data))
            case SendChunk():
                data = self.parcels.read(effect.parcel, effect.index)
                if data is not None:
                    self.postman.post(effect.peer, chunk_message(effect, data))
                self._later(ChunkSent(effect.peer, effect.parcel, effect.index))

    async def stop(self) -> None:
        self.up = False
        if self._timer is not None:
            self._timer.cancel()
        self.ring.close()
        await self.postman.stop()
        await self.transport.stop()


class EpochNodes:
    """A network whose authority publishes one census after the other."""

    def __init__(
        self, directory: Path, count: int, first: Sequence[int], *, epoch_s: float
    ) -> None:
        self.certified = Certified(directory)
        self.authority = NodeCrypto(SigningKey(self.certified.seed))
        self.network = network_id(self.authority.public_key, "test town")
        self.params = replace(ProtocolParams(), epoch_length_s=epoch_s)
        self.overlay_params = OverlayParams()
        self.training_s = 0.0
        self.tasks: list[asyncio.Task[None]] = []
        self.nodes = [EpochNode(self, index) for index in range(count)]
        self.signed: list[SignedCensus] = []
        self.publish(first)
        self.first: Census = verify_census(
            self.signed[0],
            network=self.network,
            authority_key=self.authority.public_key,
            crypto=self.authority,
            now=NOW,
        )

    def publish(self, members: Sequence[int]) -> SignedCensus:
        """The authority signs the next census of these nodes; nobody has it yet."""
        entries = [
            CensusEntry(self.nodes[at].node_id, self.nodes[at].crypto.public_key) for at in members
        ]
        self.signed.append(
            make_census(
                self.authority.sign,
                network=self.network,
                number=len(self.signed),
                previous=self.signed[-1].root if self.signed else bytes(32),
                entries=sorted(entries, key=lambda entry: entry.node_id),
                committee=SMALL,
                issued_at=NOW,
                valid_until=2**39,
            )
        )
        return self.signed[-1]

    def propose(self, proposer: int, asked: Manifest) -> bytes:
        """Let a node propose a study in its newest epoch; returns the study's id."""
        node = self.nodes[proposer]
        number = node.machine.epochs.chain.number
        body = codec.encode(
            replace(asked, network=self.network, proposer=node.node_id, epoch=number)
        )
        node.deliver(StudyProposed(body, bytes(asked.model_bytes)))
        return study_id(body)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.gather(*(node.stop() for node in self.nodes if node.up))
