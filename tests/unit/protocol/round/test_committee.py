"""One committee member walked through a round by hand, and what it does off the straight path."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.committee import Committee, over_scale
from tests.support.town import SMALL, phase

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.aggregation.verification import sum_share
from pnyx.protocol.agreement import sign_proposal, value_hash, vote_statement
from pnyx.protocol.beacon import dealers_needed
from pnyx.protocol.events import ContributionsJudged, Forget, PeerBlamed, Persist, ReadParcel
from pnyx.protocol.evidence.proofs import Offence, check_evidence, offence_of
from pnyx.protocol.identity import signing_input
from pnyx.protocol.messages import (
    Answered,
    Certificate,
    ChallengeReveal,
    CloseNow,
    Dealing,
    Decision,
    EchoProof,
    HeadersRequest,
    Instance,
    MemberInput,
    Opening,
    Phase,
    Proposal,
    Pull,
    Receipt,
    RecordBody,
    RecordVote,
    Release,
    ReleaseBundle,
    ShareRequest,
    ShownValue,
    Step,
    ValueRequest,
    VerifyResponse,
    ViewChange,
    Vote,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import leader
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.leader import Leader
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import AcceptValue, header_hash

VECTOR = np.arange(5, dtype=np.int64) - 2
CONTRIBUTORS = (2, 3, 4)


class StudyStub:
    """The study as the member sees it."""

    def __init__(
        self, model: bytes | None = b"model", following: bytes | None = b"next", culprits=()
    ) -> None:
        self.model, self._following = model, following
        self._culprits = culprits
        self.totals: list[list[int]] = []

    def joined(self):
        return (1, 2)

    def next_census(self):
        return None

    def culprits(self):
        return self._culprits

    def actors(self):
        return b""

    def holds_model(self):
        return self.model is not None

    def next_model(self, model, total, count):
        assert model == self.model
        self.totals.append(total.tolist())
        return self._following


class Walk:
    """Crafts what ends each step, with every key of the committee."""

    def __init__(
        self,
        member: int = 1,
        *,
        listed=range(7),
        study=None,
        restored=None,
        params=None,
        committee=None,
        **terms,
    ):
        self.c = committee or Committee(phase_=phase(5, norm_max=4, **terms))
        self.contributors = CONTRIBUTORS
        self.listed = tuple(listed)
        self.open_value = self.c.open_value(self.listed)
        self.opened = value_hash(self.open_value)
        self.study = study or StudyStub()
        services, self.box = self.c.services(member, restored, params=params)
        self.records = []
        self.aborts = []
        self.away: set[int] = set()
        self.member = CommitteeMember(
            services,
            member,
            self.study,
            self.away.__contains__,
            self.records.append,
            self.aborts.append,
            0.0,
        )
        self.member.start(0.0)

    @property
    def context(self):
        return self.c.plan.context

    def hear(self, sender: int, message, now: float = 1.0) -> list:
        """Give the member a message; returns what it sends."""
        before = len(self.box.sent)
        self.member.handle(sender, message, now)
        self.read_model(now)
        return [m for _, m in self.box.sent[before:]]

    def read_model(self, now: float = 1.0) -> None:
        """Answer the member when it reads the model, the first time."""
        if self.member.model is None and self.box.of(ReadParcel):
            self.member.on_parcel(self.c.plan.model_hash, self.study.model, now)

    def signatures(self, instance, phase_, value, view=0):
        statement = vote_statement(self.context, instance, phase_, view, value_hash(value))
        signers = tuple(range(self.c.size.quorum))
        return QuorumCertificate(
            signers, tuple(self.c.folk.cryptos[m].sign(statement) for m in signers)
        )

    def decision(self, instance, value):
        return Decision(
            self.context, instance, 0, value, self.signatures(instance, Phase.LOCK, value)
        )

    def certificate(self, instance, phase_, value, view=0):
        signed = self.signatures(instance, phase_, value, view)
        return Certificate(self.context, instance, phase_, view, value_hash(value), signed)

    def proposal(self, instance, value, view=0):
        leader = self.c.folk.cryptos[self.c.plan.committee[self.c.plan.leader(view)]]
        return sign_proposal(leader, self.context, instance, view, value)

    def close_value(self):
        headers = [self.c.header(i, open_value=self.opened) for i in self.contributors]
        votes = [self.c.member_signed(m, self.c.close_vote(m, headers)) for m in self.listed]
        return self.c.close_value(headers, votes)

    def opened_dealers(self):
        return range(dealers_needed(self.c.size))

    def opening(self, member):
        shares = tuple(self.c.dealt(d, "challenge").shares[member] for d in self.opened_dealers())
        return Opening(self.context, member, shares)

    def accept_value(self):
        challenge = self.member.challenge
        responses = [self.answered(m, challenge) for m in self.listed]
        return self.c.accept_value(responses)

    def answered(self, member, challenge):
        headers = [self.c.header(i, open_value=self.opened) for i in self.contributors]
        return self.c.answered(member, self.contributors, challenge, headers=headers)

    def hear_answers(self, member):
        given = self.answered(member, self.member.challenge)
        self.hear(member, MemberInput(self.context, given.signed, answers=given.answers))

    def release(self, member, **changes):
        shares = [self.c.shares(i, member) for i in self.member.judgement.accepted]
        terms = {
            "context": self.context,
            "member": member,
            "accepted": self.member.decided(Instance.ACCEPT),
            "shares": sum_share(shares, self.c.bounds, self.c.size),
            "openings": tuple(
                self.c.dealt(d, "next").shares[member] for d in self.opened_dealers()
            ),
            **changes,
        }
        return self.c.member_signed(member, Release(**terms))

    def bundle(self, releases=None):
        given = [self.release(m) for m in self.listed] if releases is None else releases
        return ReleaseBundle(self.context, tuple(given))

    def to(self, step: Step) -> "Walk":
        """Bring the member to a step by what ends the steps before."""
        endings = {
            Step.OPEN: lambda: self.decision(Instance.OPEN, self.open_value),
            Step.CLOSE: lambda: self.decision(Instance.CLOSE, self.close_value()),
            Step.CHALLENGE: lambda: ChallengeReveal(
                self.context, tuple(self.opening(m) for m in self.listed[:3])
            ),
            Step.ACCEPT: lambda: self.decision(Instance.ACCEPT, self.accept_value()),
            Step.RELEASE: self.bundle,
        }
        while self.member.step < step:
            self.hear(0, endings[self.member.step]())
        assert self.member.step is step
        return self

    def own_inputs(self, kind):
        bodies = [self.member.reader.member_body(m.signed) for m in self.box.of(MemberInput)]
        return [body for body in bodies if isinstance(body, kind)]


def test_a_walk_through_the_whole_round():
    walk = Walk().to(Step.CERTIFY)
    assert walk.study.totals == [(3 * VECTOR).tolist()]
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert body.accepted == CONTRIBUTORS
    assert body.open_value == walk.opened
    assert len(walk.box.of(RecordVote)) == 1
    assert walk.member.next_deadline() is not None


def test_a_member_without_shares_releases_none_and_erases():
    walk = Walk().to(Step.CERTIFY)
    (release,) = walk.own_inputs(Release)
    assert release.shares == b"", "it never received the contributions"
    assert any(isinstance(e, Forget) for e in walk.box.effects)
    assert walk.member.private_key == b""
    late = walk.c.contribution(2, 1)
    assert walk.hear(2, late) == []


def test_a_member_outside_the_pool_releases_no_sum():
    walk = Walk().to(Step.ACCEPT)
    walk.hear(0, walk.decision(Instance.ACCEPT, walk.accept_value()))
    judged = walk.member.judgement
    walk.member.judgement = replace(judged, pool=(0, 2, 3, 4, 5, 6))
    assert walk.member.inputs._sum_share() == b""


def test_an_unlisted_member_follows_silently():
    walk = Walk(6, listed=range(6))
    walk.to(Step.CERTIFY)
    assert walk.own_inputs(Release) == []
    assert walk.box.of(Opening) == []
    assert walk.box.of(Dealing) == []
    assert walk.hear(2, walk.c.contribution(2, 6)) == []


def test_the_missing_envelopes_are_asked_for():
    walk = Walk().to(Step.CHALLENGE)
    assert ShareRequest(walk.context, CONTRIBUTORS) in walk.box.of(ShareRequest)


def test_messages_that_are_not_for_a_member():
    walk = Walk()
    assert walk.hear(8, walk.opening(0)) == []
    assert walk.hear(0, Receipt(walk.context, 0, bytes(32), bytes(64))) == []
    reveal = ChallengeReveal(walk.context, ())
    assert walk.hear(0, reveal) == []
    assert walk.hear(0, walk.bundle([])) == []
    assert walk.hear(3, Dealing(walk.context, 2, bytes(9))) == []
    assert walk.member.step is Step.OPEN


def test_nothing_follows_the_record():
    walk = Walk().to(Step.CERTIFY)
    walk.member.certified("the record")
    assert walk.records == ["the record"]
    assert walk.member.step is Step.DONE
    assert walk.hear(0, Pull(walk.context, Step.OPEN)) == []
    walk.member.tick(99.0)
    assert walk.member.next_deadline() is None
    walk.member.leader.lead(99.0)
    walk.member._give_input(Step.DONE, 99.0)


def test_a_value_comes_before_what_it_depends_on():
    """After a restart the close slot is known while the open list is not."""
    value = Walk().close_value()
    walk = Walk(2)
    for message in (
        walk.proposal(Instance.CLOSE, value),
        walk.certificate(Instance.CLOSE, Phase.LOCK, value),
    ):
        assert walk.hear(0, message)[-1] == Pull(walk.context, Step.OPEN)
        assert not walk.box.of(Vote)
    assert walk.hear(0, walk.decision(Instance.CLOSE, value)) == []
    assert walk.member.agreements[Instance.CLOSE].decision is None
    walk.to(Step.CHALLENGE)
    assert walk.member.closed is not None


def test_a_restored_close_slot_does_not_strand_the_member():
    first = Walk(2).to(Step.CLOSE)
    value = first.close_value()
    first.hear(0, first.proposal(Instance.CLOSE, value))
    kept = {
        e.key.rsplit("/1-1/", 1)[1]: e.value
        for e in first.box.of(Persist)
        if e.key.startswith("round/")
    }
    walk = Walk(2, restored=kept)
    lock = walk.certificate(Instance.CLOSE, Phase.LOCK, value)
    assert walk.hear(0, lock) == [Pull(walk.context, Step.OPEN)]
    walk.to(Step.CHALLENGE)


def test_a_lock_certificate_decides_or_asks():
    walk = Walk(2)
    lock = walk.certificate(Instance.OPEN, Phase.LOCK, walk.open_value)
    assert walk.hear(0, lock) == [Pull(walk.context, Step.OPEN)], "the value is not known"
    echo = walk.certificate(Instance.OPEN, Phase.ECHO, walk.open_value)
    assert walk.hear(0, echo) == []
    walk.hear(0, walk.proposal(Instance.OPEN, walk.open_value))
    walk.hear(0, lock)
    assert walk.member.step is Step.CLOSE
    assert walk.hear(0, lock) == []
    assert walk.hear(0, walk.proposal(Instance.OPEN, walk.open_value)) == []


def test_a_restarted_member_sends_the_same_round_key():
    first = Walk(2)
    given = first.box.of(MemberInput)[0]
    kept = {"round-key": codec.encode(given.signed)}
    walk = Walk(2, restored=kept)
    assert {m.signed for m in walk.box.of(MemberInput)} == {given.signed}
    assert walk.member.private_key == b"", "its secrets are erased: it takes in nothing more"
    walk.to(Step.CLOSE)
    assert walk.box.of(Dealing) == []
    assert walk.hear(2, walk.c.contribution(2, 2)) == []
    assert walk.hear(3, Dealing(walk.context, 3, bytes(9))) == []


def test_a_proposal_of_an_earlier_view():
    walk = Walk(2)
    walk.member.views.advance(1.0)
    proposed = walk.proposal(Instance.OPEN, walk.open_value)
    assert not any(isinstance(said, Vote) for said in walk.hear(0, proposed))
    assert walk.hear(1, replace(proposed, view=8)) == []


def test_receipts_and_their_repetition():
    walk = Walk()
    walk.to(Step.CLOSE)
    walk.member.holdings._private_key = walk.c.private_key(1)
    message = walk.c.contribution(2, 1)
    assert [type(m) for m in walk.hear(2, message)] == [Receipt]
    assert [type(m) for m in walk.hear(8, message)] == [Receipt]
    walk.member.stopped = True
    assert [type(m) for m in walk.hear(2, message)] == [Receipt]
    assert walk.hear(3, walk.c.contribution(3, 1)) == []


def test_blame_needs_the_sender():
    walk = Walk()
    walk.to(Step.CLOSE)
    message = walk.c.contribution(2, 1)
    for sender, blamed in ((8, 0), (2, 1)):
        with pytest.raises(Exception, match="does not open"):
            walk.hear(sender, message)
        assert len(walk.box.of(PeerBlamed)) == blamed


def test_an_early_contribution_of_its_own_sender_wins():
    walk = Walk()
    good = walk.c.contribution(2, 1)
    bad = replace(good, share=replace(good.share, sealed=b""))
    walk.hear(8, bad)
    walk.hear(2, good)
    walk.hear(8, bad)
    assert walk.member._early_contributions == {2: (2, good)}
    with pytest.raises(RuleBroken):
        walk.hear(2, replace(good, header=walk.c.header(8)))


def test_calls_to_close():
    walk = Walk().to(Step.CLOSE)
    vote = walk.c.member_signed(0, walk.c.close_vote(0))
    for votes in ((vote,), (vote, vote), (vote, walk.c.member_signed(2, walk.c.round_key(2)))):
        walk.hear(0, CloseNow(walk.context, votes))
        assert not walk.member.close_forced
    other = walk.c.member_signed(3, walk.c.close_vote(3))
    walk.hear(0, CloseNow(walk.context, (vote, other)))
    assert walk.member.close_forced


@pytest.mark.parametrize(
    ("spoil", "blamed"),
    [
        pytest.param(lambda walk: [walk.release(m) for m in range(1)], 0, id="too few openings"),
        pytest.param(
            lambda walk: [walk.release(m, shares=b"") for m in range(7)], 0, id="no shares"
        ),
        pytest.param(
            lambda walk: [walk.release(m, accepted=bytes(32)) for m in range(7)],
            0,
            id="another set",
        ),
        pytest.param(
            lambda walk: [walk.c.member_signed(m, walk.c.round_key(m)) for m in range(7)],
            0,
            id="another kind of input",
        ),
        pytest.param(
            lambda walk: [walk.release(m, shares=b"1234") for m in range(7)], 0, id="wrong size"
        ),
    ],
)
def test_a_bundle_that_does_not_suffice(spoil, blamed):
    walk = Walk().to(Step.RELEASE)
    walk.hear(0, walk.bundle(spoil(walk)))
    assert walk.member.step is Step.RELEASE
    assert len(walk.box.of(PeerBlamed)) == blamed


def test_a_contributor_beyond_its_bound_is_left_out_and_blamed():
    walk = Walk()
    walk.contributors = (2, 3, 4, 5)
    walk.c.altered[5] = over_scale(2, walk.c.bounds, walk.c.size)
    walk.to(Step.CERTIFY)
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert body.accepted == (2, 3, 4)
    assert walk.study.totals == [(3 * VECTOR).tolist()]
    (evidence,) = walk.box.accused
    assert evidence.culprit == 5
    assert offence_of(evidence.proof) == walk.member.judgement.rejected[5].value
    check_evidence(evidence, walk.c.plan, walk.c.folk.cryptos[8])
    assert codec.decode(walk.member.body, RecordBody, bytes_max=10**6).excluded == (5,)
    assert walk.member.judgement.rejected[5] in (Rule.RANGE, Rule.BOUND)


def test_a_contribution_of_no_vector_is_left_out_and_its_contributor_convicted():
    """Three members got shares of something else: more than can lie."""
    walk = Walk()
    walk.contributors = (2, 3, 4, 5)
    honest = walk.c.payloads(5)
    spoilt = {honest[member] for member in (0, 1, 2)}
    walk.c.altered[5] = lambda p: p[:-4] + bytes((p[-4] ^ 1,)) + p[-3:] if p in spoilt else p
    walk.to(Step.CERTIFY)
    assert walk.member.judgement.rejected == {5: Rule.SHARING}
    (judged,) = walk.box.of(ContributionsJudged)
    ids = walk.c.plan.census.node_ids
    assert judged.accepted == tuple(ids[who] for who in (2, 3, 4))
    assert judged.rejected == (ids[5],)
    assert judged.left_out == ()
    (evidence,) = walk.box.accused
    assert (evidence.culprit, offence_of(evidence.proof)) == (5, Offence.SHARING)
    check_evidence(evidence, walk.c.plan, walk.c.folk.cryptos[8])
    assert codec.decode(walk.member.body, RecordBody, bytes_max=10**6).excluded == (5,)


def test_a_round_that_verification_brings_below_its_floor_opens_nothing():
    walk = Walk()
    walk.c.altered[4] = over_scale(3, walk.c.bounds, walk.c.size)
    walk.to(Step.CERTIFY)
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert body.skipped
    assert body.accepted == ()
    assert body.model_hash == walk.c.plan.model_hash
    assert walk.study.totals == []


def test_a_rule_that_refuses_the_sum_keeps_the_model():
    walk = Walk(study=StudyStub(following=None)).to(Step.CERTIFY)
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert body.model_hash == walk.c.plan.model_hash


def test_without_the_model_the_member_waits():
    walk = Walk(study=StudyStub(model=None)).to(Step.RELEASE)
    walk.hear(0, walk.bundle())
    assert walk.member.step is Step.RELEASE
    walk.member.tick(2.0)
    assert walk.box.of(ReadParcel) == []
    walk.study.model = b"model"  # it has come
    walk.member.tick(3.0)
    walk.member.tick(4.0)
    assert walk.box.of(ReadParcel) == [ReadParcel(walk.context, walk.c.plan.model_hash)]
    walk.read_model()
    assert walk.member.step is Step.CERTIFY


def test_what_comes_too_late_changes_nothing():
    walk = Walk().to(Step.CERTIFY)
    before = walk.member.body
    walk.member.on_computed(b"x" * 32, None, 2.0)
    assert walk.member.body == before
    walk.member.record = walk.c.folk
    walk.member.on_computed(b"x" * 32, None, 2.0)
    walk.member.on_parcel(walk.c.plan.model_hash, b"other", 2.0)
    assert walk.member.model == b"model"


def test_an_evaluation_publishes_metrics_only():
    walk = Walk(kind="evaluate", metrics_length=2).to(Step.CERTIFY)
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert body.metrics == tuple((3 * VECTOR[3:]).tolist())
    assert body.model_hash == walk.c.plan.model_hash


def test_laggards_get_what_ended_their_step():
    walk = Walk().to(Step.CERTIFY)
    kinds = [type(m) for m in walk.hear(3, Pull(walk.context, Step.OPEN))]
    assert kinds == [Decision, Decision, ChallengeReveal, Decision, ReleaseBundle]
    assert [type(m) for m in walk.hear(8, Pull(walk.context, Step.OPEN))] == [Decision]
    assert walk.hear(3, Pull(walk.context, Step.CERTIFY)) == []
    change = ViewChange(walk.context, 0, Step.RELEASE, Instance.ACCEPT, None)
    assert [type(m) for m in walk.hear(3, change)] == [ReleaseBundle]
    walk = Walk()
    change = ViewChange(walk.context, 0, Step.CERTIFY, Instance.ACCEPT, None)
    assert walk.hear(3, change) == [Pull(walk.context, Step.OPEN)]
    assert walk.hear(1, change) == []


def test_guards_that_only_bugs_could_reach():
    """Steps cannot be reached without these values; the guards keep the types honest."""
    walk = Walk()
    member = walk.member
    assert member.recover_challenge([]) is None
    assert member.outcome.record_from(walk.bundle([])) is None
    assert member.inputs.make(Step.CERTIFY, 0.0) is None
    assert member.missing_contributors() == ()
    assert not member.inputs._enough_contributions()
    member._apply(Instance.ACCEPT, b"")
    member._validate_accept(b"")
    leader = member.leader
    assert leader._accept_value(0.0) is None
    leader._lead_record()
    leader._spread_open_certificate(walk.certificate(Instance.OPEN, Phase.LOCK, b"x"))
    assert walk.member.step is Step.OPEN


def test_a_leader_takes_no_vote_in_another_name():
    walk = Walk(0)
    vote = Vote(walk.context, Instance.OPEN, Phase.ECHO, 0, 3, bytes(32), bytes(64))
    before = len(walk.box.sent)
    walk.hear(2, vote)
    walk.hear(2, RecordVote(walk.context, 3, bytes(32), bytes(64)))
    walk.hear(2, walk.opening(3))
    assert len(walk.box.sent) == before
    assert isinstance(walk.member.leader, Leader)


def test_a_leader_leaves_forged_record_votes_out():
    walk = Walk(0).to(Step.CERTIFY)
    hash_ = value_hash(walk.member.body)
    statement = signing_input(walk.c.plan.census.network, walk.member.body)
    for member in range(1, 6):
        signature = bytes(64) if member == 3 else walk.c.folk.cryptos[member].sign(statement)
        walk.hear(member, RecordVote(walk.context, member, hash_, signature))
    own = walk.box.of(RecordVote)[-1]
    walk.hear(0, own)
    assert walk.records == []
    good = walk.c.folk.cryptos[6].sign(statement)
    walk.hear(6, RecordVote(walk.context, 6, hash_, good))
    assert len(walk.records) == 1
    assert walk.records[0].certificate.signers == (0, 1, 2, 4, 5, 6)


def test_a_leader_shows_nobody_openings_at_greater_length():
    walk = Walk(0).to(Step.CHALLENGE)
    right = walk.opening(1)
    longer = tuple(replace(each, proof=(*each.proof, bytes(32))) for each in right.openings)
    for openings in (longer, (*right.openings, walk.c.dealt(3, "challenge").shares[1])):
        with pytest.raises(MalformedMessage, match="more dealings than are needed"):
            walk.hear(1, Opening(walk.context, 1, openings))
    walk.hear(1, right)


def test_a_leader_reveals_more_when_the_first_openings_do_not_suffice():
    walk = Walk(0).to(Step.CHALLENGE)
    before = len(walk.box.of(ChallengeReveal))
    for member in (1, 2, 3):
        walk.hear(member, Opening(walk.context, member, ()))
    for member in (4, 5, 6):
        walk.hear(member, walk.opening(member))
    walk.hear(0, Opening(walk.context, 0, ()))
    reveals = walk.box.of(ChallengeReveal)[before:]
    assert reveals
    assert len(reveals[0].openings) >= 6


def led_bundle(odd=(), **changes) -> ReleaseBundle:
    """What a leader spreads when the odd members change what they release."""
    walk = Walk(0).to(Step.RELEASE)
    for member in range(7):
        signed = walk.release(member, **(changes if member in odd else {}))
        walk.hear(member, MemberInput(walk.context, signed))
    return walk.box.of(ReleaseBundle)[-1]


def test_a_leader_spreads_no_more_releases_than_prove_the_sum():
    bundle = led_bundle()
    size = SMALL
    assert len(bundle.releases) == size.degree + 1 + size.corrupt_max < size.size
    walk = Walk().to(Step.RELEASE)
    walk.hear(0, bundle)
    assert walk.study.totals == [(3 * VECTOR).tolist()]


@pytest.mark.parametrize("alter", [lambda right: b"1234", lambda right: right[4:] + right[:4]])
def test_with_a_wrong_release_the_members_see_them_all(alter):
    walk = Walk(0).to(Step.RELEASE)
    right = walk.member.reader.member_body(walk.release(6)).shares
    bundle = led_bundle({6}, shares=alter(right))
    assert len(bundle.releases) == SMALL.size
    walk = Walk().to(Step.RELEASE)
    walk.hear(0, bundle)
    (evidence,) = walk.box.accused
    assert evidence.culprit == 6
    check_evidence(evidence, walk.c.plan, walk.c.folk.cryptos[8])


def test_a_leader_spreads_all_releases_when_the_first_do_not_open_the_beacon():
    assert len(led_bundle({0, 1, 2, 3}, openings=()).releases) == SMALL.size


def test_a_restart_opens_the_same_challenge():
    first = Walk().to(Step.ACCEPT)
    reveal = codec.encode(first.member.reveal)
    walk = Walk(restored={"reveal": reveal}).to(Step.CLOSE)
    walk.hear(0, walk.decision(Instance.CLOSE, walk.close_value()))
    assert walk.member.step is Step.ACCEPT
    assert walk.member.challenge == first.member.challenge


def responses(walk) -> list:
    return [
        Answered(m.signed, m.answers)
        for m in walk.box.of(MemberInput)
        if isinstance(walk.member.reader.member_body(m.signed), VerifyResponse)
    ]


def test_a_member_answers_one_challenge_only(monkeypatch):
    """Answers to a second one would open new functionals of the contributors' secrets."""
    first = Walk().to(Step.CLOSE)
    first.member.holdings._private_key = first.c.private_key(1)
    for who in CONTRIBUTORS:
        first.hear(who, first.c.contribution(who, 1, header=first.c.header(who)))
    first.to(Step.ACCEPT)
    (given,) = responses(first)
    assert given.answers.held == CONTRIBUTORS
    kept = {
        e.key.rsplit("/1-1/", 1)[1]: e.value
        for e in first.box.of(Persist)
        if not e.key.endswith("/secret")
    }

    def answered_after_a_restart(challenge):
        walk = Walk(restored=dict(kept))
        walk.member.holdings._private_key = walk.c.private_key(1)
        walk.to(Step.ACCEPT)
        walk.member.challenge = challenge
        again = walk.member.inputs.make(Step.ACCEPT, 1.0)
        return responses(walk)[0], Answered(again.signed, again.answers)

    assert answered_after_a_restart(first.member.challenge) == (given, given)
    assert answered_after_a_restart(bytes(32)) == (given, given)
    monkeypatch.setattr(
        RoundServices,
        "answer_once",
        lambda self, response, answers: Answered(self.sign(response), answers),
    )
    _, second = answered_after_a_restart(bytes(32))
    assert second != given, "the slot on the disk is the defence"


def test_a_leader_waits_for_dealers():
    walk = Walk(0).to(Step.CLOSE)
    proposed = len(walk.box.of(Proposal))
    for dealers in ((0,), (0, 1)):
        assert len(walk.box.of(Proposal)) == proposed
        for member in range(7):
            vote = walk.c.close_vote(member, next_dealers=dealers)
            walk.hear(member, MemberInput(walk.context, walk.c.member_signed(member, vote)))
    assert len(walk.box.of(Proposal)) > proposed


def test_a_leader_asks_other_members_for_a_value_that_it_echoed_and_lost():
    """It was restarted since, and is itself among those that signed; each time others are asked."""
    walk = Walk(1).to(Step.CLOSE)
    value = walk.close_value()
    signed = walk.signatures(Instance.CLOSE, Phase.ECHO, value)
    echoed = EchoProof(0, value_hash(value), signed)
    for member in (0, *range(2, 7)):
        proof = echoed if member == 0 else None
        change = ViewChange(walk.context, 1, Step.CLOSE, Instance.CLOSE, proof)
        walk.hear(member, change, now=10.0)
    for at in range(10, 30, 3):
        walk.member.leader.lead(float(at))
    asked = [member for member, said in walk.box.sent if isinstance(said, ValueRequest)]
    assert set(asked) == {0, 2, 3, 4, 5}
    assert asked[:2] == [0, 2]


