"""A profile, and its program for seccomp: what the kernel checks before every system call.

The program is an allow-list in classic BPF. In this order it

1. kills the process if the call does not come in the expected architecture's convention: the
   numbers of 32-bit x86 mean something else, and would turn the list into nonsense;
2. allows a call of the list if its arguments meet the conditions;
3. answers a call of the second list with an error number;
4. kills the process on any other call. Numbers are compared whole, so this covers those of the x32
   convention, which carry a bit of their own.

Why two answers. An error alone would let whoever has taken over the process try everything in turn,
and nobody would know. A kill alone would end training because a library looks for a file that it
can do without, or reports its number of processors. So what honest libraries were seen to try is
refused with an error that they handle, and anything else is taken for what it is: the process ends
with SIGSYS, its owner is told, and nothing of it is used.

Only words of the call itself are seen; what pointers point to may change after the check and is
never part of a condition. Source: the kernel's `Documentation/userspace-api/seccomp_filter.rst`.
"""

import ctypes
import struct
from collections.abc import Mapping
from typing import Literal

import msgspec

from pnyx.sandbox import kernel

# Operation codes of linux/bpf_common.h: class | size or operation | mode or source.
_LOAD_WORD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_GREATER = 0x25
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06

# Offsets in struct seccomp_data of linux/seccomp.h; both architectures are little endian.
_NUMBER_AT = 0
_ARCHITECTURE_AT = 4
_ARGUMENTS_AT = 16
_ARGUMENT_BYTES = 8

KILL_PROCESS = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

_SET_MODE_FILTER = 1
_FLAG_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


class Condition(msgspec.Struct, frozen=True):
    """On the lower 32 bits of an argument, numbered from 0: those that the kernel reads of an int.

    `equal` to the value, `at_most` it, or `none_of` its bits set.
    """

    argument: int
    test: Literal["equal", "at_most", "none_of"]
    value: int


class Profile(msgspec.Struct, frozen=True):
    """What a confined process may ask of the kernel.

    allowed: calls by name, with conditions that must all hold. refused: calls that fail with an
    error number, where they are not allowed or their conditions do not hold. Any other call kills.
    """

    allowed: Mapping[str, tuple[Condition, ...]]
    refused: Mapping[str, int]


def compile_filter(profile: Profile, machine: str) -> list[Instruction]:
    """The program of a profile for an architecture, a key of `kernel.ARCHITECTURES`.

    Calls that the architecture lacks are left out. The first three instructions are the check of
    the architecture.
    """
    program: list[Instruction] = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, kernel.ARCHITECTURES[machine]),
        (_RETURN, 0, 0, KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
    ]
    for name, conditions in profile.allowed.items():
        answer = _refusal(profile, name)
        program += _when(name, machine, [*_checks(conditions, answer), (_RETURN, 0, 0, _ALLOW)])
    for name in profile.refused.keys() - profile.allowed.keys():
        program += _when(name, machine, [(_RETURN, 0, 0, _refusal(profile, name))])
    return [*program, (_RETURN, 0, 0, KILL_PROCESS)]


def install_filter(program: list[Instruction], machine: str) -> None:
    """Put every thread of this process under a program, for good; after `forbid_new_privileges`.

    Raises OSError when the kernel has no seccomp or refuses.
    """
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    kernel.call("seccomp", machine, _SET_MODE_FILTER, _FLAG_ALL_THREADS, header)


def _refusal(profile: Profile, name: str) -> int:
    error = profile.refused.get(name)
    return KILL_PROCESS if error is None else _ERRNO | error


def _when(name: str, machine: str, block: list[Instruction]) -> list[Instruction]:
    """A block, which always returns, for one call; skipped when the call is another one."""
    number = kernel.number(name, machine)
    if number is None:
        return []
    return [(_JUMP_EQUAL, 0, len(block), number), *block]


def _checks(conditions: tuple[Condition, ...], otherwise: int) -> list[Instruction]:
    """Go on behind these instructions if all conditions hold, else return `otherwise`."""
    checks: list[Instruction] = []
    for condition in conditions:
        checks.append((_LOAD_WORD, 0, 0, _ARGUMENTS_AT + _ARGUMENT_BYTES * condition.argument))
        match condition.test:
            case "equal":
                checks.append((_JUMP_EQUAL, 1, 0, condition.value))
            case "at_most":
                checks.append((_JUMP_GREATER, 0, 1, condition.value))
            case "none_of":
                checks.append((_JUMP_ANY_BIT, 0, 1, condition.value))
        checks.append((_RETURN, 0, 0, otherwise))
    return checks
