import json
import stat
import sys
import types

import pytest

from pnyx.errors import KeystoreError
from pnyx.node.keystore import (
    Argon2Cost,
    KeyFile,
    Keys,
    NodeLayout,
    Passphrase,
    SystemKeyring,
    create,
    open_keys,
)

CHEAP = Argon2Cost(passes=1, memory_kib=64, lanes=1)


@pytest.fixture
def layout(tmp_path):
    return NodeLayout(tmp_path / "node")


@pytest.fixture
def passphrase():
    return Passphrase("correct horse", CHEAP)


class FakeKeyringError(Exception):
    pass


@pytest.fixture
def system_keyring(monkeypatch):
    entries = {}
    errors = types.SimpleNamespace(KeyringError=FakeKeyringError)
    fake = types.SimpleNamespace(
        errors=errors,
        set_password=lambda service, name, secret: entries.update({(service, name): secret}),
        get_password=lambda service, name: entries.get((service, name)),
    )
    monkeypatch.setitem(sys.modules, "keyring", fake)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    fake.entries = entries
    return fake


def test_the_same_keys_come_back(layout, passphrase):
    keys = create(layout, passphrase)
    again = open_keys(layout, Passphrase("correct horse"))
    assert again == keys
    secrets = {keys.signing_seed, keys.vault_key, keys.rounds_key}
    assert len(secrets) == 3
    assert all(len(secret) == 32 for secret in secrets)


def test_the_default_cost_follows_rfc_9106(layout):
    create(layout, Passphrase("correct horse"))
    stored = json.loads(layout.keystore.read_text())
    assert stored["argon2"] == {"passes": 3, "memory_kib": 65536, "lanes": 4}


def test_two_nodes_share_nothing(tmp_path, passphrase):
    one = create(NodeLayout(tmp_path / "1"), passphrase)
    two = create(NodeLayout(tmp_path / "2"), passphrase)
    assert {one.signing_seed, one.vault_key}.isdisjoint({two.signing_seed, two.vault_key})


def test_a_wrong_passphrase_is_told_from_damage(layout, passphrase):
    create(layout, passphrase)
    with pytest.raises(KeystoreError, match=r"The passphrase is wrong for .*; try again"):
        open_keys(layout, Passphrase("wrong horse"))
    text = layout.keystore.read_text()
    layout.keystore.write_text(text.replace('"lanes": 1', '"lanes": 2'))
    with pytest.raises(KeystoreError, match="is damaged; put back a copy"):
        open_keys(layout, passphrase)


def test_any_flipped_byte_is_damage(layout, passphrase):
    create(layout, passphrase)
    content = layout.keystore.read_bytes()
    for position in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[position] ^= 1
        layout.keystore.write_bytes(flipped)
        try:
            keys = open_keys(layout, passphrase)
        except KeystoreError:
            continue
        layout.keystore.write_bytes(content)
        assert keys == open_keys(layout, passphrase), position  # a space became another


def test_a_forged_checksum_does_not_help(layout, passphrase):
    from pnyx.node import keystore

    create(layout, passphrase)
    stored = keystore._read(layout.keystore)
    layout.keystore.unlink()
    forged = keystore.msgspec.structs.replace(stored, seed_sealed=bytes(48))
    keystore._write(layout.keystore, forged)
    with pytest.raises(KeystoreError, match="is damaged"):
        open_keys(layout, passphrase)


def test_a_missing_keystore(layout, passphrase):
    with pytest.raises(KeystoreError, match="is missing; create it with `init`"):
        open_keys(layout, passphrase)
    layout.make()
    layout.keystore.mkdir()
    with pytest.raises(KeystoreError, match="cannot be read"):
        open_keys(layout, passphrase)


def test_an_existing_keystore_is_never_overwritten(layout, passphrase):
    keys = create(layout, passphrase)
    with pytest.raises(KeystoreError, match="exists already; open it"):
        create(layout, passphrase)
    assert open_keys(layout, passphrase) == keys


def test_an_empty_passphrase_is_refused():
    with pytest.raises(KeystoreError, match="empty; choose a longer one"):
        Passphrase("")


