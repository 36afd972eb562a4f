"""Training tasks of one node, run one after the other by its worker process.

The worker is asked how it is confined as soon as there is an event loop, so that its owner can see
it before anything is trained.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from pnyx.errors import TrainingError
from pnyx.learning import worker as bounds
from pnyx.learning.frames import RECEIVE_BYTES
from pnyx.learning.task import TrainingOutcome, TrainingTask
from pnyx.learning.worker import TrainingWorker
from pnyx.protocol.events import Notice
from pnyx.sandbox import Confinement

T = TypeVar("T")


class WorkerConfined(Notice, frozen=True):
    """A new training worker told how it is confined."""

    confinement: Confinement


class TaskFailed(Notice, frozen=True):
    """A round asked this owner's node for a contribution, and it could make none."""

    study: bytes
    round_number: int
    reason: str  # a sentence for the owner


class Job(msgspec.Struct, frozen=True):
    """A task, and who is told of its outcome."""

    task: TrainingTask
    done: Callable[[TrainingOutcome | TrainingError], None]


class Trainer:
    """A queue in front of a worker; a worker that dies fails its task and is started again."""

    def __init__(self, worker: TrainingWorker, observer: Callable[[Notice], None]) -> None:
        self._worker = worker
        self._observer = observer
        self._queue: deque[Job] = deque()
        self._pump: asyncio.Task[None] | None = None

    @property
    def confinement(self) -> Confinement | None:
        """What the latest worker said of itself; None before the first one has."""
        return self._worker.confinement

    def start(self) -> None:
        """Ask the worker how it is confined; call it once, inside the event loop."""
        self._pump = asyncio.get_running_loop().create_task(self._run())

    def submit(self, job: Job) -> None:
        """Run a job when its turn comes."""
        self._queue.append(job)
        if self._pump is None:
            self.start()

    async def _run(self) -> None:
        with suppress(TrainingError):  # the first job meets it again, and reports it
            await self._bounded(self._prepare())
        while self._queue:
            job = self._queue.popleft()
            try:
                outcome: TrainingOutcome | TrainingError = await self._bounded(
                    self._train(job.task)
                )
            except TrainingError as error:
                outcome = error
            job.done(outcome)
        self._pump = None

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(bounds.WALL_SECONDS_PER_TASK_MAX):
                return await work
        except TimeoutError as error:
            raise self._worker.overdue() from error
        except ConnectionError as error:
            raise self._worker.failure() from error

    async def _prepare(self) -> None:
        """Have a worker that runs and told how it is confined."""
        worker = self._worker
        known = worker.confinement
        if not worker.running:
            worker.start()
        worker.connection.setblocking(False)
        received = b""
        try:
            while not worker.hear_confinement(received):
                received = await self._receive()
        finally:
            if worker.confinement is not None and worker.confinement != known:
                self._observer(WorkerConfined(worker.confinement))

    async def _train(self, task: TrainingTask) -> TrainingOutcome:
        await self._prepare()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._worker.connection, self._worker.begin(task))
        outcome = None
        while outcome is None:
            outcome = self._worker.hear_outcome(await self._receive(), task)
        return outcome

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        received = await loop.sock_recv(self._worker.connection, RECEIVE_BYTES)
        if not received:
            raise ConnectionResetError
        return received

    async def stop(self) -> None:
        """Forget waiting jobs and end the worker."""
        self._queue.clear()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._worker.stop()
