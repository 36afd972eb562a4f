"""Two verifiers, written apart, believe the same bundles.

The first is `node.bundle.verify_bundle`; the second, `verifier`, was written from docs/protocol.md
and shares hashing and signatures with it. Both read chains that nodes made, chains that all nodes
together forged, and thousands of copies with something wrong.
"""

import ast
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace
from tests.independent import mutation, verifier
from tests.independent.agreement import agree, findings, first_believes, sign
from tests.independent.forge import (
    AUTHORITY,
    EPOCH,
    LARGE,
    LENGTH,
    folk,
    forged,
    three_rounds,
)
from tests.support.town import (
    NETWORK,
    Town,
    manifest,
    masked_manifest,
    phase,
    real,
    verified_manifest,
)

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.node.bundle import BUNDLE_BYTES_MAX, make_bundle, read_bundle
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.aggregation.masked_verification.bounds import bounds_of
from pnyx.protocol.manifest import check_verified_values, read_manifest
from pnyx.protocol.messages import Record
from pnyx.protocol.models import model_name
from pnyx.protocol.noise import NO_NOISE
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.selection import committee_size, contributor_groups, draw_contributors
from pnyx.protocol.study import StudyState, genesis_plan, read_body, verify_record

HERE = Path(__file__).parent


# --- chains that nodes made ---------------------------------------------------------------------


@lru_cache
def lived(kind: str) -> tuple[bytes, list[list[int]]]:
    """A bundle of nine nodes that took part in a study, and the committees of its records."""
    refusing = kind == "below the floor"
    town = Town(make=real, debits=lambda index: not refusing or index < 2)
    plan = manifest(LENGTH, [phase(LENGTH, rounds=2, deadline_s=4.0)])
    if kind == "evaluated":
        again = phase(LENGTH, kind="evaluate", metrics_length=LENGTH)
        plan = manifest(LENGTH, [phase(LENGTH), again])
    if kind == "masked":
        plan = masked_manifest(LENGTH, rounds=2)
    if kind == "masked and verified":
        plan = verified_manifest(LENGTH)
    study = town.propose(plan=plan)
    assert town.run(town.finished(study), seconds=200.0)
    machine = town.machines[0]
    state = machine.studies[study]
    content = make_bundle(state, machine.epoch_record, town.model_bytes(study))
    return content, committees(content)


@lru_cache
def made_up() -> tuple[bytes, list[list[int]]]:
    return forged(), committees(forged())


def committees(content: bytes) -> list[list[int]]:
    """Census indices by member, for the epoch record and every other."""
    bundle, census = read_bundle(content), folk().census
    plan = genesis_plan(census)
    found = [list(plan.committee)]
    beacon = verify_record(plan, bundle.epoch_record, AUTHORITY).next_beacon
    asked = read_manifest(bundle.manifest, NETWORK, DEFAULT_PARAMS)
    state = StudyState(
        verifier.digest("pnyx/study", bundle.manifest.body), bundle.manifest, asked, census
    )
    step = state.open(beacon, AUTHORITY)
    for record in bundle.records:
        found.append(list(step.committee))
        _, step = state.accept(record, AUTHORITY, DEFAULT_PARAMS)
    return found


KINDS = ["trained", "evaluated", "below the floor", "masked", "masked and verified"]


@pytest.mark.parametrize("kind", KINDS)
def test_chain_that_nodes_made_is_believed(kind) -> None:
    content, _ = lived(kind)
    assert first_believes(content)
    assert findings(content) == []


def test_lived_chains_show_what_they_are_named_after() -> None:
    last = {kind: read_body(read_bundle(lived(kind)[0]).records[-1]) for kind in KINDS}
    assert {kind for kind in KINDS if last[kind].metrics} == {"evaluated"}
    assert {kind for kind in KINDS if last[kind].skipped} == {"below the floor"}
    plans = {
        kind: read_manifest(read_bundle(lived(kind)[0]).manifest, NETWORK, DEFAULT_PARAMS)
        for kind in KINDS
    }
    assert {kind for kind in KINDS if plans[kind].phases[0].masked} == {
        "masked",
        "masked and verified",
    }
    assert {kind for kind in KINDS if plans[kind].phases[0].verified} == {"masked and verified"}


def test_unfinished_chain_is_believed() -> None:
    bundle = read_bundle(lived("trained")[0])
    for known in range(len(bundle.records)):
        content = codec.encode(replace(bundle, records=bundle.records[:known], model=b""))
        assert agree(content)
        assert findings(content) == []


def test_forged_chain_without_fault_is_believed() -> None:
    assert agree(forged())
    assert findings(forged()) == []


