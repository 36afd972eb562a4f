"""Carry out a scenario: run what is not done yet, then write tables and page of what is there.

Whatever ends it, the folder then holds tables and page of the runs that are done, and of the
records that are final of those that are not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pnyx.errors import ConfigError, Interrupted, PnyxError
from pnyx.simulator.experiment import many
from pnyx.simulator.runner.drawing import check_drawing
from pnyx.simulator.runner.executors import Executor, Failed, encode_job
from pnyx.simulator.runner.figure import cell
from pnyx.simulator.runner.folder import Folder, open_folder, replace
from pnyx.simulator.runner.page import Broken, Drawn, State, labels_of, render, shown_by
from pnyx.simulator.runner.provenance import made_by
from pnyx.simulator.runner.scenario_file import ScenarioFile
from pnyx.simulator.runner.statistics import Row

Tell = Callable[[float], None]
_MEANINGS = {
    "point": "number of the combination of swept values",
    "repetition": "number of the run at this point",
    "seed": "seed of the run",
    "partial": "whether the run is not done, and this record is of what is over of it",
}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a command has made."""

    title: str
    mode: str
    runs_done: int
    runs_total: int
    records_partial: int  # final records of runs that are not done
    broken: tuple[Broken, ...]
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


def run_named(scenario: ScenarioFile, name: str) -> Run:
    """Return the run "POINT:REPETITION". Raises ConfigError."""
    runs = {f"{run.point}:{run.repetition}": run for run in runs_of(scenario)}
    if name not in runs:
        span = f"from 0:0 to {list(runs)[-1]}" if len(runs) > 1 else "here 0:0"
        raise ConfigError(f"--trace must be POINT:REPETITION, {span}, not {name!r}.")
    return runs[name]


def trace(scenario: ScenarioFile, name: str, say: Callable[[str], None]) -> None:
    """Run the run "POINT:REPETITION" again and tell what happens in it. Raises ConfigError."""
    run = run_named(scenario, name)
    if scenario.experiment.trace is None:
        raise ConfigError(f"--trace tells runs of mode live, and this is {scenario.mode}.")
    scenario.experiment.trace(scenario.parameters(run.swept), run.seed, say)


def simulate(
    scenario: ScenarioFile, text: bytes, out: Path, executor: Executor, tell: Tell
) -> Summary:
    """Run a scenario into a folder, going on with what is there.

    text: the scenario file. tell: told the share that is done. Raises ConfigError, also when runs
    failed, or Interrupted when Ctrl-C ends it: the folder then holds tables and page of what is
    done.
    """
    if scenario.figures:
        check_drawing()
    runs, version = list(runs_of(scenario)), made_by(text, scenario.files().items())
    with open_folder(out, text, version) as folder:
        failed: list[tuple[Run, Failed]] = []
        try:
            _carry_out(scenario, runs, folder, executor, tell, failed)
        except KeyboardInterrupt as error:
            standing = _standing(scenario, _write(scenario, text.decode(), runs, folder))
            raise Interrupted(
                f"Interrupted: {standing}; give the same command again to go on."
            ) from error
        except PnyxError as error:
            standing = _standing(scenario, _write(scenario, text.decode(), runs, folder))
            raise ConfigError(f"{error} So far {standing}.") from error
        except BaseException:
            with suppress(OSError):  # of a full disk; what is kept stays
                _write(scenario, text.decode(), runs, folder)
            raise
        made = _write(scenario, text.decode(), runs, folder)
        if failed:
            raise ConfigError(_failure(scenario, failed, made))
        return made


def _standing(scenario: ScenarioFile, made: Summary) -> str:
    """What is there, as a part of a sentence."""
    counted = scenario.experiment.counted
    runs = many(made.runs_total, "runs")
    if made.runs_done or made.records_partial:
        partial = many(made.records_partial, counted)
        others = f", and {partial} of others" if made.records_partial else ""
        return (
            f"{made.runs_done} of {runs} {'is' if made.runs_total == 1 else 'are'} done{others}, "
            f"and their tables and page are in {made.folder}"
        )
    return f"none of {runs} is done, and {made.folder} holds no table"


def _failure(scenario: ScenarioFile, failed: Sequence[tuple[Run, Failed]], made: Summary) -> str:
    run, reason = min(failed, key=lambda each: each[0].number)
    settings = scenario.wording(run.swept)
    standing = _standing(scenario, made)
    return (
        f"{len(failed)} of {many(made.runs_total, 'runs')} failed, the first at point {run.point}"
        f"{f' ({settings})' if settings else ''}, repetition {run.repetition}, of: "
        f"{reason.sentence.rstrip('.')}; runs/*.failed says where, {standing}; give the "
        "same command again to try these runs once more, or mend the scenario and name another "
        "--out."
    )


