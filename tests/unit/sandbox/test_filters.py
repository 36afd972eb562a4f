"""The filter's program, run by an interpreter of the few operations that it uses.

So the program of one architecture is checked on a machine of another.
"""

import errno
import mmap

import pytest

from pnyx.sandbox import kernel, query_profile, training_profile
from pnyx.sandbox.filters import KILL_PROCESS, Condition, Profile, compile_filter

ALLOW = 0x7FFF0000
CHANNEL = 7
MACHINES = sorted(kernel.ARCHITECTURES)
both = pytest.mark.parametrize("machine", MACHINES)


def refusal(error: int) -> int:
    return 0x00050000 | error


def decide(program, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel would answer. Arguments are whole 64-bit words."""
    words = {0: number, 4: architecture}
    for index, value in enumerate((*arguments, 0, 0, 0, 0, 0, 0)[:6]):
        words[16 + 8 * index] = value & 0xFFFFFFFF
    at = loaded = 0
    while True:
        code, when_true, when_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                loaded = words[operand]
            case 0x06:
                return operand
            case 0x15:
                at += when_true if loaded == operand else when_false
            case 0x25:
                at += when_true if loaded > operand else when_false
            case 0x45:
                at += when_true if loaded & operand else when_false
            case _:
                pytest.fail(f"unknown operation {code:#x}")


def asked(machine: str, name: str, *arguments: int, make=training_profile) -> int:
    program = compile_filter(make(CHANNEL), machine)
    number = kernel.number(name, machine)
    return decide(program, kernel.ARCHITECTURES[machine], number, *arguments)


@both
def test_every_call_of_every_number(machine):
    """The list, and nothing beside it."""
    profile = training_profile(CHANNEL)
    program = compile_filter(profile, machine)
    names = {kernel.number(name, machine): name for name in kernel._NUMBERS}
    for number in range(-1, 1000):
        name = names.get(number)
        found = decide(program, kernel.ARCHITECTURES[machine], number)
        if name in profile.allowed and not profile.allowed[name]:
            assert found == ALLOW, name
        elif name in profile.refused:
            assert found in (ALLOW, refusal(profile.refused[name])), name
        elif name in profile.allowed:
            continue  # by its conditions, below
        else:
            assert found == KILL_PROCESS, number


@both
def test_conditions_on_arguments(machine):
    anonymous = 0xFFFFFFFFFFFFFFFF
    assert asked(machine, "mmap", 0, 4096, 3, 0x22, anonymous) == ALLOW
    assert asked(machine, "mmap", 0, 4096, 3, 0x22, 0xFFFFFFFF) == ALLOW  # an int, as it is read
    assert asked(machine, "mmap", 0, 4096, 3, 0x02, 5) == refusal(errno.EPERM)
    assert asked(machine, "sendto", CHANNEL) == ALLOW
    assert asked(machine, "sendto", CHANNEL + 1) == KILL_PROCESS
    assert asked(machine, "recvfrom", CHANNEL) == ALLOW
    assert asked(machine, "recvfrom", 0) == KILL_PROCESS
    assert asked(machine, "write", 2) == ALLOW
    assert asked(machine, "write", CHANNEL) == refusal(errno.EPERM)
    assert asked(machine, "write", (1 << 32) - 1) == refusal(errno.EPERM)


@both
def test_only_training_runs_code_that_it_made(machine):
    code = mmap.PROT_READ | mmap.PROT_EXEC
    assert asked(machine, "mprotect", 0, 4096, code) == ALLOW
    refused = refusal(errno.EPERM)
    assert asked(machine, "mprotect", 0, 4096, code, make=query_profile) == refused
    assert asked(machine, "mmap", 0, 4096, code, 0x22, -1, make=query_profile) == refused
    assert asked(machine, "mprotect", 0, 4096, mmap.PROT_READ, make=query_profile) == ALLOW


@both
def test_other_architectures_are_killed(machine):
    program = compile_filter(training_profile(CHANNEL), machine)
    i386, arm, x86_64, aarch64 = 0x40000003, 0x40000028, 0xC000003E, 0xC00000B7
    for architecture in {i386, arm, x86_64, aarch64, 0} - {kernel.ARCHITECTURES[machine]}:
        for number in range(500):
            assert decide(program, architecture, number) == KILL_PROCESS


def test_x32_numbers_are_killed():
    program = compile_filter(training_profile(CHANNEL), "x86_64")
    for number in range(600):
        found = decide(program, kernel.ARCHITECTURES["x86_64"], number | 0x40000000)
        assert found == KILL_PROCESS


def test_calls_that_an_architecture_lacks_are_left_out():
    profile = Profile({"time": (), "access": (Condition(0, "equal", 1),)}, {})
    assert len(compile_filter(profile, "x86_64")) == 4 + 2 + 5 + 1
    assert len(compile_filter(profile, "aarch64")) == 4 + 1


def test_numbers_are_given_once():
    for index, machine in enumerate(kernel.ARCHITECTURES):
        numbers = [pair[index] for pair in kernel._NUMBERS.values() if pair[index] is not None]
        assert len(numbers) == len(set(numbers)), machine
