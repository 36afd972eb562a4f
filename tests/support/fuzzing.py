"""Studies in which one node lies, and messages that are altered on their way in them.

The liar answers the challenge wrong, asks for values, parts and headers, and shows values that
nobody asked for. The leader of the first view is away for a while. So every kind of message is
sent, each in the state in which it is expected; what a test adds arrives just before the true
message.
"""

from collections.abc import Callable, Iterable
from time import thread_time
from typing import NamedTuple

import msgspec
import numpy as np
from tests.support.lies import AnswersLied
from tests.support.mutation import mutated
from tests.support.parcels import content, cut
from tests.support.town import Town

from pnyx.primitives import codec
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import MessageRejected, TimerExpired
from pnyx.protocol.identity import signing_input
from pnyx.protocol.machine import AnyMessage
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.messages import (
    HeadersRequest,
    MemberInput,
    Part,
    PartsRequest,
    RoundBody,
    ShownValue,
    Signed,
    ValueRequest,
    Vote,
)
from pnyx.protocol.params import ProtocolParams

BYTES_MAX = 2**24
SLOW_S = 0.05  # of CPU, which no message of a peer may take to be refused
# Of verified vectors: fewer than nodes, for a member that is one asks nobody else for sums.
AGGREGATORS = 6
COPIES_IN_A_STUDY = 10_000  # then another study begins
STUDIES_MAX = 5  # in which as many copies as that are heard
SETTLED_STUDIES = 20
RSS_GROWTH_BYTES_MAX = 64 * 1024 * 1024
# Before a message from a sender to a receiver is handed to the network.
Meddle = Callable[[Town, int, int, AnyMessage], None]


class Study(NamedTuple):
    """A study in which one node lies, which leads its first view undisturbed.

    parcels: whether parcels that are no part of it are pulled meanwhile. parted_bytes_min: from
    which size on what a leader says goes in parts.
    """

    plan: Manifest
    liar: int
    parcels: bool = False
    parted_bytes_min: int = 3072  # closed lists and answers go in parts


def read(payload: bytes) -> AnyMessage:
    """A message from its bytes."""
    return codec.decode(payload, AnyMessage, bytes_max=BYTES_MAX)


def first_actors(plan: Manifest) -> tuple[int, tuple[int, ...]]:
    """Who leads the first view of round 1 of a study, and who aggregates."""
    town = Town(params=ProtocolParams(verified_aggregator_count=AGGREGATORS))
    study = town.propose(plan=plan)
    town.run(town.in_round(study, 1))
    return town.plan(study).committee[0], town.plan(study).aggregators


PARCELS = [content(1, 200), content(2, 200)]


def _pull_parcels(town: Town, liar: int) -> Callable[[], bool]:
    """The liar and an honest node hold two parcels, others pull them; tells whether all have them.

    Half of them ask the liar first. Only one pulls the large parcel, which takes long to alter.
    """
    ids = town.census.node_ids
    holders = [liar, max(index for index in range(town.count) if index != liar)]
    pullers = [index for index in range(6) if index != liar][:4]
    for index in holders:
        for data in PARCELS:
            town.machines[index].parcels.keep(cut(data), ids)
        town.handle(index, TimerExpired())
    pulled = [(index, PARCELS[0]) for index in pullers] + [(pullers[0], PARCELS[1])]
    for at, (index, data) in enumerate(pulled):
        sources = [ids[each] for each in (holders[at % 2], holders[1 - at % 2])]
        name = describe(cut(data)).name
        town.machines[index].parcels.fetch(name, len(data), sources, lambda _: None)
        town.handle(index, TimerExpired())

    def arrived() -> bool:
        return all(
            b"".join(town.parcels[index].chunks(describe(cut(data)).name)) == data
            for index, data in pulled
        )

    return arrived


def troubled_study(meddle: Meddle, asked: Study, seconds: float = 200.0) -> int:
    """Play a study and check that it ends well; returns who leads view 0 of its round.

    That leader is away for 5 s, and the liar answers wrong. What meddle adds may change the draw:
    only undisturbed is the liar the leader as well.
    """
    params = ProtocolParams(
        parted_bytes_min=asked.parted_bytes_min,
        part_line_bytes=0,
        verified_aggregator_count=AGGREGATORS,
    )
    town, liar = Town(params=params), asked.liar
    lies, root = AnswersLied(town), bytes(32)

    def wire(sender: int, receiver: int, message: AnyMessage) -> Iterable[object] | None:
        nonlocal root
        meddle(town, sender, receiver, message)
        lies.note(message)
        if isinstance(message, Part):
            root = message.root
        if sender == liar and isinstance(message, Vote):
            context, instance = message.context, message.instance
            others = (
                PartsRequest(context, root, (0,)),
                ValueRequest(context, instance, message.value_hash),
                ShownValue(context, instance, b"a value"),
                HeadersRequest(context, (message.value_hash,)),
            )
            for each in others:
                meddle(town, sender, receiver, each)
            return [message, *others]
        if sender == liar and isinstance(message, MemberInput):
            lied = lies.instead(sender, message)
            return None if lied is None else [lied]
        return None

    town.wire = wire
    study = town.propose(plan=asked.plan)
    arrived = _pull_parcels(town, liar) if asked.parcels else lambda: True
    town.run(town.in_round(study, 1))
    leader = town.plan(study).committee[0]
    town.run(seconds=0.11)
    town.crash(leader)
    town.run(seconds=5.0)
    town.restart(leader)
    assert town.run(town.finished(study), seconds)
    (certified,) = town.certified(0)
    assert sum(town.model(study)[: town.count]) == certified.contributors
    assert max(town.model(study)[: town.count]) == 1
    assert arrived(), "a parcel is missing, or has other bytes"
    assert town.blamed() <= {liar}, "an honest node is blamed"
    return leader


