"""The rows of an owner that a study asks for: plain columns, or what its query makes of them.

A query runs in a child process and never on the event loop; one child a query, gone with its
answer. What bounds it is named here.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.errors import ConsentError, QueryError
from pnyx.learning.task import EXAMPLES_MAX
from pnyx.protocol.events import Notice
from pnyx.protocol.manifest import Manifest
from pnyx.query.compile import FeatureQuery, read_query
from pnyx.query.frames import InputColumn, QueryData, QueryRows, QueryTask
from pnyx.query.process import RECEIVE_BYTES, QueryProcess
from pnyx.sandbox import Confinement
from pnyx.vault import Array

WALL_SECONDS_MAX = 60.0
CPU_SECONDS_MAX = 30
MEMORY_BYTES_MAX = 1 << 30
RESULT_BYTES_MAX = 1 << 27


class QueryLimits(msgspec.Struct, frozen=True):
    """What one query may cost; see `query.frames`."""

    wall_seconds_max: float = WALL_SECONDS_MAX
    cpu_seconds_max: int = CPU_SECONDS_MAX
    memory_bytes_max: int = MEMORY_BYTES_MAX
    rows_max: int = EXAMPLES_MAX
    result_bytes_max: int = RESULT_BYTES_MAX


DEFAULT_LIMITS = QueryLimits()
Sandbox = Literal["require", "best"]  # of the configuration: whether a query needs all of it


class QueryConfined(Notice, frozen=True):
    """The process of a query told how it is confined."""

    confinement: Confinement


class OwnerRows(msgspec.Struct, frozen=True):
    """An owner's rows as a study asks for them.

    features: [rows, columns] float64, nan where missing. labels: [rows], of a study with a label.
    confinement: of the process that ran the query, if there was one.
    """

    features: NDArray[np.float64]
    labels: Array | None
    confinement: Confinement | None = None


def columns_read(manifest: Manifest) -> tuple[str, ...]:
    """Columns of the collection that a study reads. Raises QueryError."""
    if manifest.query:
        return read_query(manifest.query).reads
    return (*manifest.columns, *filter(None, [manifest.label]))


async def rows_for(
    manifest: Manifest,
    read: Callable[[Sequence[str]], Mapping[str, Array]],
    limits: QueryLimits = DEFAULT_LIMITS,
    sandbox: Sandbox = "best",
) -> OwnerRows:
    """What a study asks of an owner's collection; read: gives columns of it, by name.

    Raises QueryError, ConsentError, and whatever `read` raises.
    """
    if manifest.query:
        query = read_query(manifest.query)
        return await run_query(
            query,
            read(query.reads),
            outputs=manifest.columns,
            label=manifest.label,
            limits=limits,
            sandbox=sandbox,
        )
    found = read(columns_read(manifest))
    for name in manifest.columns:
        if found[name].dtype.kind not in "fiu":
            raise ConsentError(f"Column {name} holds texts, not numbers; check its mapping.")
    features = np.stack([found[name] for name in manifest.columns], axis=1).astype(np.float64)
    return OwnerRows(features, found[manifest.label] if manifest.label else None)


async def run_query(
    query: FeatureQuery,
    columns: Mapping[str, Array],
    *,
    outputs: Sequence[str],
    label: str = "",
    limits: QueryLimits = DEFAULT_LIMITS,
    sandbox: Sandbox = "best",
) -> OwnerRows:
    """Run a query over these columns of a collection, which are those that it reads.

    outputs: the columns of `features`, in order; label: that of `labels`, if any.
    Raises QueryError; with `sandbox="require"` also when its process is confined less than fully.
    """
    check_outputs(query, outputs, label)
    data = QueryData(
        tuple(_input(columns[name]) for name in query.reads),
        limits.memory_bytes_max,
        limits.cpu_seconds_max,
    )
    task = QueryTask(
        query.sql,
        len(query.outputs),
        query.outputs.index(label) if label else -1,
        min(limits.rows_max, limits.result_bytes_max // (8 * len(query.outputs))),
    )
    found, confinement = await run_task(data, task, limits.wall_seconds_max, sandbox)
    if len(found.columns) != len(query.outputs) or {len(c) for c in found.columns} != {
        8 * found.rows
    }:
        raise QueryError("The query's process gave an unreadable answer: try again.")
    given = dict(zip(query.outputs, found.columns, strict=True))
    features = np.stack([np.frombuffer(given[name], "<f8") for name in outputs], axis=1)
    labels = np.frombuffer(given[label], "<i8") if label else None
    return OwnerRows(features, labels, confinement)


async def run_task(
    data: QueryData, task: QueryTask, wall_seconds_max: float, sandbox: Sandbox
) -> tuple[QueryRows, Confinement | None]:
    """Run a task in a child of its own; its rows, and how it was confined.

    Raises QueryError, also when it takes too long.
    """
    loop = asyncio.get_running_loop()
    process = QueryProcess(data, task, sandbox)
    process.connection.setblocking(False)
    try:
        async with asyncio.timeout(wall_seconds_max):
            await loop.sock_sendall(process.connection, process.request)
            while not process.hear_confinement(
                await loop.sock_recv(process.connection, RECEIVE_BYTES)
            ):
                pass
            await loop.sock_sendall(process.connection, process.question)
            answer = None
            while answer is None:
                answer = process.hear_rows(await loop.sock_recv(process.connection, RECEIVE_BYTES))
            return answer, process.confinement
    except TimeoutError as error:
        raise QueryError(
            f"The query took more than {wall_seconds_max:g} s: let it keep fewer rows."
        ) from error
    except ConnectionError as error:
        raise QueryError("The query's process ended early: try again.") from error
    finally:
        process.end()


def check_outputs(query: FeatureQuery, outputs: Sequence[str], label: str) -> None:
    """Refuse a query that gives other columns than its study states. Raises QueryError."""
    stated = [*outputs, *filter(None, [label])]
    if len(set(stated)) < len(stated):
        raise QueryError("The study states a column twice, or as its label as well: name it once.")
    for name in stated:
        if name not in query.outputs:
            raise QueryError(f"The query lacks {name}, which the study states: add it with AS.")
    for name in query.outputs:
        if name not in stated:
            raise QueryError(
                f"The query gives {name}, which the study does not state: add it there."
            )


def first_rows(rows: OwnerRows, count: int) -> tuple[tuple[float | None, ...], ...]:
    """The first rows, as a person is shown them: the label last, None where missing."""
    columns = [rows.features[:count, place] for place in range(rows.features.shape[1])]
    if rows.labels is not None:
        columns.append(rows.labels[:count].astype(np.float64))
    return tuple(
        tuple(None if np.isnan(value) else float(value) for value in row)
        for row in zip(*columns, strict=True)
    )


def _input(values: Array) -> InputColumn:
    if values.dtype.kind == "f":
        return InputColumn("float", values.astype("<f8").tobytes())
    if values.dtype.kind == "i":
        return InputColumn("int", values.astype("<i8").tobytes())
    return InputColumn("text", values.tolist())
