"""A training worker: a forked child that trains, and can do little else.

The parent (a node) forks the worker from its own warmed process, which costs milliseconds where
importing torch costs seconds. They talk over one socket pair in frames: four bytes of length, big
endian, then msgpack. Each request frame holds a `TrainingTask`; each reply frame a
`TrainingOutcome`, or a `TrainingFailure` with the sentence of a `TrainingError`. One request at a
time.

What confines the worker, before it reads its first task: every inherited descriptor but its channel
and stderr is closed, signal handlers are reset, it may open no descriptor, write no file, leave no
core dump, and its memory and its time per task (CPU and wall) are bounded. It dies with its
parent (at once on Linux; elsewhere when its channel closes). Restricting system calls (Landlock,
seccomp) is not done here.

States: stopped → `start` → running → (`stop`, or the child dies) → stopped. A dead worker shows
as end of file on the channel; `failure` collects it and says why, after which `start` may be
called again.

`submit` blocks. An event loop instead waits on `connection` (a plain socket, which it may set
non-blocking), with `encode_frame`, `FrameReader` and `decode_reply`, and calls `failure` at end of
file.

Fork only from a process with one thread: a lock held by another thread would stay locked in the
child. And fork before the keystore and the vault are opened where possible: a child inherits a copy
of its parent's memory, which these limits do not take away.
"""

import ctypes
import math
import os
import resource
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from pnyx.errors import TrainingError
from pnyx.learning.task import TrainingOutcome, TrainingTask

FRAME_BYTES_MAX = 1 << 28
HEADER_BYTES = 4
CPU_SECONDS_PER_TASK_MAX = 300
WALL_SECONDS_PER_TASK_MAX = 900
MEMORY_GROWTH_BYTES_MAX = 2 << 30  # beyond what the fork inherits
RECEIVE_BYTES = 1 << 18

_PR_SET_PDEATHSIG = 1


class TrainingFailure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """Reply to a task that could not be run."""

    sentence: str


_TASK = msgspec.msgpack.Decoder(TrainingTask)
_REPLY: msgspec.msgpack.Decoder[TrainingOutcome | TrainingFailure] = msgspec.msgpack.Decoder(
    TrainingOutcome | TrainingFailure
)
_ENCODER = msgspec.msgpack.Encoder()


def encode_frame(record: TrainingTask | TrainingOutcome | TrainingFailure) -> bytes:
    """Frame a record: its length in four bytes, then msgpack. Raises TrainingError if too large."""
    body = _ENCODER.encode(record)
    if len(body) > FRAME_BYTES_MAX:
        raise TrainingError(
            f"A training task of {len(body)} bytes exceeds {FRAME_BYTES_MAX}: "
            "narrow the window of the consent."
        )
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def decode_reply(body: bytes) -> TrainingOutcome:
    """Read the body of a reply frame, raising the worker's TrainingError if it reports one."""
    try:
        reply = _REPLY.decode(body)
    except msgspec.MsgspecError as error:
        raise TrainingError("The training worker gave an unreadable answer: restart it.") from error
    if isinstance(reply, TrainingFailure):
        raise TrainingError(reply.sentence)
    return reply


class FrameReader:
    """Cuts a byte stream into frame bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes; return the bodies of the frames that are now complete.

        Raises TrainingError when a header claims more than FRAME_BYTES_MAX; nothing is allocated.
        """
        self._buffer += data
        bodies: list[bytes] = []
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise TrainingError("The training channel lost its framing: restart the worker.")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[HEADER_BYTES:end]))
            del self._buffer[:end]
        return bodies


