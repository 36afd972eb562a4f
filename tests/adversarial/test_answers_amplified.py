"""A certified peer asks small questions with large answers, again and again (THREATS D1, D4, D5).

A batch of 40 KB asks a thousand times for one item of 40 KB; 37 bytes from a member bring
everything that ended the steps of a round. What a node answers one peer is bounded by an allowance
in bytes, and what waits for it by the postman. Others are answered as ever, and who is honest never
notices.
"""

import asyncio
import tracemalloc

import pytest
from msgspec.structs import replace
from tests.support.town import Town, manifest

from pnyx.node import postman as postal
from pnyx.node.daemon import Daemon
from pnyx.node.postman import Postman, pack, unpack
from pnyx.primitives import codec
from pnyx.protocol.events import MessageReceived, MessageRejected, Send
from pnyx.protocol.gossip import item_id
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.messages import (
    Announce,
    HeadersRequest,
    Instance,
    PartsRequest,
    Pull,
    Request,
    ShareRequest,
    Step,
    SumRequest,
    ValueRequest,
    ViewChange,
)
from pnyx.protocol.params import DEFAULT_PARAMS, ProtocolParams

MEGABYTE = 2**20
ENDLESS = 10**12
TOO_MUCH = "asks for more than it may"
BATCH = 4096  # as many messages as one request of a peer may hold


def with_large_item(params: ProtocolParams) -> tuple[Town, Request]:
    """Everybody holds a manifest of 40 KB; a question for it."""
    town = Town(params=params)
    plan = replace(manifest(town.count), program=b"p" * 32_000, hyperparameters=b"h" * 8_000)
    town.propose(plan=plan)
    town.run(seconds=1.0)
    name = max(town.machines[0]._gossip._items.items(), key=lambda held: len(held[1]))[0]
    return town, Request((name,))


def answered(machine: NodeMachine, peer: bytes, payloads: list[bytes]) -> tuple[int, set[str]]:
    """Bytes that a node answers a peer with, and the rules that were broken."""
    size, rules = 0, set()
    for payload in payloads:
        for effect in machine.handle(MessageReceived(peer, payload), machine.now):
            if isinstance(effect, Send) and effect.peer == peer:
                size += len(effect.payload)
            elif isinstance(effect, MessageRejected):
                rules.add(effect.rule)
    return size, rules


def test_one_item_requested_in_many_messages():
    town, request = with_large_item(DEFAULT_PARAMS)
    machine, (_, peer, other) = town.machines[0], town.census.node_ids[:3]
    payload = codec.encode(request)
    size, rules = answered(machine, peer, [payload] * BATCH)
    assert 32 * MEGABYTE <= size < 33 * MEGABYTE
    assert rules == {TOO_MUCH}
    assert answered(machine, other, [payload])[0] > 40_000, "others are answered"
    machine.now += 2.0
    assert 2 * MEGABYTE <= answered(machine, peer, [payload] * BATCH)[0] < 3 * MEGABYTE

    town, request = with_large_item(ProtocolParams(answers_bytes_burst=ENDLESS))
    size, _ = answered(town.machines[0], peer, [codec.encode(request)] * BATCH)
    assert size > 150 * MEGABYTE, "the allowance is the defence"


def test_everything_that_is_asked_comes_out_of_one_allowance():
    params = ProtocolParams(answers_bytes_burst=100_000, answers_bytes_per_s=1.0)
    town, request = with_large_item(params)
    machine, (_, peer) = town.machines[0], town.census.node_ids[:2]
    name, context = request.items[0], bytes(32)
    assert answered(machine, peer, [codec.encode(request)] * 3)[0] > 40_000
    questions = [
        request,
        Pull(context, Step.OPEN),
        ViewChange(context, 1, Step.OPEN, Instance.OPEN, None),
        ValueRequest(context, Instance.OPEN, bytes(32)),
        PartsRequest(context, bytes(32), (0,)),
        HeadersRequest(context, (bytes(32),)),
        ShareRequest(context, (1,)),
        SumRequest(context, ()),
    ]
    for question in questions:
        assert answered(machine, peer, [codec.encode(question)]) == (0, {TOO_MUCH})
    fresh = item_id(b"what a node asks for")
    assert answered(machine, peer, [codec.encode(Announce((name, fresh)))])[0] > 0
    assert answered(machine, peer, [codec.encode(Announce((name,)))])[1] == set()


