"""One contribution: debit first, then one set of bytes and never a second."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.support.masked_round import masked_committee
from tests.support.town import real

from pnyx.errors import InvalidSignature, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_root
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.agreement import value_hash, vote_statement
from pnyx.protocol.events import (
    Compute,
    ContributionAcknowledged,
    ContributionSent,
    Persist,
    RecordDebit,
    StartTraining,
)
from pnyx.protocol.messages import (
    Contribution,
    ContributionHeader,
    Decision,
    Dispute,
    Instance,
    Phase,
    Pull,
    Receipt,
    Relay,
    Step,
    VectorOffer,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.contributor import Contributor, Stage
from pnyx.protocol.round.holdings import receipt_statement
from pnyx.protocol.round.values import AcceptValue, OpenValue, header_hash

C = Committee()
ME = 7
VECTOR = np.array([1, 0, -1, 0, 0], dtype=np.int64)
PARAMS = ProtocolParams()


def contributor(committee: Committee = C, *, away=(), restored=None, secrets=None, params=None):
    services, outbox = committee.services(ME, restored, secrets, params)
    made = Contributor(services, b"manifest", ME, lambda index: index in away, 0.0)
    return made, outbox


def decision(
    committee: Committee = C, instance: Instance = Instance.OPEN, value: bytes | None = None
) -> Decision:
    value = value or committee.open_value()
    statement = vote_statement(committee.plan.context, instance, Phase.LOCK, 0, value_hash(value))
    signers = tuple(range(committee.size.quorum))
    signatures = tuple(committee.folk.cryptos[m].sign(statement) for m in signers)
    return Decision(
        committee.plan.context, instance, 0, value, QuorumCertificate(signers, signatures)
    )


def receipt(member: int, sent: Contribution, signer: int | None = None) -> Receipt:
    name = header_hash(sent.header)
    statement = receipt_statement(C.plan.context, member, name)
    signature = C.folk.cryptos[member if signer is None else signer].sign(statement)
    return Receipt(C.plan.context, member, name, signature)


def sending(**terms):
    made, outbox = contributor(**terms)
    made.start()
    made.on_trained(VECTOR, 0.0)
    made.handle(decision(), 0.0)
    made.on_debited(1.0)
    return made, outbox


def stored(outbox):
    """What survives a kill: (kept, secret), without their prefixes."""
    kept, secret = {}, {}
    for effect in outbox.of(Persist):
        name = effect.key.rsplit("/1-1/", 1)[1]
        (secret if effect.key.startswith("secret/") else kept)[name] = effect.value
    return kept, secret


def test_the_way_of_a_contribution():
    made, outbox = contributor()
    made.start()
    (training,) = outbox.of(StartTraining)
    assert training == StartTraining(C.plan.study, 1, b"manifest", C.plan.model_hash)
    made.on_trained(VECTOR, 0.0)
    assert outbox.of(RecordDebit) == []
    made.handle(decision(), 0.0)
    (debit,) = outbox.of(RecordDebit)
    assert (debit.context, debit.round_number, debit.phase) == (C.plan.context, 1, "train")
    assert outbox.sent == [], "nothing leaves before the debit is durable"
    made.on_debited(1.0)
    assert [index for index, _ in outbox.sent] == list(range(7))
    assert len(outbox.of(ContributionSent)) == 1
    sent = outbox.sent[0][1]
    for member in range(C.size.quorum):
        assert outbox.of(ContributionAcknowledged) == []
        made.handle(receipt(member, sent), 1.0)
    assert len(outbox.of(ContributionAcknowledged)) == 1
    assert made.stage is Stage.SENDING, "one reachable member has not answered"
    made.handle(receipt(6, sent), 1.0)
    assert made.stage is Stage.ACKNOWLEDGED
    assert made.next_deadline() is None
    made.tick(100.0)
    assert len(outbox.of(Contribution)) == 7


def test_shares_are_sent_again_after_longer_and_longer_waits():
    made, outbox = sending()
    times = []
    while len(times) < 6:
        outbox.sent.clear()
        now = made.next_deadline()
        made.tick(now)
        if any(isinstance(message, Contribution) for _, message in outbox.sent):
            times.append(now)
    assert times == [3.0, 7.0, 15.0, 31.0, 47.0, 63.0]


def test_the_open_certificate_may_come_first():
    made, outbox = contributor()
    made.handle(decision(), 0.0)
    made.handle(decision(), 0.0)
    made.start()
    made.on_trained(VECTOR, 0.0)
    assert len(outbox.of(RecordDebit)) == 1


def test_what_a_quorum_locked_is_not_verified_again(monkeypatch):
    made, _ = contributor()
    crypto, seen = C.folk.cryptos[ME], []
    verify = crypto.verify
    monkeypatch.setattr(crypto, "verify", lambda *said: seen.append(said) or verify(*said))
    made.handle(decision(), 0.0)
    assert len(seen) == C.size.quorum, "the locks, and none of the round keys"


def test_a_locked_list_holds_round_keys_of_this_round_by_its_members():
    made, _ = contributor()
    value = codec.decode(C.open_value(), OpenValue, bytes_max=2**20)
    first, *others = value.keys
    header = ContributionHeader(C.plan.context, ME, *(bytes(32),) * 3, b"")
    for wrong, error in (
        (replace(first, signer=others[0].signer), RuleBroken),
        (replace(first, body=codec.encode(header)), RuleBroken),
        (replace(first, body=others[0].body), RuleBroken),
        (replace(first, body=first.body.replace(C.plan.context, bytes(32))), WrongContext),
    ):
        listed = codec.encode(OpenValue((wrong, *others)))
        with pytest.raises(error):
            made.handle(decision(value=listed), 0.0)


def test_an_open_certificate_is_checked():
    made, outbox = contributor()
    made.start()
    made.on_trained(VECTOR, 0.0)
    forged = replace(decision(), value=C.open_value(range(6)))
    with pytest.raises(InvalidSignature):
        made.handle(forged, 0.0)
    made.handle(decision(instance=Instance.CLOSE), 0.0)
    made.handle(Pull(C.plan.context, Step.OPEN), 0.0)
    assert outbox.of(RecordDebit) == []
    with pytest.raises(RuleBroken, match="quorum"):
        made.handle(decision(value=C.open_value(range(3))), 0.0)


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(4, dtype=np.int64),
        np.full(5, 2, dtype=np.int64),
        np.full(5, -2, dtype=np.int64),
        np.full(5, np.iinfo(np.int64).min, dtype=np.int64),
    ],
)
def test_an_unusable_vector_is_withheld(vector):
    made, outbox = contributor()
    made.start()
    made.handle(decision(), 0.0)
    made.on_trained(vector, 0.0)
    assert made.stage is Stage.WITHHELD
    assert outbox.of(RecordDebit) == outbox.sent == []


def test_events_out_of_turn_do_nothing():
    made, outbox = contributor()
    made.on_debited(0.0)
    made.start()
    made.on_trained(VECTOR, 0.0)
    made.on_trained(VECTOR * 0, 0.0)
    made.on_debited(0.0)
    assert outbox.sent == []
    joining = Committee(joining=True)
    made, outbox = contributor(joining)
    made.on_trained(VECTOR, 0.0)
    assert made.stage is Stage.TRAINING
    made.stage, made._vector, made._keys = Stage.WAITING, VECTOR, joining.keys()
    made.tick(0.0)
    assert outbox.of(RecordDebit) == []
    made._send({0})
    made._relay({0})
    assert outbox.sent == []


@pytest.mark.parametrize("when", ["training", "debiting", "sending"])
def test_withheld_means_silent(when):
    made, outbox = contributor()
    made.start()
    if when != "training":
        made.on_trained(VECTOR, 0.0)
        made.handle(decision(), 0.0)
    if when == "sending":
        made.on_debited(0.0)
    made.withhold()
    outbox.sent.clear()
    made.on_trained(VECTOR, 0.0)
    made.handle(decision(), 0.0)
    made.on_debited(0.0)
    made.tick(1000.0)
    assert outbox.sent == []
    assert made.next_deadline() is None


def test_asking_for_the_open_certificate():
    made, outbox = contributor()
    made.start()
    made.tick(PARAMS.retransmit_s / 2)
    assert outbox.sent == []
    made.tick(PARAMS.retransmit_s)
    ((_, pull),) = outbox.sent
    assert pull == Pull(C.plan.context, Step.OPEN)
    made.handle(decision(), 2.5)
    made.tick(2 * PARAMS.retransmit_s)
    assert len(outbox.sent) == 1


def test_silent_members_are_asked_again_and_relayed():
    made, outbox = sending()
    sent = outbox.sent[0][1]
    for member in range(6):
        made.handle(receipt(member, sent), 1.0)
    outbox.sent.clear()
    assert made.next_deadline() == 1.0 + PARAMS.retransmit_s
    made.tick(3.0)
    assert [(i, type(m)) for i, m in outbox.sent] == [(6, Contribution)]
    outbox.sent.clear()
    assert made.next_deadline() == 1.0 + PARAMS.receipt_timeout_s
    made.tick(4.0)
    assert [(i, type(m)) for i, m in outbox.sent] == [(8, Relay), (0, Relay)]
    assert [s.member for s in outbox.sent[0][1].shares] == [6]
    outbox.sent.clear()
    made.tick(4.5)
    assert outbox.sent == [], "relayed once"
    assert made.next_deadline() == 7.0, "twice as long as before"


def test_members_known_to_be_away_are_relayed_at_once():
    made, outbox = sending(away=(3,))
    relays = outbox.of(Relay)
    assert len(relays) == 2
    assert [s.member for s in relays[0].shares] == [3]
    sent = outbox.of(Contribution)[0]
    for member in (0, 1, 2, 4, 5, 6):
        made.handle(receipt(member, sent), 1.0)
    assert made.stage is Stage.ACKNOWLEDGED


def test_envelopes_of_many_are_relayed_in_messages_that_nodes_take():
    whole, *_ = sending(away=range(7))[1].of(Relay)
    limit = len(codec.encode(whole)) - 1
    _, outbox = sending(away=range(7), params=replace(PARAMS, message_bytes_max=limit))
    relays = [relay for to, relay in outbox.sent if isinstance(relay, Relay) and to == 8]
    assert len(relays) == 2
    assert all(len(codec.encode(relay)) <= limit for relay in relays)
    assert [share.member for relay in relays for share in relay.shares] == list(range(7))
    assert {relay.header for relay in relays} == {whole.header}


def test_receipts_are_checked():
    made, outbox = sending()
    sent = outbox.sent[0][1]
    with pytest.raises(InvalidSignature):
        made.handle(receipt(0, sent, signer=1), 1.0)
    with pytest.raises(InvalidSignature):
        made.handle(replace(receipt(0, sent), header_hash=b"x" * 32), 1.0)
    for _ in range(7):
        made.handle(receipt(0, sent), 1.0)
    made.handle(replace(receipt(0, sent), member=9), 1.0)
    assert outbox.of(ContributionAcknowledged) == []
    idle, _ = contributor()
    idle.handle(receipt(0, sent), 1.0)


def test_the_same_contribution_after_a_restart():
    _, before = sending()
    kept, secret = stored(before)
    made, outbox = contributor(restored=kept, secrets=secret)
    made.start()
    assert outbox.of(StartTraining) == []
    assert isinstance(outbox.sent[0][1], Pull)
    outbox.sent.clear()
    made.handle(decision(), 9.0)
    assert outbox.of(RecordDebit) == [], "it was debited before"
    assert outbox.sent == before.sent


def test_a_restart_when_the_certificate_comes_before_the_model():
    _, before = sending()
    kept, secret = stored(before)
    made, outbox = contributor(restored=kept, secrets=secret)
    made.handle(decision(), 9.0)
    made.start()
    made.tick(9.1)
    assert outbox.of(Contribution) == before.of(Contribution)


def test_never_a_second_contribution_once_its_secrets_are_erased():
    """The node's own committee member released and erased the secrets of the round."""
    _, before = sending()
    kept, _ = stored(before)
    assert "header" in kept
    made, outbox = contributor(restored=kept)
    made.start()
    made.handle(decision(), 9.0)
    made.tick(100.0)
    assert made.stage is Stage.WITHHELD
    assert outbox.of(StartTraining) == outbox.of(RecordDebit) == outbox.sent == []


