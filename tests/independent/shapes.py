"""The formats of docs/protocol.md, section 15, and a reader that checks plain values against them.

A shape is a function (value, where) -> value that raises `Unreadable`. Arrays come back with named
fields. Nothing here knows how pnyx declares its records: both were written from the document.
"""

from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any

import msgspec

Shape = Callable[[Any, str], Any]
KI, MI = 1024, 1024**2


class Unreadable(Exception):
    """Bytes that are not the one encoding of the expected record."""


def expect(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise Unreadable(f"{where} is not {what}")


def integer(low: int, high: int) -> Shape:
    def read(value: Any, where: str) -> int:
        expect(type(value) is int and low <= value <= high, where, f"an integer {low} to {high}")
        return value

    return read


def floating(low: float, high: float, *, above: bool = False) -> Shape:
    def read(value: Any, where: str) -> float:
        expect(type(value) is float and low <= value <= high, where, f"a float {low} to {high}")
        expect(not (above and value == low), where, f"above {low}")
        return value

    return read


def boolean(value: Any, where: str) -> bool:
    expect(type(value) is bool, where, "a boolean")
    return value


def raw(low: int = 0, high: int | None = None) -> Shape:
    def read(value: Any, where: str) -> bytes:
        expect(type(value) is bytes, where, "bytes")
        expect(len(value) >= low, where, f"at least {low} bytes long")
        expect(high is None or len(value) <= high, where, f"at most {high} bytes long")
        return value

    return read


def text(high: int = 200, low: int = 1) -> Shape:
    def read(value: Any, where: str) -> str:
        fits = type(value) is str and low <= len(value) <= high
        expect(fits, where, f"{low} to {high} characters")
        return value

    return read


def one_of(*words: str) -> Shape:
    def read(value: Any, where: str) -> str:
        expect(type(value) is str and value in words, where, " or ".join(words))
        return value

    return read


def many(shape: Shape, low: int = 0, high: int | None = None) -> Shape:
    def read(value: Any, where: str) -> list:
        expect(type(value) is list, where, "a list")
        expect(len(value) >= low, where, f"at least {low} long")
        expect(high is None or len(value) <= high, where, f"at most {high} long")
        return [shape(each, f"{where}[{at}]") for at, each in enumerate(value)]

    return read


def optional(shape: Shape) -> Shape:
    def read(value: Any, where: str) -> Any:
        return None if value is None else shape(value, where)

    return read


def tagged(**shapes: Shape) -> Shape:
    """An array of one of these shapes, told by its tag; the keyword is t and the tag."""

    def read(value: Any, where: str) -> Any:
        tag = value[0] if type(value) is list and value else None
        expect(type(tag) is int and f"t{tag}" in shapes, where, "of a known tag")
        return shapes[f"t{tag}"](value, where)

    return read


def array(tag: int | None = None, **fields: Shape) -> Shape:
    def read(value: Any, where: str) -> SimpleNamespace:
        expect(type(value) is list, where, "an array")
        if tag is not None:
            expect(value[:1] == [tag] and type(value[0]) is int, where, f"tagged {tag}")
            value = value[1:]
        expect(len(value) == len(fields), where, f"an array of {len(fields)} fields")
        named = zip(fields.items(), value, strict=True)
        return SimpleNamespace(
            **{name: shape(each, f"{where}.{name}") for (name, shape), each in named}
        )

    return read


def decode(data: bytes, shape: Shape, where: str, bytes_max: int) -> Any:
    """Read the one encoding of a record. Raises Unreadable."""
    expect(len(data) <= bytes_max, where, f"at most {bytes_max} bytes long")
    try:
        plain = msgspec.msgpack.decode(data)
        again = msgspec.msgpack.encode(plain)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"{where} is not MessagePack: {error}") from error
    expect(again == data, where, "in its one encoding")
    return shape(plain, where)


B32, B64 = raw(32, 32), raw(64, 64)
INDEX, ROUND = integer(0, 2**32 - 1), integer(0, 2**31 - 1)
INDICES = many(INDEX, high=10**6)
COUNT = integer(0, 1024)
UNIX_SECONDS = integer(0, 2**40 - 1)
SECONDS = floating(0, 604_800, above=True)

