"""A node that is killed and started again makes new secrets, and never shows old ones anew (A6).

Whole rounds run while processes die; then everything that stands for a secret is compared: round
keys, dealings, commitments to shares and masks, and the seeds on the disk; in masked rounds the
masked vectors and their linear hashes as well, which tell of a key that is used twice. Each belongs
to one node in one attempt: it may be sent again in it, as the same bytes, and never in another.
"""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from pnyx.primitives import codec
from pnyx.protocol.events import DebitRecorded, Effect, Persist, RecordDebit, Send
from pnyx.protocol.messages import (
    Contribution,
    ContributionHeader,
    MemberBody,
    MemberInput,
    RoundKey,
    Signed,
    VectorOffer,
)
from pnyx.protocol.round.services import RoundServices
from pnyx.simulator import Crash, InvariantError, Scenario, Simulation, outlasting_scenario
from pnyx.simulator.adversary import read
from pnyx.simulator.population import SimulatedNode

RUNS = [8, pytest.param(10_000, marks=pytest.mark.full)]
_BYTES_MAX = 8 * 1024 * 1024


class Secrets(Simulation):
    """A run that notes to whom, and to which round, each trace of a secret belongs."""

    def __init__(self, scenario: Scenario) -> None:
        self.owners: dict[bytes, set[tuple[int, bytes]]] = {}
        self.vectors: dict[tuple[int, bytes], set[bytes]] = {}  # of a node in an attempt
        self.offered: dict[tuple[int, bytes], list[float]] = {}  # likewise; when
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        if isinstance(effect, Persist) and effect.key.startswith("secret/"):
            self._note(node, effect.key.encode(), effect.value)
        if not isinstance(effect, Send):
            return
        message = read(effect.payload)
        if isinstance(message, Contribution) and message.header.signer == node.node_id:
            header = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
            self._note(node, header.context, header.shares_root, header.published)
        if isinstance(message, VectorOffer) and message.header.signer == node.node_id:
            header = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
            assert header.masked is not None
            self._note(node, header.context, header.masked.parcel, message.linear_hash)
            whose = node.index, header.context
            self.vectors.setdefault(whose, set()).add(header.masked.parcel)
            self.offered.setdefault(whose, []).append(self.scheduler.now)
        if isinstance(message, MemberInput) and message.signed.signer == node.node_id:
            body = codec.decode(message.signed.body, MemberBody, bytes_max=_BYTES_MAX)
            if isinstance(body, RoundKey):
                dealings = (body.next_dealing, body.challenge_dealing)
                self._note(node, body.context, body.encryption_key, *filter(any, dealings))

    def _note(self, node: SimulatedNode, context: bytes, *shown: bytes) -> None:
        for each in shown:
            self.owners.setdefault(each, set()).add((node.index, context))

    @property
    def reused(self) -> int:
        """Traces of secrets that belong to more than one node or round."""
        return sum(len(owners) > 1 for owners in self.owners.values())


def killed(seed: int) -> Secrets:
    """Three nodes die again and again in two rounds."""
    crashes = tuple(
        Crash(node=(seed + which) % 6, at_s=at_s + 0.1 * (seed % 7), away_s=0.2)
        for which in range(3)
        for at_s in (0.9, 3.9, 4.3)
    )
    simulation = Secrets(Scenario(seed=seed, nodes=6, rounds=2, crashes=crashes))
    assert simulation.run().kills > 3
    return simulation


@pytest.mark.parametrize("runs", RUNS)
def test_secrets_reused_after_restart(runs: int) -> None:
    """More than two hundred secrets a run: two million in the full count."""
    compared = 0
    for seed in range(runs):
        simulation = killed(seed)
        assert simulation.reused == 0
        compared += len(simulation.owners)
    assert compared > 200 * runs


def masked_study(seed: int, *crashes: Crash) -> Secrets:
    """A round of six nodes, all of whom contribute."""
    terms = {"target": 6, "drawn": 6, "masks": True}
    return Secrets(Scenario(seed=seed, nodes=6, crashes=crashes, **terms))


def killed_after_masking(seed: int) -> Secrets:
    """Each of three nodes dies soon after it has shown its masked vector for the first time."""
    undisturbed = masked_study(seed)
    undisturbed.run()
    shown = sorted((times[0], node) for (node, _), times in undisturbed.offered.items())
    after_s = 0.001 + 0.01 * (seed % 5)
    simulation = masked_study(
        seed, *(Crash(node=node, at_s=at_s + after_s, away_s=0.2) for at_s, node in shown[::2])
    )
    assert simulation.run().kills == len(shown[::2]) > 1
    return simulation


def shown_after_a_restart(simulation: Secrets) -> int:
    """How many masked vectors were shown again by a later life of their node."""
    crashes = simulation.scenario.crashes
    return sum(
        times[0] < crash.at_s < times[-1]
        for (node, _), times in simulation.offered.items()
        for crash in crashes
        if crash.node == node
    )


@pytest.mark.parametrize("runs", [4, pytest.param(5_000, marks=pytest.mark.full)])
def test_masks_reused_after_restart(runs: int) -> None:
    """A node has one masked vector in an attempt, however often it starts, and never the same."""
    again = 0
    for seed in range(runs):
        simulation = killed_after_masking(seed)
        assert simulation.reused == 0
        assert all(len(parcels) == 1 for parcels in simulation.vectors.values())
        again += shown_after_a_restart(simulation)
    assert again > runs


def test_a_contributor_that_forgot_its_seed_and_debit_would_mask_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of seed and header on the disk, and the ledger, each alone suffices; without any it would."""
    store, once = RoundServices.persist_secret, RoundServices.sign_once

    def persist_secret(services: RoundServices, name: str, value: bytes) -> None:
        if name != "contribution":
            store(services, name, value)

    def sign_once(services: RoundServices, slot: str, body: ContributionHeader) -> Signed:
        return services.sign(body) if slot == "header" else once(services, slot, body)

    def debit(node: SimulatedNode, effect: RecordDebit) -> None:
        node._later(0.002, node.handle, DebitRecorded(effect.context))

    monkeypatch.setattr(RoundServices, "persist_secret", persist_secret)
    monkeypatch.setattr(RoundServices, "sign_once", sign_once)
    monkeypatch.setattr(SimulatedNode, "_debit", debit)
    with pytest.raises(InvariantError):
        killed_after_masking(0)


@pytest.mark.parametrize("seeds", [(4, 11), pytest.param(range(200), marks=pytest.mark.full)])
def test_masks_reused_in_a_second_attempt(seeds: Iterable[int]) -> None:
    """What masked in an attempt that was aborted masks nothing in the one that follows."""
    twice = 0
    for seed in seeds:
        simulation = Secrets(replace(outlasting_scenario(seed), masks=True, corrupt=()))
        aborted = simulation.run().records[1].attempt == 2
        assert simulation.reused == 0
        assert all(len(parcels) == 1 for parcels in simulation.vectors.values())
        masked_twice = len(simulation.vectors) - len({index for index, _ in simulation.vectors})
        twice += masked_twice if aborted else 0
    assert twice > 0


class Anew:
    """The weak generator: every draw is the start of one stream."""

    def bytes(self, count: int) -> bytes:
        return bytes(count)

    def below(self, bound: int) -> int:
        return 0


def test_a_generator_that_starts_anew_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = property(lambda services: Anew(), lambda services, given: None)
    monkeypatch.setattr(RoundServices, "sampler", stuck, raising=False)
    simulation = Secrets(Scenario(seed=0, nodes=6))
    with pytest.raises(InvariantError, match="what it drew for another"):
        simulation.run()
