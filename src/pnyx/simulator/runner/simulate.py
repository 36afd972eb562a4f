"""Carry out a scenario: run what is not done yet, then write tables and page of what is there."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pnyx import __version__
from pnyx.errors import Interrupted
from pnyx.simulator.runner.drawing import check_drawing
from pnyx.simulator.runner.executors import Executor, encode_job
from pnyx.simulator.runner.folder import Folder, open_folder, replace
from pnyx.simulator.runner.page import Drawn, labels_of, render
from pnyx.simulator.runner.scenario_file import ScenarioFile
from pnyx.simulator.runner.statistics import Row, lines

Tell = Callable[[float], None]
_MEANINGS = {
    "point": "number of the combination of swept values",
    "repetition": "number of the run at this point",
    "seed": "seed of the run",
}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a command has made."""

    title: str
    mode: str
    runs_done: int
    runs_total: int
    broken: dict[str, int]  # invariant -> runs in which it broke
    folder: str
    figures: tuple[Drawn, ...]


class Run(msgspec.Struct, frozen=True):
    """One run of a scenario."""

    number: int
    point: int
    swept: dict[str, Any]
    repetition: int
    seed: int


def runs_of(scenario: ScenarioFile) -> Iterator[Run]:
    """All runs: repetition by repetition, so that a partial result covers every point."""
    points = list(scenario.points())
    for repetition in range(scenario.repetitions):
        seed = scenario.seed_of(repetition)
        for point, swept in enumerate(points):
            yield Run(repetition * len(points) + point, point, swept, repetition, seed)


def simulate(
    scenario: ScenarioFile, text: bytes, out: Path, executor: Executor, tell: Tell
) -> Summary:
    """Run a scenario into a folder, going on with what is there.

    text: the scenario file. tell: told the share that is done. Raises ConfigError, or Interrupted
    when Ctrl-C ends it: the folder then holds tables and page of the runs that are done.
    """
    if scenario.figures:
        check_drawing()
    runs = list(runs_of(scenario))
    with open_folder(out, text, __version__) as folder:
        try:
            _carry_out(scenario, runs, folder, executor, tell)
        except KeyboardInterrupt as error:
            made = _write(scenario, text.decode(), runs, folder)
            raise Interrupted(
                f"Interrupted after {made.runs_done} of {made.runs_total} runs, whose tables and "
                f"page are in {out}; give the same command again to go on."
            ) from error
        return _write(scenario, text.decode(), runs, folder)


def _carry_out(
    scenario: ScenarioFile, runs: list[Run], folder: Folder, executor: Executor, tell: Tell
) -> None:
    left = [run for run in runs if not folder.has(run.number)]
    done = len(runs) - len(left)
    tell(done / len(runs))
    jobs = (
        (run.number, encode_job(scenario.mode, scenario.parameters(run.swept), run.seed))
        for run in left
    )

    def within(share: float) -> None:
        tell((done + share) / len(runs))

    for number, records in executor.run(jobs, within):
        folder.keep(number, records)
        done += 1
        tell(done / len(runs))


def _write(scenario: ScenarioFile, text: str, runs: list[Run], folder: Folder) -> Summary:
    finished = [run for run in runs if folder.has(run.number)]
    rows = [row for run in finished for row in _rows(scenario, run, folder)]
    drawn = tuple(Drawn(figure, lines(rows, figure)) for figure in scenario.figures)
    broken = Counter(
        rule
        for rule, _ in {(row.get("broken"), (row["point"], row["repetition"])) for row in rows}
        if rule
    )
    if rows:
        _write_table(folder.path / "results.parquet", rows, _meanings(scenario), text)
        _write_points(folder.path / "figures.parquet", drawn, text)
    page = render(
        scenario,
        text,
        drawn,
        version=__version__,
        done=len(finished),
        total=len(runs),
        broken=broken,
    )
    replace(folder.path / "report.html", page.encode())
    return Summary(
        title=scenario.title,
        mode=scenario.mode,
        runs_done=len(finished),
        runs_total=len(runs),
        broken=dict(broken),
        folder=str(folder.path),
        figures=drawn,
    )


def _rows(scenario: ScenarioFile, run: Run, folder: Folder) -> Iterator[Row]:
    """Records of a run, with the run and its swept values before them."""
    records = msgspec.msgpack.decode(
        folder.read(run.number),
        type=list[scenario.experiment.record],  # type: ignore[name-defined]  # known as it runs
    )
    for record in records:
        yield {
            "point": run.point,
            "repetition": run.repetition,
            "seed": run.seed,
            **run.swept,
            **msgspec.structs.asdict(record),
        }


def _meanings(scenario: ScenarioFile) -> dict[str, str]:
    return {**_MEANINGS, **labels_of(scenario)}


def _write_points(path: Path, drawn: tuple[Drawn, ...], text: str) -> None:
    """The points of all figures; x as text, for figures differ in its type."""
    rows = [
        {
            "figure": each.figure.title,
            "series": line.name,
            "x": str(mark.x),
            "y": mark.y,
            "low": mark.low,
            "high": mark.high,
            "runs": mark.runs,
        }
        for each in drawn
        for line in each.lines
        for mark in line.marks
    ]
    if rows:
        _write_table(path, rows, {"low": "lower end of the 95 % confidence interval"}, text)


def _write_table(path: Path, rows: Sequence[Row], meanings: Mapping[str, str], text: str) -> None:
    table = pa.Table.from_pylist([dict(row) for row in rows])
    fields = [
        field.with_metadata({b"meaning": meanings[field.name].encode()})
        if field.name in meanings
        else field
        for field in table.schema
    ]
    metadata = {b"scenario": text.encode(), b"version": __version__.encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(pa.schema(fields, metadata=metadata)), sink)
    replace(path, sink.getvalue().to_pybytes())