@pytest.mark.parametrize("size", [committee_size(5, 1, 1), committee_size(11, 2, 1, 1)])
def test_networks_of_other_sizes(size) -> None:
    persons = folk(13, size)
    content = forged(persons=persons, proposer=12)
    assert agree(content, persons)
    assert findings(content, persons) == []
    assert not agree(content)  # under another census


# --- one fault each -----------------------------------------------------------------------------


def mutants(content: bytes, crews: list[list[int]], stride: int, resigned: bool):
    """Every alternative for every place of a bundle, or each `stride`-th of them."""
    tree = mutation.take_apart(content)
    proposer = folk().census.node_ids.index(tree[1][1])
    every = [
        (path, value)
        for path in mutation.paths(tree)
        for value in mutation.alternatives(mutation.at(tree, path))
    ]
    for path, value in every[::stride]:
        changed = mutation.replaced(tree, path, value)
        if resigned:
            changed = mutation.signed_again(changed, crews, proposer, sign)
        mutant = mutation.encoded(changed)
        if mutant != content:
            yield mutant


STRIDES = [7, pytest.param(1, marks=pytest.mark.full)]


@pytest.mark.parametrize("resigned", [False, True])
@pytest.mark.parametrize("stride", STRIDES)
def test_single_changes(stride, resigned) -> None:
    believed = [agree(mutant) for mutant in mutants(*made_up(), stride, resigned)]
    assert len(believed) > 200
    # Of what is not signed, a model may be left out, and the record of an evaluation. Signed again,
    # more may stand: the last record's beacon, or the names of values that a bundle does not hold.
    assert sum(believed) <= (0.1 * len(believed) if resigned else 3)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resigned", [False, True])
def test_single_changes_of_lived_chains(kind, resigned) -> None:
    for mutant in mutants(*lived(kind), 1, resigned):
        agree(mutant)


def drawn_mutant(data: st.DataObject) -> bytes:
    """A bundle with one to three changes anywhere, perhaps signed again."""
    content, crews = made_up() if data.draw(st.booleans()) else lived("trained")
    tree = mutation.take_apart(content)
    proposer = folk().census.node_ids.index(tree[1][1])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(mutation.paths(tree))))
        spare = data.draw(st.binary(max_size=64))
        value = data.draw(st.sampled_from(mutation.alternatives(mutation.at(tree, path), spare)))
        tree = mutation.replaced(tree, path, value)
        if not isinstance(tree, list) or not all(isinstance(each, list) for each in tree[1:4]):
            break
    if data.draw(st.booleans()):
        tree = mutation.signed_again(tree, crews, proposer, sign)
    return mutation.encoded(tree)


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.full)])
def test_several_changes(count) -> None:
    @settings(max_examples=count, deadline=None)
    @given(data=st.data())
    def check(data) -> None:
        agree(drawn_mutant(data))

    check()


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.full)])
def test_changed_bytes(count) -> None:
    """Below the level of records: other encodings, cut and spliced bytes."""
    content, _ = made_up()
    rng = np.random.default_rng(5)
    for _ in range(count):
        at, length = int(rng.integers(len(content))), int(rng.integers(0, 4))
        content_changed = content[:at] + rng.bytes(int(rng.integers(0, 4))) + content[at + length :]
        assert agree(content_changed) == (content_changed == content)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b"",
        lambda b: b"\xc0",
        lambda b: b + b"\x00",
        lambda b: b"\xdc\x00" + b"\x05" + b[1:],  # an array of five with a longer head
        lambda b: b"\x91" * 5000,
        lambda b: b"\xc1",
        lambda b: b"\x81\x91\x01\x01",  # a map whose key is an array
        lambda b: b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
    ],
)
def test_other_encodings(change) -> None:
    assert not agree(change(made_up()[0]))


# --- one rule each, in chains that are consistent otherwise ---------------------------------------

