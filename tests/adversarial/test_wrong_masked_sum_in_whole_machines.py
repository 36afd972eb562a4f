"""Aggregators lie in whole rounds: about sums, about what they hold, or by saying nothing (A8).

`test_wrong_masked_sum_certified` is about the check itself. Here whole machines ask, pull, check
and go on: whatever one aggregator does, another one is asked, the result is exact, and who showed
a wrong sum is named. All aggregators together can keep a round from ending; they cannot bend it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened
from tests.support.weakened import weaken

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all, name_earlier
from pnyx.protocol.aggregation.masked.segments import pack_sum, sum_bytes, unpack_sum
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import Effect, MessageReceived, Send, SumVectors
from pnyx.protocol.messages import (
    CHUNK_BYTES,
    RoundMessage,
    StatedHash,
    SumRequest,
    VectorOffer,
    VectorSum,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import vector_sum
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import header_hash
from pnyx.protocol.round.vector_sum import WantedSum
from pnyx.protocol.round.vectors import accepted_hash, sum_statement, vector_code
from pnyx.protocol.vector_sums import linear_hashes_of, store_sum, summed_chunks
from pnyx.simulator import InvariantError, Scenario
from pnyx.simulator.adversary import Hands, Wrapper
from pnyx.simulator.population import SimulatedNode

HONEST = masked_study()
PLAN = drawn(HONEST)
CODE = vector_code(PLAN)
WRONG = "added up masked vectors to a wrong sum"
WANT = WantedSum.want


def shifted(effect: SumVectors, total: bytes) -> bytes:
    """The sum in which the first value is larger by one, as if somebody had contributed more."""
    parameters = effect.parameters
    assert len(total) == sum_bytes(parameters, 0), "one chunk"
    count = len(effect.parcels)
    sums = unpack_sum(parameters, 0, total, count)
    for prime, each in zip(parameters.primes, sums, strict=True):
        flat = each.reshape(-1)
        step = 1 << parameters.shift
        flat[0] += step if int(flat[0]) + step <= count * (prime - 1) else step - prime
    return pack_sum(parameters, 0, sums)


Lie = Callable[[SumVectors, bytes], bytes]


class Lying(Watched):
    """A run in which some aggregators make something else of every sum."""

    def __init__(self, scenario: Scenario, liars: tuple[int, ...], lie: Lie = shifted) -> None:
        super().__init__(scenario)
        self._told = lie
        self.corrupt = frozenset(liars)
        self.checker._corrupt = self.corrupt
        for index in liars:
            self.nodes[index]._sum = self._lie(self.nodes[index])

    def _lie(self, node: SimulatedNode) -> Callable[[SumVectors], None]:
        def answer(effect: SumVectors) -> None:
            total = b"".join(summed_chunks(node.parcels, effect))
            told = list(chunks_of(self._told(effect, total)))
            try:
                earlier = tuple(map(checkpoint, linear_hashes_of(effect, told)[:-1]))
            except ProtocolError:
                earlier = ()
            node.handle(store_sum(node.parcels, effect, told, earlier))

        return answer


def first_asked(monkeypatch: pytest.MonkeyPatch, place: int, plan: RoundPlan = PLAN) -> int:
    """Every member asks this aggregator before others, though it were one itself."""

    def want(wanted: WantedSum, *terms: Any) -> None:
        wanted._turn = place
        WANT(wanted, *terms)

    monkeypatch.setattr(WantedSum, "want", want)
    return plan.aggregators[place]


@pytest.mark.parametrize("place", range(3))
def test_a_sum_of_the_wrong_set(place, monkeypatch):
    liar = first_asked(monkeypatch, place)
    simulation = Watched(replace(HONEST, corrupt=((liar, "wrong sum"),)))
    assert opened(simulation.run())
    assert simulation.culprits() == {liar}
    assert simulation.rules_of(liar) == {WRONG}
    assert convicted_by_all(simulation, liar)


@pytest.mark.parametrize("place", range(3))
def test_one_is_added_to_a_coefficient(place, monkeypatch):
    liar = first_asked(monkeypatch, place)
    simulation = Lying(HONEST, (liar,))
    assert opened(simulation.run())
    assert simulation.culprits() == {liar}
    assert simulation.rules_of(liar) == {WRONG}


LENGTHS: dict[str, Lie] = {
    "a byte more": lambda _, total: total + bytes(1),
    "a byte less": lambda _, total: total[:-1],
    "one byte": lambda _, total: total[:1],
    "three chunks": lambda _, total: total + bytes(2 * CHUNK_BYTES),
}


def convicted_by_all(simulation: Watched, liar: int) -> bool:
    """Whether every other node holds evidence against this one, and against nobody else."""
    held = [set(node.machine.docket.standing) for node in simulation.nodes if node.index != liar]
    return held == [{liar}] * len(held)


@pytest.mark.parametrize(
    ("place", "length"), [(0, "a byte less"), *((1, each) for each in LENGTHS), (2, "one byte")]
)
def test_a_sum_of_another_length(place, length, monkeypatch):
    """What its name is a hash of shows the length to those who were told nothing."""
    liar = first_asked(monkeypatch, place)
    simulation = Lying(HONEST, (liar,), LENGTHS[length])
    assert opened(simulation.run())
    assert simulation.culprits() == {liar}
    assert simulation.rules_of(liar) == {WRONG}
    assert convicted_by_all(simulation, liar)


LONG = 2_500_000  # values of two bits, in three segments


def test_one_is_added_in_the_last_of_several_segments(monkeypatch):
    """A sum of 1.3 MB: the segment convicts the liar before everybody."""
    study = masked_study(vector_length=LONG)
    plan = drawn(study)
    code = vector_code(plan)
    assert code.segments == 3
    liar = first_asked(monkeypatch, 0, plan)

    def late(_: SumVectors, total: bytes) -> bytes:
        at = code.sum_places()[-1][0]
        return total[:at] + bytes((total[at] ^ 1,)) + total[at + 1 :]

    simulation = Lying(study, (liar,), late)
    assert opened(simulation.run())
    assert simulation.culprits() == {liar}
    assert simulation.rules_of(liar) == {WRONG}
    assert convicted_by_all(simulation, liar)


def test_all_aggregators_together_can_only_keep_the_round_from_ending():
    simulation = Lying(replace(HONEST, limit_s=60.0), PLAN.aggregators)
    with pytest.raises(InvariantError, match="has not ended"):
        simulation.run()
    assert simulation.culprits() == set(PLAN.aggregators)
    assert list(next(iter(simulation.checker.records.values()))) == [0], "nothing is opened"


def test_the_linear_hash_is_the_defence(monkeypatch):
    """Without it the committee signs a model that is larger by one than what was contributed."""
    weaken(monkeypatch, vector_sum, ("== code.segments and end == last:", "== code.segments:"))
    with pytest.raises(InvariantError, match="names another model than its sum gives"):
        Lying(HONEST, PLAN.aggregators).run()


# --- aggregators that do not do their part --------------------------------------------------------


@pytest.mark.parametrize("kind", ["silent aggregator", "unsent sum", "empty receipts"])
@pytest.mark.parametrize("place", range(3))
def test_one_that_promises_and_gives_nothing(kind, place):
    """Whether it never answers, tells and never sends, or gives receipts for what it lacks."""
    idle = PLAN.aggregators[place]
    simulation = Watched(replace(HONEST, corrupt=((idle, kind),)))
    assert opened(simulation.run())
    assert simulation.culprits() <= {idle}


def first_source_only(wanted: WantedSum, sender: int, message: VectorSum) -> None:
    """As if a sum that one aggregator told were nobody else's to send."""
    if message.parcel not in {offer.parcel for offer in wanted._offers.values()}:
        ON_SUM(wanted, sender, message)


