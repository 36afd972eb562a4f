"""Corrupt nodes that the dispute is about: dealers of false secrets, and givers of false evidence.

Wrappers around an honest machine, as in `adversary`.
"""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_commit
from pnyx.protocol import beacon
from pnyx.protocol.events import Effect, MessageReceived, Send, StepReached
from pnyx.protocol.gossip import item_id
from pnyx.protocol.messages import (
    Announce,
    Answered,
    BadContribution,
    ContributionHeader,
    Dealing,
    DealingShares,
    Decision,
    Evidence,
    FalseVector,
    Instance,
    Items,
    OpenedPayload,
    OpenedSegment,
    OpenedShare,
    Proof,
    Proposal,
    RoundKey,
    RoundMessage,
    Signed,
    TwoBodies,
    VerifyResponse,
    Vote,
    WrongAnswer,
    WrongRelease,
    WrongShare,
)
from pnyx.protocol.round.dispute import ShownAnswers
from pnyx.protocol.round.holdings import dealing_info
from pnyx.protocol.round.values import (
    AcceptValue,
    CloseValue,
    OpenValue,
    header_hash,
    is_abort,
)
from pnyx.simulator.adversary import Hands, Wrapper, input_body, off_by_one, resigned

_BYTES_MAX = 8 * 1024 * 1024
_FALSE_A_ROUND = 3


