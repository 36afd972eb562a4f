"""Simulated studies at scale: ten thousand owners, and a deep network at a thousand.

Small: every one of 10,000 owners contributes to every round of the demonstration's study.
Deep: 1,000 owners with resampled speech of forty of Shakespeare's roles train the network of
1,038,275 parameters that real processes trained under masks (`benchmarks/deep`). Skipped where the
data set is not there.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.deep.models import SUBJECTS
from pnyx.demo.activity import LABEL_COLUMN, USER_COLUMN, windows_path
from pnyx.simulator.learning.records import LearningParameters
from pnyx.simulator.learning.study import run_study

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEED = 1


def _timed(parameters: LearningParameters) -> dict[str, Any]:
    started, cpu = time.perf_counter(), time.process_time()
    rounds = list(run_study(parameters, SEED))
    trained = parameters.contributors * len(rounds)
    spent = time.process_time() - cpu
    return {
        "owners": parameters.owners,
        "contributors": parameters.contributors,
        "rounds": len(rounds),
        "accuracy_by_round": [round(each.accuracy, 4) for each in rounds],
        "wall_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(spent, 1),
        "cpu_ms_a_contribution": round(1000 * spent / trained, 2),
    }


def _small() -> dict[str, Any]:
    return _timed(
        LearningParameters(
            data=str(windows_path()),
            owner_column=USER_COLUMN,
            label_column=LABEL_COLUMN,
            ignored=("window_id",),
            owners=10_000,
            contributors=10_000,
            rows=60,
            rounds=10,
        )
    )


def _deep(directory: Path) -> dict[str, Any]:
    subject = SUBJECTS["speech"]
    population = subject.population(DATA)
    program, table = directory / "program.json", directory / "speech.parquet"
    command = [sys.executable, "-m", "benchmarks.deep.models", "speech", str(program)]
    subprocess.run(command, check=True)
    rows = np.concatenate([each.rows for each in population.owners])
    columns: dict[str, Any] = dict(zip(population.columns, rows.T.astype(np.float32), strict=True))
    columns["label"] = np.concatenate([each.targets for each in population.owners])
    counts = [len(each.targets) for each in population.owners]
    columns["owner"] = np.repeat(np.arange(len(counts)), counts)
    pq.write_table(pa.table(columns), table)
    settings = subject.training
    return _timed(
        LearningParameters(
            data=str(table),
            owner_column="owner",
            label_column="label",
            standardise="none",
            program=str(program),
            owners=1000,
            rows=200,
            contributors=1000,
            rounds=3,
            weight_decay=0.0,
            server_learning_rate=1.0,
            **{
                name: settings[name]
                for name in ("local_epochs", "batch_size", "learning_rate", "clip_norm")
            },
            fraction_bits=settings["fraction_bits"],
        )
    )


def run() -> dict[str, Any]:
    """Time, and what was learned."""
    found = {"small": _small()}
    if (DATA / "shakespeare-roles").exists():
        with tempfile.TemporaryDirectory() as directory:
            found["deep"] = _deep(Path(directory))
    return found
