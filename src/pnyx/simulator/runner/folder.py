"""The folder of results: which runs are done, so that a command can be interrupted and go on.

    scenario.toml        the scenario, byte for byte
    version              of the program that made the results
    runs/000042.msgpack  records of one run, as they came
    results.parquet, figures.parquet, report.html    made of what is there

A run's file appears under its name when it is whole. One process at a time writes to a folder.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pnyx.errors import ConfigError

_SCENARIO = "scenario.toml"
_VERSION = "version"
_LOCK = ".lock"


class Folder:
    """An open folder; make one with `open_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs = path / "runs"
        self._runs.mkdir(exist_ok=True)

    def has(self, number: int) -> bool:
        """Whether a run is done."""
        return self._file(number).exists()

    def keep(self, number: int, records: bytes) -> None:
        """Store the records of a run."""
        replace(self._file(number), records)

    def read(self, number: int) -> bytes:
        """Records of a run that is done."""
        return self._file(number).read_bytes()

    def _file(self, number: int) -> Path:
        return self._runs / f"{number:06d}.msgpack"


@contextmanager
def open_folder(path: Path, scenario: bytes, version: str) -> Iterator[Folder]:
    """Open a new folder, or one that holds results of this very scenario.

    Raises ConfigError when it holds anything else, or another process writes to it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = {each.name for each in path.iterdir()} - {_LOCK}
    except OSError as error:
        raise ConfigError(
            f"--out {path} cannot be used as a folder: {error.strerror}; name another."
        ) from error
    if found and not found.issuperset({_SCENARIO, _VERSION}):
        raise ConfigError(
            f"--out {path} holds other files: name a new folder, or one to go on with."
        )
    with _locked(path):
        if not found:
            replace(path / _VERSION, version.encode())
            replace(path / _SCENARIO, scenario)
        elif (path / _SCENARIO).read_bytes() != scenario:
            raise ConfigError(
                f"--out {path} holds results of another scenario: name a new folder, or remove it."
            )
        elif (path / _VERSION).read_text() != version:
            raise ConfigError(
                f"--out {path} holds results of another version of Pnyx, "
                f"{(path / _VERSION).read_text()[:40]}: name a new folder."
            )
        yield Folder(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with (path / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"--out {path} is in use: another command writes to it; wait, or name another."
            ) from error
        yield


def replace(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that it is never seen half-written."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    beside.replace(path)
