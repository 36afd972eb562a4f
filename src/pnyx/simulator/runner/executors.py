"""Where runs are carried out: in this process, on all cores, or on a Ray cluster.

A run is bytes in and bytes out: which experiment, with which parameters and seed, and the records
that came of it or why it failed, all as MessagePack, which loses no number (JSON has neither
infinities nor NaN, and would write null). So every executor gives the same results, in whatever
order; and what worker processes and machines exchange is never more than that. (Ray itself trusts
its cluster, and unpickles what comes from it: use a cluster of your own only.)

A run that fails costs no other. Processes of this machine also keep the records of a run that are
final in a file of their own, so that not even a killed process takes them with it.
"""

import importlib
import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Protocol

import msgspec

from pnyx.errors import ConfigError, PnyxError
from pnyx.simulator.experiment import Progress, silent
from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.runner.folder import keeping
from pnyx.simulator.runner.provenance import code_version

_REACHED_S = 5.0
_TOLD_S = 0.5  # between two looks at how far processes are
_WAITING = 2  # jobs that a process has, the one under way included
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_worker = SimpleNamespace(shares=None)  # of a process of the pool: what it tells how far it is by


class Job(msgspec.Struct, frozen=True):
    """One run. code: what sends it, as whoever carries it out must have the same."""

    mode: str
    parameters: msgspec.Raw
    seed: int
    code: str


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """What came of a run: a MessagePack list of its records."""

    records: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why a run failed, in a sentence; details: where in the code."""

    sentence: str
    details: str


Result = Kept | Failed
Numbered = tuple[int, bytes]
Partial = Callable[[int], Path]  # number of a run -> file for those of its records that are final


class Executor(Protocol):
    """Carries out runs."""

    def run(
        self, jobs: Iterable[Numbered], progress: Progress, partial: Partial
    ) -> Iterator[tuple[int, Result]]:
        """Yield each job's number and what came of it, as they come.

        progress: told how many runs' worth of work is done of those under way. partial: where final
        records are kept of runs that are carried out on this machine.
        """
        ...


def encode_job(mode: str, parameters: msgspec.Struct, seed: int) -> bytes:
    """Return a run as bytes, for `attempt`."""
    encoded = msgspec.Raw(msgspec.msgpack.encode(parameters))
    return msgspec.msgpack.encode(Job(mode, encoded, seed, code_version()))


def attempt(job: bytes, progress: Progress = silent) -> bytes:
    """Carry out a run; returns a `Result`, encoded."""
    result: Result
    try:
        result = Kept(msgspec.Raw(perform(job, progress)))
    except PnyxError as error:
        result = Failed(str(error), traceback.format_exc())
    except Exception as error:  # noqa: BLE001  (a bug in one run costs no other)
        sentence = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        result = Failed(sentence, traceback.format_exc())
    return msgspec.msgpack.encode(result)


def perform(job: bytes, progress: Progress = silent) -> bytes:
    """Carry out a run; returns its records as a MessagePack list. Raises ConfigError."""
    wanted = msgspec.msgpack.decode(job, type=Job)
    if wanted.code != code_version():
        raise ConfigError(
            f"This machine has other code of Pnyx, {code_version()}, than the one that sends the "
            f"runs, {wanted.code}: install the same on all."
        )
    experiment = EXPERIMENTS[wanted.mode]
    parameters = msgspec.msgpack.decode(wanted.parameters, type=experiment.parameters)
    return msgspec.msgpack.encode(list(experiment.run(parameters, wanted.seed, progress)))


def _result(encoded: bytes) -> Result:
    return msgspec.msgpack.decode(encoded, type=Kept | Failed)


class SerialExecutor:
    """Runs one after the other in this process."""

    def run(
        self, jobs: Iterable[Numbered], progress: Progress, partial: Partial
    ) -> Iterator[tuple[int, Result]]:
        """Yield each job's number and result. Raises KeyboardInterrupt."""
        for number, job in jobs:
            with _interrupted_for_certain():
                encoded = attempt(job, keeping(partial(number), progress))
            yield number, _result(encoded)


@contextmanager
def _interrupted_for_certain() -> Iterator[None]:
    """Raise KeyboardInterrupt after Ctrl-C, whatever became of the one that it raised.

    CPython turns one that falls into an import into a TypeError, and a destructor drops one: a run
    would count as failed, or go on.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


class PoolExecutor:
    """A process for each core, each with one thread."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def run(
        self, jobs: Iterable[Numbered], progress: Progress, partial: Partial
    ) -> Iterator[tuple[int, Result]]:
        """Yield each job's number and result, as they come; interrupted, it ends its processes.

        Raises ConfigError when a process is ended from outside.
        """
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        context = multiprocessing.get_context("spawn")
        shares = RawArray("d", _WAITING * self._processes)
        pool = ProcessPoolExecutor(self._processes, context, _begin, (shares,))
        try:
            yield from _hand_out(pool, shares, iter(jobs), progress, partial)
        except BrokenProcessPool as error:
            raise ConfigError(
                "A process of the sweep was ended from outside, perhaps for want of memory: give "
                "the same command with a lower --jobs to go on."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()


def _hand_out(
    pool: ProcessPoolExecutor,
    shares: MutableSequence[float],
    jobs: Iterator[Numbered],
    progress: Progress,
    partial: Partial,
) -> Iterator[tuple[int, Result]]:
    """Keep all processes busy. shares: of each job that was handed out, how much of it is done."""
    free = list(range(len(shares)))
    running: dict[Future[bytes], tuple[int, int]] = {}  # -> number of the run, its share
    while True:
        while free and (job := next(jobs, None)) is not None:
            at = free.pop()
            future = pool.submit(_work, job[1], at, str(partial(job[0])))
            running[future] = job[0], at
        if not running:
            return
        for future in wait(running, _TOLD_S, FIRST_COMPLETED).done:
            number, at = running.pop(future)
            shares[at] = 0.0
            free.append(at)
            yield number, _result(future.result())
        progress(sum(shares))


def _begin(shares: MutableSequence[float]) -> None:
    """Start a process of the pool: Ctrl-C reaches all of them, and the parent alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.shares = shares


def _work(job: bytes, at: int, partial: str) -> bytes:
    """Carry out a run in a process of the pool. at: its place in the shares."""
    return attempt(job, keeping(Path(partial), lambda share, _=(): _tell(at, share)))


def _tell(at: int, share: float) -> None:
    _worker.shares[at] = share


class RayExecutor:
    """Runs on a Ray cluster, whose machines have the same code of Pnyx installed."""

    def __init__(self, address: str) -> None:
        self._address = address

    def run(
        self, jobs: Iterable[Numbered], progress: Progress, partial: Partial
    ) -> Iterator[tuple[int, Result]]:
        """Yield each job's number and result, as they come. Raises ConfigError.

        Other machines tell nothing of a run before it is over.
        """
        del progress, partial
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
            yield from _gather(ray, ray.remote(attempt), jobs)
        except ray.exceptions.RayError as error:
            raise ConfigError(
                f"The Ray cluster at {self._address} failed ({type(error).__name__}): give the "
                "same command again to go on."
            ) from error
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError when nobody listens at host:port, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()


def _gather(ray: Any, remote: Any, jobs: Iterable[Numbered]) -> Iterator[tuple[int, Result]]:
    numbers = {remote.remote(job): number for number, job in jobs}
    waiting = list(numbers)
    while waiting:
        ready, waiting = ray.wait(waiting)
        for reference in ready:
            yield numbers[reference], _result(ray.get(reference))


def _load_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "--ray needs the package ray: install it with 'pip install pnyx[ray]'."
        ) from error
