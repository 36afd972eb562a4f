"""Corrupt nodes: wrappers around an honest machine that change what it hears or says.

A corrupt node holds its own long-term key, so it signs whatever it likes; it has no other node's.
Honest code contains no switches for tests: everything here works on events and effects alone.
`behaviours.BEHAVIOURS` names each kind; a scenario lists which node shows which.

`over scale` contributes more than the bounds allow, and `off polynomial` shares of no vector;
verification rejects and names both.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs, merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.aggregation.masked_verification.bounds import MaskedBounds
from pnyx.protocol.aggregation.payloads import seeded
from pnyx.protocol.aggregation.verification import (
    SALT_BYTES,
    pack_payload,
    payload_bytes,
    prove,
    read_payload,
)
from pnyx.protocol.agreement import sign_proposal, value_hash
from pnyx.protocol.events import Effect, Event, MessageReceived, Send
from pnyx.protocol.identity import Census, sign_body
from pnyx.protocol.machine import AnyMessage
from pnyx.protocol.messages import (
    Answers,
    Certificate,
    ChallengeReveal,
    CloseNow,
    CloseVote,
    Contribution,
    ContributionHeader,
    Decision,
    GossipMessage,
    Indices,
    Instance,
    MemberBody,
    MemberInput,
    Opening,
    ParcelMessage,
    Part,
    Proposal,
    Relay,
    Release,
    ReleaseBundle,
    RoundKey,
    RoundMessage,
    SealedShare,
    Signed,
    VerifyResponse,
)
from pnyx.protocol.ports import Crypto, IntVector
from pnyx.protocol.round.holdings import share_info
from pnyx.protocol.round.values import (
    AcceptValue,
    CloseValue,
    OpenValue,
    answer_leaves,
    answers_root,
    contribution_context,
    header_hash,
    is_abort,
)
from pnyx.protocol.selection import CommitteeSize
from pnyx.protocol.selection.region import RegionMessage

_BYTES_MAX = 8 * 1024 * 1024
_SEEDED_BYTES_MAX = 1024  # a seed with its proof is shorter, a share is longer
_Change = Callable[[Send, RoundMessage], Iterable[Send]]
_Hear = Callable[[MessageReceived, RoundMessage], bool]
Alter = Callable[[int, bytes, Bounds], bytes]


class Own(msgspec.Struct, frozen=True):
    """What a node contributes while it is honest, and the bounds that this is proven to keep."""

    vector: IntVector
    bounds: Bounds
    masked: ParameterSet | None = None  # of the part that travels masked, which comes first
    verified: MaskedBounds | None = None  # what is verified of that part


class Hands(msgspec.Struct, frozen=True):
    """What a corrupt node has at its disposal."""

    index: int
    node_id: bytes
    crypto: Crypto
    census: Census
    sampler: Sampler
    contribution: Callable[[bytes], Own]  # by the context of the attempt
    aggregators: Callable[[bytes], Indices] = lambda _: ()  # likewise; census indices

    def sign(self, body: msgspec.Struct) -> Signed:
        """Sign anything as this node."""
        return sign_body(self.crypto, self.census.network, self.node_id, body)


def read(payload: bytes) -> RoundMessage | None:
    """The round message in these bytes, if it is one."""
    message = codec.decode(payload, AnyMessage, bytes_max=_BYTES_MAX)
    return None if isinstance(message, GossipMessage | ParcelMessage | RegionMessage) else message


class HeadersSeen:
    """Headers that came by; who signs other answers must know what they are for."""

    def __init__(self) -> None:
        self._names: dict[tuple[bytes, int], bytes] = {}

    def note(self, message: object) -> None:
        """Remember the header that a message carries, if any."""
        if isinstance(message, Contribution | Relay):
            body = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
            self._names[message.context, body.contributor] = header_hash(message.header)

    def answering(
        self, message: MemberInput, answers: Answers, sign: Callable[[msgspec.Struct], Signed]
    ) -> MemberInput | None:
        """The input with other answers, validly signed; None where a header did not come by."""
        body = codec.decode(message.signed.body, VerifyResponse, bytes_max=_BYTES_MAX)
        names = [self._names.get((message.context, who), b"") for who in answers.held]
        if b"" in names:
            return None
        root = answers_root(answer_leaves(names, answers.values))
        signed = sign(msgspec.structs.replace(body, answers=root))
        return msgspec.structs.replace(message, signed=signed, answers=answers)


class Wrapper:
    """Applies a change to every round message sent, and a filter to every one received."""

    def __init__(self, change: _Change | None = None, hear: _Hear | None = None) -> None:
        self._change = change
        self._hear = hear

    def receive(self, event: Event, now: float) -> Event | None:
        """Let the machine hear the event, or not."""
        del now
        if self._hear is None or not isinstance(event, MessageReceived):
            return event
        try:
            message = read(event.payload)
        except ProtocolError:
            return event
        return event if message is None or self._hear(event, message) else None

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Replace each round message by what the change makes of it."""
        del now
        if self._change is None:
            return effects
        changed: list[Effect] = []
        for effect in effects:
            message = read(effect.payload) if isinstance(effect, Send) else None
            if message is None or not isinstance(effect, Send):
                changed.append(effect)
            else:
                changed.extend(self._change(effect, message))
        return changed


