"""Durable state of the protocol machine: what a node must remember after `kill -9`.

Keys are paths, values are bytes of up to 56 MB:

    secret/<study>/<round>/<name>   until released: round keys, shares
    round/<study>/<round>/<name>    until the round is recorded: what was signed
    chain/<name>                    permanent: records, joins, what describes models

The first three components of a key are its *scope*, except that all of `chain/` is one scope; the
store knows no other meaning of names. Each scope is a journal of its own (see `journal`).
Forgetting a whole scope destroys its key, so that nothing written in it can ever be read again;
forgetting less hides the keys, and the journal keeps their ciphertext until the scope itself is
forgotten (or, for `chain/`, rewritten).

`apply` is durable when it returns: its puts in their order, one record and one flush for each run
of them into one scope, then its forgets. Such a run is atomic. A crash in a call with several may
leave the last ones out, but none before one that is there, as effects are carried out in order.
Nothing is forgotten before everything is put.

The directory belongs in no backup: state put back from a copy would sign twice.
"""

import fcntl
import os
import re
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from pnyx.errors import VaultError
from pnyx.vault.files import FILE_MODE, describe, make_private_directory
from pnyx.vault.journal import Journal

KEY_CHARACTERS_MAX = 1024
VALUE_BYTES_MAX = 56 * 1024 * 1024  # a contribution's update of 10^7 entries, in 4 bytes each
COMPACTION_BYTES_MIN = 16 * 1024 * 1024

_BATCH_BYTES = 1024 * 1024
_PERMANENT = "chain"
_SCOPE_COMPONENTS = 3
_COMPONENT = re.compile(r"[A-Za-z0-9_-]{1,80}")


class _Change(msgspec.Struct, frozen=True, array_like=True):
    """One record of a journal: keys put, then keys removed."""

    puts: tuple[tuple[str, bytes], ...]
    removed: tuple[str, ...] = ()


