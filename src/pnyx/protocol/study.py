"""A study as one node knows it: the manifest, the verified chain, the name of the current model.

Record r fixes everything about round r + 1: beacon, committee, contributors, model. So any node
opens the next round by itself, and a newcomer verifies the chain forward from the manifest. The
plan of a second attempt follows from the abort certificate of the first, which its record carries.
"""

from pnyx.errors import InvalidCertificate, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import check_quorum
from pnyx.protocol.events import PublishedSum
from pnyx.protocol.identity import Census, signing_input
from pnyx.protocol.manifest import NO_MODEL, Manifest, StudyPhase
from pnyx.protocol.messages import AbortCertificate, Indices, Record, RecordBody, Signed
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.actors import (
    ROLE,
    NextActors,
    in_order,
    listed_count,
    read_actors,
    selector_for,
)
from pnyx.protocol.round.attempts import check_skip, second_attempt, without_outcome
from pnyx.protocol.round.exclusions import check_excluded
from pnyx.protocol.round.groups import check_sums
from pnyx.protocol.round.plan import NO_RECORD, RoundPlan, epoch_chain_id
from pnyx.protocol.round.values import check_actors, joins_root
from pnyx.protocol.selection import draw_contributors, select_census
from pnyx.protocol.selection.region.selector import RegionSelector

RECORD_BYTES_MAX = 4 * 1024 * 1024


def record_hash(record: Record) -> bytes:
    """Names a record in the next one."""
    return digest("pnyx/record", record.body)


def genesis_plan(census: Census) -> RoundPlan:
    """The first committee, which makes the first epoch's beacon.

    It is the one draw that the authority could bias, by choosing the census; everything later
    follows from beacons.
    """
    return RoundPlan(
        census=census,
        study=epoch_chain_id(census.network),
        round_number=0,
        epoch=0,
        previous_record=NO_RECORD,
        model_hash=NO_MODEL,
        committee=tuple(_index(census, node) for node in census.genesis),
    )


def joining_plan(
    census: Census,
    study: bytes,
    manifest: Manifest,
    epoch_beacon: bytes,
    regions: RegionSelector | None = None,
) -> RoundPlan:
    """Round 0 of a study: the epoch's committee collects joins and makes the first beacon.

    The committee is the epoch's and not the study's, or a proposer could grind manifests until
    the committee suits it.
    """
    committee = select_census(
        epoch_beacon,
        epoch_chain_id(census.network),
        manifest.epoch,
        "committee",
        census.committee.size,
        len(census),
    )
    return RoundPlan(
        census=census,
        study=study,
        round_number=0,
        epoch=manifest.epoch,
        previous_record=study,
        model_hash=manifest.initial_model,
        committee=committee,
        join_window_s=manifest.join_window_s,
        beacon=epoch_beacon,
        drawn_as=(epoch_chain_id(census.network), manifest.epoch),
        following=_following(regions, census, study, epoch_beacon, 1),
    )


def _following(
    regions: RegionSelector | None,
    census: Census,
    study: bytes,
    beacon: bytes,
    number: int,
    excluded: Indices = (),
) -> NextActors | None:
    """What the committee of the round before `number` fixes, where regions select.

    excluded: by the record that opens that round; they have no part in the draw.
    """
    if regions is None:
        return None
    among = regions.without(excluded)
    count = listed_count(census.committee, among.rule.nodes)
    return NextActors(among, among.draw(beacon, study, number, ROLE, count, 1))