def _silent_leader(hands: Hands) -> Wrapper:
    """Collects everybody's input and never answers; nor does it relay what others say in parts."""
    del hands
    led = (Proposal, Certificate, ChallengeReveal, ReleaseBundle, CloseNow, Part)
    return Wrapper(lambda send, message: [] if isinstance(message, led) else [send])


def _censoring_leader(hands: Hands) -> Wrapper:
    """Pretends not to have heard a third of the committee."""
    victims = {node for at, node in enumerate(hands.census.node_ids) if (at - hands.index) % 3 == 1}
    return Wrapper(
        hear=lambda event, message: (
            not (event.peer in victims and isinstance(message, MemberInput | Opening))
        )
    )


def _withheld_reveals(hands: Hands) -> Wrapper:
    """Opens none of the secrets that it holds, its own included."""

    def change(send: Send, message: RoundMessage) -> list[Send]:
        if isinstance(message, Opening):
            return []
        body = input_body(message)
        if isinstance(body, Release):
            return [resigned(hands, send, message, msgspec.structs.replace(body, openings=()))]
        return [send]

    return Wrapper(change)


def _liar(hands: Hands) -> Wrapper:
    """Lies about openings, and about either check values or released shares.

    Whoever gives wrong check values is not asked for its share of the sum. So in every other round,
    as the context has it, the liar answers truly first, and lies about its share of the sum.
    """
    headers = HeadersSeen()

    def hear(event: MessageReceived, message: RoundMessage) -> bool:
        del event
        headers.note(message)
        return True

    def change(send: Send, message: RoundMessage) -> list[Send]:
        headers.note(message)
        if isinstance(message, Opening):
            openings = tuple(
                msgspec.structs.replace(opened, share=off_by_one(opened.share))
                for opened in message.openings
            )
            return [_replaced(send, msgspec.structs.replace(message, openings=openings))]
        body = input_body(message)
        answers_truly = message.context[0] % 2 == 0
        if isinstance(body, Release) and answers_truly:
            lie = msgspec.structs.replace(body, shares=off_by_one(body.shares))
            return [resigned(hands, send, message, lie)]
        if isinstance(message, MemberInput) and message.answers and not answers_truly:
            answers = msgspec.structs.replace(
                message.answers, values=off_by_one(message.answers.values)
            )
            lied = headers.answering(message, answers, hands.sign)
            return [_replaced(send, lied or message)]
        return [send]

    return Wrapper(change, hear)


def _equivocating_leader(hands: Hands) -> Wrapper:
    """Proposes one value to half of the committee and another to the other half."""

    def change(send: Send, message: RoundMessage) -> list[Send]:
        at = hands.census.index_of(send.peer)
        if not isinstance(message, Proposal) or at is None or at % 2 == 0:
            return [send]
        other = _other_value(message.instance, message.value, hands.census.committee.quorum)
        if other is None:
            return [send]
        lie = sign_proposal(
            hands.crypto, message.context, message.instance, message.view, other, message.proof
        )
        return [_replaced(send, lie)]

    return Wrapper(change)


def _other_value(instance: Instance, value: bytes, quorum: int) -> bytes | None:
    """A value that is as valid as this one, without one member's input, if there are enough."""
    if instance is Instance.OPEN:
        keys = codec.decode(value, OpenValue, bytes_max=_BYTES_MAX).keys
        return codec.encode(OpenValue(keys[:-1])) if len(keys) > quorum else None
    if is_abort(value):
        return None
    if instance is Instance.ACCEPT:
        responses = codec.decode(value, AcceptValue, bytes_max=_BYTES_MAX).responses
        return codec.encode(AcceptValue(responses[:-1])) if len(responses) > quorum else None
    closed = codec.decode(value, CloseValue, bytes_max=_BYTES_MAX)
    if len(closed.votes) <= quorum:
        return None
    return codec.encode(CloseValue(closed.votes[:-1], closed.headers))


