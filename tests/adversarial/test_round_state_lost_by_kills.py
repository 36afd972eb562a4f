"""A node killed at any moment finds every promise it made, and nothing that it forgot.

It dies at random moments; and before each of its file operations in turn, a record that it was to
write being written by half. (A mark or a key lies within a sector, and is written whole or not at
all.) As in `test_budget_overspent_by_kills`, this file is also the program under attack.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pnyx.errors import VaultError
from pnyx.vault import RoundStore, journal, rounds
from pnyx.vault.journal import Journal

KEY = bytes(range(32))
SECONDS_ALIVE_MAX = 0.04
RECORD_BYTES = 8
ROUND = 4  # steps
STEPS = ROUND + 1  # the last one forgets the first round
OPERATIONS = ("open", "pwrite", "fsync", "fdatasync", "ftruncate", "rename", "unlink")


@pytest.mark.parametrize("kills", [30, pytest.param(1_000, marks=pytest.mark.full)])
def test_round_state_lost_by_kills(tmp_path, kills):
    outcome = attack(tmp_path, "at random", str(kills))
    assert outcome["steps"] > kills // 2
    assert outcome["wrong"] == []


def test_killed_before_each_file_operation(tmp_path):
    outcome = attack(tmp_path, "before each", "as it is")
    assert outcome["kills"] > 50
    assert outcome["wrong"] == []


def test_each_order_of_writing_is_a_defence(tmp_path):
    for name in WEAKNESSES:
        if name != "as it is":
            directory = tmp_path / name.replace(" ", "-")
            directory.mkdir()
            assert attack(directory, "before each", name)["wrong"], name


def attack(directory, when, how):
    arguments = [sys.executable, __file__, str(directory / "rounds"), when, how]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)


def write_late(descriptor, data, offset, write=journal.write_all, held=[]):  # noqa: B006
    """A record reaches the file with the next one only."""
    if held:
        write(*held.pop())
    held.append((descriptor, data, offset))


def mark_first(self, record, append=Journal.append):
    """The acknowledged length leads the record."""
    end = self._end + len(record) + 32  # length, nonce and tag
    journal.write_all(self._descriptor, journal._mark(self._salt, end), journal._MARK_OFFSET)
    append(self, record)


def gather_by_scope(self, puts, doomed, put=RoundStore._put):
    """What comes back to a scope is written with what went there before: fewer flushes."""
    scopes = list(dict.fromkeys(rounds._scope_of(key) for key, _ in puts))
    put(self, sorted(puts, key=lambda each: scopes.index(rounds._scope_of(each[0]))), doomed)


def unlink_key_first(self):
    self.close()
    for kind in ("key", "journal"):
        (self._directory / f"{self._name}.{kind}").unlink()


WEAKNESSES = {
    "as it is": (Journal, "close", Journal.close),
    "writes late": (journal, "write_all", write_late),
    "marks first": (Journal, "append", mark_first),
    "takes a torn record for damage": (Journal, "_read_mark", lambda self, data: len(data)),
    "keeps what it forgot": (Journal, "destroy", Journal.close),
    "unlinks the key first": (Journal, "destroy", unlink_key_first),
    "gathers by scope": (RoundStore, "_put", gather_by_scope),
}


def step(store, number):
    """Step `number`: remember something in this round; the first of a round forgets the last.

    Then what relies on both that and what is permanent, as an answer on the share it is given by.
    """
    round_number = number // ROUND
    puts = [
        (f"round/ab/{round_number}/{number}", bytes(number % 300)),
        ("chain/last", b"%d" % number),
        (f"round/ab/{round_number}/answer", b"%d" % number),
    ]
    forgets = []
    if number % ROUND == 0:
        puts.append((f"chain/abort/{round_number}", b"a"))
        forgets = [f"round/ab/{round_number - 1}", f"chain/abort/{round_number - 1}"]
    store.apply(puts, forgets)


def expected_after(number):
    kept = range(number // ROUND * ROUND, number + 1)
    in_round = {f"round/ab/{n // ROUND}/{n}": bytes(n % 300) for n in kept}
    return in_round | {f"chain/abort/{number // ROUND}": b"a"}


def node(directory, first, done, steps=1_000_000):
    store = RoundStore(directory, KEY)
    store.load()
    for number in range(first, first + steps):
        step(store, number)
        os.write(done, number.to_bytes(8, "big"))


class Doom:
    """Kills this process before its nth file operation; a record is written by half."""

    def __init__(self, left):
        self.left = left
        for name in OPERATIONS:
            setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name, operation):
        def act(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                if name == "pwrite" and arguments[2] >= journal._HEADER_BYTES:
                    descriptor, data, offset = arguments
                    operation(descriptor, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return act


def run_node(directory, first, doom=0, steps=1_000_000):
    """Start a node; return its process and the pipe on which it tells of finished steps."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if doom:
                Doom(doom)
            node(directory, first, writing, steps)
        finally:
            os._exit(1)
    os.close(writing)
    return child, reading


