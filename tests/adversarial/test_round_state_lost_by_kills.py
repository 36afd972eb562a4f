"""A node killed at any moment finds every promise it made, and nothing that it forgot.

As in `test_budget_overspent_by_kills`, this file is also the program under attack.
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

from pnyx.vault import RoundStore

KEY = bytes(range(32))
SECONDS_ALIVE_MAX = 0.04
RECORD_BYTES = 8


@pytest.mark.parametrize("kills", [30, pytest.param(1_000, marks=pytest.mark.full)])
def test_round_state_lost_by_kills(tmp_path, kills):
    arguments = [sys.executable, __file__, str(tmp_path / "rounds"), str(kills)]
    outcome = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)
    assert outcome["steps"] > kills // 2
    assert outcome["wrong"] == []


def step(store, number):
    """Step `number`: remember something in this round; every tenth step forgets the last round."""
    round_number = number // 10
    forgets = [f"round/ab/{round_number - 1}"] if number % 10 == 0 else []
    store.apply(
        [
            (f"round/ab/{round_number}/{number}", bytes(number % 300)),
            ("chain/last", b"%d" % number),
        ],
        forgets,
    )


def expected_after(number):
    kept = range(number // 10 * 10, number + 1)
    return {f"round/ab/{n // 10}/{n}": bytes(n % 300) for n in kept}


def node(directory, first, done):
    store = RoundStore(directory, KEY)
    store.load()
    for number in range(first, first + 1_000_000):
        step(store, number)
        os.write(done, number.to_bytes(8, "big"))


def run_until_killed(directory, first, seconds, after_first):
    """Return the last step that a node had finished before it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            node(directory, first, writing)
        finally:
            os._exit(1)
    os.close(writing)
    heard = os.read(reading, RECORD_BYTES) if after_first else b""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        heard += pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return int.from_bytes(heard[-RECORD_BYTES:], "big") if heard else first - 1


def check(directory, last):
    """Compare the store with the steps up to `last`; the one after it may or may not be there."""
    store = RoundStore(directory, KEY)
    values = store.load()
    store.close()
    permanent = int(values.pop("chain/last", b"-1"))
    following = expected_after(last + 1)
    # A crash inside a step that changes rounds may leave the old round beside the new one.
    old_round = expected_after(last) if last >= 0 else {}
    allowed = [old_round, following, old_round | following]
    if last >= 0 and permanent not in (last, last + 1):
        return f"chain/last is {permanent} after step {last}"
    return None if values in allowed else f"after step {last}: {sorted(values)}"


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(drive(Path(sys.argv[1]), int(sys.argv[2]))))
