"""A node's settings: one TOML file, read into one frozen record and checked at start.

    [node]                      serve_as_actor, network, log_level, sandbox
    [listen]                    host, port; where this node waits for peers
    [advertise]                 host, port; where peers find it, when that differs (NAT, container)
    [consent]                   default, and [[consent.rules]]: the owner's policy
    [limits]                    the owner's bounds on privacy cost, imports and peers

Every setting has a default, so an empty or missing file is a valid one. An unknown setting, or a
value out of range, is refused with its name and what is accepted: a misspelt bound that silently
fell back to its default could cost the owner privacy.
"""

import difflib
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, inspect

from pnyx.errors import ConfigError, PnyxError
from pnyx.hosts import HOST_CHARACTERS_MAX, HOST_WORDS, is_host

T = TypeVar("T")

CONFIG_BYTES_MAX = 256 * 1024
FILE_NAME = r"\A[^\0]*\Z"  # the operating system takes no NUL
_SHOWN_CHARACTERS_MAX = 60

Port = Annotated[int, Meta(ge=0, le=65_535)]
Host = Annotated[str, Meta(max_length=HOST_CHARACTERS_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Budget = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Action = Literal["accept", "ask", "decline"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections: an unknown key is an error."""


class NodeSection(_Section, frozen=True):
    """What this node does; `network` names the authority's file, relative to the node directory.

    `sandbox`: whether training and queries have to be confined fully, or as far as the system can.
    """

    serve_as_actor: bool = True
    network: Annotated[str, Meta(min_length=1, max_length=4096, pattern=FILE_NAME)] = "network.json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    sandbox: Literal["require", "best"] = "best"


class Listen(_Section, frozen=True):
    """Where this node waits for peers; port 0 lets the system choose a free one."""

    host: Annotated[str, Meta(min_length=1, max_length=HOST_CHARACTERS_MAX)] = "127.0.0.1"
    port: Port = 7400


class Advertise(_Section, frozen=True):
    """Where peers find this node; an empty host or port 0 stands for the one of `listen`."""

    host: Host = ""
    port: Port = 0


class ConsentRule(_Section, frozen=True):
    """Answer for studies of some purposes and data categories, depending on their privacy cost.

    An empty list stands for any. `purposes` are terms of the W3C Data Privacy Vocabulary. A rule
    that accepts does so up to `epsilon_max`; one that declines or asks does so above it, or
    whatever the cost when it is not given.
    """

    action: Action
    purposes: tuple[Name, ...] = ()
    categories: tuple[Name, ...] = ()
    epsilon_max: Budget = math.inf


class ConsentPolicy(_Section, frozen=True):
    """The owner's standing answers: the first rule that applies, otherwise `default`."""

    default: Action = "ask"
    rules: Annotated[tuple[ConsentRule, ...], Meta(max_length=1000)] = ()


class Limits(_Section, frozen=True):
    """Bounds that the owner sets; `epsilon_total_max` counts every study together."""

    epsilon_total_max: Budget = math.inf
    import_file_mb_max: Annotated[int, Meta(ge=1, le=65_536)] = 256
    import_rows_max: Annotated[int, Meta(ge=1, le=100_000_000)] = 1_000_000
    connections_max: Count = 1024


class NodeConfig(_Section, frozen=True):
    """All settings of one node."""

    node: NodeSection = NodeSection()
    listen: Listen = Listen()
    advertise: Advertise = Advertise()
    consent: ConsentPolicy = ConsentPolicy()
    limits: Limits = Limits()

    @property
    def advertised_host(self) -> str:
        """The host that peers are told."""
        return self.advertise.host or self.listen.host


def read_config(path: Path) -> NodeConfig:
    """Read the settings file; a missing one means defaults. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return NodeConfig()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; check its path and permissions."
        ) from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {CONFIG_BYTES_MAX} bytes; shorten it.")
    return parse_config(data, str(path))


def parse_config(data: bytes, source: str) -> NodeConfig:
    """Check settings given as TOML bytes; `source` names them in errors."""
    config = parse_toml(data, NodeConfig, source, ConfigError)
    if not is_host(config.advertised_host):  # no peer would take it
        name = "advertise.host" if config.advertise.host else "listen.host"
        raise ConfigError(
            f"{source}: {name} is {_shown(config.advertised_host)}; peers are told it, so set "
            f"advertise.host to {HOST_WORDS}."
        )
    return config


def write_toml(config: msgspec.Struct) -> bytes:
    """Render settings as TOML that `parse_config` reads back."""
    return msgspec.toml.encode(config)


def parse_toml(data: bytes, kind: type[T], source: str, error_kind: type[PnyxError]) -> T:
    """Read TOML bytes as a record, with errors that name the setting and what is accepted."""
    try:
        value = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise error_kind(f"{source} is not valid TOML: save it as text in UTF-8.") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a number of too many digits
        raise error_kind(f"{source} is not valid TOML: {error}; correct it there.") from error
    return convert_settings(value, kind, source, error_kind)


def convert_settings(value: object, kind: type[T], source: str, error_kind: type[PnyxError]) -> T:
    """Convert plain values to a record, with errors that name the setting and what is accepted."""
    problem = _problem(value, inspect.type_info(kind), "")
    if problem:
        raise error_kind(f"{source}: {problem}.")
    return msgspec.convert(value, kind)


def _problem(value: object, expected: inspect.Type, name: str) -> str:
    """Say what is wrong with a value, or nothing: ''. `name` is its dotted setting."""
    match expected:
        case inspect.UnionType():  # of something and nothing, which a file states by leaving it out
            return _problem(value, _stated(expected), name)
        case inspect.StructType():
            return _struct_problem(value, expected, name)
        case inspect.DictType():
            return _table_problem(value, expected, name)
        case inspect.VarTupleType():
            return _list_problem(value, expected, name)
    if not _accepted(value, expected):
        return f"{name} is {_shown(value)}; it must be {_range(expected)}"
    if isinstance(expected, inspect.FloatType) and not _is_float(value):
        return f"{name} is {_shown(value)}, beyond what a floating-point number holds; correct it"
    return ""


def _stated(expected: inspect.UnionType) -> inspect.Type:
    """What an optional setting holds when it is there."""
    (stated,) = (kind for kind in expected.types if not isinstance(kind, inspect.NoneType))
    return stated


def _struct_problem(value: object, expected: inspect.StructType, name: str) -> str:
    if not isinstance(value, dict):
        return f"{name} is {_shown(value)}; it must be a table of settings"
    fields = {field.encode_name: field for field in expected.fields}
    prefix = f"{name}." if name else ""
    for key, inner in value.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]}" if near else f"known here: {', '.join(fields)}"
            return f"{prefix}{key} is not a setting; {hint}"
        if problem := _problem(inner, fields[key].type, f"{prefix}{key}"):
            return problem
    for key, field in fields.items():
        if field.required and key not in value:
            return f"{prefix}{key} is missing; it must be {_range(field.type)}"
    return ""


def _table_problem(value: object, expected: inspect.DictType, name: str) -> str:
    if not isinstance(value, dict):
        return f"{name} is {_shown(value)}; it must be a table"
    if not _length_fits(len(value), expected):
        return f"{name} has {len(value)} entries; it must be {_range(expected)}"
    problems = (
        _problem(inner, expected.value_type, f"{name}.{key}") for key, inner in value.items()
    )
    return next(filter(None, problems), "")


def _list_problem(value: object, expected: inspect.VarTupleType, name: str) -> str:
    if not isinstance(value, list | tuple):
        return f"{name} is {_shown(value)}; it must be a list"
    if not _length_fits(len(value), expected):
        return f"{name} has {len(value)} entries; it must be {_range(expected)}"
    problems = (
        _problem(inner, expected.item_type, f"{name}[{index}]") for index, inner in enumerate(value)
    )
    return next(filter(None, problems), "")


def _accepted(value: object, expected: inspect.Type) -> bool:
    match expected:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool) and _fits(value, expected)
        case inspect.FloatType():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and _fits(value, expected)
        case inspect.LiteralType():
            return value in expected.values
        case inspect.StrType():
            matches = isinstance(value, str) and re.search(expected.pattern or "", value)
            return bool(matches) and _length_fits(len(str(value)), expected)
    raise TypeError(f"settings of type {expected} are not supported")


def _fits(value: Any, expected: inspect.IntType | inspect.FloatType) -> bool:
    """Compare so that nan, which TOML can write, fits no bound."""
    low = -math.inf if expected.ge is None else expected.ge
    high = math.inf if expected.le is None else expected.le
    return bool(low <= value <= high)


def _is_float(number: Any) -> bool:
    """Whether a number, which TOML may write as an integer of any size, is one of 64 bits."""
    try:
        float(number)
    except OverflowError:
        return False
    return True


def _length_fits(length: int, expected: Any) -> bool:
    low = expected.min_length or 0
    high = math.inf if expected.max_length is None else expected.max_length
    return bool(low <= length <= high)


def _range(expected: inspect.Type) -> str:
    """Word what is accepted: 'a whole number from 0 to 65535'."""
    match expected:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in expected.values)
        case inspect.IntType():
            return "a whole number" + _bounds(expected.ge, expected.le)
        case inspect.FloatType():
            return "a number" + _bounds(expected.ge, expected.le)
        case inspect.StrType():
            shape = f" that matches {expected.pattern}" if expected.pattern else ""
            return f"a text of{_lengths(expected)} characters{shape}"
        case inspect.DictType():
            return f"a table of{_lengths(expected)} entries"
        case inspect.VarTupleType():
            return f"a list of{_lengths(expected)} entries"
    return "a table of settings"


def _bounds(low: object, high: object) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return ""


def _lengths(expected: Any) -> str:
    low, high = expected.min_length or 0, expected.max_length
    return f" {low} to {high}" if high is not None else f" at least {low}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of so many digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "..."
