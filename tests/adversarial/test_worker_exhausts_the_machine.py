"""A program that took over the worker takes time and memory, answers garbage (THREATS P1)."""

import os
import resource
import signal
import socket
import threading

import msgspec
import pytest
from tests.support.tasks import make_hyperparameters

from pnyx.errors import TrainingError
from pnyx.learning import (
    TrainingOutcome,
    TrainingTask,
    TrainingWorker,
    child,
    initial_model,
    mlp,
    worker,
)
from pnyx.learning.frames import encode_frame
from pnyx.sandbox import Profile, kernel, training_profile

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.skipif(kernel.architecture() is None, reason="no seccomp for this system here"),
]

PROGRAM = mlp((2, 2, 2))
LENGTH = PROGRAM.shared_count + 3
TASK = TrainingTask(
    kind="train",
    program=PROGRAM,
    hyperparameters=make_hyperparameters(),
    model=initial_model(PROGRAM, bytes(32)),
    features=bytes(4 * 2 * 8),
    targets=bytes(8 * 8),
    rows=8,
    seed=bytes(32),
)
HONEST = TrainingOutcome(vector=bytes(8 * LENGTH), metrics={})


@pytest.fixture
def taken_over(monkeypatch):
    """A worker in which an attack runs in the place of training."""
    trainer = TrainingWorker()

    def start(attack) -> TrainingWorker:
        monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: None)
        monkeypatch.setattr("pnyx.learning.training.run_task", attack)
        trainer.start()
        return trainer

    yield start
    trainer.stop()


def allowing(*names: str):
    """The profile of training, with a list that is too long."""

    def profile(channel: int) -> Profile:
        honest = training_profile(channel)
        return Profile({**honest.allowed, **dict.fromkeys(names, ())}, honest.refused)

    return profile


def spin(task):
    try:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_CPU, unlimited)
    except (OSError, ValueError):
        pass
    while True:
        pass


def test_endless_loop(taken_over, monkeypatch):
    monkeypatch.setattr(child, "CPU_SECONDS_MAX", 1)
    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 60)
    with pytest.raises(TrainingError, match="CPU seconds for one task"):
        taken_over(spin).submit(TASK)


def test_endless_loop_that_ignores_its_limit(taken_over, monkeypatch):
    """Even where it may: the hard limit asks for no consent, and cannot be raised."""
    monkeypatch.setattr(child, "training_profile", allowing("rt_sigaction", "prlimit64"))
    monkeypatch.setattr(child, "CPU_SECONDS_MAX", 1)
    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 60)
    with pytest.raises(TrainingError, match="killed by SIGKILL"):
        taken_over(spin).submit(TASK)


def test_endless_loop_without_a_limit_is_ended_by_the_clock(taken_over, monkeypatch):
    """Without the defence the tests above fail: only the parent's clock is left."""
    monkeypatch.setattr(child, "CPU_SECONDS_MAX", 1000)
    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 3)
    with pytest.raises(TrainingError, match="more than 3 seconds"):
        taken_over(spin).submit(TASK)


def test_endless_wait(taken_over, monkeypatch):
    def wait(task):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 2)
    trainer = taken_over(wait)
    with pytest.raises(TrainingError, match="more than 2 seconds"):
        trainer.submit(TASK)
    assert not trainer.running


def hoard(task):
    # Each larger than any piece of heap that the tests before have freed: that could be used again.
    kept = [bytes(1 << 30) for _ in range(3)]
    raise RuntimeError(f"{len(kept)} GB")


def test_memory_bomb(taken_over, monkeypatch):
    monkeypatch.setattr(child, "MEMORY_GROWTH_BYTES_MAX", 64 << 20)
    with pytest.raises(TrainingError, match=r"Training failed \(MemoryError\): nothing was sent"):
        taken_over(hoard).submit(TASK)


def test_memory_bomb_goes_off_without_the_limit(taken_over, monkeypatch):
    monkeypatch.setattr(child, "MEMORY_GROWTH_BYTES_MAX", 1 << 40)
    with pytest.raises(TrainingError, match="3 GB"):
        taken_over(hoard).submit(TASK)


def test_forbidden_call_ends_the_worker_and_the_owner_is_told(taken_over):
    trainer = taken_over(lambda task: os.kill(os.getpid(), 0))
    with pytest.raises(TrainingError, match="asked the system for what no training needs"):
        trainer.submit(TASK)
    trainer.start()


@pytest.fixture
def speaking(taken_over, monkeypatch):
    """A worker that writes raw bytes on its channel, then waits."""
    channels: list[socket.socket] = []

    def profile(channel: int) -> Profile:
        channels.append(socket.socket(fileno=channel))
        return training_profile(channel)

    def start(reply: bytes) -> TrainingWorker:
        def attack(task):
            channels[0].sendall(reply)
            threading.Event().wait()

        return taken_over(attack)

    monkeypatch.setattr(child, "training_profile", profile)
    return start


def changed(**fields) -> bytes:
    return encode_frame(msgspec.structs.replace(HONEST, **fields))


BEYOND = (1 << 40).to_bytes(8, "little") + bytes(8 * (LENGTH - 1))


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        pytest.param(b"\xff\xff\xff\xff", "lost its framing", id="claims four gigabytes"),
        pytest.param(changed(vector=bytes(32 << 20)), "lost its framing", id="giant vector"),
        pytest.param(
            changed(metrics={str(n): 0.0 for n in range(10_000)}), "lost its framing", id="metrics"
        ),
        pytest.param(changed(vector=bytes(8 * LENGTH + 8)), "does not fit", id="longer vector"),
        pytest.param(changed(vector=bytes(3)), "does not fit", id="no whole numbers"),
        pytest.param(changed(vector=BEYOND), "exceeds the bounds", id="out of bounds"),
        pytest.param(b"\0\0\0\x01\xc1", "unreadable", id="no msgpack"),
        pytest.param(
            encode_frame(child.TrainingFailure("x" * 5000)), "unreadable", id="long sentence"
        ),
    ],
)
def test_garbage_for_an_answer(speaking, reply, sentence):
    trainer = speaking(reply)
    with pytest.raises(TrainingError, match=sentence):
        trainer.submit(TASK)
    assert not trainer.running


def test_honest_answer_on_the_same_way_is_taken(speaking):
    """What the test above refuses is not refused for how it came."""
    assert speaking(encode_frame(HONEST)).submit(TASK) == HONEST
