"""Both verifiers on second attempts and skipped rounds, true and forged."""

import pytest
from msgspec.structs import replace
from tests.independent.agreement import agree, findings
from tests.independent.forge import EPOCH, folk, forged, skip
from tests.support.aborts import abort_of, abort_value, decided
from tests.support.town import NETWORK

from pnyx.node.bundle import read_bundle
from pnyx.primitives import codec
from pnyx.protocol.manifest import read_manifest, study_id
from pnyx.protocol.messages import Instance, Phase
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.round.attempts import second_attempt
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.study import genesis_plan, joining_plan, next_plan

EVERYBODY = tuple(range(7))


def first_attempt() -> RoundPlan:
    """The plan of round 1 in a forged chain."""
    bundle = read_bundle(forged())
    asked = read_manifest(bundle.manifest, NETWORK, DEFAULT_PARAMS)
    plan = next_plan(
        folk().census, study_id(bundle.manifest.body), asked, bundle.records[0], DEFAULT_PARAMS
    )
    assert plan is not None
    return plan


SKIPPED = {"aborted": {}, "skip": True}


@pytest.mark.parametrize(
    "aborted",
    [{}, {"left": (1, 2, 3, 4, 5, 6)}, {"listed": range(1, 7), "left": range(1, 7)}],
)
def test_second_attempt_is_believed(aborted) -> None:
    """With a stand-in for the last member, for nobody, and for the first; in round 0 as well."""
    for number in (0, 1):
        content = forged({number: {"aborted": aborted}})
        assert agree(content)
        assert findings(content) == []


def test_genesis_is_never_aborted() -> None:
    assert not agree(
        forged({EPOCH: {"record_abort": abort_of(folk(), genesis_plan(folk().census))}})
    )


def test_abort_of_round_0_in_the_wrong_agreement_is_refused() -> None:
    bundle = read_bundle(forged())
    asked = read_manifest(bundle.manifest, NETWORK, DEFAULT_PARAMS)
    plan = joining_plan(folk().census, study_id(bundle.manifest.body), asked, b"n" * 32)
    good = abort_of(folk(), plan)
    wrong = replace(good, aborted=decided(folk(), plan, Instance.ACCEPT, good.aborted.value))
    assert agree(forged({0: {"aborted": {}, "record_abort": good}}))
    assert not agree(forged({0: {"aborted": {}, "record_abort": wrong}}))


def test_skipped_round_is_believed() -> None:
    for number in (1, 2, 3):
        content = forged({number: SKIPPED, 2: SKIPPED})
        assert agree(content)
        assert findings(content) == []


def test_skip_may_exclude() -> None:
    """Whom f + 1 of those that gave up name; the words themselves are not in the record."""
    kept = {"excluded": (3,)}
    content = forged({1: {**SKIPPED, **kept}, 2: kept, 3: kept})
    assert agree(content)
    assert findings(content) == []
    for excluded in ((3, 4), (9,)):
        assert not agree(forged({1: {**SKIPPED, "excluded": excluded}}))


def test_words_of_giving_up_name_culprits() -> None:
    named = {0: (3,), 1: (3, 4)}
    content = forged({1: {"aborted": {"named": named}}})
    assert agree(content)
    assert findings(content) == []


@pytest.mark.parametrize(
    "change",
    [
        {"next_beacon": b"x" * 32},
        {"skipped": False},
        {"record_joins": (1, 2, 3)},
        {"model_hash": b"x" * 32},
        {"metrics": (1,)},
        {"accepted": (1, 2, 3)},
        {"accepted": (1, 2, 3), "skipped": False},
    ],
    ids=lambda each: next(iter(each)),
)
def test_skip_that_changes_something_is_refused(change) -> None:
    assert not agree(forged({1: {**SKIPPED, **change}}))


def test_skip_of_a_first_attempt_is_refused() -> None:
    assert not agree(forged({1: skip(first_attempt())}))


def test_abort_beside_a_first_attempt_is_refused() -> None:
    plan = first_attempt()
    assert not agree(forged({1: {"record_abort": abort_of(folk(), plan)}}))
    for number in (EPOCH, 0):
        assert not agree(forged({number: {"record_abort": abort_of(folk(), plan)}}))


def test_second_attempt_without_its_abort_is_refused() -> None:
    assert not agree(forged({1: {"aborted": {}, "record_abort": None}}))


PLAN = first_attempt()


def accept(value: bytes, **terms):
    return {"aborted": decided(folk(), PLAN, Instance.ACCEPT, value, **terms)}


WORDS = abort_value(folk(), PLAN, EVERYBODY)
FAULTS = {
    "another study": {"study": b"x" * 32},
    "another round": {"round_number": 2},
    "echoes for locks": accept(WORDS, phase=Phase.ECHO),
    "fewer locks than a quorum": accept(WORDS, signers=(0, 1, 2, 3)),
    "a locker counted twice": accept(WORDS, signers=(0, 0, 1, 2, 3)),
    "fewer words than a quorum": accept(abort_value(folk(), PLAN, (0, 1, 2, 3))),
    "a word counted twice": accept(abort_value(folk(), PLAN, (0, 0, 1, 2, 3))),
    "words out of order": accept(abort_value(folk(), PLAN, (4, 3, 2, 1, 0))),
    "a word that names too many": accept(
        abort_value(folk(), PLAN, EVERYBODY, {0: tuple(range(513))})
    ),
    "no abort at all": accept(b"a set"),
    "an abort of another agreement": {
        "aborted": decided(folk(), PLAN, Instance.CLOSE, WORDS),
    },
    "the abort in both places": {"opened": decided(folk(), PLAN, Instance.ACCEPT, WORDS)},
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_forged_abort_is_refused(fault) -> None:
    """Everything after it is consistent with the abort as it stands."""
    good = abort_of(folk(), PLAN)
    second = second_attempt(PLAN, good, folk().cryptos[0])
    assert second.attempt == 2
    bad = replace(good, **FAULTS[fault])
    assert not agree(forged({1: {"aborted": {}, "record_abort": bad}}))


def test_word_of_somebody_else_is_refused() -> None:
    good = abort_of(folk(), PLAN)
    value = codec.decode(good.aborted.value, object, bytes_max=10**6)
    stranger = folk().census.node_ids[next(i for i in range(9) if i not in PLAN.committee)]
    value[1][0][1] = stranger
    changed = codec.encode(value)
    bad = replace(good, **accept(changed))
    assert not agree(forged({1: {"aborted": {}, "record_abort": bad}}))
