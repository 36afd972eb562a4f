"""The life of a training worker: one task, in a process that can do nothing else.

It is forked with all that it needs in memory and confines itself for good: no file, no network, no
process, no thread, bounded memory and processor time, no descriptor but its channel. It says on the
channel what came of that, and only then reads its task.

Nothing that it prints is seen: it could write anything to the owner's terminal. Whatever goes wrong
in a task becomes the sentence of a `TrainingFailure`.
"""

import os
import socket
from contextlib import suppress
from typing import NoReturn

import msgspec

from pnyx.errors import TrainingError
from pnyx.learning.frames import (
    RECEIVE_BYTES,
    SENTENCE_CHARACTERS_MAX,
    TASK_BYTES_MAX,
    FrameReader,
    TrainingFailure,
    decode_task,
    encode_frame,
)
from pnyx.learning.task import TrainingOutcome
from pnyx.sandbox import confine, training_profile

MEMORY_GROWTH_BYTES_MAX = 2 << 30  # beyond what the fork inherits
CPU_SECONDS_MAX = 300

_REASON_CHARACTERS_MAX = 200


def live_as_worker(connection: socket.socket) -> NoReturn:
    """Become the worker; never returns, whatever happens."""
    exit_status = 1
    try:
        channel = connection.fileno()
        confinement = confine(
            training_profile(channel),
            channel=channel,
            memory_bytes=MEMORY_GROWTH_BYTES_MAX,
            cpu_seconds=CPU_SECONDS_MAX,
        )
        with suppress(ConnectionError):  # the parent went away: so do we
            connection.sendall(encode_frame(confinement))
            _serve(connection)
        exit_status = 0
    finally:
        # os._exit: no handler, buffer or destructor inherited from the parent may run here.
        os._exit(exit_status)


def _serve(connection: socket.socket) -> None:
    """Answer one task, then wait to be ended."""
    reader = FrameReader(TASK_BYTES_MAX)
    while received := connection.recv(RECEIVE_BYTES):
        for body in reader.feed(received):
            connection.sendall(encode_frame(answer(body)))


def answer(body: bytes) -> TrainingOutcome | TrainingFailure:
    """Run the task of a frame body; whatever fails gives a sentence."""
    from pnyx.learning.training import run_task

    try:
        return run_task(decode_task(body))
    except TrainingError as error:
        sentence = str(error)
    except msgspec.MsgspecError as error:
        sentence = f"The training task cannot be read ({error}): nothing was sent."
    except (MemoryError, RuntimeError, IndexError) as error:
        # torch reports failed allocations and shape errors as RuntimeError.
        sentence = _failed(_first_line(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - stderr leads nowhere: an answer tells it
        sentence = _failed(f"{type(error).__name__}: {_first_line(error)}")
    return TrainingFailure(sentence[:SENTENCE_CHARACTERS_MAX])


def _failed(reason: str) -> str:
    return f"Training failed ({reason}): nothing was sent."


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:_REASON_CHARACTERS_MAX]
