"""One encrypted append-only file under a key of its own, which can be destroyed.

Two files. `NAME.key` holds 32 random bytes and is written once; `NAME.journal` holds a header and
records. Records are sealed with AES-256-GCM under a key derived from the node's key, the random
bytes, the journal's salt and its scope; the associated data is the record's number. So a record
cannot be read without both keys, nor moved, swapped or dropped. Nonces are random: a counter would
be used twice when a torn record is dropped and its place is written again.

    key      magic 8 | random 32 | mac 16
    journal  magic 8 | salt 16 | acknowledged length 8 | crc 4 | zeros | record | record ...
    record   length 4 | nonce 12 | ciphertext | tag 16

**Torn or damaged?** After a record is durable, the header's acknowledged length is moved behind it
(without waiting for the disk: the next record's flush carries it). A bad record beyond that length
was never acknowledged: it is a torn write, and is dropped. A bad byte before it is damage, and is
refused loudly. After a power loss the mark may lag by one record, never lead.

**Order.** The empty journal, then the key, then their directory are durable before the first
record. `destroy` overwrites the key in place and flushes it before anything is unlinked; a zero key
is a destroyed journal wherever a crash leaves the rest. Flash storage and copy-on-write file
systems may keep an old copy of the overwritten sector out of reach: the node's key, mixed in,
is then what protects it.
"""

import hmac
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pnyx.errors import VaultError
from pnyx.primitives.hashing import digest
from pnyx.vault.files import create_private_file, describe, sync_directory, write_all

RECORD_BYTES_MAX = 64 * 1024 * 1024

