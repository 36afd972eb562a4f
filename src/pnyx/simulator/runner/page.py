"""The report of a simulation: one HTML page that loads nothing and has no script."""

from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pnyx.simulator.runner.drawing import draw
from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.scenario_file import ScenarioFile
from pnyx.simulator.runner.statistics import Line


class Drawn(msgspec.Struct, frozen=True):
    """A figure with what it shows."""

    figure: Figure
    lines: tuple[Line, ...]


def render(
    scenario: ScenarioFile,
    text: str,
    drawn: Sequence[Drawn],
    *,
    version: str,
    done: int,
    total: int,
    broken: Mapping[str, int],
) -> str:
    """Write the page.

    text: the scenario file. done, total: runs. broken: invariant -> runs in which it broke.
    """
    origin = f"{scenario.title} · seed {scenario.seed} · pnyx {version}"
    labels = labels_of(scenario)
    figures = [
        {
            "figure": each.figure,
            "lines": each.lines,
            "svg": Markup(draw(each.figure, each.lines, labels, origin)),  # noqa: S704  (drawn here)
            "x": labels[each.figure.x],
            "y": labels[each.figure.y],
            "single": all(mark.runs == 1 for line in each.lines for mark in line.marks),
        }
        for each in drawn
        if any(line.marks for line in each.lines)
    ]
    return (
        _environment()
        .get_template("simulation.html")
        .render(
            scenario=scenario,
            text=text,
            figures=figures,
            missing=[e.figure.title for e in drawn if not any(line.marks for line in e.lines)],
            columns=scenario.experiment.columns,
            purpose=scenario.experiment.purpose,
            version=version,
            done=done,
            total=total,
            broken=broken,
        )
    )


def labels_of(scenario: ScenarioFile) -> dict[str, str]:
    """Column or swept setting -> what an axis says."""
    return {
        **{name: name.replace("_", " ") for name in scenario.varied},
        **scenario.experiment.columns,
    }


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
    return environment


def _number(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
