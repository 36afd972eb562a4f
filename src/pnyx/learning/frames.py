"""What a node and its training worker say to each other, over one socket pair.

A frame is four bytes of length, big endian, then msgpack. The worker's first frame is the
`Confinement` that it reached. Then each frame to it holds a `TrainingTask`, and it answers each
with a `TrainingOutcome`, or a `TrainingFailure` with the sentence of a `TrainingError`.

The worker may have been taken over by the program that it ran, so its side is read with care: sizes
are bounded before anything is kept.
"""

from typing import Annotated

import msgspec

from pnyx.errors import TrainingError
from pnyx.learning.task import TrainingOutcome, TrainingTask
from pnyx.sandbox import Confinement

TASK_BYTES_MAX = 1 << 28
FIRST_FRAME_BYTES_MAX = 1 << 10
BESIDE_VECTOR_BYTES_MAX = 1 << 14  # metrics, and what frames them
SENTENCE_CHARACTERS_MAX = 500
HEADER_BYTES = 4
RECEIVE_BYTES = 1 << 18


class TrainingFailure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """Reply to a task that could not be run."""

    sentence: Annotated[str, msgspec.Meta(max_length=SENTENCE_CHARACTERS_MAX)]


_TASK = msgspec.msgpack.Decoder(TrainingTask)
_CONFINEMENT = msgspec.msgpack.Decoder(Confinement)
_REPLY: msgspec.msgpack.Decoder[TrainingOutcome | TrainingFailure] = msgspec.msgpack.Decoder(
    TrainingOutcome | TrainingFailure
)
_ENCODER = msgspec.msgpack.Encoder()


def encode_frame(record: TrainingTask | TrainingOutcome | TrainingFailure | Confinement) -> bytes:
    """Frame a record. Raises TrainingError when it is too large."""
    body = _ENCODER.encode(record)
    if len(body) > TASK_BYTES_MAX:
        raise TrainingError(
            f"A training task of {len(body)} bytes exceeds {TASK_BYTES_MAX}: "
            "narrow the window of the consent."
        )
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def decode_task(body: bytes) -> TrainingTask:
    """Read a task. Raises msgspec.MsgspecError."""
    return _TASK.decode(body)


def decode_confinement(body: bytes) -> Confinement:
    """Read a worker's first frame. Raises msgspec.MsgspecError."""
    return _CONFINEMENT.decode(body)


def decode_reply(body: bytes) -> TrainingOutcome | TrainingFailure:
    """Read a worker's answer to a task. Raises msgspec.MsgspecError."""
    return _REPLY.decode(body)


class FrameReader:
    """Cuts a byte stream into frame bodies of at most `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes; return the bodies of the frames that are now complete.

        Raises TrainingError when a header claims more than the bound; nothing is kept for it.
        """
        self._buffer += data
        bodies: list[bytes] = []
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if length > self._bytes_max:
                raise TrainingError("The training channel lost its framing: restart the worker.")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[HEADER_BYTES:end]))
            del self._buffer[:end]
        return bodies
