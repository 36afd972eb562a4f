"""The node that a point imposes: the trigger of a draw, or its setter. It only carries messages.

    CALL     invite the legitimate nodes around; whoever comes is on the roll
    DEAL     collect a shared secret from each, and hand out the shares
    RECEIVE  hear who holds which; the secrets that enough nodes hold are chosen
    LOCK     collect a quorum's word that it fixes this choice
    OVER     the quorum is shown to all: from here on the nodes of the region need no caller

It is believed in nothing. It can be silent, and then the draw is attempted elsewhere; once a quorum
has locked it cannot even do that. It chooses among who answers before anybody knows anything. The
nodes of the region check all that it sends (`signer`).
"""

from collections.abc import Collection, Iterable
from enum import IntEnum
from functools import cached_property

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.selection.region.messages import (
    Call,
    Choice,
    Deal,
    Lock,
    Locked,
    Offer,
    Presence,
    RandomProof,
    Receipt,
    Region,
    RegionMessage,
    Roll,
)
from pnyx.protocol.selection.region.services import DrawServices
from pnyx.protocol.selection.region.statements import (
    NO_VALUE,
    call_statement,
    call_value,
    choice_hash,
    deal_statement,
    lock_statement,
    offer_hash,
    presence_statement,
    receipt_statement,
    roll_hash,
    roll_statement,
)


class Stage(IntEnum):
    """How far a call has come."""

    CALL = 0
    DEAL = 1
    RECEIVE = 2
    LOCK = 3
    OVER = 4


