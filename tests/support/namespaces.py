"""Network namespaces: each node in one of its own, all on one bridge, as computers on a switch.

What is cut here is lost without a word, as on a network: no connection is reset or refused, and
TCP repeats into the void, which loopback cannot show. Made by `ip` as root; see `missing`.
"""

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_COMMAND_S = 60


def _done(*command: str) -> bool:
    finished = subprocess.run(command, capture_output=True, timeout=_COMMAND_S)
    return finished.returncode == 0


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, timeout=_COMMAND_S)


def missing() -> str:
    """Why namespaces cannot be had here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    name = f"pnyx-try-{os.getpid()}"
    if not _done("ip", "netns", "add", name):
        return "this machine makes no network namespaces"
    try:
        if not _done("ip", "-n", name, "link", "add", "bridge", "type", "bridge"):
            return "this kernel has no bridges"
        if not _done("ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"):
            return "this kernel has no pairs of virtual links"
        entered: list[int] = []
        thread = threading.Thread(target=lambda: entered.append(_enter(name)))
        thread.start()
        thread.join()
        return "" if entered == [0] else "threads of this process enter no namespace"
    finally:
        _done("ip", "netns", "del", name)


def _enter(namespace: str) -> int:
    """Put the calling thread into a namespace; 0 if that worked."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        return int(_LIBC.setns(descriptor, _CLONE_NEWNET))
    finally:
        os.close(descriptor)


class Switch:
    """So many namespaces on one bridge."""

    def __init__(self, count: int) -> None:
        self._hub = f"pnyx-{os.getpid()}-hub"
        self.names = [f"pnyx-{os.getpid()}-{index}" for index in range(count)]
        self._cuts: set[tuple[int, int]] = set()

    @classmethod
    @contextmanager
    def of(cls, count: int) -> Iterator[Self]:
        switch = cls(count)
        try:
            switch._plug()
            yield switch
        finally:
            for name in [*switch.names, switch._hub]:
                _done("ip", "netns", "del", name)

    def _plug(self) -> None:
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        for index, name in enumerate(self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            end = f"port{index}"
            pair = ("link", "add", "wire", "type", "veth", "peer", "name", end)
            _ip("-n", name, *pair, "netns", self._hub)
            _ip("-n", self._hub, "link", "set", end, "master", "bridge", "up")
            _ip("-n", name, "addr", "add", f"{self.address(index)}/24", "dev", "wire")
            _ip("-n", name, "link", "set", "wire", "up")

    @staticmethod
    def address(index: int) -> str:
        return f"10.77.0.{index + 1}"

    def cut(self, sender: int, receiver: int) -> None:
        """From now on nothing that one sends reaches the other; the way back is as it was."""
        self._cuts.add((sender, receiver))
        self._route("add", sender, receiver)

    def heal(self) -> None:
        for sender, receiver in self._cuts:
            self._route("del", sender, receiver)
        self._cuts.clear()

    def _route(self, verb: str, sender: int, receiver: int) -> None:
        # A blackhole would tell the sender; who loops packets back to himself is told nothing.
        target, source = f"{self.address(receiver)}/32", self.address(sender)
        _ip("-n", self.names[sender], "route", verb, target, "dev", "lo", "src", source)


class Inhabitant:
    """A thread in a namespace, with an event loop of its own."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        if _enter(self._namespace) == 0:
            self.loop.run_forever()
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine there, and wait for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=_COMMAND_S)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function there, and wait for what it returns."""

        async def called() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(timeout=_COMMAND_S)

    def leave(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
