"""A dealer alters one member's share before it proves its contribution (THREATS A8, A9).

Its proof is of the shares as they are, so the one wrong answer is corrected, the contribution is
accepted, and it counts. What the victim holds is no share of the sum: should it release that, it
would lie off the sum's polynomials, and an honest node be convicted of a wrong release. The victim
releases no share, and nobody decodes one of a member that is off an accepted contribution. The sum
is exact, and every node convicts the dealer, and nobody else.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from msgspec.structs import replace
from tests.support.town import Town, manifest, masked_manifest, phase, verified_manifest
from tests.support.weakened import succeeds, weaken

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.bounds import layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification import proof
from pnyx.protocol.aggregation.verification import ELEMENT_BYTES, SALT_BYTES
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import MemberInput, Release, RoundBody, VerifyResponse
from pnyx.protocol.round import contributor, inputs, outcome
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import contribution_context

VICTIM = 3  # a place in the committee: no leader, nor one whose share is a seed
COUNT = Town().count
STUDIES = {
    "shared": manifest(COUNT, [phase(COUNT, target=6)]),
    "masked": masked_manifest(COUNT, target=6),
    "verified": verified_manifest(COUNT, target=6),
}
NO_SHARE_GIVEN = ("if self._m.member not in judgement.pool:", "if False:")
NO_SHARE_TAKEN = ("member not in judgement.pool or ", "")
Made = Any  # what either mode proves: of two types, with payloads


class Dealt(NamedTuple):
    """A study that has ended, whose contributor `dealer` dealt member `VICTIM` a wrong share."""

    town: Town
    study: bytes
    plan: RoundPlan
    dealer: int

    def heard(self) -> list[tuple[MemberInput, RoundBody]]:
        """What members gave their leaders in the round, and the bodies that they signed."""
        return [
            (message, codec.decode(message.signed.body, RoundBody, bytes_max=10**7))
            for message in self.town.sent(MemberInput)
            if message.context == self.plan.context
        ]

    def releases(self) -> dict[int, Release]:
        """What members released."""
        return {body.member: body for _, body in self.heard() if isinstance(body, Release)}

    def answered(self) -> set[int]:
        """Members that answered the challenge for the dealer's contribution."""
        return {
            body.member
            for message, body in self.heard()
            if isinstance(body, VerifyResponse)
            and message.answers is not None
            and self.dealer in message.answers.held
        }

    def blamed(self, index: int) -> set[tuple[int | None, str, bool]]:
        """Whom a node blames, for which rule, and whether it holds evidence."""
        return {
            (self.town.census.index_of(effect.peer), effect.rule, effect.evidence != b"")
            for effect in self.town.effects(PeerBlamed, index)
        }


def spoilt(payloads: Sequence[bytes], column: int) -> tuple[bytes, ...]:
    """All shares of a contribution, the victim's of one column, in the first field, altered."""
    start = SALT_BYTES + ELEMENT_BYTES * column
    at = slice(start, start + ELEMENT_BYTES)
    payload = payloads[VICTIM]
    other = (int.from_bytes(payload[at], "little") + 1) % FIELDS[0].modulus
    wrong = payload[: at.start] + other.to_bytes(ELEMENT_BYTES, "little") + payload[at.stop :]
    return (*payloads[:VICTIM], wrong, *payloads[VICTIM + 1 :])


def careful(prove: Callable[..., Made], context: bytes, column: int) -> Callable[..., Made]:
    """The proof of a contribution, unless it is the one of this context: then of spoilt shares."""

    def proves(*terms: object, **more: object) -> Made:
        if not any(isinstance(each, bytes) and each == context for each in terms):
            return prove(*terms, **more)
        with (
            patch.object(verification, "merkle_root", lambda p: merkle_root(spoilt(p, column))),
            patch.object(proof, "merkle_root", lambda p: merkle_root(spoilt(p, column))),
        ):
            made = prove(*terms, **more)
        return replace(made, payloads=spoilt(made.payloads, column))

    return proves


def dealt(kind: str) -> Dealt:
    """Play a study whose dealer is drawn as a contributor and is no member."""
    town = Town()
    study = town.propose(plan=STUDIES[kind])
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    dealer = next(who for who in plan.contributors if who not in plan.committee)
    columns = layout(plan.phase.bounds, plan.size)
    summed = 0 if columns.update else columns.counts_start
    terms = contribution_context(plan.context, dealer), summed
    with (
        patch.object(contributor, "prove", careful(contributor.prove, *terms)),
        patch.object(contributor, "prove_masked", careful(contributor.prove_masked, *terms)),
    ):
        assert town.run(town.finished(study), seconds=300.0)
    return Dealt(town, study, plan, dealer)


def check_only_the_dealer_is_convicted(found: Dealt) -> None:
    """At every node: the model counts everybody once, and of all evidence none is of another."""
    town, dealer = found.town, found.dealer
    for index in range(town.count):
        (certified,) = town.certified(index)
        assert not certified.skipped
        model = town.model(found.study, index)[: town.count]
        assert model[dealer] == 1, "the contribution is accepted"
        assert sum(model) == certified.contributors
        assert max(model) == 1, "the sum is exact"
        convicted = {(dealer, Offence.WRONG_SHARE.value, True)}
        assert found.blamed(index) == convicted or index == dealer
        assert found.blamed(index) <= convicted


@pytest.mark.parametrize("kind", sorted(STUDIES))
def test_careful_dealer(kind):
    check_only_the_dealer_is_convicted(dealt(kind))


@pytest.mark.parametrize("kind", sorted(STUDIES))
def test_the_victim_releases_no_share(kind):
    found = dealt(kind)
    assert VICTIM in found.answered(), "it holds what it was dealt"
    released = found.releases()
    assert len(released) >= found.plan.size.quorum
    assert {member for member, body in released.items() if not body.shares} == {VICTIM}


@pytest.mark.parametrize("kind", sorted(STUDIES))
def test_a_share_that_the_victim_releases_is_not_decoded(kind, monkeypatch):
    """However it comes to release one: a share of a member off what is summed up is no lie."""
    weaken(monkeypatch, inputs, NO_SHARE_GIVEN)
    found = dealt(kind)
    assert found.releases()[VICTIM].shares
    check_only_the_dealer_is_convicted(found)


@pytest.mark.parametrize("kind", sorted(STUDIES))
def test_without_both_defences_the_victim_is_convicted(kind, monkeypatch):
    weaken(monkeypatch, inputs, NO_SHARE_GIVEN)
    weaken(monkeypatch, outcome, NO_SHARE_TAKEN)
    found = dealt(kind)
    victim = found.plan.committee[VICTIM]
    said = set().union(*map(found.blamed, range(found.town.count)))
    assert {rule for who, rule, _ in said if who == victim} == {Offence.WRONG_RELEASE.value}
    assert succeeds(check_only_the_dealer_is_convicted, found)