SIGNED = array(1, signer=B32, body=raw(0, 4 * MI), signature=B64)
CERTIFICATE = array(signers=many(integer(-(2**63), 2**64 - 1)), signatures=many(raw()))
DECISION = array(
    60,
    context=B32,
    instance=integer(0, 2),
    view=ROUND,
    value=raw(0, 4 * MI),
    certificate=CERTIFICATE,
)
ABORT = array(42, study=B32, round=ROUND, opened=DECISION, aborted=DECISION)
HANDOVER = array(44, study=B32, round=ROUND, decisions=many(DECISION, low=1, high=7))
RECORD = array(
    41,
    body=raw(0, 4 * MI),
    joins=INDICES,
    certificate=CERTIFICATE,
    abort=optional(tagged(t42=ABORT, t44=HANDOVER)),
    actors=raw(0, 512 * KI),
)
DRAW = array(
    140,
    network=B32,
    epoch=ROUND,
    census_root=B32,
    study=B32,
    round=ROUND,
    attempt=integer(1, 64),
    role=text(32),
    count=integer(1, 4096),
    beacon=B32,
    expires=ROUND,
)
ACTORS = array(
    142,
    draw=DRAW,
    value=B32,
    setter=B32,
    call=B64,
    order=B32,
    actors=many(B32, high=4096),
    witnesses=many(array(node=B32, signature=B64), high=1024),
)
OPEN_VALUE = array(100, keys=many(SIGNED, high=1024))
ABORT_VALUE = array(103, give_ups=many(SIGNED, high=1024))
MEMBER = integer(0, 1023)
ROUND_KEY = array(10, context=B32, member=MEMBER, key=B32, following=B32, challenge=B32)
GIVE_UP = array(15, context=B32, member=MEMBER, culprits=many(INDEX, high=512))
RECORD_BODY = array(
    14,
    network=B32,
    study=B32,
    round=ROUND,
    attempt=integer(1, 8),
    epoch=ROUND,
    census_root=B32,
    previous_record=B32,
    context=B32,
    open_value=B32,
    closed_value=B32,
    accepted_value=B32,
    accepted=INDICES,
    skipped=boolean,
    model_hash=B32,
    metrics=many(integer(-(2**62), 2**62 - 1), high=1024),
    joins=B32,
    next_beacon=B32,
    privacy_spent=optional(integer(0, 2**62 - 1)),
    excluded=INDICES,
    sums=many(array(group=integer(0, 31), sum=B32), high=32),
    next_census=optional(B32),
)
BALLOT = array(
    kind=one_of("choice", "approval", "ranking"),
    options=integer(2, 4096),
    chosen_max=integer(0, 4096),
)
BOUNDS = array(
    length=integer(0, 10**6),
    bounded=integer(0, 10**6),
    norm_max=integer(0, 2**53 - 1),
    count_max=integer(0, 2**53 - 1),
    count_scale=integer(1, 2**32 - 1),
    noise_max=integer(0, 2**53 - 1),
    ballot=optional(BALLOT),
    key_length=integer(0, 8192),
    key_fields=integer(0, 2),
    masked_norm_max=integer(0, 2**27 - 1),
)
NOISE = array(
    update_width=integer(0, 2**26),
    count_width=integer(0, 2**26),
    honest_min=integer(1, 4096),
)
POSITIVE = integer(1, 2**53 - 1)
MASKS = array(
    degree=POSITIVE,
    primes=many(integer(-(2**63), 2**64 - 1), 1, 4),
    length=POSITIVE,
    value_bits=POSITIVE,
    contributors_max=POSITIVE,
    slots=POSITIVE,
    slot_bits=POSITIVE,
    shift=POSITIVE,
    noise_width=floating(-inf, inf),
)
PHASE = array(
    kind=one_of("statistics", "train", "evaluate", "poll"),
    rounds=integer(1, 10_000),
    bounds=BOUNDS,
    metrics_length=integer(0, 1024),
    cohort_min=integer(2, 4096),
    target=integer(1, 4096),
    drawn=integer(1, 4096),
    deadline=SECONDS,
    clip=integer(0, 2**53 - 1),
    noise=NOISE,
    masked=optional(MASKS),
    groups=integer(1, 32),
    robust=array(rule=one_of("mean", "trimmed"), tolerated=integer(0, 15)),
    verified=optional(array(norm_max=integer(1, 2**26 - 1), colluding_max=COUNT)),
)
MANIFEST = array(
    90,
    network=B32,
    proposer=B32,
    version=integer(1, 2**16 - 1),
    epoch=ROUND,
    title=text(),
    purpose=text(2000),
    purpose_term=text(),
    category=text(),
    query=text(8192, low=0),
    columns=many(text(), 1, 4096),
    ranges=many(array(low=floating(-inf, inf), high=floating(-inf, inf)), high=4096),
    label=text(low=0),
    program=raw(0, 32 * KI),
    hyperparameters=raw(0, 8 * KI),
    initial_model=B32,
    model_bytes=integer(0, 2**40),
    phases=many(PHASE, 1, 16),
    join_window=SECONDS,
    nonce=B32,
    selection=one_of("census", "region"),
)
SIZES = array(
    k=integer(5, 1024),
    f=integer(1, 1024),
    packing=integer(1, 1024),
    degree=COUNT,
    quorum=COUNT,
    answers_needed=COUNT,
    absent=COUNT,
)
CENSUS_BODY = array(
    80,
    network=B32,
    number=ROUND,
    previous=B32,
    nodes_root=B32,
    node_count=integer(1, 2**31),
    sizes=SIZES,
    issued_at=UNIX_SECONDS,
    valid_until=UNIX_SECONDS,
)
SIGNED_CENSUS = array(
    81, body=raw(0, 4096), signature=B64, entries=many(array(node=B32, public_key=B32))
)
BUNDLE = array(
    111,
    manifest=SIGNED,
    epoch_record=RECORD,
    records=many(RECORD, high=10_001),
    model=raw(),
    later=many(RECORD, high=4096),
    censuses=many(SIGNED_CENSUS, high=256),
)
