"""Which code made a result: the version, and a hash of every source file of the package.

The version alone stays the same while the code changes, and results of different code would be
mixed in one folder, or in one sweep over several machines.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

import pnyx

_SHOWN = 12  # characters of the hash


@cache
def code_version() -> str:
    """Return the version and the hash, such as "0.1.0+3f2a60c1d9e4"."""
    root = Path(pnyx.__file__).parent
    hashed = sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        hashed.update(content)
    return f"{pnyx.__version__}+{hashed.hexdigest()[:_SHOWN]}"
