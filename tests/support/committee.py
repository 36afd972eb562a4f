"""One round's plan with every key at hand, and roles of it without a machine around them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.support.town import SMALL, People, ideal, people, phase

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_proofs, merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import Effect
from pnyx.protocol.identity import sign_body
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import (
    Answered,
    Answers,
    CloseVote,
    Contribution,
    ContributionHeader,
    Evidence,
    HeldContribution,
    RoundKey,
    SealedShare,
    Signed,
    VerifyResponse,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.holdings import share_info
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import (
    AcceptValue,
    CloseValue,
    InputReader,
    OpenValue,
    answer_leaves,
    answers_root,
    contribution_context,
    header_hash,
)
from pnyx.protocol.selection import CommitteeSize

CHALLENGE = digest("test", b"challenge")
Alter = Callable[[bytes], bytes]


def over_scale(factor: int, bounds: Bounds, size: CommitteeSize) -> Alter:
    """Multiplies the update in a member's payload, and nothing else: shares are linear."""
    update = layout(bounds, size).update

    def alter(payload: bytes) -> bytes:
        shares = verification.read_payload(payload, bounds, size)
        scaled = [share.copy() for share in shares]
        for each, share in zip(FIELDS, scaled, strict=True):
            share[:update] = each.multiply(share[:update], factor)
        parts = (each.pack(share) for each, share in zip(FIELDS, scaled, strict=True))
        return payload[: verification.SALT_BYTES] + b"".join(parts)

    return alter