def test_a_contribution_sealed_to_a_list_that_was_never_certified():
    _, before = sending()
    kept, secret = stored(before)
    made, outbox = contributor(restored=kept, secrets=secret)
    made.start()
    made.handle(decision(value=C.open_value(range(6))), 9.0)
    assert made.stage is Stage.WITHHELD
    assert outbox.of(Contribution) == []


def test_a_fresh_attempt_draws_fresh_secrets():
    services, outbox = C.services(ME)
    sent = []
    for _ in range(2):
        services.restored.clear()
        made = Contributor(services, b"manifest", ME, lambda index: False, 0.0)
        made.start()
        made.on_trained(VECTOR, 0.0)
        made.handle(decision(), 0.0)
        made.on_debited(0.0)
        sent.append(outbox.of(Contribution)[-1].header)
    assert sent[0] != sent[1]


def test_a_member_with_an_unusable_key_is_left_out():
    """With real envelopes: a key of small order opens to everybody, so it cannot be sealed to."""
    committee = Committee(make=real)
    signed = [committee.member_signed(m, committee.round_key(m)) for m in range(6)]
    bad = committee.round_key(6, encryption_key=bytes(32))
    value = codec.encode(OpenValue((*signed, committee.member_signed(6, bad))))
    made, outbox = contributor(committee)
    made.start()
    made.on_trained(VECTOR, 0.0)
    made.handle(decision(committee, value=value), 0.0)
    made.on_debited(0.0)
    assert [index for index, _ in outbox.sent] == list(range(6))


