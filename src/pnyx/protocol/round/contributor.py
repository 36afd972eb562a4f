"""A contributor's part in one attempt of one round: train, seal, send, collect receipts.

    TRAINING -> WAITING (for the open certificate) -> DEBITING -> SENDING -> ACKNOWLEDGED
                                                          `-> UPLOADING -´

In masked mode the update goes to the aggregators (UPLOADING) before the shares, which are those of
the key that masks it, go to the members: they take none without receipts of most aggregators. It is
masked beside everything else (`Compute`), while the stage is DEBITING.

The consent check and the ledger debit are durable before the first byte leaves. Secrets are fresh
for the attempt; after a restart the *same* contribution is sent again, never a second one. With
receipts of a quorum the contribution cannot be lost, and the node may go offline. Envelopes of
members that give no receipt are handed to the aggregators, which keep them.
"""

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from pnyx.errors import InvalidSignature, MalformedMessage
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_commit
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode
from pnyx.protocol.aggregation.masked_verification.proof import prove_masked
from pnyx.protocol.aggregation.masked_verification.sketch import offset_of
from pnyx.protocol.aggregation.payloads import payload_bytes
from pnyx.protocol.aggregation.verification import prove, within
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import (
    Compute,
    ContributionAcknowledged,
    ContributionSent,
    PublishedSum,
    RecordDebit,
    StartTraining,
)
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import (
    Contribution,
    ContributionHeader,
    Decision,
    Dispute,
    Instance,
    MaskedVector,
    OpenedAnswer,
    Pull,
    Receipt,
    Relay,
    RoundKey,
    RoundMessage,
    SealedShare,
    Signed,
    SketchProof,
    Step,
    VectorOffer,
    VectorReceipt,
)
from pnyx.protocol.noise import clipped, noised, noised_update
from pnyx.protocol.ports import IntVector
from pnyx.protocol.privacy import phase_rho
from pnyx.protocol.round.dispute import shown_answers, wrong_answers
from pnyx.protocol.round.holdings import receipt_statement, share_info
from pnyx.protocol.round.plan import RoundPlan, check_decided
from pnyx.protocol.round.relay import relays
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import InputReader, contribution_context, header_hash
from pnyx.protocol.round.vectors import (
    check_receipt,
    parcel_named,
    receipts_wanted,
    vector_code,
)

_STORED_BYTES_MAX = 64 * 1024 * 1024
_PATIENCE_GROWS_TO = 8  # times the first wait for receipts
_MADE, _MADE_AGAIN = b"contribution", b"contribution, made again"


class Stage(Enum):
    """How far this node has come with its contribution."""

    TRAINING = auto()
    WAITING = auto()
    DEBITING = auto()
    UPLOADING = auto()
    SENDING = auto()
    ACKNOWLEDGED = auto()
    WITHHELD = auto()


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """What lets the same contribution be sent again after a restart."""

    seed: bytes
    vector: bytes
    opened: bytes
    update: bytes  # what travels masked


class _Made(NamedTuple):
    """A contribution: what members get, and what the header states. Payloads are secret.

    commitment, masked, checkpoints: where the update travels masked.
    """

    payloads: tuple[bytes, ...]
    published: bytes
    commitment: MaskedVector | None = None
    masked: MaskedUpdate | None = None
    checkpoints: tuple[bytes, ...] = ()


class _Secret(NamedTuple):
    """What a contribution is made of: secret, all but the context that binds it.

    vector: what is shared with the committee; update: what travels masked.
    """

    vector: IntVector
    update: IntVector
    seed: bytes
    context: bytes


