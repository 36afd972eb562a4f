"""The keys of a node at rest, and where its files lie.

A random 32-byte *master key* is drawn once. `keystore.json` holds it, sealed under the key of one
of three unlocking methods:

    Passphrase     Argon2id (RFC 9106) over what the owner types; the normal way
    SystemKeyring  32 random bytes kept by the operating system's keyring
    KeyFile        32 random bytes in a file of mode 0600: for unattended test networks only, since
                   whoever copies the disk holds the key too

Everything else derives from the master key with HKDF under its own label: the key of the vault, the
key of the round store, and the one that seals the Ed25519 signing seed, also in `keystore.json`.
The seed is random rather than derived, so that it can move to another keystore.

A checksum over the file tells damage from a wrong passphrase. It guards against accidents only:
each sealed field is authenticated on its own, with the other fields as associated data.
"""

import binascii
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from pnyx.errors import KeystoreError
from pnyx.vault.files import (
    create_private_file,
    describe,
    make_private_directory,
    sync_directory,
    write_all,
)

KEY_BYTES = 32
KEYSTORE_BYTES_MAX = 64 * 1024
KEYRING_SERVICE = "pnyx"
_NONCE_BYTES = 12
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Argon2Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Work that one guess of the passphrase takes; the default is RFC 9106's second choice.

    The bounds keep a damaged file from asking for all the memory there is.
    """

    passes: Annotated[int, Meta(ge=1, le=64)] = 3
    memory_kib: Annotated[int, Meta(ge=8, le=4 * 1024 * 1024)] = 64 * 1024
    lanes: Annotated[int, Meta(ge=1, le=64)] = 4


class Passphrase:
    """Unlock with what the owner remembers."""

    method: Final = "passphrase"

    def __init__(self, text: str, cost: Argon2Cost | None = None) -> None:
        """`cost` matters when a keystore is created; an existing one states its own."""
        if not text:
            raise KeystoreError("The passphrase is empty; choose a longer one.")
        self.text = text
        self.cost = cost or Argon2Cost()

    def __repr__(self) -> str:
        return "Passphrase(...)"


class KeyFile:
    """Unlock with a file that holds 32 random bytes in hexadecimal."""

    method: Final = "key-file"

    def __init__(self, path: Path) -> None:
        self.path = path


class SystemKeyring:
    """Unlock with the keyring of the operating system."""

    method: Final = "keyring"


Unlocking = Passphrase | KeyFile | SystemKeyring


class Keys(msgspec.Struct, frozen=True):
    """The secrets of a running node, 32 bytes each."""

    signing_seed: bytes
    vault_key: bytes
    rounds_key: bytes

    def __repr__(self) -> str:
        return "Keys(...)"


class NodeLayout(msgspec.Struct, frozen=True):
    """Where the files of a node lie."""

    root: Path

    @property
    def keystore(self) -> Path:
        """Sealed keys."""
        return self.root / "keystore.json"

    @property
    def config(self) -> Path:
        """Settings, see `pnyx.config`."""
        return self.root / "pnyx.toml"

    @property
    def certificate(self) -> Path:
        """Certificate that the authority issued to this node."""
        return self.root / "certificate.pem"

    @property
    def vault(self) -> Path:
        """Directory of the encrypted database."""
        return self.root / "vault"

    @property
    def rounds(self) -> Path:
        """Directory of the round store; belongs in no backup."""
        return self.root / "rounds"

    @property
    def parcels(self) -> Path:
        """Directory of large bytes that the protocol keeps; belongs in no backup."""
        return self.root / "parcels"

    def make(self) -> None:
        """Create the node directory with mode 0700. Raises VaultError when that fails."""
        make_private_directory(self.root)


class _Keystore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Content of `keystore.json`; byte fields are base64. `salt` also names a keyring entry."""

    version: Literal[1]
    method: Literal["passphrase", "key-file", "keyring"]
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    argon2: Argon2Cost
    master_nonce: Annotated[bytes, Meta(min_length=_NONCE_BYTES, max_length=_NONCE_BYTES)]
    master_sealed: Annotated[bytes, Meta(min_length=48, max_length=48)]
    seed_nonce: Annotated[bytes, Meta(min_length=_NONCE_BYTES, max_length=_NONCE_BYTES)]
    seed_sealed: Annotated[bytes, Meta(min_length=48, max_length=48)]
    checksum: str = ""

    def unlocked_by(self) -> bytes:
        """What the sealed master key is bound to."""
        return msgspec.msgpack.encode([self.version, self.method, self.salt, self.argon2])


