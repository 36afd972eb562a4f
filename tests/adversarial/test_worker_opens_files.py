"""A program that took over the training worker looks for files (THREATS P1)."""

import mmap
import os
import struct
from pathlib import Path

import pytest
from tests.support.confined import (
    MACHINE,
    attempt,
    confined,
    landlocked,
    needs_filter,
    number,
    raw,
    resists,
    unconfined,
)

pytestmark = [
    needs_filter,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

SECRET = b"the owner's secret"
READING = ("openat", "read", "fstat", "newfstatat", "ioctl", "lseek", "close")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "vault"
    path.write_bytes(SECRET)
    return path


def openat2(path: Path) -> int:
    how = struct.pack("3Q", os.O_RDONLY, 0, 0)
    return raw("openat2", -100, bytes(path), how, len(how))


def test_reads_a_file(secret):
    resists(secret.read_bytes, *READING)
    resists(Path("/etc/passwd").read_bytes, *READING)
    resists(lambda: raw("openat", -100, bytes(secret), os.O_RDONLY), "openat")
    resists(lambda: openat2(secret), "openat2")
    if number("open") is not None:
        resists(lambda: raw("open", bytes(secret), os.O_RDONLY), "open")


def test_reads_or_writes_memory_through_proc():
    resists(lambda: os.open("/proc/self/mem", os.O_RDWR), "openat")
    parent = os.getpid()
    resists(lambda: os.open(f"/proc/{parent}/mem", os.O_RDONLY), "openat")
    resists(lambda: os.open(f"/proc/{parent}/environ", os.O_RDONLY), "openat")


def test_writes_lists_and_removes(secret, tmp_path):
    resists(lambda: os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT), "openat")
    resists(
        lambda: len(list(tmp_path.iterdir())),
        "openat",
        "fstat",
        "newfstatat",
        "getdents64",
        "close",
    )
    resists(lambda: secret.stat().st_size, "newfstatat", "stat", "statx")
    assert not attempt(secret.unlink).succeeded
    assert not attempt(lambda: secret.rename(tmp_path / "moved").name).succeeded
    assert not attempt(lambda: (tmp_path / "link").symlink_to(secret)).succeeded
    assert not attempt(lambda: secret.chmod(0)).succeeded
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["new", "vault"]


def test_uses_descriptors_that_it_inherited(secret):
    """Even where none is closed, none but the channel can be used."""
    reading, writing = os.pipe()
    with secret.open("r+b") as file:
        descriptor = file.fileno()
        resists(lambda: os.pread(descriptor, 10, 0) and os.read(descriptor, 10), "read", "pread64")
        resists(lambda: os.write(descriptor, b"overwritten"), "write")
        resists(lambda: os.write(writing, b"leaked"), "write")
        kind = (mmap.PROT_READ, mmap.MAP_PRIVATE)
        resists(lambda: raw("mmap", 0, 4096, *kind, descriptor, 0), "mmap")
        resists(lambda: os.sendfile(writing, descriptor, 0, 10), "sendfile")
        resists(lambda: raw("dup3", descriptor, 90, 0), "dup3")
        assert attempt(lambda: os.fstat(descriptor).st_size, unconfined).succeeded
        assert attempt(lambda: os.write(descriptor, b"x"), confined).error == "EPERM"
    os.close(reading)
    os.close(writing)


def test_writes_to_the_terminal():
    """Standard output and errors of a confined child lead nowhere."""
    reading, writing = os.pipe()
    kept = os.dup(2)
    os.dup2(writing, 2)
    try:
        shown = attempt(lambda: os.write(2, b"\x1b]0;your terminal is mine\x07"), unconfined)
        assert shown.succeeded
        assert os.read(reading, 100)
        assert attempt(lambda: os.write(2, b"\x1b]0;still mine\x07")).succeeded
        os.set_blocking(reading, False)
        with pytest.raises(BlockingIOError):
            os.read(reading, 100)
    finally:
        os.dup2(kept, 2)
        for descriptor in (reading, writing, kept):
            os.close(descriptor)


@pytest.mark.skipif(
    MACHINE is None or not attempt(lambda: None, landlocked).succeeded, reason="no Landlock here"
)
def test_hole_in_the_filter_opens_no_file(secret, tmp_path):
    """Landlock alone bars what the filter would have let through."""
    attacks = [
        secret.read_bytes,
        lambda: len(list(tmp_path.iterdir())),
        lambda: os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT),
        secret.unlink,
        lambda: os.truncate(secret, 1),
        lambda: os.execv("/bin/true", ["true"]),
        (tmp_path / "made").mkdir,
    ]
    for attack in attacks:
        assert attempt(attack, landlocked).error in ("EACCES", "EPERM")
    assert secret.read_bytes() == SECRET
