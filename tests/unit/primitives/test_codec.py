"""Codec: round trips, and every way in which bytes fail to be one canonical record."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives.codec import decode, encode, runs


class Greeting(msgspec.Struct, frozen=True, array_like=True, tag="greeting"):
    name: str
    numbers: tuple[int, ...] = ()


class Parting(msgspec.Struct, frozen=True, array_like=True, tag="parting"):
    weight: float
    marks: dict[str, int] = {}


class Anything(msgspec.Struct, frozen=True, array_like=True, tag="anything"):
    value: Any


def test_a_record_survives_the_round_trip() -> None:
    greeting = Greeting("héllo", (1, -2, 2**40))
    assert decode(encode(greeting), Greeting, bytes_max=100) == greeting


def test_a_union_is_told_apart_by_tag() -> None:
    for message in (Greeting("a"), Parting(1.5, {"b": 1})):
        assert decode(encode(message), Greeting | Parting, bytes_max=100) == message


@pytest.mark.parametrize("bytes_max", [0, 30, 100, 1000])
def test_runs_of_a_list_are_as_long_as_they_may_be(bytes_max: int) -> None:
    records = [Greeting("a" * (at % 7)) for at in range(40)]
    cut = list(runs(records, bytes_max))
    assert [record for run in cut for record in run] == records
    for run, following in pairwise(cut):
        longer = msgspec.msgpack.encode((*run, following[0]))
        assert len(longer) > bytes_max - 5, "the head of a list may take five bytes"
        assert len(run) == 1 or len(msgspec.msgpack.encode(run)) <= bytes_max
    assert list(runs([], bytes_max)) == []


def test_the_size_limit_is_inclusive() -> None:
    data = encode(Greeting("a"))
    assert decode(data, Greeting, bytes_max=len(data)) == Greeting("a")
    with pytest.raises(MalformedMessage, match="exceeds the limit"):
        decode(data, Greeting, bytes_max=len(data) - 1)


def test_map_keys_are_encoded_in_one_order() -> None:
    assert encode(Parting(1.0, {"b": 1, "a": 2})) == encode(Parting(1.0, {"a": 2, "b": 1}))


GREETING = b"\xa8greeting"
PARTING = b"\xa7parting"

BROKEN = {
    "empty": b"",
    "not MessagePack": b"\xc1",
    "another type": b"\x01",
    "unknown tag": b"\x93\xa3zap\xa1a\x90",
    "wrong field type": b"\x93" + GREETING + b"\x01\x90",
    "truncated": encode(Greeting("abc"))[:-1],
    "trailing byte": encode(Greeting("abc")) + b"\x00",
    "invalid UTF-8": b"\x93" + GREETING + b"\xa1\xff\x90",
    "missing field": b"\x91" + GREETING,
    "field left to its default": b"\x92" + GREETING + b"\xa1a",
    "extra field": b"\x94" + GREETING + b"\xa1a\x90\x01",
    "integer in a long form": b"\x93" + GREETING + b"\xa1a\x91\xcc\x05",
    "string in a long form": b"\x93" + GREETING + b"\xd9\x01a\x90",
    "array in a long form": b"\xdc\x00\x03" + GREETING + b"\xa1a\x90",
    "float of 4 bytes": b"\x93" + PARTING + b"\xca\x3f\x80\x00\x00\x80",
    "integer for a float": b"\x93" + PARTING + b"\x01\x80",
    "keys out of order": b"\x93" + PARTING + b"\xcb" + bytes(8) + b"\x82\xa1b\x01\xa1a\x02",
    "key given twice": b"\x93" + PARTING + b"\xcb" + bytes(8) + b"\x82\xa1a\x01\xa1a\x01",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(data, Greeting | Parting, bytes_max=100)


def test_the_canonical_twins_of_broken_bytes_are_accepted() -> None:
    assert decode(b"\x93" + GREETING + b"\xa1a\x91\x05", Greeting, bytes_max=100) == Greeting(
        "a", (5,)
    )
    data = b"\x93" + PARTING + b"\xcb" + bytes(8) + b"\x82\xa1a\x02\xa1b\x01"
    assert decode(data, Parting, bytes_max=100) == Parting(0.0, {"a": 2, "b": 1})


def test_every_single_byte_change_is_refused_or_means_something_else() -> None:
    message = Greeting("abc", (1, 300, -7))
    data = encode(message)
    for place in range(len(data)):
        for flip in (1, 16, 128):
            changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            try:
                assert decode(changed, Greeting, bytes_max=100) != message
            except MalformedMessage:
                continue
