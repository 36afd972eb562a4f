import pytest

from pnyx.errors import MalformedMessage
from pnyx.node.transport.frames import HEADER_BYTES, Frame, FrameDecoder, Kind, header


def frame(kind: Kind, request_id: int, body: bytes) -> bytes:
    return header(kind, request_id, len(body)) + body


def test_layout_is_as_documented() -> None:
    assert header(Kind.REQUEST, 0x01020304, 7) == bytes([0, 0, 0, 12, 3, 1, 2, 3, 4])
    assert HEADER_BYTES == 9


def test_several_frames_at_once() -> None:
    stream = (
        frame(Kind.REQUEST, 1, b"one") + frame(Kind.REPLY, 2, b"") + frame(Kind.FAILED, 3, b"x")
    )
    assert FrameDecoder(10).feed(stream) == [
        Frame(Kind.REQUEST, 1, b"one"),
        Frame(Kind.REPLY, 2, b""),
        Frame(Kind.FAILED, 3, b"x"),
    ]


def test_byte_by_byte() -> None:
    decoder = FrameDecoder(10)
    stream = frame(Kind.REQUEST, 1, b"one") + frame(Kind.GOODBYE, 0, b"")
    inside, found = [], []
    for byte in stream:
        found += decoder.feed(bytes([byte]))
        inside.append(decoder.inside_frame)
    assert found == [Frame(Kind.REQUEST, 1, b"one"), Frame(Kind.GOODBYE, 0, b"")]
    assert inside == [True] * 11 + [False] + [True] * 8 + [False]


def test_body_at_the_limit_and_beyond() -> None:
    body = bytes(10)
    assert FrameDecoder(10).feed(frame(Kind.REPLY, 1, body)) == [Frame(Kind.REPLY, 1, body)]
    with pytest.raises(MalformedMessage, match="claims 16 bytes; at most 15"):
        FrameDecoder(10).feed(header(Kind.REPLY, 1, 11))


@pytest.mark.parametrize("length", [0, 4, 2**31, 2**32 - 1])
def test_claimed_length_is_checked_as_soon_as_it_is_there(length: int) -> None:
    decoder = FrameDecoder(10)
    claim = length.to_bytes(4, "big")
    assert decoder.feed(claim[:3]) == []
    with pytest.raises(MalformedMessage):
        decoder.feed(claim[3:])


@pytest.mark.parametrize("kind", [0, 7, 255])
def test_unknown_kind(kind: int) -> None:
    with pytest.raises(MalformedMessage, match="unknown kind"):
        FrameDecoder(10).feed(b"\0\0\0\x05" + bytes([kind]) + bytes(4))
