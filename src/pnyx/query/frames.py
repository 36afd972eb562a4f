"""What a node and the child that runs one query tell each other: one frame in, one frame out.

A frame is eight bytes of length, big endian, then msgpack. Lengths are checked before anything is
allocated. The child is given SQL and columns without their names.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

FRAME_BYTES_MAX = 1 << 28
HEADER_BYTES = 8


class InputColumn(msgspec.Struct, frozen=True, array_like=True):
    """A column of the collection. values: float64 or int64 little-endian, or the texts.

    A missing float is nan, a missing text is empty; the query sees NULL for both.
    """

    kind: Literal["float", "int", "text"]
    values: bytes | list[str]


class QueryTask(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """One query. columns: they become c0, c1, ... of the table `data`.

    outputs: how many columns it must give, in order; label: which of them is an int64, -1 for none.
    """

    sql: str
    columns: tuple[InputColumn, ...]
    outputs: int
    label: int
    rows_max: int
    memory_bytes_max: int  # beyond what the child holds before the query runs
    cpu_seconds_max: int


class QueryRows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """What a query gave: `rows` values of each column, float64, or int64 for the label."""

    rows: int
    columns: tuple[bytes, ...]


class QueryFailure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """Why a query gave nothing; no value of the data is in it."""

    sentence: Annotated[str, Meta(max_length=1000)]


TASK = msgspec.msgpack.Decoder(QueryTask)
ANSWER: msgspec.msgpack.Decoder[QueryRows | QueryFailure] = msgspec.msgpack.Decoder(
    QueryRows | QueryFailure
)


def frame(record: QueryTask | QueryRows | QueryFailure) -> bytes:
    """Encode a record with its length. Raises ValueError above FRAME_BYTES_MAX."""
    body = msgspec.msgpack.encode(record)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {len(body)} bytes is above {FRAME_BYTES_MAX}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_length(header: bytes | bytearray) -> int:
    """Length that a header states. Raises ValueError above FRAME_BYTES_MAX."""
    length = int.from_bytes(header, "big")
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes is above {FRAME_BYTES_MAX}")
    return length
