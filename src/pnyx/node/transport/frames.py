"""Frames on a stream of bytes.

    4 bytes  length of all that follows, big-endian
    1 byte   kind
    4 bytes  request id, chosen by the side that asks and unique among its open requests
    n bytes  body

The decoder is pure: chunks of bytes in, whole frames out. It checks a claimed length as soon as
its four bytes are there and keeps only bytes that have arrived, so a claim alone costs nothing.
An empty stream of claims, an unknown kind or an over-long frame raise MalformedMessage; the
connection is then closed, since the boundaries that follow cannot be trusted.
"""

from enum import IntEnum
from struct import Struct

import msgspec

from pnyx.errors import MalformedMessage

_LENGTH = Struct(">I")
_HEADER = Struct(">IBI")
_AFTER_LENGTH = _HEADER.size - _LENGTH.size

HEADER_BYTES = _HEADER.size
REQUEST_ID_MAX = 2**32 - 1


class Kind(IntEnum):
    """Kinds of frames. WELCOME or REFUSED comes first, from the side that accepted."""

    WELCOME = 1  # certificate verified, peer admitted
    REFUSED = 2  # body: one byte, a Refusal; the connection closes
    REQUEST = 3
    REPLY = 4
    FAILED = 5  # the request of this id was not answered; body: one byte, a Failure
    GOODBYE = 6  # the sender will ask nothing more here; it still answers


class Refusal(IntEnum):
    """Why a connection was refused after its handshake."""

    NOT_ADMITTED = 1
    CERTIFICATE = 2
    BUSY = 3
    PROTOCOL = 4


class Failure(IntEnum):
    """Why a request was not answered."""

    REFUSED = 1
    BUSY = 2
    INTERNAL = 3


_KINDS = {int(kind): kind for kind in Kind}


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame as received."""

    kind: Kind
    request_id: int
    body: bytes


def header(kind: Kind, request_id: int, body_bytes: int) -> bytes:
    """First nine bytes of a frame whose body has `body_bytes` bytes."""
    return _HEADER.pack(_AFTER_LENGTH + body_bytes, kind, request_id)


class FrameDecoder:
    """Cuts a stream into frames; memory is bounded by one frame."""

    __slots__ = ("_body", "_frame_bytes_max", "_head", "_kind", "_missing", "_request_id")

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._head = b""  # start of a header that has not arrived whole
        self._missing = 0  # bytes of the current body still to come
        self._body: list[bytes] = []
        self._kind = Kind.WELCOME
        self._request_id = 0

    @property
    def inside_frame(self) -> bool:
        """True between the first and the last byte of a frame."""
        return bool(self._missing or self._head)

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream; return the frames they complete.

        Raises MalformedMessage; the decoder is unusable afterwards.
        """
        frames: list[Frame] = []
        offset = 0
        if self._missing:
            offset = min(self._missing, len(data))
            self._body.append(data[:offset])
            self._missing -= offset
            if self._missing:
                return frames
            frames.append(Frame(self._kind, self._request_id, b"".join(self._body)))
            self._body.clear()
        elif self._head:
            data = self._head + data
            self._head = b""
        while offset < len(data):
            offset = self._next_frame(data, offset, frames)
        return frames

    def _next_frame(self, data: bytes, offset: int, frames: list[Frame]) -> int:
        available = len(data) - offset
        if available < HEADER_BYTES:
            if available >= _LENGTH.size:
                self._check_length(_LENGTH.unpack_from(data, offset)[0])
            self._head = data[offset:]
            return len(data)
        length, kind_number, request_id = _HEADER.unpack_from(data, offset)
        body_bytes = self._check_length(length)
        kind = _KINDS.get(kind_number)
        if kind is None:
            raise MalformedMessage(f"a frame has the unknown kind {kind_number}")
        start = offset + HEADER_BYTES
        end = start + body_bytes
        if end <= len(data):
            frames.append(Frame(kind, request_id, data[start:end]))
            return end
        self._kind, self._request_id = kind, request_id
        self._body.append(data[start:])
        self._missing = end - len(data)
        return len(data)

    def _check_length(self, length: int) -> int:
        body_bytes = length - _AFTER_LENGTH
        if not 0 <= body_bytes <= self._frame_bytes_max:
            raise MalformedMessage(
                f"a frame claims {length} bytes; at most "
                f"{self._frame_bytes_max + _AFTER_LENGTH} are allowed"
            )
        return int(body_bytes)