FIELDS = {
    "network": [bytes(32)],
    "study": [bytes(32)],
    "round_number": [0, 1, 2, 3, 4, 2**31 - 1, 2**31],
    "attempt": [0, 2, 3],
    "epoch": [1, 2**31],
    "census_root": [bytes(32)],
    "previous_record": [bytes(32)],
    "context": [bytes(32)],
    "open_value": [bytes(32), bytes(31)],
    "accepted": [(), (0,), (0, 0), (8, 7, 6), tuple(range(9)), (9,), (2**32,)],
    "skipped": [True, 1],
    "model_hash": [b"x" * 32, b"x" * 33],
    "metrics": [(), (5,), (5, -5), (5, 5, 5), (6, 0, 0), (0, 0, 2**62)],
    "joins_root": [bytes(32)],
    "next_beacon": [b"x" * 32],
    "privacy_spent": [None, 0, 1, 2**62],
    "excluded": [(), (0,), (8,), (3, 5), (5, 3), (3, 3), (3, 4, 5), (9,), (2**32,)],
    "sums": [
        (),
        ((0, b"x" * 32),),
        ((0, b"x" * 31),),
        ((1, b"x" * 32),),
        ((32, b"x" * 32),),
        ((0, b"x" * 32), (1, b"x" * 32)),
        ((0, b"x" * 32), (0, b"x" * 32)),
        ((0, b"x" * 32),) * 33,
    ],
    "record_joins": [
        (),
        (0,),
        (0, 1, 2),
        (8, 0, 4, 5),
        (1, 1, 2, 3, 4),
        (0, 1, 2, 3, 9, 2**32 - 1),
    ],
    "signers": [
        (),
        (0, 1, 2, 3, 4),
        (0, 1, 2, 3, 4, 4),
        (0, 1, 2, 3, 5, 4),
        (0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 3, 4, 7),
        (-1, 0, 1, 2, 3, 4),
    ],
}
RECORDS = [EPOCH, 0, 1, 2, 3]


@pytest.mark.parametrize("field", FIELDS)
def test_one_field_of_one_record(field) -> None:
    for record in RECORDS:
        for value in FIELDS[field]:
            agree(forged({record: {field: value}}))


def test_exclusions_change_who_is_drawn_and_are_never_taken_back() -> None:
    kept = {number: {"excluded": (3,)} for number in RECORDS[1:]}
    content = forged(kept)
    assert agree(content)
    assert findings(content) == []
    assert all(3 not in committee for committee in committees(content)[2:])
    assert any(3 in committee for committee in committees(forged())[2:])
    assert not agree(forged({**kept, 2: {"excluded": ()}}))


TERMS = {
    "network": [bytes(32)],
    "proposer": [b"x" * 32],
    "version": [0, 2, 2**16],
    "epoch": [1],
    "title": ["", "x" * 200, "é" * 200, "x" * 201, "\U0001f331" * 200],
    "purpose": ["", "x" * 2000, "x" * 2001],
    "columns": [(), ("a", ""), ("a",) * 4096, ("a",) * 4097],
    "ranges": [
        ((0.0, 1.0),),
        ((0.0, 1.0), (0.0, 1.0)),
        ((1.0, 1.0),),
        ((1.0, 0.0),),
        ((float("nan"), 1.0),),
        ((0.0, float("inf")),),
        ((-1.7e308, 1.7e308),),
        ((0, 1.0),),
    ],
    "label": ["", "x" * 200, "x" * 201],
    "program": [bytes(32 * 1024), bytes(32 * 1024 + 1)],
    "hyperparameters": [bytes(8 * 1024), bytes(8 * 1024 + 1)],
    "initial_model": [b"x" * 32, bytes(32)],
    "model_bytes": [0, 1, 40_000_000, 40_000_001, 2**40 - 1, 2**40, -1],
    "join_window_s": [0.0, 1e-300, 7 * 86400.0, 7 * 86400.1],
    "phases": [(), (phase(9),) * 16, (phase(9),) * 17],
}
# n, primes, length, value bits, contributors, slots, slot bits, shift, σ; and what else each may be
MASKS = (1024, (134176769,), 50, 8, 6, 1, 11, 9, 4.5)
OTHER_MASKS = (
    (512, 2048),
    ((), (134111233,), (134176769, 134111233), (134176768,)),
    (0, 2**24, 2**24 + 1),
    (9, 33),
    (5, 7, 8, 9, 1),
    (0, 2, 28),
    (10, 12, 28),
    (8, 10, 27),
    (4.4, 4.75, 9.5),
)
PHASE_TERMS = {
    "kind": ["evaluate", "statistics", "poll", "Train", "", "train "],
    "rounds": [0, 3],
    "bounds": [
        *[
            (length, length, 1, 0, 1, 0, None, 0, 0, 0)
            for length in (0, 1, 20_000, 20_001, 10**6, 10**6 + 1)
        ],
        *[(9, bounded, 1, 1, 1, 0, None, 0, 0, 0) for bounded in (0, 5, 9, 10)],
        *[
            (9, 9, norm_max, 0, 1, 0, None, 0, 0, 0)
            for norm_max in (0, 4096, 19_000, 20_000, 2**52)
        ],
        *[(9, 0, 0, count_max, 1, 0, None, 0, 0, 0) for count_max in (0, 2**20, 2**50, 2**53)],
        *[
            (9, 0, 0, 1, s, noise, None, 0, 0, 0)
            for s, noise in ((0, 0), (2, 0), (1, 1), (2**32, 0))
        ],
        *[(9, 0, 0, 2**30, scale, 2**50, None, 0, 0, 0) for scale in (2**22, 2**23, 2**24)],
        *[(9, 0, 0, 1, 1, 0, ("choice", options, 0), 0, 0, 0) for options in (1, 2, 3, 9)],
        *[(9, 0, 0, 1, 1, 0, ("approval", 3, most), 0, 0, 0) for most in (0, 1, 3, 4)],
        *[(6, 0, 0, most, 1, 0, ("ranking", 4, 0), 0, 0, 0) for most in (1, 2)],
        *[(9, 9, 1, 0, s, noise, None, 0, 0, 0) for s, noise in ((1, 0), (2, 0), (1, 1))],
        (9, 9, 1, 0, 1, 0, ("choice", 3, 0), 0, 0, 0),
        (9, 0, 0, 1, 1, 0, ("ballot", 3, 0), 0, 0, 0),
    ],
    "masked": [
        MASKS,
        *[
            (*MASKS[:at], value, *MASKS[at + 1 :])
            for at, values in enumerate(OTHER_MASKS)
            for value in values
        ],
    ],
    "metrics_length": [1, 9, 10, 1025],
    "cohort_min": [1, 2, 5, 6],
    "clip": [1, 2, 2**53],
    "noise": [
        *[(width, 0, 1) for width in (1, 4, 2**26)],
        *[(0, width, 1) for width in (1, 4, 2**26 + 1)],
        *[(0, 0, honest) for honest in (0, 2, 4, 4097)],
    ],
    "target": [2, 3, 6, 7],
    "drawn": [4, 5, 9, 10, 4096, 4097],
    "deadline_s": [0.0, 7 * 86400.0, 1e9],
    "groups": [0, 1, 2, 32, 33],
    "robust": [
        ("mean", 0),
        ("mean", 1),
        ("trimmed", 0),
        ("trimmed", 1),
        ("trimmed", 16),
        ("median", 1),
    ],
}


