"""Figures as SVG, drawn by matplotlib: the same bytes for the same points.

Colours are those of Okabe and Ito, which people with colour blindness tell apart; markers and line
styles differ too, so that a black and white print can be read.
"""

import importlib
import io
import warnings
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import Any

from pnyx.errors import ConfigError
from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.statistics import Line

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_SIZE_INCHES = (6.4, 3.8)
_MARGIN_INCHES = 0.1
_TICKS_MAX = 8  # of a logarithmic axis that shows where its points are
_LONG = 1e4  # what is as large is written by its power of ten
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
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


def draw(
    figure: Figure,
    lines: Sequence[Line],
    labels: Mapping[str, str],
    origin: str,
    *,
    measured: bool = False,
) -> str:
    """Return an <svg> element; lines: what can be drawn of a figure (`drawable`).

    labels: column -> meaning and unit, for the axes. origin: one line printed below, that says
    which scenario and seed this is. measured: whether x comes out of runs, so that no tick need
    stand at its values.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Of letters that its font lacks, which the reader's has: text stays text.
        warnings.simplefilter("ignore", UserWarning)
        margins = ConstrainedLayoutEngine(w_pad=_MARGIN_INCHES, h_pad=_MARGIN_INCHES)
        canvas = Canvas(figsize=_SIZE_INCHES, layout=margins)
        axes = canvas.add_subplot()
        places = _places(lines)
        styles = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_DASHES), strict=False)
        for line, style in zip(lines, styles, strict=False):
            _plot(axes, figure, line, style, places)
        axes.set_xscale(figure.x_scale if places is None else "linear")
        axes.set_yscale(figure.y_scale)
        if places is not None:
            axes.set_xticks(list(places.values()), [fill(_tick(name), 14) for name in places])
        else:
            xs = {mark.x for line in lines for mark in line.marks}
            _label(axes.xaxis, figure.x_scale, xs, at_values=not measured)
        ys = {mark.y for line in lines for mark in line.marks if mark.y is not None}
        _label(axes.yaxis, figure.y_scale, ys, at_values=False)
        axes.set_xlabel(labels[figure.x], wrap=True)
        axes.set_ylabel(labels[figure.y], wrap=True)
        axes.set_title(figure.title, fontsize=11)
        if figure.series:
            canvas.legend(
                loc="outside right upper",
                title=_named(figure.series),
                frameon=False,
                fontsize=9,
                title_fontsize=9,
                alignment="left",
            )
        canvas.text(0.995, 0.0, origin, ha="right", va="bottom", fontsize=6.5, color="#555555")
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    return drawn[drawn.index("<svg") :]


def drawable(figure: Figure, lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the lines without marks that have no place: without a value, or 0 on a log scale."""

    def fits(value: Any, scale: str) -> bool:
        return value is not None and (scale != "log" or value > 0)

    kept = (
        Line(
            line.name,
            tuple(
                mark
                for mark in line.marks
                if fits(mark.x, figure.x_scale) and fits(mark.y, figure.y_scale)
            ),
        )
        for line in lines
    )
    return tuple(line for line in kept if line.marks)


def _plot(
    axes: Any,
    figure: Figure,
    line: Line,
    style: tuple[str, str, str],
    places: Mapping[Any, int] | None,
) -> None:
    """Draw the points of one series. style: colour, marker, dash. places: see `_places`."""
    colour, marker, dash = style
    points = [
        (mark.x, mark.y, mark.y - mark.low, mark.high - mark.y)
        for mark in line.marks
        if mark.y is not None and mark.low is not None and mark.high is not None
    ]
    xs, ys, below, above = zip(*points, strict=True)
    axes.errorbar(
        xs if places is None else [places[x] for x in xs],
        ys,
        yerr=[below, above],
        label=_named(line.name.removeprefix(f"{figure.series} = ")) or None,
        color=colour,
        marker=marker,
        markersize=4,
        linestyle=dash if places is None else "none",
        linewidth=1.3,
        capsize=2.5,
    )


def _label(axis: Any, scale: str, values: Collection[float], *, at_values: bool) -> None:
    """Write long numbers by their power of ten.

    at_values: whether ticks of a logarithmic axis stand where the points are, if these are few.
    Matplotlib's own labels of such an axis are formulas, which `text.parse_math` would leave as
    their source.
    """
    from matplotlib.ticker import LogFormatter, NullFormatter

    if scale == "log" and at_values and len(values) <= _TICKS_MAX:
        axis.set_ticks(sorted(value for value in values if value > 0))
        axis.set_minor_formatter(NullFormatter())
    elif scale == "log":
        axis.set_minor_formatter(LogFormatter())
    if scale == "log" or any(abs(value) >= _LONG for value in values):
        axis.set_major_formatter(lambda value, _: _power(value))


def _power(value: float) -> str:
    """A number as an axis shows it: powers of ten that are long as such, such as 10⁶."""
    if value == 0 or 1e-3 <= abs(value) < _LONG:
        return f"{value:g}"
    factor, exponent = f"{value:e}".split("e")
    raised = f"10{str(int(exponent)).translate(_RAISED)}"
    return raised if float(factor) == 1 else f"{float(factor):g} · {raised}"


def _named(name: str) -> str:
    return name.replace("_", " ")


def _tick(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _named(str(value))


def _places(lines: Sequence[Line]) -> dict[Any, int] | None:
    """Where names stand on the axis; None where x is a number."""
    seen = dict.fromkeys(mark.x for line in lines for mark in line.marks)
    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in seen):
        return None
    return {x: place for place, x in enumerate(seen)}
