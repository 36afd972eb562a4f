"""An older copy of the vault brings back no spent budget and no withdrawn consent."""

import shutil

import pytest
from tests.support.weakened import weaken

from pnyx.errors import VaultError
from pnyx.vault import StudyRequest, Vault, database

KEY = bytes(range(32))
STUDY = b"s" * 32


def accepted_vault(directory):
    vault = Vault.open(directory, KEY)
    request = StudyRequest(study=STUDY, purpose="p", columns={"a": ("x",)}, epsilon=9.0, rounds=1)
    vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=9.0)
    return vault


def debit(vault, now=1.0):
    vault.ledger.debit(STUDY, 1, 0, phase="p", bytes_planned=1, rho=0.1, now=now)


def put_back(directory, happened):
    """An older database lies where something happened since."""
    backup = directory.with_name("backup")
    accepted_vault(directory).close()
    shutil.copytree(directory, backup)
    with Vault.open(directory, KEY) as vault:
        if happened == "debit":
            debit(vault)
        else:
            vault.consents.withdraw(STUDY, 1.0)
    shutil.copy(backup / "vault.db", directory / "vault.db")


@pytest.mark.parametrize("happened", ["debit", "withdrawal"])
def test_vault_put_back_from_a_copy(tmp_path, happened):
    directory = tmp_path / "vault"
    put_back(directory, happened)
    with pytest.raises(VaultError, match="is older than it was"):
        Vault.open(directory, KEY)


@pytest.mark.parametrize("happened", ["debit", "withdrawal"])
def test_the_anchor_is_the_defence(tmp_path, monkeypatch, happened):
    weaken(monkeypatch, database, ("if transactions < self._anchor.transactions:", "if False:"))
    put_back(tmp_path / "vault", happened)
    with Vault.open(tmp_path / "vault", KEY) as vault:
        debit(vault)  # for the second time, or against the owner's will


def test_write_ahead_log_removed(tmp_path):
    """Without its log, the database of a killed node is an older one, valid to the last bit."""
    directory, survivor = tmp_path / "vault", tmp_path / "survivor"
    vault = accepted_vault(directory)
    debit(vault)
    shutil.copytree(directory, survivor)
    vault.close()
    Vault.open(shutil.copytree(survivor, tmp_path / "whole"), KEY).close()
    (survivor / "vault.db-wal").unlink()
    with pytest.raises(VaultError, match=r"older than it was|is damaged"):
        Vault.open(survivor, KEY)
