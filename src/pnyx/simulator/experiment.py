"""What an experiment is: parameters and a seed in, records out.

An experiment is a function `run(parameters, seed, progress)` that returns frozen records, all of
one kind. It draws from nothing but the seed and keeps nothing between calls, so the same parameters
and seed give the same records in whatever process it runs; a sweep is many calls. `progress` is
told the share that is done, from 0 to 1, and whatever records are final; whoever calls may
interrupt there by raising.

Parameters are frozen records whose fields carry their ranges, meaning and unit, records carry the
meaning and the unit of each field: `read_parameters` and `meanings` take all from there, so nothing
is written twice. `experiments` has the table of all.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import inspect

from pnyx.errors import ConfigError

Parameters = TypeVar("Parameters", bound=msgspec.Struct)
SHARE = {"share": True}  # `extra` of a column of shares, whose intervals end at 0 and 1
FILE = {"file": True}  # `extra` of a parameter that names a file


class Progress(Protocol):
    """Hears how far a run is."""

    def __call__(self, share: float, records: Sequence[msgspec.Struct] = ()) -> None:
        """Hear the share that is done, and the records that no later part of the run changes.

        records: all of them so far; what is kept of a run that is never finished.
        """
        ...


def _nothing(parameters: Any) -> None:
    """Parameters of which nothing is to be checked beside what their record refuses."""


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the table of experiments."""

    name: str
    purpose: str  # what it measures, in one sentence
    parameters: type[msgspec.Struct]
    record: type[msgspec.Struct]
    run: Callable[[Any, int, Progress], Sequence[msgspec.Struct]]
    # What takes files or time to find out, before anything runs. Raises ConfigError.
    check: Callable[[Any], None] = _nothing
    # The run of a seed again, told line by line.
    trace: Callable[[Any, int, Callable[[str], None]], None] | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Fields of a record, in order, with their meaning and unit."""
        return meanings(self.record)

    @property
    def settings(self) -> dict[str, str]:
        """Parameters, in order, with their meaning and unit."""
        return meanings(self.parameters)

    @property
    def counted(self) -> str:
        """What its records are, in the plural."""
        return "rounds" if "round" in self.columns else "records"

    @property
    def files(self) -> frozenset[str]:
        """Parameters that name files."""
        return marked(self.parameters, FILE)

    @property
    def shares(self) -> frozenset[str]:
        """Columns of shares, from 0 to 1."""
        return marked(self.record, SHARE)


def many(count: int, plural: str) -> str:
    """'1 round', '36 rounds'."""
    return f"{count:,} {plural if count != 1 else plural.removesuffix('s')}"


def whole_number(low: int, high: int) -> str:
    """'a whole number from 1 to 3', or the one that there is."""
    return f"a whole number from {low:,} to {high:,}" if low < high else f"{low:,}"


def silent(share: float, records: Sequence[msgspec.Struct] = ()) -> None:
    """Progress that nobody watches."""


def meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what each field of parameters or of a record means: its `description`."""
    described = {}
    for field in fields(kind):
        meta = field.type.extra_json_schema if isinstance(field.type, inspect.Metadata) else None
        if not meta or "description" not in meta:
            raise TypeError(f"{kind.__name__}.{field.name} says neither meaning nor unit")
        described[field.name] = str(meta["description"])
    return described


def marked(kind: type[msgspec.Struct], mark: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields that carry this `extra`."""
    return frozenset(
        field.name
        for field in fields(kind)
        if isinstance(field.type, inspect.Metadata) and field.type.extra == mark
    )


def read_parameters(kind: type[Parameters], table: Mapping[str, Any]) -> Parameters:
    """Make a parameter record from what a person wrote.

    Raises ConfigError, one sentence that names the key and what it accepts: for an unknown key, a
    missing one, a value out of range, and what the record itself refuses (values that do not fit
    together).
    """
    known = {field.name: field for field in fields(kind)}
    for key in table:
        if key not in known:
            raise ConfigError(
                f"There is no setting {key} here: choose from {', '.join(sorted(known))}."
            )
    values = {}
    for name, field in known.items():
        if name in table:
            values[name] = _converted(kind, field, table[name])
        elif field.required:
            raise ConfigError(f"{name} is missing: it must be {accepted(field.type)}.")
    return kind(**values)


def accepted(kind: inspect.Type) -> str:
    """Say in words what a field accepts."""
    match kind:
        case inspect.Metadata():
            return accepted(kind.type)
        case inspect.IntType():
            return "a whole number" + _range(kind)
        case inspect.FloatType():
            return "a number" + _range(kind)
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in kind.values)
        case inspect.VarTupleType() | inspect.ListType():
            return "a list, each " + accepted(kind.item_type)
        case inspect.DictType() | inspect.StructType():
            return "a table"
        case inspect.StrType(max_length=int(most)):
            return f"a text of {kind.min_length or 0} to {most:,} characters"
        case _:
            return "a text"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    low = kind.ge if kind.ge is not None else kind.gt
    high = kind.le if kind.le is not None else kind.lt
    if low is None or high is None:
        return ""
    if isinstance(kind, inspect.FloatType):  # 0 and 0.0 are one to whoever caches a type
        low, high = float(low), float(high)
    above = "" if kind.gt is None else " (excluded)"
    below = "" if kind.lt is None else " (excluded)"
    return f" from {low:,}{above} to {high:,}{below}"


def _converted(kind: type[msgspec.Struct], field: inspect.Field, value: Any) -> Any:
    """The value as the field's type, or a sentence that says what the field accepts."""
    hint = msgspec.structs.fields(kind)
    declared = next(each.type for each in hint if each.name == field.name)
    try:
        return msgspec.convert(value, type=declared)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{field.name} must be {accepted(field.type)}, not {value!r}.") from error


def plain(kind: inspect.Type) -> inspect.Type:
    """Return a field's type without what is said about it."""
    return kind.type if isinstance(kind, inspect.Metadata) else kind


@cache
def fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """Return the fields of a kind of record, in order."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields
