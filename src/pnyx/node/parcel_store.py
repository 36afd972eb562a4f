"""Parcels on the disk of a node: one file for each, named by what is in it.

    <name>.part     chunks arrive, each at its offset; removed when a process starts
    <name>.parcel   sealed: every byte is durable, the size is exact, nothing changes any more

`seal` flushes the file, renames it, and flushes the directory. So a name that ends in `.parcel` is
whole, whenever the process is killed. Data is flushed every few megabytes on the way, so that
sealing does not stop the node for long. At the start everything goes that the persisted state of
the protocol does not name: half of a parcel, and parcels whose round was forgotten in the last
moment. A parcel that should be there and is not, or has another size, is reported; the protocol
then does not hold it, and fetches it again if it wants it.

What the node computes with is compared with its name each time it is read: nobody else is to
answer for a bit that this disk changed. Such a file is removed and the node stops, for the roles
that rely on it have said so; when it starts again the parcel is one that is not there.

Nothing is encrypted at rest. A contributor's masked vector is a ring-LWE ciphertext: who copies the
disk learns no more from it than the aggregators, to whom it was made to be shown. Sums and models
are public in their network. The keys to a masked vector are never in a parcel; they are in the
round store, under keys that are destroyed. What a role wants to keep from a thief of the disk, it
must not put into a parcel.

A full disk, or more than `bytes_max` in all, raises VaultError, and the node stops as it does when
the round store cannot be written: it may have promised what it can no longer keep. The protocol
takes no more than `parcels_bytes_max`, half of this bound, so peers do not get a node there.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pnyx.errors import VaultError
from pnyx.protocol.chunks import chunk_count, chunk_hash, chunk_length, parcel_of
from pnyx.protocol.messages import CHUNK_BYTES
from pnyx.vault.files import (
    FILE_MODE,
    describe,
    make_private_directory,
    sync_directory,
    write_all,
)

PARCELS_BYTES_MAX = 16 * 1024 * 1024 * 1024

_FLUSH_BYTES = 4 * 1024 * 1024
_PART, _SEALED = ".part", ".parcel"


class _Part:
    """Which chunks of an unsealed parcel are written, with their sizes."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.unflushed = 0


