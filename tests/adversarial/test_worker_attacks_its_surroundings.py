"""A program that took over the worker attacks processes, kernel and its bounds (THREATS P1)."""

import ctypes
import mmap
import os
import resource
import signal
import struct

import pytest
from tests.support.confined import (
    FOREIGN,
    LIBC,
    MACHINE,
    attempt,
    confined,
    filtered,
    limited,
    needs_filter,
    raw,
    resists,
    unconfined,
)

from pnyx.sandbox import filters, kernel, training_profile

pytestmark = [
    needs_filter,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
x86_64 = pytest.mark.skipif(MACHINE != "x86_64", reason="a matter of x86")


# --- other processes ----------------------------------------------------------------------------


def test_traces_and_reads_its_parent():
    parent = os.getpid()
    secret = ctypes.create_string_buffer(b"a key in the parent's memory")

    def read() -> bytes:
        found = ctypes.create_string_buffer(10)
        local = struct.pack("2Q", ctypes.addressof(found), 10)
        remote = struct.pack("2Q", ctypes.addressof(secret), 10)
        raw("process_vm_readv", parent, local, 1, remote, 1, 0)
        return found.raw

    resists(read, "process_vm_readv")
    seize = 0x4206
    resists(lambda: raw("ptrace", seize, parent, 0, 0), "ptrace")
    resists(lambda: raw("pidfd_open", parent, 0), "pidfd_open")


def test_signals_others():
    parent = os.getpid()
    resists(lambda: os.kill(parent, 0), "kill")
    assert attempt(lambda: os.kill(parent, signal.SIGKILL)).killed_by == "SIGSYS"
    assert attempt(lambda: os.kill(-1, signal.SIGKILL)).killed_by == "SIGSYS"
    resists(lambda: raw("tgkill", parent, parent, 0), "tgkill")
    assert attempt(lambda: raw("tgkill", parent, parent, signal.SIGKILL)).error == "EPERM"


def test_abort_of_its_own_is_seen_as_one():
    assert attempt(os.abort).killed_by == "SIGABRT"


# --- the kernel ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("io_uring_setup", (4, bytes(120))),
        ("bpf", (0, struct.pack("4I", 2, 4, 8, 1) + bytes(112), 128)),
        ("keyctl", (0, -3, 1)),
        ("add_key", (b"user", b"pnyx-test", b"x", 1, -1)),
        ("unshare", (0x10000000,)),
        ("memfd_create", (b"m", 0)),
        ("userfaultfd", (1,)),
    ],
)
def test_asks_for_more_of_the_kernel(call, arguments):
    resists(lambda: raw(call, *arguments), call)
    assert attempt(lambda: raw(call, *arguments)).killed_by == "SIGSYS"


def test_mounts(tmp_path):
    target = bytes(tmp_path)

    def mount() -> int:
        raw("mount", b"none", target, b"tmpfs", 0, 0)
        return raw("umount2", target, 0)

    resists(mount, "mount", "umount2")


def test_enters_another_namespace():
    descriptor = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        resists(lambda: raw("setns", descriptor, 0), "setns")
    finally:
        os.close(descriptor)


def test_shares_memory_or_queues_with_others():
    def share() -> int:
        segment = raw("shmget", 0, 4096, 0o600)
        return raw("shmctl", segment, 0, 0)

    def queue() -> int:
        raw("mq_open", b"pnyx-test", os.O_CREAT | os.O_RDWR, 0o600, 0)
        return raw("mq_unlink", b"pnyx-test")

    resists(share, "shmget", "shmctl")
    resists(queue, "mq_open", "mq_unlink")


def test_every_foreign_call_kills():
    """Attacks of tomorrow: whatever the list does not name ends the process."""
    for name in sorted(FOREIGN.keys() - training_profile(3).refused.keys()):
        if FOREIGN[name][list(kernel.ARCHITECTURES).index(MACHINE)] is not None:
            assert attempt(lambda name=name: raw(name, 0, 0, 0, 0, 0)).killed_by == "SIGSYS", name
    for unheard_of in (600, 4095, -1):
        ending = attempt(lambda number=unheard_of: LIBC.syscall(ctypes.c_long(number)))
        assert ending.killed_by == "SIGSYS"


# --- its own bounds -----------------------------------------------------------------------------


def raise_limit() -> int:
    return raw("prlimit64", 0, resource.RLIMIT_NOFILE, struct.pack("2Q", 64, 64), 0)


def test_raises_its_limits():
    resists(raise_limit, "prlimit64")
    assert attempt(raise_limit, limited).error == "EPERM"  # the kernel's own rule, root or not


def test_takes_its_confinement_back():
    set_dumpable = 4
    resists(lambda: raw("prctl", set_dumpable, 1, 0, 0, 0), "prctl")
    allow_all = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)

    def add_filter() -> int:
        program = ctypes.create_string_buffer(allow_all, 8)
        return raw("seccomp", 1, 0, struct.pack("@HP", 1, ctypes.addressof(program)))

    assert attempt(add_filter).killed_by == "SIGSYS"
    set_seccomp, strict_or_filter = 22, 2
    assert attempt(lambda: raw("prctl", set_seccomp, strict_or_filter, 0)).error == "EPERM"


# --- another convention for calls ---------------------------------------------------------------

UNLINK_I386 = 10  # the number of mprotect on x86_64, which training may call


@pytest.fixture
def unlink_by_interrupt(tmp_path):
    """Machine code that asks for `unlink` through the 32-bit gate, and the file that it removes."""
    path = tmp_path / "victim"
    path.touch()
    low_addresses = 0x40
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | low_addresses
    LIBC.mmap.restype = ctypes.c_void_p
    page = LIBC.mmap(None, ctypes.c_size_t(4096), 7, flags, -1, ctypes.c_long(0))
    name_at = page + 256
    code = (
        b"\x53\xb8"  # push rbx; mov eax,
        + struct.pack("=I", UNLINK_I386)
        + b"\xbb"  # mov ebx,
        + struct.pack("=I", name_at)
        + b"\xcd\x80\x5b\xc3"  # int 0x80; pop rbx; ret
    )
    ctypes.memmove(page, code, len(code))
    ctypes.memmove(name_at, bytes(path) + b"\0", len(bytes(path)) + 1)
    yield path, ctypes.CFUNCTYPE(ctypes.c_int)(page)
    LIBC.munmap(ctypes.c_void_p(page), ctypes.c_size_t(4096))


@x86_64
def test_calls_by_32_bit_numbers(unlink_by_interrupt):
    path, unlink = unlink_by_interrupt
    for arrange in (confined, filtered):
        assert attempt(unlink, arrange).killed_by == "SIGSYS"
    assert path.exists()

    def without_check_of_architecture(channel: int) -> None:
        kernel.forbid_new_privileges()
        program = filters.compile_filter(training_profile(channel), MACHINE)
        filters.install_filter(program[3:], MACHINE)

    ending = attempt(unlink, without_check_of_architecture)
    if attempt(unlink, unconfined).killed_by:
        pytest.skip("this kernel serves no 32-bit calls")
    assert ending.succeeded
    assert not path.exists()


@x86_64
@pytest.mark.parametrize("name", ["getpid", "openat", "mmap", "sendto"])
def test_calls_by_x32_numbers(name):
    x32_bit = 0x40000000
    number = kernel.number(name, MACHINE) | x32_bit
    assert attempt(lambda: LIBC.syscall(ctypes.c_long(number), 0, 0, 0)).killed_by == "SIGSYS"
