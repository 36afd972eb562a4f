import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from pnyx.errors import TrainingError
from pnyx.learning import TrainingWorker, initial_model, mlp, worker
from pnyx.learning.training import run_task, warm_up
from pnyx.learning.worker import (
    FRAME_BYTES_MAX,
    FrameReader,
    TrainingFailure,
    decode_reply,
    encode_frame,
)

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


def test_stopping_leaves_no_process_behind(running):
    process_id = running.process_id
    running.stop()
    running.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


def test_starting_twice_is_a_bug(running):
    with pytest.raises(ValueError, match="already runs"):
        running.start()


def test_worker_stops_when_its_channel_closes(running):
    running.connection.shutdown(2)
    _, status = os.waitpid(running.process_id, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_failed_fork_is_reported(monkeypatch):
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    worker = TrainingWorker()
    with pytest.raises(TrainingError, match="Resource temporarily unavailable"):
        worker.start()
    assert not worker.running


@on_linux
def test_worker_inherits_no_descriptor_and_may_open_none(trainer, training_task, tmp_path):
    with (tmp_path / "vault").open("w") as secret:
        trainer.start()
        trainer.submit(training_task())
        process = Path("/proc") / str(trainer.process_id)
        opened = {int(entry.name): str(entry.readlink()) for entry in (process / "fd").iterdir()}
        limits = (process / "limits").read_text()
        assert secret.name not in opened.values()
    assert len(opened) == 4
    assert opened[0] == opened[1] == os.devnull
    for name in ("Max open files", "Max file size", "Max core file size"):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == ["0", "0"]
    assert "Max address space         unlimited" not in limits


def test_endless_task_is_ended(trainer, monkeypatch, training_task, hyperparameters):
    monkeypatch.setattr(worker, "CPU_SECONDS_PER_TASK_MAX", 1)
    settings = hyperparameters(local_epochs=1000, batch_size=1)
    trainer.start()
    with pytest.raises(TrainingError, match="CPU seconds for one task"):
        trainer.submit(training_task(rows=600, hyperparameters=settings))
    assert not trainer.running


@on_linux
def test_greedy_task_is_refused_memory(trainer, monkeypatch, training_task, hyperparameters):
    monkeypatch.setattr(worker, "MEMORY_GROWTH_BYTES_MAX", 64 << 20)
    trainer.start()
    program = mlp((5, 4096, 3))
    model = initial_model(program, bytes(32))
    settings = hyperparameters(batch_size=4096)  # activations of 64 MiB, and their gradients
    task = training_task(rows=30_000, program=program, model=model, hyperparameters=settings)
    with pytest.raises(TrainingError, match=r"memory.*nothing was sent"):
        trainer.submit(task)
    trainer.submit(training_task())


def test_hung_task_is_ended(trainer, monkeypatch, training_task):
    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 1)
    monkeypatch.setattr(worker, "_answer", lambda body: time.sleep(60))
    trainer.start()
    with pytest.raises(TrainingError, match="more than 1 seconds"):
        trainer.submit(training_task())


@on_linux
def test_worker_dies_with_its_parent():
    # The worker is busy, not reading its channel, when its parent is killed: only the kernel can
    # tell it.
    script = (
        "import os, signal, time\n"
        "from pnyx.learning import worker\n"
        "worker._confine = lambda: time.sleep(30)\n"
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
    status = Path("/proc") / parent.stdout.decode().strip() / "stat"
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return  # dead; whoever adopted it has yet to collect it
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    pytest.fail("the worker outlived its parent")


def test_frames_are_found_however_the_stream_is_cut(training_task):
    frame = encode_frame(TrainingFailure("one")) + encode_frame(TrainingFailure("two"))
    for size in range(1, len(frame) + 1):
        reader = FrameReader()
        bodies = []
        for start in range(0, len(frame), size):
            bodies += reader.feed(frame[start : start + size])
        decoded = [msgspec.msgpack.decode(body) for body in bodies]
        assert decoded == [["failure", "one"], ["failure", "two"]]


def test_absurd_frame_length_is_refused():
    with pytest.raises(TrainingError, match="framing"):
        FrameReader().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


def test_oversized_task_is_refused(monkeypatch, training_task):
    monkeypatch.setattr(worker, "FRAME_BYTES_MAX", 100)
    with pytest.raises(TrainingError, match="narrow the window"):
        encode_frame(training_task())


def test_unreadable_reply_is_refused():
    with pytest.raises(TrainingError, match="unreadable"):
        decode_reply(b"\xc1")
    with pytest.raises(TrainingError, match="for the owner"):
        decode_reply(encode_frame(TrainingFailure("for the owner"))[4:])


def test_answers_to_unreadable_and_failing_tasks(monkeypatch, training_task):
    assert "cannot be read" in worker._answer(b"\xc1").sentence
    body = encode_frame(training_task())[4:]

    def exhaust(task):
        raise RuntimeError("DefaultCPUAllocator: not enough memory\nbacktrace")

    monkeypatch.setattr("pnyx.learning.training.run_task", exhaust)
    answer = worker._answer(body).sentence
    assert answer == ("Training failed (DefaultCPUAllocator: not enough memory): nothing was sent.")