def test_a_restarted_leader_says_its_proposal_again_with_what_it_follows_from():
    """Members that are locked on another value follow the echo certificate alone."""
    first = Walk(0).to(Step.CLOSE)
    value = first.close_value()
    signed = first.signatures(Instance.CLOSE, Phase.ECHO, value, 1)
    echoed = EchoProof(1, value_hash(value), signed)

    def led(walk: Walk) -> list[Proposal]:
        for member in range(1, 7):
            change = ViewChange(walk.context, 7, Step.CLOSE, Instance.CLOSE, echoed)
            walk.hear(member, change, now=10.0)
        asked = [member for member, said in walk.box.sent if isinstance(said, ValueRequest)]
        for member in asked[:1]:
            walk.hear(member, ShownValue(walk.context, Instance.CLOSE, value), now=10.0)
        walk.member.leader.lead(11.0)
        return walk.box.of(Proposal)

    said = led(first)
    assert said
    assert said[0].proof == echoed
    kept = {
        effect.key.rsplit("/1-1/", 1)[1]: effect.value
        for effect in first.box.of(Persist)
        if "agreement/" in effect.key
    }
    again = led(Walk(0, restored=kept).to(Step.CLOSE))
    assert again
    assert {each.value for each in again} == {value}
    assert again[-1].proof == echoed


