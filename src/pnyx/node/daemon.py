"""A running node: the protocol's machine driven by real time, sockets, vault and worker.

The daemon hands events to the machine and carries out the effects in order. Whatever the machine
asks to persist is durable before the messages after it leave. Nothing here decides anything about
the protocol.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from pnyx.config import NodeConfig
from pnyx.errors import (
    ConfigError,
    PnyxError,
    ProtocolError,
    TransportError,
    VaultError,
)
from pnyx.learning.worker import TrainingWorker
from pnyx.node.clock import wall_clock
from pnyx.node.control import NO_RING, RingStatus
from pnyx.node.crypto import NodeCrypto
from pnyx.node.decisions import Decisions
from pnyx.node.keystore import Keys, NodeLayout
from pnyx.node.learning import (
    LearningRule,
)
from pnyx.node.network import Network
from pnyx.node.overlay import OverlayShell
from pnyx.node.parcel_sender import ParcelSender
from pnyx.node.parcel_store import FileParcelStore
from pnyx.node.postman import Postman, unpack
from pnyx.node.study_tasks import StudyTasks
from pnyx.node.trainer import Trainer
from pnyx.node.transport.base import Transport, TransportLimits
from pnyx.node.transport.identity import TlsIdentity
from pnyx.node.transport.tls import TlsTransport
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.events import (
    AskConsent,
    AttemptAborted,
    Compute,
    Computed,
    ContributionAcknowledged,
    ContributionCounted,
    DrawStalled,
    Effect,
    EpochOpened,
    Event,
    Forget,
    ForgetParcel,
    LearnAddress,
    MessageReceived,
    NothingOpened,
    Notice,
    ParcelRead,
    PeerReachable,
    PeerUnreachable,
    Persist,
    ReadParcel,
    RecordDebit,
    RegionWanted,
    SealParcel,
    Send,
    SendChunk,
    StartTraining,
    StoreChunk,
    SummingFailed,
    SumVectors,
    TimerExpired,
)
from pnyx.protocol.evidence.docket import Conviction
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import NO_MODEL
from pnyx.protocol.overlay.events import PeerKnown
from pnyx.protocol.overlay.machine import OverlayMachine
from pnyx.protocol.overlay.messages import is_overlay_message
from pnyx.protocol.overlay.params import DEFAULT_OVERLAY, OverlayParams
from pnyx.protocol.params import DEFAULT_PARAMS, ProtocolParams
from pnyx.protocol.parcels import held_parcels, without_parcels
from pnyx.protocol.study import StudyState
from pnyx.protocol.vector_sums import check_summed, store_sum, summed_chunks
from pnyx.sandbox import Confinement
from pnyx.vault import (
    RoundStore,
    Vault,
)

GOODBYE_S = 0.3  # for what waits to be sent when the node stops
_TURNS_TO_HEAR = 2  # of the loop: sockets are read in one, what was read is handled in the next

Observer = Callable[[Notice], None]


class Machine(Protocol):
    """What a daemon drives, and what it tells the owner about. `NodeMachine` is one."""

    @property
    def studies(self) -> Mapping[bytes, StudyState]:
        """Studies known, by id."""
        ...

    @property
    def epochs(self) -> EpochKeeper:
        """The network's epochs and censuses."""
        ...

    @property
    def convictions(self) -> Sequence[Conviction]:
        """Nodes against which evidence is held."""
        ...

    def stalled(self, study: bytes) -> Sequence[DrawStalled]:
        """The last attempts at actor lists of a study that this node waited for in vain."""
        ...

    @property
    def convicted(self) -> Mapping[bytes, bool]:
        """Node ids that evidence convicts -> whether everywhere; if not, in one study."""
        ...

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Process an event; return what is to be done, in order."""
        ...

    def next_deadline(self) -> float | None:
        """When to wake it with TimerExpired."""
        ...


MachineFactory = Callable[..., Machine]  # takes what NodeMachine takes


class Daemon:
    """One node; `run` returns after `stop`."""

    def __init__(
        self,
        *,
        layout: NodeLayout,
        keys: Keys,
        config: NodeConfig,
        network: Network,
        worker: TrainingWorker,
        observer: Observer,
        params: ProtocolParams = DEFAULT_PARAMS,
        machine_factory: MachineFactory = NodeMachine,
        overlay_params: OverlayParams = DEFAULT_OVERLAY,
    ) -> None:
        self._overlay_params = overlay_params
        self._overlay: OverlayShell | None = None
        self._config = config
        self._network = network
        self._observer = observer
        self._params = params
        self._machine_factory = machine_factory
        self._trainer = Trainer(worker, observer)
        signing_key = SigningKey(keys.signing_seed)
        self._crypto = NodeCrypto(signing_key)
        self.node_id = self._identify(layout, keys)
        self.vault = Vault.open(
            layout.vault, keys.vault_key, epsilon_total_max=config.limits.epsilon_total_max
        )
        self.decisions = Decisions(self.vault, config.consent, self.deliver)
        self.tasks = StudyTasks(
            node_id=self.node_id,
            vault=self.vault,
            trainer=self._trainer,
            sandbox=config.node.sandbox,
            model_of=self.model_of,
            deliver=self.deliver,
            observer=observer,
            fail=self._fail,
        )
        self._rounds = RoundStore(layout.rounds, keys.rounds_key)
        self._parcels = FileParcelStore(layout.parcels)
        self._machine: Machine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._stopping = asyncio.Event()
        self._away: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._postman: Postman | None = None
        self._sender: ParcelSender | None = None
        self._pending: list[Effect] = []
        self._failure: Exception | None = None
        self._committed: asyncio.Future[None] | None = None

    def _identify(self, layout: NodeLayout, keys: Keys) -> bytes:
        try:
            certificate = layout.certificate.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"This node has no certificate at {layout.certificate}; "
                "ask your network's authority to issue one."
            ) from error
        identity = TlsIdentity(
            keys.signing_seed,
            certificate,
            self._network.authority,
            layout.root,
            now=wall_clock(),
        )
        if not self._network.lists(identity.node_id):
            raise ConfigError(
                "This node is not in the network's census; "
                "ask the authority for a newer network file."
            )
        self._transport: Transport = TlsTransport(
            identity,
            host=self._config.listen.host,
            port=self._config.listen.port,
            limits=TransportLimits(connections_max=self._config.limits.connections_max),
            admit=self._admits,
        )
        return identity.node_id

    def _admits(self, peer: bytes) -> bool:
        """Whether a node may connect: the census in force lists it, or a later one."""
        machine = self._machine
        return self._network.lists(peer) if machine is None else machine.epochs.admits(peer)

    # --- life -----------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The protocol's machine, once the node runs."""
        if self._machine is None:
            raise RuntimeError("the node is not running yet")
        return self._machine

    @property
    def network(self) -> Network:
        """The network file that this node runs by."""
        return self._network

    @property
    def transport(self) -> Transport:
        """The node's transport."""
        return self._transport

    @property
    def overlay(self) -> OverlayShell | None:
        """The node's part in the ring, once it runs."""
        return self._overlay

    @property
    def ring(self) -> RingStatus:
        """How the node stands in the ring."""
        return NO_RING if self._overlay is None else self._overlay.status()

    @property
    def confinement(self) -> Confinement | None:
        """How the training worker is confined, once it has told."""
        return self._trainer.confinement

    async def start(self) -> None:
        """Open the port and take up the protocol. Raises TransportError or VaultError."""
        restored = self._rounds.load()
        restored = without_parcels(restored, self._parcels.retain(held_parcels(restored)))
        self._postman = Postman(
            self._transport,
            self._on_message,
            self._on_delivered,
            self._observer,
            self._params.message_bytes_max,
        )
        self._sender = ParcelSender(
            self._parcels, self._postman.post, self.soon, self._observer, self._fail
        )
        await self._transport.start(self._serve, lambda peer: self._on_reachable(peer, False))
        loop = asyncio.get_running_loop()
        host = self._config.advertised_host
        port = self._config.advertise.port or self._transport.port
        contacts = [c for c in self._network.contacts if c.node_id != self.node_id]
        for contact in contacts:
            self._transport.learn_address(contact.node_id, contact.host, contact.port)
        sequence = time.time_ns()
        self._machine = self._machine_factory(
            node_id=self.node_id,
            census=self._network.first,
            censuses=self._network.signed,
            authority_key=self._network.authority_key,
            unix_offset_s=wall_clock() - loop.time(),
            crypto=self._crypto,
            rule=LearningRule(),
            params=self._params,
            seed=secrets.token_bytes(32),
            serve=self._config.node.serve_as_actor,
            address=(host, port),
            address_sequence=sequence,
            contacts=[contact.node_id for contact in contacts],
            restored=restored,
            now=loop.time(),
        )
        self._overlay = self._make_overlay((host, port), sequence, restored)
        self._trainer.start()
        self.deliver(TimerExpired())

    def _make_overlay(
        self, address: tuple[str, int], sequence: int, restored: Mapping[str, bytes]
    ) -> OverlayShell:
        """The node's part in the ring; it joins when the beacon of the epoch is known."""
        network, crypto = self._network.network, self._crypto
        machine = OverlayMachine(
            node_id=self.node_id,
            network=network,
            crypto=crypto,
            check=self.machine.epochs.check_in_force,
            address=address,
            address_sequence=sequence,
            contacts=[contact.node_id for contact in self._network.contacts],
            restored=restored,
            params=self._overlay_params,
            seed=secrets.token_bytes(32),
            now=asyncio.get_running_loop().time(),
        )
        assert self._postman is not None
        return OverlayShell(
            machine,
            post=self._postman.post,
            learn_address=self._transport.learn_address,
            persist=self._persist_contacts,
            observer=self._observer,
        )

    def _persist_contacts(self, key: str, value: bytes) -> None:
        try:
            self._rounds.apply([(key, value)])
        except VaultError as error:
            self._fail(error)

    async def run(self, on_started: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start, tell `on_started`, and serve until `stop` is called.

        Raises whatever made it impossible to go on, such as a VaultError when the disk is full: a
        node that cannot keep its promises durable stops before it makes any.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        try:
            await self.start()
            if on_started is not None:
                await on_started()
            await self._stopping.wait()
        finally:
            await self.close()
        if self._failure is not None:
            raise self._failure

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error that nothing in the node handles ends it."""
        loop.default_exception_handler(context)
        error = context.get("exception")
        if isinstance(error, Exception):
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End the node at once: nothing that waits to be sent leaves any more."""
        if self._failure is None:
            self._failure = error
            if self._postman is not None:
                self._postman.silence()
            self.stop()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    async def close(self) -> None:
        """Close everything in order; what was promised is already durable."""
        if self._timer is not None:
            self._timer.cancel()
        if self._overlay is not None:
            self._overlay.leave()
        if self._postman is not None:
            await self._postman.drain(GOODBYE_S)
            await self._postman.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.stop()
        await self._trainer.stop()
        self._rounds.close()
        self.vault.close()

    # --- events in ------------------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Hand an event to the machine; what it asks is carried out with the next commit.

        Events that arrive together share one flush to disk: nothing that any of them sends leaves
        before everything that they persist is durable.
        """
        if self._failure is not None:
            return  # what the machine believes to be durable may not be: say nothing more
        loop = asyncio.get_running_loop()
        self._pending += self.machine.handle(event, loop.time())
        if self._committed is None:
            self._committed = loop.create_future()
            loop.call_soon(self._commit)

    def _commit(self) -> None:
        committed, self._committed = self._committed, None
        effects, self._pending = self._pending, []
        try:
            self._carry_out(effects)
        except PnyxError as error:
            self._fail(error)
        self._set_timer()
        if committed is not None and not committed.done():
            committed.set_result(None)

    async def settled(self) -> None:
        """Wait until everything that events have asked for is carried out.

        Raises PnyxError when the node ends instead: what was asked is not durable.
        """
        while self._committed is not None:
            await asyncio.shield(self._committed)
        if self._failure is not None:
            raise PnyxError(
                "The node had to stop before this was done; its log says why, so start it again "
                "and repeat the command."
            )

    def _set_timer(self) -> None:
        due = self.machine.next_deadline()
        if due is None or due == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._spawn(self._expire())

    async def _expire(self) -> None:
        """Tell the machine that time is up, once it has heard what has arrived.

        A node that was given no processor for a while wakes up late, with messages in its sockets.
        Loops run timers first; then it would ask again for what lies in front of it.
        """
        for _ in range(_TURNS_TO_HEAR):
            await asyncio.sleep(0)
        self._timer_at = float("inf")
        self.deliver(TimerExpired())

    async def _serve(self, peer: bytes, body: bytes) -> bytes:
        """Answer a peer's request with what waits for it afterwards."""
        if self._machine is None or self._postman is None:
            raise TransportError("This node is still starting; ask again.")
        with self._postman.answering(peer):
            for message in unpack(body):
                self._on_message(peer, message)
            if self._committed is not None:
                await asyncio.shield(self._committed)
            return self._postman.collect(peer)

    def _on_message(self, peer: bytes, message: bytes) -> None:
        self._on_reachable(peer, True)
        if is_overlay_message(message):
            if self._overlay is not None and self._admits(peer):
                self._overlay.deliver(MessageReceived(peer, message))
            return
        self.deliver(MessageReceived(peer, message))

    def _on_delivered(self, peer: bytes, delivered: bool) -> None:
        """A batch of messages has arrived at a peer, or cannot be delivered.

        The overlay counts failures, so it hears of each. Of connections that end it hears nothing:
        most of them end because they were idle, and it would make new ones at once.
        """
        if not delivered and self._overlay is not None:
            self._overlay.deliver(PeerUnreachable(peer))
        self._on_reachable(peer, delivered)

    def _on_reachable(self, peer: bytes, reachable: bool) -> None:
        if self._machine is None or reachable == (peer not in self._away):
            return
        if reachable:
            self._away.discard(peer)
            self.deliver(PeerReachable(peer))
        else:
            self._away.add(peer)
            self.deliver(PeerUnreachable(peer))

    # --- effects out ----------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        """Make durable what is to be durable, then execute the rest in order.

        A parcel is sealed before anything that the machine persisted after it is durable, and
        removed after everything before.
        """
        puts: list[tuple[str, bytes]] = []
        forgets: list[str] = []
        rest: list[Effect] = []
        for effect in effects:
            match effect:
                case Persist():
                    if effect.key.startswith(tuple(forgets)):
                        self._flush(puts, forgets)
                    puts.append((effect.key, effect.value))
                case Forget():
                    forgets.append(effect.prefix)
                case StoreChunk():
                    self._parcels.write(effect.parcel, effect.index, effect.data)
                case SealParcel():
                    self._parcels.seal(effect.parcel, effect.length)
                case ForgetParcel():
                    self._flush(puts, forgets)
                    self._parcels.remove(effect.parcel)
                case _:
                    rest.append(effect)
        self._flush(puts, forgets)
        for effect in rest:
            self._carry_out_one(effect)

    def _flush(self, puts: list[tuple[str, bytes]], forgets: list[str]) -> None:
        if puts or forgets:
            self._rounds.apply(puts, forgets)
            puts.clear()
            forgets.clear()

    def _carry_out_one(self, effect: Effect) -> None:
        match effect:
            case Send():
                if self._postman is not None:
                    self._postman.post(effect.peer, effect.payload)
            case ReadParcel() | SumVectors() | SendChunk():
                self._carry_out_parcel(effect)
            case AskConsent():
                self._soon(lambda: self.decisions.ask(effect))
            case StartTraining() | Compute() | RegionWanted():
                self._spawn(self._work(effect))
            case RecordDebit():
                self._soon(lambda: self.decisions.debit(effect))
            case LearnAddress():
                self._learn_address(effect)
            case ContributionAcknowledged():
                self.decisions.acknowledge(effect)
                self._observer(effect)
            case ContributionCounted():
                self.decisions.count(effect)
                self._observer(effect)
            case AttemptAborted() | NothingOpened():
                self.decisions.give_back(effect)
                self._observer(effect)
            case Notice():
                self._note(effect)
            case _:
                raise TypeError(f"unknown effect {type(effect).__name__}")

    def _learn_address(self, effect: LearnAddress) -> None:
        self._transport.learn_address(effect.peer, effect.host, effect.port)
        if self._overlay is not None:
            self._overlay.deliver(PeerKnown(effect.peer))

    def _note(self, notice: Notice) -> None:
        """Pass a notice on; with the beacon of an epoch there is a ring to join."""
        if isinstance(notice, EpochOpened) and self._overlay is not None:
            for peer in self._transport.peers:
                if not self._admits(peer):  # it left the census
                    self._transport.disconnect(peer)
            if self.node_id in self.machine.epochs.census:
                self._overlay.enter(notice.epoch, notice.beacon)
        self._observer(notice)

    def _carry_out_parcel(self, effect: ReadParcel | SumVectors | SendChunk) -> None:
        match effect:
            case ReadParcel():
                self._soon(lambda: self._read_parcel(effect))
            case SumVectors():
                self._spawn(self._sum_vectors(effect))
            case SendChunk():
                if self._sender is not None:
                    self._sender.send(effect)

    def _read_parcel(self, effect: ReadParcel) -> None:
        if self._parcels.holds(effect.parcel):  # else its round has ended meanwhile
            data = b"".join(self._parcels.chunks(effect.parcel))
            self.deliver(ParcelRead(effect.context, effect.parcel, data))

    async def _work(self, effect: StartTraining | Compute | RegionWanted) -> None:
        """Do what takes a while, and answer it."""
        match effect:
            case StartTraining():
                await self.tasks.train(effect)
            case Compute():
                await self._compute(effect)
            case RegionWanted():
                await self._list_region(effect)

    async def _compute(self, effect: Compute) -> None:
        """Carry out long work beside the event loop, which goes on meanwhile."""
        result = await asyncio.to_thread(effect.work)
        self.deliver(Computed(effect.context, effect.name, result))

    async def _list_region(self, effect: RegionWanted) -> None:
        """Ask the overlay who is around; without a place on its ring there is no answer."""
        listed = None if self._overlay is None else await self._overlay.list_region(effect)
        if listed is not None:
            self.deliver(listed)

    def model_of(self, name: bytes) -> bytes | None:
        """The bytes of a model, if this node holds it.

        Raises VaultError, and the node stops: it says that it has the model, and has not.
        """
        if name == NO_MODEL:
            return b""
        if not self._parcels.holds(name):
            return None
        try:
            return b"".join(self._parcels.chunks(name))
        except VaultError as error:
            self._fail(error)
            raise

    async def _sum_vectors(self, effect: SumVectors) -> None:
        """Add up masked vectors beside the event loop; what is written is written on it."""
        try:
            chunks = await asyncio.to_thread(summed_chunks, self._parcels, effect)
        except PnyxError:
            if all(map(self._parcels.holds, effect.parcels)):
                raise
            # The round has ended meanwhile, and took them away, or an owner withdrew hers.
            self.deliver(SummingFailed(effect.context, effect.name))
            return
        try:
            earlier = await asyncio.to_thread(check_summed, effect, chunks)
        except ProtocolError:  # it is not signed: members ask again, here or elsewhere
            self.deliver(SummingFailed(effect.context, effect.name))
            return
        if self._parcels.has_room(sum(map(len, chunks))):
            self.deliver(store_sum(self._parcels, effect, chunks, earlier))
        else:  # nobody relies on a sum that is not made: the node goes on
            self.deliver(SummingFailed(effect.context, effect.name))

    def soon(self, event: Event) -> None:
        """Deliver an event after the current one is finished."""
        self._soon(lambda: self.deliver(event))

    def _soon(self, act: Callable[[], None]) -> None:
        """Answer an effect after the current event is finished."""
        asyncio.get_running_loop().call_soon(act)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer an effect in a task of its own, which ends with the node."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._fail(error)
