"""The dispute: what a round's own messages prove against somebody, turned into evidence.

It runs beside the RELEASE step and delays nothing. After the ACCEPT decision every member knows
from the verdicts which members are *off* which contribution, and cannot tell the liar from the
victim of a dealer:

    a member that is off opens its committed share: it answered by it, which convicts the dealer;
    a contributor is shown the answers by f + 1 members that answered, looks once, and opens the
    committed shares of those that answered otherwise than it dealt. That convicts these members.

**What is opened.** An honest member is never off an honest contribution, so it opens shares of
corrupt dealers only. An honest contributor opens the shares of members that lied, at most f of
them: a coalition has these shares anyway, and f shares tell nothing. Whoever is silent stays left
out, as it is without a dispute. A contribution that is undecided is nobody's guilt.

Shares that are not opened here are erased at release like all others.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.aggregation.verification import read_answers
from pnyx.protocol.messages import (
    Answered,
    BadContribution,
    BadDealing,
    Decision,
    Dispute,
    HeldContribution,
    OpenedAnswer,
    OpenedPayload,
    OpenedShare,
    Proof,
    Release,
    RoundKey,
    Signed,
    TwoBodies,
    WrongAnswer,
    WrongRelease,
    WrongShare,
)
from pnyx.protocol.round.groups import wrong_releases
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    AcceptValue,
    ClosedList,
    InputReader,
    OpenValue,
    answer_leaves,
    header_hash,
)

Openings = Sequence[tuple[int, tuple[OpenedShare, ...]]]

_WORDS: dict[Rule | None, Literal["range", "bound", "sharing", "link"]] = {
    Rule.RANGE: "range",
    Rule.BOUND: "bound",
    Rule.SHARING: "sharing",
    Rule.LINK: "link",
}


class ShownAnswers:
    """Opens what an accepted value holds, one contribution at a time.

    names: contributor -> hash of the header that the responses answer for. Every tree is hashed
    once, however many contributions are opened.
    """

    def __init__(self, value: AcceptValue, names: Mapping[int, bytes]) -> None:
        self._value = value
        self._names = names
        self._opened: dict[int, list[OpenedAnswer]] | None = None

    def of(self, contributor: int) -> tuple[OpenedAnswer, ...]:
        """The answers for one contribution, in member order."""
        if self._opened is None:
            self._opened = {}
            for each in self._value.responses:
                for who, answer in self._open(each):
                    self._opened.setdefault(who, []).append(answer)
        return tuple(self._opened.get(contributor, ()))

    def _open(self, answered: Answered) -> Iterator[tuple[int, OpenedAnswer]]:
        held = answered.answers.held
        if not held:
            return
        names = [self._names[who] for who in held]
        leaves = answer_leaves(names, answered.answers.values)
        proofs = merkle_proofs(leaves)
        for place, (who, name, leaf) in enumerate(zip(held, names, leaves, strict=True)):
            values = leaf[len(name) :]
            yield (
                who,
                OpenedAnswer(answered.signed, values, place, len(held), tuple(proofs[place])),
            )


class Disputes:
    """What one member can prove against others in one attempt; each thing is said once."""

    def __init__(self, services: RoundServices, member: int) -> None:
        self._services = services
        self._plan = services.plan
        self._member = member
        self._said: set[tuple[int, type]] = set()

    def _accuse(self, culprit: int, proof: Proof) -> None:
        self._said.add((culprit, type(proof)))
        self._services.accuse(culprit, proof)

    def contradiction(self, first: Signed, second: Signed) -> None:
        """Somebody signed two bodies for one slot."""
        culprit = self._plan.census.index_of(first.signer)
        if culprit is not None and (culprit, TwoBodies) not in self._said:
            self._accuse(culprit, TwoBodies(first, second))

    def unreadable(self, contributor: int, header: Signed, opened: OpenedPayload) -> None:
        """A contributor committed to a share for this member that is none."""
        if (contributor, WrongShare) not in self._said:
            self._accuse(contributor, WrongShare(header, opened, ()))

    # --- after the ACCEPT decision ---------------------------------------------------------------

    def judged(
        self,
        closed: ClosedList,
        judgement: direct.Judgement,
        accepted: Decision,
        opened: Callable[[Signed], OpenedPayload | None],
    ) -> None:
        """Accuse whom the answers convict, open own shares that are off, call contributors.

        opened: this member's share of a contribution, while it has it.
        """
        if not judgement.rejected and not judgement.off:
            return
        value = codec.decode(accepted.value, AcceptValue, bytes_max=VALUE_BYTES_MAX)
        names = {who: header_hash(header) for who, header in closed.headers.items()}
        shown = ShownAnswers(value, names)
        for who, rule in judgement.rejected.items():
            header = closed.headers[who]
            if rule in _WORDS:
                self._accuse(who, BadContribution(_WORDS[rule], header, shown.of(who)))
        for who, off in judgement.off.items():
            mine = opened(closed.headers[who]) if self._member in off else None
            if mine is not None:
                self._accuse(who, WrongShare(closed.headers[who], mine, shown.of(who)))
        doubtful = {who for who, rule in judgement.rejected.items() if rule is Rule.UNDECIDED}
        there = [self._member_of(each.signed) for each in value.responses]
        self._call(sorted(doubtful.union(judgement.off)), names, accepted, there)

    def _member_of(self, said: Signed) -> int:
        index = self._plan.census.index_of(said.signer)
        assert index is not None, "a value that was read is signed by members"
        return self._plan.member_of[index]

    def _call(
        self,
        contributors: Sequence[int],
        names: Mapping[int, bytes],
        accepted: Decision,
        there: Collection[int],
    ) -> None:
        """Show contributors the answers; f + 1 members do, so that an honest one does.

        names: contributor -> hash of its header on the closed list. there: members that answered.
        Who is away calls nobody.
        """
        listed = tuple(HeldContribution(who, name) for who, name in sorted(names.items()))
        size = self._plan.size
        for who in contributors:
            callers = sorted(there, key=lambda member: (member - who) % size.size)
            if self._member in callers[: size.corrupt_max + 1]:
                self._services.send(who, Dispute(self._plan.context, accepted, listed))

    # --- beacons and sums ------------------------------------------------------------------------

    def opened_secrets(
        self,
        opened: Decision | None,
        secrets: Mapping[int, bytes],
        openings: Openings,
        *,
        challenge: bool,
    ) -> None:
        """Accuse dealers whose commitment was no polynomial; `opened` lists their round keys."""
        for dealer, secret in secrets.items():
            culprit = self._plan.committee[dealer]
            if secret != beacon.NO_SECRET or opened is None or (culprit, BadDealing) in self._said:
                continue
            value = codec.decode(opened.value, OpenValue, bytes_max=VALUE_BYTES_MAX)
            node = self._plan.census.node_ids[culprit]
            key = next(signed for signed in value.keys if signed.signer == node)
            self._accuse(culprit, self._bad_dealing(key, dealer, openings, challenge=challenge))

    def _bad_dealing(
        self, signed: Signed, dealer: int, openings: Openings, *, challenge: bool
    ) -> BadDealing:
        size = self._plan.size
        key = codec.decode(signed.body, RoundKey, bytes_max=VALUE_BYTES_MAX)
        root = key.challenge_dealing if challenge else key.next_dealing
        shares = {
            member: share
            for member, opened in openings
            for share in opened
            if share.dealer == dealer and beacon.share_matches(root, share, member, size)
        }
        members = tuple(sorted(shares)[: beacon.dealers_needed(size)])
        return BadDealing(signed, challenge, members, tuple(shares[m] for m in members))

    def released(self, signed: Mapping[int, Signed], releases: Mapping[int, Release]) -> None:
        """Accuse members whose share of the sum is wrong, with just enough shares to tell."""
        phase, size = self._plan.phase, self._plan.size
        if phase is None:
            return
        released = {member: release.shares for member, release in releases.items()}
        wrong = wrong_releases(phase, size, released)
        good = [m for m in sorted(released) if released[m] and m not in wrong]
        for member in sorted(wrong):
            culprit = self._plan.committee[member]
            if (culprit, WrongRelease) in self._said:
                continue
            alone = wrong_releases(phase, size, {member: released[member]})
            others = [] if alone else good[: size.degree + size.corrupt_max + 1]
            chosen = sorted([*others, member])
            self._accuse(culprit, WrongRelease(tuple(signed[m] for m in chosen)))


# --- the contributor -----------------------------------------------------------------------------


def shown_answers(reader: InputReader, header: Signed, dispute: Dispute) -> list[OpenedAnswer]:
    """What members answered for this contribution. Its decision was checked.

    The decision certifies the answers, each of which was signed for one header; which these are the
    caller says. Raises ProtocolError if it says anything else, which must not use up a look that a
    contributor takes once; or if a captured committee certified what are no answers.
    """
    contributor, name = reader.header(header).contributor, header_hash(header)
    names = {held.contributor: held.header_hash for held in dispute.closed}
    value = codec.decode(dispute.accepted.value, AcceptValue, bytes_max=VALUE_BYTES_MAX)
    for each in value.responses:
        reader.answers_for(names, reader.response(each.signed), each.answers)
    named = names.get(contributor) == name
    return list(ShownAnswers(value, names).of(contributor)) if named else []


def wrong_answers(
    services: RoundServices,
    reader: InputReader,
    header: Signed,
    payloads: Sequence[bytes],
    shown: Sequence[OpenedAnswer],
) -> list[tuple[int, WrongAnswer]]:
    """Members that answered for this contribution otherwise than by the shares it dealt.

    payloads: what this contributor committed to, by member. Returns (census index, proof), at most
    f of them: more shares must never be opened. Raises ProtocolError.
    """
    plan = services.plan
    proofs = merkle_proofs(payloads)
    found: list[tuple[int, WrongAnswer]] = []
    for answer in shown:
        response = reader.response(answer.response)
        (given,) = read_answers(answer.values, 1, plan.size)
        member = response.member
        share = reader.share(header, member, payloads[member])
        right = reader.answer(header, member, share, response.challenge)
        if not np.array_equal(given, right):
            opened = OpenedPayload(member, payloads[member], tuple(proofs[member]))
            found.append((plan.committee[member], WrongAnswer(header, opened, answer)))
    return found[: plan.size.corrupt_max]
