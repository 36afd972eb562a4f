"""The parent's end of a child that runs one query.

    process = QueryProcess(task)      started, its task not yet sent
    process.connection                a plain socket: send `process.request`, receive the answer
    process.read(data)                feed what was received; the answer once it is whole
    process.end()                     always: kills the child if it still lives, and reaps it

Nothing here waits, except for the end of a process that is killed or has closed its socket; who
drives it bounds the time. A child costs about 0.4 s of start-up and knows nothing but its task: its
environment is empty, its directory is the root, and of the node it inherits one socket.
"""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from pnyx.errors import QueryError
from pnyx.query.frames import (
    ANSWER,
    HEADER_BYTES,
    QueryFailure,
    QueryRows,
    QueryTask,
    body_length,
    frame,
)

RECEIVE_BYTES = 1 << 18
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}  # numpy reserves memory for each thread
_PACKAGES = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, sys.argv[1]); from pnyx.query.child import main; main()"
_SENTENCE_MAX = 1000


class QueryProcess:
    """One child and its task."""

    def __init__(self, task: QueryTask) -> None:
        """Start the child. Raises QueryError when the data are too large or it cannot start."""
        try:
            self.request = frame(task)
        except ValueError as error:
            raise QueryError(
                f"The columns that the query reads are too large ({error}): keep fewer rows."
            ) from error
        self.connection, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603  (no word of it is received)
                [sys.executable, "-I", "-c", _START, _PACKAGES],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT,
            )
        except OSError as error:
            self.connection.close()
            raise QueryError(
                f"The query cannot be started ({error.strerror}): try again."
            ) from error
        finally:
            theirs.close()
        self._received = bytearray()

    @property
    def process_id(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def read(self, data: bytes) -> QueryRows | None:
        """Add received bytes; return the answer once it is whole.

        Raises QueryError when the child could not answer, or ended before.
        """
        if not data:
            raise QueryError(_ended(self._close()))
        self._received += data
        try:
            if len(self._received) < HEADER_BYTES:
                return None
            end = HEADER_BYTES + body_length(self._received[:HEADER_BYTES])
            if len(self._received) < end:
                return None
            answer = ANSWER.decode(self._received[HEADER_BYTES:end])
        except (ValueError, msgspec.MsgspecError) as error:
            raise QueryError("The query's process gave an unreadable answer: try again.") from error
        if isinstance(answer, QueryFailure):
            raise QueryError(answer.sentence)
        return answer

    def end(self) -> None:
        """End the child, whatever it does; safe to call twice."""
        self._process.kill()
        self._close()

    def _close(self) -> int:
        self.connection.close()
        return self._process.wait()


def _ended(status: int) -> str:
    if status == -signal.SIGXCPU or status == -signal.SIGKILL:
        return "The query was stopped: it took too much computing time; let it keep fewer rows."
    if status < 0:
        return (
            f"The query's process was ended by {signal.Signals(-status).name}, mostly for want of "
            "memory: let it keep fewer rows."
        )
    return f"The query's process ended with status {status}: try again."
