"""Bundles taken apart into plain lists, changed in one place, and put together again."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Path = tuple[int, ...]
Sign = Callable[[int, bytes], bytes]
"""(census index, body) -> signature."""


class Nested(list):
    """A record that travels as the bytes of its encoding, because it is signed."""


def take_apart(content: bytes) -> list:
    """A bundle as lists of lists; the signed bodies are opened too."""
    tree = msgspec.msgpack.decode(content)
    _, manifest, epoch_record, records, _, later, censuses = tree
    manifest[2] = Nested(msgspec.msgpack.decode(manifest[2]))
    for signed in (epoch_record, *later, *records, *censuses):
        signed[1] = Nested(msgspec.msgpack.decode(signed[1]))
    return tree


def put_together(value: Any) -> Any:
    """The plain value with every nested record encoded."""
    if not isinstance(value, list):
        return value
    plain = [put_together(each) for each in value]
    return msgspec.msgpack.encode(plain) if isinstance(value, Nested) else plain


def encoded(tree: Any) -> bytes:
    return msgspec.msgpack.encode(put_together(tree))


def copied(value: Any) -> Any:
    return type(value)(copied(each) for each in value) if isinstance(value, list) else value


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Where something can be changed: every leaf and every list below the top."""
    if here:
        yield here
    if isinstance(value, list):
        for at, each in enumerate(value):
            yield from paths(each, (*here, at))


def at(tree: Any, path: Path) -> Any:
    for index in path:
        tree = tree[index]
    return tree


def replaced(tree: Any, path: Path, value: Any) -> Any:
    """A copy of the tree with another value in one place."""
    changed = copied(tree)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def alternatives(value: Any, spare: bytes = bytes(32)) -> list[Any]:
    """Other values for one place: neighbours, extremes, and other types of the same meaning."""
    match value:
        case bool():
            return [not value, int(value), None]
        case int():
            return [
                value + 1,
                max(value - 1, -(2**63)),
                0,
                2**31,
                2**32,
                -(2**63),
                float(value),
                str(value),
                None,
            ]
        case float():
            near = [-value, value + 1, 0.0, -0.0, 604_800.0, math.nextafter(604_800.0, math.inf)]
            return [*near, math.nan, math.inf, int(value) if math.isfinite(value) else 0, None]
        case str():
            longer = ["x" * 200, "x" * 201, "é" * 200, "x" * 2001, value + "\0"]
            return ["", *longer, value.encode(), value.upper() + "x", None]
        case bytes():
            flipped = bytes([value[0] ^ 1]) + value[1:] if value else b"\1"
            last = value[:-1] + bytes([value[-1] ^ 128]) if value else b"\2"
            return [flipped, last, value[:-1], value + b"\0", b"", spare, value.hex(), None]
        case list():
            kind = type(value)
            shorter = [kind(value[1:]), kind(value[:-1]), kind()]
            longer = [kind([*value, *value[-1:]]), kind([*value[:1], *value]), kind([*value, None])]
            return [*shorter, *longer, kind(value[::-1]), dict(enumerate(value)), b"", None]
    return [0]


def signed_again(tree: list, committees: list[list[int]], proposer: int, sign: Sign) -> list:
    """The same tree with signatures that fit, wherever the signers are still members.

    committees: census indices by member, for the epoch record and then every record.
    """
    changed = copied(tree)
    try:
        _, manifest, epoch_record, records, _, later, _ = changed
        manifest[3] = sign(proposer, put_together(manifest[2]))
        for committee, record in zip(committees, [epoch_record, *later, *records], strict=False):
            body, signers = put_together(record[1]), record[3][0]
            for place, member in enumerate(signers):
                record[3][1][place] = sign(committee[member], body)
    except (TypeError, ValueError, LookupError, AttributeError):
        return changed  # too broken to be signed
    return changed