def create(
    layout: NodeLayout, unlocking: Unlocking, write_others: Callable[[Keys], None] | None = None
) -> Keys:
    """Draw the keys of a new node and store them, durably. Raises KeystoreError.

    An existing keystore is never overwritten: its keys are the only way into its vault.
    write_others: writes the files that follow from the keys. The keystore comes last, so whatever
    stops this function, it can be called again. A directory that it made is gone if it fails.
    """
    if layout.keystore.exists():
        raise KeystoreError(
            f"{layout.keystore} exists already; open it, or choose another directory."
        )
    is_new = not layout.root.exists()
    layout.make()
    try:
        return _create(layout, unlocking, write_others)
    except BaseException:
        if is_new:
            shutil.rmtree(layout.root, ignore_errors=True)
        raise


def _create(
    layout: NodeLayout, unlocking: Unlocking, write_others: Callable[[Keys], None] | None
) -> Keys:
    cost = unlocking.cost if isinstance(unlocking, Passphrase) else Argon2Cost()
    salt, master, seed = secrets.token_bytes(16), secrets.token_bytes(32), secrets.token_bytes(32)
    master_nonce, seed_nonce = secrets.token_bytes(_NONCE_BYTES), secrets.token_bytes(_NONCE_BYTES)
    _draw_unlocking_secret(unlocking, salt)
    draft = _Keystore(
        version=1,
        method=unlocking.method,
        salt=salt,
        argon2=cost,
        master_nonce=master_nonce,
        master_sealed=bytes(48),
        seed_nonce=seed_nonce,
        seed_sealed=bytes(48),
    )
    unlocking_key = _unlocking_key(unlocking, draft)
    stored = msgspec.structs.replace(
        draft,
        master_sealed=AESGCM(unlocking_key).encrypt(master_nonce, master, draft.unlocked_by()),
        seed_sealed=AESGCM(_derive(master, "seed")).encrypt(seed_nonce, seed, salt),
    )
    keys = _keys(master, seed)
    if write_others is not None:
        write_others(keys)
    _write(layout.keystore, stored)
    return keys


def open_keys(layout: NodeLayout, unlocking: Unlocking) -> Keys:
    """Return the keys of a node. Raises KeystoreError, saying what is wrong."""
    stored = _read(layout.keystore)
    if stored.method != unlocking.method:
        raise KeystoreError(
            f"{layout.keystore} is unlocked by a {stored.method}, not by a {unlocking.method}."
        )
    try:
        master = AESGCM(_unlocking_key(unlocking, stored)).decrypt(
            stored.master_nonce, stored.master_sealed, stored.unlocked_by()
        )
    except InvalidTag as error:
        raise KeystoreError(_WRONG_SECRET[stored.method].format(layout.keystore)) from error
    try:
        seed = AESGCM(_derive(master, "seed")).decrypt(
            stored.seed_nonce, stored.seed_sealed, stored.salt
        )
    except InvalidTag as error:
        raise _damaged(layout.keystore) from error
    return _keys(master, seed)


_WRONG_SECRET = {
    "passphrase": "The passphrase is wrong for {}; try again.",
    "key-file": "The key file does not belong to {}; name the one made with it.",
    "keyring": "The system keyring holds another key than {}; restore the keyring's entry.",
}


def _keys(master: bytes, seed: bytes) -> Keys:
    return Keys(
        signing_seed=seed,
        vault_key=_derive(master, "vault"),
        rounds_key=_derive(master, "rounds"),
    )


def _derive(master: bytes, label: str) -> bytes:
    info = b"pnyx/keystore/" + label.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master)


def _unlocking_key(unlocking: Unlocking, stored: _Keystore) -> bytes:
    """Return the 32-byte key that seals the master key."""
    match unlocking:
        case Passphrase():
            return hash_secret_raw(
                unlocking.text.encode(),
                stored.salt,
                time_cost=stored.argon2.passes,
                memory_cost=stored.argon2.memory_kib,
                parallelism=stored.argon2.lanes,
                hash_len=KEY_BYTES,
                type=Type.ID,
            )
        case KeyFile():
            return _read_key_file(unlocking.path)
        case SystemKeyring():
            return _read_keyring(stored.salt)