def run_until_killed(directory, first, seconds, after_first):
    """Return the last step that a node had finished before it died."""
    child, reading = run_node(directory, first)
    heard = os.read(reading, RECORD_BYTES) if after_first else b""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    last, killed = finished(child, reading, heard, first)
    assert killed
    return last


def finished(child, reading, heard, first):
    """The last step that a node told of, and whether it was killed."""
    with os.fdopen(reading, "rb") as pipe:
        heard += pipe.read()
    _, status = os.waitpid(child, 0)
    last = int.from_bytes(heard[-RECORD_BYTES:], "big") if heard else first - 1
    return last, os.WIFSIGNALED(status)


def check(directory, last):
    """Compare the store with the steps up to `last`; the one after it may or may not be there."""
    store = RoundStore(directory, KEY)
    try:
        values = store.load()
    except VaultError as error:
        return f"after step {last}: {error}"
    finally:
        store.close()
    permanent = int(values.pop("chain/last", b"-1"))
    answers = [int(values.pop(key)) for key in list(values) if key.endswith("/answer")]
    for answer in answers:
        if answer > permanent or f"round/ab/{answer // ROUND}/{answer}" not in values:
            return f"after step {last}: answer {answer} without what it relies on"
    old, following = expected_after(last) if last >= 0 else {}, expected_after(last + 1)
    if last >= 0 and permanent not in (last, last + 1):
        return f"chain/last is {permanent} after step {last}"
    # A crash inside a step that changes rounds may leave the old round beside the new one.
    whole = old.items() <= values.items() or following.items() <= values.items()
    known = values.items() <= (old | following).items()
    return None if whole and known else f"after step {last}: {sorted(values)}"


def drive_before_each(directory, weakness):
    """Kill before every operation of a few steps; then the node goes on for a few more."""
    owner, name, weak = WEAKNESSES[weakness]
    setattr(owner, name, weak)
    kills, wrong, killed = 0, [], True
    while killed and not wrong:
        place = directory / str(kills)
        last, killed = finished(*run_node(place, 0, kills + 1, STEPS), b"", 0)
        problems = [check(place, last)]
        if not any(problems):
            reached, _ = finished(*run_node(place, last + 1, steps=3), b"", last + 1)
            problems.append(check(place, reached))
            if reached != last + 3:
                problems.append(f"stuck after step {reached}")
        wrong += filter(None, problems)
        kills += 1
    return {"kills": kills, "wrong": wrong}


def drive(directory, kills):
    rng = np.random.default_rng(5)
    last, wrong = -1, []
    for kill in range(kills):
        # One in three dies while it starts, the others while they work.
        seconds, after_first = rng.uniform(0.0, SECONDS_ALIVE_MAX), kill % 3 > 0
        last = run_until_killed(directory, last + 1, seconds, after_first)
        problem = check(directory, last)
        if problem:
            wrong.append(problem)
    return {"steps": last + 1, "wrong": wrong}


def main(directory, when, how):
    if when == "at random":
        return drive(Path(directory), int(how))
    return drive_before_each(Path(directory), how)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