def _duplicating(hands: Hands) -> Wrapper:
    """Says everything three times."""
    del hands
    return Wrapper(lambda send, _: [send, send, send])


def _garbage(hands: Hands) -> Wrapper:
    """Adds random bytes, and its own messages with a byte changed or cut short."""

    def change(send: Send, message: RoundMessage) -> list[Send]:
        del message
        sampler, payload = hands.sampler, bytearray(send.payload)
        payload[sampler.below(len(payload))] ^= 1 + sampler.below(255)
        kind = sampler.below(4)
        extra = (bytes(payload), send.payload[:-1], sampler.bytes(64), b"")[kind]
        return [send, Send(send.peer, extra)]

    return Wrapper(change)


def _replaying(hands: Hands) -> Wrapper:
    """Repeats old messages as they were, and old contents under the newest context."""
    said: list[bytes] = []

    def change(send: Send, message: RoundMessage) -> list[Send]:
        said.append(send.payload)
        sampler = hands.sampler
        if sampler.below(4):
            return [send]
        old = said[sampler.below(len(said))]
        earlier = read(old)
        assert earlier is not None
        moved = msgspec.structs.replace(earlier, context=message.context)
        return [send, Send(send.peer, old), _replaced(send, moved)]

    return Wrapper(change)


# --- corrupt contributors ------------------------------------------------------------------------


class _Forged(msgspec.Struct, frozen=True):
    """A header, and every member's payload with its proof."""

    header: Signed
    payloads: list[bytes]
    proofs: list[tuple[bytes, ...]]


class Forger:
    """Sends other contributions than its machine made: one per `variant` of a receiver.

    alter: changes a member's payload, within these bounds, after the proof was made. names: whom it
    contributes for, by its own census index. What its own machine holds is honest, so its close
    vote keeps silent about it.
    """

    def __init__(
        self,
        hands: Hands,
        variant: Callable[[int], int] = lambda _: 0,
        alter: Alter = lambda _member, payload, _bounds: payload,
        names: Callable[[int], int] = lambda own: own,
    ) -> None:
        self._hands = hands
        self._variant = variant
        self._named = names(hands.index)
        self._alter = alter
        self._values: dict[bytes, bytes] = {}
        self._made: dict[tuple[bytes, int], _Forged] = {}

    def hear(self, event: MessageReceived, message: RoundMessage) -> bool:
        """Learn the lists of round keys."""
        del event
        self._learn(message)
        return True

    def _learn(self, message: RoundMessage) -> None:
        if isinstance(message, Decision | Proposal) and message.instance is Instance.OPEN:
            self._values[value_hash(message.value)] = message.value

    def change(self, send: Send, message: RoundMessage) -> list[Send]:
        """Replace this node's own contributions."""
        self._learn(message)
        if isinstance(message, Relay) and message.header.signer == self._hands.node_id:
            return []
        body = input_body(message)
        if isinstance(body, CloseVote):
            held = tuple(each for each in body.held if each.contributor != self._hands.index)
            vote = msgspec.structs.replace(body, held=held)
            return [resigned(self._hands, send, message, vote)]
        own = isinstance(message, Contribution) and message.header.signer == self._hands.node_id
        if not own or not isinstance(message, Contribution):
            return [send]
        honest = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
        keys = self._keys(honest.open_value)
        member = message.share.member
        if member not in keys:
            return [send]
        forged = self._forged(honest, self._variant(member))
        info = share_info(message.context, self._named, member)
        payload = forged.payloads[member]
        sealed = self._hands.crypto.seal(keys[member].encryption_key, payload, info)
        share = SealedShare(member, sealed, forged.proofs[member])
        return [_replaced(send, Contribution(message.context, forged.header, share))]

    def _keys(self, opened: bytes) -> Mapping[int, RoundKey]:
        value = self._values.get(opened)
        return {} if value is None else {key.member: key for key in round_keys(value).values()}

    def _forged(self, honest: ContributionHeader, variant: int) -> _Forged:
        made = self._made.get((honest.context, variant))
        if made is None:
            size = self._hands.census.committee
            own = self._hands.contribution(honest.context)
            context = contribution_context(honest.context, self._named)
            seed = self._hands.sampler.bytes(32)
            proven = prove(own.vector, own.bounds, size, seed, context)
            payloads = [
                self._alter(member, payload, own.bounds)
                for member, payload in enumerate(proven.payloads)
            ]
            body = msgspec.structs.replace(
                honest,
                contributor=self._named,
                shares_root=merkle_root(payloads),
                published=proven.published,
            )
            made = _Forged(self._hands.sign(body), payloads, merkle_proofs(payloads))
            self._made[honest.context, variant] = made
        return made


