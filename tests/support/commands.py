"""Drives the command line in processes of its own, as a person at a terminal would."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.csv

from pnyx.cli import main
from pnyx.demo.activity import CATEGORY, FEATURES, LABEL_COLUMN, LABELS, owner_table
from pnyx.demo.ports import hold_port
from pnyx.errors import ConfigError
from pnyx.node.control import NodeStatus, Status, call
from pnyx.node.keystore import NodeLayout

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
        timeout=120,
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
    return one_sentence(finished.stderr)


def refused_here(*arguments: object) -> str:
    """As `refused`, in this process: hundreds of commands need not start hundreds of times."""
    output, errors = io.StringIO(), io.StringIO()
    streams, handler, given = (sys.stdout, sys.stderr), signal.getsignal(signal.SIGTERM), sys.argv
    sys.argv, sys.stdout, sys.stderr = ["pnyx", *map(str, arguments)], output, errors
    try:
        status = main()
    except SystemExit as ended:  # 0, or what Typer did not understand
        status = int(ended.code or 0)
    finally:
        (sys.stdout, sys.stderr), sys.argv = streams, given
        signal.signal(signal.SIGTERM, handler)
    assert status == 1, (arguments, output.getvalue(), errors.getvalue())
    assert not output.getvalue()
    return one_sentence(errors.getvalue())


def one_sentence(errors: str) -> str:
    """What was written to stderr: one printable line that begins with the program's name."""
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert lines[0].isprintable(), errors
    assert lines[0].startswith("pnyx: ")
    assert lines[0].endswith(".")
    assert not lines[0].endswith("..")
    return lines[0].removeprefix("pnyx: ")


def contents(root: Path) -> dict[Path, bytes]:
    """Everything below a directory; a refused command changes none of it.

    But for the lock, and SQLite's log, which holds nothing that was refused.
    """
    return {
        path: path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
        if not path.name.endswith((".lock", "-wal", "-shm"))
    }


@contextmanager
def full_disk(file_bytes_max: int = 0) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def free_port() -> int:
    """A port that nobody listens on."""
    with hold_port() as held:
        return int(held.getsockname()[1])


class RunningNode:
    """`pnyx node run` in the background, its log in a file."""

    def __init__(
        self, directory: Path, *options: object, file_bytes_max: int | None = None
    ) -> None:
        """file_bytes_max: no file may grow beyond it, as on a disk that is full."""
        self.directory = directory
        self.log = directory / "log"
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        with (
            full_disk(hard if file_bytes_max is None else file_bytes_max),
            self.log.open("a") as log,
        ):
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
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit, self.log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        """Its socket is there a moment before it listens, and may be that of a killed process."""
        try:
            call(NodeLayout(self.directory), Status(), NodeStatus)
        except ConfigError:
            return False
        return True

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)


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
fine_tune_epochs = 30
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
{_phase("poll", 1, owners, 60.0)}
[phases.ballot]
kind = "choice"
options = {len(OPTIONS)}
"""
    )


def _phase(kind: str, rounds: int, owners: int, deadline_s: float = 60.0) -> str:
    return f"""
[[phases]]
kind = "{kind}"
rounds = {rounds}
target = {owners}
drawn = {owners}
deadline_s = {deadline_s}
"""