# --- masked beside everything else ----------------------------------------------------------------

M = masked_committee()


def masking(**terms):
    """A contributor of a masked round whose debit is durable: the work that it asked for."""
    made, outbox = contributor(M, **terms)
    made.start()
    if made.stage is Stage.TRAINING:
        made.on_trained(np.append(M.update(ME), 1), 0.0)
    made.handle(decision(M), 0.0)
    made.on_debited(1.0)
    (asked,) = outbox.of(Compute)
    assert asked.context == M.plan.context
    return made, outbox, asked


def test_an_update_is_masked_beside_everything_else():
    made, outbox, asked = masking()
    assert made.stage is Stage.DEBITING
    assert outbox.of(VectorOffer) == outbox.parcels == []
    assert "contribution" in stored(outbox)[1], "what it is made of is durable before it is made"
    made.on_computed(asked.name, asked.work(), 2.0)
    assert made.stage is Stage.UPLOADING
    (offer,) = outbox.of(VectorOffer)
    assert [each[0] for each in outbox.parcels] == ["keep"]
    named = M.reader.header(offer.header).masked
    assert named is not None
    assert named.parcel == outbox.parcels[0][1]
    made.on_computed(asked.name, asked.work(), 3.0)
    assert len(outbox.of(VectorOffer)) == 1, "and once"


