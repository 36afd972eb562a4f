"""What a figure of a scenario shows, and whether it can: checked before anything runs.

A figure never averages over a setting that differs from point to point: each of its marks is the
mean over the repetitions of one point. So every varied setting is its x, its series, fixed by
`where`, or follows from these (as settings of the same case do).
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect

from pnyx.errors import ConfigError
from pnyx.simulator.experiment import Experiment, accepted, fields, plain

_SHOWN_MAX = 60  # characters of a wrong value that are shown
Text = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
_NUMBERS = inspect.IntType | inspect.FloatType


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure: a column over a column or swept setting, a line for each value of `series`.

    where: only rows that have these values. y may be a column of numbers, or of true and false,
    whose mean is a share. An x that is measured, a column of fractional numbers that was not swept,
    is averaged as y is.
    """

    title: Text
    x: Text
    y: Text
    series: Annotated[str, Meta(max_length=300)] = ""
    where: dict[str, Any] = {}
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    caption: Annotated[str, Meta(max_length=2000)] = ""


def check_figure(
    figure: Figure,
    experiment: Experiment,
    points: Sequence[Mapping[str, Any]],
    last_round: int | None = None,
) -> None:
    """Refuse a figure that cannot be drawn, or would mix points. Raises ConfigError.

    points: all of the scenario, each with the settings that are varied. last_round: of the longest
    run, where records are of rounds.
    """
    kinds = _kinds(experiment, points[0])
    named = {"x": figure.x, "y": figure.y, "series": figure.series}
    named |= {f"where.{name}": name for name in figure.where}
    for key, name in named.items():
        if name and name not in kinds:
            raise _refused(figure, key, _one_of(kinds), name)
    numbers = [
        name for name, kind in kinds.items() if isinstance(kind, _NUMBERS | inspect.BoolType)
    ]
    if figure.y not in numbers:
        raise _refused(figure, "y", f"numbers, or true and false: {_one_of(numbers)}", figure.y)
    if figure.series and is_measured(figure.series, experiment, points[0]):
        names = [name for name in kinds if not is_measured(name, experiment, points[0])]
        raise _refused(figure, "series", _one_of(names), figure.series)
    for name, value in figure.where.items():
        _check_where(figure, name, value, kinds[name], points, last_round)
    shown_points = _where(figure, points)
    if not shown_points:
        raise ConfigError(f"where of the figure '{figure.title}' fits no point of the scenario.")
    _check_log(figure, kinds[figure.x], shown_points)
    _check_mixing(figure, experiment, shown_points)


def is_measured(name: str, experiment: Experiment, varied: Collection[str]) -> bool:
    """Whether a column holds fractional numbers that come out of a run: no two runs share one."""
    if name in varied:
        return False
    kinds = {field.name: _kind(field.type) for field in fields(experiment.record)}
    return isinstance(kinds.get(name), inspect.FloatType)


def is_truth(name: str, experiment: Experiment, varied: Collection[str]) -> bool:
    """Whether a column or varied setting is true or false, so that its mean is a share of runs."""
    return isinstance(_kinds(experiment, varied)[name], inspect.BoolType)


def cell(value: Any) -> Any:
    """Return a setting as tables and figures have it: a list becomes a text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def shown(value: Any) -> str:
    """Return a wrong value as a sentence has it."""
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"


def _kind(kind: inspect.Type) -> inspect.Type:
    """The type of a field's values, none aside."""
    kind = plain(kind)
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    return plain(kind)


def _kinds(experiment: Experiment, varied: Collection[str]) -> dict[str, inspect.Type]:
    """Columns and varied settings, with what they hold."""
    settings = {f.name: _kind(f.type) for f in fields(experiment.parameters) if f.name in varied}
    return settings | {field.name: _kind(field.type) for field in fields(experiment.record)}


def _one_of(names: Collection[str]) -> str:
    return "one of " + ", ".join(sorted(names))


def _refused(figure: Figure, key: str, wanted: str, given: Any) -> ConfigError:
    return ConfigError(
        f"{key} of the figure '{figure.title}' must be {wanted}, not {shown(given)}."
    )


def _check_where(
    figure: Figure,
    name: str,
    value: Any,
    kind: inspect.Type,
    points: Sequence[Mapping[str, Any]],
    last_round: int | None,
) -> None:
    """A value that no row can have is refused."""
    key = f"where.{name}"
    if name in points[0]:
        values = {cell(point[name]): None for point in points}
        if not any(_same(cell(value), each) for each in values):
            raise _refused(figure, key, "one of " + ", ".join(map(str, values)), value)
        return
    match kind:
        case inspect.BoolType():
            fits = isinstance(value, bool)
        case inspect.IntType():
            fits = isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            fits = isinstance(value, str)
    if not fits:
        raise _refused(figure, key, accepted(kind), value)
    if name == "round" and last_round is not None and not 0 <= value <= last_round:
        raise _refused(figure, key, f"a whole number from 0 to {last_round:,}", value)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _where(figure: Figure, points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The points that a figure may show."""
    fixed = {name: cell(value) for name, value in figure.where.items() if name in points[0]}
    return [
        point
        for point in points
        if all(cell(point[name]) == value for name, value in fixed.items())
    ]


def _check_log(figure: Figure, kind: inspect.Type, points: Sequence[Mapping[str, Any]]) -> None:
    if figure.x_scale != "log":
        return
    values = [point.get(figure.x, 1) for point in points]
    least = min(values) if isinstance(kind, _NUMBERS) else 0
    if not least > 0:
        raise ConfigError(
            f"x_scale of the figure '{figure.title}' must be linear, as {figure.x} is not always a "
            "number above 0, not 'log'."
        )


def _check_mixing(
    figure: Figure, experiment: Experiment, points: Sequence[Mapping[str, Any]]
) -> None:
    """No mark may be the mean over several points, and no line wind through several settings."""
    measured = is_measured(figure.x, experiment, points[0])
    groups: dict[Hashable, list[Mapping[str, Any]]] = {}
    for point in points:
        key = (
            cell(point[figure.x]) if figure.x in point else None,
            cell(point[figure.series]) if figure.series in point else None,
        )
        groups.setdefault(key, []).append(point)
    for group in groups.values():
        # How many values each setting has among points that x and series do not tell apart.
        counts = {name: len({cell(point[name]) for point in group}) for name in group[0]}
        told_apart = measured and len(group) in counts.values()
        if len(group) > 1 and not told_apart:
            name = max(counts, key=lambda each: counts[each])
            raise ConfigError(
                f"The figure '{figure.title}' would mix the values of {name}: make it x or series, "
                f"or fix it, such as where = {{ {name} = {_toml(cell(group[0][name]))} }}."
            )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
