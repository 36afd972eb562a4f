"""Ctrl-C and SIGTERM end every long command cleanly, and it says how to go on."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.commands import contents, done, environment, one_sentence
from tests.support.place import Place

WAIT_S = 30.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("place"))
    done("data", "list", *made.key)
    return made


def start(arguments: Sequence[object], **options: object) -> subprocess.Popen[str]:
    """A command that leads a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pnyx.cli", *map(str, arguments)],
        env=environment("") | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **{"stdin": subprocess.DEVNULL, **options},
    )


def until(happened: object, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + WAIT_S
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> str:
    """What an interrupted command said last, once it and all of its processes are gone."""
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    limit = time.monotonic() + WAIT_S
    while living(process.pid):  # what the kernel ends with its parent takes a moment
        assert time.monotonic() < limit
    return one_sentence(errors.splitlines()[-1])


def living(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group_id = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended meanwhile
        if int(group_id) == group and state != "Z":
            found.append(int(entry.name))
    return found


def test_interrupted_import_adds_nothing(place: Place, tmp_path: Path) -> None:
    heading, *rows = place.table.read_text().splitlines()
    large = tmp_path / "large.csv"
    large.write_text("\n".join([heading, *rows * 500]) + "\n")
    log = place.layout.vault / "vault.db-wal"
    before = contents(place.root)
    process = start(place.import_data(large))
    until(lambda: log.exists() and log.stat().st_size > 100_000, process)
    process.send_signal(signal.SIGTERM)
    assert "give the same command again" in ended(process)
    assert contents(place.root) == before
    assert json.loads(done("data", "list", *place.key, "--json")) == []


def test_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    report = ("--report", tmp_path / "report.html")
    process = start(("demo", "--nodes", 6, "--rounds", 2, "--keep", kept, *report))
    until(lambda: len(living(process.pid)) > 3, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = ended(process)
    assert "run it again" in said
    assert str(kept) in said
    assert not (tmp_path / "report.html").exists()


def test_node_interrupted_before_it_runs(place: Place) -> None:
    lock = place.layout.root / "node.lock"
    lock.unlink(missing_ok=True)
    process = start(("node", "run", *place.key))
    until(lock.exists, process)
    process.send_signal(signal.SIGTERM)
    assert "give the same command again" in ended(process)
    assert not (place.layout.root / "control.sock").exists()


def test_interrupted_at_the_passphrase(place: Place, tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    surroundings = environment("")
    del surroundings["PNYX_PASSPHRASE"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pnyx.cli", "node", "init", "--dir", str(tmp_path / "new")],
        env=surroundings,
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its terminal
    )
    os.close(its_end)
    shown = b""
    while b"Passphrase" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while process.poll() is None or b"again." not in shown:
        try:
            shown += os.read(terminal, 1000)
        except OSError:  # the terminal closed with its last process
            break
    os.close(terminal)
    assert process.wait(timeout=WAIT_S) == 130
    assert b"nothing was changed" in shown
    assert not (tmp_path / "new").exists()