def test_a_leader_takes_no_answers_from_an_unlisted_member():
    walk = Walk(0, listed=range(6)).to(Step.ACCEPT)
    for member in (6, 1, 2, 3, 4):
        walk.hear_answers(member)
    assert not any(p.instance is Instance.ACCEPT for p in walk.box.of(Proposal))


@pytest.mark.parametrize("fits", [True, False])
def test_a_leader_leaves_out_answers_that_make_its_proposal_too_long(monkeypatch, fits):
    walk = Walk(0).to(Step.ACCEPT)
    whole = len(walk.accept_value())
    monkeypatch.setattr(leader, "VALUE_BYTES_MAX", whole if fits else whole - 1)
    monkeypatch.setattr(leader, "inputs_wanted", lambda size, view: size.quorum)  # in late views
    for member in walk.listed:
        walk.hear_answers(member)
    [value] = {p.value for p in walk.box.of(Proposal) if p.instance is Instance.ACCEPT}
    carried = codec.decode(value, AcceptValue, bytes_max=10**6).responses
    assert len(carried) == (len(walk.listed) if fits else walk.c.size.quorum)


def voted(walk, member, attached=()) -> MemberInput:
    headers = [walk.c.header(i, open_value=walk.opened) for i in CONTRIBUTORS]
    vote = walk.c.member_signed(member, walk.c.close_vote(member, headers))
    return MemberInput(walk.context, vote, tuple(attached))


