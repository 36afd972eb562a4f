"""Nodes are killed and come back without something that they had stored (THREATS A6, A7, S1).

The counterpart of `test_killed_anywhere`: each attack ends well with whole disks, and breaks a
promise as soon as the disks lose what the promise rests on. So every slot that is written is
needed, and the checks of that test see what they are there for. Votes, answers and the vote on the
record are taken away in `test_agreement`, `test_second_challenge` and `test_attempts`.
"""

import pytest
from tests.adversarial.test_killed_anywhere import check, run_with_kills
from tests.support.town import Town, manifest

from pnyx.primitives import codec
from pnyx.protocol.events import ContributionAcknowledged, MessageReceived, Persist
from pnyx.protocol.messages import CloseVote, Contribution, MemberInput, RoundBody


class Disks:
    """Keep everything, or lose the keys that hold one of some words."""

    def __init__(self, *lost: str) -> None:
        self.lost = lost

    def __call__(self, key: str) -> bool:
        return not any(word in key for word in self.lost)


def power_failure(town: Town, spared: int | None = None) -> None:
    """Everybody dies at once and comes back; one, at most, stays away for good."""
    for index in range(town.count):
        town.crash(index)
    town.run(seconds=0.1)
    for index in range(town.count):
        if index != spared:
            town.restart(index)


def in_round(**options) -> tuple[Town, bytes]:
    town = Town(**options)
    study = town.propose()
    town.run(town.in_round(study, 1))
    return town, study


def votes_to_close(message: object) -> bool:
    return isinstance(message, MemberInput) and isinstance(
        codec.decode(message.signed.body, RoundBody, bytes_max=10**7), CloseVote
    )


def power_fails(keeps, at_s: float) -> tuple[Town, bytes]:
    """At some moment of round 1, which takes 0.5 s."""
    town, study = in_round(keeps=keeps)
    town.run(seconds=at_s)
    power_failure(town)
    return town, study


def gone_for_good(keeps) -> tuple[Town, bytes]:
    """A contributor whose share of the round everybody acknowledged never comes back."""
    for nonce in range(50):  # until the draw has one that is no member
        town = Town(keeps=keeps)
        study = town.propose(plan=manifest(town.count, nonce=bytes([nonce]) * 32))
        town.run(town.in_round(study, 1))
        plan = town.plan(study)
        town.run(seconds=0.42)
        done = {at for _, at, effect in town.log if isinstance(effect, ContributionAcknowledged)}
        if done - set(plan.committee):
            break
    power_failure(town, spared=min(done - set(plan.committee)))
    return town, study


def another(plan, victim: int) -> int:
    """A contributor that is not the victim."""
    return next(index for index in plan.contributors if index != victim)


def the_only_contributor_that_is_needed(keeps) -> tuple[Town, bytes]:
    """One owner has no budget left: the target is met only if the one that was killed counts."""
    poor: list[int] = []
    town, study, victim = run_with_kills(
        2,
        back_after=0.05,
        role="contributor",
        keeps=keeps,
        debits=lambda index: index not in poor,
        told=lambda plan, victim: poor.append(another(plan, victim)),
    )
    check(town, study)
    assert town.model(study)[victim] == 1, "left out"
    return town, study


def shown_after_the_close_vote(keeps) -> tuple[Town, bytes]:
    """All but the leader vote to close and are killed; then a last contribution reaches them.

    Their votes stand: a receipt for it now would be a promise that the round does not keep.
    """
    town, study = in_round(keeps=keeps)
    plan = town.plan(study)
    last = next(index for index in plan.contributors if index not in plan.committee)
    name = town.census.node_ids[last]
    held: list[tuple[int, Contribution]] = []
    voted: list[int] = []

    def wire(sender, receiver, message):
        if len(voted) == plan.size.size - 1:
            return None
        if isinstance(message, Contribution) and message.header.signer == name:
            held.append((receiver, message))
            return []
        if sender != plan.committee[0] and votes_to_close(message):
            voted.append(sender)
            town.crash(sender)
            return [message]
        return None

    town.wire = wire
    assert town.run(lambda: len(voted) == plan.size.size - 1)
    for index in voted:
        town.restart(index)
    for receiver, message in held:
        town.push(receiver, MessageReceived(name, codec.encode(message)))
    return town, study


