"""What a member takes into its hold, and what it refuses."""

import pytest
from tests.support.committee import Committee

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.events import Persist
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import (
    Contribution,
    Dealing,
    DealingShares,
    OpenedPayload,
    SealedShare,
)
from pnyx.protocol.round.dispute import Disputes
from pnyx.protocol.round.holdings import Holdings, dealing_info
from pnyx.protocol.round.values import header_hash

C = Committee()
MEMBER = 1


def holdings(committee: Committee = C, member: int = MEMBER, secrets=None):
    services, outbox = committee.services(member, secrets=secrets)
    unreadable = Disputes(services, member).unreadable
    held = Holdings(services, committee.reader, member, committee.private_key(member), unreadable)
    return held, outbox


def dealing(dealer: int, member: int = MEMBER, shares: DealingShares | None = None) -> Dealing:
    following = C.dealt(dealer, "next").shares[member]
    challenge = C.dealt(dealer, "challenge").shares[member]
    key = C.keys()[member].encryption_key
    plaintext = codec.encode(shares or DealingShares(following, challenge))
    info = dealing_info(C.plan.context, dealer, member)
    return Dealing(C.plan.context, dealer, C.folk.cryptos[0].seal(key, plaintext, info))


def test_a_share_is_stored_before_it_counts_as_receipted():
    held, outbox = holdings()
    message = C.contribution(2, MEMBER)
    name = held.add_contribution(message, C.opened, receipt=True)
    assert name == header_hash(message.header)
    (stored,) = outbox.of(Persist)
    assert stored.key.startswith("secret/")
    assert codec.decode(stored.value, Contribution, bytes_max=10**6) == message
    assert held.receipted == {2: name}
    assert [h.contributor for h in held.held()] == [2]
    assert held.share_of(message.header) is not None
    held.add_contribution(message, C.opened, receipt=True)
    assert len(outbox.of(Persist)) == 1


def test_a_share_after_the_stop_is_kept_without_a_receipt():
    held, outbox = holdings()
    message = C.contribution(2, MEMBER)
    held.add_contribution(message, C.opened, receipt=False)
    assert held.receipted == {}
    assert outbox.of(Persist) == []
    assert held.share_of(message.header) is not None


def test_a_restart_reads_everything_back():
    held, outbox = holdings()
    held.add_contribution(C.contribution(2, MEMBER), C.opened, receipt=True)
    held.add_dealing(dealing(0), C.keys())
    stored = {e.key.rsplit("/1-1/", 1)[1]: e.value for e in outbox.of(Persist)}
    again, outbox = holdings(secrets={**stored, "other": b""})
    again.restore(C.opened, C.keys())
    assert again.receipted == held.receipted
    assert again.next_shares == held.next_shares
    assert outbox.of(Persist) == []


def test_a_contribution_sealed_to_another_list():
    held, _ = holdings()
    with pytest.raises(RuleBroken, match="another list of round keys"):
        held.add_contribution(C.contribution(2, MEMBER), b"x" * 32, receipt=True)


def test_two_headers_from_one_contributor():
    held, _ = holdings()
    held.add_contribution(C.contribution(2, MEMBER), C.opened, receipt=True)
    with pytest.raises(RuleBroken, match="two different contributions"):
        held.add_contribution(
            C.contribution(2, MEMBER, C.payloads(2, seed=1)), C.opened, receipt=True
        )


def test_a_share_for_another_member():
    held, _ = holdings()
    with pytest.raises(RuleBroken, match="addressed to another member"):
        held.add_contribution(C.contribution(2, 3), C.opened, receipt=True)


def test_an_envelope_of_another_member_readdressed():
    held, _ = holdings()
    foreign = C.contribution(2, 3)
    share = SealedShare(MEMBER, foreign.share.sealed, foreign.share.proof)
    with pytest.raises(MalformedMessage):
        held.add_contribution(
            Contribution(C.plan.context, foreign.header, share), C.opened, receipt=True
        )


def test_a_share_that_the_header_does_not_commit_to():
    held, _ = holdings()
    header = C.header(2)
    with pytest.raises(RuleBroken, match="committed to"):
        held.add_contribution(
            C.contribution(2, MEMBER, C.payloads(2, seed=1), header), C.opened, receipt=True
        )
    assert held.receipted == {}


def test_a_committed_share_of_the_wrong_size():
    held, _ = holdings()
    longer = [payload + b"\0\0\0\0" for payload in C.payloads(2)]
    with pytest.raises(MalformedMessage, match="wrong size"):
        held.add_contribution(C.contribution(2, MEMBER, longer), C.opened, receipt=True)
    assert held.receipted == {}


