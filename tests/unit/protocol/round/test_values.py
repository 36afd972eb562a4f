"""Every rule by which the three values of a committee are read."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.committee import CHALLENGE, Committee
from tests.support.town import manifest, phase

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.aggregation.verification import PUBLISHED_BYTES, answer_count
from pnyx.protocol.messages import (
    Answered,
    Answers,
    ContributionHeader,
    HeldContribution,
    Join,
    MaskedVector,
    RoundKey,
    Signed,
    VerifyResponse,
)
from pnyx.protocol.round import values
from pnyx.protocol.round.values import (
    AcceptValue,
    CloseValue,
    InputReader,
    OpenValue,
    header_hash,
)
from pnyx.protocol.selection import committee_size

C = Committee()
HEADERS = [C.header(index) for index in (2, 3, 4)]
EVERYBODY = range(C.size.size)


def votes(change: int | None = None, **changes):
    """Signed close votes of everybody, one of them changed."""
    return [
        C.member_signed(m, C.close_vote(m, HEADERS, **(changes if m == change else {})))
        for m in EVERYBODY
    ]


def read_close(value: bytes, keys=None):
    reader = InputReader(C.plan, C.folk.cryptos[0])
    return reader.close_value(value, C.keys() if keys is None else keys, C.opened)


# --- signed inputs -------------------------------------------------------------------------------


def test_a_members_input():
    assert C.reader.member_body(C.member_signed(2, C.round_key(2))) == C.round_key(2)


def test_an_input_for_another_member():
    with pytest.raises(RuleBroken, match="speaks for another member"):
        C.reader.member_body(C.member_signed(2, C.round_key(3)))
    with pytest.raises(RuleBroken, match="does not exist"):
        C.reader.member_body(C.member_signed(2, replace(C.round_key(2), member=7)))


def test_a_header_is_no_input_and_an_input_no_header():
    with pytest.raises(RuleBroken, match="not a member's input"):
        C.reader.member_body(HEADERS[0])
    with pytest.raises(RuleBroken, match="not a contribution header"):
        C.reader.header(C.member_signed(2, C.round_key(2)))


def test_a_forged_signature():
    other = C.member_signed(2, C.round_key(2))
    with pytest.raises(InvalidSignature):
        C.reader.member_body(type(other)(other.signer, other.body, bytes(64)))


def test_an_input_of_another_round_or_kind():
    with pytest.raises(WrongContext, match="another round"):
        C.reader.member_body(C.member_signed(2, C.round_key(2, context=b"x" * 32)))
    with pytest.raises(MalformedMessage):
        C.reader.member_body(C.member_signed(2, Join(C.plan.census.network, C.plan.study, 0, True)))


def test_a_header_by_the_wrong_node():
    with pytest.raises(RuleBroken, match="not drawn"):
        C.reader.header(C.header(8))
    with pytest.raises(RuleBroken, match="speaks for another node"):
        C.reader.header(C.header(2, contributor=3))


def test_a_header_from_another_model():
    with pytest.raises(RuleBroken, match="another model"):
        C.reader.header(C.header(2, model_hash=b"x" * 32))


def test_a_header_whose_published_vector_no_honest_mask_gives():
    longest = np.full(256, C.bounds.published_max, dtype="<i4")
    assert C.reader.header(C.header(2, published=longest.tobytes()))
    longest[255] = -longest[255] - 1
    with pytest.raises(RuleBroken, match="too long"):
        C.reader.header(C.header(2, published=longest.tobytes()))
    with pytest.raises(MalformedMessage, match="1024 bytes"):
        C.reader.header(C.header(2, published=bytes(1020)))
    with pytest.raises(MalformedMessage):
        C.reader.header(C.header(2, published=bytes(1028)))


def test_a_header_in_a_round_that_takes_no_contributions():
    joining = Committee(folk=C.folk, joining=True)
    joining.plan.__dict__["contributor_set"] = frozenset(range(9))
    with pytest.raises(RuleBroken, match="takes no contributions"):
        joining.reader.header(joining.header(2))


def test_a_claim_is_bound_to_round_and_contributor():
    claim = C.reader.claim(HEADERS[0])
    assert claim.contributor == 2
    assert claim.published == C.reader.header(HEADERS[0]).published
    other = Committee(folk=C.folk, round_number=2)
    elsewhere = [
        other.reader.claim(other.header(2, C.payloads(2))),
        C.reader.claim(C.header(3, C.payloads(2))),
    ]
    assert len({claim.commitment, *(each.commitment for each in elsewhere)}) == 3


# --- OPEN ----------------------------------------------------------------------------------------


def test_claims_are_worked_out_once_and_remembered_within_bounds():
    reader = InputReader(C.plan, C.folk.cryptos[0])
    first = C.header(3)
    claim = reader.claim(first)
    assert reader.claim(first) is claim
    for at in range(reader._verified_max):
        reader.claim(C.header(4, shares_root=at.to_bytes(32)))
    assert len(reader._claims) == reader._verified_max
    assert reader.claim(first) is not claim
    assert reader.claim(first) == claim


def test_open():
    keys = C.reader.open_value(C.open_value())
    assert keys == C.keys()
    quorum = range(C.size.quorum)
    assert set(C.reader.open_value(C.open_value(quorum))) == set(quorum)


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        (range(5), "fewer members than a quorum"),
        ((0, 0, 1, 2, 3, 4, 5), "out of order or twice"),
        ((1, 0, 2, 3, 4, 5), "out of order or twice"),
    ],
)
def test_an_open_list_of_the_wrong_members(members, rule):
    with pytest.raises(RuleBroken, match=rule):
        C.reader.open_value(C.open_value(members))


def test_an_open_list_with_another_kind_of_input():
    signed = [C.member_signed(m, C.round_key(m)) for m in range(6)]
    signed.append(C.member_signed(6, C.close_vote(6)))
    with pytest.raises(RuleBroken, match="wrong kind"):
        C.reader.open_value(codec.encode(OpenValue(tuple(signed))))


def test_a_value_of_another_instance():
    with pytest.raises(MalformedMessage):
        C.reader.open_value(C.close_value(HEADERS))


# --- CLOSE ---------------------------------------------------------------------------------------


def test_close():
    closed = read_close(C.close_value(HEADERS))
    assert closed.contributors == (2, 3, 4)
    assert closed.equivocators == ()
    assert closed.joined == (1, 2)
    assert set(closed.next_dealers) == {0, 1}
    assert closed.challenge_dealers[1] == C.dealt(1, "challenge").root


def test_a_close_vote_of_an_absent_member():
    keys = {m: key for m, key in C.keys().items() if m != 3}
    with pytest.raises(RuleBroken, match="without a round key"):
        read_close(C.close_value(HEADERS), keys)


def test_a_header_sealed_to_another_list():
    foreign = C.header(2, open_value=b"x" * 32)
    with pytest.raises(RuleBroken, match="another list of round keys"):
        read_close(C.close_value([foreign]))


def test_a_vote_whose_header_is_missing():
    value = codec.encode(CloseValue(tuple(votes()), tuple(HEADERS[:2])))
    with pytest.raises(RuleBroken, match="without its header"):
        read_close(value)


def test_a_vote_that_names_the_wrong_contributor():
    held = (HeldContribution(7, header_hash(HEADERS[0])),)
    with pytest.raises(RuleBroken, match="wrong contributor"):
        read_close(C.close_value(HEADERS, votes(1, held=held)))


def test_a_header_that_nobody_names():
    with pytest.raises(RuleBroken, match="no vote names"):
        read_close(C.close_value([*HEADERS, C.header(5)], votes()))


def test_a_contribution_that_one_member_holds_is_listed():
    value = C.close_value([*HEADERS, C.header(5)], [*votes()[:6], *votes_of(6, C.header(5))])
    assert read_close(value).contributors == (2, 3, 4, 5)


def votes_of(member, *headers):
    return [C.member_signed(member, C.close_vote(member, [*HEADERS, *headers]))]


def test_two_headers_of_one_contributor_count_for_nothing():
    second = C.header(2, C.payloads(2, seed=1))
    changed = C.member_signed(6, C.close_vote(6, [second, *HEADERS[1:]]))
    closed = read_close(C.close_value([*HEADERS, second], [*votes()[:6], changed]))
    assert closed.contributors == (3, 4)
    assert closed.equivocators == (2,)


def test_joins_need_one_honest_witness():
    signed = votes(0, joined=(1, 2, 8))
    signed[1] = C.member_signed(1, C.close_vote(1, HEADERS, joined=(1, 2, 7, 8)))
    signed[2] = C.member_signed(2, C.close_vote(2, HEADERS, joined=(6,)))
    assert read_close(C.close_value(HEADERS, signed)).joined == (1, 2, 8)


def test_dealers_need_a_quorum_a_key_and_a_commitment():
    signed = votes(0, next_dealers=(0, 1, 2, 4, 5))
    signed[1] = C.member_signed(1, C.close_vote(1, HEADERS, next_dealers=(0, 1, 2, 4)))
    closed = read_close(C.close_value(HEADERS, signed))
    assert set(closed.next_dealers) == {0, 1}, "the first f + 1 count"
    keys = C.keys()
    keys[0] = C.round_key(0, next_dealing=beacon.NO_DEALING)
    assert set(read_close(C.close_value(HEADERS, signed), keys).next_dealers) == {1, 2}


def test_a_dealer_that_too_few_hold_is_passed_over():
    signed = votes(0, next_dealers=(1, 2))
    signed[1] = C.member_signed(1, C.close_vote(1, HEADERS, next_dealers=(1, 2)))
    assert set(read_close(C.close_value(HEADERS, signed)).next_dealers) == {1, 2}


def test_a_dealer_outside_the_open_list():
    keys = {m: key for m, key in C.keys().items() if m != 6}
    everyone = tuple(range(7))
    signed = [C.member_signed(m, C.close_vote(m, HEADERS, next_dealers=everyone)) for m in range(6)]
    assert 6 not in read_close(C.close_value(HEADERS, signed), keys).next_dealers


@pytest.mark.parametrize("kind", ["next_dealers", "challenge_dealers"])
def test_too_few_dealers_to_be_unbiased(kind):
    signed = [C.member_signed(m, C.close_vote(m, HEADERS, **{kind: (0,)})) for m in EVERYBODY]
    with pytest.raises(RuleBroken, match="too few dealers"):
        read_close(C.close_value(HEADERS, signed))


def test_a_round_without_contributions_has_no_challenge():
    joining = Committee(joining=True)
    signed = [
        joining.member_signed(m, joining.close_vote(m, challenge_dealers=())) for m in EVERYBODY
    ]
    closed = joining.reader.close_value(
        joining.close_value([], signed), joining.keys(), joining.opened
    )
    assert closed.challenge_dealers == {}
    assert closed.contributors == ()


# --- ACCEPT --------------------------------------------------------------------------------------


def test_accept():
    judged = C.reader.accept_value(C.accept_value(), C.closed(), CHALLENGE)
    assert judged.accepted == (2, 3, 4)
    assert judged.pool == tuple(EVERYBODY)


@pytest.mark.parametrize(
    ("changes", "error", "rule"),
    [
        ({"challenge": b"x" * 32}, RuleBroken, "another challenge"),
        ({"held": (2, 3, 5)}, RuleBroken, "outside the closed list"),
        ({"held": (2, 3)}, MalformedMessage, "wrong size"),
        ({"held": (2, 4, 3)}, RuleBroken, "out of order"),
        ({"answers": bytes(32)}, RuleBroken, "other answers than it signed"),
        ({"headers": [C.header(who) for who in (2, 3, 5)]}, RuleBroken, "for other headers"),
        ({"values": b""}, MalformedMessage, "wrong size"),
        ({"values": b"\xff" * 144}, MalformedMessage, "not an element"),
    ],
)
def test_answers_that_cannot_be_read(changes, error, rule):
    given = C.answered(3, **changes)
    with pytest.raises(error, match=rule):
        C.reader.answers(C.reader.response(given.signed), given.answers, C.closed(), CHALLENGE)


def test_answers_of_another_member_or_none():
    """What travels beside a signed response is worth nothing with another one."""
    given, closed = C.answered(3), C.closed()
    for other in (C.answered(2).answers, Answers((), b"")):
        with pytest.raises(RuleBroken, match="other answers than it signed"):
            C.reader.answers(C.reader.response(given.signed), other, closed, CHALLENGE)
    none = C.answered(3, ())
    assert C.reader.answers(C.reader.response(none.signed), none.answers, closed, CHALLENGE) == {}


def test_an_accept_value_without_a_quorum():
    with pytest.raises(RuleBroken, match="fewer members than a quorum"):
        C.reader.accept_value(
            C.accept_value([C.answered(m) for m in range(5)]), C.closed(), CHALLENGE
        )


def test_a_signature_is_verified_once():
    seen = []
    committee = Committee()
    crypto = committee.folk.cryptos[0]
    committee.reader._crypto = type(
        "Counting",
        (),
        {"verify": lambda self, *a: seen.append(a) or crypto.verify(*a)},
    )()
    signed = committee.member_signed(2, committee.round_key(2))
    for _ in range(3):
        assert isinstance(committee.reader.member_body(signed), RoundKey)
    assert len(seen) == 1


def test_a_value_is_read_once(monkeypatch):
    committee = Committee()
    closed = committee.closed()
    accept = committee.accept_value()
    judged = committee.reader.accept_value(accept, closed, CHALLENGE)
    headers = [committee.header(index) for index in (2, 3, 4)]
    value = committee.close_value(headers)
    monkeypatch.setattr(committee.reader, "body", None)
    assert committee.reader.close_value(value, committee.keys(), committee.opened) is closed
    assert committee.reader.accept_value(accept, closed, CHALLENGE) is judged


def test_nothing_is_checked_twice(monkeypatch):
    """A header is read many times a round; its signature and its vector are checked once."""
    verified, published = [], []
    crypto, check = C.folk.cryptos[0], values.check_published

    class Counting:
        def verify(self, *what):
            verified.append(what)
            return crypto.verify(*what)

    def counted(*what):
        published.append(what)
        return check(*what)

    monkeypatch.setattr(values, "check_published", counted)
    reader = InputReader(C.plan, Counting())
    for _ in range(3):
        assert reader.header(HEADERS[0]) is reader.header(HEADERS[0])
        reader.claim(HEADERS[0])
    assert len(verified) == len(published) == 1
    bad = C.signed(2, replace(reader.header(HEADERS[0]), published=b""))
    for _ in range(2):  # what is refused once is refused again
        with pytest.raises(MalformedMessage):
            reader.header(bad)


def test_names_are_remembered_within_a_bound(monkeypatch):
    """Whoever shows ever new headers fills no memory, and names stay what they are."""
    hashed = []
    monkeypatch.setattr(
        values, "header_hash", lambda signed: hashed.append(signed) or header_hash(signed)
    )
    reader = InputReader(C.plan, C.folk.cryptos[0])
    assert reader.name(HEADERS[0]) == reader.name(HEADERS[0]) == header_hash(HEADERS[0])
    assert len(hashed) == 1
    for number in range(8 * (len(C.plan.committee) + len(C.plan.contributors) + 1)):
        reader.name(replace(HEADERS[0], body=number.to_bytes(4, "big")))
    assert reader.name(HEADERS[0]) == header_hash(HEADERS[0])
    assert hashed.count(HEADERS[0]) == 2, "the oldest was forgotten"


# --- how many contributions a value can hold ------------------------------------------------------

SIZES = [
    committee_size(7, 1, 1, 1),
    committee_size(24, 4, 2, 4),
    committee_size(110, 21, 4, 11),
    committee_size(231, 51, 4, 11),
]
FAR = 2**31 - 5000  # census indices that take five bytes


def longest_answers(size, count: int) -> int:
    """Bytes of a value with q + f signed answers, each for so many contributions."""
    held = tuple(range(FAR, FAR + count))
    said = VerifyResponse(b"c" * 32, 1000, CHALLENGE, b"h" * 32)
    signed = Signed(b"n" * 32, codec.encode(said), b"s" * 64)
    given = Answered(signed, Answers(held, bytes(4 * answer_count(size) * count)))
    return len(codec.encode(AcceptValue((given,) * (size.quorum + size.corrupt_max))))


def longest_list(size, count: int, header: Signed) -> int:
    """Bytes of a closed list with q votes for so many contributions."""
    held = tuple(HeldContribution(FAR + at, b"h" * 32) for at in range(count))
    vote = C.close_vote(1, [], held=held, next_dealers=tuple(range(3 * size.corrupt_max + 1)))
    signed = Signed(b"n" * 32, codec.encode(vote), b"s" * 64)
    return len(codec.encode(CloseValue((signed,) * size.quorum, (header,) * count)))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size.size))
def test_as_many_contributions_as_a_value_can_hold(size):
    drawn = phase(9)
    most = values.contributions_max(drawn, size, by_region=False)
    header = replace(C.header(2), body=codec.encode(longest_header()))
    fullest = max(longest_answers(size, most), longest_list(size, most, header))
    assert 0.75 * values.VALUE_BYTES_MAX < fullest <= values.VALUE_BYTES_MAX
    assert values.contributions_max(drawn, size, by_region=True) < most or size.size > 24


def longest_header() -> ContributionHeader:
    masked = MaskedVector(b"p" * 32, b"h" * 32)
    return ContributionHeader(
        b"c" * 32, FAR, b"o" * 32, b"m" * 32, b"r" * 32, bytes(PUBLISHED_BYTES), masked
    )


def test_phases_that_no_committee_could_agree_on_are_refused():
    """All of their rounds would be aborted twice and skipped, at their owners' expense."""
    size = committee_size(231, 51, 4, 11)
    values.check_agreeable(manifest(9, [phase(9, target=90, drawn=90)]), size)
    with pytest.raises(RuleBroken, match="draws 1000 contributors, and a committee of 231 can"):
        values.check_agreeable(manifest(9, [phase(9, target=900, drawn=1000)]), size)
