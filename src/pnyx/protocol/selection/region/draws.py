"""All draws that a node takes part in: attempts in their time, both regions, any role.

A *session* is one wanted list. Every node that knows what the list is for opens it by itself, and
knows the triggers of all its attempts: each is the owner of a hash of the draw. Attempt a begins
(a - 1)·`attempt_s` after the session opened; a node answers calls of an attempt from half an
attempt before, so that attempts follow one another and nobody makes several side by side to choose
among. There are `ATTEMPTS_MAX` of them. A sparse region, a silent trigger and a silent setter all
end an attempt by its time.
"""

from collections.abc import Callable, Mapping

import msgspec

from pnyx.errors import RuleBroken, WrongContext
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.ports import Crypto
from pnyx.protocol.selection.region.caller import Caller
from pnyx.protocol.selection.region.messages import (
    ActorProof,
    Call,
    Continue,
    Deal,
    Draw,
    Lock,
    Presence,
    RandomProof,
    Receipt,
    Region,
    RegionMessage,
)
from pnyx.protocol.selection.region.offences import Offence, two_values
from pnyx.protocol.selection.region.rule import ATTEMPTS_MAX
from pnyx.protocol.selection.region.selector import RegionSelector
from pnyx.protocol.selection.region.services import DrawServices
from pnyx.protocol.selection.region.signer import Signer
from pnyx.protocol.selection.region.statements import draw_context, point_of


class DrawTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of a draw, in seconds; no safety depends on them."""

    attempt_s: float
    grace_s: float
    retransmit_s: float


class DrawHost:
    """What the draws of a node need of it.

    persist: store a name durably before the messages that follow. entered: names stored in earlier
    lives of the process. on_offence: told of whom two words convict, in the session of this name.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        crypto: Crypto,
        sampler: Sampler,
        times: DrawTimes,
        send: Callable[[bytes, RegionMessage], None],
        persist: Callable[[str], None],
        entered: Mapping[str, bytes],
        on_offence: Callable[[str, Offence], None],
    ) -> None:
        self.node_id = node_id
        self.crypto = crypto
        self.sampler = sampler
        self.times = times
        self.send = send
        self.persist = persist
        self.entered = set(entered)
        self.on_offence = on_offence


class _Attempt:
    """One attempt at a list: this node's callers and signers in its two regions."""

    def __init__(self, session: "DrawSession", number: int) -> None:
        self.due = session.opened_at + (number - 1) * session.host.times.attempt_s
        self.draw = session.draw_of(number)
        self.context = draw_context(self.draw)
        self.trigger = session.selector.cache.owner(point_of(self.context)).node_id
        self.callers: dict[Region, Caller] = {}
        self.called: set[Region] = set()  # in which this node has called, or did in an earlier life
        self.signers: dict[Region, Signer] = {}
        self.value: RandomProof | None = None  # the first valid one that was heard of


