"""What becomes of a round whose attempt cannot go on: a second attempt, and then a skip.

A committee that has lost too many of its listed members can neither close nor accept. A member
that saw no step end for `attempt_timeout_s` signs, once, that it gives up (`GiveUp`): it gives no
more receipts or answers in this attempt. With a quorum of these a leader proposes an *abort* as the
value of the agreement ACCEPT. That agreement fixes an accepted set or an abort and never both,
whatever the network does, as 2q - k > f; and no share leaves without its lock certificate on a
set. So the lock certificate on an abort proves that nothing of the attempt was or will be released.
It is the *abort certificate*.

    attempt 1 -> released -> record
              -> aborted  -> attempt 2 -> released -> record
                                       -> aborted  -> skipped: a record that only excludes

Attempt 2 keeps beacon, contributors and committee, but that the draw's stand-ins replace members
that were away all along: without a round key, and without having given up. Its aggregators are the
next ones of their draw: those of attempt 1 may be why it had no outcome, and no proof tells. Its
context is new, so nothing of attempt 1 means anything in it.

In a masked round it need not take that long. Contributors that get too few receipts of aggregators
send members nothing, so most of the aggregators, by saying nothing, leave a list below the floor;
closed, it would end the round by a skip. A member that has too few contributions when the list is
due gives up the first attempt at once, where the second has other aggregators to offer.

Round 0 of a study takes no contributions and has no agreement ACCEPT: the closed list decides what
is released. So there the abort is a value of the agreement CLOSE, with the same consequence. Its
second attempt waits for its members as long as it takes: there is no record before it to go on by.
The record of an epoch is not aborted but handed over (`handover`), for which fewer are enough.
"""

from pnyx.errors import RuleBroken
from pnyx.protocol import beacon
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.messages import (
    AbortCertificate,
    GiveUp,
    Indices,
    Instance,
    MemberInput,
    RecordBody,
    Step,
)
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.actors import in_order, read_actors
from pnyx.protocol.round.exclusions import to_name
from pnyx.protocol.round.plan import ATTEMPTS_MAX, RoundPlan, check_decided
from pnyx.protocol.round.services import RoundServices, StudyView
from pnyx.protocol.round.values import InputReader
from pnyx.protocol.selection import stand_ins

NO_VALUE = bytes(32)
_ABORTABLE = (Step.CLOSE, Step.CHALLENGE, Step.ACCEPT)


def may_give_up(plan: RoundPlan, step: Step) -> bool:
    """Whether a member that waits too long in this step gives up the attempt.

    Without a list of round keys nothing is lost that could be aborted; but whoever makes an epoch's
    record may wait for them in vain, so that is handed over from there on.
    """
    return plan.abortable and (step in _ABORTABLE or (plan.hands_over and step is Step.OPEN))


def hopes_for_others(plan: RoundPlan) -> bool:
    """Whether a list below the floor is given up at its deadline, for the sake of a second attempt.

    Too few contributions may be the doing of aggregators, and no proof tells. Not where the second
    attempt would have the same ones, and not in the second: its list is closed, whatever is on it.
    """
    masked = plan.phase is not None and plan.phase.masked is not None
    if not masked or plan.attempt == ATTEMPTS_MAX:
        return False
    return not set(plan.aggregators).issuperset(_other_aggregators(plan))


class Patience:
    """One member's patience with an attempt, and its durable word that it gave up."""

    def __init__(self, services: RoundServices, member: int, study: StudyView) -> None:
        self._services = services
        self._member = member
        self._study = study
        self._others_left = False
        self.gave_up = "give-up" in services.restored

    def others_left(self) -> None:
        """f + 1 members gave up, so an honest one did: half the time is enough then.

        Not at once: f corrupt members and a single slow one could otherwise end any attempt.
        """
        self._others_left = True

    def deadline(self, step: Step, begins: float) -> float | None:
        """When this member gives up, if the step began to take long at `begins`."""
        plan = self._services.plan
        if self.gave_up or not may_give_up(plan, step):
            return None
        timeout = self._services.params.attempt_timeout_s
        if plan.hands_over:  # who comes back within hours is to find an attempt that waits for it
            timeout *= 2.0 ** (plan.attempt - 1)
        return begins + (timeout / 2 if self._others_left else timeout)

    def give_up(self) -> None:
        """Say so, durably: no receipt or answer from now on."""
        self.gave_up = True
        self.word()

    def word(self) -> MemberInput:
        """What the leader gets instead of this member's input."""
        plan = self._services.plan
        body = GiveUp(plan.context, self._member, to_name(plan, self._study.culprits()))
        return MemberInput(plan.context, self._services.sign_once("give-up", body))


