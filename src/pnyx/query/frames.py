"""What a node and the child that runs one query tell each other.

The node sends `QueryData`. The child copies the columns, confines itself, and says how far that
came: a `Confinement`. Only then does the node send the `QueryTask`, with SQL that a stranger wrote,
and the child answers with `QueryRows` or a `QueryFailure`. A `QueryFailure` may come at once.

A frame is eight bytes of length, big endian, then msgpack. Lengths are checked before anything is
allocated. The child is given SQL and columns without their names.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.sandbox import Confinement

FRAME_BYTES_MAX = 1 << 28
HEADER_BYTES = 8


class InputColumn(msgspec.Struct, frozen=True, array_like=True):
    """A column of the collection. values: float64 or int64 little-endian, or the texts.

    A missing float is nan, a missing text is empty; the query sees NULL for both.
    """

    kind: Literal["float", "int", "text"]
    values: bytes | list[str]


class QueryData(msgspec.Struct, frozen=True, array_like=True, tag="data"):
    """What one query is run over: columns, which become c0, c1, ... of the table `data`."""

    columns: tuple[InputColumn, ...]
    memory_bytes_max: int  # beyond what the child holds before the query runs
    cpu_seconds_max: int


class QueryTask(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """One query, of SQL over the columns c0, c1, ... of `data`.

    outputs: how many columns it must give, in order; label: which of them is an int64, -1 for none.
    """

    sql: str
    outputs: int
    label: int
    rows_max: int


class QueryRows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """What a query gave: `rows` values of each column, float64, or int64 for the label."""

    rows: int
    columns: tuple[bytes, ...]


class QueryFailure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """Why a query gave nothing; no value of the data is in it."""

    sentence: Annotated[str, Meta(max_length=1000)]


DATA = msgspec.msgpack.Decoder(QueryData)
TASK = msgspec.msgpack.Decoder(QueryTask)
CONFINEMENT = msgspec.msgpack.Decoder(Confinement)
ANSWER: msgspec.msgpack.Decoder[QueryRows | QueryFailure] = msgspec.msgpack.Decoder(
    QueryRows | QueryFailure
)


def frame(record: QueryData | QueryTask | Confinement | QueryRows | QueryFailure) -> bytes:
    """Encode a record with its length. Raises ValueError above FRAME_BYTES_MAX."""
    body = msgspec.msgpack.encode(record)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {len(body)} bytes is above {FRAME_BYTES_MAX}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_length(header: bytes | bytearray, bytes_max: int = FRAME_BYTES_MAX) -> int:
    """Length that a header states. Raises ValueError above `bytes_max`."""
    length = int.from_bytes(header, "big")
    if length > bytes_max:
        raise ValueError(f"a frame of {length} bytes is above {bytes_max}")
    return length
