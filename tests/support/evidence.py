"""A committee of seven with one culprit of every kind, and the evidence that convicts it.

Node 8 took no part in the round: what it believes, anybody does.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from unittest.mock import patch

import numpy as np
from msgspec.structs import replace
from tests.support.committee import CHALLENGE, Committee

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_commit, merkle_proofs, merkle_root
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.verification import pack_answers, sum_share
from pnyx.protocol.evidence.proofs import Offence, check_evidence
from pnyx.protocol.messages import (
    Answered,
    Answers,
    BadContribution,
    BadDealing,
    Evidence,
    OpenedAnswer,
    OpenedPayload,
    OpenedShare,
    Proof,
    Release,
    Signed,
    TwoBodies,
    VerifyResponse,
    WrongAnswer,
    WrongRelease,
    WrongShare,
)
from pnyx.protocol.round.values import (
    answer_leaves,
    answers_root,
    contribution_context,
    header_hash,
)

OUTSIDER = 8
LIAR, DEALER = 3, 5  # a member; a contributor, who is a member as well


def flipped(data: bytes) -> bytes:
    """Packed elements with the lowest bit of the last one flipped."""
    words = np.frombuffer(data, dtype="<u4").copy()
    words[-1] ^= 1
    return words.tobytes()


class Scene:
    """Messages of one round, and a judge that took no part in it."""

    def __init__(self, committee: Committee | None = None) -> None:
        self.c = committee or Committee()
        self.size, self.bounds = self.c.size, self.c.bounds

    def evidence(self, culprit: int, proof: Proof) -> Evidence:
        """Evidence about this round."""
        plan = self.c.plan
        return Evidence(plan.study, plan.round_number, plan.attempt, culprit, proof)

    def convicts(self, evidence: Evidence) -> bool:
        """Whether the outsider believes it."""
        try:
            check_evidence(evidence, self.c.plan, self.c.folk.cryptos[OUTSIDER])
        except ProtocolError:
            return False
        return True

    def opened(self, payloads: Sequence[bytes], member: int) -> OpenedPayload:
        """A member's committed share."""
        return OpenedPayload(member, payloads[member], tuple(merkle_proofs(payloads)[member]))

    # --- dealers ---------------------------------------------------------------------------------

    def dealt(self, index: int, alter: Callable[[int, bytes], bytes]) -> tuple[list[bytes], Signed]:
        """A contribution whose shares were altered before it was proven: a careful cheat's."""

        def spoilt(payloads: Sequence[bytes]) -> list[bytes]:
            return [alter(member, payload) for member, payload in enumerate(payloads)]

        vector = np.arange(self.c.length, dtype=np.int64) - 2
        context = contribution_context(self.c.plan.context, index)
        with patch.object(verification, "merkle_root", lambda p: merkle_root(spoilt(p))):
            made = verification.prove(vector, self.bounds, self.size, b"5" * 32, context)
        payloads = spoilt(made.payloads)
        return payloads, self.c.header(index, payloads, published=made.published)

    def values(self, member: int, payloads: Sequence[bytes], header: Signed) -> bytes:
        """A member's honest answer for one contribution, packed."""
        share = self.c.reader.share(header, member, payloads[member])
        return pack_answers([self.c.reader.answer(header, member, share, CHALLENGE)])

    def answers(self, payloads: Sequence[bytes], header: Signed) -> list[OpenedAnswer]:
        """Everybody's honest answers for one contribution alone."""
        members = range(self.size.size)
        return [self.answer(m, self.values(m, payloads, header), header) for m in members]

    def answer(
        self, member: int, values: bytes, header: Signed, challenge: bytes = CHALLENGE, **changes
    ) -> OpenedAnswer:
        """An answer that a member signed for one contribution alone.

        changes: of the signed response.
        """
        root = answers_root(answer_leaves([header_hash(header)], values))
        body = VerifyResponse(self.c.plan.context, member, challenge, root)
        signed = self.c.member_signed(member, replace(body, **changes))
        return OpenedAnswer(signed, values, 0, 1, ())

    def answered(
        self, member: int, values: Mapping[int, bytes], headers: Mapping[int, Signed], **changes
    ) -> Answered:
        """A member's answers for several contributions.

        changes: of the response or, once it is signed, of the answers.
        """
        held = tuple(sorted(headers))
        answers = Answers(
            changes.pop("held", held),
            changes.pop("values", b"".join(values[who] for who in held)),
        )
        names = [header_hash(headers[who]) for who in held]
        root = answers_root(answer_leaves(names, b"".join(values[who] for who in held)))
        body = VerifyResponse(self.c.plan.context, member, CHALLENGE, root)
        return Answered(self.c.member_signed(member, replace(body, **changes)), answers)

    # --- members ---------------------------------------------------------------------------------

    def lie(self, member: int, index: int, **changes) -> OpenedAnswer:
        """A signed answer that the member's share does not give."""
        header = self.c.header(index)
        values = flipped(self.values(member, self.c.payloads(index), header))
        return self.answer(member, values, header, **changes)

    def release(
        self,
        member: int,
        alter: Callable[[bytes], bytes] = bytes,
        summed: Sequence[int] = (2, 3, 4),
        **changes,
    ) -> Signed:
        """A share of the sum of some contributions."""
        shares = [self.c.shares(index, member) for index in summed]
        terms = {"accepted": b"a" * 32, "shares": alter(sum_share(shares, self.bounds, self.size))}
        body = Release(self.c.plan.context, member, **{**terms, "openings": (), **changes})
        return self.c.member_signed(member, body)

    def bad_dealing(self, dealer: int) -> tuple[Signed, list[OpenedShare]]:
        """A round key that commits to shares of no polynomial, and all these shares."""
        honest = self.c.dealt(dealer, "next").shares
        rows = [flipped(o.share) if m == 0 else o.share for m, o in enumerate(honest)]
        leaves = [row + o.salt for row, o in zip(rows, honest, strict=True)]
        root, proofs = merkle_commit(leaves)
        key = self.c.member_signed(dealer, self.c.round_key(dealer, next_dealing=root))
        return key, [
            OpenedShare(dealer, row, o.salt, tuple(proof))
            for row, o, proof in zip(rows, honest, proofs, strict=True)
        ]


