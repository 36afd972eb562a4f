"""What made a result: the version, a hash of the whole package, and one of what a scenario reads.

The version alone stays the same while the code changes, and results of different code would be
mixed in one folder, or in one sweep over several machines. Data that come with the package change
results as code does, so every file of it is hashed. A scenario and the files that its settings name
have a hash of their own, for they differ from sweep to sweep, and machines that share a sweep need
the same package.
"""

from collections.abc import Iterable
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

import pnyx

_SHOWN = 12  # characters of a hash


@cache
def code_version() -> str:
    """Return the version and the hash of the package, such as "0.1.0+3f2a60c1d9e4"."""
    root = Path(pnyx.__file__).parent
    files = ((path.relative_to(root), path) for path in root.rglob("*") if path.is_file())
    kept = ((name.as_posix(), path) for name, path in files if _ships(name))
    return f"{pnyx.__version__}+{_hash(kept)}"


def made_by(scenario: bytes, files: Iterable[tuple[str, Path]]) -> str:
    """Return what makes a scenario's results, such as "0.1.0+3f2a60c1d9e4.92b7d0c55a1e".

    scenario: the file as it stands. files: those that its settings name, by these names. Raises
    OSError.
    """
    whole = sha256(scenario).hexdigest()
    inputs = sha256(f"{whole} {_hash(files)}".encode()).hexdigest()
    return f"{code_version()}.{inputs[:_SHOWN]}"


def _ships(name: Path) -> bool:
    """Whether a file of the package is no bytecode and nothing that an editor keeps."""
    return "__pycache__" not in name.parts and not any(part.startswith(".") for part in name.parts)


def _hash(files: Iterable[tuple[str, Path]]) -> str:
    """A hash of files, each with its name."""
    hashed = sha256()
    for name, path in sorted(files):
        with path.open("rb") as file:
            hashed.update(f"{name} {file_digest(file, 'sha256').hexdigest()}\n".encode())
    return hashed.hexdigest()[:_SHOWN]