def corpus(asked: Study) -> dict[str, list[bytes]]:
    """Valid payloads of every kind, as honest nodes hear them."""
    found: dict[str, list[bytes]] = {}

    def note(town: Town, sender: int, receiver: int, message: AnyMessage) -> None:
        del sender
        if receiver != asked.liar and town.alive[receiver]:
            found.setdefault(type(message).__name__, []).append(codec.encode(message))

    assert troubled_study(note, asked) == asked.liar
    return found


def rules_met(meddle: Meddle, asked: Study) -> set[str]:
    """For which rules nodes reject messages that meddle brings about."""
    rules: set[str] = set()

    def watched(town: Town, sender: int, receiver: int, message: AnyMessage) -> None:
        before = len(town.log)
        meddle(town, sender, receiver, message)
        said = (effect for _, _, effect in town.log[before:])
        rules.update(each.rule for each in said if isinstance(each, MessageRejected))

    troubled_study(watched, asked)
    return rules


class Mutations:
    """Every message of a kind, altered a few times and said by the liar, arrives first.

    heard: how many of the kind honest nodes hear undisturbed. copies: how many are to be altered.
    """

    def __init__(self, kind: str, study: Study, heard: int, copies: int, seed: int) -> None:
        self.kind = kind
        self.study = study
        self.copies_each = -(-copies // heard)
        self.left = copies
        self.slowest_s = 0.0  # of CPU, that any of them took
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.busy = False

    def __call__(self, town: Town, sender: int, receiver: int, message: AnyMessage) -> None:
        del sender
        if self.busy or type(message).__name__ != self.kind:
            return
        if receiver == self.study.liar or not town.alive[receiver]:
            return
        self.busy = True  # what an altered message brings about is not altered again
        payload = codec.encode(message)
        for _ in range(min(self.left, self.copies_each)):
            changed = mutated(payload, self.generator)
            if changed != payload:
                self.left -= 1
                self._hear(town, receiver, changed)
        self.busy = False

    def _hear(self, town: Town, receiver: int, payload: bytes) -> None:
        """Let an honest node hear it; once more if that took long, as garbage may be collected."""
        took = float("inf")
        for _ in range(2):
            started = thread_time()
            town.inject(self.study.liar, receiver, payload)
            took = min(took, thread_time() - started)
            if took < SLOW_S:
                break
        self.slowest_s = max(self.slowest_s, took)


def all_heard(mutations: Mutations) -> None:
    """Play studies until every altered copy was heard. Mostly one does.

    What is altered may change the draw, so that fewer messages of the kind are said.
    """
    for _ in range(STUDIES_MAX):
        troubled_study(mutations, mutations.study)
        if not mutations.left:
            return
    raise AssertionError(f"{mutations.left} altered messages were never sent")


class SignedAnew:
    """Every body that the liar signs is altered a few times, signed again, and arrives first.

    kind: of body. each: how often, in each message that carries one. count: how often so far.
    """

    def __init__(self, kind: type, study: Study, each: int, seed: int) -> None:
        self.kind = kind
        self.study = study
        self.each = each
        self.count = 0
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.busy = False

    def __call__(self, town: Town, sender: int, receiver: int, message: AnyMessage) -> None:
        liar = self.study.liar
        if self.busy or sender != liar or receiver == liar or not town.alive[receiver]:
            return
        if not self._altered(town, message)[1]:
            return
        self.busy = True
        for _ in range(self.each):
            self.count += 1
            town.inject(liar, receiver, self._altered(town, message)[0])
        self.busy = False

    def _altered(self, town: Town, value: object) -> tuple[object, bool]:
        """The same with other bodies of the liar's of this kind, and whether there are any."""
        match value:
            case Signed():
                body = codec.decode(value.body, RoundBody, bytes_max=BYTES_MAX)
                own = value.signer == town.census.node_ids[self.study.liar]
                if not own or not isinstance(body, self.kind):
                    return value, False
                changed = mutated(value.body, self.generator)
                signable = signing_input(town.census.network, changed)
                return Signed(
                    value.signer, changed, town.cryptos[self.study.liar].sign(signable)
                ), True
            case msgspec.Struct():
                parts = [
                    self._altered(town, getattr(value, name)) for name in value.__struct_fields__
                ]
                return type(value)(*(part for part, _ in parts)), any(own for _, own in parts)
            case tuple():
                parts = [self._altered(town, each) for each in value]
                return tuple(part for part, _ in parts), any(own for _, own in parts)
        return value, False


def settled_growth(sizes: list[int]) -> int:
    """How far the least of the last studies lies above that of the first, the very first aside.

    Within a study memory goes up and down; the first one fills caches.
    """
    if len(sizes) <= 2 * SETTLED_STUDIES:
        return 0
    return min(sizes[-SETTLED_STUDIES:]) - min(sizes[1:SETTLED_STUDIES])