def requests(said) -> list[HeadersRequest]:
    return [message for message in said if isinstance(message, HeadersRequest)]


def test_a_leader_asks_for_the_headers_that_it_lacks():
    walk = Walk(0).to(Step.CLOSE)
    headers = [walk.c.header(i, open_value=walk.opened) for i in CONTRIBUTORS]
    names = tuple(sorted(header_hash(header) for header in headers))
    assert requests(walk.hear(1, voted(walk, 1))) == [HeadersRequest(walk.context, names)]
    assert requests(walk.hear(1, voted(walk, 1, headers))) == []
    proposed = len(walk.box.of(Proposal))
    for member in (0, *range(2, 7)):
        assert requests(walk.hear(member, voted(walk, member))) == []
    assert len(walk.box.of(Proposal)) > proposed


def test_a_leader_asks_for_no_headers_that_it_holds_itself():
    walk = Walk(0).to(Step.CLOSE)
    walk.member.holdings._private_key = walk.c.private_key(0)
    held = [walk.c.contribution(i, 0) for i in CONTRIBUTORS]
    for who, message in zip(CONTRIBUTORS[:2], held, strict=False):
        walk.hear(who, message)
    (request,) = requests(walk.hear(1, voted(walk, 1)))
    assert request.names == (header_hash(held[2].header),)


