"""`pnyx demo`: personal clouds on one machine train together, some killed and some corrupt."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

EXTRA_ROUNDS = 3  # joins, statistics, evaluation
_DEFAULT_TIMEOUT_S = 900.0
_POLL_S = 0.1
_MEMORY_EVERY_S = 3.0
_MEMORY_SHARE_MAX = 0.02  # of the launcher's time: reading it stops a node and costs the kernel
_AWAY_ROUNDS = 3
_AWAY_SECONDS_MAX = 15.0
_LAST_NODES_S = 10.0


SelectionName = Literal["census", "region"]


def run_demo(
    *,
    report: Path,
    nodes: int = 36,
    rounds: int = 20,
    kill: float = 0.1,
    corrupt: int = 0,
    seed: int | None = None,
    as_json: bool = False,
    keep: Path | None = None,
    masked: bool = False,
    verified: bool = False,
    selection: SelectionName = "census",
) -> int:
    """Run the demonstration; return the exit status.

    report: where the study's report is written. kill: share of the nodes that are killed mid-run.
    corrupt: nodes that misbehave. seed: fixes the initial model and who is killed or corrupt; the
    beacons stay random. keep: directory to keep, instead of a temporary one. masked: updates
    travel masked. verified: and their norm is verified. selection: how rounds get their actors.
    Raises PnyxError, for instance ConfigError when an option is out of range.
    """
    # Many processes share few cores: threads inside the numeric libraries would only fight.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    _check(nodes, rounds, kill, corrupt, masked=masked, verified=verified)
    from pnyx.errors import Interrupted
    from pnyx.node.enrolment import check_writable

    check_writable(report)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal must not leave nodes behind
        signal.signal(number, signal.default_int_handler)
    from rich.console import Console

    console = Console(stderr=True)
    try:
        with _directory(keep) as root:
            demo = _Demo(
                root,
                nodes,
                rounds,
                kill,
                corrupt,
                seed,
                console,
                masked=masked,
                verified=verified,
                selection=selection,
            )
            found, corrupted = demo.run(report, kept=keep)
    except KeyboardInterrupt as error:
        kept = "" if keep is None else f"; {keep} holds what they wrote, so name another directory"
        raise Interrupted(
            f"The demonstration was interrupted, and its nodes are stopped: run it again{kept}."
        ) from error
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        from pnyx.demo.summary import show

        console = Console()
        show(console, found, corrupted)
    console.print(f"Report of the study: {report}", markup=False, soft_wrap=True)
    return 0 if found["rounds_completed"] == rounds else 1


def _check(
    nodes: int, rounds: int, kill: float, corrupt: int, *, masked: bool, verified: bool
) -> None:
    from pnyx.errors import ConfigError
    from pnyx.protocol.selection import assess

    if not 6 <= nodes <= 36:
        raise ConfigError("--nodes must be from 6 to 36: one for each person of the shipped data.")
    if not 1 <= rounds <= 1000:
        raise ConfigError("--rounds must be from 1 to 1000.")
    if not 0 <= kill <= 0.5:
        raise ConfigError("--kill must be from 0 to 0.5: the share of nodes that are killed.")
    if verified and not masked:
        raise ConfigError("--verified is about masked updates: add --masked.")
    if masked and corrupt and not verified:
        raise ConfigError(
            "--masked goes without --corrupt: nobody checks the size of a masked update, so one "
            "corrupt node can spoil the model; add --verified to have it checked."
        )
    size = assess(nodes, rounds=rounds + EXTRA_ROUNDS).committee
    if not 0 <= corrupt <= size.corrupt_max:
        raise ConfigError(
            f"--corrupt must be from 0 to {size.corrupt_max}: among {nodes} nodes a committee has "
            f"{size.size} members, and nothing is promised when more than {size.corrupt_max} of "
            "them are corrupt."
        )


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    from pnyx.errors import ConfigError
    from pnyx.vault.files import describe

    if keep is None:
        with tempfile.TemporaryDirectory(prefix="pnyx-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        is_empty = not any(keep.iterdir())
    except OSError as error:
        raise ConfigError(
            f"{keep} cannot be used: {describe(error)}; name a new directory for --keep."
        ) from error
    if not is_empty:
        raise ConfigError(f"{keep} is not empty; name a new directory for --keep.")
    yield keep


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Finish the block, however impatient the person is: it leaves no process behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


class _Demo:
    """One demonstration, from forking to summary."""

    def __init__(
        self,
        root: Path,
        nodes: int,
        rounds: int,
        kill: float,
        corrupt: int,
        seed: int | None,
        console: "Console",
        *,
        masked: bool,
        verified: bool = False,
        selection: SelectionName = "census",
    ) -> None:
        from pnyx.demo.cluster import Cluster
        from pnyx.demo.corrupt import choose_corrupt
        from pnyx.demo.display import Display
        from pnyx.demo.study import DemoScript
        from pnyx.demo.watch import Watch
        from pnyx.learning.training import warm_up
        from pnyx.primitives.ring import implementation
        from pnyx.primitives.sampling import Sampler
        from pnyx.protocol.aggregation.masked_verification import load_sketches
        from pnyx.protocol.aggregation.ranges import load_projections
        from pnyx.protocol.selection import assess

        self._rounds = rounds
        self._nodes = nodes
        self._masked, self._verified = masked, verified
        self._selection: SelectionName = selection
        seed_bytes = os.urandom(32) if seed is None else (seed % 2**64).to_bytes(32, "big")
        self._assessment = assess(nodes, rounds=rounds + EXTRA_ROUNDS)
        sampler = Sampler(seed_bytes, "pnyx/demo/victims")
        # The proposer's node may be killed like any other; the refusing owner's node as well.
        self._victims = sampler.sample(nodes, round(kill * nodes))
        self._kill_at = max(1, rounds // 4) if self._victims else rounds + 1
        # The first node proposes the study and the last refuses it: both stay honest.
        spared = {0, nodes - 1, *self._victims}
        self._corrupt = choose_corrupt(nodes, corrupt, spared, seed_bytes)
        script = DemoScript(
            nodes, rounds, seed_bytes, masked=masked, verified=verified, selection=selection
        )
        self._cluster = Cluster(root, nodes, script, self._corrupt, verified=verified)
        self._watch = Watch(self._cluster)
        self._display = Display(console, nodes, rounds)
        self._killed = 0
        self._restarted = False
        self._killed_at = 0.0
        warm_up()
        # Once, before the nodes are forked: compiling takes each seconds on a new machine, and
        # loading half a second and memory that a fork shares (ADR 24).
        load_projections()
        if masked:
            implementation()
            load_sketches()

    def run(self, report: Path, kept: Path | None) -> tuple[dict[str, object], int]:
        """Launch, watch, kill and bring back, stop; write the report and return the figures.

        kept: the directory of the nodes' files, unless it is temporary.
        """
        from pnyx.demo.report import BUNDLE_NAME, ask_nodes, demo_report
        from pnyx.demo.summary import summarise
        from pnyx.node.enrolment import replace_file
        from pnyx.report import render

        try:
            with self._display:
                self._display.say(f"Starting {self._nodes} personal clouds ...")
                for node, behaviour in sorted(self._corrupt.items()):
                    self._display.say(f"Node {node + 1} is corrupt: {behaviour}.")
                self._cluster.launch(self._assessment.committee)
                self._display.say("The nodes run; one proposes a study, the owners decide.")
                self._follow()
                asked = ask_nodes(self._cluster, self._honest())
        finally:
            with _uninterrupted():
                self._cluster.stop()
        found = summarise(
            self._watch,
            self._assessment,
            nodes=self._nodes,
            rounds=self._rounds,
            killed=self._killed,
            refused=1,
            corrupt=self._corrupt,
            masked=self._masked,
            verified=self._verified,
            selection=self._selection,
        )
        network = self._cluster.directory(0) / "network.json"
        replace_file(report, render(demo_report(asked, network, found, kept)).encode())
        if kept is not None:
            replace_file(kept / BUNDLE_NAME, asked.bundle)
        return {**found, "report": str(report)}, self._assessment.corrupted

    def _honest(self) -> list[int]:
        """Nodes that have the whole study and were not corrupted."""
        return sorted(self._watch.finished - set(self._corrupt))

    def _follow(self) -> None:
        from pnyx.errors import PnyxError

        give_up = time.monotonic() + _DEFAULT_TIMEOUT_S
        next_memory = time.monotonic() + 1.0
        last_finish: float | None = None
        while True:
            now = time.monotonic()
            self._watch.poll()
            if now >= next_memory:
                self._watch.sample_memory()
                next_memory = now + max(
                    _MEMORY_EVERY_S, (time.monotonic() - now) / _MEMORY_SHARE_MAX
                )
            alive = [self._cluster.alive(node) for node in range(self._nodes)]
            self._display.update(self._watch, alive, self._stage())
            self._kill_and_restart(now)
            self._check_dead(alive)
            if self._watch.finished:
                last_finish = last_finish or now
                if len(self._watch.finished) == self._nodes or now > last_finish + _LAST_NODES_S:
                    return
            if now > give_up:
                raise PnyxError(
                    "The demonstration did not finish in time; run it again with --keep DIR "
                    "and look at the nodes' logs there."
                )
            time.sleep(_POLL_S)

    def _stage(self) -> str:
        if self._watch.epoch_at is None:
            return "making the first beacon"
        return "collecting joins"

    def _kill_and_restart(self, now: float) -> None:
        from pnyx.demo.study import STATISTICS_ROUNDS

        reached = max(self._watch.rounds, default=0) - STATISTICS_ROUNDS
        if self._victims and not self._killed and reached >= self._kill_at:
            for node in self._victims:
                self._cluster.kill(node)
            self._killed, self._killed_at = len(self._victims), now
            self._display.say(f"Killed {self._killed} nodes in the middle of round {reached + 1}.")
        elif self._killed and not self._restarted:
            back = reached >= self._kill_at + _AWAY_ROUNDS
            if back or now > self._killed_at + _AWAY_SECONDS_MAX:
                for node in self._victims:
                    self._cluster.restart(node)
                self._restarted = True
                self._display.say("They are back.")

    def _check_dead(self, alive: list[bool]) -> None:
        """A node that ended by itself is a fault of the demonstration: say why."""
        from pnyx.errors import PnyxError

        for node, up in enumerate(alive):
            away = node in self._victims and self._killed and not self._restarted
            if not up and not away and node not in self._watch.finished:
                if node in self._cluster.processes or node in self._victims:
                    continue  # restarted this very moment
                raise PnyxError(f"Node {node + 1} stopped{self._cluster.last_words(node)}")