class Caller:
    """One call, for one region of one draw; driven by `start`, `handle` and `tick`."""

    def __init__(
        self, services: DrawServices, region: Region, before: RandomProof | None, now: float
    ) -> None:
        self._s = services
        self._region = region
        self._before = before
        here = services.cache.find(services.node_id)
        if here is None:
            raise ValueError("a caller is a certified node")
        self._keys = {p.node_id: p.public_key for p in services.selector.called_by(here)}
        self.sparse = len(self._keys) < services.rule.signers
        self._quorum = services.rule.quorum(len(self._keys))
        self.stage = Stage.CALL
        self._stage_at = now
        self._waited = False  # for the grace of this stage
        self._resend_at = now + services.grace_s
        self._call = self._make_call()
        self._presences: dict[bytes, Presence] = {}
        self._roll: tuple[bytes, ...] = ()  # node ids, by place
        self._roll_message: Roll | None = None
        self._roll_hash = b""
        self._deals: dict[int, Deal] = {}
        self._offered: tuple[int, ...] = ()
        self._offer_hash = b""
        self._receipts: dict[int, Receipt] = {}
        self._choice: Choice | None = None
        self._choice_hash = b""
        self._locks: dict[int, bytes] = {}
        self._locked: Locked | None = None

    def _make_call(self) -> Call:
        s = self._s
        candidates: tuple[bytes, ...] = ()
        value = NO_VALUE if self._before is None else self._before.value
        if self._region is Region.LIST:
            candidates = s.candidates(value)
        statement = call_statement(s.context, self._region, s.node_id, value)
        return Call(
            context=s.context,
            region=self._region,
            draw=s.draw,
            caller=s.node_id,
            before=self._before,
            candidates=candidates,
            signature=s.crypto.sign(statement),
        )

    # --- driving --------------------------------------------------------------------------------

    def start(self) -> None:
        """Call; in a region with too few nodes nobody would believe what it makes."""
        if self.sparse:
            self.stage = Stage.OVER
            return
        for node in self._keys:
            self._s.send(node, self._call)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self.stage is Stage.OVER:
            return None
        grace = self._stage_at + self._s.grace_s
        return self._resend_at if self._waited else min(self._resend_at, grace)

    def tick(self, now: float) -> None:
        """Go on without whoever is late, and repeat what was lost."""
        if self.stage is Stage.OVER:
            return
        self._waited = now >= self._stage_at + self._s.grace_s
        self._advance(now)
        if now >= self._resend_at:
            self._resend_at = now + self._s.grace_s
            self._resend()

    def handle(self, sender: bytes, message: RegionMessage, now: float) -> None:
        """Process an answer. Raises ProtocolError."""
        match message:
            case Presence():
                self._on_presence(sender, message)
            case Deal():
                self._on_deal(sender, message)
            case Receipt():
                self._on_receipt(sender, message)
            case Lock():
                self._on_lock(sender, message)
            case _:
                return
        self._advance(now)

    def _resend(self) -> None:
        """Ask again whoever has not answered, with all that it may have missed."""
        match self.stage:
            case Stage.CALL:
                for node in self._keys:
                    if node not in self._presences:
                        self._s.send(node, self._call)
            case Stage.DEAL:
                self._send_roll(self._missing(self._deals))
            case Stage.RECEIVE:
                missing = self._missing(self._receipts)
                self._send_roll([place for place in missing if place not in self._deals])
                self._send_offer(missing)
            case _:
                missing = self._missing(self._locks)
                self._send_roll([place for place in missing if place not in self._deals])
                self._send_offer([place for place in missing if place not in self._receipts])
                self._send_choice(missing)

    def _missing(self, have: Collection[int]) -> list[int]:
        return [place for place in range(len(self._roll)) if place not in have]

    def _advance(self, now: float) -> None:
        """Enter the next stage once everybody answered, or enough did and the grace is over."""
        stage = self.stage
        if stage is Stage.CALL and self._ready(len(self._presences), len(self._keys), now):
            self._make_roll()
        elif stage is Stage.DEAL and self._ready(len(self._deals), len(self._roll), now):
            self._make_offer()
        elif stage is Stage.RECEIVE and self._ready(len(self._receipts), len(self._roll), now):
            self._choose()
        elif stage is Stage.LOCK and len(self._locks) >= self._quorum:
            self._show_locks()
        if self.stage is not stage:
            self._stage_at, self._resend_at = now, now + self._s.grace_s
            self._waited = False

    def _ready(self, have: int, everybody: int, now: float) -> bool:
        late = now >= self._stage_at + self._s.grace_s
        return have == everybody or (late and have >= self._quorum)

    # --- stages ---------------------------------------------------------------------------------

    def _make_roll(self) -> None:
        s = self._s
        self._roll = tuple(sorted(self._presences))
        presences = tuple(self._presences[node] for node in self._roll)
        self._roll_hash = roll_hash(self._call, presences)
        signature = s.crypto.sign(roll_statement(s.context, self._region, self._roll_hash))
        self._roll_message = Roll(s.context, self._region, presences, signature)
        self.stage = Stage.DEAL
        self._send_roll(range(len(self._roll)))

    def _send_roll(self, places: Iterable[int]) -> None:
        assert self._roll_message is not None, "a roll is made before it is sent"
        for place in places:
            self._s.send(self._roll[place], self._roll_message)

    def _make_offer(self) -> None:
        self._offered = tuple(sorted(self._deals))
        dealings = [self._deals[dealer].dealt for dealer in self._offered]
        self._offer_hash = offer_hash(self._roll_hash, dealings)
        self.stage = Stage.RECEIVE
        self._send_offer(range(len(self._roll)))

    def _send_offer(self, places: Iterable[int]) -> None:
        deals = [self._deals[dealer] for dealer in self._offered]
        dealings = tuple(deal.dealt for deal in deals)
        for place in places:
            sealed = tuple(deal.sealed[place] for deal in deals)
            self._s.send(self._roll[place], Offer(self._s.context, self._region, dealings, sealed))

    def _choose(self) -> None:
        """Take the first k_r secrets that nobody's silence can close; go on waiting without."""
        receipts = tuple(self._receipts[member] for member in sorted(self._receipts))
        enough = min(self._s.rule.holders_wanted, len(receipts))
        held = [
            dealer
            for dealer in self._offered
            if sum(dealer in receipt.held for receipt in receipts) >= enough
        ]
        if len(held) < self._s.rule.signers:
            return
        dealers = tuple(held[: self._s.rule.signers])
        self._choice = Choice(self._s.context, self._region, dealers, receipts)
        self._choice_hash = choice_hash(self._offer_hash, self._choice)
        self.stage = Stage.LOCK
        self._send_choice(range(len(self._roll)))

    def _send_choice(self, places: Iterable[int]) -> None:
        assert self._choice is not None, "a choice is made before it is sent"
        for place in places:
            self._s.send(self._roll[place], self._choice)

    def _show_locks(self) -> None:
        signers = tuple(sorted(self._locks))
        locks = QuorumCertificate(signers, tuple(self._locks[member] for member in signers))
        self._locked = Locked(self._s.context, self._region, locks)
        self.stage = Stage.OVER
        for node in self._roll:
            self._s.send(node, self._locked)

    # --- answers --------------------------------------------------------------------------------

    def _on_presence(self, sender: bytes, presence: Presence) -> None:
        if self.stage is not Stage.CALL or sender not in self._keys or presence.node != sender:
            return
        left_out, added = self._left_out, set(presence.additions)
        if len(added) < len(presence.additions) or not left_out.issuperset(added):
            raise RuleBroken("a node adds candidates that are none, named already, or named twice")
        self._check(sender, presence_statement(presence, self._call.signature), presence.signature)
        self._presences[sender] = presence

    @cached_property
    def _left_out(self) -> frozenset[bytes]:
        """Who may be added. With more in it a few presences made a roll too long to be sent."""
        if self._region is Region.VALUE:
            return frozenset()
        return frozenset(self._s.certified(call_value(self._call))).difference(
            self._call.candidates
        )

    def _on_deal(self, sender: bytes, deal: Deal) -> None:
        place = deal.dealt.dealer
        if self.stage is not Stage.DEAL or not self._is(sender, place):
            return
        if len(deal.sealed) != len(self._roll):
            raise RuleBroken("a dealer seals one share for everybody on the roll")
        statement = deal_statement(self._s.context, self._region, self._roll_hash, deal.dealt)
        self._check(sender, statement, deal.dealt.signature)
        self._deals[place] = deal

    def _on_receipt(self, sender: bytes, receipt: Receipt) -> None:
        if self.stage is not Stage.RECEIVE or not self._is(sender, receipt.member):
            return
        self._check(sender, receipt_statement(receipt, self._offer_hash), receipt.signature)
        self._receipts[receipt.member] = receipt

    def _on_lock(self, sender: bytes, lock: Lock) -> None:
        if self._locked is not None and sender in self._roll:
            self._s.send(sender, self._locked)  # it was lost on the way
        if self.stage is not Stage.LOCK or not self._is(sender, lock.member):
            return
        statement = lock_statement(
            self._s.context, self._region, self._roll_hash, self._choice_hash
        )
        self._check(sender, statement, lock.signature)
        self._locks[lock.member] = lock.signature

    def _is(self, sender: bytes, place: int) -> bool:
        return place < len(self._roll) and self._roll[place] == sender

    def _check(self, sender: bytes, statement: bytes, signature: bytes) -> None:
        if not self._s.crypto.verify(self._keys[sender], statement, signature):
            raise InvalidSignature("a node of a region did not sign its answer")
