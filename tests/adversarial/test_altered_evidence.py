"""Somebody changes genuine evidence on its way, to make it say something else (THREATS A8).

Every field of every kind is changed in turn: nothing that was altered is believed.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.support.evidence import everything, scene

from pnyx.errors import MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol.messages import Evidence

KINDS = sorted(everything())


def altered(tree: Any) -> Iterator[Any]:
    """The tree with one leaf changed, for every leaf."""
    match tree:
        case bool():
            yield not tree
        case int():
            yield tree + 1
        case str():
            yield from {"range", "bound", "sharing"} - {tree}
        case bytes():
            yield tree[:-1] + bytes((tree[-1] ^ 1,)) if tree else b"\0"
        case list():
            for at, each in enumerate(tree):
                yield from ([*tree[:at], other, *tree[at + 1 :]] for other in altered(each))
                yield [*tree[:at], *tree[at + 1 :]]
            yield [*tree, b"x" * 32]


@pytest.mark.parametrize("kind", KINDS)
def test_altered_evidence(kind) -> None:
    evidence, _ = everything()[kind]
    tried = 0
    for tree in altered(msgspec.msgpack.decode(codec.encode(evidence))):
        tried += 1
        try:
            changed = codec.decode(msgspec.msgpack.encode(tree), Evidence, bytes_max=10**6)
        except MalformedMessage:
            continue
        if scene().convicts(changed):  # answers and releases of others may be left out
            assert changed.culprit == evidence.culprit
            assert len(codec.encode(changed)) < len(codec.encode(evidence))
    assert tried > 15
