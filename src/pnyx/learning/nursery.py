"""The nursery: a process that has torch loaded, and forks training workers from itself.

Every task gets a worker of its own. A program that took one over finds nothing of another study in
its memory and leaves nothing behind. The worker is not forked from the node, which holds keys by
then, but from the nursery, which was forked before there were any and has never read a task. That
also takes milliseconds where importing torch takes seconds.

The node asks over a socket pair, one byte a request: FORK, with a descriptor that becomes the
worker's channel, answered by a process id; COLLECT, answered by a wait status. There is one worker
at a time; a new one ends the one before. The nursery dies with the node, and its worker with it (at
once on Linux; elsewhere when their channels close).
"""

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from pnyx.errors import TrainingError
from pnyx.learning.blas import keep_to_one_thread
from pnyx.learning.child import live_as_worker
from pnyx.sandbox import close_descriptors

_FORK = b"f"
_COLLECT = b"c"
_ANSWER = struct.Struct("=q")
_NONE = -1  # no process id, or no status

_PR_SET_PDEATHSIG = 1


class Nursery:
    """The node's end. Make it before keys are in memory, in a process with one thread."""

    def __init__(self) -> None:
        """Fork it. Raises TrainingError when the system has no room for a process."""
        keep_to_one_thread()
        parent_id = os.getpid()
        self._control, theirs = socket.socketpair()
        self._unread = 0  # answers to FORK that nobody has waited for yet
        self._worker: int | None = None
        # Python would swallow an interruption that falls into what it does around a fork.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._process_id = os.fork()
            if self._process_id == 0:
                _live_as_nursery(theirs, parent_id)
        except OSError as error:
            self._control.close()
            theirs.close()
            raise TrainingError(
                f"The training worker could not be started ({error.strerror}): "
                "close other programs and try again."
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def fork_worker(self, channel: socket.socket) -> None:
        """Ask for a worker that speaks over `channel`, and do not wait for it.

        Raises TrainingError when the nursery is gone.
        """
        try:
            socket.send_fds(self._control, [_FORK], [channel.fileno()])
        except ConnectionError as error:
            # Another one would be forked from a process that holds keys.
            raise TrainingError(
                "The process that starts training workers is gone: restart the node to train."
            ) from error
        self._unread += 1

    def worker_id(self) -> int | None:
        """Process id of the worker asked for last; None if there is none.

        Waits while the nursery loads torch; a worker that was heard of is known at once.
        """
        while self._unread:
            self._worker = self._answer()
            self._unread -= 1
        return self._worker

    def collect_worker(self) -> int | None:
        """End the worker asked for last, if it runs; its wait status, None if that is unknown."""
        with suppress(ConnectionError):
            self.worker_id()
            self._control.sendall(_COLLECT)
            return self._answer()
        return None

    def close(self) -> None:
        """End the nursery, and with it its worker."""
        self._control.close()
        with suppress(ChildProcessError):
            os.kill(self._process_id, signal.SIGKILL)
            os.waitpid(self._process_id, 0)

    def _answer(self) -> int | None:
        received = self._control.recv(_ANSWER.size, socket.MSG_WAITALL)
        if len(received) < _ANSWER.size:
            raise ConnectionResetError
        (value,) = _ANSWER.unpack(received)
        return None if value == _NONE else int(value)


def _live_as_nursery(control: socket.socket, parent_id: int) -> NoReturn:
    """Become the nursery; never returns, whatever happens."""
    exit_status = 1
    try:
        _detach(control, parent_id)
        # Imported here: the parent may be a node that never trains, and then never loads torch.
        from pnyx.learning.training import warm_up

        warm_up()
        gc.collect()
        gc.freeze()  # collections in workers shall not touch, and thereby copy, what all share
        with suppress(ConnectionError):  # the parent went away: so do we
            _serve(control)
        exit_status = 0
    finally:
        if exit_status:
            traceback.print_exc()
        # os._exit: no handler, buffer or destructor inherited from the parent may run here.
        os._exit(exit_status)


def _detach(control: socket.socket, parent_id: int) -> None:
    """Let go of what the fork inherited: life of its own, signals, descriptors."""
    _die_with(parent_id)
    signal.set_wakeup_fd(-1)  # an event loop's: it would receive our signals
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):  # a few are reserved by the C library
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too: the parent decides
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a closed channel raises instead
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    control.settimeout(None)
    close_descriptors({0, 1, 2, control.fileno()})


def _die_with(parent_id: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_id:  # it died before the line above took effect
        os._exit(0)


def _serve(control: socket.socket) -> None:
    """Fork and collect workers until the parent closes the channel."""
    worker: int | None = None
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, len(_FORK), 1)
        status = _end(worker)
        worker = None
        if request == _FORK:
            worker = _fork_worker(control, descriptors[0])
            answer = worker
        elif request == _COLLECT:
            answer = status
        else:
            return
        control.sendall(_ANSWER.pack(_NONE if answer is None else answer))


def _fork_worker(control: socket.socket, descriptor: int) -> int | None:
    nursery_id = os.getpid()
    try:
        worker = os.fork()
    except OSError:
        worker = None
    if worker == 0:
        control.detach()  # the worker closes it, like all descriptors but its channel
        _die_with(nursery_id)
        live_as_worker(socket.socket(fileno=descriptor))
    os.close(descriptor)
    return worker


def _end(worker: int | None) -> int | None:
    """Kill and reap a worker; its wait status."""
    if worker is None:
        return None
    # One that was seen at end of file may still be on its way out: its own status is better news.
    reaped, status = os.waitpid(worker, os.WNOHANG)
    if reaped == 0:
        os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
    return status
