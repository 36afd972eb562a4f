"""Somebody changes genuine evidence on its way, to make it say something else (THREATS A8).

Every field of every kind is changed in turn: nothing that was altered is believed.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.support.evidence import DEALER, OUTSIDER, Scene, everything, scene
from tests.support.masked_round import verified_committee
from tests.support.mutation import mutated
from tests.support.verified_evidence import of_verified_rounds, verified_scene
from tests.support.weakened import weaken

from pnyx.errors import MalformedMessage, ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.evidence.proofs import check_evidence, offence_of
from pnyx.protocol.messages import (
    Evidence,
    OpenedAnswer,
    Signed,
)
from pnyx.protocol.round import false_segments

JUNK = OpenedAnswer(Signed(b"x" * 32, b"y" * 1_000, b"s" * 64), b"", 0, 1, ())
PADDING = msgspec.msgpack.decode(codec.encode(JUNK))
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
            yield [*tree, PADDING]


def nothing_altered_is_believed(evidence: Evidence, judge: Scene) -> None:
    tried = 0
    for tree in altered(msgspec.msgpack.decode(codec.encode(evidence))):
        tried += 1
        try:
            changed = codec.decode(msgspec.msgpack.encode(tree), Evidence, bytes_max=10**6)
        except MalformedMessage:
            continue
        if judge.convicts(changed):  # answers and releases of others may be left out
            assert changed.culprit == evidence.culprit
            assert len(codec.encode(changed)) < len(codec.encode(evidence))
    assert tried > 15


@pytest.mark.parametrize("kind", KINDS)
def test_altered_evidence(kind) -> None:
    nothing_altered_is_believed(everything()[kind][0], scene())


@pytest.mark.parametrize("kind", sorted(of_verified_rounds()))
def test_altered_evidence_of_verified_rounds(kind) -> None:
    evidence, offence = of_verified_rounds()[kind]
    assert verified_scene().convicts(evidence)
    assert offence_of(evidence.proof) is offence
    nothing_altered_is_believed(evidence, verified_scene())


COUNTS = [300, pytest.param(100_000, marks=pytest.mark.full)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", sorted(of_verified_rounds()))
def test_mutated_evidence_of_verified_rounds(kind, count) -> None:
    """Bytes flipped, cut or put in: a typed error, or the same culprit of the same offence."""
    evidence, offence = of_verified_rounds()[kind]
    payload, generator = codec.encode(evidence), np.random.Generator(np.random.PCG64(1))
    for _ in range(count):
        said = mutated(payload, generator)
        if said == payload:
            continue
        try:
            changed = codec.decode(said, Evidence, bytes_max=10**6)
            check_evidence(
                changed, verified_scene().c.plan, verified_scene().c.folk.cryptos[OUTSIDER]
            )
        except ProtocolError:
            continue
        assert changed.culprit == evidence.culprit
        assert offence_of(changed.proof) is offence


def test_evidence_judged_by_its_name_alone_would_be_believed(monkeypatch) -> None:
    """What a vector is must be looked at: else any vector convicts whoever signed a header."""
    judged = "checkpoint(*after) == checkpoints[opened.segment]"
    weaken(monkeypatch, false_segments, (judged, "False"))
    c = verified_committee()
    true = c.false(c.header(DEALER), DEALER)
    assert verified_scene().convicts(verified_scene().evidence(DEALER, true))
    monkeypatch.undo()
    assert not verified_scene().convicts(verified_scene().evidence(DEALER, true))
