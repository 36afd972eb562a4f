"""All draws that a node takes part in: attempts in their time, both regions, any role.

A *session* is one wanted list. Every node that knows what the list is for opens it by itself, and
knows the triggers of all its attempts: each is the owner of a hash of the draw. The first attempt
has `attempt_s`, each one after it `attempt_growth` times what the one before had: silence costs
little, and a slow network comes to attempts that are long enough for it. There are `ATTEMPTS_MAX`.
A sparse region, a silent trigger and a silent setter all end an attempt by its time.

**Attempts follow one another**, so that nobody makes several side by side to choose among. A node
answers calls of an attempt from half its time before it begins. It opens nothing of an attempt that
is over, or once it knows a list: whoever sits on the locks of R2 to see first what the next attempt
comes to has lost the attempt. What is opened in time is finished, however long that takes.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

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
from pnyx.protocol.selection.region.statements import NO_VALUE, draw_context, point_of

Seen = Callable[[int, int, float, float], Collection[bytes] | None]


class DrawTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of a draw, in seconds: they bound the choice of who can be silent, no more."""

    attempt_s: float
    attempt_growth: float
    grace_s: float
    retransmit_s: float

    def length(self, attempt: int) -> float:
        """Seconds that an attempt has."""
        return self.attempt_s * self.attempt_growth ** (attempt - 1)

    def starts(self, attempt: int) -> float:
        """When an attempt begins, in seconds after the first one."""
        return sum(self.length(before) for before in range(1, attempt))


class Stalled(NamedTuple):
    """The node that an attempt at a draw got no further than: no list came of what it had to do."""

    attempt: int
    node: bytes
    region: Region


class DrawHost:
    """What the draws of a node need of it.

    persist: store a name durably before the messages that follow. entered: names stored in earlier
    lives of the process. on_offence: told of whom two words convict, in the session of this name.
    seen: node ids that this node has heard of in an epoch's region around a point, at a time.
    on_stalled: told of attempts that this node waited for in vain.
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
        seen: Seen,
        on_offence: Callable[[str, Offence], None],
        on_stalled: Callable[[str, Stalled], None],
    ) -> None:
        self.node_id = node_id
        self.crypto = crypto
        self.sampler = sampler
        self.times = times
        self.send = send
        self.persist = persist
        self.entered = set(entered)
        self.seen = seen
        self.on_offence = on_offence
        self.on_stalled = on_stalled


class _Attempt:
    """One attempt at a list: this node's callers and signers in its two regions."""

    def __init__(self, session: "DrawSession", number: int) -> None:
        times = session.host.times
        self.due = session.opened_at + times.starts(number)
        self.answered_from = self.due - times.length(number) / 2
        self.ends = self.due + times.length(number)
        self.draw = session.draw_of(number)
        self.context = draw_context(self.draw)
        self.trigger = session.selector.cache.owner(point_of(self.context)).node_id
        self.callers: dict[Region, Caller] = {}
        self.called: set[Region] = set()  # in which this node has called, or did in an earlier life
        self.signers: dict[Region, Signer] = {}
        self.value: RandomProof | None = None  # the first valid one that was heard of
        self.ended = False  # its time is over, and what stalled it was told

    def parts(self, now: float) -> list[Caller | Signer]:
        """Parts of this node that go on; after the attempt's time those that opened R2's secrets.

        They finish it: what comes of it is fixed, and known to others.
        """
        if now < self.ends:
            return [*self.callers.values(), *self.signers.values()]
        signer = self.signers.get(Region.LIST)
        return [signer] if signer is not None and signer.opened else []


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
        self._now = now
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
            deadlines = [part.next_deadline() for part in attempt.parts(self._now)]
            times += [time for time in deadlines if time is not None]
            if self._is_due(attempt):
                times.append(attempt.due)
            if not attempt.ended:
                times.append(attempt.ends)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Call where an attempt imposes this node, and repeat what was lost."""
        self._now = now
        if self.over:
            return
        for attempt in self._attempts.values():
            if now >= attempt.ends and not attempt.ended:
                attempt.ended = True
                self._tell_stalled(attempt)
            if now >= attempt.due and self._is_due(attempt):
                self._begin(attempt, Region.VALUE, None, now)
            for part in attempt.parts(now):
                part.tick(now)

    def _is_due(self, attempt: _Attempt) -> bool:
        """Whether this node is to call for R1, once the attempt begins."""
        called = attempt.ended or Region.VALUE in attempt.called
        return attempt.trigger == self.host.node_id and not called

    def handle(self, sender: bytes, message: RegionMessage, now: float) -> None:
        """Process a message of one of the attempts. Raises ProtocolError."""
        self._now = now
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
        if now >= attempt.ends:
            raise RuleBroken("an attempt at a draw is called after its time")
        if now < attempt.answered_from:
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
        if self.over or now >= attempt.ends or Region.LIST in attempt.called:
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

    def _tell_stalled(self, attempt: _Attempt) -> None:
        """Tell whose part of an attempt this node has waited for in vain, if it can tell.

        Of the trigger that is whoever it calls; of the setter, whoever knows R1's value.
        """
        cache, own = self.selector.cache, self.host.node_id
        region = Region.VALUE if attempt.value is None else Region.LIST
        value = NO_VALUE if attempt.value is None else attempt.value.value
        caller = cache.owner(point_of(attempt.context, value))
        signer = attempt.signers.get(region)
        if caller.node_id == own or (signer is not None and signer.opened):
            return
        called = [place.node_id for place in self.selector.called_by(caller)]
        if region is Region.LIST or own in called:
            stalled = Stalled(attempt.draw.attempt, caller.node_id, region)
            self.host.on_stalled(self.name, stalled)

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
            seen=lambda centre, share: host.seen(attempt.draw.epoch, centre, share, self._now),
            send=host.send,
            enter=lambda region: self._enter(attempt, f"{region}"),
            may_open=lambda: not self.over and self._now < attempt.ends,
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
            entered = self._host.entered
            self._host.entered = {each for each in entered if not each.startswith(f"{name}/")}

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
