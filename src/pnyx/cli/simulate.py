"""`pnyx simulate`: carry out a scenario file."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import Json, plain, print_json, say

if TYPE_CHECKING:
    from pnyx.simulator.runner import Executor, ScenarioFile

_TOLD_SHARE = 0.1  # between two lines of progress where there is no terminal


def simulate(
    scenario: Annotated[Path, typer.Argument(readable=False, help="The scenario, a TOML file.")],
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Folder for tables and page.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, max=1024, help="Processes; 0: one for each core.")
    ] = 0,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on the Ray cluster at this address.")
    ] = "",
    trace: Annotated[
        str,
        typer.Option(
            metavar="POINT:REPETITION",
            help="Only print what happens in this run, which tables and page name.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Simulate networks and studies; write tables and one HTML page with figures.

    Whatever ends it, it writes what it has; the same command goes on from there.

    Example: pnyx simulate scenarios/coalitions.toml --out coalitions
    """
    from pnyx.errors import ConfigError
    from pnyx.simulator.experiment import many
    from pnyx.simulator.runner import read_scenario
    from pnyx.simulator.runner import simulate as carry_out
    from pnyx.simulator.runner import trace as tell_run
    from pnyx.simulator.runner.scenario_file import read_bytes

    read = read_scenario(scenario)
    if trace:
        tell_run(read, trace, typer.echo)
        return
    if out is None:
        raise ConfigError("Give --out, a folder for tables and page.")
    with _progress(read.title) as tell:
        made = carry_out(read, read_bytes(scenario), out, _executor(read, jobs, ray), tell)
    if as_json:
        print_json(made)
    if made.broken:
        first = made.broken[0]
        runs = many(sum(each.runs for each in made.broken), "runs")
        say(
            f"An invariant broke in {runs}, first in one with seed {first.seed}: "
            f"{plain(first.rule)}; to replay it with its trace, give: "
            f"pnyx simulate {scenario} --trace {first.point}:{first.repetition}"
        )
    done = many(made.runs_done, "runs")
    say(f"{done}: tables and page are in {out}; open {out / 'report.html'}.")


def _executor(scenario: "ScenarioFile", jobs: int, ray: str) -> "Executor":
    from pnyx.errors import ConfigError
    from pnyx.simulator.runner import PoolExecutor, RayExecutor, SerialExecutor
    from pnyx.simulator.runner.simulate import runs_of

    if ray and jobs:
        raise ConfigError("Give either --jobs or --ray: a cluster counts its cores itself.")
    if ray:
        return RayExecutor(ray)
    runs = sum(1 for _ in runs_of(scenario))
    processes = min(jobs or len(os.sched_getaffinity(0)), runs)
    return SerialExecutor() if processes == 1 else PoolExecutor(processes)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal's stderr, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(plain(title)), total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _lines() -> Callable[[float], None]:
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if share >= told + _TOLD_SHARE:
            told = share
            say(f"{share:.0%} done")

    return tell
