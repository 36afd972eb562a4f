"""A node killed at any moment never spends more than was consented to, and never forgets a debit.

This file is also the program under attack: run as a script it forks nodes that debit as fast as
they can, kills each with SIGKILL after a random delay, reopens the vault and compares it with what
the dead node had been told. Three weak nodes show what would be found: one keeps its ledger in
memory, one acknowledges before it debits, one debits whatever the budget says.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnyx.errors import ConsentError, VaultError
from pnyx.protocol.privacy import epsilon
from pnyx.vault import Debit, StudyRequest, Vault
from pnyx.vault.anchor import Anchor
from pnyx.vault.chain import HashChain
from pnyx.vault.ledger import Ledger

KEY = bytes(range(32))
RHO, RHO_MAX = 0.1, 0.7
SECONDS_ALIVE_MAX = 0.05
RECORD_BYTES = 40


def attacked(directory: Path, kills: int, node: str = "honest") -> dict[str, int]:
    arguments = [sys.executable, __file__, str(directory / "vault"), str(kills), node]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("kills", [30, pytest.param(10_000, marks=pytest.mark.full)])
def test_budget_overspent_by_kills(tmp_path, kills):
    outcome = attacked(tmp_path, kills)
    # The nodes did work before they were killed: two in three are let do some, however slow.
    assert outcome["acknowledged"] >= 2 * kills // 3
    assert outcome["forgotten"] == 0
    assert outcome["unacknowledged"] <= kills  # at most the one in flight
    assert outcome["overspent"] == 0
    assert outcome["repeated"] == 0


@pytest.mark.parametrize(
    ("node", "faults"),
    [
        ("in memory", {"forgotten", "overspent", "repeated"}),
        ("too early", {"forgotten"}),
        ("lavish", {"overspent"}),
    ],
)
def test_a_weak_ledger_would_show(tmp_path, node, faults):
    outcome = attacked(tmp_path, 12, node)
    assert faults <= {name for name, count in outcome.items() if count}


def test_killed_while_the_vault_is_created(tmp_path, monkeypatch):
    """Nothing is in the vault yet, so that nothing is lost by beginning anew."""
    write = Anchor._write
    monkeypatch.setattr(
        Anchor, "_write", lambda anchor, count: os.kill(os.getpid(), signal.SIGKILL)
    )
    child = os.fork()
    if child == 0:
        Vault.open(tmp_path / "vault", KEY)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    monkeypatch.setattr(Anchor, "_write", write)
    Vault.open(tmp_path / "vault", KEY).close()


def keep_in_memory() -> None:
    """The ledger's entries reach no disk."""
    append = HashChain.append

    def kept(chain: HashChain[Any], entry: Any) -> Any:
        if chain._name != "ledger":
            return append(chain, entry)
        chain._added(entry)
        return entry

    HashChain.append = kept


def acknowledge_early() -> None:
    """What is debited is believed to be on the disk a while before it is."""
    append = HashChain.append

    def late(chain: HashChain[Any], entry: Any) -> Any:
        if isinstance(entry, Debit):
            os.write(ACKNOWLEDGED[0], record(entry))
            time.sleep(2 * SECONDS_ALIVE_MAX)
        return append(chain, entry)

    HashChain.append = late


def spend_lavishly() -> None:
    """A consent is asked for, and its budget is not."""
    Ledger._check_budget = lambda ledger, entry, now: ledger._consents.require(entry.study, now)


NODES = {
    "honest": lambda: None,
    "in memory": keep_in_memory,
    "too early": acknowledge_early,
    "lavish": spend_lavishly,
}
ACKNOWLEDGED: list[int] = []  # the pipe of the node that this process is


def record(debit: Debit) -> bytes:
    return debit.study + debit.round_number.to_bytes(8, "big")


def node(directory, acknowledged):
    """Debit until killed, announcing each debit once the ledger has it."""
    ACKNOWLEDGED[:] = [acknowledged]
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
                os.write(acknowledged, record(debit))


def run_until_killed(directory, seconds, after_first):
    """Return the debits of which a node heard before it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            node(directory, writing)
        except VaultError:
            traceback.print_exc()  # it should have been killed before anything fails
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
    Vault.open(directory, KEY).close()  # its creation is not what is attacked here
    heard = Counter()
    for kill in range(kills):
        # One in three dies while it starts, the others while they work.
        seconds, after_first = rng.uniform(0.0, SECONDS_ALIVE_MAX), kill % 3 > 0
        heard.update(set(run_until_killed(directory, seconds, after_first)))
    with Vault.open(directory, KEY) as vault:
        vault.ledger.verify_chain()
        stored = Counter(
            (e.study, e.round_number) for e in vault.ledger.entries() if isinstance(e, Debit)
        )
    left = stored | heard  # what may have left, as often as it did
    spent = Counter()
    for (study, _), times in left.items():
        spent[study] += times
    return {
        "acknowledged": heard.total(),
        "forgotten": len(heard.keys() - stored.keys()),
        "unacknowledged": len(stored.keys() - heard.keys()),
        "overspent": sum(RHO * times > RHO_MAX * (1 + 1e-9) for times in spent.values()),
        "repeated": sum(times > 1 for times in left.values()),
    }


if __name__ == "__main__":
    NODES[sys.argv[3]]()
    sys.stdout.write(json.dumps(drive(Path(sys.argv[1]), int(sys.argv[2]))))