@pytest.mark.parametrize("term", TERMS)
def test_one_term_of_the_manifest(term) -> None:
    for value in TERMS[term]:
        agree(forged(plan=three_rounds(**{term: value})))


@pytest.mark.parametrize("term", PHASE_TERMS)
def test_one_term_of_a_phase(term) -> None:
    for value in PHASE_TERMS[term]:
        agree(forged(plan=manifest(LENGTH, [phase(LENGTH), phase(LENGTH, **{term: value})])))


def test_kind_with_a_line_break_is_no_kind() -> None:
    """A program that shows the manifest would print "train"; nodes would evaluate."""
    odd = manifest(LENGTH, [phase(LENGTH, kind="train\n")])
    assert not agree(forged(plan=odd)), "both verifiers refuse it"


NOISY = {"clip": 10, "noise": (4, 4, 2), "bounds": (LENGTH, 6, 55, 9, 2, 40, None, 0, 0, 0)}


@pytest.mark.parametrize(
    ("changes", "fine"),
    [
        ({}, True),
        ({"clip": 11}, False),
        ({"noise": (5, 4, 2)}, False),
        ({"noise": (4, 5, 2)}, False),
        ({"noise": (3, 4, 2)}, False),
        ({"noise": (4, 4, 4)}, False),
        ({"bounds": (LENGTH, 6, 54, 9, 2, 40, None, 0, 0, 0)}, False),
        ({"bounds": (LENGTH, 6, 55, 9, 2, 41, None, 0, 0, 0)}, False),
        ({"bounds": (LENGTH, LENGTH, 66, 0, 1, 0, None, 0, 0, 0)}, False),
        ({"noise": (4, 0, 2), "bounds": (LENGTH, 6, 55, 9, 2, 0, None, 0, 0, 0)}, True),
        ({"noise": (0, 4, 2)}, True),
    ],
)
def test_noise_and_what_it_costs(changes, fine) -> None:
    plan = manifest(LENGTH, [phase(LENGTH, **{**NOISY, **changes}), phase(LENGTH)])
    assert agree(forged(plan=plan)) == fine
    for spent in (None, 0, 1):
        agree(forged({1: {"privacy_spent": spent}}, plan=plan))


def test_sums_that_just_fit() -> None:
    most = verifier.SUM_MAX // 6
    bounds = [(LENGTH, 0, 0, each, 1, 0, None, 0, 0, 0) for each in (most, most + 1)]
    plans = [manifest(LENGTH, [phase(LENGTH, bounds=each)]) for each in bounds]
    assert [agree(forged(plan=plan)) for plan in plans] == [True, False]


