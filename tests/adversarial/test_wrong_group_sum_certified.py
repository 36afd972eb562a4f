"""A wrong sum of one group is certified by nobody but a quorum (THREATS A8).

The record names every group's sum by its hash, and every member computes it from the released
shares itself. Who lies about a share is corrected and named; who lies about what it computed is
alone with its signature.
"""

import pytest
from msgspec.structs import replace
from tests.support.grouped import (
    ROBUST,
    TWO,
    grouped_town,
    growth,
    let_lie,
    record_of,
    sums_of,
)
from tests.support.records import certify
from tests.support.town import people

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.messages import GroupSum, Record, Release
from pnyx.protocol.round.outcome import Outcome
from pnyx.protocol.study import verify_record

HONEST = Outcome._decoded
F, QUORUM = 1, 6


def altered(place: int):
    """One bit of a member's share of the sum in this place."""

    def lie(body):
        if not isinstance(body, Release):
            return body
        at = place * len(body.shares) // 3
        flipped = bytes((body.shares[at] ^ 1,))
        return replace(body, shares=body.shares[:at] + flipped + body.shares[at + 1 :])

    return lie


@pytest.mark.parametrize("place", range(3))
def test_a_wrong_share_of_one_group_is_corrected_and_named(place):
    town, study = grouped_town(ROBUST)
    plan = town.plan(study)
    liar = let_lie(town, plan, altered(place))
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert body.sums == sums_of(plan, body)
    assert town.model(study) == growth(plan, body.accepted)
    assert town.blamed() == {liar}


def shifting(members):
    """These members add one to the first entry of the second group's sum when they decode it."""

    def found(outcome, releases, phase):
        decoded = HONEST(outcome, releases, phase)
        if outcome._m.member in members:
            total = decoded[1].total.copy()
            total[0] += 1
            decoded[1] = decoded[1]._replace(total=total)
        return decoded

    return found


@pytest.mark.parametrize("liars", [{0}, {3}])
def test_wrong_group_sum_certified(monkeypatch, liars):
    """Up to f members, the leader among them."""
    monkeypatch.setattr(Outcome, "_decoded", shifting(liars))
    town, study = grouped_town()
    plan = town.plan(study)
    assert town.run(town.finished(study), seconds=120.0)
    body, _ = record_of(town, study)
    assert body.sums == sums_of(plan, body)
    assert town.model(study) == growth(plan, body.accepted)


def test_the_quorum_is_the_defence(monkeypatch):
    monkeypatch.setattr(Outcome, "_decoded", shifting(set(range(7))))
    town, study = grouped_town()
    plan = town.plan(study)
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert body.sums != sums_of(plan, body), "the attack"
    assert town.model(study) != growth(plan, body.accepted)


def test_a_record_with_another_sum_keeps_no_signature():
    town, study = grouped_town(TWO)
    plan = town.plan(study)
    assert town.run(town.finished(study))
    body, record = record_of(town, study)
    first, second = body.sums
    folk = people(town.count, town.size)
    for sums in (
        (GroupSum(0, second.sum), GroupSum(1, first.sum)),
        (first, GroupSum(1, bytes(32))),
        (first,),
        (),
    ):
        forged = codec.encode(replace(body, sums=sums))
        for signed in (record.certificate, certify(folk, plan, forged, range(QUORUM - 1))):
            with pytest.raises(ProtocolError):
                verify_record(plan, Record(forged, record.joins, signed), town.cryptos[0])
