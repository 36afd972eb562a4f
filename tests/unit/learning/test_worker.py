import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pnyx.errors import TrainingError
from pnyx.learning import TrainingWorker, child, frames, initial_model, mlp, worker
from pnyx.learning.frames import FrameReader, TrainingFailure, encode_frame
from pnyx.learning.training import run_task, warm_up
from pnyx.sandbox import Confinement, Profile, training_profile

# The test runner's own threads; Python 3.12 warns of every fork beside one.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def trainer():
    warm_up()
    trainer = TrainingWorker()
    yield trainer
    trainer.stop()


@pytest.fixture
def running(trainer):
    trainer.start()
    return trainer


def test_worker_gives_what_the_task_gives(running, training_task):
    task = training_task()
    assert running.submit(task) == run_task(task)
    evaluation = training_task(kind="evaluate")
    assert running.submit(evaluation) == run_task(evaluation)


def test_failed_task_gives_its_sentence_and_the_worker_lives(running, training_task):
    with pytest.raises(TrainingError, match="too few to train on"):
        running.submit(training_task(rows=0, features=b"", targets=b""))
    running.submit(training_task())


def test_killed_worker_is_reported_and_can_be_restarted(running, training_task):
    process_id = running.process_id
    os.kill(process_id, signal.SIGKILL)
    with pytest.raises(TrainingError, match="killed by SIGKILL"):
        running.submit(training_task())
    assert not running.running
    with pytest.raises(TrainingError, match="start it first"):
        running.submit(training_task())
    running.start()
    assert running.process_id != process_id
    assert running.submit(training_task()) == run_task(training_task())


@on_linux
def test_stopping_leaves_no_process_behind(running, training_task):
    for _ in range(2):
        process_id = running.process_id
        running.stop()
        running.stop()
        assert _dies(process_id)
        running.start()
        running.submit(training_task())


@on_linux
def test_stopping_does_not_wait_for_a_nursery_that_loads_torch(trainer, monkeypatch):
    monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: time.sleep(60))
    trainer.start()
    begun = time.monotonic()
    trainer.stop()
    assert time.monotonic() - begun < 10


def test_starting_twice_is_a_bug(running):
    with pytest.raises(ValueError, match="already runs"):
        running.start()


@on_linux
def test_worker_stops_when_its_channel_closes(running):
    process_id = running.process_id
    running.connection.shutdown(2)
    assert _dies(process_id)
    assert "exit status 0" in str(running.failure())


@on_linux
def test_worker_dies_with_its_nursery_and_no_other_is_forked(running, training_task):
    """Another nursery would be forked from a node that holds keys by now."""
    process_id = running.process_id
    nursery = int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(nursery, signal.SIGKILL)
    assert _dies(process_id)
    with pytest.raises(TrainingError, match="reason unknown"):
        running.submit(training_task())
    with pytest.raises(TrainingError, match="restart the node"):
        running.start()
    assert not running.running


@on_linux
def test_large_products_of_numpy_start_no_thread(trainer, monkeypatch, training_task):
    """Whatever OPENBLAS_NUM_THREADS was when this process loaded numpy."""

    def multiply(task):
        matrix = np.ones((600, 600))
        raise TrainingError(f"sum {(matrix @ matrix).sum():.0f} norm {np.linalg.norm(matrix):.0f}")

    monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: None)
    monkeypatch.setattr("pnyx.learning.training.run_task", multiply)
    trainer.start()
    with pytest.raises(TrainingError, match="sum 216000000 norm 600"):
        trainer.submit(training_task())


def test_every_task_has_a_process_of_its_own(running, monkeypatch, training_task):
    first = running.process_id
    running.submit(training_task())
    second = running.process_id
    with pytest.raises(TrainingError, match="too few to train on"):
        running.submit(training_task(rows=0, features=b"", targets=b""))
    assert len({first, second, running.process_id}) == 3


def test_a_task_finds_nothing_of_the_one_before(trainer, monkeypatch, training_task):
    """A program that takes over its worker cannot wait there for another study's data."""
    seen = []

    def remember(task):
        seen.append(task)
        raise TrainingError(f"{len(seen)} tasks seen")

    monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: None)
    monkeypatch.setattr("pnyx.learning.training.run_task", remember)
    trainer.start()
    for _ in range(3):
        with pytest.raises(TrainingError, match=r"^1 tasks seen"):
            trainer.submit(training_task())


def test_failed_fork_is_reported(monkeypatch):
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    worker = TrainingWorker()
    with pytest.raises(TrainingError, match="Resource temporarily unavailable"):
        worker.start()
    assert not worker.running


