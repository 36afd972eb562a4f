"""From the cells of a file to typed rows, whatever its format."""

from collections.abc import Iterator, Sequence

from pnyx.errors import DataImportError
from pnyx.vault.collections import Value
from pnyx.vault.importers.mapping import Converter, ImportLimits, ImportMapping


class RowReader:
    """Applies a mapping to the rows of one file; `unit` is what its rows are called: line, row."""

    def __init__(
        self,
        name: str,
        unit: str,
        mapping: ImportMapping,
        header: Sequence[str],
        limits: ImportLimits,
    ) -> None:
        self._name = name
        self._unit = unit
        self._limits = limits
        _check_header(name, mapping, header, limits)
        self._only = [(header.index(column), text) for column, text in mapping.only.items()]
        self._cells = [
            (header.index(column), column, Converter(mapped, limits))
            for column, mapped in mapping.columns.items()
        ]

    def read(self, rows: Iterator[tuple[int, Sequence[object]]]) -> Iterator[tuple[Value, ...]]:
        """Convert the numbered rows that `only` keeps; the first problem raises DataImportError."""
        for count, (number, row) in enumerate(rows, start=1):
            if count > self._limits.rows_max:
                raise DataImportError(
                    f"{self._name} has more than {self._limits.rows_max} rows; split it, or raise "
                    "limits.import_rows_max."
                )
            if all(str(row[place]) == text for place, text in self._only):
                yield self._converted(number, row)

    def _converted(self, number: int, row: Sequence[object]) -> tuple[Value, ...]:
        values = []
        for place, column, converter in self._cells:
            try:
                values.append(converter.convert(row[place]))
            except ValueError as error:
                raise DataImportError(
                    f"{self._name}, {self._unit} {number}, column {column}: the value {error}."
                ) from error
        return tuple(values)


def _check_header(
    name: str, mapping: ImportMapping, header: Sequence[str], limits: ImportLimits
) -> None:
    if len(header) > limits.columns_max:
        raise DataImportError(
            f"{name} has {len(header)} columns; at most {limits.columns_max} are accepted."
        )
    for column in [*mapping.columns, *mapping.only]:
        if header.count(column) != 1:
            times = "twice" if column in header else "nowhere"
            raise DataImportError(
                f"{name} has the column {column} {times}, and the mapping asks for it; correct "
                "the mapping or the file."
            )
