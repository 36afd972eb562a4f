"""Landlock: the kernel's denial of files, network and signals to a process that asks for it.

Everything that the kernel's version of Landlock can deny is denied, without exception. It repeats
much of what the system-call filter does, by other means: a hole in one is not a hole in the other.
What is open already stays usable.

Which version denies what: the kernel's `Documentation/userspace-api/landlock.rst`.
"""

import os
import struct

from pnyx.sandbox import kernel

# Rights on files that each version added: 13 at first, then moves between directories, truncation,
# and device commands.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_NETWORK_RIGHTS = {4: 2}  # to bind and to connect TCP ports
_SCOPES = {6: 2}  # abstract Unix sockets and signals beyond this process

_CREATE_RULESET_VERSION = 1
_WORD_BYTES = 8


def version(machine: str) -> int:
    """The kernel's version (ABI) of Landlock; 0 if it has none or does not let us use it."""
    try:
        return kernel.call("landlock_create_ruleset", machine, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(machine: str, *, threads: int) -> int:
    """Deny this process all that Landlock can, for good; after `forbid_new_privileges`.

    threads: how many the process has. Returns the version in force, 0 for none. It binds the
    calling thread and those that it starts, so beside other threads it does not count.
    """
    found = version(machine)
    if found == 0:
        return 0
    ruleset, size = _ruleset(found)
    try:
        descriptor = kernel.call("landlock_create_ruleset", machine, ruleset, size, 0)
        try:
            kernel.call("landlock_restrict_self", machine, descriptor, 0)
        finally:
            os.close(descriptor)
    except OSError:
        return 0
    return found if threads == 1 and _root_is_barred() else 0


def _ruleset(found: int) -> tuple[bytes, int]:
    """A `struct landlock_ruleset_attr` that handles everything, and its size in this version."""
    groups = [_mask(rights, found) for rights in (_FILE_RIGHTS, _NETWORK_RIGHTS, _SCOPES)]
    size = _WORD_BYTES * (1 + (found >= min(_NETWORK_RIGHTS)) + (found >= min(_SCOPES)))
    return struct.pack("=3Q", *groups), size


def _mask(rights: dict[int, int], found: int) -> int:
    count = max((count for since, count in rights.items() if since <= found), default=0)
    return (1 << count) - 1


def _root_is_barred() -> bool:
    """Look, rather than believe: nothing lists the root directory any more."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except PermissionError:
        return True
    return False
