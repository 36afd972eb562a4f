"""A few bytes claim gigabytes, or nest without end (THREATS D1)."""

import tracemalloc
from typing import Any

import msgspec
import pytest
from tests.support.weakened import succeeds, weaken

from pnyx.errors import MalformedMessage
from pnyx.primitives import codec
from pnyx.primitives.codec import decode


class Tuple(msgspec.Struct, frozen=True, array_like=True, tag="tuple"):
    values: tuple[int, ...]


class Mixed(msgspec.Struct, frozen=True, array_like=True, tag="mixed"):
    value: dict[str, bytes] | list[str] | bytes


class Anything(msgspec.Struct, frozen=True, array_like=True, tag="anything"):
    value: Any


CLAIMS = {
    "array": b"\xdd\xff\xff\xff\xff",
    "array of 2^31": b"\xdd\x80\x00\x00\x00",
    "map": b"\xdf\xff\xff\xff\xff",
    "bytes": b"\xc6\xff\xff\xff\xff",
    "text": b"\xdb\xff\xff\xff\xff",
    "extension": b"\xc9\xff\xff\xff\xff\x01",
}
HEADS = [b"", b"\x92\xa5tuple", b"\x92\xa5mixed", b"\x92\xa8anything", b"\x93\xa5tuple\x90"]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_claim_of_gigabytes_allocates_nothing(claim: bytes) -> None:
    tracemalloc.start()
    try:
        for head in HEADS:
            for kind in (Tuple, Anything, Tuple | Mixed):
                with pytest.raises(MalformedMessage):
                    decode(head + claim + b"\x01" * 100, kind, bytes_max=1000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize(
    "opening", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"]
)
def test_a_nesting_bomb_is_refused(opening: bytes) -> None:
    bomb = opening * 200_000
    for head in HEADS:
        for kind in (Tuple, Anything, Tuple | Mixed):
            with pytest.raises(MalformedMessage):
                decode(head + bomb, kind, bytes_max=10_000_000)


def test_an_oversized_message_is_refused_before_it_is_parsed() -> None:
    huge = b"\x92\xa5tuple\xdd" + (10_000_000).to_bytes(4, "big") + bytes(10_000_000)
    with pytest.raises(MalformedMessage, match="exceeds the limit"):
        decode(huge, Tuple, bytes_max=1000)


class Credulous:
    """The weak decoder: it makes room for what is announced before it looks whether it is there.

    For a 64th of it, so that the test is quick.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)

    def decode(self, data: bytes) -> Any:
        claim = data.find(CLAIMS["array of 2^31"])
        announced = int.from_bytes(data[claim + 1 : claim + 5], "big") if claim >= 0 else 0
        self._room = bytearray(announced >> 6)
        return self._decoder.decode(data)


def test_a_decoder_that_believes_claims_would_allocate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_decoder", Credulous)
    assert succeeds(test_a_claim_of_gigabytes_allocates_nothing, CLAIMS["array of 2^31"])


def test_a_codec_that_expects_no_deep_nesting_would_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = "except (ValueError, RecursionError) as error:"
    weaken(monkeypatch, codec, (caught, "except ValueError as error:"))
    with pytest.raises(RecursionError):
        test_a_nesting_bomb_is_refused(b"\x91")


def test_the_size_of_a_message_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, codec, ("if len(data) > bytes_max:", "if False:"))
    assert succeeds(test_an_oversized_message_is_refused_before_it_is_parsed)
