"""A legitimate node of a region: deals, locks, opens, and signs what the region made.

    CALLED    answer the call of the node that the point imposes, once
    ENROLLED  share a secret among everybody on the roll
    HOLDING   say whose secrets it holds a share of
    LOCKED    fix the choice of secrets, once
    OPENED    shown a quorum of locks, send all shares to everybody on the roll
    MADE      with the value, sign it (R1), or the list that it orders (R2)

Until it locks, nobody but a secret's dealer knows the secret, and one of the chosen dealers is
honest. After a quorum has locked, everybody on the roll gets everything: neither the caller nor
anybody that withholds a share changes what comes out, or hides it.

A node takes part in one call for a region of a draw, across restarts (`enter`), and locks one
choice. Two quorums share an honest node, so there is at most one value for a draw.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import msgspec

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate, check_quorum
from pnyx.protocol import dealing
from pnyx.protocol.messages import OpenedShare, Word
from pnyx.protocol.selection.region.messages import (
    CANDIDATES_MAX,
    ActorProof,
    Call,
    Choice,
    Continue,
    Deal,
    Dealt,
    Lock,
    Locked,
    Offer,
    Presence,
    RandomProof,
    Receipt,
    Region,
    RegionMessage,
    Reveal,
    Roll,
    Witness,
    Witnessed,
)
from pnyx.protocol.selection.region.offences import two_calls, two_rolls
from pnyx.protocol.selection.region.ring import Place, distance, reach
from pnyx.protocol.selection.region.services import DrawServices
from pnyx.protocol.selection.region.statements import (
    actors_statement,
    call_statement,
    call_value,
    choice_hash,
    deal_statement,
    lock_statement,
    offer_hash,
    ordered,
    point_of,
    presence_statement,
    random_statement,
    receipt_statement,
    roll_hash,
    roll_statement,
    sealing_info,
    value_of,
)

_OPENED_BYTES_MAX = 1024
SignerMessage = Call | Roll | Offer | Choice | Locked | Reveal | Witness


class _Sharers(msgspec.Struct, frozen=True):
    """Among whom a node of a region shares its secret."""

    size: int
    corrupt_max: int


class Signer:
    """One node's part in one region of one draw; driven by `handle` and `tick`."""

    def __init__(self, services: DrawServices, region: Region, now: float) -> None:
        self._s = services
        self._region = region
        self._resend_at = now + services.retransmit_s
        self._call: Call | None = None
        self._caller: Place | None = None
        self._legitimate: dict[bytes, bytes] = {}  # node id -> public key, of who may take part
        self._private_key = b""
        self._presence: Presence | None = None
        self._roll: tuple[Presence, ...] = ()
        self._roll_hash = b""
        self._roll_word: Word | None = None
        self._keys: tuple[bytes, ...] = ()  # public keys, by place on the roll
        self._place = 0  # of this node on the roll
        self._deal: Deal | None = None
        self._offer: Offer | None = None
        self._offer_hash = b""
        self._shares: dict[int, OpenedShare] = {}  # dealer -> this node's share of its secret
        self._receipt: Receipt | None = None
        self._roots: dict[int, bytes] = {}  # of the chosen dealers
        self._choice_hash = b""
        self._lock: Lock | None = None
        self._reveal: Reveal | None = None
        self._reveals: dict[int, tuple[OpenedShare, ...]] = {}
        self._made: RandomProof | ActorProof | None = None  # without witnesses yet
        self._statement = b""
        self._witness: Witness | None = None
        self._witnesses: dict[int, bytes] = {}
        self._early: dict[int, bytes] = {}  # signatures on what this node does not know yet
        self.done: RandomProof | ActorProof | None = None

    @property
    def called(self) -> bool:
        """Whether this node took part in a call."""
        return self._call is not None

    @property
    def opened(self) -> bool:
        """Whether this node has opened its shares: what comes out is fixed."""
        return self._reveal is not None

    # --- driving --------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `tick` has something to do: from the lock on, all on the roll see it through."""
        return None if self._lock is None else self._resend_at

    def tick(self, now: float) -> None:
        """Repeat what this node owes to everybody on the roll."""
        if self._lock is None or now < self._resend_at:
            return
        self._resend_at = now + self._s.retransmit_s
        if self._reveal is None:
            self._answer(self._lock)
        else:
            self._to_all(self._reveal)
        if self._witness is not None:
            self._to_all(self._witness)
        self._hand_on()

    def handle(self, sender: bytes, message: SignerMessage) -> None:
        """Process a message from a node with this id. Raises ProtocolError."""
        if isinstance(message, Call):
            self._on_call(sender, message)
        elif isinstance(message, Reveal | Witness):
            self._on_member(sender, message)
        elif self._caller is not None and sender == self._caller.node_id:
            self._on_caller(message)

    def _on_caller(self, message: Roll | Offer | Choice | Locked) -> None:
        match message:
            case Roll():
                self._on_roll(message)
            case Offer():
                self._on_offer(message)
            case Choice():
                self._on_choice(message)
            case _:
                self._open(message.locks)

    def _joined(self) -> tuple[Call, Place]:
        """The call that this node answered, and its caller."""
        assert self._call is not None, "nothing follows before a call"
        assert self._caller is not None, "a call has a caller"
        return self._call, self._caller

    def _on_member(self, sender: bytes, message: Reveal | Witness) -> None:
        if message.member >= len(self._roll) or self._roll[message.member].node != sender:
            return
        if isinstance(message, Reveal):
            self._on_reveal(message)
        else:
            self._on_witness(message)

    def _answer(self, message: RegionMessage | None) -> None:
        assert message is not None, "what is answered again was answered before"
        self._s.send(self._joined()[1].node_id, message)

    def _to_all(self, message: RegionMessage) -> None:
        for presence in self._roll:
            if presence.node != self._s.node_id:
                self._s.send(presence.node, message)

    # --- the call -------------------------------------------------------------------------------

    def _on_call(self, sender: bytes, call: Call) -> None:
        if self._call is not None:
            if call != self._call:
                self._called_twice(self._call, call)
                raise RuleBroken("a region of a draw is called twice")
            self._answer(self._presence)
            return
        caller = self._check_call(sender, call)
        called = self._s.selector.called_by(caller)
        legitimate = {place.node_id: place.public_key for place in called}
        if self._s.node_id not in legitimate or len(legitimate) < self._s.rule.signers:
            raise RuleBroken("a node is called to a region that is not its own, or too sparse")
        if not self._s.enter(self._region):
            raise RuleBroken("this node took part in this draw before it was restarted")
        self._call, self._caller, self._legitimate = call, caller, legitimate
        self._private_key = self._s.sampler.bytes(32)
        presence = Presence(
            context=call.context,
            region=call.region,
            node=self._s.node_id,
            key=self._s.crypto.envelope_public_key(self._private_key),
            additions=self._additions(call),
            signature=bytes(64),
        )
        statement = presence_statement(presence, call.signature)
        self._presence = msgspec.structs.replace(presence, signature=self._s.crypto.sign(statement))
        self._answer(self._presence)

    def _check_call(self, sender: bytes, call: Call) -> Place:
        """The caller, if it is the node that the draw imposes. Raises ProtocolError."""
        value = call_value(call)
        if sender != call.caller or call.draw != self._s.draw:
            raise WrongContext("a call is for another draw, or somebody else's")
        if (call.before is None) != (self._region is Region.VALUE):
            raise RuleBroken("a setter calls with a random value, a trigger without")
        point = point_of(self._s.context, value)
        caller = self._s.cache.owner(point)
        if caller.node_id != call.caller:
            raise RuleBroken("a draw was called by a node that its point does not impose")
        statement = call_statement(self._s.context, self._region, call.caller, value)
        if not self._s.crypto.verify(caller.public_key, statement, call.signature):
            raise InvalidSignature("a caller did not sign its call")
        if call.before is not None:
            if call.before.draw != self._s.draw:
                raise WrongContext("a random value was made for another draw")
            self._s.selector.check_random(call.before)
            self._s.on_value(call.before)
        return caller

    def _additions(self, call: Call) -> tuple[bytes, ...]:
        """Candidates that this node knows and the caller left out."""
        if self._region is Region.VALUE:
            return ()
        named = set(call.candidates)
        known = self._s.candidates(call_value(call))
        return tuple(node for node in known if node not in named)

    # --- the roll -------------------------------------------------------------------------------

    def _on_roll(self, roll: Roll) -> None:
        call, _ = self._joined()
        name = roll_hash(call, roll.presences)
        statement = roll_statement(self._s.context, self._region, name)
        if not self._by_caller(statement, roll.signature):
            raise InvalidSignature("a caller did not sign its roll")
        word = Word((name,), roll.signature)
        if self._roll_word is not None:
            if word.parts != self._roll_word.parts:
                attempt, words = self._s.draw.attempt, (self._roll_word, word)
                self._s.on_offence(two_rolls(attempt, self._region, call.caller, *words))
            self._answer(self._deal)
            return
        self._check_presences(call, roll.presences)
        self._roll, self._roll_hash, self._roll_word = roll.presences, name, word
        self._keys = tuple(self._legitimate[each.node] for each in roll.presences)
        self._place = [each.node for each in roll.presences].index(self._s.node_id)
        self._deal = self._share_secret()
        self._answer(self._deal)

    def _check_presences(self, call: Call, presences: Sequence[Presence]) -> None:
        if len(presences) < self._s.rule.quorum(len(self._legitimate)):
            raise RuleBroken("a roll has fewer nodes than a quorum of the region")
        if any(a.node >= b.node for a, b in pairwise(presences)):
            raise RuleBroken("a roll names nodes out of order, or one of them twice")
        if self._presence not in presences:
            raise RuleBroken("a roll leaves out the node that it is sent to")
        for each in presences:
            key = self._legitimate.get(each.node)
            if key is None or (each.context, each.region) != (call.context, call.region):
                raise RuleBroken("a roll names a node of another region, or a word of another draw")
            statement = presence_statement(each, call.signature)
            if not self._s.crypto.verify(key, statement, each.signature):
                raise InvalidSignature("a node on a roll did not say that it takes part")

    def _share_secret(self) -> Deal:
        s, me = self._s, self._place
        dealt = dealing.deal(s.sampler.bytes(32), me, self._sharers)
        unsigned = Dealt(me, dealt.root, bytes(64))
        statement = deal_statement(s.context, self._region, self._roll_hash, unsigned)
        sealed = tuple(
            s.crypto.seal(presence.key, codec.encode(share), self._info(me, place))
            for place, (presence, share) in enumerate(zip(self._roll, dealt.shares, strict=True))
        )
        signed = Dealt(me, dealt.root, s.crypto.sign(statement))
        return Deal(s.context, self._region, signed, sealed)

    @property
    def _sharers(self) -> _Sharers:
        return _Sharers(len(self._roll), self._s.rule.corrupt_max)

    def _info(self, dealer: int, member: int) -> bytes:
        return sealing_info(self._s.context, self._region, self._roll_hash, dealer, member)

    # --- secrets --------------------------------------------------------------------------------

    def _on_offer(self, offer: Offer) -> None:
        if not self._roll or self._offer is not None:
            if offer == self._offer:
                self._answer(self._receipt)
            return
        dealers = [dealt.dealer for dealt in offer.dealings]
        if len(offer.sealed) != len(dealers) or any(a >= b for a, b in pairwise(dealers)):
            raise RuleBroken("an offer lists dealers out of order, or without their shares")
        for dealt in offer.dealings:
            self._check_dealt(dealt)
        self._offer = offer
        self._offer_hash = offer_hash(self._roll_hash, offer.dealings)
        for dealt, sealed in zip(offer.dealings, offer.sealed, strict=True):
            self._keep_share(dealt, sealed)
        unsigned = Receipt(
            self._s.context, self._region, self._place, tuple(sorted(self._shares)), bytes(64)
        )
        signature = self._s.crypto.sign(receipt_statement(unsigned, self._offer_hash))
        self._receipt = msgspec.structs.replace(unsigned, signature=signature)
        self._answer(self._receipt)

    def _check_dealt(self, dealt: Dealt) -> None:
        statement = deal_statement(self._s.context, self._region, self._roll_hash, dealt)
        if dealt.dealer >= len(self._roll) or not self._s.crypto.verify(
            self._keys[dealt.dealer], statement, dealt.signature
        ):
            raise InvalidSignature("a dealer of a region did not sign its commitment")

    def _keep_share(self, dealt: Dealt, sealed: bytes) -> None:
        """Keep a share that is what its dealer committed to; any other is as good as none."""
        info = self._info(dealt.dealer, self._place)
        with suppress(MalformedMessage):
            plain = self._s.crypto.open_envelope(self._private_key, sealed, info)
            share = codec.decode(plain, OpenedShare, bytes_max=_OPENED_BYTES_MAX)
            sound = dealing.share_matches(dealt.root, share, self._place, self._sharers)
            if sound and share.dealer == dealt.dealer:
                self._shares[dealt.dealer] = share

    def _on_choice(self, choice: Choice) -> None:
        offer = self._offer
        if offer is None:
            return
        name = choice_hash(self._offer_hash, choice)
        if self._lock is not None:
            if name == self._choice_hash:
                self._answer(self._lock)
            return
        self._check_choice(offer, choice)
        roots = {dealt.dealer: dealt.root for dealt in offer.dealings}
        self._roots = {dealer: roots[dealer] for dealer in choice.dealers}
        self._choice_hash = name
        statement = lock_statement(self._s.context, self._region, self._roll_hash, name)
        signature = self._s.crypto.sign(statement)
        self._lock = Lock(self._s.context, self._region, self._place, signature)
        self._answer(self._lock)

    def _check_choice(self, offer: Offer, choice: Choice) -> None:
        """k_r dealers, of whose secrets enough nodes signed that they hold a share."""
        rule, dealers, receipts = self._s.rule, choice.dealers, choice.receipts
        if len(dealers) != rule.signers or any(a >= b for a, b in pairwise(dealers)):
            raise RuleBroken(f"a region makes its value of {rule.signers} secrets, in order")
        if not {dealt.dealer for dealt in offer.dealings}.issuperset(dealers):
            raise RuleBroken("a choice names a secret that was not offered")
        if any(a.member >= b.member for a, b in pairwise(receipts)):
            raise RuleBroken("a choice lists receipts out of order, or one of them twice")
        if len(receipts) < rule.quorum(len(self._legitimate)):
            raise RuleBroken("a choice carries fewer receipts than a quorum of the region")
        for receipt in receipts:
            self._check_receipt(receipt)
        enough = min(rule.holders_wanted, len(receipts))
        for dealer in dealers:
            if sum(dealer in receipt.held for receipt in receipts) < enough:
                raise RuleBroken("a choice names a secret that too few nodes hold a share of")

    def _check_receipt(self, receipt: Receipt) -> None:
        here = (self._s.context, self._region)
        if receipt.member >= len(self._roll) or (receipt.context, receipt.region) != here:
            raise RuleBroken("a receipt is of nobody on the roll, or of another draw")
        statement = receipt_statement(receipt, self._offer_hash)
        if not self._s.crypto.verify(self._keys[receipt.member], statement, receipt.signature):
            raise InvalidSignature("a node of a region did not sign its receipt")

    # --- opening --------------------------------------------------------------------------------

    def _open(self, locks: QuorumCertificate) -> None:
        """With a quorum of locks nothing can change any more: open, if it is not too late."""
        if self._lock is None or self._reveal is not None or not self._s.may_open():
            return
        check_quorum(
            locks,
            self._keys,
            lock_statement(self._s.context, self._region, self._roll_hash, self._choice_hash),
            self._s.rule.quorum(len(self._legitimate)),
            self._s.crypto.verify,
        )
        openings = tuple(self._shares[d] for d in self._roots if d in self._shares)
        self._reveal = Reveal(self._s.context, self._region, self._place, locks, openings)
        self._reveals[self._place] = openings
        self._to_all(self._reveal)
        self._recover()

    def _on_reveal(self, message: Reveal) -> None:
        """Another's shares; with the locks that entitle this node to open, too."""
        if self._lock is None:
            return  # sent again later
        if len(message.openings) > len(self._roots):
            raise RuleBroken("a node of a region opens secrets that were not chosen")
        self._open(message.locks)
        if self._reveal is None or message.member in self._reveals:
            return
        self._reveals[message.member] = message.openings
        self._recover()

    def _recover(self) -> None:
        if self._made is not None:
            return
        call, _ = self._joined()
        secrets = dealing.recover_all(self._roots, self._reveals.items(), self._sharers)
        if secrets is None:
            return
        value = value_of(
            self._s.context,
            self._region,
            self._choice_hash,
            (secrets[dealer] for dealer in self._roots),
        )
        made = self._random(call, value) if call.before is None else self._list(value)
        if made is not None:
            self._vouch(made)

    def _random(self, call: Call, value: bytes) -> RandomProof:
        self._statement = random_statement(self._s.context, call.caller, value)
        return RandomProof(call.draw, call.caller, call.signature, value, ())

    def _list(self, order: bytes) -> ActorProof | None:
        """The first of the named candidates in R3; None where the region has too few nodes.

        Where fewer were named than are wanted, the first of the others that are certified follow.
        """
        (call, _), count = self._joined(), self._s.draw.count
        value = call_value(call)
        centre = point_of(self._s.context, value)
        share = self._s.rule.candidate_share(count)
        named = set(call.candidates).union(*(each.additions for each in self._roll))
        places = [self._s.cache.find(node) for node in named]
        furthest = reach(share)
        inside = [p.node_id for p in places if p and distance(p.position, centre) <= furthest]
        chosen = ordered(order, inside)[:count]
        if len(chosen) < count:
            certified = self._s.cache.near(centre, share, CANDIDATES_MAX)
            others = {place.node_id for place in certified}.difference(chosen)
            chosen += ordered(order, others)[: count - len(chosen)]
        if len(chosen) < count:
            return None
        actors = tuple(ordered(order, chosen))
        self._statement = actors_statement(self._s.context, value, call.caller, order, actors)
        return ActorProof(call.draw, value, call.caller, call.signature, order, actors, ())

    def _vouch(self, made: RandomProof | ActorProof) -> None:
        self._made = made
        signature = self._s.crypto.sign(self._statement)
        self._witness = Witness(self._s.context, self._region, self._place, signature)
        self._witnesses[self._place] = signature
        self._to_all(self._witness)
        for member, early in self._early.items():
            self._count(member, early)
        self._finish()

    def _on_witness(self, message: Witness) -> None:
        """Count a signature, or keep it until this node knows what it is of."""
        if self._made is None:
            self._early[message.member] = message.signature
        elif message.member not in self._witnesses:
            if not self._count(message.member, message.signature):
                raise InvalidSignature("a node of a region signed something else than it made")
            self._finish()

    def _count(self, member: int, signature: bytes) -> bool:
        valid = self._s.crypto.verify(self._keys[member], self._statement, signature)
        if valid:
            self._witnesses[member] = signature
        return valid

    def _finish(self) -> None:
        made, signers = self._made, self._s.rule.signers
        if self.done is not None or made is None or len(self._witnesses) < signers:
            return
        chosen = sorted(self._witnesses)[:signers]  # places follow node ids
        witnesses = tuple(
            Witnessed(self._roll[place].node, self._witnesses[place]) for place in chosen
        )
        self.done = msgspec.structs.replace(made, witnesses=witnesses)
        self._hand_on()

    def _hand_on(self) -> None:
        """R1's value to the setter that it imposes; the list to whoever asked for it."""
        if isinstance(self.done, RandomProof):
            self._s.on_value(self.done)
            setter = self._s.cache.owner(point_of(self._s.context, self.done.value))
            if setter.node_id == self._s.node_id:
                self._s.on_random(self.done)
            else:
                self._s.send(setter.node_id, Continue(self._s.context, self.done))
        elif self.done is not None:
            self._s.on_list(self.done)

    # --- words ----------------------------------------------------------------------------------

    def _by_caller(self, statement: bytes, signature: bytes) -> bool:
        return self._s.crypto.verify(self._joined()[1].public_key, statement, signature)

    def _called_twice(self, first: Call, second: Call) -> None:
        """Evidence against a caller that calls by two values."""
        offence = two_calls(first, second)
        value = call_value(second)
        statement = call_statement(self._s.context, self._region, second.caller, value)
        if offence is not None and self._by_caller(statement, second.signature):
            self._s.on_offence(offence)
