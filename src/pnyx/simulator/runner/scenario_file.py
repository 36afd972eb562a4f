"""Scenario files: what to simulate, in TOML, checked before anything runs.

`mode` names an experiment of `experiments`, `[settings]` sets its parameters. `[sweep]` gives some
of them several values: a list, or a range `{ from = 10, to = 1000, steps = 5, scale = "log" }`.
`[[cases]]` are settings that change together. Every combination of a case and of swept values is a
*point*, and every point runs `repetitions` times with different seeds. Files are named relative to
the folder of the scenario.
`[[figures]]` says what the page shows (`figures`). docs/simulation.md is the manual.
"""

import re
import tomllib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, inspect

from pnyx.errors import ConfigError
from pnyx.primitives.hashing import digest
from pnyx.simulator.experiment import Experiment, accepted, fields, plain, read_parameters
from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.runner.figure import Figure, Text, cell, check_figure, shown

SCENARIO_BYTES_MAX = 1024 * 1024
RUNS_MAX = 100_000
_Kind = TypeVar("_Kind", bound=msgspec.Struct)


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values from one number to another, both included, evenly spaced, or by equal factors."""

    first: Annotated[float, Meta(ge=-1e12, le=1e12)] = msgspec.field(name="from")
    last: Annotated[float, Meta(ge=-1e12, le=1e12)] = msgspec.field(name="to")
    steps: Annotated[int, Meta(ge=2, le=10_000)]
    scale: Literal["linear", "log"] = "linear"

    def values(self, *, whole: bool) -> list[Any]:
        """The values, without repetition; rounded where they must be whole numbers."""
        if self.scale == "log":
            ratio = self.last / self.first
            made = [self.first * ratio ** (at / (self.steps - 1)) for at in range(self.steps)]
        else:
            width = self.last - self.first
            made = [self.first + width * at / (self.steps - 1) for at in range(self.steps)]
        rounded = (round(value) if whole else float(f"{value:.12g}") for value in made)
        return list(dict.fromkeys(rounded))


class Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario as it is written."""

    title: Text
    mode: Text
    description: Annotated[str, Meta(max_length=10_000)] = ""
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 1
    repetitions: Annotated[int, Meta(ge=1, le=RUNS_MAX)] = 1
    settings: dict[str, Any] = {}
    cases: tuple[dict[str, Any], ...] = ()
    sweep: dict[str, Any] = {}
    figures: tuple[Figure, ...] = ()


