"""A bit flipped anywhere on the disk is refused, or changes nothing: never a silent lie.

A vault whose pages carry no HMAC, histories whose hashes nobody looks at, and journals whose
records and marks nobody checks read lies.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sqlcipher3.dbapi2 as sqlcipher
from tests.support.weakened import succeeds, weaken

from pnyx.errors import VaultError
from pnyx.vault import RoundStore, StudyRequest, Vault, chain, database, journal
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
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(arguments, check=request.param == "closed", env=os.environ | root)
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


class Unauthenticated:
    """The weak cipher: it hides nothing and checks nothing; lengths are those of AES-GCM."""

    def __init__(self, key: bytes) -> None:
        pass

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return data + bytes(16)

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return data[:-16]


def test_the_authentication_of_records_is_the_defence(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "AESGCM", Unauthenticated)
    assert succeeds(test_flipped_bit_in_the_round_store, tmp_path, 20)


def weak_vault(directory, monkeypatch, connection):
    """A filled vault that is written and read through another kind of connection."""
    connect = sqlcipher.connect
    monkeypatch.setattr(
        database.sqlcipher, "connect", lambda *args, **terms: connection(connect(*args, **terms))
    )
    with Vault.open(directory, KEY) as opened:
        fill(opened)


class WithoutHmac:
    """The weak database: its pages are encrypted, and nothing tells whether they were altered."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *parameters):
        found = self._connection.execute(statement, *parameters)
        if statement.startswith("PRAGMA key"):
            self._connection.execute("PRAGMA cipher_use_hmac = OFF")
        return found


def test_the_hmac_of_pages_is_the_defence(tmp_path, monkeypatch):
    weak_vault(tmp_path / "kept", monkeypatch, WithoutHmac)
    with pytest.raises((AssertionError, sqlcipher.Error, msgspec.DecodeError)):
        trials(tmp_path / "kept", tmp_path / "copy", 60, content_of_copy)


def test_the_hashes_of_histories_are_a_defence_of_their_own(tmp_path, monkeypatch):
    """An entry that somebody altered within the database, whose pages are right."""
    with Vault.open(tmp_path / "kept", KEY) as opened:
        fill(opened)
        (body,) = opened._database.query(
            "SELECT body FROM chain_entries WHERE chain = 'ledger' AND sequence = 1"
        )[0]
        with opened._database.transaction() as connection:
            connection.execute(
                "UPDATE chain_entries SET body = ? WHERE chain = 'ledger' AND sequence = 1",
                (body.replace(msgspec.msgpack.encode(0.1), msgspec.msgpack.encode(0.0)),),
            )
    with pytest.raises(VaultError, match="was altered at entry 1"):
        Vault.open(tmp_path / "kept", KEY)
    weaken(
        monkeypatch,
        chain,
        ("if sequence != entries or stored != head:", "if False:"),
        ("if stored_head != ([(entries, head)] if entries else []):", "if False:"),
    )
    with Vault.open(tmp_path / "kept", KEY) as opened:
        assert opened.ledger.spent(STUDY).rho < 0.55, "one debit of six is free"


def test_the_mark_is_the_defence_against_a_cut_end(tmp_path, monkeypatch):
    checked = "if not _HEADER_BYTES <= acknowledged <= len(data):"
    reported = "if position < acknowledged:"
    weaken(monkeypatch, journal, (checked, "if False:"), (reported, "if False:"))
    assert succeeds(test_truncated_round_store, tmp_path, "chain.journal")


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
