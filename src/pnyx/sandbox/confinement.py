"""How a child confines itself, and what it can say about it afterwards."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from pnyx.sandbox import filters, kernel, landlock
from pnyx.sandbox.limits import Limits

_FULL = "full"


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """Which defences took effect in a process, as it found out itself.

    landlock_version: of Landlock, 0 if it is not in force. system_calls: filtered by seccomp.
    limits: memory, processor time, descriptors, files and locked memory are bounded.
    """

    landlock_version: int
    system_calls: bool
    limits: bool

    @property
    def full(self) -> bool:
        """Whether everything that this package knows is in force."""
        return self.landlock_version > 0 and self.system_calls and self.limits

    def describe(self) -> str:
        """For an owner: "full", or "reduced: ..." with what is missing."""
        if self.full:
            return _FULL
        missing = [
            words
            for words, there in (
                ("system calls are not filtered", self.system_calls),
                ("files and network are not barred by Landlock", self.landlock_version > 0),
                ("memory is not bounded", self.limits),
            )
            if not there
        ]
        return "reduced: " + ", ".join(missing)


def confine(
    profile: filters.Profile,
    *,
    channel: int,
    memory_bytes: int,
    cpu_seconds: int,
) -> Confinement:
    """Confine this process for good; call it when everything it needs is loaded.

    channel: the one descriptor that stays open; standard input, output and errors lead nowhere.
    memory_bytes: address space beyond what is in use now. cpu_seconds: processor time from now on,
    after which SIGXCPU ends the process. Returns what took effect: a defence
    that this machine lacks is left out, never an error.
    """
    _close_all_but(channel)
    machine = kernel.architecture()
    limits = Limits.beyond_now(memory_bytes, cpu_seconds)
    if machine is None:
        return Confinement(landlock_version=0, system_calls=False, limits=limits.impose())
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    program = filters.compile_filter(profile, machine)
    kernel.forbid_new_privileges()
    kernel.hide_memory()
    kernel.drop_capabilities(machine)
    # In this order: each step still needs what the next one takes away.
    landlock_version = landlock.restrict(machine, threads=threads)
    limited = limits.impose()
    return Confinement(
        landlock_version=landlock_version,
        system_calls=_filter_calls(program, machine),
        limits=limited,
    )


def close_descriptors(kept: set[int]) -> None:
    """Close every descriptor but these."""
    for descriptor in {int(entry.name) for entry in Path("/dev/fd").iterdir()} - kept:
        with suppress(OSError):  # the listing's own is closed already
            os.close(descriptor)


def _close_all_but(channel: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    close_descriptors({0, 1, 2, channel})


def _filter_calls(program: list[filters.Instruction], machine: str) -> bool:
    """Install the filter, then look whether it answers."""
    try:
        filters.install_filter(program, machine)
    except OSError:
        return False
    try:
        kernel.call("getppid", machine)  # never fails, unless a filter refuses it
    except PermissionError:
        return True
    return False