def test_a_leader_asks_a_member_that_shows_nothing_a_few_times():
    walk = Walk(0).to(Step.CLOSE)
    asked = [requests(walk.hear(1, voted(walk, 1))) for _ in range(10)]
    assert [len(each) for each in asked] == [1] * 8 + [0] * 2
    assert len(requests(walk.hear(2, voted(walk, 2)))) == 1


def test_a_member_shows_its_leader_the_headers_that_its_vote_names():
    walk = Walk(1).to(Step.CLOSE)
    walk.member.holdings._private_key = walk.c.private_key(1)
    held = [walk.c.contribution(i, 1) for i in CONTRIBUTORS]
    for who, message in zip(CONTRIBUTORS, held, strict=True):
        walk.hear(who, message)
    wanted = (bytes(32), header_hash(held[1].header))
    request = HeadersRequest(walk.context, wanted)
    assert walk.hear(0, request) == [], "it has not voted"
    walk.member._given[Step.CLOSE] = given = walk.member.inputs.signed_close_vote()
    assert given.attachments == ()
    shown = MemberInput(walk.context, given.signed, (held[1].header,))
    assert walk.hear(2, request) == [], "it does not lead"
    assert walk.hear(0, HeadersRequest(walk.context, (bytes(32),))) == []
    assert [walk.hear(0, request) for _ in range(9)] == [[shown]] * 8 + [[]]


def test_a_member_shows_as_many_headers_as_a_message_holds_and_its_leader_asks_for_the_rest():
    """The headers of a leader's choice may be more than one message carries."""
    leader = Walk(0).to(Step.CLOSE)
    headers = [leader.c.header(i, open_value=leader.opened) for i in CONTRIBUTORS]
    limit = len(codec.encode(voted(leader, 1, headers[:2])))
    walk = Walk(1, params=ProtocolParams(message_bytes_max=limit)).to(Step.CLOSE)
    walk.member.holdings._private_key = walk.c.private_key(1)
    for who in CONTRIBUTORS:
        walk.hear(who, walk.c.contribution(who, 1))
    walk.member._given[Step.CLOSE] = said = walk.member.inputs.signed_close_vote()
    asked = []
    while requested := requests(leader.hear(1, said)):
        asked += requested
        (said,) = walk.hear(0, requested[0])
        assert len(codec.encode(said)) <= limit
    assert [len(request.names) for request in asked] == [3, 1]
    assert len(leader.member.leader._headers) == 3