def second_attempt(plan: RoundPlan, certificate: AbortCertificate, crypto: Crypto) -> RoundPlan:
    """The plan that follows from the abort of a first attempt. Raises ProtocolError."""
    if plan.attempt == ATTEMPTS_MAX or not plan.abortable or plan.hands_over:
        raise RuleBroken("this attempt has no second one")
    if certificate.study != plan.study or certificate.round_number != plan.round_number:
        raise RuleBroken("an abort certificate belongs to another round")
    reader = InputReader(plan, crypto)
    check_decided(plan, certificate.opened, Instance.OPEN, crypto)
    check_decided(plan, certificate.aborted, plan.aborting, crypto)
    there = reader.open_value(certificate.opened.value).keys() | reader.abort_value(
        certificate.aborted.value
    )
    return RoundPlan(
        census=plan.census,
        study=plan.study,
        round_number=plan.round_number,
        epoch=plan.epoch,
        previous_record=plan.previous_record,
        model_hash=plan.model_hash,
        committee=_with_stand_ins(plan, there),
        contributors=plan.contributors,
        aggregators=_other_aggregators(plan),
        phase=plan.phase,
        cohort_min=plan.cohort_min,
        join_window_s=plan.join_window_s,
        beacon=plan.beacon,
        joins=plan.joins,
        drawn_as=plan.drawn_as,
        abort=certificate,
        privacy_spent=plan.privacy_spent,
        excluded=plan.excluded,
        following=plan.following,
        actors=plan.actors,
        listed=plan.listed,
    )


def _with_stand_ins(plan: RoundPlan, there: set[int]) -> tuple[int, ...]:
    """The committee, absent members replaced in order; as many as the census has people for."""
    size, population = plan.size.size, len(plan.census)
    absent = [member for member in range(size) if member not in there]
    if plan.listed:
        out = frozenset(plan.committee).union(plan.excluded)
        left = iter([index for index in plan.listed if index not in out])
        taken = dict(zip(absent, left, strict=False))
        return tuple(taken.get(member, index) for member, index in enumerate(plan.committee))
    drawn = stand_ins(
        plan.beacon,
        *plan.drawn_as,
        "committee",
        0,
        min(len(absent), population - size - len(plan.excluded)),
        population,
        exclude=frozenset(plan.committee).union(plan.excluded),
    )
    replaced = dict(zip(absent, drawn, strict=False))
    return tuple(replaced.get(member, index) for member, index in enumerate(plan.committee))


def _other_aggregators(plan: RoundPlan) -> tuple[int, ...]:
    """As many as before, the next ones of their draw; where there are too few, the first again."""
    wanted, out = len(plan.aggregators), frozenset(plan.aggregators).union(plan.excluded)
    seed, role, population = plan.beacon, "aggregator", len(plan.census)
    if plan.listed:
        proof = read_actors(plan.actors)
        order = in_order(plan.census, proof, seed, plan.round_number, role, plan.excluded)
        others = tuple(index for index in order if index not in out)
    else:
        left = min(wanted, population - len(out))
        others = stand_ins(seed, *plan.drawn_as, role, 0, left, population, exclude=out)
    return (*others, *plan.aggregators)[:wanted]


def skip_body(
    plan: RoundPlan, opened: bytes, aborted: bytes, joins_root: bytes, excluded: Indices
) -> RecordBody:
    """The record of a round whose last attempt was aborted: it only moves on, and may exclude."""
    return RecordBody(
        network=plan.census.network,
        study=plan.study,
        round_number=plan.round_number,
        attempt=plan.attempt,
        epoch=plan.epoch,
        census_root=plan.census.root,
        previous_record=plan.previous_record,
        context=plan.context,
        open_value=opened,
        closed_value=NO_VALUE,
        accepted_value=aborted,
        accepted=(),
        skipped=True,
        model_hash=plan.model_hash,
        metrics=(),
        joins_root=joins_root,
        next_beacon=beacon.skipped(plan.study, plan.round_number, plan.beacon),
        privacy_spent=plan.privacy_spent,
        excluded=excluded,
        sums=(),
    )


def without_outcome(body: RecordBody) -> bool:
    """Whether a round of contributions ended by the abort of its last attempt."""
    return body.closed_value == NO_VALUE


def check_skip(plan: RoundPlan, body: RecordBody, joins_root: bytes) -> None:
    """Check what a record without a closed list says; its exclusions are checked like all others'.

    Raises RuleBroken.
    """
    if plan.attempt != ATTEMPTS_MAX:
        raise RuleBroken("a first attempt ends with a closed list, or with a second attempt")
    skipped = skip_body(plan, body.open_value, body.accepted_value, joins_root, body.excluded)
    if body != skipped:
        raise RuleBroken("a round without a closed list can change nothing but who is excluded")


def abort_hash(certificate: AbortCertificate) -> bytes:
    """Names an abort, whichever quorum signed it."""
    return value_hash(certificate.aborted.value)
