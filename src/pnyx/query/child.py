"""The child: one query by DuckDB, over a copy of the consented columns, then the end.

It is a fresh process and not a fork, so that no key of the node is anywhere in its memory. It gets
its task on the socket that is its standard input, and answers there. Before the query is looked at

- DuckDB has no file system, extension, second thread or temporary directory, and its settings are
  locked;
- the process may open no descriptor, write no file, leave no core dump, and its memory and CPU
  time are bounded (`_confine`).

All that SQL could then do is to read the table, to fail, or to be killed.
"""

import ctypes
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from pnyx.query.frames import (
    HEADER_BYTES,
    TASK,
    InputColumn,
    QueryFailure,
    QueryRows,
    QueryTask,
    body_length,
    frame,
)

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
}
_NUMBERS = ("DOUBLE", "FLOAT", "BOOLEAN", "HUGEINT", "UHUGEINT")
_WHOLE = (
    "BIGINT",
    "INTEGER",
    "SMALLINT",
    "TINYINT",
    "UBIGINT",
    "UINTEGER",
    "USMALLINT",
    "UTINYINT",
)
_REASON_MAX = 300  # characters
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve the one task of this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    channel = socket.socket(fileno=0)
    task = TASK.decode(_receive(channel, body_length(_receive(channel, HEADER_BYTES))))
    try:
        answer: QueryRows | QueryFailure = _answer(task)
    except (duckdb.OutOfMemoryException, MemoryError):
        answer = QueryFailure(
            f"The query needs more than {task.memory_bytes_max >> 20} MiB of memory: "
            "let it keep fewer rows."
        )
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException):
        # the text of these errors quotes values
        answer = QueryFailure(
            "The query meets a value that it cannot compute with: divide with /, CAST numbers to "
            "DOUBLE before they grow, and use TRY_CAST where a CAST may fail."
        )
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0][:_REASON_MAX]
        answer = QueryFailure(f"The query does not fit the data ({reason}): correct it.")
    channel.sendall(frame(answer))


def _receive(channel: socket.socket, length: int) -> bytearray:
    received = bytearray(length)
    view = memoryview(received)
    while view:
        count = channel.recv_into(view)
        if not count:
            sys.exit(0)  # the node changed its mind
        view = view[count:]
    return received


def _answer(task: QueryTask) -> QueryRows | QueryFailure:
    connection = duckdb.connect(
        ":memory:", config=_SETTINGS | {"memory_limit": f"{task.memory_bytes_max}B"}
    )
    _fill(connection, task.columns)
    _warm_up(connection)
    connection.execute("SET lock_configuration = true")
    _confine(task.memory_bytes_max, task.cpu_seconds_max)
    return _run(connection, task)


def _fill(connection: duckdb.DuckDBPyConnection, columns: tuple[InputColumn, ...]) -> None:
    """Copy the columns into a table of the database, where SQL can reach nothing else."""
    arrays = {f"c{place}": _array(column) for place, column in enumerate(columns)}
    connection.register("received", arrays)
    copied = ", ".join(
        f"{_VALUE[column.kind].format(f'c{place}')} AS c{place}"
        for place, column in enumerate(columns)
    )
    connection.execute(f"CREATE TABLE data AS SELECT {copied} FROM received")  # noqa: S608
    connection.unregister("received")


_VALUE = {
    "float": "CASE WHEN isnan({0}) THEN NULL ELSE {0} END",
    "int": "{0}",
    "text": "nullif({0}, '')",
}


def _array(column: InputColumn) -> NDArray[Any]:
    if isinstance(column.values, bytes):
        return np.frombuffer(column.values, "<f8" if column.kind == "float" else "<i8")
    return np.array(column.values, dtype=object)


def _warm_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Import now what fetching imports, which it could not do once confined."""
    connection.execute("SELECT 1.0e0 AS a, 2::BIGINT AS b, NULL::DOUBLE AS c").fetchnumpy()


def _confine(memory_bytes_max: int, cpu_seconds_max: int) -> None:
    """Give up, for good, what a query never needs. System calls would be restricted here."""
    pages = 0
    if sys.platform == "linux":  # elsewhere address space is not accounted in a useful way
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes_max)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + 1 + cpu_seconds_max)
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        _limit(kind, 0)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(kind, (most, most))


def _run(connection: duckdb.DuckDBPyConnection, task: QueryTask) -> QueryRows | QueryFailure:
    statements = connection.extract_statements(task.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        return QueryFailure("A feature query is one SELECT and nothing else.")
    relation = connection.sql(task.sql)
    if len(relation.columns) != task.outputs:
        return QueryFailure(
            f"The query gives {len(relation.columns)} columns where {task.outputs} are stated."
        )
    for place, kind in enumerate(map(str, relation.types)):
        if kind not in _WHOLE and (
            place == task.label or not (kind in _NUMBERS or kind.startswith("DECIMAL"))
        ):
            wanted = "a whole number: CAST it to BIGINT" if place == task.label else "a number"
            return QueryFailure(f"Output {place + 1} of the query is {kind} and must be {wanted}.")
    # One more row than allowed is fetched, to tell; the text parsed as one statement on its own,
    # so it closes neither the bracket nor the line.
    names = ", ".join(f"o{place}" for place in range(task.outputs))
    wanted = ", ".join(
        f"CAST(o{place} AS {'BIGINT' if place == task.label else 'DOUBLE'}) AS o{place}"
        for place in range(task.outputs)
    )
    connection.execute(
        f"SELECT {wanted} FROM (\n{task.sql}\n) AS query({names}) LIMIT {task.rows_max + 1}"  # noqa: S608
    )
    return _rows(connection.fetchnumpy(), task)


def _rows(found: dict[str, Any], task: QueryTask) -> QueryRows | QueryFailure:
    rows = len(next(iter(found.values())))
    if rows > task.rows_max:
        return QueryFailure(
            f"The query gives more than {task.rows_max} rows: group or filter them."
        )
    columns = []
    for place, values in enumerate(found.values()):
        if place == task.label:
            if np.ma.is_masked(values):
                return QueryFailure("The query gives rows without a label: filter them out.")
            columns.append(np.asarray(values, "<i8").tobytes())
        else:
            columns.append(np.ma.filled(values.astype("<f8"), np.nan).tobytes())
    return QueryRows(rows, tuple(columns))
