"""Where runs are carried out: in this process, on all cores, or on a Ray cluster.

A run is bytes in and bytes out: which experiment, with which parameters and seed, and the records
that came of it, both as MessagePack, which loses no number (JSON has neither infinities nor NaN,
and would write null). So every executor gives the same results, in whatever order; and what
worker processes and machines exchange is never more than that. (Ray itself trusts its cluster, and
unpickles what comes from it: use a cluster of your own only.)
"""

import importlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

import msgspec

from pnyx.errors import ConfigError
from pnyx.simulator.experiment import Progress, silent
from pnyx.simulator.experiments import EXPERIMENTS

_REACHED_S = 5.0
Numbered = tuple[int, bytes]
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Job(msgspec.Struct, frozen=True):
    """One run."""

    mode: str
    parameters: msgspec.Raw
    seed: int


class Executor(Protocol):
    """Carries out runs."""

    def run(self, jobs: Iterable[Numbered], progress: Progress) -> Iterator[Numbered]:
        """Yield each job's number and records, as they come."""
        ...


def encode_job(mode: str, parameters: msgspec.Struct, seed: int) -> bytes:
    """Return a run as bytes, for `perform`."""
    return msgspec.msgpack.encode(Job(mode, msgspec.Raw(msgspec.msgpack.encode(parameters)), seed))


def perform(job: bytes, progress: Progress = silent) -> bytes:
    """Carry out a run; returns its records as a MessagePack list."""
    wanted = msgspec.msgpack.decode(job, type=Job)
    experiment = EXPERIMENTS[wanted.mode]
    parameters = msgspec.msgpack.decode(wanted.parameters, type=experiment.parameters)
    return msgspec.msgpack.encode(list(experiment.run(parameters, wanted.seed, progress)))


class SerialExecutor:
    """Runs one after the other in this process."""

    def run(self, jobs: Iterable[Numbered], progress: Progress) -> Iterator[Numbered]:
        """Yield each job's number and records; progress within a run is told."""
        for number, job in jobs:
            yield number, perform(job, progress)


class PoolExecutor:
    """A process for each core, each with one thread."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def run(self, jobs: Iterable[Numbered], progress: Progress) -> Iterator[Numbered]:
        """Yield each job's number and records, as they come; interrupted, it ends its processes."""
        del progress
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self._processes, context, initializer=_ignore_interrupts)
        try:
            futures = {pool.submit(perform, job): number for number, job in jobs}
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool as error:
            raise ConfigError(
                "A process of the sweep was ended from outside, perhaps for want of memory: give "
                "the same command with a lower --jobs to go on."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole group of processes; the parent alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class RayExecutor:
    """Runs on a Ray cluster, whose machines have the same version of Pnyx installed."""

    def __init__(self, address: str) -> None:
        self._address = address

    def run(self, jobs: Iterable[Numbered], progress: Progress) -> Iterator[Numbered]:
        """Yield each job's number and records, as they come."""
        del progress
        ray = _load_ray()
        try:
            _reach(self._address)
            ray.init(address=self._address, log_to_driver=False, configure_logging=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"No Ray cluster answers at {self._address}: start one with 'ray start --head', or "
                "leave --ray out."
            ) from error
        try:
            yield from _gather(ray, ray.remote(perform), jobs)
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError when nobody listens at host:port, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()


def _gather(ray: Any, remote: Any, jobs: Iterable[Numbered]) -> Iterator[Numbered]:
    numbers = {remote.remote(job): number for number, job in jobs}
    waiting = list(numbers)
    while waiting:
        ready, waiting = ray.wait(waiting)
        for reference in ready:
            yield numbers[reference], ray.get(reference)


def _load_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "--ray needs the package ray: install it with 'pip install pnyx[ray]'."
        ) from error
