"""What goes into a local training step and what comes out, as plain records.

A task carries everything the training worker may see: no path, no key, no name. An outcome carries
the *contribution*, the only thing that is ever shared (after protection), and metrics that stay at
home.

Layout of a contribution, a vector of little-endian int64 whose entries are summed over
contributors:

    train      quantised update [shared_count] ‖ correct ‖ held-out ‖ examples
    evaluate   alone correct ‖ shared correct ‖ personalised correct ‖ held-out

A task of kind `use` contributes nothing: its vector holds the class predicted for each row of
`unseen`, or the bits of a number (`update.number_bits`), and stays at home.

`correct` adds up the scores that the *received* shared model has on the held-out rows, rounded (of
a classifier: how many it gets right), `held-out` counts the held-out rows, `examples` those trained
on.
"""

import math
from typing import Literal

import msgspec

from pnyx.learning.programs import Program
from pnyx.learning.programs.audit import BATCH_SIZE_MAX
from pnyx.learning.programs.models import SEED_BYTES

EXAMPLES_MAX = 1 << 20  # rows one owner may count for
FRACTION_BITS_MAX = 24
EPOCHS_MAX = 1000
CLIP_NORM_MAX = 1024.0
LEARNING_RATE_MAX = 100.0

TaskKind = Literal["train", "evaluate", "use"]
Standard = Literal["owner", "study", "none"]

_FLOAT_FIELDS = (
    "learning_rate",
    "momentum",
    "weight_decay",
    "clip_norm",
    "server_learning_rate",
    "fine_tune_learning_rate",
    "alone_learning_rate",
)


class Hyperparameters(
    msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="hyperparameters"
):
    """How a study trains, evaluates and quantises; one value for all nodes, fixed by the manifest.

    clip_norm: largest L2 norm of an update, after quantisation too.
    fraction_bits: an update x is sent as the integer round(x · 2**fraction_bits).
    standardise: columns by each owner's own statistics, by those of a statistics round, or not at
    all, where columns name things or the program takes numbers as they are.
    count_max: rows that one owner counts for; more are counted in proportion.
    server_learning_rate: the shared model moves by this multiple of the mean update.
    fine_tune_*: personalisation of the shared model at home. alone_*: the model that the owner
    would have trained without the others, the yardstick of the evaluation.

    Raises ValueError for values out of range.
    """

    local_epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float
    fraction_bits: int
    count_max: int = EXAMPLES_MAX
    standardise: Standard = "owner"
    server_learning_rate: float = 1.0
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    alone_epochs: int
    alone_learning_rate: float

    def __post_init__(self) -> None:
        # An int given for a float would encode differently and break canonical encoding.
        for name in _FLOAT_FIELDS:
            msgspec.structs.force_setattr(self, name, float(getattr(self, name)))
        for name in ("local_epochs", "fine_tune_epochs", "alone_epochs"):
            _require(name, getattr(self, name), 1, EPOCHS_MAX)
        _require("batch_size", self.batch_size, 1, BATCH_SIZE_MAX)
        _require("fraction_bits", self.fraction_bits, 0, FRACTION_BITS_MAX)
        _require("count_max", self.count_max, 1, EXAMPLES_MAX)
        _require("momentum", self.momentum, 0.0, 0.999)
        _require("weight_decay", self.weight_decay, 0.0, 1.0)
        _require("clip_norm", self.clip_norm, 2.0**-20, CLIP_NORM_MAX)
        for name in _FLOAT_FIELDS:
            if name.endswith("learning_rate"):
                _require(name, getattr(self, name), 2.0**-20, LEARNING_RATE_MAX)


def _require(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} lies between {low} and {high}, not {value}")


class TrainingTask(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """One local step on the owner's examples.

    model: flat shared parameters, float32 little-endian; local: the owner's own, from its last
    task, empty before the first. features: [rows, width] float32 little-endian, NaN where missing,
    not standardised. targets: [rows] little-endian, int64 classes, or float32 where the program has
    no classes.
    seed: 32 bytes, fresh for each task, orders the mini-batches. split_seed: 32 bytes, the same for
    all tasks of one study at one node, else held-out examples of one round would train the next; it
    is no secret, and the default suits any study. standard: means and deviations [2, width]
    float64 little-endian of a statistics round; empty for the owner's own.
    unseen: of a task of kind `use`, [unseen_rows, width] as `features`; the model is fine-tuned on
    the rows of `features` first if fine_tune is set.
    """

    kind: TaskKind
    program: Program
    hyperparameters: Hyperparameters
    model: bytes
    features: bytes
    targets: bytes
    rows: int
    seed: bytes
    split_seed: bytes = bytes(SEED_BYTES)
    standard: bytes = b""
    local: bytes = b""
    unseen: bytes = b""
    unseen_rows: int = 0
    fine_tune: bool = False


class TrainingOutcome(msgspec.Struct, frozen=True, array_like=True, tag="outcome"):
    """Result of a task.

    vector: the contribution, or predictions, int64 little-endian. Never shared: metrics, and local,
    the local parameters after a training task; empty when there are none, or none were trained.
    """

    vector: bytes
    metrics: dict[str, float]
    local: bytes = b""
