"""Attacks from inside a confined child, and what became of them.

`attempt` forks, lets the child confine itself, runs the attack there, and tells how it ended.
`resists` asserts that an attack works without any defence, fails against all of them and against
the filter of system calls alone, and works again when the filter's list is too long.
"""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from pnyx.sandbox import Profile, confine, kernel, landlock, training_profile
from pnyx.sandbox.limits import Limits

MACHINE = kernel.architecture()
MEMORY_BYTES = 256 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

needs_filter = pytest.mark.skipif(MACHINE is None, reason="no seccomp for this system here")

# Calls that no profile names, for attacks: on x86_64 and on aarch64.
FOREIGN = {
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "clone": (56, 220),
    "connect": (42, 203),
    "dup2": (33, None),
    "dup3": (292, 24),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "memfd_create": (319, 279),
    "mount": (165, 40),
    "mq_open": (240, 180),
    "openat2": (437, 437),
    "pidfd_open": (434, 434),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "sendmsg": (46, 211),
    "setns": (308, 268),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, None),
    "wait4": (61, 260),
    "pread64": (17, 67),
    "sendfile": (40, 71),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "shmctl": (31, 195),
    "umount2": (166, 39),
    "setsockopt": (54, 208),
    "mq_unlink": (241, 181),
    "getsockname": (51, 204),
    "seccomp": (317, 277),
    "waitid": (247, 95),
}


@dataclass(frozen=True)
class Ending:
    """How an attack ended: with what it returned, an error number, or a signal."""

    result: object = None
    error: str = ""
    killed_by: str = ""

    @property
    def succeeded(self) -> bool:
        return not self.error and not self.killed_by


def number(name: str) -> int | None:
    assert MACHINE is not None
    if name in FOREIGN:
        return FOREIGN[name][list(kernel.ARCHITECTURES).index(MACHINE)]
    return kernel.number(name, MACHINE)


def raw(name: str, *arguments: object) -> int:
    """A system call past every library."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(number(name)), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def unconfined(channel: int) -> None:
    """No defence at all."""


def confined(channel: int) -> None:
    """Every defence."""
    found = confine(
        training_profile(channel), channel=channel, memory_bytes=MEMORY_BYTES, cpu_seconds=10
    )
    assert found.system_calls
    assert found.limits


def weakened(*names: str) -> Callable[[int], None]:
    """The filter alone, with these calls allowed too; neither Landlock nor limits."""

    def arrange(channel: int) -> None:
        kernel._NUMBERS.update({name: FOREIGN[name] for name in names if name in FOREIGN})
        profile = training_profile(channel)
        longer = Profile({**profile.allowed, **dict.fromkeys(names, ())}, profile.refused)
        _filter_alone(longer)

    return arrange


def filtered(channel: int) -> None:
    """The filter alone: neither Landlock nor limits, and every descriptor stays open."""
    _filter_alone(training_profile(channel))


def landlocked(channel: int) -> None:
    """Landlock alone."""
    kernel.forbid_new_privileges()
    assert landlock.restrict(MACHINE, threads=1)


def limited(channel: int) -> None:
    """Limits alone."""
    Limits.beyond_now(MEMORY_BYTES, 10).impose()
    kernel.drop_capabilities(MACHINE)


def _filter_alone(profile: Profile) -> None:
    from pnyx.sandbox import filters

    kernel.forbid_new_privileges()
    filters.install_filter(filters.compile_filter(profile, MACHINE), MACHINE)


def attempt(
    attack: Callable[[], object], arrange: Callable[[int], None] = confined, wait_s: float = 10.0
) -> Ending:
    """Run an attack in a child that `arrange` confined."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _live(attack, arrange, theirs)
    theirs.close()
    ours.settimeout(wait_s)
    try:
        with ours, ours.makefile("rb") as replies:
            said = replies.read()
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Ending(killed_by=signal.Signals(os.WTERMSIG(status)).name)
    return msgspec.msgpack.decode(said, type=Ending)


def _live(attack, arrange, theirs) -> None:
    try:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # the test runner's
        arrange(theirs.fileno())
        try:
            ending = Ending(result=attack())
        except OSError as error:
            ending = Ending(error=errno.errorcode.get(error.errno, str(error.errno)))
        except MemoryError:
            ending = Ending(error="MemoryError")
        except ImportError:
            ending = Ending(error="ImportError")
        theirs.sendall(msgspec.msgpack.encode(ending))
    finally:
        os._exit(0)


def resists(attack: Callable[[], object], *calls: str) -> None:
    """Assert that confinement defeats an attack, and that its list of calls is what does.

    calls: those that the attack needs, and that a training worker is denied.
    """
    free = attempt(attack, unconfined)
    if not free.succeeded:
        pytest.skip(f"this system refuses it to everybody: {free}")
    for arrange in (confined, filtered):
        ending = attempt(attack, arrange)
        assert not ending.succeeded, (arrange.__name__, ending)
        assert ending.killed_by in ("", "SIGSYS"), ending
    ending = attempt(attack, weakened(*calls))
    assert ending.succeeded, ending
