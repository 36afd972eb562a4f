"""Records to bytes and back: canonical, bounded MessagePack.

Every record that crosses a trust boundary is a frozen `msgspec.Struct` declared `array_like=True`
with a `tag`; its bytes are a MessagePack array. `decode` is the only way in, and guarantees that

- no more than `bytes_max` bytes are looked at, whatever they claim;
- lengths announced inside the bytes never allocate more than the bytes that are really there,
  and nesting is bounded by the types and by the interpreter's recursion limit;
- the result has the declared types, and **encodes to exactly the bytes received**: one record has
  one encoding, so a hash or a signature over the bytes is one over the record.

Signatures are made and checked over the bytes as received, never over a re-encoding.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

from pnyx.errors import MalformedMessage

T = TypeVar("T")

R = TypeVar("R", bound=msgspec.Struct)

_DECODERS_MAX = 256
_LIST_HEAD_BYTES_MAX = 5
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")


def encode(message: msgspec.Struct) -> bytes:
    """Encode a record in its one canonical form."""
    return _ENCODER.encode(message)


def runs(records: Iterable[R], bytes_max: int) -> Iterator[tuple[R, ...]]:
    """Cut a list into runs, in order, each of which encodes to `bytes_max` bytes at most.

    A record that is longer by itself makes a run of its own.
    """
    run: list[R] = []
    size = _LIST_HEAD_BYTES_MAX
    for record in records:
        length = len(encode(record))
        if run and size + length > bytes_max:
            yield tuple(run)
            run, size = [], _LIST_HEAD_BYTES_MAX
        run.append(record)
        size += length
    if run:
        yield tuple(run)


@overload
def decode(data: bytes, kind: type[T], *, bytes_max: int) -> T: ...
@overload
def decode(data: bytes, kind: UnionType, *, bytes_max: int) -> Any: ...
def decode(data: bytes, kind: Any, *, bytes_max: int) -> Any:
    """Decode untrusted bytes as a `kind`: a record type, or a union of tagged ones.

    Raises MalformedMessage when the bytes are too many, malformed, of another type, or not the
    canonical encoding of what they mean.
    """
    if len(data) > bytes_max:
        raise MalformedMessage(
            f"A message of {len(data)} bytes exceeds the limit of {bytes_max}: send a smaller one."
        )
    try:
        message = _decoder(kind).decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise MalformedMessage(f"Cannot decode a message: {error}.") from error
    if _ENCODER.encode(message) != data:
        raise MalformedMessage(
            "A message is not in canonical form: encode it with the codec of docs/protocol.md."
        )
    return message


@lru_cache(maxsize=_DECODERS_MAX)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)