def test_after_a_restart_the_same_is_made_again():
    _, outbox, asked = masking()
    kept, secret = stored(outbox)
    _, after, again = masking(restored=kept, secrets=secret)
    first, second = asked.work(), again.work()
    assert second.payloads == first.payloads
    assert second.commitment == first.commitment
    assert second.masked.segments == first.masked.segments
    assert after.of(Persist) == []


def test_what_is_withheld_while_it_is_masked_goes_nowhere():
    made, outbox, asked = masking()
    made.withhold()
    made.on_computed(asked.name, asked.work(), 2.0)
    assert outbox.of(VectorOffer) == []
    assert [each for each in outbox.parcels if each[0] == "keep"] == []


def test_what_others_computed_is_not_its_own():
    made, outbox, asked = masking()
    made.on_computed(asked.name, b"of another role", 2.0)
    made.on_computed(b"another", asked.work(), 2.0)
    assert made.stage is Stage.DEBITING
    assert outbox.of(VectorOffer) == []


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_dispute_makes_a_masked_contribution_once_more(withdrawn):
    made, outbox, asked = masking()
    made.on_computed(asked.name, asked.work(), 2.0)
    header = M.reader.header(outbox.of(VectorOffer)[0].header)
    accepted = decision(M, Instance.ACCEPT, codec.encode(AcceptValue(())))
    made.handle(Dispute(M.plan.context, accepted, ()), 3.0)
    first, again = outbox.of(Compute)
    assert first.name != again.name
    if withdrawn:
        made.withhold()
    result = again.work()
    assert merkle_root(result.payloads) == header.shares_root
    made.on_computed(again.name, result, 4.0)
    made.on_computed(again.name, result, 4.0)
    assert outbox.accused == []
    assert len(outbox.of(VectorOffer)) == 1
