"""Figures as SVG, drawn by matplotlib: the same bytes for the same points.

Colours are those of Okabe and Ito, which people with colour blindness tell apart; markers and line
styles differ too, so that a black and white print can be read.
"""

import importlib
import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from pnyx.errors import ConfigError
from pnyx.simulator.runner.scenario_file import Figure
from pnyx.simulator.runner.statistics import Line

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_SIZE_INCHES = (6.4, 3.8)
_STYLE: Any = {
    "text.parse_math": False,  # a $ in a title is a $
    "svg.fonttype": "none",  # text stays text, to be read aloud, found and copied
    "svg.hashsalt": "pnyx",  # ids follow from the drawing alone
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def check_drawing() -> None:
    """Find out at the start whether figures can be drawn. Raises ConfigError."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ConfigError(
            "Figures need the package matplotlib: install it with 'pip install pnyx[simulate]', or "
            "take [[figures]] out of the scenario."
        ) from error


def draw(figure: Figure, lines: Sequence[Line], labels: Mapping[str, str], origin: str) -> str:
    """Return an <svg> element.

    labels: column -> meaning and unit, for the axes. origin: one line printed below, that says
    which scenario and seed this is.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=_SIZE_INCHES, layout="constrained")
        axes = canvas.add_subplot()
        places = _places(lines)
        styles = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_DASHES), strict=False)
        for line, (colour, marker, dash) in zip(lines, styles, strict=False):
            xs = [mark.x if places is None else places[mark.x] for mark in line.marks]
            ys = [mark.y for mark in line.marks]
            reach = [
                [mark.y - mark.low for mark in line.marks],
                [mark.high - mark.y for mark in line.marks],
            ]
            axes.errorbar(
                xs,
                ys,
                yerr=reach,
                label=line.name or None,
                color=colour,
                marker=marker,
                markersize=4,
                linestyle=dash if places is None else "none",
                linewidth=1.3,
                capsize=2.5,
            )
        axes.set_xscale(figure.x_scale if places is None else "linear")
        axes.set_yscale(figure.y_scale)
        if places is not None:
            axes.set_xticks(list(places.values()), [_tick(name) for name in places])
        axes.set_xlabel(labels[figure.x])
        axes.set_ylabel(labels[figure.y], wrap=True)
        axes.set_title(figure.title, fontsize=11)
        if any(line.name for line in lines):
            axes.legend(frameon=False, fontsize=9)
        canvas.text(0.995, 0.0, origin, ha="right", va="bottom", fontsize=6.5, color="#555555")
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    return drawn[drawn.index("<svg") :]


def _tick(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _places(lines: Sequence[Line]) -> dict[Any, int] | None:
    """Where names stand on the axis; None where x is a number."""
    seen = dict.fromkeys(mark.x for line in lines for mark in line.marks)
    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in seen):
        return None
    return {x: place for place, x in enumerate(seen)}
