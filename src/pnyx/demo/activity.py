"""The demonstration study: recognise what 36 people are doing from their phone's accelerometer.

Ships the WISDM data (`data/wisdm`, with the authors' readme and terms), the program and the tuned
hyper-parameters. `benchmarks/demo_accuracy.py` reproduces the figures and says how they were tuned.
"""

import shutil
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pnyx.errors import ConfigError
from pnyx.learning import Hyperparameters, Program, mlp
from pnyx.protocol.manifest import Range
from pnyx.vault.files import describe

CATEGORY = "activity.windows"
USERS = range(1, 37)
USER_COLUMN = "user"
LABEL_COLUMN = "activity"
LABELS = ("Walking", "Jogging", "Upstairs", "Downstairs", "Sitting", "Standing")
FEATURES = (
    *(f"{axis}{part}" for axis in "xyz" for part in range(10)),
    *("yavg", "zavg", "xpeak", "ypeak", "zpeak"),
    *("xabsoldev", "yabsoldev", "zabsoldev", "xstanddev", "ystanddev", "zstanddev"),
    "resultant",
)


# Bins are shares of a window; averages, deviations and the resultant are in units of 10 g at most;
# peaks are times between them in milliseconds.
RANGES = tuple(
    Range(0.0, 1.0)
    if name[1:].isdigit()
    else Range(0.0, 5000.0)
    if name.endswith("peak")
    else Range(-20.0, 20.0)
    for name in FEATURES
)


def windows_path() -> Path:
    """The Parquet file with the windows of all users, as shipped."""
    return Path(str(resources.files("pnyx.demo"))) / "data" / "wisdm" / "windows.parquet"


def owner_table(user: int) -> pa.Table:
    """Rows of one user (1 to 36): window_id, user, 42 features, activity."""
    if user not in USERS:
        raise ValueError(f"users are numbered 1 to {USERS.stop - 1}, not {user}")
    # One thread and no read-ahead: nodes read this between two forks, where a thread pool is a
    # trap.
    with pq.ParquetFile(windows_path(), pre_buffer=False) as file:
        table = file.read(use_threads=False)
    rows = np.flatnonzero(table.column(USER_COLUMN).to_numpy() == user)  # sorted: one run of rows
    return table.slice(int(rows[0]), len(rows))


def training_arrays(table: pa.Table) -> tuple[bytes, bytes, int]:
    """Rows in the form of a `TrainingTask`: features, labels, number of rows."""
    columns = [table.column(name).to_numpy(zero_copy_only=False) for name in FEATURES]
    features = np.stack(columns, axis=1).astype("<f4")  # [rows, 42], NaN where missing
    labels = [LABELS.index(name) for name in table.column(LABEL_COLUMN).to_pylist()]
    return features.tobytes(), np.array(labels, dtype="<i8").tobytes(), table.num_rows


def demo_program() -> Program:
    """42 features, 64 hidden units, 6 activities: 3,142 parameters."""
    return mlp((len(FEATURES), 64, len(LABELS)))


def demo_hyperparameters() -> Hyperparameters:
    """Settings for 20 rounds of 24 contributors, tuned on splits and draws that no report uses.

    Clip and precision together give a norm bound of 2**12 integer steps: rounding adds under 1 % to
    an update, and 24 contributions stay below 2**17, far inside one 27-bit field.
    """
    return Hyperparameters(
        local_epochs=3,
        batch_size=16,
        learning_rate=0.3,
        weight_decay=0.001,
        clip_norm=2.0,
        fraction_bits=11,
        server_learning_rate=1.5,
        fine_tune_epochs=10,
        fine_tune_learning_rate=0.2,
        alone_epochs=40,
        alone_learning_rate=0.3,
    )


def write_example(directory: Path, user: int) -> tuple[Path, ...]:
    """Write one user's windows as a CSV file, a mapping, and the licence note. Raises ConfigError.

    Nothing is written over, and nothing is left of what could not be finished.
    """
    columns = [f'[columns.{name}]\ntype = "float"\n' for name in FEATURES]
    classes = msgspec.json.encode(LABELS).decode()
    columns.append(f'[columns.{LABEL_COLUMN}]\ntype = "text"\nclasses = {classes}\n')
    table = owner_table(user).select([*FEATURES, LABEL_COLUMN])
    windows = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, windows, pyarrow.csv.WriteOptions(quoting_style="none"))
    files = {
        "windows.csv": windows.getvalue().to_pybytes(),
        "mapping.toml": "\n".join([f'category = "{CATEGORY}"\n', *columns]).encode(),
        "LICENCE-NOTE.md": windows_path().with_name("LICENCE-NOTE.md").read_bytes(),
    }
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    try:
        directory.mkdir(parents=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
    except BaseException as error:
        if missing:
            shutil.rmtree(missing[-1], ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise ConfigError(
            f"{directory} cannot be made ({describe(error)}); name a new directory where there is "
            "room."
        ) from error
    return tuple(directory / name for name in files)
