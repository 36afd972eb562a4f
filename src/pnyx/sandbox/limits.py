"""Bounds that a process sets on itself: memory, processor time, and the rest."""

import math
import resource
import sys
from pathlib import Path

import msgspec

# What a child that only computes needs none of; some exist on Linux only.
_NONE_OF = ("NOFILE", "FSIZE", "CORE", "NPROC", "MEMLOCK", "MSGQUEUE")


class Limits(msgspec.Struct, frozen=True):
    """Values for `setrlimit`, computed while /proc can still be read."""

    address_space_bytes: int | None  # None: not accounted in a useful way on this system
    cpu_seconds: int

    @classmethod
    def beyond_now(cls, memory_bytes: int, cpu_seconds: int) -> "Limits":
        """Allow this process so much more address space and processor time than it has used."""
        address_space = None
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            address_space = pages * resource.getpagesize() + memory_bytes
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used_s = math.ceil(usage.ru_utime + usage.ru_stime)
        return cls(address_space, used_s + cpu_seconds)

    def impose(self) -> bool:
        """Impose them on this process, and tell whether all of them hold."""
        for name in _NONE_OF:
            limit = getattr(resource, f"RLIMIT_{name}", None)
            if limit is not None:
                resource.setrlimit(limit, (0, 0))
        # Above the soft limit SIGXCPU says why; the hard one is for who caught it.
        _lower(resource.RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds + 1)
        if self.address_space_bytes is None:
            return False
        _lower(resource.RLIMIT_AS, self.address_space_bytes, self.address_space_bytes)
        return True


def _lower(limit: int, soft: int, hard: int) -> None:
    """Set a limit, or keep what was there if it is lower still."""
    now = resource.getrlimit(limit)
    bounds = [
        wanted if current == resource.RLIM_INFINITY else min(wanted, current)
        for wanted, current in zip((soft, hard), now, strict=True)
    ]
    resource.setrlimit(limit, (bounds[0], bounds[1]))