def half_off(member: int, payload: bytes, bounds: Bounds) -> bytes:
    """Shares that lie on no polynomial of the sharing's degree."""
    return payload if member % 2 else _another_share(payload, bounds)


def one_off(member: int, payload: bytes, bounds: Bounds) -> bytes:
    """One member's share is another's."""
    return _another_share(payload, bounds) if member == 1 else payload


def _another_share(payload: bytes, bounds: Bounds) -> bytes:
    """A payload of other shares; where it proves its key's share, or is a seed, that stays."""
    if not bounds.masked_norm_max:
        return off_by_one(payload)
    if len(payload) < _SEEDED_BYTES_MAX:
        return payload
    return payload[:SALT_BYTES] + off_by_one(payload[SALT_BYTES:][:4]) + payload[SALT_BYTES + 4 :]


def twice(size: CommitteeSize) -> Alter:
    """Shares of twice the vector, with the proof of the single one.

    Shares are linear: doubling the columns of the update, or of the bits of counts where there is
    none, shares twice as much.
    """

    def alter(member: int, payload: bytes, bounds: Bounds) -> bytes:
        plan = layout(bounds, size)
        scaled = slice(0, plan.update) if plan.update else slice(plan.counts_start, plan.short)
        if seeded(bounds, size, member):
            return payload  # nobody changes what a seed stands for
        proof = payload[payload_bytes(bounds, size) :]
        payload = payload[: len(payload) - len(proof)]
        salt, shares = payload[:SALT_BYTES], read_payload(payload, bounds, size)
        doubled = [share.copy() for share in shares]
        for field, share in zip(FIELDS, doubled, strict=True):
            share[scaled] = field.reduce(2 * share[scaled])
        return pack_payload(salt, tuple(doubled), bounds, size) + proof

    return alter


def _two_headers(hands: Hands) -> Wrapper:
    """Shows one contribution to half of the members and another to the others."""
    forger = Forger(hands, variant=lambda member: member % 2)
    return Wrapper(forger.change, forger.hear)


def _off_polynomial(hands: Hands) -> Wrapper:
    """Deals shares that lie on no polynomial of the sharing's degree."""
    forger = Forger(hands, alter=half_off)
    return Wrapper(forger.change, forger.hear)


def _bad_share(hands: Hands) -> Wrapper:
    """Deals one member a share that is another's, and everybody else what it should."""
    forger = Forger(hands, alter=one_off)
    return Wrapper(forger.change, forger.hear)


def _over_scale(hands: Hands) -> Wrapper:
    """Contributes its vector twice over, with the proof of the single one."""
    forger = Forger(hands, alter=twice(hands.census.committee))
    return Wrapper(forger.change, forger.hear)


# --- helpers -------------------------------------------------------------------------------------


def input_body(message: RoundMessage) -> MemberBody | None:
    """What a member signed for its leader, if this message is that."""
    if not isinstance(message, MemberInput):
        return None
    body: MemberBody = codec.decode(message.signed.body, MemberBody, bytes_max=_BYTES_MAX)
    return body


def round_keys(value: bytes) -> dict[bytes, RoundKey]:
    """The round keys of an OPEN value, by the node that signed them."""
    return {
        signed.signer: codec.decode(signed.body, RoundKey, bytes_max=_BYTES_MAX)
        for signed in codec.decode(value, OpenValue, bytes_max=_BYTES_MAX).keys
    }


def _replaced(send: Send, message: RoundMessage) -> Send:
    return Send(send.peer, codec.encode(message))


def resigned(hands: Hands, send: Send, message: RoundMessage, body: msgspec.Struct) -> Send:
    """The same message with another body, signed by this node."""
    assert isinstance(message, MemberInput)
    return _replaced(send, msgspec.structs.replace(message, signed=hands.sign(body)))


def off_by_one(data: bytes) -> bytes:
    """Packed elements with the lowest bit of the last one flipped, still within their field."""
    if not data:
        return data
    words = np.frombuffer(data, dtype="<u4").copy()
    words[-1] ^= 1
    return words.tobytes()


ALONE: dict[str, Callable[[Hands], Wrapper]] = {
    "silent leader": _silent_leader,
    "censoring leader": _censoring_leader,
    "withheld reveals": _withheld_reveals,
    "liar": _liar,
    "equivocating leader": _equivocating_leader,
    "two headers": _two_headers,
    "off polynomial": _off_polynomial,
    "bad share": _bad_share,
    "over scale": _over_scale,
    "duplicating": _duplicating,
    "garbage": _garbage,
    "replaying": _replaying,
}