class ScenarioFile(Written, frozen=True, kw_only=True):
    """A scenario that was checked against its experiment."""

    folder: Path = Path()  # that files are named relative to

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
        table = {**self.settings, **point}
        table |= {name: str(self.folder / file) for name, file in self._named(table)}
        return read_parameters(self.experiment.parameters, table)

    def files(self) -> dict[str, Path]:
        """Files that settings name, at whatever point: each by its name in the scenario."""
        tables = ({**self.settings, **point} for point in self.points())
        return {file: self.folder / file for table in tables for _, file in self._named(table)}

    def _named(self, table: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Settings of a point that name a file, and the file."""
        found = [(name, table[name]) for name in self.experiment.files & table.keys()]
        return [(name, file) for name, file in found if file and isinstance(file, str)]

    def wording(self, point: Mapping[str, Any]) -> str:
        """A point in words: "loss = 0.1, nodes = 36"; of the only one nothing."""
        return ", ".join(f"{name} = {cell(value)}" for name, value in point.items())

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
    return check_scenario(table, path.parent)


def check_scenario(table: Mapping[str, Any], folder: Path = Path()) -> ScenarioFile:
    """Make a scenario of a decoded file in this folder. Raises ConfigError."""
    figures = table.get("figures")
    for figure in figures if isinstance(figures, list) else ():
        if isinstance(figure, dict):
            _check_table(figure, Figure, "figures.")
    written = _convert(table, Written, "")
    if written.mode not in EXPERIMENTS:
        wanted = _accepted("mode", inspect.StrType())
        raise ConfigError(f"mode must be {wanted}, not {shown(written.mode)}.")
    scenario = ScenarioFile(**msgspec.structs.asdict(written), folder=folder)
    _check_places(scenario)
    points = list(islice(scenario.points(), RUNS_MAX + 1))
    if len(points) * scenario.repetitions > RUNS_MAX:
        raise ConfigError(
            f"This scenario asks for more than {RUNS_MAX:,} runs: sweep fewer values, or lower "
            "repetitions."
        )
    last_round = _check_points(scenario, points)
    for figure in scenario.figures:
        check_figure(figure, scenario.experiment, points, last_round)
    return scenario


def _check_points(scenario: ScenarioFile, points: Sequence[Mapping[str, Any]]) -> int | None:
    """Every point is possible, and none is there twice; returns the most rounds, if it has any."""
    seen: set[bytes] = set()
    last_round: int | None = None
    for point in points:
        parameters = scenario.parameters(point)
        encoded = msgspec.msgpack.encode(parameters)
        if encoded in seen:
            raise ConfigError(
                f"[[cases]] and [sweep] give the same settings twice, {scenario.wording(point)}: "
                "leave one of them out."
            )
        seen.add(encoded)
        scenario.experiment.check(parameters)
        rounds = getattr(parameters, "rounds", None)
        if rounds is not None:
            last_round = max(rounds, last_round or 0)
    return last_round


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


def _axis(experiment: Experiment, name: str, given: Any) -> list[Any]:
    """Values of one swept setting."""
    if isinstance(given, list) and given:
        if len({value if isinstance(value, Hashable) else repr(value) for value in given}) < len(
            given
        ):
            raise ConfigError(f"{name} in [sweep] lists a value twice: leave one of them out.")
        return given
    if isinstance(given, dict):
        span = _convert(given, Range, f"{name}.")
        if span.scale == "log" and not (span.first > 0 and span.last > 0):
            raise ConfigError(f"{name}.from and {name}.to must be above 0 where the scale is log.")
        values = span.values(whole=_whole(experiment, name))
        if len(values) < 2:
            raise ConfigError(
                f"{name}.to must give other values than {name}.from, {span.first:g}, not "
                f"{span.last:g}; or set {name} in [settings]."
            )
        return values
    raise ConfigError(
        f"{name} in [sweep] must be a list of values, or a range such as "
        f"{{ from = 1, to = 9, steps = 5 }}, not {shown(given)}."
    )


def _whole(experiment: Experiment, name: str) -> bool:
    """Whether a setting takes whole numbers only."""
    kinds = {field.name: plain(field.type) for field in fields(experiment.parameters)}
    return isinstance(kinds.get(name), inspect.IntType)


def _convert(table: Any, kind: type[_Kind], prefix: str) -> _Kind:
    """The table as a record of this kind. Raises ConfigError."""
    _check_table(table, kind, prefix)
    return msgspec.convert(table, kind)


def _check_table(table: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> None:
    """Say what is no key of this kind of record, what is missing, and what a key accepts."""
    known = {field.encode_name: field for field in fields(kind)}
    for key in table:
        if key not in known:
            choices = ", ".join(known)
            raise ConfigError(f"There is no {prefix}{key} in a scenario: choose from {choices}.")
    for key, field in known.items():
        kind_of = plain(field.type)
        if key in table:
            if not _fits(kind_of, table[key]):
                raise ConfigError(
                    f"{prefix}{key} must be {_accepted(key, kind_of)}, not {shown(table[key])}."
                )
        elif field.required:
            raise ConfigError(f"{prefix}{key} is missing: it must be {_accepted(key, kind_of)}.")


def _accepted(key: str, kind: inspect.Type) -> str:
    """Say in words what a key accepts."""
    if key == "mode":
        return f"one of {', '.join(sorted(EXPERIMENTS))}"
    match kind:
        case inspect.VarTupleType():
            return f"tables, each under [[{key}]]"
        case inspect.StrType(pattern=str()):
            return f"{accepted(kind)} without control characters"
        case _:
            return accepted(kind)


def _fits(kind: inspect.Type, value: Any) -> bool:
    """Whether a key of this kind takes the value."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            whole = isinstance(kind, inspect.IntType)
            return (
                isinstance(value, int if whole else int | float)
                and not isinstance(value, bool)
                and (kind.ge is None or value >= kind.ge)
                and (kind.le is None or value <= kind.le)
            )
        case inspect.LiteralType():
            return isinstance(value, str) and value in kind.values
        case inspect.StrType():
            return (
                isinstance(value, str)
                and (kind.min_length or 0) <= len(value)
                and (kind.max_length is None or len(value) <= kind.max_length)
                and (kind.pattern is None or re.search(kind.pattern, value) is not None)
            )
        case inspect.DictType():
            return isinstance(value, dict)
        case _:
            return isinstance(value, list) and all(isinstance(each, dict) for each in value)


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