BALLOTS = (
    st.builds(lambda options: ("choice", options, 0), st.integers(2, 5))
    | st.builds(lambda options, most: ("approval", options, most), st.just(5), st.integers(0, 6))
    | st.builds(lambda options: ("ranking", options, 0), st.integers(2, 8))
)


@given(
    length=st.integers(0, 30),
    bounded=st.integers(0, 30),
    norm_max=st.integers(0, 3) | st.integers(19_560, 19_590) | st.integers(0, 2**53 - 1),
    count_max=st.integers(0, 3) | st.integers(0, 2**53 - 1),
    count_scale=st.just(1) | st.integers(1, 2**32 - 1),
    noise_max=st.just(0) | st.integers(0, 2**53 - 1),
    ballot=st.none() | BALLOTS,
)
@settings(max_examples=500, deadline=None)
def test_bounds_that_can_be_proven(ballot, **terms) -> None:
    try:
        Bounds(**terms, ballot=None if ballot is None else Ballot(*ballot))
        believed = True
    except ValueError:
        believed = False
    named = ballot and dict(zip(("kind", "options", "chosen_max"), ballot, strict=True))
    asked = SimpleNamespace(
        **terms,
        ballot=named and SimpleNamespace(**named),
        key_length=0,
        key_fields=0,
        masked_norm_max=0,
    )
    assert verifier.provable(asked) == believed


RINGS = {1024: 1, 2048: 2, 4096: 4}


@given(
    degree=st.sampled_from(list(RINGS)),
    length=st.integers(1, 10**5) | st.integers(1, 2**24 + 1),
    value_bits=st.integers(1, 33),
    contributors_max=st.integers(1, 257),
    slots=st.integers(1, 9),
    spare=st.integers(-1, 1),
    shift=st.integers(7, 14),
    noise_width=st.sampled_from([4.4, 4.5, 6.0, 9.0, 9.1]),
)
@settings(max_examples=1000, deadline=None)
def test_masks_that_hold(degree, value_bits, contributors_max, spare, **terms) -> None:
    primes = (134176769, 134111233, 134012929, 133963777)[: RINGS[degree]]
    slot_bits = (contributors_max * (2**value_bits - 1)).bit_length() + spare
    terms |= {"value_bits": value_bits, "contributors_max": contributors_max}
    terms |= {"degree": degree, "primes": primes, "slot_bits": max(1, slot_bits)}
    try:
        ParameterSet(**terms)
        believed = True
    except ValueError:
        believed = False
    assert verifier.masks_hold(SimpleNamespace(**terms)) == believed


MASKED = {"bounds": (3, 0, 0, 9, 1, 0, None, 1024, 1, 0), "masked": MASKS, "metrics_length": 3}


@pytest.mark.parametrize(
    ("changes", "fine"),
    [
        ({}, True),
        ({"masked": None}, False),
        ({"bounds": (3, 0, 0, 9, 1, 0, None, 1023, 1, 0)}, False),
        ({"bounds": (3, 0, 0, 9, 1, 0, None, 1024, 2, 0)}, False),
        ({"bounds": (3, 0, 0, 9, 1, 0, None, 0, 0, 0)}, False),
        ({"bounds": (3, 1, 9, 9, 1, 0, None, 1024, 1, 0)}, False),
        ({"drawn": 7}, False),
        ({"noise": (12, 0, 2)}, True),
        ({"noise": (13, 0, 2)}, False),
        ({"noise": (3, 0, 2)}, False),
    ],
)
def test_masked_phases(changes, fine) -> None:
    plan = manifest(LENGTH, [phase(LENGTH, **{**MASKED, **changes}), phase(LENGTH)], **LARGE)
    assert agree(forged(plan=plan)) == fine
    for spent in (None, 0, 1):
        agree(forged({1: {"privacy_spent": spent}}, plan=plan))


# Of nine people in groups of three, each with a floor of two.
GROUPED = {"groups": 3, "cohort_min": 2, "target": 9, "drawn": 9}


@pytest.mark.parametrize(
    ("changes", "fine"),
    [
        ({}, True),
        ({"robust": ("trimmed", 1)}, True),
        ({"robust": ("trimmed", 2)}, False),
        ({"robust": ("trimmed", 0)}, False),
        ({"robust": ("mean", 1)}, False),
        ({"kind": "evaluate"}, False),
        ({"cohort_min": 3}, True),
        ({"cohort_min": 4}, False),
        ({"target": 5}, False),
        ({"groups": 4}, True),
        ({"groups": 5}, False),
    ],
)
def test_phases_with_groups(changes, fine) -> None:
    plan = manifest(LENGTH, [phase(LENGTH, **{**GROUPED, **changes}), phase(LENGTH)])
    assert agree(forged(plan=plan)) == fine


