"""A stolen disk tells nothing, and other users of the machine read no file of the node."""

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pnyx.node.keystore import Argon2Cost, KeyFile, NodeLayout, Passphrase, create, open_keys
from pnyx.vault import RoundStore, StudyRequest, Vault
from pnyx.vault.importers import import_file, parse_mapping

CANARIES = [
    b"canary-category",
    b"canary_column",
    b"canary-value",
    b"canary-purpose",
    b"canary-name",
]
MAPPING = {
    "category": "canary_category",
    "columns": {"canary_column": {"type": "text"}, "n": {"type": "float"}},
}
STUDY = b"canary-study".ljust(32, b".")


def live(root, unlocking):
    """Make a node, use everything it stores, and leave it running."""
    layout = NodeLayout(root / "deep" / "node")
    keys = create(layout, unlocking)
    vault = Vault.open(layout.vault, keys.vault_key)
    export = root / "data.csv"
    export.write_text("canary_column,n\n" + "canary-value,3.14159\n" * 2000)
    import_file(vault.collections, export, parse_mapping(MAPPING), 0.0)
    export.unlink()
    request = StudyRequest(
        study=STUDY,
        purpose="canary-purpose",
        columns={"canary-category": ("canary_column",)},
        epsilon=9.0,
        rounds=99,
    )
    vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=9.0)
    vault.ledger.debit(STUDY, 1, 0, phase="canary-name", bytes_planned=1, rho=0.1, now=1.0)
    store = RoundStore(layout.rounds, keys.rounds_key)
    store.apply([("round/ab/1/canary-name", b"canary-value" * 10), ("chain/canary-name", b"x")])
    return layout, keys, vault, store


def files_of(layout):
    return [path for path in layout.root.rglob("*") if path.is_file()]


def test_plaintext_on_disk(tmp_path):
    unlocking = Passphrase("canary-passphrase", Argon2Cost(1, 64, 1))
    layout, keys, vault, store = live(tmp_path, unlocking)
    secrets = [keys.signing_seed, keys.vault_key, keys.rounds_key]
    encodings = (bytes, lambda s: s.hex().encode(), base64.b64encode)
    forms = [encode(secret) for secret in secrets for encode in encodings]
    while_running = {path: path.read_bytes() for path in files_of(layout)}
    assert any(path.name == "vault.db-wal" for path in while_running)
    vault.close()
    store.close()
    for contents in (while_running, {path: path.read_bytes() for path in files_of(layout)}):
        for path, content in contents.items():
            for canary in [*CANARIES, b"canary", STUDY, *forms]:
                assert canary not in content, path
    assert not while_running[layout.vault / "vault.db"].startswith(b"SQLite format 3")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_files_readable_by_others(tmp_path, umask):
    """Files are private from the moment they are made, whatever the umask, and stay usable."""
    subprocess.run([sys.executable, __file__, str(tmp_path), str(umask)], check=True)
    layout = NodeLayout(tmp_path / "deep" / "node")
    names = {path.name for path in files_of(layout)}
    assert {"keystore.json", "vault.db", "vault.anchor", "vault.db-wal", "lock"} <= names
    for path in layout.root.rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert open_keys(layout, KeyFile(tmp_path / "node.key"))


def test_files_created_open_and_closed_later(tmp_path, monkeypatch):
    """No file is created with a mode that others could use before it is corrected."""
    modes = []
    real = os.open

    def spy(path, flags, mode=0o777, **options):
        if flags & os.O_CREAT:
            modes.append((str(path), mode))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", spy)
    _, _, vault, store = live(tmp_path, KeyFile(tmp_path / "node.key"))
    vault.close()
    store.close()
    ours = [(path, mode) for path, mode in modes if "node" in path]
    assert len(ours) >= 6
    assert all(mode == 0o600 for _, mode in ours), ours


if __name__ == "__main__":
    os.umask(int(sys.argv[2]))
    root = Path(sys.argv[1])
    *_, opened_vault, opened_store = live(root, KeyFile(root / "node.key"))
    os._exit(0)