@dataclass
class Outbox:
    """A mailbox that keeps what a role sends and asks for."""

    sent: list[tuple[int, object]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    accused: list[Evidence] = field(default_factory=list)
    parcels: list[tuple] = field(default_factory=list)
    room: list[int] = field(default_factory=list)  # lengths that there was room for

    def accuse(self, plan: RoundPlan, evidence: Evidence) -> None:
        self.accused.append(evidence)

    def post(self, node_index: int, plan: RoundPlan, message) -> None:
        self.sent.append((node_index, message))

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def keep_parcel(self, plan: RoundPlan, chunks, readers) -> bytes:
        parcel = describe(chunks)
        self.parcels.append(("keep", parcel.name, readers))
        return parcel.name

    def fetch_parcel(self, plan: RoundPlan, name, length, sources, done, failed) -> None:
        self.parcels.append(("fetch", name, length, sources, done, failed))

    def grant_parcel(self, plan: RoundPlan, name, readers) -> None:
        self.parcels.append(("grant", name, readers))

    def forget_parcel(self, plan: RoundPlan, name) -> None:
        self.parcels.append(("forget", name))

    def make_room(self, length: int) -> None:
        self.room.append(length)

    def of(self, kind: type) -> list:
        """Sent messages or effects of one kind."""
        return [m for _, m in self.sent if isinstance(m, kind)] + [
            e for e in self.effects if isinstance(e, kind)
        ]


class Committee:
    """A plan of seven members and six contributors among nine nodes, with all their secrets."""

    def __init__(
        self,
        *,
        count: int = 9,
        size=SMALL,
        make=ideal,
        round_number: int = 1,
        phase_: StudyPhase | None = None,
        length: int = 5,
        folk: People | None = None,
        model_hash: bytes = b"m" * 32,
        contributors: Sequence[int] | None = None,
        joining: bool = False,
    ) -> None:
        self.folk = folk or people(count, size, make)
        census = self.folk.census
        self.plan = RoundPlan(
            census=census,
            study=b"s" * 32,
            round_number=round_number,
            epoch=0,
            previous_record=b"p" * 32,
            model_hash=model_hash,
            committee=tuple(range(size.size)),
            contributors=() if joining else tuple(contributors or range(2, 8)),
            aggregators=() if joining else (8, 0),
            phase=None if joining else (phase_ or phase(length, norm_max=4)),
            cohort_min=3,
        )
        self.size = size
        self.length = length
        self.altered: dict[int, Alter] = {}  # contributor -> what it does to proven payloads
        self._made: dict[tuple, verification.Proven] = {}
        self._published: dict[bytes, bytes] = {}  # root of payloads -> v
        self.reader = InputReader(self.plan, self.folk.cryptos[0])

    # --- signing for anybody --------------------------------------------------------------------

    def signed(self, index: int, body, network: bytes | None = None) -> Signed:
        """A body signed by the node with this census index."""
        census = self.plan.census
        crypto = self.folk.cryptos[index]
        return sign_body(crypto, network or census.network, census.node_ids[index], body)

    def member_signed(self, member: int, body) -> Signed:
        """A body signed by a member."""
        return self.signed(self.plan.committee[member], body)

    def private_key(self, member: int) -> bytes:
        """A member's envelope key."""
        return digest("test", b"envelope", bytes((member,)))

    def dealt(self, member: int, purpose: str) -> beacon.DealtSecret:
        """A dealer's secret."""
        return beacon.deal(digest(purpose, bytes((member,))), member, self.size)

    def round_key(self, member: int, **changes) -> RoundKey:
        """A member's round key."""
        dealer = member < beacon.dealer_count(self.size)
        terms = {
            "context": self.plan.context,
            "member": member,
            "encryption_key": self.folk.cryptos[0].envelope_public_key(self.private_key(member)),
            "next_dealing": self.dealt(member, "next").root if dealer else beacon.NO_DEALING,
            "challenge_dealing": (
                self.dealt(member, "challenge").root if dealer else beacon.NO_DEALING
            ),
            **changes,
        }
        return RoundKey(**terms)

    def open_value(self, members: Sequence[int] | None = None) -> bytes:
        """An OPEN value of these members."""
        chosen = range(self.size.size) if members is None else members
        keys = tuple(self.member_signed(m, self.round_key(m)) for m in chosen)
        return codec.encode(OpenValue(keys))

    @property
    def opened(self) -> bytes:
        """Hash of the OPEN value of everybody."""
        return value_hash(self.open_value())

    def keys(self) -> dict[int, RoundKey]:
        """Everybody's round keys."""
        return {m: self.round_key(m) for m in range(self.size.size)}

    # --- contributions --------------------------------------------------------------------------

    def payloads(self, index: int, vector: np.ndarray | None = None, seed: int = 0) -> list[bytes]:
        """The shares of one contribution."""
        if vector is None:
            vector = np.arange(self.length, dtype=np.int64) - 2
        made = self._prove(vector, digest("seed", bytes((index, seed))), index)
        payloads = [self.altered.get(index, bytes)(payload) for payload in made.payloads]
        self._published[merkle_root(payloads)] = made.published
        return payloads

    def _prove(self, vector: np.ndarray, seed: bytes, index: int) -> verification.Proven:
        context = contribution_context(self.plan.context, index)
        key = (vector.tobytes(), self.bounds, seed, context)
        if key not in self._made:
            self._made[key] = verification.prove(vector, self.bounds, self.size, seed, context)
        return self._made[key]

    @property
    def bounds(self) -> Bounds:
        """What contributions are proven to satisfy; a joining round proves nothing."""
        return self.plan.phase.bounds if self.plan.phase else Bounds(self.length, self.length, 4, 0)

    def shares(self, index: int, member: int):
        """A member's share of one contribution."""
        return verification.read_payload(self.payloads(index)[member], self.bounds, self.size)

    def header(self, index: int, payloads: Sequence[bytes] | None = None, **changes) -> Signed:
        """The signed header of one contribution."""
        root = merkle_root(self.payloads(index) if payloads is None else payloads)
        terms = {
            "context": self.plan.context,
            "contributor": index,
            "open_value": self.opened,
            "model_hash": self.plan.model_hash,
            "shares_root": root,
            "published": self._published.get(root, bytes(verification.PUBLISHED_BYTES)),
            **changes,
        }
        return self.signed(index, ContributionHeader(**terms))

    def contribution(
        self,
        index: int,
        member: int,
        payloads: Sequence[bytes] | None = None,
        header: Signed | None = None,
    ) -> Contribution:
        """One member's part of a contribution."""
        shares = self.payloads(index) if payloads is None else payloads
        info = share_info(self.plan.context, index, member)
        key = self.folk.cryptos[0].envelope_public_key(self.private_key(member))
        sealed = self.folk.cryptos[index].seal(key, shares[member], info)
        return Contribution(
            self.plan.context,
            header or self.header(index, shares),
            SealedShare(member, sealed, merkle_proofs(shares)[member]),
        )

    # --- values ---------------------------------------------------------------------------------

    def close_vote(self, member: int, headers: Sequence[Signed] = (), **changes) -> CloseVote:
        """A close vote that names these headers."""
        held = []
        for signed in headers:
            body = codec.decode(signed.body, ContributionHeader, bytes_max=10**6)
            held.append(HeldContribution(body.contributor, header_hash(signed)))
        dealers = tuple(range(beacon.dealer_count(self.size)))
        terms = {
            "context": self.plan.context,
            "member": member,
            "held": tuple(sorted(held, key=lambda each: each.contributor)),
            "joined": (1, 2),
            "next_dealers": dealers,
            "challenge_dealers": dealers,
            "culprits": (),
            **changes,
        }
        return CloseVote(**terms)

    def close_value(
        self, headers: Sequence[Signed], votes: Sequence[Signed] | None = None
    ) -> bytes:
        """A CLOSE value in which everybody names every header."""
        if votes is None:
            votes = [
                self.member_signed(m, self.close_vote(m, headers)) for m in range(self.size.size)
            ]
        return codec.encode(CloseValue(tuple(votes), tuple(headers)))

    def closed(self, indices: Sequence[int] = (2, 3, 4)):
        """The closed list of these contributors."""
        headers = [self.header(index) for index in indices]
        return self.reader.close_value(self.close_value(headers), self.keys(), self.opened)

    def answer(self, index: int, member: int, challenge: bytes = CHALLENGE) -> np.ndarray:
        """What an honest member answers for one contribution."""
        share, claim = self.shares(index, member), self.reader.claim(self.header(index))
        return verification.answers(share, member, claim, challenge, self.bounds, self.size)

    def answered(
        self,
        member: int,
        indices: Sequence[int] = (2, 3, 4),
        challenge: bytes = CHALLENGE,
        headers: Sequence[Signed] | None = None,
        **changes,
    ) -> Answered:
        """A member's honest answers to a challenge, and its signed response.

        headers: those that it answers for. changes: of the response or, before it is signed, of the
        answers.
        """
        values = [self.answer(index, member, challenge) for index in indices]
        answers = Answers(
            changes.pop("held", tuple(indices)),
            changes.pop("values", verification.pack_answers(values)),
        )
        shown = [self.header(index) for index in indices] if headers is None else headers
        leaves = answer_leaves([header_hash(header) for header in shown], answers.values)
        terms = {"challenge": challenge, "answers": answers_root(leaves), **changes}
        body = VerifyResponse(**{"context": self.plan.context, "member": member, **terms})
        return Answered(self.member_signed(member, body), answers)

    def response(self, member: int, *terms, **changes) -> VerifyResponse:
        """What a member signs to answer a challenge honestly; arguments as of `answered`."""
        signed = self.answered(member, *terms, **changes).signed
        return codec.decode(signed.body, VerifyResponse, bytes_max=10**6)

    def accept_value(self, responses: Sequence[Answered] | None = None) -> bytes:
        """An ACCEPT value."""
        given = responses or [self.answered(m) for m in range(self.size.size)]
        return codec.encode(AcceptValue(tuple(given)))

    # --- roles ----------------------------------------------------------------------------------

    def services(
        self,
        index: int,
        restored: dict[str, bytes] | None = None,
        secrets: dict[str, bytes] | None = None,
        params: ProtocolParams | None = None,
    ) -> tuple[RoundServices, Outbox]:
        """A node's services in this round, and the box that its messages fall into."""
        outbox = Outbox()
        services = RoundServices(
            plan=self.plan,
            node_id=self.plan.census.node_ids[index],
            crypto=self.folk.cryptos[index],
            sampler=Sampler(digest("sampler", bytes((index,))), "test"),
            params=params or ProtocolParams(),
            mailbox=outbox,
            restored=restored or {},
            restored_secrets=secrets or {},
        )
        return services, outbox