def _draw_unlocking_secret(unlocking: Unlocking, salt: bytes) -> None:
    """Create the key file, or the keyring's entry; an existing key file is used as it is."""
    match unlocking:
        case KeyFile():
            if not unlocking.path.exists():
                _create_file(unlocking.path, secrets.token_bytes(KEY_BYTES).hex().encode())
        case SystemKeyring():
            _write_keyring(salt)


def _read_key_file(path: Path) -> bytes:
    missing = "name the key file that its keystore was made with"
    return _from_hexadecimal(_read_private(path, "the key file", missing), str(path))


def _write_keyring(salt: bytes) -> None:
    import keyring  # loads a good part of the desktop's libraries
    import keyring.errors

    try:
        keyring.set_password(KEYRING_SERVICE, salt.hex(), secrets.token_bytes(KEY_BYTES).hex())
    except keyring.errors.KeyringError as error:
        raise _no_keyring(error) from error


def _read_keyring(salt: bytes) -> bytes:
    import keyring
    import keyring.errors

    try:
        text = keyring.get_password(KEYRING_SERVICE, salt.hex())
    except keyring.errors.KeyringError as error:
        raise _no_keyring(error) from error
    if text is None:
        raise KeystoreError(
            "The system keyring has no key for this node; log in as the user who created it."
        )
    return _from_hexadecimal(text.encode(), "The system keyring's entry for this node")


def _from_hexadecimal(content: bytes, what: str) -> bytes:
    try:
        key = binascii.unhexlify(content.strip())
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeystoreError(
            f"{what} is not a key: it must be {2 * KEY_BYTES} hexadecimal digits; "
            "name another, or put back a copy of it."
        )
    return key


def _no_keyring(error: Exception) -> KeystoreError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return KeystoreError(f"The system keyring cannot be used ({reason}); use a passphrase instead.")


def _read(path: Path) -> _Keystore:
    missing = "create it with `init` first, or name its directory with --dir"
    content = _read_private(path, "the keystore", missing)
    try:
        stored = msgspec.json.decode(content, type=_Keystore)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(path) from error
    if stored.checksum != _checksum(stored):
        raise _damaged(path)
    return stored


def _read_private(path: Path, what: str, missing: str) -> bytes:
    """Read a bounded file that nobody else may read; missing: what to do when it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            content = file.read(KEYSTORE_BYTES_MAX)
    except FileNotFoundError as error:
        raise KeystoreError(f"{path} is missing; {missing}.") from error
    except OSError as error:
        raise KeystoreError(
            f"{path} cannot be read: {describe(error)}; check its path and permissions."
        ) from error
    if mode & _READABLE_BY_OTHERS:
        raise KeystoreError(
            f"Other users may read {what} {path} (mode {mode & 0o777:04o}); "
            f"run `chmod 600 {path}`, and make new keys if they may have."
        )
    return content


def _write(path: Path, stored: _Keystore) -> None:
    sealed = msgspec.structs.replace(stored, checksum=_checksum(stored))
    _create_file(path, msgspec.json.format(msgspec.json.encode(sealed)) + b"\n")


def _create_file(path: Path, content: bytes) -> None:
    """Create a private file whole or not at all, never over an existing one."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = create_private_file(draft)
        try:
            write_all(descriptor, content, 0)
            os.fsync(descriptor)
            path.hardlink_to(draft)  # unlike a rename, fails when the file exists
        finally:
            os.close(descriptor)
            draft.unlink()
        sync_directory(path.parent)
    except OSError as error:
        raise KeystoreError(
            f"{path} cannot be created: {describe(error)}; free some space, or choose a place "
            "where you may write."
        ) from error


def _checksum(stored: _Keystore) -> str:
    bare = msgspec.structs.replace(stored, checksum="")
    return hashlib.sha256(msgspec.json.encode(bare)).hexdigest()


def _damaged(path: Path) -> KeystoreError:
    return KeystoreError(
        f"{path} is damaged; put back a copy of it: there is no other way to its keys."
    )
