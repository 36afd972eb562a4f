"""What the roles of a round share: the node's keys, its outgoing effects and its durable slots."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import Effect, Forget, Persist
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Evidence, Indices, Proof, RoundMessage, Signed
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto, IntVector
from pnyx.protocol.round.plan import RoundPlan

SIGNED_BYTES_MAX = 8 * 1024 * 1024


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
        stored = self.restored.get(slot)
        if stored is None:
            signed = self.sign(body)
            self.persist(slot, codec.encode(signed))
            return signed
        return codec.decode(stored, Signed, bytes_max=SIGNED_BYTES_MAX)


class StudyView(Protocol):
    """What a committee asks of the study that its round belongs to."""

    def joined(self) -> Indices:
        """Census indices whose join this node knows, ascending."""
        ...

    def culprits(self) -> Indices:
        """Census indices that evidence held here convicts in this study.

        Those whose proof assumes nothing come first; both ascending.
        """
        ...

    def model(self) -> bytes | None:
        """The model of the previous record, once this node has it."""
        ...

    def next_model(self, total: IntVector, count: int) -> bytes | None:
        """The model that follows from a decoded sum; None when the sum means nothing."""
        ...