@on_linux
def test_worker_inherits_no_descriptor_and_may_open_none(
    trainer, monkeypatch, training_task, tmp_path
):
    """It is let look at itself, which a real one may not."""

    def looking(channel):
        honest = training_profile(channel)
        return Profile({**honest.allowed, "fcntl": (), "prlimit64": ()}, honest.refused)

    def look(task):
        opened = [number for number in range(1024) if _is_open(number)]
        limits = [
            resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
            for name in ("NOFILE", "FSIZE", "CORE", "NPROC", "MEMLOCK", "MSGQUEUE")
        ]
        bounded = resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY
        raise TrainingError(f"{len(opened)} {opened[:3]} {set(limits)} {bounded}")

    monkeypatch.setattr(child, "training_profile", looking)
    monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: None)
    monkeypatch.setattr("pnyx.learning.training.run_task", look)
    with (tmp_path / "vault").open("w"):
        trainer.start()
        with pytest.raises(TrainingError) as seen:
            trainer.submit(training_task())
    assert str(seen.value) == "4 [0, 1, 2] {(0, 0)} True"


def _is_open(descriptor):
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETFD) >= 0
    except OSError:
        return False


def test_endless_task_is_ended(trainer, monkeypatch, training_task, hyperparameters):
    monkeypatch.setattr(child, "CPU_SECONDS_MAX", 1)
    settings = hyperparameters(local_epochs=1000, batch_size=1)
    trainer.start()
    with pytest.raises(TrainingError, match="CPU seconds for one task"):
        trainer.submit(training_task(rows=600, hyperparameters=settings))
    assert not trainer.running


@on_linux
def test_greedy_task_is_refused_memory(trainer, monkeypatch, training_task, hyperparameters):
    monkeypatch.setattr(child, "MEMORY_GROWTH_BYTES_MAX", 64 << 20)
    trainer.start()
    program = mlp((5, 4096, 3))
    model = initial_model(program, bytes(32))
    settings = hyperparameters(batch_size=4096)  # activations of 64 MiB, and their gradients
    task = training_task(rows=30_000, program=program, model=model, hyperparameters=settings)
    with pytest.raises(TrainingError, match=r"memory.*nothing was sent"):
        trainer.submit(task)
    trainer.submit(training_task())


def test_hung_task_is_ended(trainer, monkeypatch, training_task):
    trainer.start()
    trainer.submit(training_task())
    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 1)
    os.kill(trainer.process_id, signal.SIGSTOP)
    with pytest.raises(TrainingError, match="more than 1 seconds"):
        trainer.submit(training_task())


@on_linux
def test_worker_dies_with_its_parent():
    # The worker is busy, not reading its channel, when its parent is killed: only the kernel can
    # tell it.
    script = (
        "import os, signal, time\n"
        "from pnyx.learning import child, worker\n"
        "child.confine = lambda *_, **__: time.sleep(30)\n"
        "trainer = worker.TrainingWorker(); trainer.start()\n"
        "print(trainer.process_id, flush=True)\n"
        "time.sleep(0.2); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert _dies(int(parent.stdout))


def _dies(process_id):
    """Wait until a process is gone, or dead and not yet collected."""
    status = Path(f"/proc/{process_id}/stat")
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_frames_are_found_however_the_stream_is_cut(training_task):
    frame = encode_frame(TrainingFailure("one")) + encode_frame(TrainingFailure("two"))
    for size in range(1, len(frame) + 1):
        reader = FrameReader(100)
        bodies = []
        for start in range(0, len(frame), size):
            bodies += reader.feed(frame[start : start + size])
        decoded = [msgspec.msgpack.decode(body) for body in bodies]
        assert decoded == [["failure", "one"], ["failure", "two"]]


def test_absurd_frame_length_is_refused():
    with pytest.raises(TrainingError, match="framing"):
        FrameReader(100).feed((101).to_bytes(4, "big"))


def test_oversized_task_is_refused(monkeypatch, training_task):
    monkeypatch.setattr(frames, "TASK_BYTES_MAX", 100)
    with pytest.raises(TrainingError, match="narrow the window"):
        encode_frame(training_task())


def test_worker_below_full_is_refused_where_it_is_required(monkeypatch, training_task):
    reached = Confinement(landlock_version=0, system_calls=True, limits=True)
    monkeypatch.setattr(child, "confine", lambda *_, **__: reached)
    trainer = TrainingWorker(sandbox="require")
    trainer.start()
    with pytest.raises(TrainingError, match="not barred by Landlock; nothing was trained"):
        trainer.submit(training_task())
    assert not trainer.running
    assert trainer.confinement == reached
    trainer.stop()
    relaxed = TrainingWorker(sandbox="best")
    relaxed.start()
    relaxed.submit(training_task())
    relaxed.stop()


def test_answers_to_unreadable_and_failing_tasks(monkeypatch, training_task):
    assert "cannot be read" in child.answer(b"\xc1").sentence
    body = encode_frame(training_task())[4:]

    def exhaust(task):
        raise RuntimeError("DefaultCPUAllocator: not enough memory\nbacktrace")

    monkeypatch.setattr("pnyx.learning.training.run_task", exhaust)
    answer = child.answer(body).sentence
    assert answer == ("Training failed (DefaultCPUAllocator: not enough memory): nothing was sent.")

    def stumble(task):
        return {}["absent"]

    monkeypatch.setattr("pnyx.learning.training.run_task", stumble)
    assert child.answer(body).sentence == "Training failed (KeyError: 'absent'): nothing was sent."
