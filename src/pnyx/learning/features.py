"""An owner's rows made ready for training: split in two, then standardised.

Everything here is local and deterministic. Statistics leave the node in a statistics round only
(`statistics`), and a study may standardise by what that published.

**Split.** About 30 % of the rows are held out and never trained on. Rows are ordered by target,
then by a keyed hash of their content, and taken systematically: every class is held out in
proportion (to within one row), and neither the order in which the vault returns rows nor the
round matters.

**Standardisation.** Unless the study brings its own or wants none, each column is centred on its
median and divided by its mean absolute deviation, both over training rows. Rows are then limited to
±3. People spend their time differently: a mean moves with the mix of activities, while the median
stays near each person's own walking. In our trials that alone raised the shared model from 0.80 to
0.83. A missing value becomes 0, the centre.
"""

import hashlib

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.errors import TrainingError
from pnyx.learning.task import EXAMPLES_MAX, Standard

HELD_OUT_PERCENT = 30
ROWS_MIN = 4  # fewer may leave one side of the split empty
STANDARDISED_MAX = 3.0
FEATURE_ABS_MAX = 1e30  # leaves room to add up rows in float32

_SPLIT_DOMAIN = b"pnyx/learning/split/1"
_DEVIATION_MIN = 1e-6  # below this a column counts as constant

Targets = NDArray[np.int64] | NDArray[np.float32]  # classes, or real numbers


class Examples(msgspec.Struct, frozen=True):
    """Rows as a program takes them. features: [rows, width] float32; targets: [rows]."""

    features: NDArray[np.float32]
    targets: Targets


def read_rows(
    features: bytes, targets: bytes, rows: int, width: int, classes: int
) -> tuple[NDArray[np.float32], Targets]:
    """Views of an owner's rows: features [rows, width] with NaN where missing, targets [rows].

    classes: 0 for targets that are real numbers. Raises TrainingError for too few rows, sizes that
    disagree, infinities, targets out of range.
    """
    if rows < ROWS_MIN:
        raise TrainingError(
            f"{rows} rows are too few to train on: import at least {ROWS_MIN} of this category."
        )
    if rows > EXAMPLES_MAX:
        raise TrainingError(
            f"{rows} rows are more than the {EXAMPLES_MAX} one owner may count for: "
            "narrow the window of the consent."
        )
    if len(targets) != (8 if classes else 4) * rows:
        raise TrainingError(
            f"{rows} rows do not match {len(targets)} bytes of labels: "
            "check the columns that the study asks for."
        )
    table = read_features(features, rows, width)
    return table, _read_classes(targets, classes) if classes else _read_numbers(targets)


def read_features(features: bytes, rows: int, width: int) -> NDArray[np.float32]:
    """View an owner's features [rows, width]. Raises TrainingError."""
    if len(features) != 4 * rows * width or rows > EXAMPLES_MAX:
        raise TrainingError(
            f"{rows} rows of {width} features do not match {len(features)} bytes of features: "
            "check the columns that the study asks for."
        )
    table = np.frombuffer(features, "<f4").reshape(rows, width)
    if (np.abs(table) > FEATURE_ABS_MAX).any():
        raise TrainingError(
            "The data holds an infinite or absurdly large value: correct it and import it again."
        )
    return table


def _read_classes(targets: bytes, classes: int) -> NDArray[np.int64]:
    classed = np.frombuffer(targets, "<i8")
    if classed.min() < 0 or classed.max() >= classes:
        raise TrainingError(
            f"The data holds a label outside 0 to {classes - 1}: "
            "check the column mapped to the label."
        )
    return classed


def _read_numbers(targets: bytes) -> NDArray[np.float32]:
    numbers = np.frombuffer(targets, "<f4")
    if not (np.abs(numbers) <= FEATURE_ABS_MAX).all():
        raise TrainingError(
            "The data holds a label that is missing, infinite or absurdly large: correct it and "
            "import it again."
        )
    return numbers


def read_standard(standard: bytes, width: int) -> NDArray[np.float64] | None:
    """Means and deviations [2, width] of a task; None when it states none."""
    if not standard:
        return None
    table = np.frombuffer(standard, "<f8")
    if table.size != 2 * width or not np.isfinite(table).all() or (table[width:] <= 0).any():
        raise TrainingError("The statistics of the study do not fit its columns.")
    return table.reshape(2, width)


def split(features: NDArray[np.float32], targets: Targets, seed: bytes) -> NDArray[np.bool_]:
    """Choose the held-out rows: a mask [rows] with both sides non-empty from ROWS_MIN rows on."""
    key = hashlib.blake2b(_SPLIT_DOMAIN + seed, digest_size=32).digest()
    ranks = [hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row in features]
    order = np.lexsort((np.frombuffer(b"".join(ranks), ">u8"), targets))
    start = int.from_bytes(key[:8], "big") % 100
    steps = (np.arange(len(targets)) * HELD_OUT_PERCENT + start) % 100
    held_out = np.empty(len(targets), dtype=np.bool_)
    held_out[order] = steps >= 100 - HELD_OUT_PERCENT
    return held_out


def standardise(
    training: NDArray[np.float32],
    others: NDArray[np.float32],
    standard: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardise training rows and others alike, by statistics of the training rows only.

    standard: means and deviations [2, width] to standardise by instead.
    """
    if standard is None:
        median, scale = _own_standard(training)
    else:
        median, scale = standard.astype(np.float32)

    def apply(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        standardised = np.nan_to_num((rows - median) / scale, nan=0.0)
        limited: NDArray[np.float32] = standardised.clip(-STANDARDISED_MAX, STANDARDISED_MAX)
        return limited.astype(np.float32)

    return apply(training), apply(others)


def _own_standard(
    training: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median and mean absolute deviation of each column: [width] each."""
    present = np.maximum((~np.isnan(training)).sum(axis=0), 1)
    ordered = np.sort(training, axis=0)  # NaN sorts last
    columns = np.arange(training.shape[1])
    median = (ordered[(present - 1) // 2, columns] + ordered[present // 2, columns]) / 2
    median = np.where(np.isnan(median), np.float32(0), median)  # a column that is never present
    deviation = np.nansum(np.abs(training - median), axis=0) / present
    scale = np.where(deviation > _DEVIATION_MIN, deviation, 1.0).astype(np.float32)
    return median, scale


def prepare(
    features: NDArray[np.float32],
    targets: Targets,
    split_seed: bytes,
    standardised: Standard,
    standard: NDArray[np.float64] | None = None,
) -> tuple[Examples, Examples]:
    """Split an owner's rows into (training, held-out) examples, and standardise both.

    standardised: by what; "none" leaves columns as they are, but for missing values, which become
    0. standard: of the study, where it published one.
    """
    held_out = split(features, targets, split_seed)
    training, others = made_ready(features[~held_out], features[held_out], standardised, standard)
    return Examples(training, targets[~held_out]), Examples(others, targets[held_out])


def made_ready(
    training: NDArray[np.float32],
    others: NDArray[np.float32],
    standardised: Standard,
    standard: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardise as a study asks, by training rows or what it published; fill what is missing."""
    if standardised == "none":
        return np.nan_to_num(training, nan=0.0), np.nan_to_num(others, nan=0.0)
    return standardise(training, others, standard)
