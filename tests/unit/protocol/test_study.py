"""The chain of records, and what each fixes about the next round."""

import pytest
from msgspec.structs import replace
from tests.support.records import STUDY, chain, record
from tests.support.town import NETWORK, SMALL, manifest, people, phase

from pnyx.errors import InvalidCertificate, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.messages import Signed
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.values import joins_root
from pnyx.protocol.study import (
    StudyState,
    epoch_chain_id,
    genesis_plan,
    joining_plan,
    next_plan,
    read_body,
    record_hash,
    verify_record,
)

FOLK = people(9, SMALL)
PLAN = manifest(9, [phase(9, rounds=2)])
PARAMS = ProtocolParams()
CRYPTO = FOLK.cryptos[0]


def test_the_first_committee():
    plan = genesis_plan(FOLK.census)
    assert plan.study == epoch_chain_id(NETWORK)
    assert len(set(plan.committee)) == SMALL.size
    assert plan.contributors == plan.aggregators == ()
    assert repr(plan).startswith("RoundPlan(")


def test_plans_are_equal_by_context():
    beacon = b"b" * 32
    first = joining_plan(FOLK.census, STUDY, PLAN, beacon)
    again = joining_plan(FOLK.census, STUDY, PLAN, beacon)
    other = joining_plan(FOLK.census, b"x" * 32, PLAN, beacon)
    assert first == again
    assert hash(first) == hash(again)
    assert first != other
    assert first != "a plan"
    assert first.committee == other.committee, "a proposer cannot grind for its committee"


def test_a_whole_chain():
    state = StudyState(STUDY, Signed(b"n" * 32, b"", bytes(64)), PLAN, FOLK.census)
    state.holds_model = True
    with pytest.raises(RuleBroken, match="no round of this study is open"):
        state.accept(record(FOLK, genesis_plan(FOLK.census)), CRYPTO, PARAMS)
    plan = state.open(b"b" * 32, FOLK.cryptos[0])
    zero = record(FOLK, plan, joins=(0, 1, 2, 3, 4, 5, 6, 500))
    body, following = state.accept(zero, CRYPTO, PARAMS)
    assert body.round_number == 0
    assert state.holds_model
    assert state.model_makers == (b"n" * 32,)
    assert following.round_number == 1
    assert following.previous_record == record_hash(zero)
    assert len(following.contributors) == 6
    assert set(following.contributors) <= set(range(7))
    assert len(following.aggregators) == PARAMS.aggregator_count
    first = following
    one = record(
        FOLK,
        first,
        joins=(0, 1, 2, 3),
        model_hash=b"1" * 32,
        accepted=following.contributors[:3],
    )
    _, following = state.accept(one, CRYPTO, PARAMS)
    assert not state.holds_model
    signers = one.certificate.signers
    made = [FOLK.census.node_ids[first.committee[member]] for member in signers]
    assert state.model_makers == tuple(made)
    assert state.model_hash == following.model_hash == b"1" * 32
    assert not state.finished
    _, following = state.accept(
        record(FOLK, following, accepted=following.contributors), CRYPTO, PARAMS
    )
    assert following is None
    assert state.finished


def test_a_joined_node_that_is_not_in_the_census(monkeypatch):
    plan = joining_plan(FOLK.census, STUDY, PLAN, b"b" * 32)
    monkeypatch.setattr(FOLK.census, "index_of", lambda node: None)
    with pytest.raises(InvalidCertificate):
        next_plan(FOLK.census, STUDY, PLAN, record(FOLK, plan, joins=(1,)), PARAMS)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"accepted": (8,)}, "not drawn, or one of them twice"),
        ({"accepted": (2, 2, 3, 4)}, "not drawn, or one of them twice"),
        ({"accepted": (2, 3)}, "study's floor"),
        ({"skipped": True, "accepted": (2, 3, 4)}, "skipped round cannot change"),
        ({"skipped": True, "metrics": (1,)}, "skipped round cannot change"),
        ({"skipped": True, "model_hash": b"x" * 32}, "skipped round cannot change"),
    ],
)
def test_what_even_a_quorum_cannot_certify(changes, rule):
    plan = chain(FOLK)
    with pytest.raises(RuleBroken, match=rule):
        verify_record(plan, record(FOLK, plan, **{"accepted": (), **changes}), CRYPTO)


def test_a_skipped_round():
    plan = chain(FOLK)
    body = verify_record(plan, record(FOLK, plan, skipped=True), CRYPTO)
    assert body.skipped


def test_joins_are_those_that_the_record_commits_to():
    plan = chain(FOLK)
    good = record(FOLK, plan, accepted=(2, 3, 4), joins=(1, 2))
    with pytest.raises(RuleBroken, match="joins, or its actor list, are not those"):
        verify_record(plan, replace(good, joins=(1, 2, 3)), CRYPTO)
    assert joins_root((1, 2)) != joins_root((2, 1))
    assert read_body(good).joins_root == joins_root((1, 2))
    assert record_hash(good) == digest("pnyx/record", good.body)
    assert codec.encode(good)
