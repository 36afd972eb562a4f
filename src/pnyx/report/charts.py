"""Where the marks of the figures stand: geometry only, drawn by `templates/charts.html`.

Horizontal places are percentages of the plot, so that one drawing fits a telephone, a screen and a
sheet of paper with text and marks of constant size. Vertical places are pixels.
"""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from pnyx.report.record import Models, Owner, Round

CURVE_HEIGHT = 240.0
BARS_HEIGHT = 56.0
STRIP_HEIGHT = 54.0
_X_TICKS_MAX = 8
_X_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_MARKS_MAX = 80  # beyond, the curve is a line without points
_STRIP_BINS = 50
_STRIP_STEP = 9.0  # pixels from one stacked dot to the next, where there is room
_STRIP_STEP_MIN = 3.0  # below, dots merge into columns
_ROW_HEIGHT = 18.0
_ROWS_HEIGHT_MAX = 1080.0
_ROW_HEIGHT_NAMED = 14.0  # rows below this height carry no name
_DECILE = 10
_WIDE = 0.5  # an axis that begins below has ticks at every second ten of percent

KINDS = ("alone", "shared", "personalised")


class Tick(msgspec.Struct, frozen=True):
    """A labelled place on an axis."""

    at: float
    label: str


class Mark(msgspec.Struct, frozen=True):
    """A point, or the top of a bar; `round` is what it shows."""

    x: float
    y: float
    round: Round


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """The learning curve and the contributors below it.

    lines: unbroken runs of points, as paths in a square of 100 by `CURVE_HEIGHT`. after: where the
    model after the last round stands, from the evaluation.
    """

    lines: tuple[str, ...]
    marks: tuple[Mark, ...]
    skipped: tuple[Mark, ...]
    bars: tuple[Mark, ...]
    bar_width: float
    contributors_max: int
    after: tuple[float, float] | None
    levels: dict[str, float]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


class Dot(msgspec.Struct, frozen=True):
    """One owner in a strip."""

    x: float
    y: float


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """All owners by the accuracy of one model; owners of equal accuracy stand on each other.

    columns: their tops, in place of dots, where there are too many to tell apart.
    """

    kind: str
    dots: tuple[Dot, ...]
    radius: float
    columns: tuple[Dot, ...]
    column_width: float
    median: float
    worst: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One owner's three accuracies; `worst`: among the tenth for whom fine-tuning does least."""

    owner: Owner
    y: float
    places: dict[str, float]
    worst: bool


class Owners(msgspec.Struct, frozen=True, kw_only=True):
    """Both figures of the owners, on one scale."""

    strips: tuple[Strip, ...]
    rows: tuple[Row, ...]
    row_height: float
    named: bool
    height: float
    ticks: tuple[Tick, ...]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How one model's accuracy is spread over the owners; every owner weighs the same."""

    kind: str
    mean: float
    median: float
    worst_tenth: float  # average over the tenth of the owners, rounded up, with the lowest
    lowest: float
    highest: float


def curve(rounds: Sequence[Round], models: Models | None) -> Curve | None:
    """Place the training rounds; None where there are none."""
    trained = [each for each in rounds if each.kind == "train"]
    if not trained:
        return None
    slots = len(trained) + (models is not None)
    levels = {} if models is None else {kind: getattr(models, kind) for kind in KINDS}
    shown = [each.accuracy for each in trained if each.accuracy is not None]
    low = _floor([*shown, *levels.values()])
    most = max(each.contributors for each in trained)
    step = _step(len(trained))

    def x(place: int) -> float:
        return 100 * (place + 0.5) / slots

    def y(share: float) -> float:
        return CURVE_HEIGHT * (1 - _within(share, low))

    marks: list[Mark] = []
    skipped: list[Mark] = []
    bars: list[Mark] = []
    runs: list[list[tuple[float, float]]] = [[]]
    for place, each in enumerate(trained):
        if each.accuracy is None:
            runs.append([])
        else:
            marks.append(Mark(x(place), y(each.accuracy), each))
            runs[-1].append((x(place), y(each.accuracy)))
        if each.skipped:
            skipped.append(Mark(x(place), CURVE_HEIGHT, each))
        height = BARS_HEIGHT * each.contributors / most if most else 0.0
        bars.append(Mark(x(place), BARS_HEIGHT - height, each))
    after = None if models is None else (x(len(trained)), y(models.shared))
    if after is not None:
        runs[-1].append(after)
    return Curve(
        lines=tuple(_path(run) for run in runs if len(run) > 1),
        marks=tuple(marks) if len(marks) <= _MARKS_MAX else (),
        skipped=tuple(skipped),
        bars=tuple(bars),
        bar_width=100 / slots * 0.62,
        contributors_max=most,
        after=after,
        levels={kind: y(share) for kind, share in levels.items()},
        x_ticks=tuple(
            Tick(x(place), str(each.number))
            for place, each in enumerate(trained)
            if each.number % step == 0
        ),
        y_ticks=tuple(Tick(y(tick.at), tick.label) for tick in _shares(low)),
    )