ON_SUM = WantedSum.on_sum


IDLE = 1


def test_a_sum_that_is_told_and_never_sent_would_hold_members_up(monkeypatch):
    """The other aggregators are the defence."""
    idle = replace(HONEST, corrupt=((first_asked(monkeypatch, IDLE), "unsent sum"),), limit_s=60.0)
    assert opened(Watched(idle).run())
    monkeypatch.setattr(WantedSum, "on_sum", first_source_only)
    with pytest.raises(InvariantError, match="has not ended"):
        Watched(idle).run()


# --- an aggregator that offers sum after sum ------------------------------------------------------


class Flood(Wrapper):
    """As soon as somebody asks for a sum, it offers everybody many that do not exist."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hear=self._listen)
        self._hands = hands
        self._hashes: dict[bytes, StatedHash] = {}  # by header hash
        self._pending: list[Effect] = []

    def _listen(self, event: MessageReceived, message: RoundMessage) -> bool:
        if isinstance(message, VectorOffer):
            stated = StatedHash(message.linear_hash, name_earlier(message.earlier))
            self._hashes[header_hash(message.header)] = stated
        if isinstance(message, SumRequest) and event.peer not in self._aggregators(message.context):
            shown = tuple(self._hashes[held.header_hash] for held in message.accepted)
            name = accepted_hash(message.context, message.accepted)
            for _ in range(ROOM):
                parcel = self._hands.sampler.bytes(32)
                told = codec.encode(self._told(message.context, name, parcel, shown))
                self._pending += [Send(node, told) for node in self._hands.census.node_ids]
        return True

    def _told(
        self, context: bytes, name: bytes, parcel: bytes, shown: tuple[StatedHash, ...]
    ) -> VectorSum:
        last = checkpoint(CODE.summed_hash([each.linear_hash for each in shown]))
        terms = self._hands.index, name, len(shown), parcel, commit_all(context, (last,))
        signature = self._hands.crypto.sign(sum_statement(context, *terms))
        return VectorSum(context, name, parcel, shown, (), signature)

    def _aggregators(self, context: bytes) -> set[bytes]:
        indices = self._hands.aggregators(context)
        return {self._hands.census.node_ids[index] for index in indices}

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        del now
        pending, self._pending = self._pending, []
        return pending + effects


ROOM = 11  # parcels of a node; an aggregator among eight nodes needs nine


def flooded(limit_s: float) -> Watched:
    """One aggregator offers sums without end, while the others still add up large vectors."""
    flooder = PLAN.aggregators[0]
    params = ProtocolParams(parcels_max=ROOM)
    simulation = Watched(masked_study(params=params, limit_s=limit_s))
    for each in simulation.nodes:
        each._sum = partial(each._later, 1.0, each._sum)
    node = simulation.nodes[flooder]
    simulation.corrupt = frozenset({flooder})
    node.adversary = Flood(simulation._hands(node, bytes(32)))
    return simulation


def test_sums_that_do_not_exist_take_no_room_from_the_one_that_does():
    simulation = flooded(60.0)
    outcome = simulation.run()
    assert opened(outcome)
    assert outcome.rules["an aggregator shows two sums of one set"] >= ROOM


def believing(wanted: WantedSum, sender: int, message: VectorSum) -> None:
    """As if an aggregator could offer any number of sums."""
    wanted._offers.pop(sender, None)
    ON_SUM(wanted, sender, message)


def test_without_a_limit_they_would_take_all_room(monkeypatch):
    monkeypatch.setattr(WantedSum, "on_sum", believing)
    with pytest.raises(InvariantError, match="has not ended"):
        flooded(60.0).run()