_KEY_MAGIC = b"PNYXKEY1"
_JOURNAL_MAGIC = b"PNYXJNL1"
_RANDOM_BYTES = 32
_KEY_MAC_BYTES = 16
_KEY_FILE_BYTES = len(_KEY_MAGIC) + _RANDOM_BYTES + _KEY_MAC_BYTES
_SALT_BYTES = 16
_MARK_OFFSET = len(_JOURNAL_MAGIC) + _SALT_BYTES
_MARK = struct.Struct("<QI")
_HEADER_BYTES = 64
_LENGTH = struct.Struct("<I")
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Journal:
    """An open journal; use `Journal.create` or `Journal.open`, then `records` once."""

    def __init__(self, directory: Path, name: str, descriptor: int, random: bytes) -> None:
        self._directory = directory
        self._name = name
        self._descriptor = descriptor
        self._random = random
        self._records = 0
        self._end = _HEADER_BYTES
        self._failed = False
        self._cipher = AESGCM(bytes(_RANDOM_BYTES))
        self._salt = b""

    @classmethod
    def create(cls, directory: Path, name: str, node_key: bytes) -> "Journal":
        """Create an empty journal, durably."""
        random = secrets.token_bytes(_RANDOM_BYTES)
        try:
            descriptor = _create_journal_file(directory / f"{name}.journal")
            path = directory / f"{name}.key"
            content = _KEY_MAGIC + random + _key_mac(node_key, name, random)
            _write_durably(path.with_suffix(".key.new"), content)
            path.with_suffix(".key.new").rename(path)
            sync_directory(directory)
        except OSError as error:
            raise _io_error(directory, error) from error
        journal = cls(directory, name, descriptor, random)
        journal._derive(node_key)
        return journal

    @classmethod
    def open(cls, directory: Path, name: str, node_key: bytes) -> "Journal | None":
        """Open a journal; None when it was destroyed, or its creation never ended, and is gone now.

        Raises VaultError when a file is missing or damaged, or the node's key is another.
        """
        try:
            random = _read_key(directory, name, node_key)
            if random is None:
                (directory / f"{name}.journal").unlink(missing_ok=True)
                sync_directory(directory)
                (directory / f"{name}.key").unlink(missing_ok=True)
                return None
            descriptor = os.open(directory / f"{name}.journal", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _damaged(directory, name, "a file is missing") from error
        except OSError as error:
            raise _io_error(directory, error) from error
        journal = cls(directory, name, descriptor, random)
        journal._derive(node_key)
        return journal

    @property
    def size(self) -> int:
        """Bytes of the journal file."""
        return self._end

    def records(self) -> Iterator[bytes]:
        """Read all records from the start, check them, and drop a torn last one."""
        data = self._read_all()
        acknowledged = self._read_mark(data)
        position, index = _HEADER_BYTES, 0
        while position < len(data):
            record, following = self._open_record(data, position, index)
            if record is None:
                if position < acknowledged:
                    raise self._damage(f"record {index + 1} is not as it was written")
                break
            yield record
            position, index = following, index + 1
        self._records, self._end = index, position
        self._settle(torn=position < len(data))

    def append(self, record: bytes) -> None:
        """Add a record; durable when the call returns, absent if it raises for a full disk."""
        if len(record) > RECORD_BYTES_MAX:
            raise ValueError(f"a record of {len(record)} bytes exceeds {RECORD_BYTES_MAX}")
        if self._failed:
            raise VaultError(
                f"The round store in {self._directory} has stopped after a disk error; "
                "restart the node."
            )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, record, self._associated(self._records))
        framed = b"".join((_LENGTH.pack(_NONCE_BYTES + len(sealed)), nonce, sealed))
        try:
            write_all(self._descriptor, framed, self._end)
        except OSError as error:
            self._undo_partial_write()
            raise _io_error(self._directory, error) from error
        self._records += 1
        self._end += len(framed)
        self._flush()

    def destroy(self) -> None:
        """Make every record unreadable for ever, then remove both files."""
        path = self._directory / f"{self._name}.key"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                write_all(descriptor, bytes(_KEY_FILE_BYTES), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.close()
            (self._directory / f"{self._name}.journal").unlink()
            sync_directory(self._directory)  # a journal without its key would look like damage
            path.unlink()
        except OSError as error:
            raise _io_error(self._directory, error) from error

    def replace(self, records: Iterator[bytes], node_key: bytes) -> None:
        """Replace all records at once, under a new salt; the old ones stay if this fails."""
        path = self._directory / f"{self._name}.journal"
        try:
            draft_path = path.with_suffix(".journal.new")
            draft_path.unlink(missing_ok=True)
            draft = Journal(
                self._directory, self._name, _create_journal_file(draft_path), self._random
            )
            draft._derive(node_key)
            for record in records:
                draft.append(record)
            draft_path.rename(path)
            sync_directory(self._directory)
        except OSError as error:
            raise _io_error(self._directory, error) from error
        os.close(self._descriptor)
        self._descriptor, self._cipher, self._salt = draft._descriptor, draft._cipher, draft._salt
        self._records, self._end = draft._records, draft._end

    def close(self) -> None:
        """Close the file; the journal stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _derive(self, node_key: bytes) -> None:
        try:
            header = os.pread(self._descriptor, _HEADER_BYTES, 0)
        except OSError as error:
            self.close()
            raise _io_error(self._directory, error) from error
        self._salt = header[len(_JOURNAL_MAGIC) : _MARK_OFFSET]
        if not header.startswith(_JOURNAL_MAGIC) or len(header) < _HEADER_BYTES:
            self.close()
            raise self._damage("its header is not as it was written")
        scope = self._name.encode()
        key = digest("pnyx/vault/journal", node_key, self._random, self._salt, scope)
        self._cipher = AESGCM(key)

    def _open_record(self, data: bytes, position: int, index: int) -> tuple[bytes | None, int]:
        start = position + _LENGTH.size
        if start > len(data):
            return None, position
        (length,) = _LENGTH.unpack_from(data, position)
        end = start + length
        if length < _NONCE_BYTES + _TAG_BYTES or end > len(data):
            return None, position
        nonce, sealed = data[start : start + _NONCE_BYTES], data[start + _NONCE_BYTES : end]
        try:
            return self._cipher.decrypt(nonce, sealed, self._associated(index)), end
        except InvalidTag:
            return None, position

    def _associated(self, index: int) -> bytes:
        return index.to_bytes(8, "little")

    def _read_all(self) -> bytes:
        try:
            size = os.fstat(self._descriptor).st_size
            parts: list[bytes] = []
            done = 0
            while done < size:  # one call may read less: on Linux never more than 2 GiB
                part = os.pread(self._descriptor, size - done, done)
                if not part:
                    break
                parts.append(part)
                done += len(part)
            return b"".join(parts)
        except OSError as error:
            raise _io_error(self._directory, error) from error

    def _read_mark(self, data: bytes) -> int:
        acknowledged, checksum = _MARK.unpack_from(data, _MARK_OFFSET)
        padding = data[_MARK_OFFSET + _MARK.size : _HEADER_BYTES]
        if checksum != _mark_checksum(self._salt, acknowledged) or any(padding):
            raise self._damage("its header is not as it was written")
        if not _HEADER_BYTES <= acknowledged <= len(data):
            raise self._damage("its end is missing")
        return int(acknowledged)

    def _settle(self, *, torn: bool) -> None:
        """Make what was read the durable truth: cut a torn end, flush, acknowledge."""
        if torn:
            try:
                os.ftruncate(self._descriptor, self._end)
            except OSError as error:
                raise _io_error(self._directory, error) from error
        self._flush()

    def _flush(self) -> None:
        try:
            os.fdatasync(self._descriptor)
            write_all(self._descriptor, _mark(self._salt, self._end), _MARK_OFFSET)
        except OSError as error:
            # What reached the disk is unknown now, and a second flush could wrongly succeed.
            self._failed = True
            raise _io_error(self._directory, error) from error

    def _undo_partial_write(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self._failed = True

    def _damage(self, what: str) -> VaultError:
        return _damaged(self._directory, self._name, what)


def _create_journal_file(path: Path) -> int:
    descriptor = create_private_file(path)
    salt = secrets.token_bytes(_SALT_BYTES)
    header = _JOURNAL_MAGIC + salt + _mark(salt, _HEADER_BYTES)
    write_all(descriptor, header.ljust(_HEADER_BYTES, b"\0"), 0)
    os.fsync(descriptor)
    return descriptor


def _write_durably(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = create_private_file(path)
    try:
        write_all(descriptor, content, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_key(directory: Path, name: str, node_key: bytes) -> bytes | None:
    """Return the random bytes of a key file; None for a destroyed or never finished journal."""
    path = directory / f"{name}.key"
    if not path.exists():
        journal = (directory / f"{name}.journal").read_bytes()
        if len(journal) <= _HEADER_BYTES:
            return None  # a crash during creation: nothing was ever written to it
        raise _damaged(directory, name, "its key file is missing")
    content = path.read_bytes()
    if content == bytes(_KEY_FILE_BYTES):
        return None
    random = content[len(_KEY_MAGIC) :][:_RANDOM_BYTES]
    expected = _KEY_MAGIC + random + _key_mac(node_key, name, random)
    if not hmac.compare_digest(content, expected):
        raise _damaged(directory, name, "its key file is damaged, or of another node")
    return random


def _key_mac(node_key: bytes, name: str, random: bytes) -> bytes:
    return digest("pnyx/vault/journal-key", node_key, name.encode(), random)[:_KEY_MAC_BYTES]


def _mark(salt: bytes, acknowledged: int) -> bytes:
    return _MARK.pack(acknowledged, _mark_checksum(salt, acknowledged))


def _mark_checksum(salt: bytes, acknowledged: int) -> int:
    return zlib.crc32(salt + acknowledged.to_bytes(8, "little"))


def _damaged(directory: Path, name: str, what: str) -> VaultError:
    return VaultError(
        f"The round store in {directory} is damaged: {name}: {what}; taking part with forgotten "
        "promises could harm others, so leave the running studies before you remove it."
    )


def _io_error(directory: Path, error: OSError) -> VaultError:
    return VaultError(
        f"The round store in {directory} cannot be read or written: {describe(error)}; free some "
        "space or check the disk, then try again."
    )
