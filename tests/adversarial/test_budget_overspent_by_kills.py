"""A node killed at any moment never spends more than was consented to, and never forgets a debit.

This file is also the program under attack: run as a script it forks nodes that debit as fast as
they can, kills each with SIGKILL after a random delay, reopens the vault and compares it with what
the dead node had been told.
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

from pnyx.errors import ConsentError
from pnyx.protocol.privacy import epsilon
from pnyx.vault import Debit, StudyRequest, Vault

KEY = bytes(range(32))
RHO, RHO_MAX = 0.1, 0.7
SECONDS_ALIVE_MAX = 0.05
RECORD_BYTES = 40


@pytest.mark.parametrize("kills", [30, pytest.param(10_000, marks=pytest.mark.full)])
def test_budget_overspent_by_kills(tmp_path, kills):
    arguments = [sys.executable, __file__, str(tmp_path / "vault"), str(kills)]
    outcome = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)
    assert outcome["acknowledged"] > kills  # the nodes did work before they were killed
    assert outcome["forgotten"] == 0
    assert outcome["unacknowledged"] <= kills  # at most the one in flight
    assert outcome["overspent"] == 0
    assert outcome["repeated"] == 0


def node(directory, acknowledged):
    """Debit until killed, announcing each debit once the ledger has it."""
    with Vault.open(directory, KEY) as vault:
        entries = [entry for entry in vault.ledger.entries() if isinstance(entry, Debit)]
        attempt = len(entries)
        study = attempt // 7
        while True:
            attempt += 1
            try:
                debit = vault.ledger.debit(
                    study.to_bytes(32, "big"),
                    attempt,
                    0,
                    phase="train",
                    bytes_planned=1,
                    rho=RHO,
                    now=1.0,
                )
            except ConsentError:
                study += 1
                vault.consents.record(
                    StudyRequest(
                        study=study.to_bytes(32, "big"),
                        purpose="dpv:AcademicResearch",
                        columns={"a": ("x",)},
                        epsilon=epsilon(RHO_MAX),
                        rounds=1_000,
                    ),
                    accepted=True,
                    decided_by="owner",
                    now=0.0,
                    expires=2.0,
                )
            else:
                os.write(acknowledged, debit.study + debit.round_number.to_bytes(8, "big"))


def run_until_killed(directory, seconds, after_first):
    """Return the debits of which a node heard before it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            node(directory, writing)
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
    return [
        (heard[i : i + 32], int.from_bytes(heard[i + 32 : i + RECORD_BYTES], "big"))
        for i in range(0, len(heard), RECORD_BYTES)
    ]


def drive(directory, kills):
    rng = np.random.default_rng(11)
    heard = set()
    for kill in range(kills):
        # One in three dies while it starts, the others while they work.
        seconds, after_first = rng.uniform(0.0, SECONDS_ALIVE_MAX), kill % 3 > 0
        heard |= set(run_until_killed(directory, seconds, after_first))
    with Vault.open(directory, KEY) as vault:
        vault.ledger.verify_chain()
        stored = [(e.study, e.round_number) for e in vault.ledger.entries() if isinstance(e, Debit)]
        spent = [vault.ledger.spent(study).rho for study in {study for study, _ in stored}]
    return {
        "acknowledged": len(heard),
        "forgotten": len(heard - set(stored)),
        "unacknowledged": len(set(stored) - heard),
        "overspent": sum(rho > RHO_MAX * (1 + 1e-9) for rho in spent),
        "repeated": len(stored) - len(set(stored)),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(drive(Path(sys.argv[1]), int(sys.argv[2]))))
