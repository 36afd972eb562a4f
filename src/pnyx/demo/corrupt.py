"""Corrupt processes of the demonstration.

A corrupt node is a real one in everything: process, key, certificate, vault, training. Only what
its machine hears and says passes through wrappers of `simulator.adversary`, those that the
simulator uses. They are put in by the node's own process, where the daemon makes its machine.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pnyx.node.learning import read_manifest_body
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.events import (
    DrawStalled,
    Effect,
    Event,
    RecordDebit,
    StartTraining,
    TrainingFinished,
)
from pnyx.protocol.evidence.docket import Conviction
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import Indices
from pnyx.protocol.ports import IntVector
from pnyx.protocol.study import StudyState
from pnyx.simulator.adversary import Hands, Own
from pnyx.simulator.behaviours import BEHAVIOURS, VERIFIED

# Kind -> keys of `behaviours.BEHAVIOURS`. A node leads so seldom that an equivocator must show its
# two faces as a contributor too.
SHOWN = {
    "over scale": ("over scale",),
    "liar": ("liar",),
    "equivocator": ("equivocating leader", "two headers"),
    "withheld reveals": ("withheld reveals",),
}
# With verified masked updates, who over-scales masks more than may be, and proves what it can.
SHOWN_VERIFIED = SHOWN | {"over scale": ("over norm",)}


def choose_corrupt(nodes: int, count: int, spared: Collection[int], seed: bytes) -> dict[int, str]:
    """Draw `count` corrupt nodes that are not spared: node -> kind, each kind in turn."""
    kinds = tuple(SHOWN)
    free = [node for node in range(nodes) if node not in spared]
    chosen = Sampler(seed, "pnyx/demo/corrupt").sample(len(free), count)
    return {free[place]: kinds[nth % len(kinds)] for nth, place in enumerate(chosen)}


class OwnContributions:
    """What the machine inside contributes, learned from what passes in and out of it."""

    def __init__(self) -> None:
        self._vectors: dict[tuple[bytes, int], IntVector] = {}
        self._phases: dict[tuple[bytes, int], StudyPhase] = {}
        self._rounds: dict[bytes, tuple[bytes, int]] = {}

    def hear(self, event: Event) -> None:
        """Learn a trained vector."""
        if isinstance(event, TrainingFinished):
            self._vectors[event.study, event.round_number] = event.vector

    def see(self, effects: list[Effect]) -> None:
        """Learn a round's phase before training, and its context before anything is sent."""
        for effect in effects:
            match effect:
                case StartTraining():
                    phase = read_manifest_body(effect.manifest).phase_of(effect.round_number)
                    self._phases[effect.study, effect.round_number] = phase
                case RecordDebit():
                    self._rounds[effect.context] = effect.study, effect.round_number
                case _:
                    pass

    def of(self, context: bytes) -> Own:
        """The contribution of the attempt with this context; its debit came before it."""
        at = self._rounds[context]
        phase = self._phases[at]
        return Own(self._vectors[at], phase.bounds, phase.masked, phase.masked_bounds)


class CorruptMachine:
    """An honest machine behind wrappers; implements `node.daemon.Machine`.

    kind: a key of SHOWN. verified: whether the study's masked updates are. on_misbehaviour: called
    whenever a wrapper changed what was heard or said. settings: what `NodeMachine` takes.
    """

    def __init__(
        self, kind: str, on_misbehaviour: Callable[[], None], *, verified: bool, **settings: Any
    ) -> None:
        self._machine = NodeMachine(**settings)
        self._own = OwnContributions()
        self._on_misbehaviour = on_misbehaviour
        hands = Hands(
            index=self._machine.index,
            node_id=self._machine.node_id,
            crypto=settings["crypto"],
            census=self._machine.census,
            sampler=Sampler(digest("pnyx/demo/corrupt", settings["seed"]), "corrupt"),
            contribution=self._own.of,
            aggregators=self._aggregators,
        )
        shown = SHOWN_VERIFIED if verified else SHOWN
        self._wrappers = [{**BEHAVIOURS, **VERIFIED}[name](hands) for name in shown[kind]]

    def _aggregators(self, context: bytes) -> Indices:
        """Who aggregates in an attempt that the machine knows."""
        plans = (state.plan for state in self._machine.studies.values() if state.plan is not None)
        return next((plan.aggregators for plan in plans if plan.context == context), ())

    @property
    def studies(self) -> Mapping[bytes, StudyState]:
        """Studies known, by id."""
        return self._machine.studies

    @property
    def epochs(self) -> EpochKeeper:
        """The network's epochs and censuses."""
        return self._machine.epochs

    @property
    def convictions(self) -> tuple[Conviction, ...]:
        """Nodes against which evidence is held."""
        return self._machine.convictions

    @property
    def convicted(self) -> Mapping[bytes, bool]:
        """Node ids that evidence convicts -> whether everywhere; if not, in one study."""
        return self._machine.convicted

    def stalled(self, study: bytes) -> Sequence[DrawStalled]:
        """The last attempts at actor lists of a study that this node waited for in vain."""
        return self._machine.stalled(study)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Let the machine hear what the wrappers let through, and say what they make of it."""
        self._own.hear(event)
        heard: Event | None = event
        for wrapper in self._wrappers:
            heard = wrapper.receive(heard, now) if heard is not None else None
        effects = self._machine.handle(heard, now) if heard is not None else []
        self._own.see(effects)
        said = effects
        for wrapper in self._wrappers:
            said = wrapper.emit(said, now)
        if heard is not event or said != effects:
            self._on_misbehaviour()
        return said

    def next_deadline(self) -> float | None:
        """When to wake it with TimerExpired."""
        return self._machine.next_deadline()
