"""Up to f committee members lie, in every message in turn (THREATS A8, A5).

Member 1 of the round (f = 1) alters what it signs. The round completes with the exact sum, and
nobody but the liar is ever blamed.
"""

import pytest
from msgspec.structs import replace
from tests.support.lies import (
    AnswersLied,
)
from tests.support.town import NETWORK, Town, real
from tests.support.weakened import succeeds, weaken

from pnyx.errors import MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol import agreement, dealing
from pnyx.protocol.aggregation import direct, verdicts
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Answers,
    CloseVote,
    Dealing,
    HeldContribution,
    MemberInput,
    Opening,
    RecordVote,
    Release,
    RoundBody,
    RoundKey,
    VerifyResponse,
    ViewChange,
    Vote,
)
from pnyx.protocol.round import contributor, dealer, outcome

LIAR = 1  # a place in the committee


def flip(data: bytes) -> bytes:
    return bytes((data[0] ^ 1,)) + data[1:] if data else data


def wrong_release(body):
    return replace(body, shares=flip(body.shares)) if isinstance(body, Release) else body


def no_openings(body):
    return replace(body, openings=()) if isinstance(body, Release) else body


def wrong_openings(body):
    if not isinstance(body, Release):
        return body
    return replace(
        body, openings=tuple(replace(each, share=flip(each.share)) for each in body.openings)
    )


def wrong_answers(answers):
    return replace(answers, values=flip(answers.values))


def no_answers(answers):
    del answers
    return Answers((), b"")


def other_answers_than_it_gives(body):
    return replace(body, answers=bytes(32)) if isinstance(body, VerifyResponse) else body


def answers_to_another_challenge(body):
    return replace(body, challenge=bytes(32)) if isinstance(body, VerifyResponse) else body


def wrong_contributor(body):
    """A valid header under another contributor's name: it must not spoil the leader's proposal."""
    if not isinstance(body, CloseVote) or not body.held:
        return body
    held = (HeldContribution(body.held[0].contributor + 1, body.held[0].header_hash),)
    return replace(body, held=held)


def unknown_contribution(body):
    if not isinstance(body, CloseVote):
        return body
    return replace(body, held=(HeldContribution(3, bytes(32)),))


def no_dealers(body):
    if not isinstance(body, CloseVote):
        return body
    return replace(body, next_dealers=(), challenge_dealers=())


def invented_joins(body):
    return replace(body, joined=tuple(range(50))) if isinstance(body, CloseVote) else body


def unusable_key(body):
    return replace(body, encryption_key=bytes(32)) if isinstance(body, RoundKey) else body


def foreign_dealing(body):
    return replace(body, next_dealing=b"x" * 32) if isinstance(body, RoundKey) else body


SIGNED_LIES = [
    wrong_release,
    no_openings,
    wrong_openings,
    other_answers_than_it_gives,
    answers_to_another_challenge,
    wrong_contributor,
    unknown_contribution,
    no_dealers,
    invented_joins,
    unusable_key,
    foreign_dealing,
]
ANSWERED_LIES = [wrong_answers, no_answers]


def lying_town(lie, **terms):
    """A town in which one node lies about every body that it signs as a member of round 1."""
    town = Town(**terms)
    study = town.propose()
    lies, told = AnswersLied(town), []

    def wire(sender, receiver, message):
        lies.note(message)
        if not isinstance(message, MemberInput):
            return None
        state = town.machines[sender].studies.get(study)
        plan = state.plan if state is not None else None
        if plan is None or plan.round_number != 1 or plan.context != message.context:
            return None
        if plan.committee[LIAR] != sender:
            return None
        if lie in ANSWERED_LIES:
            lied = lies.instead(sender, message, lie)
            told.extend([lie] * lies.told)
            return None if lied is None else [lied]
        body = codec.decode(message.signed.body, RoundBody, bytes_max=10**7)
        told.extend([lie] * (lie(body) != body))
        signed = sign_body(town.cryptos[sender], NETWORK, town.census.node_ids[sender], lie(body))
        return [replace(message, signed=signed)]

    town.wire = wire
    town.run(town.in_round(study, 1))
    return town, study, town.plan(study).committee[LIAR], told


