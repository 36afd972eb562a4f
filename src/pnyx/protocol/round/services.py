"""What the roles of a round share: the node's keys, its outgoing effects and its durable slots."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.chunks import Shape
from pnyx.protocol.events import Effect, Forget, Persist
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Answered,
    Answers,
    Evidence,
    Indices,
    Proof,
    RoundMessage,
    Signed,
    VerifyResponse,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto, IntVector
from pnyx.protocol.round.plan import RoundPlan

T = TypeVar("T", Signed, Answered)
SIGNED_BYTES_MAX = 8 * 1024 * 1024

ParcelTold = Callable[[bytes], None]
LengthTold = Callable[[Shape], None]


def _ignore(shape: Shape) -> None:
    del shape


class Mailbox(Protocol):
    """Where a role's messages go; the machine delivers those to itself without the network."""

    def post(self, node_index: int, plan: RoundPlan, message: RoundMessage) -> None:
        """Send to the node with this index in the plan's census."""
        ...

    def emit(self, effect: Effect) -> None:
        """Ask the shell for anything else."""
        ...

    def accuse(self, plan: RoundPlan, evidence: Evidence) -> None:
        """Verify evidence against a node; then keep it, tell it, and spread it."""
        ...

    def keep_parcel(self, plan: RoundPlan, chunks: Iterable[bytes], readers: Indices) -> bytes:
        """Store a parcel, and let nodes of the census pull it."""
        ...

    def fetch_parcel(
        self,
        plan: RoundPlan,
        name: bytes,
        length: int,
        sources: Indices,
        done: ParcelTold,
        failed: LengthTold,
    ) -> None:
        """Pull a parcel from nodes of the census."""
        ...

    def grant_parcel(self, plan: RoundPlan, name: bytes, readers: Indices) -> None:
        """Let more nodes of the census pull a parcel."""
        ...

    def forget_parcel(self, plan: RoundPlan, name: bytes) -> None:
        """Remove a parcel that is not needed any more."""
        ...

    def make_room(self, length: int) -> None:
        """Have room for a parcel, or raise RuleBroken."""
        ...


