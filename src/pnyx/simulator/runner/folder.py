"""The folder of results: which runs are done, so that a command can be interrupted and go on.

    scenario.toml        the scenario, byte for byte
    version              of the code and the files that made the results
    runs/000042.msgpack  records of one run, as they came
    runs/000042.partial  of a run that is not done, the records that are final
    runs/000042.failed   why a run failed
    results.parquet, figures.parquet, report.html    made of what is there

A file appears under its name when it is whole. One process at a time writes to a folder, beside
those that carry out its runs. A folder belongs to a scenario as soon as something of a run is kept
in it; before, another one may have it, such as the same one corrected.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pnyx.errors import ConfigError
from pnyx.simulator.experiment import Progress

_SCENARIO = "scenario.toml"
_VERSION = "version"
_RUNS = "runs"
_LOCK = ".lock"
_REWRITTEN = 100  # partial records are written again when they are a hundredth more


class Folder:
    """An open folder; make one with `open_folder`."""

    def __init__(self, path: Path, version: str) -> None:
        """version: of what makes the results, see `provenance.made_by`."""
        self.path, self.version = path, version
        self._runs = path / _RUNS
        self._runs.mkdir(exist_ok=True)

    def has(self, number: int) -> bool:
        """Whether a run is done."""
        return self._file(number).exists()

    def keep(self, number: int, records: bytes) -> None:
        """Store the records of a run that is done."""
        replace(self._file(number), records)
        for other in (self.partial(number), self._failed(number)):
            other.unlink(missing_ok=True)

    def fail(self, number: int, reason: str) -> None:
        """Store why a run failed."""
        replace(self._failed(number), reason.encode())

    def failure(self, number: int) -> str:
        """Why a run failed; empty if it did not."""
        try:
            return self._failed(number).read_text()
        except FileNotFoundError:
            return ""

    def read(self, number: int) -> tuple[bytes, bool]:
        """Records that are kept of a run, and whether these are all. Raises FileNotFoundError."""
        try:
            return self._file(number).read_bytes(), True
        except FileNotFoundError:
            return self.partial(number).read_bytes(), False

    def partial(self, number: int) -> Path:
        """The file for records of a run that is not done; see `keeping`."""
        return self._runs / f"{number:06d}.partial"

    def _file(self, number: int) -> Path:
        return self._runs / f"{number:06d}.msgpack"

    def _failed(self, number: int) -> Path:
        return self._runs / f"{number:06d}.failed"


@contextmanager
def open_folder(path: Path, scenario: bytes, version: str) -> Iterator[Folder]:
    """Open a new folder, or one that holds results of this very scenario.

    version: of the code and of what the scenario reads. Raises ConfigError when the folder holds
    anything else, or another process writes to it.
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
        if not _holds_runs(path):
            for old in (path / _RUNS).glob("*.failed"):
                old.unlink()
            replace(path / _VERSION, version.encode())
            replace(path / _SCENARIO, scenario)
        elif (path / _SCENARIO).read_bytes() != scenario:
            raise ConfigError(
                f"--out {path} holds results of another scenario: name a new folder, or remove it."
            )
        elif (found_version := (path / _VERSION).read_text()) != version:
            raise ConfigError(
                f"--out {path} holds results of other code, or of other files that settings name, "
                f"{found_version[:40]}, where this is {version}: name a new folder, or remove it "
                "to run all again."
            )
        yield Folder(path, version)


def _holds_runs(path: Path) -> bool:
    return any(each.suffix in {".msgpack", ".partial"} for each in (path / _RUNS).glob("*"))


def keeping(path: Path, tell: Progress) -> Progress:
    """Return progress that keeps final records in a file, and tells on."""
    kept = _count(path)

    def progress(share: float, records: Sequence[msgspec.Struct] = ()) -> None:
        nonlocal kept
        tell(share)
        if len(records) > kept + kept // _REWRITTEN:
            replace(path, msgspec.msgpack.encode(list(records)))
            kept = len(records)

    return progress


def _count(path: Path) -> int:
    """Records that an earlier attempt at the same run left: the same ones, as far as they go."""
    try:
        return len(msgspec.msgpack.decode(path.read_bytes(), type=list[msgspec.Raw]))
    except FileNotFoundError:
        return 0


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