def next_plan(
    census: Census,
    study: bytes,
    manifest: Manifest,
    record: Record,
    params: ProtocolParams,
    regions: RegionSelector | None = None,
) -> RoundPlan | None:
    """The round after a verified record; None after the last. regions: where they select."""
    body = read_body(record)
    number = body.round_number + 1
    if number > manifest.rounds:
        return None
    phase = manifest.phase_of(number)
    beacon = body.next_beacon
    out = frozenset(body.excluded)
    joined = [
        census.node_ids[index] for index in record.joins if index < len(census) and index not in out
    ]
    drawn = draw_contributors(beacon, joined, phase.drawn)
    aggregators = min(_aggregator_count(phase, params), len(census) - len(out))
    size = census.committee.size
    listed: tuple[int, ...] = ()
    helpers: tuple[int, ...] = ()
    following = None
    if regions is not None:
        proof = read_actors(record.actors)
        listed, helpers = (
            in_order(census, proof, beacon, number, role, body.excluded)
            for role in ("committee", "aggregator")
        )
        if number < manifest.rounds:
            following = _following(regions, census, study, beacon, number + 1, body.excluded)
    return RoundPlan(
        census=census,
        study=study,
        round_number=number,
        epoch=body.epoch,
        previous_record=record_hash(record),
        model_hash=body.model_hash,
        committee=listed[:size]
        or select_census(beacon, study, number, "committee", size, len(census), exclude=out),
        contributors=tuple(_index(census, node) for node in drawn),
        aggregators=helpers[:aggregators]
        or select_census(
            beacon, study, number, "aggregator", aggregators, len(census), exclude=out
        ),
        phase=phase,
        cohort_min=phase.cohort_min,
        privacy_spent=body.privacy_spent,
        beacon=beacon,
        joins=record.joins,
        excluded=body.excluded,
        following=following,
        actors=record.actors,
        listed=listed,
    )


def _aggregator_count(phase: StudyPhase, params: ProtocolParams) -> int:
    """Those that vouch for verified vectors must not be corrupt for the most part."""
    return params.aggregator_count if phase.verified is None else params.verified_aggregator_count


def _index(census: Census, node: bytes) -> int:
    index = census.index_of(node)
    if index is None:
        raise InvalidCertificate(f"node {node.hex()[:12]} is not in the census")
    return index


def read_body(record: Record) -> RecordBody:
    """Decode a record's signed body. Raises MalformedMessage."""
    return codec.decode(record.body, RecordBody, bytes_max=RECORD_BYTES_MAX)


def verify_record(plan: RoundPlan, record: Record, crypto: Crypto) -> RecordBody:
    """Check a record against the plan of its round. Raises ProtocolError."""
    body = read_body(record)
    pinned = (
        body.network == plan.census.network
        and body.study == plan.study
        and body.round_number == plan.round_number
        and body.attempt == plan.attempt
        and body.epoch == plan.epoch
        and body.census_root == plan.census.root
        and body.previous_record == plan.previous_record
        and body.context == plan.context
    )
    if not pinned:
        raise RuleBroken("a record does not continue this chain")
    if plan.abort != record.abort:
        raise RuleBroken(
            "a record of a later attempt, and no other, carries the abort of the one before"
        )
    if body.joins_root != joins_root(record.joins, record.actors):
        raise RuleBroken("a record's joins, or its actor list, are not those it commits to")
    if not set(body.accepted) <= plan.contributor_set or len(set(body.accepted)) != len(
        body.accepted
    ):
        raise RuleBroken("a record counts nodes that were not drawn, or one of them twice")
    if body.skipped and (body.accepted or body.metrics or body.model_hash != plan.model_hash):
        raise RuleBroken("a skipped round cannot change anything")
    opened = plan.phase is not None and not body.skipped
    if body.privacy_spent != spent_after(plan.privacy_spent, plan.phase, opened=opened):
        raise RuleBroken("a record states another privacy cost than its rounds have")
    if body.next_census is not None and (not plan.makes_epoch or plan.round_number == 0):
        raise RuleBroken("only an epoch that follows another begins with a new census")
    check_excluded(plan, body.excluded)
    if plan.phase is not None and without_outcome(body):
        check_skip(plan, body, joins_root(plan.joins, plan.actors))
    else:
        check_actors(plan, record.actors)
    if not body.skipped and len(body.accepted) < plan.cohort_min:
        raise RuleBroken("a record opens fewer contributions than the study's floor")
    check_sums(plan, body)
    check_quorum(
        record.certificate,
        plan.public_keys,
        signing_input(plan.census.network, record.body),
        plan.size.quorum,
        crypto.verify,
    )
    return body