class RoundServices:
    """Services bound to one plan.

    `restored` and `restored_secrets` hold what the node persisted for this attempt before it
    stopped, without the prefix.
    """

    def __init__(
        self,
        *,
        plan: RoundPlan,
        node_id: bytes,
        crypto: Crypto,
        sampler: Sampler,
        params: ProtocolParams,
        mailbox: Mailbox,
        restored: Mapping[str, bytes],
        restored_secrets: Mapping[str, bytes],
    ) -> None:
        self.plan = plan
        self.node_id = node_id
        self.crypto = crypto
        self.sampler = sampler
        self.params = params
        self._mailbox = mailbox
        self.restored = {**restored, **restored_secrets}
        self._secret_names = set(restored_secrets)

    @property
    def index(self) -> int:
        """Census index of this node."""
        index = self.plan.census.index_of(self.node_id)
        assert index is not None, "who takes part is in the census"
        return index

    def send(self, node_index: int, message: RoundMessage) -> None:
        """Send a message to a node of the census."""
        self._mailbox.post(node_index, self.plan, message)

    def send_member(self, member: int, message: RoundMessage) -> None:
        """Send a message to a member of the committee."""
        self._mailbox.post(self.plan.committee[member], self.plan, message)

    def send_members(self, message: RoundMessage) -> None:
        """Send a message to every member, this node included."""
        for index in self.plan.committee:
            self._mailbox.post(index, self.plan, message)

    def emit(self, effect: Effect) -> None:
        """Pass an effect on to the shell."""
        self._mailbox.emit(effect)

    def accuse(self, culprit: int, proof: Proof) -> None:
        """Prove that the node with this census index broke a rule in this attempt."""
        plan = self.plan
        evidence = Evidence(plan.study, plan.round_number, plan.attempt, culprit, proof)
        self._mailbox.accuse(plan, evidence)

    def keep_parcel(self, chunks: Iterable[bytes], readers: Indices = ()) -> bytes:
        """Store large bytes of this node's own durably, before whatever is sent next.

        chunks: as `parcels.chunks_of` cuts them. readers: census indices of the nodes that may pull
        them. Returns the parcel's name, its hash. Kept until the round's record is in. To keep the
        same bytes again, after a restart, costs a look at them. Raises RuleBroken without room.
        """
        return self._mailbox.keep_parcel(self.plan, chunks, readers)

    def fetch_parcel(
        self,
        name: bytes,
        length: int,
        sources: Indices,
        done: ParcelTold,
        failed: LengthTold = _ignore,
    ) -> None:
        """Pull a parcel from the nodes with these census indices, the first ones first.

        done: told the name once all is verified and durable, within this call if it is already;
        failed: told its shape if the parcel of this name has another length. Neither while no
        source answers: call again to name more sources. After a restart, fetch again. Raises
        RuleBroken without room.
        """
        self._mailbox.fetch_parcel(self.plan, name, length, sources, done, failed)

    def grant_parcel(self, name: bytes, readers: Indices) -> None:
        """Let more nodes pull a parcel that is kept, or fetched, in this attempt."""
        self._mailbox.grant_parcel(self.plan, name, readers)

    def forget_parcel(self, name: bytes) -> None:
        """Remove a parcel before the round's record is in, or stop fetching it."""
        self._mailbox.forget_parcel(self.plan, name)

    def make_room(self, length: int) -> None:
        """Have room for a parcel that the shell is to make. Raises RuleBroken if there is none."""
        self._mailbox.make_room(length)

    def persist(self, name: str, value: bytes) -> None:
        """Store durably before whatever is sent next; kept until the round's record is in."""
        self.restored[name] = value
        self._mailbox.emit(Persist(f"{self.plan.scope}/{name}", value))

    def persist_secret(self, name: str, value: bytes) -> None:
        """Store durably, apart from the rest, until `erase_secrets`."""
        self.restored[name] = value
        self._secret_names.add(name)
        self._mailbox.emit(Persist(f"{self.plan.secret_scope}/{name}", value))

    def erase_secrets(self) -> None:
        """Erase round key and shares beyond recovery; what was signed stays."""
        for name in self._secret_names:
            self.restored.pop(name, None)
        self._secret_names.clear()
        self._mailbox.emit(Forget(f"{self.plan.secret_scope}/"))

    def sign(self, body: msgspec.Struct) -> Signed:
        """Sign a body with the node's long-term key."""
        return sign_body(self.crypto, self.plan.census.network, self.node_id, body)

    def sign_once(self, slot: str, body: msgspec.Struct) -> Signed:
        """Sign the first body for a slot, durably; later calls return the same signed bytes.

        An honest node never signs two values for one slot, whatever happens to its process.
        """
        return self._once(slot, Signed, lambda: self.sign(body))

    def answer_once(self, response: VerifyResponse, answers: Answers) -> Answered:
        """As `sign_once`; the answers are kept with the response, which is worth nothing alone.

        So they stay the same even if the member could answer for more contributions by then.
        """
        return self._once("response", Answered, lambda: Answered(self.sign(response), answers))

    def _once(self, slot: str, kind: type[T], make: Callable[[], T]) -> T:
        stored = self.restored.get(slot)
        if stored is None:
            made = make()
            self.persist(slot, codec.encode(made))
            return made
        return codec.decode(stored, kind, bytes_max=SIGNED_BYTES_MAX)


class StudyView(Protocol):
    """What a committee asks of the study that its round belongs to."""

    def joined(self) -> Indices:
        """Census indices whose join this node knows, ascending."""
        ...

    def actors(self) -> bytes:
        """The actor list of the next round that this node knows; empty when none, or not needed."""
        ...

    def next_census(self) -> bytes | None:
        """Root of the census that follows the plan's, where the round makes an epoch's beacon."""
        ...

    def culprits(self) -> Indices:
        """Census indices that evidence held here convicts in this study.

        Those whose proof assumes nothing come first; both ascending.
        """
        ...

    def holds_model(self) -> bool:
        """Whether this node has the model of the previous record."""
        ...

    def next_model(self, model: bytes, total: IntVector, count: int) -> bytes | None:
        """The model that follows from sums, see `ModelRule`; None when they mean nothing.

        Depends on its arguments and on the plan alone: it may be called beside everything else.
        """
        ...