class FileParcelStore:
    """Implements `protocol.ports.ParcelStore` in a directory that no other process uses."""

    def __init__(self, directory: Path, bytes_max: int = PARCELS_BYTES_MAX) -> None:
        """Create the directory if it is missing. Raises VaultError."""
        make_private_directory(directory)
        self._directory = directory
        self._bytes_max = bytes_max
        self._parts: dict[bytes, _Part] = {}
        self._sealed: dict[bytes, int] = {}
        self.bytes_stored = 0  # of all parcels, sealed or not

    def retain(self, parcels: Mapping[bytes, int]) -> frozenset[bytes]:
        """Remove everything but these sealed parcels; returns those that are not there, whole."""
        self._parts.clear()
        self._sealed.clear()
        try:
            for path in sorted(self._directory.iterdir()):
                if path.suffix not in (_PART, _SEALED):
                    continue  # not ours
                name = _name_of(path)
                if name in parcels and path.stat().st_size == parcels[name]:
                    self._sealed[name] = parcels[name]
                else:
                    path.unlink()
        except OSError as error:
            raise self._broken(error) from error
        self.bytes_stored = sum(self._sealed.values())
        return frozenset(parcels) - self._sealed.keys()

    def has_room(self, length: int) -> bool:
        """Whether a parcel of so many bytes may be written."""
        return self.bytes_stored + length <= self._bytes_max

    def write(self, parcel: bytes, index: int, data: bytes) -> None:
        """Put a chunk into its place; of a sealed parcel it is there already."""
        if parcel in self._sealed:
            return
        part = self._parts.setdefault(parcel, _Part())
        more = len(data) - part.sizes.get(index, 0)
        if self.bytes_stored + more > self._bytes_max:
            raise VaultError(
                f"The parcels in {self._directory} would take more than {self._bytes_max} bytes; "
                "start the node again, which removes those that no round needs."
            )
        part.unflushed += len(data)
        try:
            self._put(self._path(parcel, _PART), data, index, flush=part.unflushed >= _FLUSH_BYTES)
        except OSError as error:
            raise self._broken(error) from error
        part.unflushed %= _FLUSH_BYTES
        part.sizes[index] = len(data)
        self.bytes_stored += more

    def _put(self, path: Path, data: bytes, index: int, *, flush: bool) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(descriptor, FILE_MODE)
            write_all(descriptor, data, index * CHUNK_BYTES)
            if flush:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def seal(self, parcel: bytes, length: int) -> None:
        """Make a parcel durable."""
        if parcel in self._sealed:
            return
        part = self._parts.get(parcel, _Part())
        if part.sizes != {at: chunk_length(length, at) for at in range(chunk_count(length))}:
            raise ValueError("chunks of a parcel are missing")
        path = self._path(parcel, _PART)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.rename(self._path(parcel, _SEALED))
            sync_directory(self._directory)
        except OSError as error:
            raise self._broken(error) from error
        del self._parts[parcel]
        self._sealed[parcel] = length

    def read(self, parcel: bytes, index: int) -> bytes | None:
        """A chunk of a sealed parcel, as it is on the disk: cut short if the file is."""
        if parcel not in self._sealed:
            return None
        try:
            descriptor = os.open(self._path(parcel, _SEALED), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._broken(error) from error
        try:
            return os.pread(descriptor, CHUNK_BYTES, index * CHUNK_BYTES)
        except OSError as error:
            raise self._broken(error) from error
        finally:
            os.close(descriptor)

    def chunks(self, parcel: bytes) -> Iterator[bytes]:
        """All chunks of a sealed parcel, one at a time. VaultError when any is not there whole.

        The last one comes only if all of them are what the parcel's name says. Otherwise the file
        is removed first: VaultError says so.
        """
        length = self._sealed.get(parcel)
        hashes: list[bytes] = []
        for index in range(1 if length is None else chunk_count(length)):
            data = self.read(parcel, index)
            if length is None or data is None or len(data) != chunk_length(length, index):
                raise VaultError(
                    f"A parcel in {self._directory} was removed or cut short while the node ran; "
                    "start the node again and it will be fetched anew."
                )
            hashes.append(chunk_hash(data))
            if len(hashes) == chunk_count(length) and parcel_of(length, hashes).name != parcel:
                self._discard(parcel)
                raise VaultError(
                    f"A parcel in {self._directory} was damaged on the disk, and removed; start "
                    "the node again and it will be fetched anew. If it happens again, check the "
                    "disk."
                )
            yield data

    def _discard(self, parcel: bytes) -> None:
        """Remove a damaged file only, from any thread: to this process it is still sealed."""
        try:
            self._path(parcel, _SEALED).unlink(missing_ok=True)
        except OSError as error:
            raise self._broken(error) from error

    def holds(self, parcel: bytes) -> bool:
        """Whether a parcel was sealed and not removed since, whatever became of its file."""
        return parcel in self._sealed

    def remove(self, parcel: bytes) -> None:
        """Remove a parcel; durable or not, for the next start removes it again."""
        part = self._parts.pop(parcel, _Part())
        self.bytes_stored -= self._sealed.pop(parcel, 0) + sum(part.sizes.values())
        try:
            for kind in (_SEALED, _PART):
                self._path(parcel, kind).unlink(missing_ok=True)
        except OSError as error:
            raise self._broken(error) from error

    def _path(self, parcel: bytes, kind: str) -> Path:
        return self._directory / f"{parcel.hex()}{kind}"

    def _broken(self, error: OSError) -> VaultError:
        return VaultError(
            f"The parcels in {self._directory} cannot be read or written: {describe(error)}."
        )


def _name_of(path: Path) -> bytes:
    """The parcel that a file holds if it is sealed, else nothing's name."""
    try:
        return bytes.fromhex(path.stem) if path.suffix == _SEALED else b""
    except ValueError:
        return b""
