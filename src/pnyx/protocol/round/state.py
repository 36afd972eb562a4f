"""What one committee member knows of one attempt of a round, and what follows from it.

`committee` drives it, `inputs` says what the member has to give, `leader` what it does when it
leads, `outcome` what the released shares come to. Here is the state that they share.
"""

from collections.abc import Callable, Sequence

from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.agreement import Agreement
from pnyx.protocol.messages import (
    AbortCertificate,
    ChallengeReveal,
    Handover,
    Indices,
    Instance,
    OpenedShare,
    Record,
    ReleaseBundle,
    RoundKey,
    Step,
)
from pnyx.protocol.round.actors import read_actors
from pnyx.protocol.round.attempts import NO_VALUE, Patience
from pnyx.protocol.round.dealer import SEED_BYTES, Dealer
from pnyx.protocol.round.dispute import Disputes
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.parts import Parts
from pnyx.protocol.round.plan import HANDOVER
from pnyx.protocol.round.services import RoundServices, StudyView
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    ClosedList,
    CloseValue,
    InputReader,
    is_abort,
)
from pnyx.protocol.round.vector_sum import WantedSums
from pnyx.protocol.round.vectors import vector_code
from pnyx.protocol.round.views import Views

_KEY_BYTES = 32


class MemberState:
    """State of one member. unreachable: census index -> whether it seems to be away; a hint."""

    def __init__(
        self,
        services: RoundServices,
        member: int,
        study: StudyView,
        unreachable: Callable[[int], bool],
        now: float,
    ) -> None:
        self.services = services
        self.plan = services.plan
        self.params = services.params
        self.member = member
        self.study = study
        self.unreachable = unreachable
        self.disputes = Disputes(services, member)
        self.reader = InputReader(self.plan, services.crypto, self.disputes.contradiction)
        self.views = Views(self.plan, self.params, member)
        self.parts = Parts(services, member, unreachable)
        self.agreements = {instance: self._agreement(instance) for instance in Instance}
        secret = services.restored.get("secret")
        if secret is None and "round-key" not in services.restored:
            secret = services.sampler.bytes(_KEY_BYTES + SEED_BYTES)
            services.persist_secret("secret", secret)
        self.private_key = (secret or b"")[:_KEY_BYTES]  # empty once erased
        self.dealer = Dealer(services, member, (secret or b"")[_KEY_BYTES:])
        self.holdings = Holdings(
            services, self.reader, member, self.private_key, self.disputes.unreadable
        )
        self.keys: dict[int, RoundKey] = {}
        self.closed: ClosedList | None = None
        self.challenge: bytes | None = None
        self.judgement: direct.Judgement | None = None
        code = vector_code(self.plan)
        self.wanted_sums: WantedSums | None = None  # of masked vectors, where updates are masked
        if code is not None:
            self.wanted_sums = WantedSums(services, member, self.reader, code, unreachable)
        self.bundle: ReleaseBundle | None = None
        self.wrong_releases: set[int] = set()  # members seen to release what cannot be right
        self.reveal: ChallengeReveal | None = None
        self.body: bytes | None = None
        self.record: Record | None = None
        self.aborted: AbortCertificate | Handover | None = None
        self.patience = Patience(services, member, study)
        self.model: bytes | None = None  # that the round starts from, once it is to be moved
        self.started_at = now
        self.step_at = now  # when the current step was entered
        self.stopped = "stopped" in services.restored
        self.close_forced = False

    def _agreement(self, instance: Instance) -> Agreement:
        validators = {
            Instance.OPEN: self._validate_open,
            Instance.CLOSE: self._validate_close,
            Instance.ACCEPT: self._validate_accept,
        }
        name = f"agreement/{instance.name.lower()}"
        handover = {HANDOVER: self.plan.size.handover_quorum}
        return Agreement(
            context=self.plan.context,
            instance=instance,
            quorum=self.plan.size.quorum,
            public_keys=self.plan.public_keys,
            member=self.member,
            crypto=self.services.crypto,
            validate=validators[instance],
            persist=lambda slot: self.services.persist(name, slot),
            restored=self.services.restored.get(name),
            quorums=handover if self.may_abort(instance, HANDOVER) else None,
        )

    @property
    def step(self) -> Step:
        """The first step whose outcome this member does not have."""
        if self.over:
            return Step.DONE
        if not self.keys:
            return Step.OPEN
        if self.aborted is not None:
            return Step.CERTIFY
        if self.closed is None:
            return Step.CLOSE
        if self.plan.phase is not None:
            if self.challenge is None:
                return Step.CHALLENGE
            if self.judgement is None:
                return Step.ACCEPT
        return Step.RELEASE if self.body is None else Step.CERTIFY

    @property
    def over(self) -> bool:
        """Whether this attempt ended: by its record, or by an abort that another one follows."""
        again = self.aborted is not None and not self.plan.last
        return self.record is not None or again

    @property
    def joined(self) -> Indices:
        """Joins of the next round: those of the closed list; after an abort they stay."""
        return self.plan.joins if self.closed is None or self.aborted else self.closed.joined

    @property
    def actors(self) -> bytes:
        """The list of the next round's actors: of the closed list; after an abort it stays."""
        return self.plan.actors if self.closed is None or self.aborted else self.closed.actors

    @property
    def skipped(self) -> bool:
        """Whether no group, or too few of them, reach the floor, so that nothing is opened."""
        return not self.groups

    @property
    def groups(self) -> dict[int, tuple[int, ...]]:
        """The groups whose sums are opened, with who counts in them."""
        return {} if self.judgement is None else self.plan.opened(self.judgement.accepted)

    def decided(self, instance: Instance) -> bytes:
        """Hash of a fixed value, zero when the round has none."""
        return self.agreements[instance].decided_hash or NO_VALUE

    def listed(self) -> list[int]:
        """Members of the open list that are not known to be unreachable."""
        return [m for m in self.keys if not self.unreachable(self.plan.committee[m])]

    def can_judge(self, instance: Instance, value: bytes | None) -> bool:
        """Whether this member has what the validity of the instance's value depends on."""
        if instance is Instance.OPEN or value == HANDOVER:
            return True
        if instance is Instance.CLOSE or (value is not None and is_abort(value)):
            return bool(self.keys)
        return self.closed is not None and self.challenge is not None

    def needs_sums(self, instance: Instance, value: bytes) -> bool:
        """Whether a value opens sums of masked vectors, once it is locked."""
        return instance is Instance.ACCEPT and self.wanted_sums is not None and not is_abort(value)

    def may_lock(self, instance: Instance, value: bytes) -> bool:
        """Whether this member holds what a value that it can judge needs, should it be locked."""
        if self.wanted_sums is None or not self.needs_sums(instance, value):
            return True
        return self.wanted_sums.data(*self._would_open(value)) is not None

    def want_sums(self, value: bytes, now: float) -> None:
        """Ask for the sums, which it needs, of an accepted set that a quorum has echoed."""
        assert self.wanted_sums is not None, "this value needs sums"
        self.wanted_sums.want(*self._would_open(value), now)

    def ask_holders(self, value: bytes, holders: Sequence[int]) -> None:
        """Ask members that say they locked an accepted set for the sums that it needs, too."""
        assert self.wanted_sums is not None, "this value needs sums"
        indices = [self.plan.committee[member] for member in holders]
        self.wanted_sums.ask_too(*self._would_open(value), indices)

    def _would_open(self, value: bytes) -> tuple[ClosedList, dict[int, tuple[int, ...]]]:
        """The closed list, and the groups whose sums an accepted set would open."""
        assert self.closed is not None, "a value is judged by what came before it"
        assert self.challenge is not None, "a value is judged by what came before it"
        judgement = self.reader.accept_value(value, self.closed, self.challenge)
        return self.closed, self.plan.opened(judgement.accepted)

    @property
    def sums(self) -> dict[int, bytes] | None:
        """Group -> sum of its masked vectors, of the accepted set; None until all are held."""
        if self.wanted_sums is None or self.closed is None:
            return None
        return self.wanted_sums.data(self.closed, self.groups)

    def may_abort(self, instance: Instance, value: bytes) -> bool:
        """Whether a value of this agreement is one that ends the attempt without an outcome."""
        if instance is not self.plan.aborting or not self.plan.abortable:
            return False
        return value == HANDOVER if self.plan.hands_over else is_abort(value)

    def _validate_open(self, value: bytes) -> None:
        self.reader.open_value(value)

    def _validate_close(self, value: bytes) -> None:
        if self.may_abort(Instance.CLOSE, value):
            if value != HANDOVER:
                self.reader.abort_value(value)
            return
        self.reader.close_value(value, self.keys, self.decided(Instance.OPEN))

    def _validate_accept(self, value: bytes) -> None:
        if is_abort(value):
            self.reader.abort_value(value)
        elif self.closed is not None and self.challenge is not None:
            self.reader.accept_value(value, self.closed, self.challenge)

    def knows_better_actors(self, instance: Instance, value: bytes) -> bool:
        """Whether a closed list names a later attempt at an actor list than this member knows.

        So a leader has no choice among lists; once a quorum has echoed one it goes its way.
        """
        mine = self.study.actors() if self.plan.following is not None else b""
        if instance is not Instance.CLOSE or not mine or is_abort(value):
            return False
        proposed = codec.decode(value, CloseValue, bytes_max=VALUE_BYTES_MAX).actors
        return read_actors(proposed).draw.attempt > read_actors(mine).draw.attempt

    def recover_challenge(
        self, openings: list[tuple[int, tuple[OpenedShare, ...]]]
    ) -> bytes | None:
        """The challenge beacon from members' openings; None while they are too few."""
        if self.closed is None:
            return None
        secrets = beacon.recover_all(self.closed.challenge_dealers, openings, self.plan.size)
        if secrets is None:
            return None
        opened = self.agreements[Instance.OPEN].decision
        self.disputes.opened_secrets(opened, secrets, openings, challenge=True)
        purpose = f"challenge/{self.decided(Instance.CLOSE).hex()}"
        return beacon.combine(self.plan.context, purpose, secrets)

    def missing_dealers(self) -> list[int]:
        """Dealers whose shares this member lacks."""
        return [
            dealer
            for dealer in beacon.dealers_of(self.keys, self.plan.size)
            if dealer not in self.holdings.next_shares
        ]

    def awaited_dealers(self) -> list[int]:
        """Those of them that are not known to be unreachable."""
        return [d for d in self.missing_dealers() if not self.unreachable(self.plan.committee[d])]

    def missing_contributors(self) -> tuple[int, ...]:
        """Contributors on the closed list whose share this member lacks."""
        if self.closed is None or self.member not in self.keys:
            return ()
        return tuple(
            who
            for who, header in sorted(self.closed.headers.items())
            if self.holdings.share_of(header) is None
        )

    def stop(self) -> None:
        """Give no new receipts from now on, restarts included."""
        if not self.stopped:
            self.stopped = True
            self.services.persist("stopped", b"1")

    def erase(self) -> None:
        """Forget the round key and all that it opened."""
        self.private_key = b""
        self.dealer.erase()
        self.holdings.erase()
        self.services.erase_secrets()
