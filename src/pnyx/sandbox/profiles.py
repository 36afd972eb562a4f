"""What confined children need of the kernel, found by tracing them.

Training in one thread (multilayer, convolutional, recurrent and attention networks, forward and
backward, errors and exhausted memory included) was seen to make these calls only: brk, mmap,
munmap, mprotect, futex; beside them come those that the same code makes under other conditions,
such as the clock where the C library cannot read it without a call.

Looking for a file, an import, a warning, a traceback: these were seen too, and get an error that
the libraries handle. A traceback then lacks its source lines, a late import fails as if there were
no such module.

A new thread is a `clone` as a new process is, and kills. Refusing it would not do: OpenBLAS, which
computes for numpy, waits for ever for threads that it could not start.

Left out on purpose, though harmless at first sight: `rt_sigaction` and `rt_sigprocmask` would let a
process outlive its CPU limit, `setrlimit` and `prlimit64` move it.
"""

import errno
import mmap
import os

from pnyx.sandbox.filters import Condition, Profile

_ANONYMOUS = (1 << 32) - 1  # descriptor -1: memory of nothing

# Memory, waiting, clocks and randomness: they reach nothing outside the process.
_WITHIN = (
    "brk",
    "clock_getres",
    "clock_gettime",
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "getrandom",
    "gettid",
    "gettimeofday",
    "madvise",
    "mremap",
    "munmap",
    "restart_syscall",  # how the kernel resumes a wait after the machine slept
    "sched_yield",
    "time",
)

# What libraries ask of a system and can do without.
_DISPENSABLE = (
    "access",
    "clock_nanosleep",
    "close",
    "faccessat",
    "faccessat2",
    "fcntl",
    "fstat",
    "get_mempolicy",
    "getcpu",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getppid",
    "getrlimit",
    "getrusage",
    "getuid",
    "ioctl",
    "lseek",
    "lstat",
    "mbind",
    "mkdir",
    "mkdirat",
    "mlock",
    "mmap",
    "mprotect",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sched_setaffinity",
    "set_mempolicy",
    "setrlimit",
    "sigaltstack",
    "stat",
    "statx",
    "sysinfo",
    "tgkill",
    "uname",
    "unlink",
    "unlinkat",
    "write",
)


def training_profile(channel: int) -> Profile:
    """For a process with one thread that computes with torch and speaks over `channel`.

    Memory may be made executable: torch's oneDNN compiles convolutions and recurrent cells while it
    runs. To call in the child itself, for a process may signal none but itself.
    """
    return _profile(channel, executable_memory=True)


def query_profile(channel: int) -> Profile:
    """For a process with one thread that runs a query engine in memory, and speaks over `channel`.

    Engines interpret their plans, so no memory may become executable.
    """
    return _profile(channel, executable_memory=False)


def _profile(channel: int, *, executable_memory: bool) -> Profile:
    data_only = () if executable_memory else (Condition(2, "none_of", mmap.PROT_EXEC),)
    allowed = {
        **dict.fromkeys(_WITHIN, ()),
        "mmap": (Condition(4, "equal", _ANONYMOUS), *data_only),
        "mprotect": data_only,
        "recvfrom": (Condition(0, "equal", channel),),
        "sendto": (Condition(0, "equal", channel),),
        "tgkill": (Condition(0, "equal", os.getpid()),),  # abort, and its honest exit status
        "write": (Condition(0, "at_most", 2),),  # to nowhere: `confine` sees to it
    }
    refused = {
        **dict.fromkeys(_DISPENSABLE, errno.EPERM),
        "clone3": errno.ENOSYS,  # its flags cannot be seen; libraries fall back to clone
    }
    return Profile(allowed, refused)
