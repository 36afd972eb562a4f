"""The child: one query by DuckDB, over a copy of the consented columns, then the end.

It is a fresh process and not a fork, so that no key of the node is anywhere in its memory. It gets
the columns on the socket that is its standard input, copies them into DuckDB, and gives up what a
query never needs. It says how far that came, and only then it is told the query. By then

- DuckDB has no file system, extension, second thread or temporary directory, and its settings are
  locked;
- the kernel denies the process files, network, threads, other processes and memory that can be
  executed, and bounds its memory and CPU time (`pnyx.sandbox`).

All that SQL could then do is to read the table, to fail, or to be killed.
"""

import ctypes
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from pnyx.query.frames import (
    DATA,
    HEADER_BYTES,
    TASK,
    InputColumn,
    QueryData,
    QueryFailure,
    QueryRows,
    QueryTask,
    body_length,
    frame,
)
from pnyx.sandbox import confine, query_profile

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",
    "async_threads": "0",  # those for files, eight if nothing is said
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
    # A copy: standard input itself leads nowhere once confined.
    with socket.socket(fileno=0) as given:
        channel = given.dup()
    data = DATA.decode(_receive(channel))
    answer = _guarded(data, lambda: _serve(channel, data))
    channel.sendall(frame(answer))


def _guarded(
    data: QueryData, serve: Callable[[], QueryRows | QueryFailure]
) -> QueryRows | QueryFailure:
    """What `serve` gives; a sentence for what DuckDB cannot do."""
    try:
        return serve()
    except (duckdb.OutOfMemoryException, MemoryError):
        return QueryFailure(
            f"The query needs more than {data.memory_bytes_max >> 20} MiB of memory: "
            "let it keep fewer rows."
        )
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException):
        # the text of these errors quotes values
        return QueryFailure(
            "The query meets a value that it cannot compute with: divide with /, CAST numbers to "
            "DOUBLE before they grow, use TRY_CAST where a CAST may fail, and compare a class by "
            "its number."
        )
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0][:_REASON_MAX]
        return QueryFailure(f"The query does not fit the data ({reason}): correct it.")


def _receive(channel: socket.socket) -> bytearray:
    """The body of the next frame."""
    return _received(channel, body_length(_received(channel, HEADER_BYTES)))


def _received(channel: socket.socket, length: int) -> bytearray:
    received = bytearray(length)
    view = memoryview(received)
    while view:
        count = channel.recv_into(view)
        if not count:
            sys.exit(0)  # the node changed its mind
        view = view[count:]
    return received


def _serve(channel: socket.socket, data: QueryData) -> QueryRows | QueryFailure:
    connection = duckdb.connect(
        ":memory:", config=_SETTINGS | {"memory_limit": f"{data.memory_bytes_max}B"}
    )
    _fill(connection, data.columns)
    _warm_up(connection)
    _lock_settings(connection)
    confinement = confine(
        query_profile(channel.fileno()),
        channel=channel.fileno(),
        memory_bytes=data.memory_bytes_max,
        cpu_seconds=data.cpu_seconds_max,
    )
    channel.sendall(frame(confinement))
    return _run(connection, TASK.decode(_receive(channel)))


def _fill(connection: duckdb.DuckDBPyConnection, columns: tuple[InputColumn, ...]) -> None:
    """Copy the columns into a table of the database, where SQL can reach nothing else."""
    arrays = {f"c{place}": _array(column) for place, column in enumerate(columns)}
    connection.register("received", arrays)
    copied = ", ".join(
        f"{_VALUE[column.kind].format(f'c{place}')} AS c{place}"
        for place, column in enumerate(columns)
    )
    connection.execute(f"CREATE TABLE data AS SELECT {copied} FROM received")  # noqa: S608  (our names)
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


def _lock_settings(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET lock_configuration = true")


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
        f"SELECT {wanted} FROM (\n{task.sql}\n) AS query({names}) LIMIT {task.rows_max + 1}"  # noqa: S608  (checked, confined)
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
