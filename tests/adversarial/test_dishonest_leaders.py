"""A leader withholds, repeats, or shows different members different things (THREATS A3, A5).

It can only delay: after a time-out the next leader finishes the round with one set.
"""

import pytest
from msgspec.structs import replace
from tests.support.ballots import echo_again
from tests.support.lies import (
    flip_values,
)
from tests.support.town import Town
from tests.support.weakened import (
    weaken,
)

from pnyx.primitives import codec
from pnyx.protocol.agreement import Agreement, sign_proposal
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import (
    Certificate,
    ChallengeReveal,
    CloseNow,
    Decision,
    Instance,
    Phase,
    Proposal,
    ReleaseBundle,
    Vote,
)
from pnyx.protocol.round import (
    values,
)
from pnyx.protocol.round.leader import (
    Leader,
)
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    AcceptValue,
    CloseValue,
)

LED = (Proposal, Certificate, ChallengeReveal, ReleaseBundle, CloseNow, Decision)


def signed(crypto, message):
    """The message, signed by the liar if that takes a signature."""
    if not isinstance(message, Proposal):
        return message
    terms = message.context, message.instance, message.view, message.value, message.proof
    return sign_proposal(crypto, *terms)


def led_by_a_liar(lie, seconds=120.0):
    """Round 1 with a liar as leader of view 0: lie(receiver's place, message) -> messages."""
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    liar = plan.committee[0]

    def wire(sender, receiver, message):
        if sender != liar or not isinstance(message, LED):
            return None
        said = lie(plan.member_of.get(receiver), message)
        return None if said is None else [signed(town.cryptos[liar], each) for each in said]

    town.wire = wire
    finished = town.run(town.finished(study), seconds)
    return town, study, finished


@pytest.mark.parametrize("kind", LED)
def test_withholding_leader(kind):
    town, study, finished = led_by_a_liar(
        lambda place, message: [] if isinstance(message, kind) else None
    )
    assert finished
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert town.blamed() == set()


@pytest.mark.parametrize("kind", [Proposal, Certificate, ReleaseBundle])
def test_leader_that_shows_half_the_committee(kind):
    town, study, finished = led_by_a_liar(
        lambda place, message: [] if isinstance(message, kind) and place in (1, 2, 3) else None
    )
    assert finished
    assert sum(town.model(study)) == town.certified()[0].contributors


def test_leader_that_forges_values_and_certificates():
    def forge(place, message):
        match message:
            case Proposal():
                return [replace(message, value=b"\x92\x64\x90"), message]
            case Certificate() if message.phase is Phase.LOCK:
                return [replace(message, view=message.view + 1), message]
            case ChallengeReveal():
                return [replace(message, openings=()), message]
            case ReleaseBundle():
                return [replace(message, releases=message.releases[:2]), message]
            case CloseNow():
                return [replace(message, votes=message.votes[:1]), message]
        return None

    town, study, finished = led_by_a_liar(forge)
    assert finished
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert len(town.blamed()) == 1
    assert {blamed.rule for blamed in town.effects(PeerBlamed)} == {Offence.TWO_PROPOSALS.value}
    assert any("Cannot decode" in rule for rule in town.rules())


def echoes_of_two_closed_lists() -> list[int]:
    """A leader shows everybody a second closed list, as valid, in the same view.

    Returns how many lists each honest member echoed.
    """

    rounds = set()

    def two(place, message):
        if isinstance(message, Proposal) and message.instance is Instance.CLOSE:
            rounds.add(message.context)
            closed = codec.decode(message.value, CloseValue, bytes_max=VALUE_BYTES_MAX)
            fewer = CloseValue(closed.votes[:-1], closed.headers)  # still a quorum
            return [message, replace(message, value=codec.encode(fewer))]
        return None

    town, study, finished = led_by_a_liar(two)
    assert finished
    assert sum(town.model(study)) == town.certified()[0].contributors
    echoed: dict[int, set[bytes]] = {}
    for vote in town.sent(Vote):
        named = vote.instance, vote.phase, vote.view
        if vote.context in rounds and named == (Instance.CLOSE, Phase.ECHO, 0):
            echoed.setdefault(vote.member, set()).add(vote.value_hash)
    return [len(values) for values in echoed.values()]


def test_leader_that_proposes_two_values_in_one_view(monkeypatch):
    assert set(echoes_of_two_closed_lists()) == {1}
    monkeypatch.setattr(Agreement, "on_proposal", echo_again)
    assert set(echoes_of_two_closed_lists()) == {2}, "echoing once in a view is the defence"


def test_proposal_by_a_member_that_does_not_lead():
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    town.run(lambda: any(m.context == town.plan(study).context for m in town.sent(Proposal)))
    plan = town.plan(study)
    proposal = next(m for m in town.sent(Proposal) if m.context == plan.context)
    assert proposal.view == 0
    for forged in (proposal, replace(proposal, view=1), replace(proposal, view=2)):
        assert town.inject(plan.committee[2], plan.committee[3], forged) == []


def round_of_altered_answers(monkeypatch: pytest.MonkeyPatch) -> tuple[Town, bytes, set[bytes]]:
    """A leader alters the answers that travel beside signatures of honest members.

    Returns the contexts in which it proposed them.
    """
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    liar = town.census.node_ids[town.plan(study).committee[0]]
    true_value, altered = Leader._accept_value, set()

    def false_value(leader: Leader, now: float) -> bytes | None:
        value = true_value(leader, now)
        if value is None or leader._m.services.node_id != liar:
            return value
        altered.add(leader._m.plan.context)
        responses = codec.decode(value, AcceptValue, bytes_max=VALUE_BYTES_MAX).responses
        false = [
            replace(each, answers=flip_values(each.answers)) if each.signed.signer != liar else each
            for each in responses
        ]
        return codec.encode(AcceptValue(tuple(false)))

    monkeypatch.setattr(Leader, "_accept_value", false_value)
    assert town.run(town.finished(study))
    return town, study, altered


def test_leader_that_alters_the_answers_of_others(monkeypatch):
    """Its proposal is no value; the next leader proposes what members answered."""
    town, study, altered = round_of_altered_answers(monkeypatch)
    assert len(altered) == 1
    assert any("other answers than it signed" in rule for rule in town.rules())
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert town.blamed() == set()


def test_the_signed_root_is_the_defence_against_altered_answers(monkeypatch):
    with monkeypatch.context() as patched:
        town, _, _ = round_of_altered_answers(patched)
    honest = town.certified()[0].contributors
    weaken(monkeypatch, values, ("answers_root(leaves) != response.answers", "False"))
    town, _, altered = round_of_altered_answers(monkeypatch)
    assert len(altered) == 1
    assert town.certified()[0].contributors < honest, "an honest contribution does not count"