@pytest.mark.parametrize("lie", SIGNED_LIES + ANSWERED_LIES)
def test_lying_committee_member(lie):
    town, study, liar, told = lying_town(lie)
    assert town.run(town.finished(study))
    assert told, "the lie was told"
    (certified,) = town.certified()
    assert not certified.skipped
    model = town.model(study)
    assert sum(model) == certified.contributors
    assert max(model) == 1, "the sum is exact"
    assert town.blamed(ignoring=liar) <= {liar}
    # An answer that no value can carry is as good as none, and this committee plans no absences.
    held_up = lie in (answers_to_another_challenge, other_answers_than_it_gives)
    assert held_up or town.sent(ViewChange) == [], "an honest leader is not held up"


@pytest.mark.parametrize("lie", [wrong_release, wrong_answers])
def test_a_wrong_share_is_attributed(lie):
    town, study, liar, _ = lying_town(lie)
    assert town.run(town.finished(study))
    assert town.blamed() == {liar}


def test_an_unusable_key_with_real_envelopes():
    """A key of small order makes sealing fail: it must not stop dealers and contributors."""
    town, study, liar, _ = lying_town(unusable_key, make=real)
    assert town.run(town.finished(study))
    assert town.certified()[0].contributors >= 5
    assert town.blamed(ignoring=liar) == set()


def forge_votes(message):
    return [replace(message, signature=bytes(64))] if isinstance(message, Vote) else None


def vote_for_another(message):
    return (
        [replace(message, member=(message.member + 1) % 7)] if isinstance(message, Vote) else None
    )


def forge_record_votes(message):
    return [replace(message, signature=bytes(64))] if isinstance(message, RecordVote) else None


def another_record(message):
    return [replace(message, body_hash=bytes(32))] if isinstance(message, RecordVote) else None


def another_member(message):
    if isinstance(message, RecordVote | Opening):
        return [replace(message, member=(message.member + 1) % 7)]
    return None


def garbage_dealing(message):
    return [replace(message, sealed=flip(message.sealed))] if isinstance(message, Dealing) else None


def dealing_of_another(message):
    return [replace(message, dealer=message.dealer + 1)] if isinstance(message, Dealing) else None


@pytest.mark.parametrize(
    "lie",
    [
        forge_votes,
        vote_for_another,
        forge_record_votes,
        another_record,
        another_member,
        garbage_dealing,
        dealing_of_another,
    ],
)
def test_forging_committee_member(lie):
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    liar = town.plan(study).committee[LIAR]
    town.wire = lambda sender, receiver, message: lie(message) if sender == liar else None
    assert town.run(town.finished(study))
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert town.blamed() == set()
    assert town.sent(ViewChange) == [], "an honest leader is not held up"


DECODED = (
    "bad_columns = np.flatnonzero(~is_codeword(field, honest, table, size.degree))",
    "bad_columns = np.flatnonzero([])",
)
COMMITTED = (
    "return len(opened.share) == SHARE_BYTES and verify_merkle_proof(",
    "return True or verify_merkle_proof(",
)
SIGNED = (
    """        check_quorum(
            QuorumCertificate((vote.member,), (vote.signature,)),
            self._public_keys,
            statement,
            1,
            self._crypto.verify,
        )""",
    "        pass",
)


@pytest.mark.parametrize(
    ("attack", "lie", "module", "change"),
    [
        (test_lying_committee_member, wrong_release, direct, DECODED),
        (test_lying_committee_member, wrong_openings, dealing, COMMITTED),
        (
            test_a_wrong_share_is_attributed,
            wrong_release,
            outcome,
            ("self._m.wrong_releases.update(decoded[group].liars)", "pass"),
        ),
        (
            test_a_wrong_share_is_attributed,
            wrong_answers,
            verdicts,
            ("        if clean[at]:\n", "        if True:\n"),
        ),
        (test_forging_committee_member, forge_votes, agreement, SIGNED),
    ],
)
def test_what_stops_a_lie_is_a_defence(monkeypatch, attack, lie, module, change):
    weaken(monkeypatch, module, change)
    assert succeeds(attack, lie)


@pytest.mark.parametrize("module", [contributor, dealer])
def test_who_expects_usable_keys_would_stop(monkeypatch, module):
    weaken(monkeypatch, module, ("except MalformedMessage:", "except ZeroDivisionError:"))
    try:
        assert succeeds(test_an_unusable_key_with_real_envelopes)
    except MalformedMessage:  # which nobody catches
        assert module is contributor
