"""Nodes of one simulation hold what all of them read once, and cannot tell."""

import pytest
from msgspec.structs import replace
from tests.support import evidence

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.epochs import record_key
from pnyx.protocol.evidence.proofs import check_evidence
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


def test_evidence_is_verified_once_for_all_who_know_the_same_plan(monkeypatch) -> None:
    scene, verified = evidence.scene(), []

    def counted(*what: object) -> None:
        verified.append(what)
        check_evidence(*what)

    monkeypatch.setattr(shared_records, "check_evidence", counted)
    records, plan = SharedRecords(), scene.c.plan
    proven = evidence.everything()["wrong_share"][0]
    for crypto in scene.c.folk.cryptos:
        records.verify_evidence(proven, plan, crypto)
    assert len(verified) == 1
    forged = replace(proven, culprit=proven.culprit + 1)
    for crypto in scene.c.folk.cryptos[:3]:
        with pytest.raises(RuleBroken):
            records.verify_evidence(forged, plan, crypto)
    assert len(verified) == 4


def test_what_was_not_used_for_long_is_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(shared_records, "_HELD_MAX", 2)
    records = SharedRecords()
    pulls = [Pull(bytes(32), step) for step in (Step.OPEN, Step.CLOSE, Step.ACCEPT)]
    encoded = [records.encode(pull) for pull in pulls]
    assert records.encode(pulls[2]) is encoded[2]
    assert records.encode(pulls[0]) is not encoded[0]


def test_what_was_read_is_not_written_anew() -> None:
    records = SharedRecords()
    assert records.encode(records.decode(DATA, Signed, bytes_max=1000)) is DATA


def test_large_records_are_forgotten_sooner(monkeypatch) -> None:
    monkeypatch.setattr(shared_records, "_HELD_BYTES_MAX", 2 * len(DATA))
    records = SharedRecords()
    signed = [Signed(bytes([number]) * 32, b"body", bytes(64)) for number in range(3)]
    encoded = [records.encode(each) for each in signed]
    assert records.encode(signed[2]) is encoded[2]
    assert records.encode(signed[1]) is encoded[1]
    assert records.encode(signed[0]) is not encoded[0]


def test_nodes_hold_evidence_and_records_once() -> None:
    simulation = Simulation(Scenario(seed=4, nodes=10, corrupt=((2, "equivocate"),)))
    assert simulation.run().rules["showed two different contributions"]
    for part in ("chain/evidence/", "/record/", record_key(0)):
        held = [v for node in simulation.nodes for k, v in node.disk.items() if part in k]
        assert len(held) > len(set(held)), part
        assert len({id(value) for value in held}) == len(set(held)), part


def test_a_run_is_the_same_without_sharing() -> None:
    traces = set()
    for shares in (True, False):
        simulation = Simulation(Scenario(seed=3, nodes=10, link=Link(loss=0.05)))
        if not shares:
            simulation.records = codec
        traces.add(simulation.run().trace_hash)
    assert len(traces) == 1
