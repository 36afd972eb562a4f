"""The parent's end of a child that runs one query.

    process = QueryProcess(data, task)  started, nothing sent yet
    process.connection                  a plain socket: send `process.request`, the columns;
    process.hear_confinement(received)  until it is true; then send `process.question`, the query;
    process.hear_rows(received)         the answer, once it is whole
    process.end()                       always: kills the child if it still lives, and reaps it

Nothing here waits, except for the end of a process that is killed or has closed its socket; who
drives it bounds the time. A child costs about 0.4 s of start-up and knows nothing but its task: its
environment is empty, its directory is the root, and of the node it inherits one socket. It is given
the query once it has said that it is confined; with `sandbox="require"`, all the way.
"""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from pnyx.errors import QueryError
from pnyx.query.frames import (
    ANSWER,
    CONFINEMENT,
    FRAME_BYTES_MAX,
    HEADER_BYTES,
    QueryData,
    QueryFailure,
    QueryRows,
    QueryTask,
    body_length,
    frame,
)
from pnyx.sandbox import Confinement

RECEIVE_BYTES = 1 << 18
FIRST_FRAME_BYTES_MAX = 1 << 12
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}  # numpy reserves memory for each thread
_PACKAGES = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, sys.argv[1]); from pnyx.query.child import main; main()"

T = TypeVar("T")


class QueryProcess:
    """One child, its columns and its query.

    sandbox: whether a child that is confined less than fully is refused ("require") or used
    ("best"). confinement: what the child said of itself; None before it has.
    """

    def __init__(
        self, data: QueryData, task: QueryTask, sandbox: Literal["require", "best"] = "best"
    ) -> None:
        """Start the child. Raises QueryError when the data are too large or it cannot start."""
        try:
            self.request = frame(data)
        except ValueError as error:
            raise QueryError(
                f"The columns that the query reads are too large ({error}): keep fewer rows."
            ) from error
        self.question = frame(task)
        self.confinement: Confinement | None = None
        self._sandbox = sandbox
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

    def hear_confinement(self, received: bytes) -> bool:
        """Take bytes; whether the child has said how it is confined, and may be sent the query.

        Raises QueryError when it ended before, failed, or is confined less than required.
        """
        body = self._body(received, FIRST_FRAME_BYTES_MAX)
        if body is None:
            return False
        try:
            found = CONFINEMENT.decode(body)
        except msgspec.ValidationError:
            # the columns did not fit into memory: a sentence says so
            self._rows(body)
            raise _unreadable() from None
        except msgspec.MsgspecError as error:
            raise _unreadable() from error
        self.confinement = found
        if self._sandbox == "require" and not found.full:
            raise QueryError(
                f"The query's sandbox is {found.describe()}; the query was not run: run the node "
                'on a Linux kernel with Landlock and seccomp, or set node.sandbox = "best".'
            )
        return True

    def hear_rows(self, received: bytes) -> QueryRows | None:
        """Take bytes after `question` was sent; the rows, once they are whole.

        Raises QueryError when the child could not answer, or ended before.
        """
        body = self._body(received, FRAME_BYTES_MAX)
        return None if body is None else self._rows(body)

    def end(self) -> None:
        """End the child, whatever it does; safe to call twice."""
        self._process.kill()
        self._close()

    def _body(self, received: bytes, bytes_max: int) -> bytes | None:
        """Add received bytes; the body of the first frame, once it is whole."""
        if not received:
            raise QueryError(_ended(self._close()))
        self._received += received
        if len(self._received) < HEADER_BYTES:
            return None
        try:
            length = body_length(self._received[:HEADER_BYTES], bytes_max)
        except ValueError as error:
            raise _unreadable() from error
        end = HEADER_BYTES + length
        if len(self._received) < end:
            return None
        body = bytes(self._received[HEADER_BYTES:end])
        del self._received[:end]
        return body

    def _rows(self, body: bytes) -> QueryRows:
        try:
            answer = ANSWER.decode(body)
        except msgspec.MsgspecError as error:
            raise _unreadable() from error
        if isinstance(answer, QueryFailure):
            raise QueryError(answer.sentence)
        return answer

    def _close(self) -> int:
        self.connection.close()
        return self._process.wait()


def _unreadable() -> QueryError:
    return QueryError("The query's process gave an unreadable answer: try again.")


def _ended(status: int) -> str:
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "The query was stopped: it took too much computing time; let it keep fewer rows."
    if status == -signal.SIGSYS:
        return (
            "The query was stopped: its process asked the system for what no query needs; decline "
            "the study."
        )
    if status < 0:
        return (
            f"The query's process was ended by {signal.Signals(-status).name}, mostly for want of "
            "memory: let it keep fewer rows."
        )
    return f"The query's process ended with status {status}: try again."
