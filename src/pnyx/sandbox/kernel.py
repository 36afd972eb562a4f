"""Linux system calls that Python does not offer, and the numbers of those that we name.

Numbers are those of the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and
`include/uapi/asm-generic/unistd.h` (aarch64). They never change once given out.
"""

import ctypes
import os
import platform
import sys

# AUDIT_ARCH_* of linux/audit.h: what seccomp calls an architecture.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (number on x86_64, on aarch64); None where the architecture has no such call.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "access": (21, None),
    "brk": (12, 214),
    "capset": (126, 91),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "futex": (202, 98),
    "get_mempolicy": (239, 236),
    "getcpu": (309, 168),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "ioctl": (16, 29),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mbind": (237, 235),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mlock": (149, 228),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "recvfrom": (45, 207),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "sched_getaffinity": (204, 123),
    "sched_setaffinity": (203, 122),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "sendto": (44, 206),
    "set_mempolicy": (238, 237),
    "setrlimit": (160, 164),
    "sigaltstack": (131, 132),
    "stat": (4, None),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "time": (201, None),
    "uname": (63, 160),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "write": (1, 64),
}

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of linux/capability.h
_CAPABILITY_WORDS = 6  # effective, permitted, inheritable; low half, then high

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def architecture() -> str | None:
    """This machine's architecture, if it is one whose numbers are known here."""
    machine = platform.machine()
    known = sys.platform == "linux" and sys.maxsize > 2**32 and machine in ARCHITECTURES
    return machine if known else None


def number(name: str, machine: str) -> int | None:
    """The number of a system call, None if the architecture lacks it. KeyError: not known here."""
    return _NUMBERS[name][list(ARCHITECTURES).index(machine)]


def call(name: str, machine: str, *arguments: object) -> int:
    """Make a system call. Raises OSError with the kernel's error number."""
    result: int = _LIBC.syscall(ctypes.c_long(number(name, machine) or -1), *map(_word, arguments))
    return _checked(result)


def forbid_new_privileges() -> None:
    """No program that this process could start gains rights; a condition for all that follows."""
    _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, *map(_word, (1, 0, 0, 0))))


def hide_memory() -> None:
    """Bar other processes of this user from reading or tracing this one, and core dumps of it."""
    _checked(_LIBC.prctl(_PR_SET_DUMPABLE, *map(_word, (0, 0, 0, 0))))


def drop_capabilities(machine: str) -> None:
    """Give up what root may do beyond other users, such as raising its own limits."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call("capset", machine, header, (ctypes.c_uint32 * _CAPABILITY_WORDS)())


def _word(value: object) -> object:
    """A whole number as a machine word; ctypes would pass the lower half only."""
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
