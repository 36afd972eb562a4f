"""Scenario files: what to simulate, in TOML, checked before anything runs.

`mode` names an experiment of `experiments`, `[settings]` sets its parameters. `[sweep]` gives some
of them several values: a list, or a range `{ from = 10, to = 1000, steps = 5, scale = "log" }`.
`[[cases]]` are settings that change together. Every combination of a case and of swept values is a
*point*, and every point runs `repetitions` times with different seeds.
`[[figures]]` says what the page shows. docs/simulation.md is the manual.
"""

import tomllib
from collections.abc import Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, inspect

from pnyx.errors import ConfigError
from pnyx.primitives.hashing import digest
from pnyx.simulator.experiment import Experiment, accepted, read_parameters
from pnyx.simulator.experiments import EXPERIMENTS

SCENARIO_BYTES_MAX = 1024 * 1024
RUNS_MAX = 100_000
_SHOWN_MAX = 60  # characters of a wrong value that are shown
_Kind = TypeVar("_Kind", bound=msgspec.Struct)
_Text = Annotated[str, Meta(min_length=1, max_length=300)]


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure: a column over a column or swept setting, a line for each value of `series`.

    where: only rows that have these values. y may be a column of numbers, or of true and false,
    whose mean is a share.
    """

    title: _Text
    x: _Text
    y: _Text
    series: Annotated[str, Meta(max_length=300)] = ""
    where: dict[str, Any] = {}
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    caption: Annotated[str, Meta(max_length=2000)] = ""


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values from one number to another, both included, evenly spaced, or by equal factors."""

    first: Annotated[float, Meta(ge=-1e12, le=1e12)] = msgspec.field(name="from")
    last: Annotated[float, Meta(ge=-1e12, le=1e12)] = msgspec.field(name="to")
    steps: Annotated[int, Meta(ge=2, le=10_000)]
    scale: Literal["linear", "log"] = "linear"

    def values(self, *, whole: bool) -> list[Any]:
        """The values, rounded and without repetition where they must be whole numbers."""
        if self.scale == "log":
            ratio = self.last / self.first
            made = [self.first * ratio ** (at / (self.steps - 1)) for at in range(self.steps)]
        else:
            width = self.last - self.first
            made = [self.first + width * at / (self.steps - 1) for at in range(self.steps)]
        if whole:
            return list(dict.fromkeys(round(value) for value in made))
        return [float(f"{value:.12g}") for value in made]


class ScenarioFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario as it is written; `read_scenario` checks it against its experiment."""

    title: _Text
    mode: _Text
    description: Annotated[str, Meta(max_length=10_000)] = ""
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 1
    repetitions: Annotated[int, Meta(ge=1, le=RUNS_MAX)] = 1
    settings: dict[str, Any] = {}
    cases: tuple[dict[str, Any], ...] = ()
    sweep: dict[str, Any] = {}
    figures: tuple[Figure, ...] = ()

    @property
    def experiment(self) -> Experiment:
        """What is run."""
        return EXPERIMENTS[self.mode]

    def points(self) -> Iterator[dict[str, Any]]:
        """Every combination of cases and swept values, the last one named changing fastest."""
        axes = [_axis(self.experiment, name, given) for name, given in self.sweep.items()]
        for case, *values in product(self.cases or ({},), *axes):
            yield {**case, **dict(zip(self.sweep, values, strict=True))}

    @property
    def varied(self) -> tuple[str, ...]:
        """Settings that differ from point to point, in order."""
        return tuple(dict.fromkeys([*(name for case in self.cases for name in case), *self.sweep]))

    def parameters(self, point: Mapping[str, Any]) -> msgspec.Struct:
        """Parameters at a point. Raises ConfigError."""
        return read_parameters(self.experiment.parameters, {**self.settings, **point})

    def seed_of(self, repetition: int) -> int:
        """Seed of a repetition: at every point the same, so that points differ by nothing else.

        The first has the scenario's own, as who runs an experiment by itself would give it.
        """
        if repetition == 0:
            return self.seed
        drawn = digest(
            "pnyx/simulator/repetition",
            self.seed.to_bytes(8, "big"),
            repetition.to_bytes(8, "big"),
        )
        return int.from_bytes(drawn[:7], "big")  # below 2^56: exact in every table


def read_scenario(path: Path) -> ScenarioFile:
    """Read a scenario file and check all of it. Raises ConfigError, one sentence naming the key."""
    try:
        table = tomllib.loads(read_bytes(path).decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text in UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    return check_scenario(table)


def check_scenario(table: Mapping[str, Any]) -> ScenarioFile:
    """Make a scenario of a decoded file. Raises ConfigError."""
    figures = table.get("figures")
    for figure in figures if isinstance(figures, list) else ():
        _check_keys(figure, Figure, "figures.")
    scenario = _convert(table, ScenarioFile, "")
    if scenario.mode not in EXPERIMENTS:
        raise ConfigError(f"mode must be one of {', '.join(sorted(EXPERIMENTS))}.")
    _check_places(scenario)
    points = list(islice(scenario.points(), RUNS_MAX + 1))
    if len(points) * scenario.repetitions > RUNS_MAX:
        raise ConfigError(
            f"This scenario asks for more than {RUNS_MAX:,} runs: sweep fewer values, or lower "
            "repetitions."
        )
    for point in points:
        scenario.parameters(point)
    for figure in scenario.figures:
        _check_figure(scenario, figure)
    return scenario


def _check_places(scenario: ScenarioFile) -> None:
    """Every setting has one place, and all cases set the same ones."""
    cases = {name for case in scenario.cases for name in case}
    for name in scenario.varied:
        places = [
            place
            for place, names in (
                ("[settings]", scenario.settings),
                ("[[cases]]", cases),
                ("[sweep]", scenario.sweep),
            )
            if name in names
        ]
        if len(places) > 1:
            raise ConfigError(f"{name} stands in both {' and '.join(places)}: leave one out.")
    for name in sorted(cases):
        if not all(name in case for case in scenario.cases):
            raise ConfigError(f"{name} is missing in some of the [[cases]]: give it in each.")


def _check_figure(scenario: ScenarioFile, figure: Figure) -> None:
    known = {*scenario.experiment.columns, *scenario.varied}
    named = {"x": figure.x, "y": figure.y, "series": figure.series}
    named |= {f"where.{name}": name for name in figure.where}
    for key, name in named.items():
        if name and name not in known:
            raise ConfigError(
                f"{key} of the figure '{figure.title}' must be one of {', '.join(sorted(known))}."
            )


def _axis(experiment: Experiment, name: str, given: Any) -> list[Any]:
    """Values of one swept setting."""
    if isinstance(given, list) and given:
        if len({repr(value) for value in given}) < len(given):
            raise ConfigError(f"{name} in [sweep] lists a value twice.")
        return given
    if isinstance(given, dict):
        span = _convert(given, Range, f"{name}.")
        if span.scale == "log" and not (span.first > 0 and span.last > 0):
            raise ConfigError(f"{name}.from and {name}.to must be above 0 where the scale is log.")
        return span.values(whole=_whole(experiment, name))
    raise ConfigError(
        f"{name} in [sweep] must be a list of values, or a range such as "
        "{ from = 1, to = 9, steps = 5 }."
    )


def _whole(experiment: Experiment, name: str) -> bool:
    """Whether a setting takes whole numbers only."""
    for field in _fields(experiment.parameters):
        if field.encode_name == name:
            return isinstance(_plain(field.type), inspect.IntType)
    return False


def _plain(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def _convert(table: Any, kind: type[_Kind], prefix: str) -> _Kind:
    """The table as a record of this kind. Raises ConfigError."""
    _check_keys(table, kind, prefix)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The scenario is not understood: {_worded(error)}.") from error


def _check_keys(table: Any, kind: type[msgspec.Struct], prefix: str) -> None:
    """Say what is no key of this kind of record, and what a key accepts. Raises ConfigError."""
    if not isinstance(table, Mapping):
        return
    names = {field.encode_name: field for field in _fields(kind)}
    for key, value in table.items():
        if key not in names:
            choices = ", ".join(names)
            raise ConfigError(f"There is no {prefix}{key} in a scenario: choose from {choices}.")
        _check_value(names[key], value, prefix)


def _check_value(field: inspect.Field, value: Any, prefix: str) -> None:
    """Say what a plain field accepts, where the value is something else."""
    plain = _plain(field.type)
    numbers = inspect.IntType | inspect.FloatType
    if not isinstance(plain, numbers | inspect.LiteralType):
        return
    fits = isinstance(value, str) if isinstance(plain, inspect.LiteralType) else True
    if isinstance(plain, numbers):
        whole = isinstance(plain, inspect.IntType)
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        fits = fits and (plain.ge is None or value >= plain.ge)
        fits = fits and (plain.le is None or value <= plain.le)
    elif isinstance(plain, inspect.LiteralType):
        fits = value in plain.values
    if not fits:
        shown = repr(value)[:_SHOWN_MAX]
        raise ConfigError(f"{prefix}{field.encode_name} must be {accepted(plain)}, not {shown}.")


def _worded(error: msgspec.ValidationError) -> str:
    """Msgspec's own words, as the rest of a sentence."""
    text = str(error)
    return text[:1].lower() + text[1:].replace("`$.", "`").rstrip(".")


def read_bytes(path: Path) -> bytes:
    """A scenario file as it stands. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(SCENARIO_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > SCENARIO_BYTES_MAX:
        raise ConfigError(f"{path} is above {SCENARIO_BYTES_MAX // 1024} KiB: no scenario is.")
    return content