class StudyState:
    """One study's chain at one node."""

    def __init__(self, study: bytes, signed: Signed, manifest: Manifest, census: Census) -> None:
        self.study = study
        self.signed = signed
        self.manifest = manifest
        self.census = census
        self.plan: RoundPlan | None = None  # of the attempt that is open
        self._first: RoundPlan | None = None  # of the open round's first attempt
        self._opening: RoundPlan | None = None  # of round 0
        self._regions: RegionSelector | None = None  # where they select
        self._attempts: dict[int, RoundPlan] = {}  # round -> its second attempt, where one was made
        self.records: list[Record] = []
        self.model_hash = manifest.initial_model
        self.model_makers: tuple[bytes, ...] = (signed.signer,)  # node ids: who made it, holds it
        self.holds_model = False  # at this node; see `models`
        self.finished = False
        self.statistics: PublishedSum | None = None  # of the last statistics round

    def open(self, epoch_beacon: bytes, crypto: Crypto) -> RoundPlan:
        """Start round 0."""
        if self.manifest.selection == "region":
            self._regions = selector_for(
                self.census, self.manifest.epoch, epoch_beacon, crypto.verify
            )
        self._first = joining_plan(
            self.census, self.study, self.manifest, epoch_beacon, self._regions
        )
        self._opening = self._first
        self.plan = self._first
        return self.plan

    def plan_at(self, number: int, attempt: int, params: ProtocolParams) -> RoundPlan | None:
        """The plan of an attempt of this round or of one before; None if this node knows none."""
        if self._opening is None or number > len(self.records):
            return None
        first: RoundPlan | None = self._opening
        if number > 0:
            before = self.records[number - 1]
            first = next_plan(self.census, self.study, self.manifest, before, params, self._regions)
        if first is None or attempt == 1:
            return first
        if number == len(self.records):
            return None if self.plan is self._first else self.plan
        return self._attempts.get(number)

    def abort(self, certificate: AbortCertificate, crypto: Crypto) -> RoundPlan:
        """Open the second attempt of the round. Raises ProtocolError."""
        if self._first is None or self.plan is not self._first:
            raise RuleBroken("no first attempt of this study is open")
        self.plan = second_attempt(self._first, certificate, crypto)
        return self.plan

    def plan_of(self, record: Record, crypto: Crypto) -> RoundPlan:
        """The plan of the attempt that a record of the open round is of. Raises ProtocolError.

        An abort that comes with a record is verified even if one is known: the record is passed on.
        """
        if self.plan is None or self._first is None:
            raise RuleBroken("no round of this study is open")
        if isinstance(record.abort, AbortCertificate):
            return second_attempt(self._first, record.abort, crypto)
        if record.abort is not None:
            raise RuleBroken("a study's record is not handed over")
        if self.plan is not self._first:
            raise RuleBroken("a record is of an attempt that was aborted")
        return self._first

    def accept(
        self, record: Record, crypto: Crypto, params: ProtocolParams
    ) -> tuple[RecordBody, RoundPlan | None]:
        """Verify the next record and advance; return it with the plan that follows.

        Raises ProtocolError.
        """
        plan = self.plan_of(record, crypto)
        body = verify_record(plan, record, crypto)
        if plan.abort is not None:
            self._attempts[plan.round_number] = plan
        self.records.append(record)
        self._keep_statistics(body)
        if body.model_hash != self.model_hash:
            self.model_hash = body.model_hash
            signers = record.certificate.signers  # what they signed, they had computed and stored
            self.model_makers = tuple(self.census.node_ids[plan.committee[m]] for m in signers)
            self.holds_model = False
        self._first = next_plan(
            self.census, self.study, self.manifest, record, params, self._regions
        )
        self.plan = self._first
        self.finished = self.plan is None
        return body, self.plan

    def _keep_statistics(self, body: RecordBody) -> None:
        number = body.round_number
        if number and body.metrics and self.manifest.phase_of(number).kind == "statistics":
            self.statistics = PublishedSum(body.metrics, len(body.accepted))
