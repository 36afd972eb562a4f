"""A bit flipped anywhere on the disk is refused, or changes nothing: never a silent lie."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pnyx.errors import VaultError
from pnyx.vault import RoundStore, StudyRequest, Vault
from pnyx.vault.collections import Column, SourceFile

KEY = bytes(range(32))
STUDY = b"s" * 32
COUNTS = [120, pytest.param(10_000, marks=pytest.mark.full)]


def fill(vault):
    request = StudyRequest(study=STUDY, purpose="p", columns={"a": ("x",)}, epsilon=9.0, rounds=20)
    vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=9.0)
    rows = [(float(i), f"text {i}") for i in range(300)]
    columns = (Column("x", "float"), Column("t", "text"))
    vault.collections.add("a", columns, SourceFile("f", "csv", bytes(32), 1), rows, 0.0)
    for round_number in range(6):
        vault.ledger.debit(STUDY, round_number, 0, phase="p", bytes_planned=1, rho=0.1, now=1.0)
    vault.consents.withdraw(STUDY, 2.0)


def content(directory):
    with Vault.open(directory, KEY) as vault:
        data = vault.collections.columns("a", ["x", "t"])
        vault.ledger.verify_chain()
        return (
            vault.consents.history(),
            vault.ledger.entries(),
            vault.collections.list(),
            data["x"].tolist(),
            data["t"].tolist(),
        )


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def trials(original, copy, count, read):
    """Flip one random bit of a fresh copy, `count` times; return how many flips were refused."""
    expected = read(original)
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(count):
        shutil.copytree(original, copy)
        files = sorted(path for path in copy.iterdir() if path.stat().st_size)
        path = files[rng.integers(len(files))]
        flip(path, int(rng.integers(8 * path.stat().st_size)))
        try:
            assert read(copy) == expected, path
        except VaultError:
            refused += 1
        shutil.rmtree(copy)
    return refused


@pytest.fixture(params=["closed", "killed"])
def directory(tmp_path, request):
    """A vault closed in order, or left behind by a killed process with its log unfolded."""
    arguments = [sys.executable, __file__, str(tmp_path / "vault"), request.param]
    subprocess.run(arguments, check=request.param == "closed")
    names = {path.name for path in (tmp_path / "vault").iterdir()}
    assert ("vault.db-wal" in names) == (request.param == "killed")
    return tmp_path / "vault"


@pytest.mark.parametrize("count", COUNTS)
def test_flipped_bit_in_the_vault(tmp_path, directory, count):
    shutil.copytree(directory, tmp_path / "kept")
    assert content(directory)
    assert trials(tmp_path / "kept", tmp_path / "copy", count, content_of_copy) > count // 10


def content_of_copy(directory):
    """Read a copy, since opening folds the log of a killed vault into its database."""
    twin = directory.with_name("twin")
    shutil.copytree(directory, twin)
    try:
        return content(twin)
    finally:
        shutil.rmtree(twin)


@pytest.mark.parametrize("count", COUNTS)
def test_flipped_bit_in_the_round_store(tmp_path, count):
    store = RoundStore(tmp_path / "rounds", KEY)
    for number in range(8):
        store.apply([(f"round/ab/{number % 2}/{number}", bytes(200)), ("chain/x", b"%d" % number)])
    store.close()
    (tmp_path / "rounds" / "lock").unlink()
    shutil.copytree(tmp_path / "rounds", tmp_path / "kept")

    def read(directory):
        opened = RoundStore(directory, KEY)
        try:
            return opened.load()
        finally:
            opened.close()
            (directory / "lock").unlink()

    refused = trials(tmp_path / "kept", tmp_path / "copy", count, read)
    assert refused == count  # every bit of these files matters


@pytest.mark.parametrize("name", ["round.ab.0.journal", "chain.journal"])
def test_truncated_round_store(tmp_path, name):
    """The end of a journal that was acknowledged cannot go missing unseen."""
    store = RoundStore(tmp_path / "rounds", KEY)
    store.apply([("round/ab/0/x", bytes(50)), ("chain/x", bytes(50))])
    store.close()
    whole = (tmp_path / "rounds" / name).read_bytes()
    for length in range(0, len(whole), 4):
        (tmp_path / "rounds" / name).write_bytes(whole[:length])
        opened = RoundStore(tmp_path / "rounds", KEY)
        with pytest.raises(VaultError, match="is damaged"):
            opened.load()
        opened.close()


if __name__ == "__main__":
    opened = Vault.open(Path(sys.argv[1]), KEY)
    fill(opened)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    opened.close()