class _FalseDealer:
    """Commits to shares of no polynomial, and deals them."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._secrets: dict[bytes, tuple[beacon.DealtSecret, beacon.DealtSecret]] = {}
        self._member: dict[bytes, int] = {}  # by context
        self._dealt: set[bytes] = set()
        self._keys: dict[bytes, tuple[Signed, ...]] = {}

    def hear(self, event: MessageReceived, message: RoundMessage) -> bool:
        """Learn the list of round keys."""
        del event
        if isinstance(message, Decision | Proposal) and message.instance is Instance.OPEN:
            value = codec.decode(message.value, OpenValue, bytes_max=_BYTES_MAX)
            self._keys[message.context] = value.keys
        return True

    def change(self, send: Send, message: RoundMessage) -> list[Send]:
        """Commit to false secrets; once the list of keys is known, deal them."""
        body = input_body(message)
        if isinstance(body, RoundKey) and body.next_dealing != beacon.NO_DEALING:
            following, challenge = self._false(body.context, body.member)
            key = msgspec.structs.replace(
                body, next_dealing=following.root, challenge_dealing=challenge.root
            )
            return [resigned(self._hands, send, message, key)]
        context = message.context
        ready = context in self._keys and context in self._secrets
        if ready and not isinstance(message, Proposal | Vote) and context not in self._dealt:
            self._dealt.add(context)
            return [send, *self._deal(context)]
        return [send]

    def _false(self, context: bytes, member: int) -> tuple[beacon.DealtSecret, beacon.DealtSecret]:
        if context not in self._secrets:
            self._secrets[context] = self._made(member), self._made(member)
            self._member[context] = member
        return self._secrets[context]

    def _made(self, member: int) -> beacon.DealtSecret:
        """The shares of a secret, but for one."""
        size = self._hands.census.committee
        true = beacon.deal(self._hands.sampler.bytes(32), member, size).shares
        rows = [off_by_one(each.share) if at == 0 else each.share for at, each in enumerate(true)]
        root, proofs = merkle_commit([r + each.salt for r, each in zip(rows, true, strict=True)])
        shares = tuple(
            OpenedShare(member, row, each.salt, proof)
            for row, each, proof in zip(rows, true, proofs, strict=True)
        )
        return beacon.DealtSecret(root, shares)

    def _deal(self, context: bytes) -> Iterator[Send]:
        me, (following, challenge) = self._member[context], self._secrets[context]
        for signed in self._keys[context]:
            key = codec.decode(signed.body, RoundKey, bytes_max=_BYTES_MAX)
            shares = DealingShares(following.shares[key.member], challenge.shares[key.member])
            info = dealing_info(context, me, key.member)
            sealed = self._hands.crypto.seal(key.encryption_key, codec.encode(shares), info)
            if signed.signer != self._hands.node_id:
                yield Send(signed.signer, codec.encode(Dealing(context, me, sealed)))


def false_dealer(hands: Hands) -> Wrapper:
    """Deals beacon secrets that are none."""
    dealer = _FalseDealer(hands)
    return Wrapper(dealer.change, dealer.hear)


class Perjurer(Wrapper):
    """Accuses honest nodes by their own words, put together wrongly, and says so to everybody."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hear=self._listen)
        self._hands = hands
        self._headers: dict[bytes, tuple[Signed, ...]] = {}  # by context
        self._responses: dict[bytes, tuple[Answered, ...]] = {}
        self._round: tuple[bytes, int] | None = None
        self._told: set[bytes] = set()

    def _listen(self, event: MessageReceived, message: RoundMessage) -> bool:
        del event
        if not isinstance(message, Proposal) or is_abort(message.value):
            return True
        if message.instance is Instance.CLOSE:
            value = codec.decode(message.value, CloseValue, bytes_max=_BYTES_MAX)
            self._headers[message.context] = value.headers
        elif message.instance is Instance.ACCEPT:
            accepted = codec.decode(message.value, AcceptValue, bytes_max=_BYTES_MAX)
            self._responses[message.context] = accepted.responses
        return True

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Add false evidence as soon as there are words to twist."""
        for effect in effects:
            if isinstance(effect, StepReached):
                self._round = effect.study, effect.round_number
        said = list(effects)
        for context in self._responses.keys() & self._headers.keys() - self._told:
            self._told.add(context)
            items = [codec.encode(each) for each in self._false(context)]
            for node in self._hands.census.node_ids:
                if node != self._hands.node_id:
                    names = Announce(tuple(map(item_id, items)))
                    said.append(Send(node, codec.encode(names)))
                    said.extend(Send(node, codec.encode(Items((item,)))) for item in items)
        return super().emit(said, now)

    def _false(self, context: bytes) -> Iterator[Evidence]:
        """Accuse everybody whose words are at hand."""
        if self._round is None:
            return
        study, number = self._round
        for proof, signer in self._proofs(context):
            culprit = self._hands.census.index_of(signer)
            if culprit is not None and culprit != self._hands.index:
                yield Evidence(study, number, 1, culprit, proof)

    def _proofs(self, context: bytes) -> Iterator[tuple[Proof, bytes]]:
        sampler = self._hands.sampler
        headers = self._headers[context]
        names: defaultdict[int, bytes] = defaultdict(lambda: bytes(32))
        names.update({_contributor(header): header_hash(header) for header in headers})
        shown = ShownAnswers(AcceptValue(self._responses[context]), names)
        for header in headers[:_FALSE_A_ROUND]:
            answers = shown.of(_contributor(header))
            if not answers:
                continue
            answer = answers[sampler.below(len(answers))]
            response = answer.response
            body = codec.decode(response.body, VerifyResponse, bytes_max=_BYTES_MAX)
            opened = OpenedPayload(body.member, sampler.bytes(64), ())
            yield WrongAnswer(header, opened, answer), response.signer
            yield WrongShare(header, opened, answers), header.signer
            yield BadContribution("range", header, answers), header.signer
            yield BadContribution("bound", header, answers), header.signer
            yield BadContribution("sharing", header, answers), header.signer
            yield BadContribution("link", header, answers), header.signer
            segment = OpenedSegment(0, b"", b"", bytes(32), (sampler.bytes(64),), ((),))
            yield FalseVector(header, (sampler.bytes(32),), segment), header.signer
            yield TwoBodies(response, response), response.signer
            yield WrongRelease((response,)), response.signer


def _contributor(header: Signed) -> int:
    return codec.decode(header.body, ContributionHeader, bytes_max=_BYTES_MAX).contributor
