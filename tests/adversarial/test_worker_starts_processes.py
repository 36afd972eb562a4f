"""A program that took over the training worker starts other processes (THREATS P1)."""

import os
import signal
import struct
import subprocess
import sys
import threading

import pytest
from tests.support.confined import (
    MEMORY_BYTES,
    attempt,
    needs_filter,
    number,
    raw,
    resists,
    unconfined,
)

from pnyx.sandbox.limits import Limits

pytestmark = [
    needs_filter,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

FORKING = ("clone", "fork", "vfork", "rt_sigprocmask", "set_robust_list", "rseq", "wait4", "waitid")


def fork() -> int:
    child = os.fork()
    if child == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def raw_fork(name: str, *arguments: object) -> int:
    child = raw(name, *arguments)
    if child == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def clone3() -> int:
    return raw_fork("clone3", struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)


def test_forks():
    resists(fork, *FORKING)
    assert attempt(fork).killed_by == "SIGSYS"
    resists(lambda: raw_fork("clone", signal.SIGCHLD, 0, 0, 0, 0), *FORKING)
    resists(clone3, "clone3", *FORKING)
    if number("fork") is not None:
        resists(lambda: raw_fork("fork"), *FORKING)
        assert attempt(lambda: raw("vfork")).killed_by == "SIGSYS"


def test_spawns():
    """What Python and the C library build from vfork and its like."""

    def spawn() -> int:
        child = os.posix_spawn("/bin/true", ["true"], {})
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    for attack in (spawn, lambda: os.system("true"), lambda: subprocess.call([sys.executable])):
        assert not attempt(attack).succeeded
    assert attempt(spawn, unconfined).result == 0


def test_becomes_another_program():
    def become(*arguments: object) -> object:
        path, nothing = b"/bin/true", struct.pack("Q", 0)
        return raw("execve", path, nothing, nothing)

    assert attempt(become).killed_by == "SIGSYS"
    assert attempt(lambda: os.execv("/bin/true", ["true"])).killed_by == "SIGSYS"
    assert attempt(lambda: raw("execveat", 3, b"", 0, 0, 0x1000)).killed_by == "SIGSYS"


def test_makes_a_file_in_memory_to_run_it():
    resists(lambda: raw("memfd_create", b"program", 0), "memfd_create")
    assert attempt(lambda: os.memfd_create("program")).killed_by == "SIGSYS"


def test_starts_a_thread():
    """Training has one; another would be a process in all but name to the kernel."""

    def start() -> str:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        return "ran"

    assert attempt(start, unconfined).succeeded
    assert attempt(start).killed_by == "SIGSYS"


def as_a_person(channel: int) -> None:
    """The kernel counts no processes of root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def test_hole_in_the_filter_starts_none():
    """The limit alone bars what the filter would have let through."""

    def arrange(channel: int) -> None:
        limits = Limits.beyond_now(MEMORY_BYTES, 10)  # reads files that only root may see here
        as_a_person(channel)
        limits.impose()

    assert attempt(fork, as_a_person).result == 7
    assert attempt(fork, arrange).error == "EAGAIN"
