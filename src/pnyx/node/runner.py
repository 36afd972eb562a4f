"""A node's process, from its directory to its last breath.

`run_node` takes the directory's lock, starts the training worker, unlocks the keys, reads the
network file, and serves peers and the owner until a signal or the owner says stop. The nursery that
workers come from is forked before any key is in memory, since a child inherits a copy of it, and
before the event loop exists. It loads torch by itself: this process stays small unless its parent
has loaded torch.

One process per directory: a lock file tells, and a crash frees it.
"""

import asyncio
import fcntl
import importlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pnyx.config import read_config
from pnyx.errors import ConfigError
from pnyx.learning.worker import TrainingWorker
from pnyx.node.answers import Answers
from pnyx.node.clock import wall_clock
from pnyx.node.control import ControlServer
from pnyx.node.crypto import NodeCrypto
from pnyx.node.daemon import Daemon, MachineFactory, Observer
from pnyx.node.keystore import NodeLayout, Unlocking, open_keys
from pnyx.node.network import read_network
from pnyx.primitives.ring import implementation
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.aggregation.masked_verification import load_sketches
from pnyx.protocol.aggregation.ranges import load_projections
from pnyx.protocol.machine import NodeMachine
from pnyx.vault.files import FILE_MODE, describe

LOCK_NAME = "node.lock"


def run_node(
    layout: NodeLayout,
    unlocking: Unlocking,
    *,
    observer: Observer,
    on_started: Callable[[Daemon], None] | None = None,
    worker: TrainingWorker | None = None,
    machine_factory: MachineFactory = NodeMachine,
    load_loops: bool = True,
) -> None:
    """Run the node of a directory until SIGTERM, SIGINT or the owner's stop; then close it.

    Call it from the main thread of a process without other threads. observer: told of every notice.
    on_started: called once, inside the event loop, when the port is open. worker: one that is
    started already; without it this function forks its own. machine_factory: makes the protocol's
    machine. load_loops: whether to load the loops of masked rounds beside the event loop; a parent
    that loaded them, or knows of no such round, says no. Raises PnyxError when the node cannot
    start: the directory is in use, the key wrong, the network file invalid, the port taken.
    """
    config = read_config(layout.config)
    answers = Answers(observer)
    control = ControlServer(layout, answers.answer)
    with single_instance(layout):
        trainer = worker or TrainingWorker(config.node.sandbox)
        try:
            if not trainer.running:
                trainer.start()
            keys = open_keys(layout, unlocking)
            network = read_network(
                layout.root / config.node.network,
                NodeCrypto(SigningKey(keys.signing_seed)),
                now=0 if layout.rounds.exists() else wall_clock(),  # newer ones come by gossip
            )
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                # Built by a plain call: what it opens is closed by `Daemon.run`, in `_live`.
                daemon = Daemon(
                    layout=layout,
                    keys=keys,
                    config=config,
                    network=network,
                    worker=trainer,
                    observer=answers.observe,
                    machine_factory=machine_factory,
                )
                answers.attach(daemon)
                runner.run(_live(daemon, control, on_started, load_loops=load_loops))
        finally:
            trainer.stop()


@contextmanager
def single_instance(layout: NodeLayout) -> Iterator[None]:
    """Hold a directory's lock. Raises ConfigError when another process runs its node."""
    path = layout.root / LOCK_NAME
    if not layout.keystore.exists():
        raise ConfigError(f"There is no node in {layout.root}; create it with `pnyx node init`.")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {describe(error)}; free some space or check your "
            "permissions, then try again."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"The node in {layout.root} is already running; stop it with `pnyx node stop`."
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_locked(layout: NodeLayout) -> bool:
    """Whether a process runs the node of this directory now."""
    try:
        descriptor = os.open(layout.root / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def _live(
    daemon: Daemon,
    control: ControlServer,
    on_started: Callable[[Daemon], None] | None,
    *,
    load_loops: bool,
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)

    async def serve_owner() -> None:
        await control.start()
        if on_started is not None:
            on_started(daemon)

    # A masked round computes on the event loop. Its first use of compiled loops would stop the node
    # for half a second, or for seven where they are not in numba's cache yet (ADR 24); so they are
    # loaded in a thread meanwhile, after the nursery was forked.
    loading = loop.run_in_executor(None, _load_loops) if load_loops else None
    try:
        await daemon.run(serve_owner)
    finally:
        await control.stop()
        if loading is not None:
            await loading


def _load_loops() -> None:
    load_projections()
    implementation()
    load_sketches()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Prefer uvloop, an optional dependency that spends less on every message."""
    try:
        module = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
    return factory
