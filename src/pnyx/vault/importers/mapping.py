"""How the columns of a file become the columns of a collection.

A mapping is a TOML file, or the equal dictionary:

    category = "activity.windows"          # the collection, created by the first import
    only = { user = "7" }                  # optional: keep the rows where a column has this text

    [columns.xpeak]                        # a column of the file
    name = "x_peak"                        # its name in the vault; the same when left out
    type = "float"                         # float, int or text
    missing = ["", "?"]                    # texts that stand for a missing value

    [columns.activity]
    type = "text"
    classes = ["Jogging", "Walking"]       # a label: nothing else is accepted

Columns of the file that are not named are never read into the vault. A value is converted by one
rule for every format: `convert` takes the text of a CSV cell or the typed value of a Parquet cell.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.config import convert_settings, parse_toml
from pnyx.errors import DataImportError
from pnyx.vault.collections import CATEGORY_PATTERN, COLUMNS_MAX, Column, ColumnType, Value
from pnyx.vault.files import describe

MAPPING_BYTES_MAX = 1024 * 1024
_INT64_MAX = 2**63 - 1
_SHOWN_CHARACTERS_MAX = 40

_Text = Annotated[str, Meta(max_length=200)]


class ImportLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on a file, so that a wrong or hostile one fails early instead of filling memory."""

    file_bytes_max: int = 256 * 1024 * 1024
    rows_max: int = 1_000_000
    columns_max: int = 4096
    field_characters_max: int = 4096


class ColumnMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one column of a file becomes; an empty name keeps the file's."""

    type: ColumnType
    name: _Text = ""
    missing: Annotated[tuple[_Text, ...], Meta(max_length=100)] = ("",)
    classes: Annotated[tuple[_Text, ...], Meta(max_length=10_000)] = ()


class ImportMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A checked mapping; use `read_mapping` or `parse_mapping`."""

    category: Annotated[str, Meta(max_length=200, pattern=CATEGORY_PATTERN)]
    columns: Annotated[dict[_Text, ColumnMapping], Meta(min_length=1, max_length=COLUMNS_MAX)]
    only: Annotated[dict[_Text, _Text], Meta(max_length=16)] = {}

    def target_columns(self) -> tuple[Column, ...]:
        """Columns of the collection, in the order of the mapping."""
        return tuple(
            Column(mapped.name or source, mapped.type, mapped.classes)
            for source, mapped in self.columns.items()
        )


def read_mapping(path: Path) -> ImportMapping:
    """Read a mapping from a TOML file. Raises DataImportError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAPPING_BYTES_MAX + 1)
    except OSError as error:
        raise DataImportError(
            f"The mapping {path} cannot be read: {describe(error)}; check its path and permissions."
        ) from error
    if len(data) > MAPPING_BYTES_MAX:
        raise DataImportError(
            f"The mapping {path} is larger than {MAPPING_BYTES_MAX} bytes; shorten it."
        )
    return _consistent(parse_toml(data, ImportMapping, str(path), DataImportError), str(path))


def parse_mapping(settings: Mapping[str, object]) -> ImportMapping:
    """Check a mapping given as a dictionary. Raises DataImportError."""
    mapping = convert_settings(dict(settings), ImportMapping, "The mapping", DataImportError)
    return _consistent(mapping, "The mapping")


def _consistent(mapping: ImportMapping, source: str) -> ImportMapping:
    names = [column.name for column in mapping.target_columns()]
    for name in names:
        if not name or names.count(name) > 1:
            raise DataImportError(f"{source}: the column name '{name}' is empty or used twice.")
    for name, mapped in mapping.columns.items():
        if mapped.classes and mapped.type != "text":
            raise DataImportError(
                f"{source}: columns.{name} has classes, so its type must be text."
            )
        if len(set(mapped.classes)) < len(mapped.classes):
            raise DataImportError(f"{source}: columns.{name} lists a class twice.")
    return mapping


class Converter:
    """Turns the cells of one column into values of its type; each problem is one phrase."""

    def __init__(self, mapped: ColumnMapping, limits: ImportLimits) -> None:
        self._type = mapped.type
        self._missing = frozenset(mapped.missing)
        self._classes = {text: index for index, text in enumerate(mapped.classes)}
        self._characters_max = limits.field_characters_max

    def convert(self, cell: object) -> Value:
        """Return the value of a cell: text from CSV, or a typed value (None: absent) from Parquet.

        Raises ValueError with a phrase that follows 'line 3, column x'.
        """
        if isinstance(cell, str):
            self._check_text(cell)
        if cell is None or (isinstance(cell, str) and cell in self._missing):
            self._check_may_be_missing()
            return None
        if self._classes:
            return self._label(cell)
        match self._type:
            case "float":
                return self._float(cell)
            case "int":
                return _integer(cell)
            case "text":
                return _text(cell)

    def _check_text(self, cell: str) -> None:
        if len(cell) > self._characters_max:
            raise ValueError(f"has {len(cell)} characters; {self._characters_max} are accepted")
        if "\0" in cell:
            raise ValueError("contains a NUL character; save the file as plain text")

    def _check_may_be_missing(self) -> None:
        if self._type == "int" or self._classes:
            raise ValueError(
                "is missing; whole numbers and labels need a value, so correct the file or map "
                "the column as float or text"
            )

    def _label(self, cell: object) -> int:
        index = self._classes.get(cell) if isinstance(cell, str) else None
        if index is None:
            raise ValueError(f"is {_shown(cell)}; it must be one of {', '.join(self._classes)}")
        return index

    def _float(self, cell: object) -> float | None:
        if isinstance(cell, bool) or not isinstance(cell, str | int | float):
            raise ValueError(f"is {_shown(cell)}; it must be a number")
        if isinstance(cell, float) and math.isnan(cell):
            return None  # the way Parquet files written by pandas say that a value is missing
        try:
            number = float(cell)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"is {_shown(cell)}; it must be a number") from error
        if not math.isfinite(number):
            raise ValueError(f"is {_shown(cell)}; it must be finite, or a declared missing text")
        return number


def _integer(cell: object) -> int:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        raise ValueError(f"is {_shown(cell)}; it must be a whole number")
    try:
        number = int(cell)
    except ValueError as error:
        raise ValueError(f"is {_shown(cell)}; it must be a whole number") from error
    if abs(number) > _INT64_MAX:
        raise ValueError(f"is {_shown(cell)}; it must fit in 64 bits")
    return number


def _text(cell: object) -> str:
    if not isinstance(cell, str):
        raise ValueError(f"is {_shown(cell)}; it must be text")
    return cell


def _shown(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "..."