class _Scope:
    """A journal and the sizes of its live values, by key."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.sizes: dict[str, int] = {}

    def write(self, change: _Change) -> None:
        self.journal.append(msgspec.msgpack.encode(change))
        for key, value in change.puts:
            self.sizes[key] = len(value)
        for key in change.removed:
            del self.sizes[key]

    def read(self) -> dict[str, bytes]:
        """Replay the journal: the live values."""
        values: dict[str, bytes] = {}
        for record in self.journal.records():
            change = msgspec.msgpack.decode(record, type=_Change)
            values.update(change.puts)
            for key in change.removed:
                del values[key]
        self.sizes = {key: len(value) for key, value in values.items()}
        return values

    @property
    def dead_bytes(self) -> int:
        return self.journal.size - sum(self.sizes.values())


class RoundStore:
    """Protocol state in a directory; implements the effects Persist and Forget."""

    def __init__(self, directory: Path, key: bytes) -> None:
        """Lock the directory for this process, creating it. Raises VaultError when it is in use.

        key: 32 secret bytes of the node, without which a stolen disk tells nothing.
        """
        make_private_directory(directory)
        self._directory = directory
        self._key = key
        self._lock = threading.Lock()
        self._scopes: dict[str, _Scope] | None = None
        self._lock_descriptor = _lock(directory)

    def load(self) -> dict[str, bytes]:
        """Read everything back, as it was when the last `apply` returned.

        Raises VaultError when anything that was acknowledged is not there unharmed.
        """
        with self._lock:
            return self._load()

    def apply(self, puts: Sequence[tuple[str, bytes]], forgets: Sequence[str] = ()) -> None:
        """Store the puts, then erase every key that is one of `forgets` or lies below it.

        A forget covers whole components: 'round/ab/1', with or without a final slash, does not
        cover 'round/ab/12' and is refused as a bug when such a key is there, lest the caller meant
        otherwise. Raises VaultError when the disk fails; nothing that was put may then be relied
        upon, and what was forgotten is gone.
        """
        for key, value in puts:
            _check(key, value)
        with self._lock:
            if self._scopes is None:
                self._load()
            if not forgets:  # nearly always: then no key that is there already is looked at
                self._put(puts, ())
            else:
                self._refuse_ambiguous(forgets)
                doomed = [scope for scope in self._known(puts) if _covered(scope, forgets)]
                self._put(puts, doomed)
                self._remove(forgets, doomed)
            self._compact()

    def close(self) -> None:
        """Release the directory; safe to call twice."""
        with self._lock:
            self._close_journals()
            if self._lock_descriptor >= 0:
                os.close(self._lock_descriptor)
                self._lock_descriptor = -1

    def _load(self) -> dict[str, bytes]:
        if self._lock_descriptor < 0:
            raise VaultError(f"The round store in {self._directory} is closed.")
        self._close_journals()
        scopes: dict[str, _Scope] = {}
        values: dict[str, bytes] = {}
        try:
            for name in _journal_names(self._directory):
                journal = Journal.open(self._directory, name, self._key)
                if journal is not None:
                    scope = scopes[name.replace(".", "/")] = _Scope(journal)
                    values.update(scope.read())
            self._scopes = scopes
        finally:
            if self._scopes is None:  # nothing may be written on top of what could not be read
                for scope in scopes.values():
                    scope.journal.close()
        self._compact()
        return values

    def _close_journals(self) -> None:
        for scope in (self._scopes or {}).values():
            scope.journal.close()
        self._scopes = None

    def _refuse_ambiguous(self, forgets: Sequence[str]) -> None:
        assert self._scopes is not None
        prefixes = tuple(forgets)
        for scope in self._scopes.values():
            for key in scope.sizes:
                if key.startswith(prefixes) and not _below(key, forgets):
                    raise ValueError(f"a forget ends within a component of '{key}'")

    def _known(self, puts: Sequence[tuple[str, bytes]]) -> list[str]:
        assert self._scopes is not None
        return list(dict.fromkeys([*self._scopes, *(_scope_of(key) for key, _ in puts)]))

    def _put(self, puts: Sequence[tuple[str, bytes]], doomed: Sequence[str]) -> None:
        assert self._scopes is not None
        for name, run in groupby(puts, key=lambda put: _scope_of(put[0])):
            if name in doomed:
                continue
            if name not in self._scopes:
                journal = Journal.create(self._directory, name.replace("/", "."), self._key)
                self._scopes[name] = _Scope(journal)
            self._scopes[name].write(_Change(tuple(run)))

    def _remove(self, forgets: Sequence[str], doomed: Sequence[str]) -> None:
        assert self._scopes is not None
        for name in doomed:
            if name in self._scopes:
                self._scopes.pop(name).journal.destroy()
        for scope in self._scopes.values():
            removed = tuple(key for key in scope.sizes if _below(key, forgets))
            if removed:
                scope.write(_Change((), removed))

    def _compact(self) -> None:
        """Rewrite a permanent journal of which most is out of date."""
        assert self._scopes is not None
        scope = self._scopes.get(_PERMANENT)
        if scope is None or scope.dead_bytes < COMPACTION_BYTES_MIN + sum(scope.sizes.values()):
            return
        scope.journal.replace(_in_batches(scope.read()), self._key)


def _in_batches(values: dict[str, bytes]) -> Iterator[bytes]:
    """Encode values as few records, since each record costs a flush."""
    batch: list[tuple[str, bytes]] = []
    batch_bytes = 0
    for key, value in values.items():
        batch.append((key, value))
        batch_bytes += len(value)
        if batch_bytes > _BATCH_BYTES:
            yield msgspec.msgpack.encode(_Change(tuple(batch)))
            batch, batch_bytes = [], 0
    yield msgspec.msgpack.encode(_Change(tuple(batch)))


def _scope_of(key: str) -> str:
    components = key.split("/")
    if components[0] == _PERMANENT:
        return _PERMANENT
    return "/".join(components[:_SCOPE_COMPONENTS])


def _check(key: str, value: bytes) -> None:
    scope = _scope_of(key).split("/")
    well_formed = all(_COMPONENT.fullmatch(component) for component in scope)
    deep_enough = len(key) > len("/".join(scope)) + 1
    if not well_formed or not deep_enough or len(key) > KEY_CHARACTERS_MAX:
        raise ValueError(f"'{key}' is not a key of the round store")
    if scope[0] != _PERMANENT and len(scope) < _SCOPE_COMPONENTS:
        raise ValueError(f"'{key}' is not a key of the round store")
    if type(value) is not bytes:  # anything else could be written, and never read again
        raise TypeError(f"the value of '{key}' is not bytes")
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"the value of '{key}' has more than {VALUE_BYTES_MAX} bytes")


def _below(key: str, forgets: Sequence[str]) -> bool:
    """Tell whether a key is covered by a forget, component by component."""
    return any(
        key == prefix.rstrip("/") or key.startswith(prefix.rstrip("/") + "/") for prefix in forgets
    )


def _covered(scope: str, forgets: Sequence[str]) -> bool:
    return scope != _PERMANENT and _below(scope, forgets)


def _journal_names(directory: Path) -> list[str]:
    """Names of the journals in the directory, after removing drafts that a crash left."""
    for draft in directory.glob("*.new"):
        draft.unlink()
    return sorted(
        {path.stem for pattern in ("*.journal", "*.key") for path in directory.glob(pattern)}
    )


def _lock(directory: Path) -> int:
    try:
        descriptor = os.open(
            directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode=FILE_MODE
        )
        os.fchmod(descriptor, FILE_MODE)
    except OSError as error:
        raise VaultError(f"{directory} cannot be written: {describe(error)}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise VaultError(
            f"The round store in {directory} is in use by another Pnyx process; "
            "stop that one first."
        ) from error
    return descriptor
