"""Bounds of memory, time and the rest: those of oneself, and the processor time of a child."""

import ctypes
import math
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

# What a child that only computes needs none of; some exist on Linux only.
_NONE_OF = ("NOFILE", "FSIZE", "CORE", "NPROC", "MEMLOCK", "MSGQUEUE")


class Limits(msgspec.Struct, frozen=True):
    """Values for `setrlimit`, computed while /proc can still be read."""

    address_space_bytes: int | None  # None: not accounted in a useful way on this system
    cpu_seconds: int | None

    @classmethod
    def beyond_now(cls, memory_bytes: int, cpu_seconds: int | None) -> "Limits":
        """Allow this process so much more address space and processor time than it has used."""
        address_space = None
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            address_space = pages * resource.getpagesize() + memory_bytes
        if cpu_seconds is not None:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            cpu_seconds += math.ceil(usage.ru_utime + usage.ru_stime)
        return cls(address_space, cpu_seconds)

    def impose(self) -> bool:
        """Impose them on this process, and tell whether all of them hold."""
        for name in _NONE_OF:
            limit = getattr(resource, f"RLIMIT_{name}", None)
            if limit is not None:
                resource.setrlimit(limit, (0, 0))
        if self.cpu_seconds is not None:
            # Above the soft limit SIGXCPU says why; the hard one is for who caught it.
            _lower(resource.RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds + 1)
        if self.address_space_bytes is None:
            return False
        _lower(resource.RLIMIT_AS, self.address_space_bytes, self.address_space_bytes)
        return True


def allow_cpu_seconds(process_id: int, seconds: int) -> None:
    """Let a child use so much more processor time from now on; beyond, SIGXCPU ends it.

    The parent sets this, for who can raise its own limit has none. Does nothing when the child is
    gone, or where limits of other processes cannot be set (outside Linux): then only the parent's
    clock bounds the child.
    """
    if sys.platform == "linux":
        clock = ctypes.c_int()
        if ctypes.CDLL(None).clock_getcpuclockid(process_id, ctypes.byref(clock)):
            return
        with suppress(OSError):
            used = time.clock_gettime(clock.value)
            _, hard = resource.prlimit(process_id, resource.RLIMIT_CPU)
            soft = math.ceil(used) + seconds
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.prlimit(process_id, resource.RLIMIT_CPU, (soft, hard))


def _lower(limit: int, soft: int, hard: int) -> None:
    """Set a limit, or keep what was there if it is lower still."""
    now = resource.getrlimit(limit)
    bounds = [
        wanted if current == resource.RLIM_INFINITY else min(wanted, current)
        for wanted, current in zip((soft, hard), now, strict=True)
    ]
    resource.setrlimit(limit, (bounds[0], bounds[1]))
