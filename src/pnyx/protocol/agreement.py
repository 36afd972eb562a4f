"""Two-phase agreement of a committee on one value, with leaders that rotate with the view.

    proposal -> ECHO votes -> echo certificate -> LOCK votes -> lock certificate: the value is fixed

Rules of a member (safety):
- it echoes at most one value per view, durably recorded before the vote leaves;
- it locks a value only on an echo certificate of its current view, durably, and in no view
  below one that it voted in, restarts included;
- locked on S at view v, it echoes another value only when shown an echo certificate for that value
  from a view later than v.
A leader signs one value per view, durably recorded before the proposal leaves. Safety does not
depend on it, but two are evidence (`round.proposed`).
As any two quorums share more than f members (2q - k > f), an honest member stands in both, so two
values can never both be locked by quorums, whatever the network does. Of one value that all know
in advance fewer may be a quorum, w, as long as w + q - k > f: they still have an honest member in
common with every quorum of another value, and need none with each other (`round.handover`).
Liveness: a new leader re-proposes the value with the highest echo certificate that a quorum
reports. The rules are those of PBFT and Tendermint reduced to one decision.

A value is opaque here; `validate` is the caller's judge of what may be echoed.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import QuorumCertificate, check_quorum
from pnyx.protocol.messages import (
    Certificate,
    Decision,
    EchoProof,
    Instance,
    Phase,
    Proposal,
    Value,
    View,
    Vote,
)
from pnyx.protocol.ports import Crypto

_SLOT_BYTES_MAX = 8 * 1024 * 1024


def value_hash(value: bytes) -> bytes:
    """What votes name a value by."""
    return digest("pnyx/agreement/value", value)


def vote_statement(
    context: bytes, instance: Instance, phase: Phase, view: int, hash_: bytes
) -> bytes:
    """Bytes that a vote signs."""
    return b"pnyx/vote/" + digest(
        "pnyx/agreement/vote", context, bytes((instance, phase)), view.to_bytes(4, "big"), hash_
    )


def proposal_statement(context: bytes, instance: Instance, view: int, hash_: bytes) -> bytes:
    """Bytes that the leader of a view signs of what it proposes."""
    return b"pnyx/proposal/" + digest(
        "pnyx/agreement/proposal", context, bytes((instance,)), view.to_bytes(4, "big"), hash_
    )


def sign_proposal(
    crypto: Crypto,
    context: bytes,
    instance: Instance,
    view: int,
    value: bytes,
    proof: EchoProof | None = None,
) -> Proposal:
    """A proposal, signed by the leader of the view."""
    statement = proposal_statement(context, instance, view, value_hash(value))
    return Proposal(context, instance, view, value, proof, crypto.sign(statement))


class _Slot(msgspec.Struct, frozen=True, array_like=True):
    """What a member must remember of one agreement, whatever happens to its process."""

    echo_view: int  # highest view in which it echoed
    echo_hash: bytes
    lock: EchoProof | None
    value: Value | None  # the value echoed or locked last, or one that it proposed after that
    lock_view: View  # highest view in which it locked
    led_view: int  # highest view in which it proposed
    led_hash: bytes


class Agreement:
    """One member's part in agreeing on one value, leader's duties included.

    quorums: value -> how many are its quorum, for values that everybody knows and that need fewer.
    """

    def __init__(
        self,
        *,
        context: bytes,
        instance: Instance,
        quorum: int,
        public_keys: Sequence[bytes],
        member: int,
        crypto: Crypto,
        validate: Callable[[bytes], None],
        persist: Callable[[bytes], None],
        restored: bytes | None,
        quorums: Mapping[bytes, int] | None = None,
    ) -> None:
        self._context = context
        self._instance = instance
        self._quorum = quorum
        self._public_keys = public_keys
        self._member = member
        self._crypto = crypto
        self._validate = validate
        self._persist = persist
        self.decision: Decision | None = None
        self.decided_hash: bytes | None = None  # names the decision's value
        known = {} if quorums is None else quorums
        self._quorums = {value_hash(value): count for value, count in known.items()}
        self._values: dict[bytes, bytes] = {value_hash(value): value for value in known}
        self._valid: set[bytes] = set()
        self._votes: dict[tuple[Phase, int, bytes], dict[int, bytes]] = {}
        self._proposed: dict[int, Proposal] = {}
        self._certified: dict[tuple[Phase, int], Certificate] = {}
        self._slot = _Slot(-1, b"", None, None, 0, -1, b"")
        if restored is not None:
            self._slot = codec.decode(restored, _Slot, bytes_max=_SLOT_BYTES_MAX)
            if self._slot.value is not None:
                self._values[value_hash(self._slot.value)] = self._slot.value

    # --- member -----------------------------------------------------------------------------

    @property
    def highest(self) -> EchoProof | None:
        """The lock, for a new leader: the highest echo certificate known, whose value is held."""
        lock = self._slot.lock
        return lock if lock is not None and lock.value_hash in self._values else None

    def value_of(self, hash_: bytes) -> bytes | None:
        """A value that this member has seen, by its hash."""
        return self._values.get(hash_)

    def on_proposal(self, proposal: Proposal) -> Vote | None:
        """Echo a leader's proposal, or None when the rules forbid it.

        The caller has checked that the sender leads `proposal.view`, its current view. Raises
        ProtocolError when the value or its proof is invalid.
        """
        if self.decision is not None:
            return None
        hash_ = value_hash(proposal.value)
        if proposal.proof is not None:
            self._check_proof(proposal.proof, hash_)
        if proposal.view < self._slot.echo_view:
            return None
        if proposal.view == self._slot.echo_view and hash_ != self._slot.echo_hash:
            return None
        if not self._may_leave_lock(hash_, proposal.proof):
            return None
        if hash_ not in self._valid:
            self._validate(proposal.value)
            self._valid.add(hash_)
        self._values[hash_] = proposal.value
        if proposal.view > self._slot.echo_view:
            self._remember(
                replace(
                    self._slot, echo_view=proposal.view, echo_hash=hash_, value=self._kept(hash_)
                )
            )
        return self._vote(Phase.ECHO, proposal.view, hash_)

    def _kept(self, hash_: bytes) -> bytes:
        """The value that must survive a restart: the locked one if any, else this one."""
        lock = self._slot.lock
        return self._values[lock.value_hash if lock is not None else hash_]

    def _may_leave_lock(self, hash_: bytes, proof: EchoProof | None) -> bool:
        lock = self._slot.lock
        if lock is None or lock.value_hash == hash_:
            return True
        return proof is not None and proof.view > lock.view

    def check_certificate(self, certificate: Certificate) -> None:
        """Verify a certificate, whatever follows from it. Raises ProtocolError."""
        self._check(
            certificate.phase,
            certificate.view,
            certificate.value_hash,
            certificate.certificate,
        )

    def on_certificate(self, certificate: Certificate, view: int) -> Vote | Decision | None:
        """Lock on an echo certificate of the current view, or decide on a lock certificate.

        Raises ProtocolError when the certificate does not verify.
        """
        if self.decision is not None:
            return None
        self.check_certificate(certificate)
        if certificate.value_hash not in self._values:
            return None
        if certificate.phase is Phase.LOCK:
            return self._decide(certificate.view, certificate.value_hash, certificate.certificate)
        if certificate.view != view:
            return None
        if certificate.view < max(self._slot.echo_view, self._slot.lock_view):
            return None  # after a restart views count from 0 again; votes never go back
        lock = self._slot.lock
        if lock is None or certificate.view > lock.view:
            proof = EchoProof(certificate.view, certificate.value_hash, certificate.certificate)
            self._remember(
                replace(
                    self._slot,
                    lock=proof,
                    value=self._values[certificate.value_hash],
                    lock_view=certificate.view,
                )
            )
        return self._vote(Phase.LOCK, certificate.view, certificate.value_hash)

    def on_decision(self, decision: Decision) -> bool:
        """Adopt a fixed value shown with its lock certificate; True when it is news."""
        if self.decision is not None:
            return False
        hash_ = value_hash(decision.value)
        self._check(Phase.LOCK, decision.view, hash_, decision.certificate)
        self._values[hash_] = decision.value
        self._decide(decision.view, hash_, decision.certificate)
        return True

    def _decide(self, view: int, hash_: bytes, certificate: QuorumCertificate) -> Decision:
        self.decision = Decision(
            self._context, self._instance, view, self._values[hash_], certificate
        )
        self.decided_hash = hash_
        return self.decision

    def _vote(self, phase: Phase, view: int, hash_: bytes) -> Vote:
        statement = vote_statement(self._context, self._instance, phase, view, hash_)
        return Vote(
            self._context,
            self._instance,
            phase,
            view,
            self._member,
            hash_,
            self._crypto.sign(statement),
        )

    def _remember(self, slot: _Slot) -> None:
        self._slot = slot
        self._persist(codec.encode(slot))

    # --- leader -----------------------------------------------------------------------------

    def proposed(self, view: int) -> Proposal | None:
        """What this node proposed as the leader of a view."""
        return self._proposed.get(view)

    def propose(self, view: int, value: bytes, proof: EchoProof | None) -> Proposal | None:
        """Propose once per view; a second call returns the first proposal.

        None if this node proposed something else in this view, or anything in a later one, before
        it was restarted.
        """
        if view in self._proposed:
            return self._proposed[view]
        hash_ = value_hash(value)
        if view < self._slot.led_view:
            return None
        if view == self._slot.led_view and hash_ != self._slot.led_hash:
            return None
        self._values[hash_] = value
        if view > self._slot.led_view:
            # Others may ask for the value that this member echoed. One that it is about to echo
            # may take its place; no other, nor one that everybody knows.
            stays = view <= self._slot.echo_view or hash_ in self._quorums
            kept = self._slot.value if stays else self._kept(hash_)
            self._remember(replace(self._slot, led_view=view, led_hash=hash_, value=kept))
        proposal = sign_proposal(self._crypto, self._context, self._instance, view, value, proof)
        self._proposed[view] = proposal
        return proposal

    def led_before(self, view: int) -> bool:
        """Whether this node proposed in this view, or a later one, before it was restarted."""
        return view not in self._proposed and view <= self._slot.led_view

    def led_value(self, view: int) -> bytes | None:
        """What it proposed in this view, if that is known."""
        return self.value_of(self._slot.led_hash) if view == self._slot.led_view else None

    def certified(self, view: int) -> Certificate | None:
        """The furthest certificate that this node formed as the leader of a view."""
        return self._certified.get((Phase.LOCK, view)) or self._certified.get((Phase.ECHO, view))

    def on_vote(self, vote: Vote) -> Certificate | None:
        """Collect a vote; return the certificate that it completes.

        Raises InvalidSignature, or RuleBroken for a vote on what was not proposed.
        """
        proposal = self._proposed.get(vote.view)
        if proposal is None or value_hash(proposal.value) != vote.value_hash:
            raise RuleBroken("a vote names a value that was not proposed")
        if (vote.phase, vote.view) in self._certified:
            return None
        statement = vote_statement(
            self._context, self._instance, vote.phase, vote.view, vote.value_hash
        )
        check_quorum(
            QuorumCertificate((vote.member,), (vote.signature,)),
            self._public_keys,
            statement,
            1,
            self._crypto.verify,
        )
        votes = self._votes.setdefault((vote.phase, vote.view, vote.value_hash), {})
        votes[vote.member] = vote.signature
        if len(votes) < self._quorum_of(vote.value_hash):
            return None
        signers = tuple(sorted(votes))
        certificate = Certificate(
            self._context,
            self._instance,
            vote.phase,
            vote.view,
            vote.value_hash,
            QuorumCertificate(signers, tuple(votes[member] for member in signers)),
        )
        self._certified[vote.phase, vote.view] = certificate
        return certificate

    # --- checks -----------------------------------------------------------------------------

    def check_highest(self, proof: EchoProof) -> None:
        """Verify what a member reports in a view change. Raises ProtocolError."""
        self._check_proof(proof, proof.value_hash)

    def show(self, value: bytes) -> None:
        """Take a value that a quorum is known to have echoed, and that was asked for."""
        self._values.setdefault(value_hash(value), value)

    def _check_proof(self, proof: EchoProof, hash_: bytes) -> None:
        if proof.value_hash != hash_:
            raise RuleBroken("an echo certificate names another value")
        self._check(Phase.ECHO, proof.view, hash_, proof.certificate)

    def _check(self, phase: Phase, view: int, hash_: bytes, certificate: QuorumCertificate) -> None:
        statement = vote_statement(self._context, self._instance, phase, view, hash_)
        quorum = self._quorum_of(hash_)
        check_quorum(certificate, self._public_keys, statement, quorum, self._crypto.verify)

    def _quorum_of(self, hash_: bytes) -> int:
        return self._quorums.get(hash_, self._quorum)


def check_decision(
    decision: Decision,
    *,
    context: bytes,
    quorum: int,
    public_keys: Sequence[bytes],
    verify: Callable[[bytes, bytes, bytes], bool],
) -> None:
    """Check a decision from outside the committee. Raises ProtocolError."""
    statement = vote_statement(
        context, decision.instance, Phase.LOCK, decision.view, value_hash(decision.value)
    )
    check_quorum(decision.certificate, public_keys, statement, quorum, verify)