def test_sums_that_just_fit_a_group() -> None:
    most = verifier.SUM_MAX // 3
    bounds = [(LENGTH, 0, 0, each, 1, 0, None, 0, 0, 0) for each in (most, most + 1)]
    plans = [manifest(LENGTH, [phase(LENGTH, bounds=each, **GROUPED)]) for each in bounds]
    assert [agree(forged(plan=plan)) for plan in plans] == [True, False]


def test_masks_that_hold_the_largest_group() -> None:
    terms = {**MASKED, "groups": 2, "cohort_min": 2, "target": 9}
    plans = [manifest(LENGTH, [phase(LENGTH, **terms, drawn=n)], **LARGE) for n in (12, 13)]
    assert [agree(forged(plan=plan)) for plan in plans] == [True, False]


@pytest.mark.parametrize("robust", [("mean", 0), ("trimmed", 1)])
@pytest.mark.parametrize(
    ("away", "filled"),
    [
        ((0, 0, 0), (0, 1, 2)),
        ((1, 0, 1), (0, 1, 2)),
        ((1, 1, 1), (0, 1, 2)),
        ((0, 2, 0), None),
        ((3, 2, 0), None),
        ((3, 0, 0), (1, 2)),
        ((1, 3, 0), (0, 2)),
        ((3, 0, 3), (1,)),
    ],
)
def test_who_counts_fills_the_groups_that_a_record_names(robust, away, filled) -> None:
    """away: how many of each group are missing. filled: groups; None where one is below the floor.

    Both verifiers accept the right names of the groups, and only if the rule has enough of them.
    """
    plan = manifest(LENGTH, [phase(LENGTH, **GROUPED, robust=robust)])
    group_of = contributor_groups(b"n" * 32, folk().census.node_ids, 3)
    groups = [[who for who in range(9) if group_of[who] == group] for group in range(3)]
    there = [who for g, group in enumerate(groups) for who in group[away[g] :]]
    enough = filled is not None and len(filled) >= (3 if robust[1] else 1)
    for named in ((0, 1, 2), (0, 2), (1, 2), (1,), ()):
        sums = tuple((group, b"x" * 32) for group in named)
        edit = {"accepted": tuple(sorted(there)), "sums": sums}
        assert agree(forged({1: edit}, plan=plan)) == (enough and named == filled)


# length, norm_max, Δ's logarithm, value bits, contributors, colluding; and what each may be besides
NORM = (1000, 1200, 9, 11, 8, 3)
OTHER_NORMS = (
    (1, 10**5, 2**24 + 1),
    (1, 40, 126, 127, 1137, 1138, 9000, 10**6),
    (2, 7, 8, 10, 12, 14),
    (2, 7, 9, 11, 12, 13),
    (2, 3, 100, 256),
    (0, 8, 9),
)


