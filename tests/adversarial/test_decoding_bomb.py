"""A few bytes claim gigabytes, or nest without end (THREATS D1)."""

import tracemalloc
from typing import Any

import msgspec
import pytest

from pnyx.errors import MalformedMessage
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
