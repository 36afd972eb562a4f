"""Private files and directories: nobody but the owner reads them, whatever the umask.

The mode is given when the file is created, so that there is no moment at which others could open
it, and set again afterwards because a umask can only take permissions away.
"""

import os
from pathlib import Path

from pnyx.errors import VaultError

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def make_private_directory(directory: Path) -> None:
    """Create the directory and its missing parents with mode 0700; an existing one is tightened."""
    try:
        for parent in reversed(directory.parents):
            if not parent.exists():
                _make(parent)
        if not directory.exists():
            _make(directory)
        directory.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise VaultError(
            f"The directory {directory} cannot be used: {describe(error)}; "
            "choose a place where you may write."
        ) from error


def _make(directory: Path) -> None:
    directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    directory.chmod(DIRECTORY_MODE)


def create_private_file(path: Path) -> int:
    """Create a new file with mode 0600 and return its read-write descriptor.

    Raises FileExistsError when it exists, and other OSErrors for the caller to word.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write every byte at an offset; the operating system may take them in several parts."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def sync_directory(directory: Path) -> None:
    """Make creations, renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(error: OSError) -> str:
    """Word an operating-system error for a sentence: 'no space left on device'."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