def owners(found: Sequence[Owner]) -> Owners | None:
    """Place the owners, best fine-tuned model first; None where none or one is known."""
    if len(found) < 2:
        return None
    low = _floor([getattr(each.models, kind) for each in found for kind in KINDS])
    ordered = sorted(
        found, key=lambda each: (each.models.personalised, each.models.shared), reverse=True
    )
    height = min(_ROW_HEIGHT, _ROWS_HEIGHT_MAX / len(ordered))
    best = len(ordered) - tenth(len(ordered))
    rows = [
        Row(
            owner=each,
            y=(place + 0.5) * height,
            places={kind: 100 * _within(getattr(each.models, kind), low) for kind in KINDS},
            worst=place >= best,
        )
        for place, each in enumerate(ordered)
    ]
    return Owners(
        strips=tuple(_strip(kind, found, low) for kind in KINDS),
        rows=tuple(rows),
        row_height=height,
        named=height >= _ROW_HEIGHT_NAMED,
        height=height * len(ordered),
        ticks=tuple(Tick(100 * _within(tick.at, low), tick.label) for tick in _shares(low)),
    )


def spreads(found: Sequence[Owner]) -> tuple[Spread, ...]:
    """Summarise each model over the owners; empty for fewer than two."""
    if len(found) < 2:
        return ()
    return tuple(_spread(kind, found) for kind in KINDS)


def _spread(kind: str, found: Sequence[Owner]) -> Spread:
    ascending = sorted(getattr(each.models, kind) for each in found)
    worst = ascending[: tenth(len(ascending))]
    return Spread(
        kind=kind,
        mean=math.fsum(ascending) / len(ascending),
        median=_median(ascending),
        worst_tenth=math.fsum(worst) / len(worst),
        lowest=ascending[0],
        highest=ascending[-1],
    )


def _strip(kind: str, found: Sequence[Owner], low: float) -> Strip:
    """Stack owners of nearly equal accuracy, in columns one bin wide."""
    places = [round(_within(getattr(each.models, kind), low) * _STRIP_BINS) for each in found]
    bins = Counter(places)
    step = min(_STRIP_STEP, STRIP_HEIGHT / max(bins.values()))
    tops = {
        place: [STRIP_HEIGHT - step * (above + 0.5) for above in range(count)]
        for place, count in sorted(bins.items())
    }
    dots = [Dot(100 * place / _STRIP_BINS, y) for place, stack in tops.items() for y in stack]
    columns = [
        Dot(100 * place / _STRIP_BINS, STRIP_HEIGHT - step * count) for place, count in bins.items()
    ]
    apart, spread = step >= _STRIP_STEP_MIN, _spread(kind, found)
    return Strip(
        kind=kind,
        dots=tuple(dots) if apart else (),
        radius=step * 0.44,
        columns=() if apart else tuple(columns),
        column_width=70 / _STRIP_BINS,
        median=100 * _within(spread.median, low),
        worst=100 * _within(spread.worst_tenth, low),
    )


def tenth(count: int) -> int:
    """How many owners make the worst tenth: rounded up."""
    return math.ceil(count / _DECILE)


def _median(ascending: Sequence[float]) -> float:
    middle = len(ascending) // 2
    if len(ascending) % 2:
        return ascending[middle]
    return (ascending[middle - 1] + ascending[middle]) / 2


def _floor(shares: Sequence[float]) -> float:
    """Where an axis of accuracies begins: at a tick below the lowest."""
    tens = max(math.floor(min(shares, default=0.0) * 10 - 1e-9), 0)
    if tens < 10 * _WIDE:
        tens -= tens % 2
    return min(tens, 9) / 10


def _within(share: float, low: float) -> float:
    """Where a share stands from `low` (0) to 1 (1); what lies outside is drawn at the end."""
    return min(max((share - low) / (1 - low), 0.0), 1.0)


def _shares(low: float) -> list[Tick]:
    """Ticks at full tens of percent, at twenties where there would be many."""
    step = 2 if low < _WIDE else 1
    return [Tick(ten / 10, f"{10 * ten} %") for ten in range(round(low * 10), 11, step)]


def _step(count: int) -> int:
    """From one numbered round to the next, so that few are numbered."""
    return next((step for step in _X_STEPS if count <= step * _X_TICKS_MAX), _X_STEPS[-1])


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