def _make(plan: RoundPlan, phase: StudyPhase, code: VectorCode | None, secret: _Secret) -> _Made:
    """Share the vector, with the key that masks the update if that travels masked. Pure."""
    size, bounds = plan.size, phase.bounds
    vector, update, seed, context = secret
    if code is None:
        proven = prove(vector, bounds, size, seed, context)
        return _Made(proven.payloads, proven.published)
    masked = code.mask(update, seed, context)
    parcel = parcel_named(b"".join(masked.segments))
    masked_bounds = phase.masked_bounds
    if masked_bounds is None:
        proven = prove(vector, bounds, size, seed, context, masked.key)
        checkpoints = tuple(map(checkpoint, masked.linear_hashes))
        stated = MaskedVector(parcel, commit_all(plan.context, checkpoints))
        return _Made(proven.payloads, proven.published, stated, masked, checkpoints)
    [key] = masked.key
    verified = prove_masked(
        masked.hidden,
        key,
        parcel,
        vector,
        masked_bounds,
        bounds,
        size,
        seed,
        context,
        vector=masked.blocks,
        offset=offset_of(code.parameters),
        every=code.blocks_before(1),
    )
    pairs = zip(masked.linear_hashes, verified.sketches, strict=True)
    checkpoints = tuple(checkpoint(linear_hash, sketch) for linear_hash, sketch in pairs)
    proof = SketchProof(verified.key_root, verified.salt, verified.sketch)
    stated = MaskedVector(parcel, commit_all(plan.context, checkpoints), proof)
    return _Made(verified.payloads, verified.published, stated, masked, checkpoints)


def forget_vector(services: RoundServices) -> bytes | None:
    """Let nobody pull the masked vector of this node's contribution any more, if one was made.

    Whichever life of the process made it. Returns its parcel.
    """
    stored = services.restored.get("header")
    if stored is None:
        return None
    signed = codec.decode(stored, Signed, bytes_max=_STORED_BYTES_MAX)
    masked = codec.decode(signed.body, ContributionHeader, bytes_max=_STORED_BYTES_MAX).masked
    if masked is None:
        return None
    services.forget_parcel(masked.parcel)
    return masked.parcel