@given(
    length=st.integers(1, 10**6),
    norm_max=st.integers(1, 20_000),
    shift=st.integers(7, 12),
    value_bits=st.integers(2, 14),
    contributors=st.integers(2, 256),
    colluding=st.integers(0, 40),
    clip_share=st.integers(80, 100),
    width=st.sampled_from([4.5, 4.5, 4.5, 6.0]),
)
@settings(max_examples=1000, deadline=None)
def test_masked_norms_that_can_be_verified(
    length, norm_max, shift, value_bits, contributors, colluding, clip_share, width
) -> None:
    slot_bits = (contributors * (2**value_bits - 1)).bit_length()
    terms = (1024, (134176769,), length, value_bits, contributors, 1, slot_bits, shift, width)
    try:
        masks = ParameterSet(*terms)
    except ValueError:
        return
    clip, norm = norm_max * clip_share // 100, norm_max << shift
    try:
        known = bounds_of(masks, norm_max, colluding)
        believed = 0 < clip <= known.clip_max
    except ValueError:
        believed = False
    asked = SimpleNamespace(
        masked=SimpleNamespace(**structs.asdict(masks)),
        verified=SimpleNamespace(norm_max=norm_max, colluding_max=colluding),
        bounds=SimpleNamespace(masked_norm_max=norm),
        noise=SimpleNamespace(update_width=0),
        clip=clip,
    )
    assert verifier.norm_holds(asked) == believed
    if believed:
        try:
            check_verified_values(SimpleNamespace(noise=NO_NOISE, clip=clip), masks, known)
            roomy = True
        except RuleBroken:
            roomy = False
        enough = -(-clip // 16) < 2 ** (value_bits - 1)
        assert (enough and verifier.values_roomy(asked)) == roomy


def verified_terms(norm=NORM, **changes) -> dict:
    """A phase whose masked updates are verified."""
    length, norm_max, shift, bits, contributors, colluding = norm
    slot_bits = (contributors * (2**bits - 1)).bit_length()
    masks = (1024, (134176769,), length, bits, contributors, 1, slot_bits, shift, 4.5)
    return {
        "bounds": (3, 0, 0, 9, 1, 0, None, 1024, 1, norm_max << shift),
        "masked": masks,
        "verified": (norm_max, colluding),
        "clip": 9 * norm_max // 10,
        "metrics_length": 3,
        **changes,
    }


@pytest.mark.parametrize(
    ("terms", "fine"),
    [
        (verified_terms(), True),
        (verified_terms(clip=1), True),
        (verified_terms((1000, 1200, 9, 10, 8, 3)), False),
        (verified_terms((1000, 1200, 9, 10, 8, 3), clip=511), True),
        (verified_terms((1000, 1200, 9, 10, 8, 3), clip=512), False),
        (verified_terms((1000, 8508, 9, 4, 8, 7), clip=112), True),
        (verified_terms((1000, 8508, 9, 4, 8, 7), clip=113), False),
        (verified_terms(clip=0), False),
        (verified_terms(clip=1081), False),
        (verified_terms(verified=None), False),
        (verified_terms(masked=None), False),
        (verified_terms(verified=(1201, 3)), False),
        (verified_terms(bounds=(3, 0, 0, 9, 1, 0, None, 1024, 1, 0)), False),
        (verified_terms(bounds=(3, 1, 9, 9, 1, 0, None, 1024, 1, 1200 << 9)), False),
        (verified_terms(bounds=(3, 0, 0, 9, 1, 0, None, 0, 0, 1200 << 9)), False),
        (verified_terms(bounds=(0, 0, 0, 9, 1, 0, None, 1024, 1, 1200 << 9)), False),
        (verified_terms(noise=(12, 0, 2)), False),
        (verified_terms(noise=(12, 0, 2), clip=600), True),
        (verified_terms(noise=(13, 0, 2), clip=100), True),
        (verified_terms((1000, 1200, 9, 8, 8, 3), noise=(13, 0, 2), clip=100), False),
        (verified_terms(masked=(*verified_terms()["masked"][:-1], 6.0)), False),
    ],
)
def test_verified_masked_phases(terms, fine) -> None:
    plan = manifest(LENGTH, [phase(LENGTH, **terms), phase(LENGTH)], **LARGE)
    assert agree(forged(plan=plan)) == fine


@pytest.mark.parametrize("at", range(len(NORM)))
def test_one_term_of_a_verified_norm(at) -> None:
    for value in OTHER_NORMS[at]:
        terms = verified_terms((*NORM[:at], value, *NORM[at + 1 :]))
        agree(forged(plan=manifest(LENGTH, [phase(LENGTH, **terms), phase(LENGTH)])))


def test_manifest_signed_by_a_stranger() -> None:
    signed = read_bundle(forged()).manifest
    assert not agree(forged(manifest=replace(signed, signer=b"x" * 32)))
    body = codec.encode(three_rounds(proposer=b"x" * 32))
    assert not agree(
        forged(manifest=replace(signed, signer=b"x" * 32, body=body), records=(), model=b"")
    )


def test_study_of_a_later_epoch_is_not_proven() -> None:
    assert agree(forged(records=(), model=b""))
    assert not agree(forged(plan=three_rounds(epoch=1), records=(), model=b""))


def test_manifest_signed_with_another_key() -> None:
    signed = read_bundle(forged()).manifest
    assert not agree(forged(manifest=replace(signed, signature=sign(1, signed.body))))


def test_manifest_beyond_its_bytes() -> None:
    columns = tuple(f"{at:0199}x" for at in range(320))
    assert agree(forged(plan=three_rounds(columns=columns)))
    assert not agree(forged(plan=three_rounds(columns=columns * 2)))


def test_bundle_beyond_its_bytes() -> None:
    most = BUNDLE_BYTES_MAX - len(forged(records=(), model=b""))
    for length, readable in ((most - 8, True), (most + 8, False)):
        content = forged(records=(), model=bytes(length))
        try:
            read_bundle(content)
        except MalformedMessage:
            assert not readable
        else:
            assert readable
        places = {finding.where for finding in findings(content)}
        assert ("bundle" not in places) == readable


def test_model_of_the_largest_size() -> None:
    for length, believed in ((40_000_000, True), (40_000_001, False)):
        model = bytes(length)
        plan = three_rounds(initial_model=model_name(model), model_bytes=length)
        assert agree(forged(plan=plan, records=(), model=model)) == believed


@pytest.mark.parametrize("round_number", [1, 3])
@pytest.mark.parametrize(
    "change", [{"accepted": "kept"}, {"metrics": (1, 1, 1)}, {"model_hash": b"x" * 32}, {}]
)
def test_skipped_round_that_changes_something(round_number, change) -> None:
    records = read_bundle(forged()).records
    before = read_body(records[round_number - 1])
    quiet = {"skipped": True, "accepted": (), "metrics": (), "model_hash": before.model_hash}
    if change.get("accepted"):
        change = {"accepted": read_body(records[round_number]).accepted}
    assert agree(forged({round_number: {**quiet, **change}}, model=b"")) == (not change)


def test_models() -> None:
    assert agree(forged(model=b""))
    assert not agree(forged(model=b"x"))
    assert not agree(forged(model=bytes(8 * LENGTH)))


def test_records_in_other_orders_and_numbers() -> None:
    records = read_bundle(forged()).records
    for chosen in ((1, 2, 3), (0, 2, 3), (0, 0, 1), (0, 1, 2, 3, 3), (0, 2, 1, 3)):
        assert not agree(forged(records=tuple(records[each] for each in chosen), model=b""))


def test_records_of_another_study() -> None:
    other = read_bundle(forged(plan=three_rounds(title="other")))
    assert not agree(forged(records=other.records))
    assert not agree(forged(epoch_record=other.records[0]))


def test_signature_of_an_outsider_of_the_committee() -> None:
    bundle = read_bundle(forged())
    census = folk().census
    for record in (bundle.epoch_record, *bundle.records):
        certificate = record.certificate
        outsider = next(i for i in range(9) if i not in genesis_plan(census).committee)
        forged_one = (sign(outsider, record.body), *certificate.signatures[1:])
        thin = Record(record.body, record.joins, QuorumCertificate(certificate.signers, forged_one))
        if record is bundle.epoch_record:
            assert not agree(codec.encode(replace(bundle, epoch_record=thin)))
        elif record is bundle.records[-1]:
            assert not agree(codec.encode(replace(bundle, records=(*bundle.records[:-1], thin))))


# --- what signatures imply ----------------------------------------------------------------------

IMPLIED = {
    "accepted out of order": {1: {"accepted": "reversed"}},
    "joins out of order": {0: {"record_joins": tuple(range(8, -1, -1))}},
    "a stranger joined": {0: {"record_joins": (*range(9), 9)}},
    "a round without contributions cannot be skipped": {0: {"skipped": True}},
    "an outcome without contributions": {0: {"model_hash": b"x" * 32}},
    "an evaluation changed the model": {3: {"model_hash": b"x" * 32}},
    "number of metrics": {1: {"metrics": (1,)}},
    "metrics beyond their bound": {3: {"metrics": (1, 2, 6)}},
}


@pytest.mark.parametrize("rule", IMPLIED)
def test_second_verifier_knows_what_no_honest_member_signs(rule) -> None:
    edits = {number: dict(edit) for number, edit in IMPLIED[rule].items()}
    if edits.get(1, {}).get("accepted"):
        census = folk().census
        drawn = draw_contributors(b"n" * 32, census.node_ids, 6)
        edits[1]["accepted"] = tuple(sorted(map(census.index_of, drawn), reverse=True))
    found = findings(forged(edits, model=b""))
    assert [(each.rule, each.implied) for each in found] == [(rule, True)]


@pytest.mark.parametrize(
    ("metrics", "possible"), [((5, 0, 5), True), ((0, -1, 0), False), ((0, 6, 0), False)]
)
def test_published_counts_lie_between_none_and_all(metrics, possible) -> None:
    plan = manifest(
        LENGTH, [phase(LENGTH, bounds=(LENGTH, 6, 1, 1, 1, 0, None, 0, 0, 0), metrics_length=3)]
    )
    assert (findings(forged({1: {"metrics": metrics}}, plan)) == []) == possible


# --- independence -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["verifier.py", "shapes.py"])
def test_second_verifier_shares_only_hashing_and_signatures(name) -> None:
    tree = ast.parse((HERE / name).read_text(encoding="utf-8"))
    shared = {
        (node.module, each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pnyx")
        for each in node.names
    }
    plain = {
        each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    }
    assert shared <= {
        ("pnyx.primitives.hashing", "digest"),
        ("pnyx.primitives.signature", "verify"),
    }
    assert plain <= {"msgspec"}