# --- members ask about a round --------------------------------------------------------------------

TIGHT = ProtocolParams(answers_bytes_burst=MEGABYTE // 2, answers_bytes_per_s=64 * 1024)


def in_release(params: ProtocolParams) -> tuple[Town, bytes, int]:
    """A round of which one member holds what ended most steps: town, study, that member."""
    town = Town(params=params)
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)

    def there() -> list[int]:
        active = {i: town.machines[i].rounds.active.get(plan.context) for i in plan.committee}
        members = {i: a.member for i, a in active.items() if a is not None and a.member is not None}
        return [i for i, member in members.items() if member.step >= Step.RELEASE]

    assert town.run(lambda: bool(there()))
    return town, study, there()[0]


@pytest.mark.parametrize("kind", ["pull", "view change"])
def test_a_member_asks_what_ended_every_step_without_end(kind: str):
    def asked(params: ProtocolParams) -> tuple[Town, bytes, int]:
        town, study, member = in_release(params)
        plan = town.plan(study)
        corrupt = town.census.node_ids[next(i for i in plan.committee if i != member)]
        question = (
            Pull(plan.context, Step.OPEN)
            if kind == "pull"
            else ViewChange(plan.context, 0, Step.OPEN, Instance.OPEN, None)
        )
        size, _ = answered(town.machines[member], corrupt, [codec.encode(question)] * 200)
        return town, study, size

    town, study, size = asked(TIGHT)
    assert MEGABYTE // 2 <= size < MEGABYTE
    assert town.run(town.finished(study)), "the others go on"
    assert TOO_MUCH not in town.rules(), "who asks honestly is never refused"
    assert asked(replace(TIGHT, answers_bytes_burst=ENDLESS))[2] > 2 * MEGABYTE


# --- what waits in memory -------------------------------------------------------------------------


class Silent:
    """A peer that takes one reply, and nothing else."""

    async def request(self, peer, payload):
        await asyncio.Event().wait()


def held(town: Town, peer: bytes, body: bytes) -> tuple[int, int, int]:
    """One request of a peer at a node: bytes of its reply, bytes that wait then, bytes at most."""
    machine = town.machines[0]

    async def live() -> tuple[int, int, int]:
        daemon = Daemon.__new__(Daemon)
        daemon._machine, daemon._overlay, daemon._away = machine, None, set()
        daemon._pending, daemon._committed, daemon._failure = [], None, None
        daemon._timer, daemon._timer_at, daemon._tasks = None, float("inf"), set()
        daemon._observer = lambda notice: None
        daemon._postman = postman = Postman(
            Silent(), daemon._on_message, daemon._on_delivered, daemon._observer
        )
        daemon._set_timer = lambda: None
        tracemalloc.start()
        reply = await daemon._serve(peer, body)
        waiting = postman._waiting
        bytes_held = waiting[peer].held_bytes if peer in waiting else 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        other = town.census.node_ids[2]
        answers = unpack(await daemon._serve(other, pack(unpack(body)[:1])))
        assert [len(answer) > 40_000 for answer in answers] == [True], "others are answered"
        await postman.stop()
        return len(reply), bytes_held, peak

    return asyncio.run(live())


def test_what_one_batch_leaves_in_memory(monkeypatch):
    town, request = with_large_item(DEFAULT_PARAMS)
    peer = town.census.node_ids[1]
    body = pack([codec.encode(request)] * BATCH)
    assert len(body) < MEGABYTE // 4
    reply, waiting, peak = held(town, peer, body)
    assert reply <= 4 * MEGABYTE
    assert waiting <= 16 * MEGABYTE
    assert peak < 64 * MEGABYTE

    town, _ = with_large_item(ProtocolParams(answers_bytes_burst=ENDLESS))
    _, waiting, peak = held(town, peer, body)
    assert waiting <= 16 * MEGABYTE, "the postman's bound"
    assert peak > 150 * MEGABYTE, "until it has them, the machine's allowance is the defence"
    monkeypatch.setattr(postal, "_WAITING_BYTES_MAX", ENDLESS)
    _, waiting, _ = held(town, peer, body)
    assert waiting > 150 * MEGABYTE
