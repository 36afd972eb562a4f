"""Training tasks of one node, run one after the other by its worker process."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from pnyx.errors import TrainingError
from pnyx.learning.task import TrainingOutcome, TrainingTask
from pnyx.learning.worker import (
    RECEIVE_BYTES,
    FrameReader,
    TrainingWorker,
    decode_reply,
    encode_frame,
)


class Job(msgspec.Struct, frozen=True):
    """A task, and who is told of its outcome."""

    task: TrainingTask
    done: Callable[[TrainingOutcome | TrainingError], None]


class Trainer:
    """A queue in front of a worker; a worker that dies fails its task and is started again."""

    def __init__(self, worker: TrainingWorker) -> None:
        self._worker = worker
        self._queue: deque[Job] = deque()
        self._busy: Job | None = None
        self._reader = FrameReader()
        self._pump: asyncio.Task[None] | None = None

    def submit(self, job: Job) -> None:
        """Run a job when its turn comes."""
        self._queue.append(job)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._queue:
            job = self._queue.popleft()
            try:
                outcome: TrainingOutcome | TrainingError = await self._train(job.task)
            except TrainingError as error:
                outcome = error
            job.done(outcome)
        self._pump = None

    async def _train(self, task: TrainingTask) -> TrainingOutcome:
        if not self._worker.running:
            self._worker.start()
        loop = asyncio.get_running_loop()
        connection = self._worker.connection
        connection.setblocking(False)
        reader = FrameReader()
        bodies: list[bytes] = []
        try:
            await loop.sock_sendall(connection, encode_frame(task))
            while not bodies:
                received = await loop.sock_recv(connection, RECEIVE_BYTES)
                if not received:
                    raise self._worker.failure()
                bodies = reader.feed(received)
        except ConnectionError as error:
            raise self._worker.failure() from error
        return decode_reply(bodies[0])

    async def stop(self) -> None:
        """Forget waiting jobs and end the worker."""
        self._queue.clear()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._worker.stop()
