"""A training worker, as its node sees it: a process for one task, that can do nothing else.

What the worker does is in `pnyx.learning.child`, where it comes from in `pnyx.learning.nursery`,
what is said in `pnyx.learning.frames`. It confines itself for good before it reads anything that
comes from elsewhere, and its first frame says how far it came. With `sandbox="require"` no task is
sent to a worker that came less than all the way. When it has answered, it is ended and the next one
forked.

The node bounds the time of a task on its own clock. And it checks what comes back by the rules of
the task that it sent: whoever has taken over a worker can answer wrongly, but only with a vector
that the study allows.

States: stopped → `start` → running → (`stop`, or the worker fails) → stopped. A dead worker shows
as end of file on the channel; `failure` collects it and says why, after which `start` may be
called again.

`submit` blocks. An event loop instead waits on `connection` (a plain socket, which it may set
non-blocking, and which changes with every task). What it receives it gives to `hear_confinement`
until that returns true, then it sends `begin` and gives what it receives to `hear_outcome`. It
calls `failure` at end of file, and `overdue` when WALL_SECONDS_PER_TASK_MAX have passed.

The first `start` forks the nursery. Call it from a process with one thread (a lock held by another
one would stay locked in the child), and before the keystore and the vault are opened: a child
inherits a copy of its parent's memory, which no confinement takes away.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeVar

import msgspec

from pnyx.errors import TrainingError
from pnyx.learning.child import CPU_SECONDS_MAX
from pnyx.learning.frames import (
    BESIDE_VECTOR_BYTES_MAX,
    FIRST_FRAME_BYTES_MAX,
    RECEIVE_BYTES,
    FrameReader,
    TrainingFailure,
    decode_confinement,
    decode_reply,
    encode_frame,
)
from pnyx.learning.nursery import Nursery
from pnyx.learning.task import TrainingOutcome, TrainingTask
from pnyx.learning.update import VECTOR_DTYPE, answer_bounds, check_contribution
from pnyx.sandbox import Confinement

WALL_SECONDS_PER_TASK_MAX = 900

T = TypeVar("T")


class TrainingWorker:
    """The parent's end of one worker process.

    sandbox: whether a worker that is confined less than fully is refused ("require") or used
    ("best").
    """

    def __init__(self, sandbox: Literal["require", "best"] = "best") -> None:
        self._sandbox = sandbox
        self._connection: socket.socket | None = None
        self._nursery: Nursery | None = None
        self._reader = FrameReader(FIRST_FRAME_BYTES_MAX)
        self._heard = False  # the confinement of the worker that runs now
        self._confinement: Confinement | None = None

    @property
    def running(self) -> bool:
        """Whether a worker was started and not yet seen to end."""
        return self._connection is not None

    @property
    def process_id(self) -> int | None:
        """Process id of the running worker; waits until it is forked."""
        return self._nursery.worker_id() if self.running and self._nursery else None

    @property
    def confinement(self) -> Confinement | None:
        """What the latest worker said of itself; None before the first one has."""
        return self._confinement

    @property
    def connection(self) -> socket.socket:
        """The parent's end of the channel, blocking unless the caller changes it."""
        if self._connection is None:
            raise TrainingError("The training worker is not running: start it first.")
        return self._connection

    def fileno(self) -> int:
        """Descriptor of the channel, for select and its like."""
        return self.connection.fileno()

    def start(self) -> None:
        """Fork a worker. Where torch is loaded already it takes milliseconds, else seconds.

        Raises TrainingError when that is impossible.
        """
        if self.running:
            raise ValueError("the training worker already runs")
        if self._nursery is None:
            self._nursery = Nursery()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._nursery.fork_worker(theirs)
            except TrainingError:
                ours.close()
                raise
        self._connection = ours
        self._reader, self._heard = FrameReader(FIRST_FRAME_BYTES_MAX), False

    def submit(self, task: TrainingTask) -> TrainingOutcome:
        """Run one task and wait for its outcome.

        Raises TrainingError with the worker's sentence if the task fails, and with the reason if
        the worker dies, takes too long or is confined too little; after that, `start` works again.
        """
        deadline = time.monotonic() + WALL_SECONDS_PER_TASK_MAX
        connection = self.connection
        try:
            received = b""
            while not self.hear_confinement(received):
                received = self._receive(deadline)
            connection.settimeout(_left(deadline))
            connection.sendall(self.begin(task))
            outcome = None
            while outcome is None:
                outcome = self.hear_outcome(self._receive(deadline), task)
        except TimeoutError as error:
            raise self.overdue() from error
        except ConnectionError as error:
            raise self.failure() from error
        return outcome

    def hear_confinement(self, received: bytes) -> bool:
        """Take bytes (none, the first time) while no task is under way; whether one may be sent.

        Raises TrainingError when it is confined less than required, after which none runs.
        """
        if not self._heard:
            for body in self._bodies(received):
                self._confinement = self._decoded(decode_confinement, body)
                self._heard = True
        found = self._confinement
        if not self._heard or found is None:
            return False
        if self._sandbox == "require" and not found.full:
            self._end()
            raise TrainingError(
                f"The training worker's sandbox is {found.describe()}; nothing was trained: run it "
                'on a Linux kernel with Landlock and seccomp, or set node.sandbox = "best".'
            )
        return True

    def begin(self, task: TrainingTask) -> bytes:
        """The frame that starts a task."""
        length = answer_bounds(task).length
        self._reader = FrameReader(VECTOR_DTYPE.itemsize * length + BESIDE_VECTOR_BYTES_MAX)
        return encode_frame(task)

    def hear_outcome(self, received: bytes, task: TrainingTask) -> TrainingOutcome | None:
        """Take bytes after `begin`; the outcome, once they complete one that the task allows.

        Then another worker runs. Raises TrainingError with the worker's sentence; or when it says
        what an honest one never does, after which none runs.
        """
        bodies = self._bodies(received)
        if not bodies:
            return None
        reply = self._decoded(decode_reply, bodies[0])
        if isinstance(reply, TrainingFailure):
            self._renew()
            raise TrainingError(reply.sentence)
        bounds = answer_bounds(task)
        try:
            check_contribution(reply.vector, bounds)
        except TrainingError:
            self._end()
            raise
        self._renew()
        return reply

    def failure(self) -> TrainingError:
        """Collect a worker that ended; return, for the caller to raise, the error that says why."""
        return _stopped(_describe(self._end()))

    def overdue(self) -> TrainingError:
        """End a worker that takes too long; return, for the caller to raise, the error."""
        self._end()
        return _stopped(f"more than {WALL_SECONDS_PER_TASK_MAX} seconds for one task")

    def stop(self) -> None:
        """End worker and nursery at once; they keep nothing worth saving."""
        if self._heard:
            self._end()
        elif self._connection is not None:  # not waited for: the nursery may still load torch
            self._connection.close()
            self._connection = None
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _renew(self) -> None:
        self._end()
        with suppress(TrainingError):  # who needs the next worker will meet it
            self.start()

    def _bodies(self, received: bytes) -> list[bytes]:
        try:
            return self._reader.feed(received)
        except TrainingError:
            self._end()
            raise

    def _decoded(self, decode: Callable[[bytes], T], body: bytes) -> T:
        try:
            return decode(body)
        except msgspec.MsgspecError as error:
            self._end()
            raise TrainingError(
                "The training worker gave an unreadable answer: nothing was sent."
            ) from error

    def _receive(self, deadline: float) -> bytes:
        self.connection.settimeout(_left(deadline))
        received = self.connection.recv(RECEIVE_BYTES)
        if not received:
            raise ConnectionResetError
        return received

    def _end(self) -> int | None:
        """End the worker if one runs; its wait status, None if that is unknown."""
        if self._connection is None or self._nursery is None:
            return None
        self._connection.close()
        self._connection = None
        return self._nursery.collect_worker()


def _left(deadline: float) -> float:
    """Seconds until a deadline. Raises TimeoutError behind it; 0 would mean not to wait at all."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _stopped(reason: str) -> TrainingError:
    return TrainingError(
        f"The training worker stopped ({reason}): nothing was sent; it can be started again."
    )


def _describe(status: int | None) -> str:
    if status is None:
        return "reason unknown"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return f"more than {CPU_SECONDS_MAX} CPU seconds for one task"
        if number == signal.SIGSYS:
            return "it asked the system for what no training needs, and was ended"
        return f"killed by {signal.Signals(number).name}"
    return f"exit status {os.WEXITSTATUS(status)}"
