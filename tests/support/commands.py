"""Drives the command line in processes of its own, as a person at a terminal would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.csv

from pnyx.demo.activity import CATEGORY, FEATURES, LABEL_COLUMN, LABELS, owner_table

COLUMNS = FEATURES[30:]  # twelve suffice to learn something
OPTIONS = ("park", "library", "square")
POLL = "poll.meeting"
PURPOSE = "dpv:ResearchAndDevelopment"


def pnyx(*arguments: object, passphrase: str = "correct horse") -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pnyx.cli", *map(str, arguments)],
        env=environment(passphrase),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def environment(passphrase: str) -> dict[str, str]:
    """This process's, with the passphrase; libraries need no threads of their own."""
    return {**os.environ, "PNYX_PASSPHRASE": passphrase, "OPENBLAS_NUM_THREADS": "1"}


def done(*arguments: object) -> str:
    """Run a command that must succeed; return what it printed on stdout."""
    finished = pnyx(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def done_json(*arguments: object) -> Any:
    """Run a command with --json and read what it printed."""
    return json.loads(done(*arguments, "--json"))


def refused(*arguments: object, **options: Any) -> str:
    """Run a command that must be refused with one sentence; return it."""
    finished = pnyx(*arguments, **options)
    assert finished.returncode == 1, (finished.stdout, finished.stderr)
    assert "Traceback" not in finished.stderr
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("pnyx: ")
    assert lines[0].endswith(".")
    return lines[0].removeprefix("pnyx: ")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningNode:
    """`pnyx node run` in the background, its log in a file."""

    def __init__(self, directory: Path, *options: object) -> None:
        self.directory = directory
        self.log = directory / "log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pnyx.cli", "node", "run", "--dir", str(directory)]
                + [str(option) for option in options],
                env=environment("correct horse"),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def await_started(self, timeout_s: float = 60) -> None:
        """Wait until it answers its owner."""
        limit = time.monotonic() + timeout_s
        while not (self.directory / "control.sock").exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit, self.log.read_text()
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


def write_activity(directory: Path, user: int) -> tuple[Path, Path]:
    """One person's windows as a CSV file, and the mapping for it."""
    table = owner_table(user).select([*COLUMNS, LABEL_COLUMN])
    path, mapping = directory / f"user-{user}.csv", directory / "mapping.toml"
    pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(quoting_style="none"))
    lines = [f'category = "{CATEGORY}"']
    lines += [f'[columns.{name}]\ntype = "float"' for name in COLUMNS]
    lines += [f'[columns.{LABEL_COLUMN}]\ntype = "text"\nclasses = {json.dumps(list(LABELS))}']
    mapping.write_text("\n".join(lines) + "\n")
    return path, mapping


def write_answer(directory: Path, choice: int) -> tuple[Path, Path]:
    """One person's vote, a single row of a poll, and the mapping for it."""
    path, mapping = directory / "answer.csv", directory / "answer.toml"
    row = ["1" if option == choice else "0" for option in range(len(OPTIONS))]
    path.write_text(",".join(OPTIONS) + "\n" + ",".join(row) + "\n")
    lines = [f'category = "{POLL}"', *(f'[columns.{name}]\ntype = "int"' for name in OPTIONS)]
    mapping.write_text("\n".join(lines) + "\n")
    return path, mapping


def write_study(
    path: Path,
    rounds: int,
    owners: int,
    *,
    standardise: bool = False,
    query: str = "",
    label: str = LABEL_COLUMN,
) -> None:
    """A study that these owners finish within seconds, standardised by their statistics or not."""
    ranges = "\n".join(f"{name} = [-30, 30]" for name in COLUMNS) if standardise else ""
    kinds = [("statistics", 1)] if standardise else []
    kinds += [("train", rounds), ("evaluate", 1)]
    path.write_text(
        f"""
title = "What are people doing?"
purpose = "Recognise activities."
purpose_term = "{PURPOSE}"
category = "{CATEGORY}"
query = {json.dumps(query)}
columns = {json.dumps(list(COLUMNS))}
label = "{label}"
cohort_min = 3
join_window_s = 15.0
[model]
hidden = [8]
classes = {len(LABELS)}
[training]
standardise = "{"study" if standardise else "owner"}"
[ranges]
{ranges}
"""
        + "".join(_phase(kind, number, owners) for kind, number in kinds)
    )


def write_poll(path: Path, owners: int, noise: float) -> None:
    """A choice among `OPTIONS`."""
    path.write_text(
        f"""
title = "Where shall we meet?"
purpose = "Decide together."
purpose_term = "{PURPOSE}"
category = "{POLL}"
columns = {json.dumps(list(OPTIONS))}
cohort_min = 3
join_window_s = 15.0
[privacy]
noise_multiplier = {noise}
{_phase("poll", 1, owners)}
[phases.ballot]
kind = "choice"
options = {len(OPTIONS)}
"""
    )


def _phase(kind: str, rounds: int, owners: int) -> str:
    return f"""
[[phases]]
kind = "{kind}"
rounds = {rounds}
target = {owners}
drawn = {owners}
deadline_s = 10.0
"""