def test_a_key_file(tmp_path, layout):
    unlocking = KeyFile(tmp_path / "node.key")
    keys = create(layout, unlocking)
    assert open_keys(layout, unlocking) == keys
    assert stat.S_IMODE(unlocking.path.stat().st_mode) == 0o600
    other = NodeLayout(tmp_path / "other")
    assert create(other, unlocking) != keys
    unlocking.path.write_text("ff" * 32)
    with pytest.raises(KeystoreError, match="The key file does not belong"):
        open_keys(layout, unlocking)
    for wrong in ("ff" * 31, "not hexadecimal"):
        unlocking.path.write_text(wrong)
        with pytest.raises(KeystoreError, match="is not a key: it must be 64 hexadecimal digits"):
            open_keys(layout, unlocking)
    unlocking.path.unlink()
    with pytest.raises(KeystoreError, match=r"node\.key is missing"):
        open_keys(layout, unlocking)


def test_files_that_others_may_read_are_refused(tmp_path, layout):
    unlocking = KeyFile(tmp_path / "node.key")
    create(layout, unlocking)
    unlocking.path.chmod(0o640)
    with pytest.raises(KeystoreError, match=r"read the key file .* \(mode 0640\); run `chmod 600"):
        open_keys(layout, unlocking)
    unlocking.path.chmod(0o600)
    layout.keystore.chmod(0o604)
    with pytest.raises(KeystoreError, match="read the keystore"):
        open_keys(layout, unlocking)


def test_another_unlocking_method_is_named(tmp_path, layout, passphrase):
    create(layout, passphrase)
    with pytest.raises(KeystoreError, match="unlocked by a passphrase, not by a key-file"):
        open_keys(layout, KeyFile(tmp_path / "node.key"))


def test_the_system_keyring(layout, system_keyring):
    keys = create(layout, SystemKeyring())
    assert open_keys(layout, SystemKeyring()) == keys
    name = next(iter(system_keyring.entries))
    system_keyring.entries[name] = "00" * 32
    with pytest.raises(KeystoreError, match="holds another key"):
        open_keys(layout, SystemKeyring())
    system_keyring.entries[name] = "zz"
    with pytest.raises(KeystoreError, match="entry for this node is not a key"):
        open_keys(layout, SystemKeyring())
    system_keyring.entries.clear()
    with pytest.raises(KeystoreError, match="has no key for this node"):
        open_keys(layout, SystemKeyring())


def test_a_machine_without_keyring(layout, system_keyring, tmp_path):
    def fail(*_arguments):
        raise FakeKeyringError("no backend\nfound")

    system_keyring.set_password = fail
    with pytest.raises(KeystoreError, match=r"\(no backend found\); use a passphrase instead"):
        create(layout, SystemKeyring())
    system_keyring.set_password = lambda *_: None
    system_keyring.get_password = fail
    with pytest.raises(KeystoreError, match="use a passphrase instead"):
        create(NodeLayout(tmp_path / "other"), SystemKeyring())


def test_a_directory_that_cannot_be_written(layout, passphrase, monkeypatch):
    def fail(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pnyx.node.keystore.create_private_file", fail)
    with pytest.raises(KeystoreError, match="cannot be created: no space left on device"):
        create(layout, passphrase)


def test_secrets_have_no_telling_repr(layout, passphrase):
    keys = create(layout, passphrase)
    assert repr(keys) == "Keys(...)"
    assert repr(passphrase) == "Passphrase(...)"


def test_the_layout_is_one_private_directory(layout):
    layout.make()
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700
    for path in (layout.keystore, layout.config, layout.certificate, layout.vault, layout.rounds):
        assert path.parent == layout.root


def test_what_fails_before_the_keystore_leaves_no_directory(layout, passphrase):
    def fail(_keys: Keys) -> None:
        raise KeystoreError("The disk is full.")

    with pytest.raises(KeystoreError, match="disk is full"):
        create(layout, passphrase, fail)
    assert not layout.root.exists()
    layout.make()
    with pytest.raises(KeystoreError, match="disk is full"):
        create(layout, passphrase, fail)
    create(layout, passphrase)  # the directory was the owner's, and can still become a node
