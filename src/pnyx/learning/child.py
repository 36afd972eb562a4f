"""The life of a training worker, from the fork to its end.

First it lets go of what the fork inherited, and loads what training needs. Then it confines itself
for good: no file, no network, no process, no thread, bounded memory, no descriptor but its channel.
It says on the channel what came of that, and only then reads its first task. It dies with its
parent (at once on Linux; elsewhere when its channel closes).

Nothing that it prints is seen once it is confined: it could write anything to the owner's terminal.
Whatever goes wrong in a task becomes the sentence of a `TrainingFailure`.
"""

import ctypes
import os
import signal
import socket
import sys
import traceback
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
from pnyx.sandbox import close_descriptors, confine, training_profile

MEMORY_GROWTH_BYTES_MAX = 2 << 30  # beyond what the fork inherits

_PR_SET_PDEATHSIG = 1
_REASON_CHARACTERS_MAX = 200


def live_as_child(connection: socket.socket, parent_id: int) -> NoReturn:
    """Become the worker; never returns, whatever happens."""
    exit_status = 1
    try:
        _detach(connection, parent_id)
        # Imported here: the parent may be a node that never trains, and then never loads torch.
        from pnyx.learning.training import warm_up

        warm_up()
        channel = connection.fileno()
        confinement = confine(
            training_profile(channel), channel=channel, memory_bytes=MEMORY_GROWTH_BYTES_MAX
        )
        with suppress(ConnectionError):  # the parent went away: so do we
            connection.sendall(encode_frame(confinement))
            _serve(connection)
        exit_status = 0
    finally:
        if exit_status:
            traceback.print_exc()  # seen only as long as the worker is not confined
        # os._exit: no handler, buffer or destructor inherited from the parent may run here.
        os._exit(exit_status)


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
    close_descriptors({0, 1, 2, connection.fileno()})


def _serve(connection: socket.socket) -> None:
    """Answer tasks until the parent closes the channel."""
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
    except (MemoryError, RuntimeError) as error:
        # torch reports failed allocations and shape errors as RuntimeError.
        sentence = _failed(_first_line(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - nobody would see it otherwise
        sentence = _failed(f"{type(error).__name__}: {_first_line(error)}")
    return TrainingFailure(sentence[:SENTENCE_CHARACTERS_MAX])


def _failed(reason: str) -> str:
    return f"Training failed ({reason}): nothing was sent."


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:_REASON_CHARACTERS_MAX]