class TrainingWorker:
    """The parent's end of one worker process."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._process_id: int | None = None

    @property
    def running(self) -> bool:
        """Whether a worker was started and not yet seen to end."""
        return self._connection is not None

    @property
    def process_id(self) -> int | None:
        """Process id of the running worker."""
        return self._process_id

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
        """Fork the worker. Call `pnyx.learning.training.warm_up` once before, in this process."""
        if self.running:
            raise ValueError("the training worker already runs")
        parent_id = os.getpid()
        ours, theirs = socket.socketpair()
        try:
            process_id = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            raise TrainingError(
                f"The training worker could not be started ({error.strerror}): "
                "close other programs and try again."
            ) from error
        if process_id == 0:
            _live_as_child(theirs, parent_id)
        theirs.close()
        self._connection, self._process_id = ours, process_id

    def submit(self, task: TrainingTask) -> TrainingOutcome:
        """Run one task and wait for its outcome.

        Raises TrainingError with the worker's sentence if the task fails, and with the reason if
        the worker dies; after a death, `start` works again.
        """
        connection = self.connection
        frame = encode_frame(task)
        reader = FrameReader()
        bodies: list[bytes] = []
        try:
            connection.sendall(frame)
            while not bodies:
                received = connection.recv(RECEIVE_BYTES)
                if not received:
                    raise self.failure()
                bodies = reader.feed(received)
        except ConnectionError as error:
            raise self.failure() from error
        return decode_reply(bodies[0])

    def failure(self) -> TrainingError:
        """Collect a worker that ended; return, for the caller to raise, the error that says why."""
        status = self._end()
        return TrainingError(
            f"The training worker stopped ({_describe(status)}): nothing was sent; "
            "it can be started again."
        )

    def stop(self) -> None:
        """End the worker at once; it keeps nothing worth saving. Does nothing if none runs."""
        if self.running:
            self._end()

    def _end(self) -> int | None:
        """Close the channel, kill and reap the child; its wait status, None if reaped elsewhere."""
        assert self._connection is not None
        assert self._process_id is not None
        self._connection.close()
        process_id = self._process_id
        self._connection = self._process_id = None
        try:
            # A child seen at end of file may still be on its way out: its own status is better
            # news.
            reaped, status = os.waitpid(process_id, os.WNOHANG)
            if reaped == 0:
                os.kill(process_id, signal.SIGKILL)
                _, status = os.waitpid(process_id, 0)
        except ChildProcessError:
            return None
        return status


def _describe(status: int | None) -> str:
    if status is None:
        return "reason unknown"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return f"more than {CPU_SECONDS_PER_TASK_MAX} CPU seconds for one task"
        if number == signal.SIGALRM:
            return f"more than {WALL_SECONDS_PER_TASK_MAX} seconds for one task"
        return f"killed by {signal.Signals(number).name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def _live_as_child(connection: socket.socket, parent_id: int) -> NoReturn:
    """Become the worker; never returns, whatever happens."""
    exit_status = 1
    try:
        _detach(connection, parent_id)
        # Imported here: the parent may be a node that never trains, and then never loads torch.
        from pnyx.learning.training import warm_up

        warm_up()
        _confine()
        with suppress(ConnectionError):  # the parent went away: so do we
            _serve(connection)
        exit_status = 0
    finally:
        if exit_status:
            traceback.print_exc()
        # os._exit: no handler, buffer or destructor inherited from the parent may run here.
        os._exit(exit_status)


def _serve(connection: socket.socket) -> None:
    """Answer tasks until the parent closes the channel."""
    reader = FrameReader()
    while received := connection.recv(RECEIVE_BYTES):
        for body in reader.feed(received):
            _bound_cpu_time()
            signal.alarm(WALL_SECONDS_PER_TASK_MAX)  # a hang uses no CPU time; SIGALRM ends it
            answer = _answer(body)
            signal.alarm(0)
            connection.sendall(encode_frame(answer))


def _answer(body: bytes) -> TrainingOutcome | TrainingFailure:
    from pnyx.learning.training import run_task

    try:
        return run_task(_TASK.decode(body))
    except TrainingError as error:
        return TrainingFailure(str(error))
    except msgspec.MsgspecError as error:
        return TrainingFailure(f"The training task cannot be read ({error}): nothing was sent.")
    except (MemoryError, RuntimeError, IndexError) as error:
        # torch reports failed allocations, and what does not fit, so.
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        return TrainingFailure(f"Training failed ({reason}): nothing was sent.")


def _detach(connection: socket.socket, parent_id: int) -> None:
    """Let go of what the fork inherited: life of its own, signals, descriptors."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_id:  # it died before the line above took effect
        os._exit(0)
    signal.set_wakeup_fd(-1)  # an event loop's: it would receive our signals
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):  # a few are reserved by the C library
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too: the parent decides
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a closed channel raises instead
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    connection.settimeout(None)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    kept = {0, 1, 2, connection.fileno()}
    for descriptor in {int(entry.name) for entry in Path("/dev/fd").iterdir()} - kept:
        with suppress(OSError):  # the listing's own is closed already
            os.close(descriptor)


def _confine() -> None:
    """Give up, for good, what training never needs. Everything it imports is loaded by now."""
    if sys.platform == "linux":  # elsewhere address space is not accounted in a useful way
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        bytes_max = pages * resource.getpagesize() + MEMORY_GROWTH_BYTES_MAX
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or bytes_max < hard:
            resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def _bound_cpu_time() -> None:
    """Allow CPU_SECONDS_PER_TASK_MAX from now on; beyond, SIGXCPU ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(usage.ru_utime + usage.ru_stime) + CPU_SECONDS_PER_TASK_MAX
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
