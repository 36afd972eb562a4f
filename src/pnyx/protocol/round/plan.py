"""Who does what in one attempt of one round: a pure consequence of public data.

Every node derives the same plan from the study's manifest, the previous record and the census.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from pnyx.errors import RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.verification import released_bytes
from pnyx.protocol.agreement import check_decision, value_hash
from pnyx.protocol.identity import Census
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import (
    HANDOVERS_MAX,
    AbortCertificate,
    Decision,
    Handover,
    Indices,
    Instance,
)
from pnyx.protocol.params import PROTOCOL_VERSION
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.actors import NextActors
from pnyx.protocol.selection import contributor_groups

NO_RECORD = bytes(32)
NO_BEACON = bytes(32)
ATTEMPTS_MAX = 2  # of a study's rounds
HANDOVER = b"pnyx/handover"  # value of the agreement CLOSE by which a committee leaves an epoch's
# record to the next one; see `handover`


def epoch_chain_id(network: bytes) -> bytes:
    """The chain of epoch beacons has the form of a study without contributions."""
    return digest("pnyx/epoch-chain", network)


def _ended(abort: AbortCertificate | Handover) -> tuple[Decision, ...]:
    """What ended each attempt before."""
    return (abort.aborted,) if isinstance(abort, AbortCertificate) else abort.decisions


class RoundPlan:
    """One attempt of one round.

    phase: None when the round takes no contributions (an epoch's beacon; round 0 of a study, which
    collects joins). committee, contributors, aggregators: census indices in actor order; a *member*
    is a place in `committee`. privacy_spent: by the rounds before. beacon, joins: what actors were
    drawn by and contributors drawn from; drawn_as: the study and round that the draw named, if not
    these. abort: in a later attempt, what ended those before. excluded: census indices that are
    drawn for nothing any more. following: in a study that selects by regions, what the committee
    fixes for the next round; actors, listed: the list of this round, and its census indices in the
    order in which members and stand-ins are taken from it.
    """

    def __init__(
        self,
        *,
        census: Census,
        study: bytes,
        round_number: int,
        epoch: int,
        previous_record: bytes,
        model_hash: bytes,
        committee: tuple[int, ...],
        contributors: tuple[int, ...] = (),
        aggregators: tuple[int, ...] = (),
        phase: StudyPhase | None = None,
        cohort_min: int = 0,
        join_window_s: float = 0.0,
        beacon: bytes = NO_BEACON,
        joins: Indices = (),
        drawn_as: tuple[bytes, int] | None = None,
        abort: AbortCertificate | Handover | None = None,
        privacy_spent: int | None = 0,
        excluded: Indices = (),
        following: NextActors | None = None,
        actors: bytes = b"",
        listed: tuple[int, ...] = (),
    ) -> None:
        self.census = census
        self.study = study
        self.round_number = round_number
        self.attempt = 1 if abort is None else 1 + len(_ended(abort))
        self.epoch = epoch
        self.previous_record = previous_record
        self.model_hash = model_hash
        self.committee = committee
        self.contributors = contributors
        self.aggregators = aggregators
        self.phase = phase
        self.cohort_min = cohort_min
        self.join_window_s = join_window_s
        self.privacy_spent = privacy_spent
        self.excluded = excluded
        self.following = following
        self.actors = actors
        self.listed = listed
        self.beacon = beacon
        self.joins = joins
        self.drawn_as = (study, round_number) if drawn_as is None else drawn_as
        self.abort = abort
        self.size = census.committee

    @cached_property
    def context(self) -> bytes:
        """Binds every message of this attempt; see docs/protocol.md, section 2."""
        aborted = () if self.abort is None else (value_hash(_ended(self.abort)[-1].value),)
        return digest(
            "pnyx/round",
            PROTOCOL_VERSION.to_bytes(4, "big"),
            self.census.network,
            self.study,
            self.round_number.to_bytes(4, "big"),
            self.attempt.to_bytes(1, "big"),
            self.epoch.to_bytes(4, "big"),
            self.census.root,
            self.previous_record,
            self.model_hash,
            *aborted,
        )

    @cached_property
    def makes_epoch(self) -> bool:
        """Whether this is a round of the chain of epochs."""
        return self.study == epoch_chain_id(self.census.network)

    @property
    def abortable(self) -> bool:
        """Whether its committee may end this attempt without an outcome.

        Attempts of rounds that take contributions; the first of a study's round 0; all but the last
        at an epoch's record. What a round without contributions owes to nobody it need not end: its
        last attempt waits, and so does the genesis, which has no beacon to draw others by.
        """
        if self.phase is not None or self.makes_epoch:
            return self.phase is not None or self.hands_over
        return self.attempt < ATTEMPTS_MAX

    @cached_property
    def hands_over(self) -> bool:
        """Whether its committee may leave the record of an epoch to the next committee."""
        return self.makes_epoch and self.round_number > 0 and self.attempt <= HANDOVERS_MAX

    @property
    def last(self) -> bool:
        """Whether there is no further attempt."""
        return not self.hands_over and (self.makes_epoch or self.attempt == ATTEMPTS_MAX)

    @property
    def followers_min(self) -> int:
        """Members that must have reached a view before anybody waits for its leader."""
        return self.size.handover_quorum if self.hands_over else self.size.quorum

    @property
    def aborting(self) -> Instance:
        """The agreement that fixes what is released, and so may fix instead that nothing is."""
        return Instance.CLOSE if self.phase is None else Instance.ACCEPT

    @cached_property
    def public_keys(self) -> tuple[bytes, ...]:
        """Long-term keys of the committee, by member."""
        return tuple(self.census.public_keys[index] for index in self.committee)

    @cached_property
    def member_of(self) -> dict[int, int]:
        """Census index -> member."""
        return {index: member for member, index in enumerate(self.committee)}

    @cached_property
    def contributor_set(self) -> frozenset[int]:
        """Census indices that may contribute."""
        return frozenset(self.contributors)

    @cached_property
    def group_of(self) -> dict[int, int]:
        """Contributor (census index) -> its group. The same in both attempts."""
        if self.phase is None:
            return {}
        ids = [self.census.node_ids[index] for index in self.contributors]
        groups = contributor_groups(self.beacon, ids, self.phase.groups)
        return dict(zip(self.contributors, groups, strict=True))

    def opened(self, accepted: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """The groups whose sums are opened, ascending, each with who counts in it.

        A group below the floor is not opened, whatever the others have; and none is, if fewer
        groups reach the floor than the rule for the model needs.
        """
        groups: dict[int, list[int]] = {}
        for who in sorted(accepted):
            groups.setdefault(self.group_of[who], []).append(who)
        reached = {
            group: tuple(groups[group])
            for group in sorted(groups)
            if len(groups[group]) >= self.cohort_min
        }
        needed = 1 if self.phase is None else self.phase.robust.groups_min
        return reached if len(reached) >= needed else {}

    @property
    def scope(self) -> str:
        """Prefix of what this attempt signed; forgotten when it is aborted or its record is in."""
        return f"round/{self._name}"

    @property
    def secret_scope(self) -> str:
        """Prefix of this attempt's round keys and shares; erased once released or aborted.

        One key encrypts one scope, so what the first attempt stored is gone when the second opens.
        """
        return f"secret/{self._name}"

    @property
    def _name(self) -> str:
        return f"{self.study.hex()}/{self.round_number}-{self.attempt}"

    def leader(self, view: int) -> int:
        """The member that leads a view."""
        return view % len(self.committee)

    def __repr__(self) -> str:
        return f"RoundPlan({self.study.hex()[:8]}, round {self.round_number}.{self.attempt})"

    @property
    def released_bytes_max(self) -> int:
        """Most bytes of shares of sums that a member releases."""
        phase = self.phase
        return 0 if phase is None else phase.groups * released_bytes(phase.bounds, self.size)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, RoundPlan) and other.context == self.context

    def __hash__(self) -> int:
        return hash(self.context)


def check_decided(
    plan: RoundPlan, decision: Decision, instance: Instance, crypto: Crypto, quorum: int = 0
) -> None:
    """Check that this agreement of this attempt fixed a value. Raises ProtocolError.

    quorum: that of the value, if it is not the committee's.
    """
    if decision.instance is not instance or decision.context != plan.context:
        raise RuleBroken("a decision was taken in another attempt, or on something else")
    check_decision(
        decision,
        context=plan.context,
        quorum=quorum or plan.size.quorum,
        public_keys=plan.public_keys,
        verify=crypto.verify,
    )