def two_bodies(scene: Scene, offence: Offence) -> Evidence:
    """Two bodies of a kind by one signer."""
    c = scene.c
    if offence is Offence.TWO_CONTRIBUTIONS:
        proof = TwoBodies(c.header(DEALER), c.header(DEALER, c.payloads(DEALER, seed=1)))
        return scene.evidence(DEALER, proof)
    pairs = {
        Offence.TWO_ROUND_KEYS: [c.round_key(LIAR), c.round_key(LIAR, encryption_key=b"k" * 32)],
        Offence.TWO_CLOSE_VOTES: [
            c.close_vote(LIAR, [c.header(2)]),
            c.close_vote(LIAR, [c.header(3)]),
        ],
        Offence.TWO_RESPONSES: [c.response(LIAR), c.response(LIAR, challenge=b"x" * 32)],
        Offence.TWO_RELEASES: [
            Release(c.plan.context, LIAR, b"a" * 32, b"", ()),
            Release(c.plan.context, LIAR, b"b" * 32, b"", ()),
        ],
    }
    first, second = (c.member_signed(LIAR, body) for body in pairs[offence])
    return scene.evidence(LIAR, TwoBodies(first, second))


def wrong_answer(scene: Scene) -> Evidence:
    """A member that lied about an honest contribution."""
    opened = scene.opened(scene.c.payloads(2), LIAR)
    return scene.evidence(LIAR, WrongAnswer(scene.c.header(2), opened, scene.lie(LIAR, 2)))


def unreadable_share(scene: Scene) -> Evidence:
    """A dealer that committed to a share of the wrong size."""
    payloads = scene.c.payloads(DEALER)
    payloads[1] = b"nothing"
    header = scene.c.header(DEALER, payloads)
    return scene.evidence(DEALER, WrongShare(header, scene.opened(payloads, 1), ()))


def wrong_share(scene: Scene) -> Evidence:
    """A dealer that dealt one member a share off the polynomials."""
    payloads, header = scene.dealt(DEALER, lambda m, p: flipped(p) if m == 1 else p)
    answers = tuple(scene.answers(payloads, header))
    return scene.evidence(DEALER, WrongShare(header, scene.opened(payloads, 1), answers))