def known_to_few_when_closed(keeps) -> tuple[Town, bytes]:
    """Most members get a contribution without a receipt, after their vote, and answer for it.

    Then the power fails and the contributor is gone: only their disks hold the rest of its shares.
    """
    poor: list[int] = []
    town, study = in_round(keeps=keeps, debits=lambda index: index not in poor)
    plan = town.plan(study)
    last = next(index for index in plan.contributors if index not in plan.committee)
    poor.append(another(plan, last))
    name = town.census.node_ids[last]
    held: dict[int, Contribution] = {}
    voted: set[int] = set()

    def wire(sender, receiver, message):
        if isinstance(message, Contribution) and message.header.signer == name:
            if plan.member_of[receiver] > plan.size.corrupt_max and receiver not in voted:
                held[receiver] = message
                return []
        elif votes_to_close(message) and sender not in voted:
            voted.add(sender)
            if sender in held:
                late = MessageReceived(name, codec.encode(held[sender]))
                town.push(sender, late, after=0.001)
        return None

    town.wire = wire
    assert town.run(lambda: answers_stored(town) == plan.size.size)
    power_failure(town, spared=last)
    return town, study


def answers_stored(town: Town) -> int:
    return sum(each.key.endswith("/1-1/response") for each in town.effects(Persist))


def first_record_written(keeps) -> tuple[Town, bytes]:
    """The power fails when one node has written the record, and nobody yet the model it names."""
    dead: list[Town] = []

    def disk(key: str) -> bool:
        if key.endswith("/record/000001") and not dead:
            dead.append(town)
            for index in range(town.count):
                town.crash(index)
        return keeps(key)

    town, study = in_round(keeps=disk)
    assert town.run(lambda: bool(dead))
    power_failure(town)
    return town, study


def at(seconds: float):
    return lambda keeps: power_fails(keeps, seconds)


ATTACKS = {
    "power fails in OPEN": at(0.05),
    "power fails in CLOSE": at(0.21),
    "power fails in RELEASE": at(0.42),
    "power fails in CERTIFY": at(0.46),
    "gone for good": gone_for_good,
    "a contributor is killed": the_only_contributor_that_is_needed,
    "shown after the close vote": shown_after_the_close_vote,
    "known to few when closed": known_to_few_when_closed,
    "first record written": first_record_written,
}
LOST = [
    ("chain/epoch", "power fails in OPEN", "not ended"),
    ("chain/manifest", "power fails in OPEN", "not ended"),
    ("/record/000000", "power fails in OPEN", "not ended"),
    ("chain/study/", "power fails in OPEN", "not ended"),
    ("/secret", "power fails in OPEN", "not ended"),
    ("/agreement/", "power fails in CLOSE", "two votes in a view"),
    ("/round-key", "power fails in RELEASE", "an honest node is blamed"),
    ("/dealing/", "power fails in RELEASE", "not ended"),
    ("/envelope/", "gone for good", "not ended"),
    ("/release", "power fails in CERTIFY", "not ended"),
    ("/reveal", "power fails in CERTIFY", "not ended"),
    ("/header", "power fails in CERTIFY", "two contributions"),
    ("/contribution", "a contributor is killed", "left out"),
    ("/stopped", "shown after the close vote", "acknowledged and not counted"),
    ("/late/", "known to few when closed", "not ended"),
    ("/1-1/parcel/", "first record written", "not ended"),
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_whole_disks(attack):
    check(*ATTACKS[attack](Disks()))


@pytest.mark.parametrize(("slot", "attack", "broken"), LOST, ids=[slot for slot, _, _ in LOST])
def test_forgotten_slots(slot, attack, broken):
    with pytest.raises(AssertionError, match=broken):
        check(*ATTACKS[attack](Disks(slot)))


def test_a_member_without_its_disk():
    lost = Disks("round/", "secret/")
    with pytest.raises(AssertionError, match="an honest node is blamed"):
        check(*run_with_kills(4, back_after=0.05, keeps=lost)[:2])


def test_a_contributor_without_its_disk():
    with pytest.raises(AssertionError, match="an honest node is blamed"):
        check(*the_only_contributor_that_is_needed(Disks("round/", "secret/")))
