"""The owners of a simulated study: real ones from a table, and as many more as a scenario wants.

A table has one row per example, a column that names the owner and one that holds the class. Each
owner's rows are split and standardised exactly as its node would do it. The held-out rows of all
real owners together are what a model is scored on.

A population larger than the data is *resampled*: simulated owner i has rows drawn with replacement
from the training rows of real owner i mod n. So its size grows, its diversity does not, and results
say so. Nobody's held-out rows are ever trained on.
"""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pnyx.errors import ConfigError
from pnyx.learning.features import ROWS_MIN, Examples, prepare
from pnyx.learning.task import Standard


class Owners(msgspec.Struct, frozen=True):
    """Examples by real owner, and all their held-out rows in one."""

    training: tuple[Examples, ...]
    held_out: Examples
    width: int
    classes: int

    def of(self, owner: int, rows: int, generator: np.random.Generator) -> Examples:
        """The training rows of a simulated owner. rows: how many to draw; 0 for its real ones."""
        real = self.training[owner % len(self.training)]
        if not rows:
            return real
        drawn = generator.integers(0, len(real.targets), rows)
        return Examples(real.features[drawn], real.targets[drawn])


def read_owners(
    path: Path,
    *,
    owner_column: str,
    label_column: str,
    ignored: tuple[str, ...] = (),
    standardise: Standard = "owner",
    seed: bytes,
) -> Owners:
    """Read a Parquet table of examples. Raises ConfigError, naming what to change."""
    table = _read(path)
    wanted = [("owner_column", owner_column), ("label_column", label_column)]
    for key, name in (*wanted, *(("ignored", name) for name in ignored)):
        if name not in table.column_names:
            raise ConfigError(
                f"{key} must name a column of {path}, one of {', '.join(table.column_names)}, not "
                f"{name!r}."
            )
    left_out = {owner_column, label_column, *ignored}
    names = [name for name in table.column_names if name not in left_out]
    features = _features(table, names, path)
    classes, targets = np.unique(table.column(label_column).to_numpy(), return_inverse=True)
    owners = table.column(owner_column).to_numpy()
    training, held_out = [], []
    for owner in np.unique(owners):
        mine = owners == owner
        if int(mine.sum()) < ROWS_MIN:
            continue
        own, others = prepare(features[mine], targets[mine].astype(np.int64), seed, standardise)
        training.append(own)
        held_out.append(others)
    if not training:
        raise ConfigError(
            f"data must name a table in which somebody has at least {ROWS_MIN} rows: in {path} no "
            f"{owner_column} has."
        )
    together = Examples(
        np.concatenate([each.features for each in held_out]),
        np.concatenate([each.targets for each in held_out]),
    )
    return Owners(tuple(training), together, len(names), len(classes))


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise ConfigError(f"data must name a Parquet table: there is no file {path}.")
    try:
        return pq.read_table(path)
    except OSError as error:
        raise ConfigError(
            f"data must name a Parquet table: {path} cannot be read: {error.strerror or error}."
        ) from error
    except pa.ArrowException as error:
        raise ConfigError(f"data must name a Parquet table, which {path} is not.") from error


def _features(table: pa.Table, names: list[str], path: Path) -> np.ndarray:  # [rows, columns]
    columns = []
    for name in names:
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise ConfigError(
                f"ignored must name the column {name} of {path}, which holds {kind}, no numbers."
            )
        columns.append(table.column(name).to_numpy().astype(np.float32))
    if not columns:
        raise ConfigError(
            f"ignored must leave a column of {path} to learn from: all are owner, label or ignored."
        )
    return np.stack(columns, axis=1)