class Contributor:
    """State of one contribution."""

    def __init__(
        self,
        services: RoundServices,
        manifest: bytes,
        index: int,
        unreachable: Callable[[int], bool],
        now: float,
    ) -> None:
        self._services = services
        self._plan = services.plan
        self._params = services.params
        self._manifest = manifest
        self._index = index
        self._unreachable = unreachable
        self._reader = InputReader(self._plan, services.crypto)
        self.stage = Stage.TRAINING
        self.started = False
        self._vector: IntVector | None = None
        self._update: IntVector = np.zeros(0, dtype=np.int64)  # what travels masked
        self._keys: dict[int, RoundKey] | None = None
        self._opened = b""
        self._header: Signed | None = None
        self._shares: dict[int, SealedShare] = {}
        self._receipts: set[int] = set()
        self._relayed: set[int] = set()
        self._vectors = vector_code(self._plan)
        self._offer: VectorOffer | None = None
        self._vector_receipts: dict[int, VectorReceipt] = {}
        self._turn = index  # contributors begin with different aggregators
        self._patience_s = self._params.retransmit_s
        self._resend_at = now + self._patience_s
        self._relay_at: float | None = None
        self._making = False
        self._disputed = False
        self._shown: list[OpenedAnswer] = []  # until the contribution is made once more
        stored = services.restored.get("contribution")
        self._stored = (
            codec.decode(stored, _Stored, bytes_max=_STORED_BYTES_MAX) if stored else None
        )

    # --- driving --------------------------------------------------------------------------------

    def start(self, statistics: PublishedSum | None = None) -> None:
        """Ask for training; after a restart, take up the stored contribution instead."""
        self.started = True
        if self._stored is not None:
            self._vector = np.frombuffer(self._stored.vector, dtype="<i8").astype(np.int64)
            self._update = np.frombuffer(self._stored.update, dtype="<i4").astype(np.int64)
            self.stage = Stage.WAITING
            self._ask()
            return
        if "header" in self._services.restored:
            self.withhold()  # its secrets are erased: a second contribution would contradict it
            return
        self._services.emit(
            StartTraining(
                self._plan.study,
                self._plan.round_number,
                self._manifest,
                self._plan.model_hash,
                self._plan.attempt,
                statistics,
            )
        )

    def withhold(self) -> None:
        """Send nothing (more)."""
        self.stage = Stage.WITHHELD
        self._shares.clear()
        self._update = np.zeros(0, dtype=np.int64)
        self._vector = self._stored = None  # nor is anything of it opened later

    def withdraw(self) -> bytes | None:
        """Send nothing (more), and let nobody pull what is here; see `forget_vector`."""
        self.withhold()
        return forget_vector(self._services)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self.stage in (Stage.ACKNOWLEDGED, Stage.WITHHELD):
            return None
        times = [self._resend_at]
        if self.stage is Stage.SENDING and self._relay_at is not None:
            times.append(self._relay_at)
        return min(times)

    def tick(self, now: float) -> None:
        """Resend what was not receipted; hand it to the aggregators after a while."""
        if self.stage in (Stage.ACKNOWLEDGED, Stage.WITHHELD):
            return
        self._debit(now)
        if self._relay_at is not None and now >= self._relay_at:
            self._relay_at = None
            self._relay(set(self._shares) - self._receipts)
        if now >= self._resend_at:
            if self._keys is None:
                self._ask()
            elif self._stored is not None and self.stage is Stage.DEBITING and not self._making:
                self._be_patient()
                self.on_debited(now)  # debited, and there was no room for the vector
            elif self.stage is Stage.UPLOADING:
                self._upload()
            elif self.stage is Stage.SENDING:
                self._be_patient()
                self._send(set(self._shares) - self._receipts)
                self._upload()  # the more aggregators hold the vector, the fewer may be lost
            self._resend_at = now + self._patience_s

    def _be_patient(self) -> None:
        """Wait twice as long for receipts: whole shares would burden members that are busy."""
        self._patience_s = min(2 * self._patience_s, _PATIENCE_GROWS_TO * self._params.retransmit_s)

    def _ask(self) -> None:
        """Ask a random member for the open certificate."""
        member = self._services.sampler.below(len(self._plan.committee))
        self._services.send_member(member, Pull(self._plan.context, Step.OPEN))

    def handle(self, message: RoundMessage, now: float) -> None:
        """Process an open certificate or a receipt. Raises ProtocolError."""
        match message:
            case Decision():
                self.on_open(message, now)
            case Receipt():
                self._on_receipt(message)
            case VectorReceipt():
                self._on_vector_receipt(message, now)
            case Dispute():
                self._on_dispute(message)
            case _:
                return

    def on_trained(self, vector: IntVector, now: float) -> None:
        """Take the vector and add noise; refuse one that the committee would reject."""
        phase = self._plan.phase
        if self.stage is not Stage.TRAINING or phase is None:
            return
        if vector.shape != (phase.length,):
            self.withhold()
            return
        clips = phase.noise.update_width or phase.verified is not None
        if clips and not clipped(vector[: phase.update_length], phase.clip):
            self.withhold()  # the debit would state less than it costs, or the proof would fail
            return
        masked, shared = vector[: phase.masked_length], vector[phase.masked_length :]
        given = noised(shared, phase.bounds, phase.noise, self._services.sampler)
        if not within(given, phase.bounds):
            self.withhold()
            return
        if phase.masked is not None:
            sampler = self._services.sampler
            self._update = noised_update(masked, phase.masked, phase.noise, sampler)
        self._vector = given
        self.stage = Stage.WAITING
        self._debit(now)

    def on_open(self, decision: Decision, now: float) -> None:
        """Take the open certificate: whom to seal to. Raises ProtocolError."""
        if decision.instance is not Instance.OPEN or self._keys is not None:
            return
        check_decided(self._plan, decision, Instance.OPEN, self._services.crypto)
        keys = self._reader.open_value(decision.value, locked=True)
        self.take_open(decision.value, keys, now)

    def take_open(self, value: bytes, keys: dict[int, RoundKey], now: float) -> None:
        """Take an open list that is fixed, as this node's own committee member has verified it."""
        if self._keys is None:
            self._keys = keys
            self._opened = value_hash(value)
            self._debit(now)

    def _debit(self, now: float) -> None:
        """With vector and open certificate at hand, ask for the durable debit."""
        if self.stage is not Stage.WAITING or self._keys is None or self._vector is None:
            return
        if self._stored is not None:
            if self._stored.opened != self._opened:
                self.withhold()  # sealed to a list that was never certified
                return
            self.stage = Stage.DEBITING
            self.on_debited(now)  # the debit preceded what is stored
            return
        phase = self._plan.phase
        if phase is None:
            return
        self.stage = Stage.DEBITING
        size = sum(payload_bytes(phase.bounds, self._plan.size, member) for member in self._keys)
        if self._vectors is not None:
            size += self._vectors.vector_bytes
        self._services.emit(
            RecordDebit(
                self._plan.context,
                self._plan.study,
                self._plan.round_number,
                self._plan.attempt,
                phase.kind,
                size,
                phase_rho(phase),
            )
        )

    def on_debited(self, now: float) -> None:
        """The debit is durable: commit, seal and send."""
        if self.stage is not Stage.DEBITING or self._keys is None or self._vector is None:
            return
        if self._stored is None:
            seed = self._services.sampler.bytes(32)
            self._stored = _Stored(
                seed,
                self._vector.astype("<i8").tobytes(),
                self._opened,
                self._update.astype("<i4").tobytes(),
            )
            self._services.persist_secret("contribution", codec.encode(self._stored))
        phase = self._plan.phase
        if phase is None:
            return
        work = self._work(self._vector, phase, self._stored.seed)
        if self._vectors is None:
            self._contribute(work(), now)
        elif not self._making:  # a second for ten million values, several on small machines
            self._making = True
            self._services.emit(Compute(self._plan.context, _MADE, work))

    def on_computed(self, name: bytes, result: object, now: float) -> None:
        """Take a contribution that is made, unless it was withheld meanwhile."""
        if not isinstance(result, _Made):
            return
        if name == _MADE:
            self._making = False
            if self.stage is Stage.DEBITING:
                self._contribute(result, now)
        elif name == _MADE_AGAIN:
            self._open_disputed(result)

    def _contribute(self, made: "_Made", now: float) -> None:
        """Commit to a contribution, seal it and send it."""
        assert self._keys is not None, "it was made for them"
        payloads, masked = made.payloads, made.masked
        if masked is not None:
            segments = b"".join(masked.segments)
            self._services.keep_parcel(chunks_of(segments), self._plan.aggregators)
        root, proofs = merkle_commit(payloads)
        header = ContributionHeader(
            self._plan.context,
            self._index,
            self._opened,
            self._plan.model_hash,
            root,
            made.published,
            made.commitment,
        )
        self._header = self._services.sign_once("header", header)
        for member, key in self._keys.items():
            info = share_info(self._plan.context, self._index, member)
            try:
                sealed = self._services.crypto.seal(key.encryption_key, payloads[member], info)
            except MalformedMessage:
                continue  # the member published no usable key: it harms itself only
            self._shares[member] = SealedShare(member, sealed, proofs[member])
        self._resend_at = now + self._params.retransmit_s
        if masked is None:
            self._send_shares(now)
            return
        self.stage = Stage.UPLOADING
        self._offer = VectorOffer(
            self._plan.context, self._header, masked.linear_hash, made.checkpoints[:-1]
        )
        self._upload()

    def _work(self, vector: IntVector, phase: StudyPhase, seed: bytes) -> Callable[[], "_Made"]:
        """What makes the contribution. Repeating it gives the same, for whoever keeps its parts."""
        context = contribution_context(self._plan.context, self._index)
        secret = _Secret(vector, self._update, seed, context)
        return partial(_make, self._plan, phase, self._vectors, secret)

    def _upload(self) -> None:
        """Offer the masked vector to one aggregator, which passes it on; next time to another."""
        if self._offer is None:
            return
        missing = [a for a in self._plan.aggregators if a not in self._vector_receipts]
        reachable = [a for a in missing if not self._unreachable(a)] or missing
        if reachable:
            self._services.send(reachable[self._turn % len(reachable)], self._offer)
            self._turn += 1

    def _on_vector_receipt(self, message: VectorReceipt, now: float) -> None:
        if self._header is None or message.aggregator in self._vector_receipts:
            return
        check_receipt(self._plan, self._services.crypto, message, header_hash(self._header))
        self._vector_receipts[message.aggregator] = message
        enough = len(self._vector_receipts) >= receipts_wanted(self._plan)
        if enough and self.stage is Stage.UPLOADING:
            self._send_shares(now)

    def _send_shares(self, now: float) -> None:
        self.stage = Stage.SENDING
        self._resend_at = now + self._params.retransmit_s
        self._relay_at = now + self._params.receipt_timeout_s
        self._send(set(self._shares))
        away = {m for m in self._shares if self._unreachable(self._plan.committee[m])}
        if away:
            self._relay(away)
        sent = sum(len(share.sealed) for share in self._shares.values())
        self._services.emit(ContributionSent(self._plan.study, self._plan.round_number, sent))

    def _send(self, members: set[int]) -> None:
        if self._header is None:
            return
        for member in sorted(members):
            receipts = tuple(self._vector_receipts.values())
            self._services.send_member(
                member,
                Contribution(self._plan.context, self._header, self._shares[member], receipts),
            )

    def _relay(self, members: set[int]) -> None:
        """Hand envelopes of silent members to every aggregator."""
        fresh = members - self._relayed
        if self._header is None or not fresh:
            return
        self._relayed |= fresh
        shares = tuple(self._shares[member] for member in sorted(fresh))
        receipts = tuple(self._vector_receipts.values())
        whole = Relay(self._plan.context, self._header, shares, receipts)
        for relay in relays(whole, self._params.message_bytes_max):
            for index in self._plan.aggregators:
                self._services.send(index, relay)

    def _on_receipt(self, message: Receipt) -> None:
        if self.stage is not Stage.SENDING or self._header is None or self._keys is None:
            return
        if message.member not in self._keys or message.member in self._receipts:
            return
        name = self._reader.name(self._header)
        statement = receipt_statement(self._plan.context, message.member, name)
        key = self._plan.public_keys[message.member]
        if message.header_hash != name or not self._services.crypto.verify(
            key, statement, message.signature
        ):
            raise InvalidSignature("a receipt does not verify")
        self._receipts.add(message.member)
        if len(self._receipts) == self._plan.size.quorum:
            self._services.emit(
                ContributionAcknowledged(
                    self._plan.study,
                    self._plan.round_number,
                    self._plan.attempt,
                    len(self._receipts),
                )
            )
        if len(self._receipts) >= self._plan.size.quorum and not self._awaits_any():
            self.stage = Stage.ACKNOWLEDGED

    def _on_dispute(self, message: Dispute) -> None:
        """Open, once, the shares of members that answered otherwise than dealt.

        Costs a second proof, so only a certified accepted set makes this node do it.
        """
        phase, stored = self._plan.phase, self._stored
        if self._header is None or self._vector is None or phase is None or stored is None:
            return  # nothing was sent, or the owner withdrew
        if self._disputed or message.accepted.instance is not Instance.ACCEPT:
            return
        check_decided(self._plan, message.accepted, Instance.ACCEPT, self._services.crypto)
        self._shown = shown_answers(self._reader, self._header, message)
        self._disputed = True
        work = self._work(self._vector, phase, stored.seed)
        if self._vectors is None:
            self._open_disputed(work())
            return
        self._services.emit(Compute(self._plan.context, _MADE_AGAIN, work))

    def _open_disputed(self, made: "_Made") -> None:
        """Accuse the members that answered otherwise than they were dealt."""
        shown, self._shown = self._shown, []
        if self._header is None or self._vector is None:
            return  # the owner withdrew meanwhile
        found = wrong_answers(self._services, self._reader, self._header, made.payloads, shown)
        for culprit, proof in found:
            self._services.accuse(culprit, proof)

    def _awaits_any(self) -> bool:
        """Whether a receipt is still worth waiting for: not of who is away, or has a relay."""
        return any(
            not self._unreachable(self._plan.committee[member])
            for member in self._shares
            if member not in self._receipts and member not in self._relayed
        )