def _carry_out(
    scenario: ScenarioFile,
    runs: Sequence[Run],
    folder: Folder,
    executor: Executor,
    tell: Tell,
    failed: list[tuple[Run, Failed]],
) -> None:
    """Run what is not done. failed: takes the runs that failed."""
    left = [run for run in runs if not folder.has(run.number)]
    done = len(runs) - len(left)
    tell(done / len(runs))
    jobs = (
        (run.number, encode_job(scenario.mode, scenario.parameters(run.swept), run.seed))
        for run in left
    )

    def within(share: float, records: Sequence[msgspec.Struct] = ()) -> None:
        del records  # which the executor keeps
        tell((done + share) / len(runs))

    for number, result in executor.run(jobs, within, folder.partial):
        if isinstance(result, Failed):
            failed.append((runs[number], result))
            folder.fail(number, f"{result.sentence}\n\n{result.details}")
        else:
            folder.keep(number, bytes(result.records))
        done += 1
        tell(done / len(runs))


def _write(scenario: ScenarioFile, text: str, runs: Sequence[Run], folder: Folder) -> Summary:
    rows = [row for run in runs for row in _rows(scenario, run, folder)]
    drawn = tuple(shown_by(scenario, figure, rows) for figure in scenario.figures)
    reasons = [folder.failure(run.number) for run in runs]
    state = State(
        version=folder.version,
        done=sum(folder.has(run.number) for run in runs),
        total=len(runs),
        partial=sum(row["partial"] for row in rows),
        failed=tuple(reason.splitlines()[0] for reason in reasons if reason),
        broken=tuple(_broken(rows)),
    )
    if rows:
        marks = {b"scenario": text.encode(), b"version": folder.version.encode()}
        _write_table(folder.path / "results.parquet", rows, _meanings(scenario), marks)
        _write_points(folder.path / "figures.parquet", drawn, marks)
    replace(folder.path / "report.html", render(scenario, text, drawn, state).encode())
    return Summary(
        title=scenario.title,
        mode=scenario.mode,
        runs_done=state.done,
        runs_total=state.total,
        records_partial=state.partial,
        broken=state.broken,
        folder=str(folder.path),
        figures=drawn,
    )


def _rows(scenario: ScenarioFile, run: Run, folder: Folder) -> Iterator[Row]:
    """Records that are kept of a run, with the run and its swept values before them."""
    try:
        kept, whole = folder.read(run.number)
    except FileNotFoundError:
        return
    records = msgspec.msgpack.decode(
        kept,
        type=list[scenario.experiment.record],  # type: ignore[name-defined]  # known as it runs
    )
    for record in records:
        yield {
            "point": run.point,
            "repetition": run.repetition,
            "seed": run.seed,
            "partial": not whole,
            **{name: cell(value) for name, value in run.swept.items()},
            **msgspec.structs.asdict(record),
        }


def _broken(rows: Sequence[Row]) -> Iterator[Broken]:
    """Invariants that broke, each with the runs that it broke in."""
    first: dict[str, dict[tuple[int, int], Row]] = {}
    for row in rows:
        if row.get("broken"):
            runs = first.setdefault(row["broken"], {})
            runs.setdefault((row["point"], row["repetition"]), row)
    for rule, runs in first.items():
        row = next(iter(runs.values()))
        yield Broken(rule, len(runs), row["point"], row["repetition"], row["seed"])


def _meanings(scenario: ScenarioFile) -> dict[str, str]:
    return {**_MEANINGS, **labels_of(scenario)}


def _write_points(path: Path, drawn: tuple[Drawn, ...], marks: Mapping[bytes, bytes]) -> None:
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
            "made": mark.made,
        }
        for each in drawn
        for line in each.lines
        for mark in line.marks
    ]
    if rows:
        meanings = {
            "low": "lower end of the 95 % confidence interval",
            "high": "upper end of the 95 % confidence interval",
            "runs": "runs with a value",
            "made": "runs at this point",
        }
        _write_table(path, rows, meanings, marks)


def _write_table(
    path: Path, rows: Sequence[Row], meanings: Mapping[str, str], marks: Mapping[bytes, bytes]
) -> None:
    """Write a table. marks: what it says of itself as a whole."""
    table = pa.Table.from_pylist([dict(row) for row in rows])
    fields = [
        field.with_metadata({b"meaning": meanings[field.name].encode()})
        if field.name in meanings
        else field
        for field in table.schema
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(pa.schema(fields, metadata=marks)), sink)
    replace(path, sink.getvalue().to_pybytes())
