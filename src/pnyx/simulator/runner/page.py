"""The report of a simulation: one HTML page that loads nothing and has no script."""

from collections.abc import Iterator, Sequence
from functools import cache

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pnyx.simulator.experiment import many
from pnyx.simulator.runner.drawing import draw, drawable
from pnyx.simulator.runner.figure import Figure, is_measured, is_truth
from pnyx.simulator.runner.scenario_file import ScenarioFile
from pnyx.simulator.runner.statistics import Line, Row, Summed, sum_up


class Drawn(msgspec.Struct, frozen=True):
    """A figure with what it shows."""

    figure: Figure
    lines: tuple[Line, ...]
    notes: tuple[str, ...]  # sentences about what is not in it, or not as it seems


class Broken(msgspec.Struct, frozen=True):
    """An invariant that broke: in how many runs, and the first of them."""

    rule: str
    runs: int
    point: int
    repetition: int
    seed: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far a scenario is."""

    version: str  # of the code and of what the scenario reads
    done: int
    total: int
    partial: int  # final records of runs that are not done
    failed: tuple[str, ...]  # of each run that failed, why
    broken: tuple[Broken, ...]


def render(scenario: ScenarioFile, text: str, drawn: Sequence[Drawn], state: State) -> str:
    """Write the page. text: the scenario file."""
    origin = f"{scenario.title} · seed {scenario.seed} · pnyx {state.version}"
    labels = {name: axis_of(meaning) for name, meaning in labels_of(scenario).items()}
    figures, missing = [], []
    for each in drawn:
        lines = drawable(each.figure, each.lines)
        if not lines:
            missing.append(each)
            continue
        experiment, varied = scenario.experiment, scenario.varied
        named = dict(labels)
        if is_truth(each.figure.y, experiment, varied):
            named[each.figure.y] += ", share of runs"
        measured = is_measured(each.figure.x, experiment, varied)
        svg = draw(each.figure, lines, named, origin, measured=measured)
        figures.append(
            {
                "figure": each.figure,
                "lines": each.lines,
                "notes": each.notes,
                "svg": Markup(svg),  # noqa: S704  (drawn here)
                "x": named[each.figure.x],
                "y": named[each.figure.y],
            }
        )
    template = _environment().get_template("simulation.html")
    return template.render(
        scenario=scenario,
        text=text,
        figures=figures,
        missing=missing,
        columns=scenario.experiment.columns,
        purpose=scenario.experiment.purpose,
        counted=scenario.experiment.counted,
        state=state,
    )


def shown_by(scenario: ScenarioFile, figure: Figure, rows: Sequence[Row]) -> Drawn:
    """Return what a figure shows of these rows, with what is to be said about it."""
    measured = is_measured(figure.x, scenario.experiment, scenario.varied)
    share = figure.y in scenario.experiment.shares
    found = sum_up(rows, figure, measured=measured, share=share)
    return Drawn(figure, found.lines, tuple(_notes(scenario, figure, found, measured=measured)))


def _notes(
    scenario: ScenarioFile, figure: Figure, found: Summed, *, measured: bool
) -> Iterator[str]:
    kind = scenario.experiment.counted
    marks = [mark for line in found.lines for mark in line.marks if mark.runs]
    counts = sorted({mark.runs for mark in marks})
    if counts:
        yield f"Runs at a point: {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''}."
    if counts == [1]:
        yield "One run gives no interval."
    elif counts:
        alone = " (none at points of one run)" if 1 in counts else ""
        yield f"Points are means over runs, bars their 95 % confidence intervals{alone}."
    if measured:
        yield f"{figure.x} is measured: each point is at the mean of its runs."
    for axis, without in ((figure.x, found.without_x), (figure.y, found.without_y)):
        if without:
            yield (
                f"{found.rows - without} of {found.rows} {kind} have a result in {axis}; the "
                "others are in no mean."
            )
    hidden = len(marks) - sum(len(line.marks) for line in drawable(figure, found.lines))
    if hidden:
        points = f"{many(hidden, 'points')} {'is' if hidden == 1 else 'are'}"
        yield f"{points} not above 0, which a logarithmic axis cannot show."


def labels_of(scenario: ScenarioFile) -> dict[str, str]:
    """Column or varied setting -> its meaning and unit."""
    settings = scenario.experiment.settings
    return {**{name: settings[name] for name in scenario.varied}, **scenario.experiment.columns}


def axis_of(meaning: str) -> str:
    """Return what an axis says of a meaning: what is before exceptions and defaults."""
    return meaning.split(";")[0]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pnyx.simulator.runner"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["many"] = many
    return environment


def _number(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
