"""The demonstration's study, as its proposer writes it."""

import secrets
from pathlib import Path
from typing import Literal

import msgspec

from pnyx.demo.activity import (
    CATEGORY,
    FEATURES,
    LABEL_COLUMN,
    LABELS,
    RANGES,
    USER_COLUMN,
    demo_hyperparameters,
    demo_program,
    windows_path,
)
from pnyx.learning.programs import encode_program, initial_model
from pnyx.node.learning import (
    PhaseKind,
    bounds_for,
    choose_masks,
    choose_verified,
    encode_hyperparameters,
    phase_for,
    statistics_bounds,
)
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.aggregation.masked_verification.bounds import MaskedBounds
from pnyx.protocol.manifest import Manifest, StudyPhase
from pnyx.protocol.models import model_name
from pnyx.protocol.params import PROTOCOL_VERSION
from pnyx.vault.importers import ImportMapping, parse_mapping

PURPOSE_TERM = "dpv:ResearchAndDevelopment"
NORMAL_COHORT = 32
STATISTICS_ROUNDS = 1  # before training; the evaluation comes after it
JOIN_WINDOW_S = 3.0
ROUND_DEADLINE_S = 30.0
VERIFIED_COARSER_BITS = 1  # of an update, so that its norm can be verified while it is masked


def demo_cohort(nodes: int) -> int:
    """The demonstration's floor: 16 of 36, below the normal 32, and said so on screen."""
    return max(2, round(nodes * 16 / 36))


def target(nodes: int) -> int:
    """Contributors at which a round closes: 24 of 36."""
    return max(demo_cohort(nodes), round(nodes * 2 / 3))


def demo_study(
    network: bytes,
    proposer: bytes,
    nodes: int,
    rounds: int,
    seed: bytes,
    *,
    masked: bool = False,
    verified: bool = False,
    selection: Literal["census", "region"] = "census",
) -> tuple[bytes, bytes]:
    """The encoded manifest and the initial model; `seed` determines the model.

    masked: whether updates travel masked to aggregators instead of as shares to the committee.
    verified: whether the committee verifies their norm all the same.
    selection: how rounds get their actors.
    """
    program, hyperparameters = demo_program(), demo_hyperparameters()
    if verified:
        coarse = hyperparameters.fraction_bits - VERIFIED_COARSER_BITS
        hyperparameters = msgspec.structs.replace(hyperparameters, fraction_bits=coarse)
    model = initial_model(program, digest("pnyx/demo/model", seed))

    def phase(
        kind: PhaseKind,
        plain: Bounds,
        rounds: int,
        wanted: int,
        drawn: int,
        masks: ParameterSet | None = None,
        proven: MaskedBounds | None = None,
    ) -> StudyPhase:
        return phase_for(
            kind,
            plain,
            rounds=rounds,
            cohort_min=demo_cohort(nodes),
            target=wanted,
            drawn=drawn,
            deadline_s=ROUND_DEADLINE_S,
            masked=masks,
            verified=proven,
        )

    drawn = max(target(nodes), round(nodes * 5 / 6))
    updates = bounds_for(program, hyperparameters, "train")
    counts = bounds_for(program, hyperparameters, "evaluate")
    columns = statistics_bounds(len(FEATURES))
    proven = choose_verified(updates, drawn, None) if verified else None
    masks = choose_masks(updates, None, drawn, None) if masked and not verified else None
    phases = (
        phase("statistics", columns, STATISTICS_ROUNDS, nodes, nodes),
        phase("train", updates, rounds, target(nodes), drawn, masks, proven),
        phase("evaluate", counts, 1, nodes, nodes),
    )
    manifest = Manifest(
        network=network,
        proposer=proposer,
        version=PROTOCOL_VERSION,
        epoch=0,
        title="What are people doing?",
        purpose="Recognise everyday activities from the accelerometer of a phone, for research.",
        purpose_term=PURPOSE_TERM,
        category=CATEGORY,
        query="",
        columns=FEATURES,
        ranges=RANGES,
        label=LABEL_COLUMN,
        program=encode_program(program),
        hyperparameters=encode_hyperparameters(hyperparameters),
        initial_model=model_name(model),
        model_bytes=len(model),
        phases=phases,
        join_window_s=JOIN_WINDOW_S,
        nonce=secrets.token_bytes(32),
        selection=selection,
    )
    return codec.encode(manifest), model


class DemoScript:
    """Plays the demonstration: node n belongs to person n + 1 of the data; the last one refuses.

    seed, masked, verified, selection: as `demo_study` takes them.
    """

    purpose_term = PURPOSE_TERM
    category = CATEGORY

    def __init__(
        self,
        nodes: int,
        rounds: int,
        seed: bytes,
        *,
        masked: bool = False,
        verified: bool = False,
        selection: Literal["census", "region"] = "census",
    ) -> None:
        self._nodes = nodes
        self._rounds = rounds
        self._seed = seed
        self._masked = masked
        self._verified = verified
        self._selection: Literal["census", "region"] = selection

    def owner_data(self, node: int) -> tuple[Path, ImportMapping]:
        """The shipped windows, of which an owner imports its own."""
        columns: dict[str, object] = {name: {"type": "float"} for name in FEATURES}
        columns[LABEL_COLUMN] = {"type": "text", "classes": list(LABELS)}
        only = {USER_COLUMN: str(node + 1)}
        mapping = parse_mapping({"category": CATEGORY, "columns": columns, "only": only})
        return windows_path(), mapping

    def refuses(self, node: int) -> bool:
        """Whether it is the last owner."""
        return node == self._nodes - 1

    def study(self, network: bytes, proposer: bytes) -> tuple[bytes, bytes]:
        """The demonstration's study."""
        return demo_study(
            network,
            proposer,
            self._nodes,
            self._rounds,
            self._seed,
            masked=self._masked,
            verified=self._verified,
            selection=self._selection,
        )
