"""Members of one agreement, with the keys to forge any quorum."""

from collections.abc import Sequence

from msgspec.structs import replace

from pnyx.errors import RuleBroken
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.agreement import Agreement, sign_proposal, value_hash, vote_statement
from pnyx.protocol.messages import Certificate, EchoProof, Instance, Phase, Proposal, Vote
from pnyx.simulator.crypto import IdealCrypto

CONTEXT = b"c" * 32
MEMBERS, QUORUM = 7, 6
KEYS = [IdealCrypto(bytes((member,)) * 32) for member in range(MEMBERS)]
PUBLIC_KEYS = [key.public_key for key in KEYS]


class Ballot:
    """One member: its agreement and what it stored."""

    def __init__(
        self,
        member: int = 0,
        restored: bytes | None = None,
        invalid: Sequence[bytes] = (),
        instance: Instance = Instance.CLOSE,
    ) -> None:
        self.stored: list[bytes] = []
        self._restored = restored
        self.validated: list[bytes] = []

        def validate(value: bytes) -> None:
            self.validated.append(value)
            if value in invalid:
                raise RuleBroken("an invalid value")

        self.agreement = Agreement(
            context=CONTEXT,
            instance=instance,
            quorum=QUORUM,
            public_keys=PUBLIC_KEYS,
            member=member,
            crypto=KEYS[member],
            validate=validate,
            persist=self.stored.append,
            restored=restored,
        )

    def echo(self, value: bytes, view: int = 0, proof: EchoProof | None = None) -> Vote | None:
        """What the member answers to a proposal."""
        return self.agreement.on_proposal(proposal(value, view, proof))

    def restarted(self, member: int = 0) -> "Ballot":
        """The member after a kill: only its durable slot is left."""
        return Ballot(member, self.stored[-1] if self.stored else self._restored)


def proposal(value: bytes, view: int = 0, proof: EchoProof | None = None) -> Proposal:
    """A leader's proposal."""
    return sign_proposal(KEYS[view % MEMBERS], CONTEXT, Instance.CLOSE, view, value, proof)


def quorum(
    value: bytes,
    phase: Phase,
    view: int = 0,
    *,
    signers: Sequence[int] = range(QUORUM),
    instance: Instance = Instance.CLOSE,
    context: bytes = CONTEXT,
) -> QuorumCertificate:
    """Signatures of these members on a vote."""
    statement = vote_statement(context, instance, phase, view, value_hash(value))
    return QuorumCertificate(tuple(signers), tuple(KEYS[m].sign(statement) for m in signers))


def certificate(value: bytes, phase: Phase, view: int = 0, **terms) -> Certificate:
    """A certificate as it travels."""
    return Certificate(
        CONTEXT, Instance.CLOSE, phase, view, value_hash(value), quorum(value, phase, view, **terms)
    )


def proof(value: bytes, view: int, **terms) -> EchoProof:
    """A quorum echoed the value in the view."""
    return EchoProof(view, value_hash(value), quorum(value, Phase.ECHO, view, **terms))


_echo = Agreement.on_proposal


def echo_again(agreement: Agreement, proposal: Proposal) -> Vote | None:
    """The weak member: it echoes another value in a view in which it has echoed already."""
    slot = agreement._slot
    agreement._slot = replace(slot, echo_view=min(slot.echo_view, proposal.view - 1))
    return _echo(agreement, proposal)