def test_a_contribution_from_another_round():
    other = Committee(folk=C.folk, round_number=2)
    held, _ = holdings()
    with pytest.raises(WrongContext):
        held.add_contribution(other.contribution(2, MEMBER), C.opened, receipt=True)


def test_a_round_that_takes_no_contributions():
    joining = Committee(folk=C.folk, joining=True)
    joining.plan.__dict__["contributor_set"] = frozenset(range(9))
    held, _ = holdings(joining)
    with pytest.raises(RuleBroken, match="takes no contributions"):
        held.add_contribution(joining.contribution(2, MEMBER), joining.opened, receipt=True)


def test_a_dealing():
    held, outbox = holdings()
    held.add_dealing(dealing(0), C.keys())
    held.add_dealing(dealing(0), C.keys())
    assert len(outbox.of(Persist)) == 1
    assert held.next_shares[0] == C.dealt(0, "next").shares[MEMBER]
    assert held.challenge_shares[0] == C.dealt(0, "challenge").shares[MEMBER]


def test_a_round_without_challenge_keeps_one_share():
    joining = Committee(folk=C.folk, joining=True)
    held, _ = holdings(joining)
    shares = DealingShares(
        joining.dealt(0, "next").shares[MEMBER], joining.dealt(1, "challenge").shares[2]
    )
    info = dealing_info(joining.plan.context, 0, MEMBER)
    key = joining.keys()[MEMBER].encryption_key
    sealed = joining.folk.cryptos[0].seal(key, codec.encode(shares), info)
    held.add_dealing(Dealing(joining.plan.context, 0, sealed), joining.keys())
    assert set(held.next_shares) == {0}
    assert held.challenge_shares == {}


def test_a_dealing_of_no_dealer():
    held, _ = holdings()
    for keys in ({}, C.keys()):
        with pytest.raises(RuleBroken, match="no dealer"):
            held.add_dealing(dealing(6), keys)


def test_a_dealing_that_does_not_match():
    held, _ = holdings()
    good = C.dealt(0, "next").shares[MEMBER], C.dealt(0, "challenge").shares[MEMBER]
    elsewhere = C.dealt(0, "next").shares[2]
    foreign = C.dealt(1, "challenge").shares[MEMBER]
    for shares, rule in (
        (DealingShares(elsewhere, good[1]), "committed to"),
        (DealingShares(good[1], good[0]), "committed to"),
        (DealingShares(good[0], foreign), "speaks for another dealer"),
    ):
        with pytest.raises(RuleBroken, match=rule):
            held.add_dealing(dealing(0, shares=shares), C.keys())
    with pytest.raises(MalformedMessage):
        held.add_dealing(Dealing(C.plan.context, 0, bytes(100)), C.keys())
    assert held.next_shares == {}


def test_erase_leaves_nothing():
    held, _ = holdings()
    message = C.contribution(2, MEMBER)
    held.add_contribution(message, C.opened, receipt=True)
    held.add_dealing(dealing(0), C.keys())
    held.erase()
    assert held.share_of(message.header) is None
    assert held.next_shares == held.challenge_shares == {}
    with pytest.raises(MalformedMessage):
        held.add_contribution(C.contribution(3, MEMBER), C.opened, receipt=True)
    assert beacon.dealers_needed(C.size) == 2


def test_a_share_that_cannot_be_read_convicts_its_dealer():
    """It is what the contributor committed to, so nobody else can have put it there."""
    held, outbox = holdings()
    payloads = C.payloads(2)
    payloads[MEMBER] = b"nothing"
    message = C.contribution(2, MEMBER, payloads, C.header(2, payloads))
    with pytest.raises(MalformedMessage, match="wrong size"):
        held.add_contribution(message, C.opened, receipt=True)
    (evidence,) = outbox.accused
    assert evidence.culprit == 2
    check_evidence(evidence, C.plan, C.folk.cryptos[8])
    assert held.opened(message.header) is None


def test_a_share_is_opened_as_it_came():
    held, _ = holdings()
    message = C.contribution(2, MEMBER)
    held.add_contribution(message, C.opened, receipt=True)
    opened = held.opened(message.header)
    assert opened == OpenedPayload(MEMBER, C.payloads(2)[MEMBER], message.share.proof)
    held.erase()
    assert held.opened(message.header) is None