def bad_contribution(scene: Scene, rule: Offence) -> Evidence:
    """A contributor beyond its bound."""
    if rule is Offence.RANGE:  # it vouches for other integers than it shares
        payloads = scene.c.payloads(DEALER)
        published = bytes(verification.PUBLISHED_BYTES)
        header = scene.c.header(DEALER, payloads, published=published)
        word = "range"
    elif rule is Offence.BOUND:
        payloads, header = over_norm(scene)
        word = "bound"
    else:
        payloads, header = no_vector(scene)
        word = "sharing"
    answers = tuple(scene.answers(payloads, header))
    return scene.evidence(DEALER, BadContribution(word, header, answers))


def no_vector(scene: Scene) -> tuple[list[bytes], Signed]:
    """A contribution whose shares lie on no polynomial for two members: one more than can lie."""
    return scene.dealt(DEALER, lambda m, p: flipped(p) if m < 2 else p)


def over_norm(scene: Scene) -> tuple[list[bytes], Signed]:
    """A contribution of short integers whose update is above the norm bound."""
    vector = np.zeros(scene.c.length, dtype=np.int64)
    vector[:2] = 4, 1  # norm 4.1 with a bound of 4
    context = contribution_context(scene.c.plan.context, DEALER)
    honest = verification.short_integers

    def short(_vector, bounds, size):
        slots = honest(np.zeros(scene.c.length, dtype=np.int64), bounds, size)
        update = verification.to_slots(vector, size.packing)
        slots[:, : update.shape[1]] = update
        return slots

    with patch.object(verification, "short_integers", short):
        made = verification.prove(vector, scene.bounds, scene.size, b"6" * 32, context)
    payloads = list(made.payloads)
    return payloads, scene.c.header(DEALER, payloads, published=made.published)


def wrong_release(scene: Scene) -> Evidence:
    """A member whose share of the sum lies off the polynomial, among just enough others."""
    releases = [scene.release(m, flipped if m == LIAR else bytes) for m in (0, 1, 2, LIAR, 4)]
    return scene.evidence(LIAR, WrongRelease(tuple(releases)))


def malformed_release(scene: Scene) -> Evidence:
    """A member that released what is no share."""
    return scene.evidence(LIAR, WrongRelease((scene.release(LIAR, lambda _: b"1234"),)))


def bad_dealing(scene: Scene) -> Evidence:
    """A dealer of a beacon secret that dealt none."""
    key, shares = scene.bad_dealing(LIAR)
    needed = range(beacon.dealers_needed(scene.size))
    proof = BadDealing(key, False, tuple(needed), tuple(shares[m] for m in needed))
    return scene.evidence(LIAR, proof)


@lru_cache
def scene() -> Scene:
    """The one scene of all tests: nothing in it changes."""
    return Scene()


@lru_cache
def everything() -> dict[str, tuple[Evidence, Offence]]:
    """Evidence of every kind, by name."""
    s = scene()
    found = {
        offence.name.lower(): (two_bodies(s, offence), offence)
        for offence in (
            Offence.TWO_CONTRIBUTIONS,
            Offence.TWO_ROUND_KEYS,
            Offence.TWO_CLOSE_VOTES,
            Offence.TWO_RESPONSES,
            Offence.TWO_RELEASES,
        )
    }
    return {
        **found,
        "wrong_answer": (wrong_answer(s), Offence.WRONG_ANSWER),
        "unreadable_share": (unreadable_share(s), Offence.WRONG_SHARE),
        "wrong_share": (wrong_share(s), Offence.WRONG_SHARE),
        "range": (bad_contribution(s, Offence.RANGE), Offence.RANGE),
        "bound": (bad_contribution(s, Offence.BOUND), Offence.BOUND),
        "sharing": (bad_contribution(s, Offence.SHARING), Offence.SHARING),
        "wrong_release": (wrong_release(s), Offence.WRONG_RELEASE),
        "malformed_release": (malformed_release(s), Offence.WRONG_RELEASE),
        "bad_dealing": (bad_dealing(s), Offence.BAD_DEALING),
    }


def encoded_size(evidence: Evidence) -> int:
    """Bytes on the wire."""
    return len(codec.encode(evidence))
