"""Pnyx agrees with the vectors of groups and robust rules, and they with their reference."""

import json
import runpy
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pnyx import errors
from pnyx.primitives.codec import decode, encode
from pnyx.protocol.aggregation.robust import (
    GroupUpdate,
    Robust,
    _mean,
    _mixed,
    combine,
    neighbours,
    squared_distances,
)
from pnyx.protocol.manifest import check_groups
from pnyx.protocol.messages import GroupSum
from pnyx.protocol.round.groups import check_sums, sum_hash
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.selection import contributor_groups

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "groups.json").read_text())


def fault(case: dict[str, Any]) -> str:
    return case.get("fault", case.get("what")).replace(" ", "-")


def test_the_file_is_that_of_the_reference() -> None:
    assert runpy.run_path(str(FOLDER / "groups_reference.py"))["vectors"]() == VECTORS


def rule_of(tolerated: int) -> Robust:
    return Robust("trimmed" if tolerated else "mean", tolerated)


def update(case: dict[str, Any]) -> GroupUpdate:
    return GroupUpdate(np.array(case["sum"], dtype=np.int64), case["contributors"])


def test_means_are_rounded_to_the_grid() -> None:
    for case in VECTORS["means"]:
        assert _mean(update({**case, "sum": [case["sum"]]})).tolist() == [case["mean"]], case


@pytest.mark.parametrize("case", VECTORS["rules"], ids=fault)
def test_rules(case: dict[str, Any]) -> None:
    robust = Robust(case["rule"], case["tolerated"])
    assert decode(encode(robust), Robust, bytes_max=20) == robust
    groups = [update(each) for each in case["groups"]]
    found = combine(groups, robust)
    assert (found.total.tolist(), found.divisor) == (case["total"], case["divisor"])
    assert max(map(abs, case["total"])) < 2**53
    if case["rule"] == "trimmed":
        means = np.stack([_mean(each) for each in groups])
        assert means.tolist() == case["means"]
        near = neighbours(squared_distances(means), len(groups) - case["tolerated"])
        assert [list(each) for each in near] == case["mixed_from"]
        assert _mixed(means, near).tolist() == case["mixed"]


def test_contributors_fall_into_groups_by_their_rank() -> None:
    """In whatever order they were drawn."""
    for case in VECTORS["assignments"]:
        beacon = bytes.fromhex(case["beacon"])
        drawn = [bytes.fromhex(each) for each in case["drawn"]]
        assert list(contributor_groups(beacon, drawn, case["groups"])) == case["group_of"]
        backwards = contributor_groups(beacon, drawn[::-1], case["groups"])
        assert list(backwards) == case["group_of"][::-1]


class Plan:
    """What of a plan the rules of groups look at."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.group_of = dict(enumerate(case["group_of"]))
        self.cohort_min = case["floor"]
        self.phase = SimpleNamespace(robust=rule_of(case["tolerated"]))

    def opened(self, accepted: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """As of the plan."""
        return RoundPlan.opened(self, accepted)


@pytest.mark.parametrize("case", VECTORS["opened"], ids=fault)
def test_opened(case: dict[str, Any]) -> None:
    found = Plan(case).opened(case["accepted"])
    assert [[group, list(who)] for group, who in found.items()] == case["opened"]
    counted = sum(map(len, found.values()))
    if counted == len(case["accepted"]):  # a record counts nobody else
        check_sums(Plan(case), body(case, [group for group, _ in case["opened"]]))


def body(case: dict[str, Any], named: list[int]) -> SimpleNamespace:
    """What of a record the rules of groups look at."""
    sums = [GroupSum(group, b"s" * 32) for group in named]
    skipped = case.get("skipped", False)
    return SimpleNamespace(accepted=case["accepted"], sums=sums, skipped=skipped)


@pytest.mark.parametrize("case", VECTORS["records_refused"], ids=fault)
def test_refused_records(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        check_sums(Plan(case), body(case, case["named"]))


def test_hashes_of_sums() -> None:
    for case in VECTORS["sums"]:
        total = np.array(case["entries"], dtype=np.int64)
        found = sum_hash(bytes.fromhex(case["context"]), case["group"], total)
        assert found.hex() == case["hash"]


@pytest.mark.parametrize("case", VECTORS["rules_refused"], ids=fault)
def test_refused_rules(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        decode(bytes.fromhex(case["encoded"]), Robust, bytes_max=20)


@pytest.mark.parametrize("case", VECTORS["phases_refused"], ids=fault)
def test_refused_phases(case: dict[str, Any]) -> None:
    def phase(**terms: Any) -> SimpleNamespace:
        robust = rule_of(case["tolerated"])
        return SimpleNamespace(
            **{"kind": "train", "groups": case["groups"], "robust": robust, **terms}
        )

    enough = phase(groups=max(case["groups"], 2 * case["tolerated"] + 1))
    check_groups(enough)
    with pytest.raises(getattr(errors, case["error"])):
        check_groups(phase(kind=case["kind"]))