class DrawSession:
    """One wanted list at one node; `name` prefixes what it stores."""

    def __init__(
        self,
        host: DrawHost,
        selector: RegionSelector,
        wanted: Draw,
        name: str,
        on_list: Callable[[ActorProof], None],
        now: float,
    ) -> None:
        self.host = host
        self.selector = selector
        self.name = name
        self.opened_at = now
        self.over = False  # a list is known; others may still need this node's answers
        self._wanted = wanted
        self._on_list = on_list
        self._attempts = {
            attempt.context: attempt
            for attempt in (_Attempt(self, number) for number in range(1, ATTEMPTS_MAX + 1))
        }

    def draw_of(self, number: int) -> Draw:
        """The draw of one attempt."""
        return msgspec.structs.replace(self._wanted, attempt=number)

    def contexts(self) -> frozenset[bytes]:
        """The contexts of all attempts."""
        return frozenset(self._attempts)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self.over:
            return None
        times: list[float] = []
        for attempt in self._attempts.values():
            deadlines = [caller.next_deadline() for caller in attempt.callers.values()]
            deadlines += [signer.next_deadline() for signer in attempt.signers.values()]
            times += [time for time in deadlines if time is not None]
        times += [
            attempt.due
            for attempt in self._attempts.values()
            if attempt.trigger == self.host.node_id and Region.VALUE not in attempt.called
        ]
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Call where an attempt imposes this node, and repeat what was lost."""
        if self.over:
            return
        for attempt in self._attempts.values():
            mine = attempt.trigger == self.host.node_id and Region.VALUE not in attempt.called
            if mine and now >= attempt.due:
                self._begin(attempt, Region.VALUE, None, now)
            for caller in list(attempt.callers.values()):
                caller.tick(now)
            for signer in list(attempt.signers.values()):
                signer.tick(now)

    def handle(self, sender: bytes, message: RegionMessage, now: float) -> None:
        """Process a message of one of the attempts. Raises ProtocolError."""
        attempt = self._attempts[message.context]
        match message:
            case Continue():
                self._continue(attempt, message.proof, now)
            case Presence() | Deal() | Receipt() | Lock():
                caller = attempt.callers.get(message.region)
                if caller is not None:
                    caller.handle(sender, message, now)
            case _:
                signer = attempt.signers.get(message.region)
                if signer is None and isinstance(message, Call):
                    signer = self._join(attempt, message.region, now)
                if signer is not None:
                    signer.handle(sender, message)

    def _join(self, attempt: _Attempt, region: Region, now: float) -> Signer | None:
        """Take part when the attempt is due, and no list is known."""
        if self.over:
            return None
        if now < attempt.due - self.host.times.attempt_s / 2:
            raise RuleBroken("an attempt at a draw is called before its time")
        signer = attempt.signers[region] = Signer(self._services(attempt, now), region, now)
        return signer

    def _begin(
        self, attempt: _Attempt, region: Region, before: RandomProof | None, now: float
    ) -> None:
        """Call, once in all lives of the process: a second roll of a call convicts its caller."""
        attempt.called.add(region)
        if self._enter(attempt, f"{region}-call"):
            caller = Caller(self._services(attempt, now), region, before, now)
            attempt.callers[region] = caller
            caller.start()

    def _continue(self, attempt: _Attempt, proof: RandomProof, now: float) -> None:
        """R1 made its value: if it imposes this node, call R2, once."""
        heard = attempt.value
        if heard is not None and heard.value == proof.value:
            proof = heard  # it was checked
        elif proof.draw != attempt.draw:
            raise WrongContext("a random value was made for another draw")
        else:
            self.selector.check_random(proof)
            self._on_value(attempt, proof)
        if self.over or Region.LIST in attempt.called:
            return
        owner = self.selector.cache.owner(point_of(attempt.context, proof.value))
        if owner.node_id != self.host.node_id:
            raise RuleBroken("a random value imposes another setter")
        self._begin(attempt, Region.LIST, proof, now)

    def _on_value(self, attempt: _Attempt, proof: RandomProof) -> None:
        """Keep a valid random value; a second one of an attempt convicts who signed both."""
        if attempt.value is None:
            attempt.value = proof
        for offence in two_values(attempt.value, proof):
            self.host.on_offence(self.name, offence)

    def on_known(self, proof: ActorProof) -> None:
        """A valid list of an attempt is known: show those that vouch for it another random value.

        Two values of one R1 impose two setters, so no node need hear of both. One that vouches for
        a list of the other value is honest, and convicts whoever signed both.
        """
        attempt = self._attempts[draw_context(proof.draw)]
        self.over = True
        if attempt.value is not None and attempt.value.value != proof.value:
            shown = Continue(attempt.context, attempt.value)
            for node in (proof.setter, *(each.node for each in proof.witnesses)):
                if node != self.host.node_id:
                    self.host.send(node, shown)

    def _services(self, attempt: _Attempt, now: float) -> DrawServices:
        host = self.host
        return DrawServices(
            draw=attempt.draw,
            context=attempt.context,
            node_id=host.node_id,
            crypto=host.crypto,
            selector=self.selector,
            sampler=host.sampler,
            grace_s=host.times.grace_s,
            retransmit_s=host.times.retransmit_s,
            send=host.send,
            enter=lambda region: self._enter(attempt, f"{region}"),
            on_value=lambda proof: self._on_value(attempt, proof),
            on_random=lambda proof: self._continue(attempt, proof, now),
            on_list=self._on_list,
            on_offence=lambda offence: host.on_offence(self.name, offence),
        )

    def _enter(self, attempt: _Attempt, part: str) -> bool:
        """Store durably that this node has a part in an attempt; False if it had before."""
        name = f"{self.name}/{attempt.draw.attempt}-{part}"
        if name in self.host.entered:
            return False
        self.host.entered.add(name)
        self.host.persist(name)
        return True


class RegionDraws:
    """The sessions of a node, by what their lists are for."""

    def __init__(self, host: DrawHost) -> None:
        self._host = host
        self._sessions: dict[str, DrawSession] = {}
        self._by_context: dict[bytes, DrawSession] = {}

    def want(
        self,
        name: str,
        selector: RegionSelector,
        wanted: Draw,
        on_list: Callable[[ActorProof], None],
        now: float,
    ) -> DrawSession:
        """Open a session, unless it is open."""
        session = self._sessions.get(name)
        if session is None:
            session = DrawSession(self._host, selector, wanted, name, on_list, now)
            self._sessions[name] = session
            self._by_context.update(dict.fromkeys(session.contexts(), session))
        return session

    def close(self, name: str) -> None:
        """Forget a session: its list is in a record."""
        session = self._sessions.pop(name, None)
        if session is not None:
            for context in session.contexts():
                del self._by_context[context]

    def handle(self, sender: bytes, message: RegionMessage, now: float) -> None:
        """Process a message; those of sessions that are not open are asked for again later."""
        session = self._by_context.get(message.context)
        if session is not None:
            session.handle(sender, message, now)

    def tick(self, now: float) -> None:
        """Pass time on."""
        for session in list(self._sessions.values()):
            session.tick(now)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        times = [session.next_deadline() for session in self._sessions.values()]
        return min((time for time in times if time is not None), default=None)
