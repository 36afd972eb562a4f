"""Nodes of one simulation hold what all of them read once, and cannot tell."""

import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol.messages import Pull, Signed, Step
from pnyx.simulator import Link, Scenario, Simulation, shared_records
from pnyx.simulator.shared_records import SharedRecords

SIGNED = Signed(bytes(32), b"body", bytes(64))
DATA = codec.encode(SIGNED)


def test_one_object_for_the_same_bytes() -> None:
    records = SharedRecords()
    again = bytes(bytearray(DATA))
    first = records.decode(DATA, Signed, bytes_max=1000)
    assert first == SIGNED
    assert records.decode(again, Signed, bytes_max=1000) is first
    assert records.encode(SIGNED) is records.encode(first)
    assert records.encode(first) == DATA


def test_what_is_known_is_still_checked_for_its_kind_and_size() -> None:
    records = SharedRecords()
    records.decode(DATA, Signed, bytes_max=1000)
    with pytest.raises(MalformedMessage):
        records.decode(DATA, Pull, bytes_max=1000)
    with pytest.raises(MalformedMessage, match="exceeds"):
        records.decode(DATA, Signed, bytes_max=10)
    for _ in range(2):
        with pytest.raises(MalformedMessage):
            records.decode(DATA[:-1], Signed, bytes_max=1000)


def test_what_was_not_used_for_long_is_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(shared_records, "_HELD_MAX", 2)
    records = SharedRecords()
    pulls = [Pull(bytes(32), step) for step in (Step.OPEN, Step.CLOSE, Step.ACCEPT)]
    encoded = [records.encode(pull) for pull in pulls]
    assert records.encode(pulls[2]) is encoded[2]
    assert records.encode(pulls[0]) is not encoded[0]


def test_a_run_is_the_same_without_sharing() -> None:
    traces = set()
    for shares in (True, False):
        simulation = Simulation(Scenario(seed=3, nodes=10, link=Link(loss=0.05)))
        if not shares:
            simulation.records = codec
        traces.add(simulation.run().trace_hash)
    assert len(traces) == 1
