"""One record, one encoding: whatever decodes is the encoding of what it decodes to."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.errors import MalformedMessage
from pnyx.primitives.codec import decode, encode


class Leaf(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: int
    label: str = "x"


class Branch(msgspec.Struct, frozen=True, array_like=True, tag=2):
    payload: bytes
    leaves: tuple[Leaf, ...]
    weight: float
    marks: dict[str, int]


leaves = st.builds(
    Leaf, st.integers(-(2**63), 2**64 - 1), st.text(st.characters(codec="utf-8"), max_size=5)
)
branches = st.builds(
    Branch,
    st.binary(max_size=40),
    st.lists(leaves, max_size=3).map(tuple),
    st.floats(allow_nan=False),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), st.integers(0, 300)),
)


@settings(deadline=None, max_examples=100)
@given(leaves | branches)
def test_records_survive(message: Leaf | Branch) -> None:
    assert decode(encode(message), Leaf | Branch, bytes_max=10_000) == message


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damaged_bytes_are_refused_or_are_the_encoding_of_another_record(
    data: st.DataObject,
) -> None:
    message = data.draw(leaves | branches)
    original = encode(message)
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, len(original)))
    damaged = original[:start] + data.draw(st.binary(max_size=6)) + original[stop:]
    try:
        decoded = decode(damaged, Leaf | Branch, bytes_max=10_000)
    except MalformedMessage:
        return
    assert encode(decoded) == damaged


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_decode_canonically_or_are_refused(junk: bytes) -> None:
    for head in (b"", b"\x93\x01", b"\x95\x02"):
        try:
            decoded = decode(head + junk, Leaf | Branch, bytes_max=64)
        except MalformedMessage:
            continue
        assert encode(decoded) == head + junk
