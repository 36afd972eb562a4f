"""A9: a contributor makes its group's masked sum worthless, round after round, and is never named.

Nobody can prove who it was (`test_spoiled_group`). But groups are drawn anew for each round, so the
verified records of a study point at who was in each of those that came to nothing: as suspicion,
with a chance beside it, and without any consequence.
"""

import json
from functools import lru_cache
from pathlib import Path

import pytest
from tests.adversarial.test_spoiled_group import MEAN
from tests.adversarial.test_spoiled_masked_sum import Spoiler
from tests.support.report import Page
from tests.support.town import Town, masked_manifest
from typer.testing import CliRunner

from pnyx.cli import app
from pnyx.node.bundle import VerifiedStudy, make_bundle, read_bundle, verify_bundle
from pnyx.node.network import Network
from pnyx.protocol.round import plan as plan_module
from pnyx.protocol.suspicion import STANDS_OUT
from pnyx.report import from_bundle, render
from pnyx.report.record import Made

LENGTH, ROUNDS = 9, 6
SPOILER = 4


def certified(rounds: int, spoiler: int | None) -> tuple[Town, bytes]:
    """A study in which this node, if any, hands out another key in every round that it is in."""
    town = Town()
    study = town.propose(plan=masked_manifest(LENGTH, rounds=rounds, **MEAN))
    for number in range(1, rounds + 1):
        assert town.run(town.in_round(study, number))
        plan = town.plan(study)
        if spoiler in plan.contributors:
            made = town.machines[spoiler].rounds.active[plan.context].contributor
            made._vectors = Spoiler(made._vectors, 0)
    assert town.run(town.finished(study))
    assert town.blamed() == set(), "nobody, as nobody knows"
    return town, study


@lru_cache(maxsize=2)
def study_of(spoiler: int | None) -> tuple[Town, bytes, VerifiedStudy]:
    """Such a study, as anybody verifies it."""
    town, study = certified(ROUNDS, spoiler)
    machine = town.machines[0]
    content = make_bundle(machine.studies[study], machine.epoch_record, town.model_bytes(study))
    return town, content, verify_bundle(read_bundle(content), town.census, town.cryptos[0])


def names_of(town: Town, found: VerifiedStudy) -> set[int]:
    """Who stands out, by census index."""
    return {town.census.index_of(each.node) for each in found.suspicions if each.stands_out}


def test_who_spoils_every_round_stands_out_alone():
    town, _, found = study_of(SPOILER)
    assert names_of(town, found) == {SPOILER}
    first, *others = found.suspicions
    assert first.spoiled == first.troubled >= 5
    assert first.chance_of_any <= STANDS_OUT
    assert all(each.chance_of_any > 10 * STANDS_OUT for each in others)
    assert {each.node for each in found.suspicions} == set(town.census.node_ids)


def test_nothing_follows_from_it():
    town, _, found = study_of(SPOILER)
    assert not any(body.excluded for body in found.rounds)
    assert not any(machine.docket.standing for machine in town.machines)


def test_without_the_attack_nobody_is_suspected():
    town, _, found = study_of(None)
    assert names_of(town, found) == set()
    assert all(each.troubled == 0 and each.chance == 1 for each in found.suspicions)
    assert {each.rounds for each in found.suspicions} == {ROUNDS}


def test_it_takes_rounds():
    """After three of them it could well be chance: then nobody is listed."""
    town, content, _ = study_of(SPOILER)
    bundle = read_bundle(content)
    early = type(bundle)(
        manifest=bundle.manifest,
        epoch_record=bundle.epoch_record,
        records=bundle.records[:4],
        model=b"",
    )
    found = verify_bundle(early, town.census, town.cryptos[0])
    assert found.suspicions[0].spoiled == 3
    assert names_of(town, found) == set()


def test_groups_that_stay_would_suspect_the_honest_ones_beside_it(monkeypatch):
    """That each round draws them anew is the defence."""
    drawn = plan_module.contributor_groups
    monkeypatch.setattr(
        plan_module, "contributor_groups", lambda _, nodes, groups: drawn(bytes(32), nodes, groups)
    )
    town, study = certified(ROUNDS, SPOILER)
    machine = town.machines[0]
    content = make_bundle(machine.studies[study], machine.epoch_record, b"")
    found = verify_bundle(read_bundle(content), town.census, town.cryptos[0])
    assert SPOILER in names_of(town, found)
    assert len(names_of(town, found)) == 3


def test_the_page_says_that_it_is_no_proof():
    for spoiler in (SPOILER, None):
        town, content, found = study_of(spoiler)
        network = Network("testers", town.census.network, b"", town.census, ())
        report = from_bundle(read_bundle(content), network, town.cryptos[0], Made("0", "", 0.0))
        assert [each.node for each in report.suspected] == [
            each.node.hex() for each in found.suspicions if each.stands_out
        ]
        page = Page(render(report))
        said = " ".join(page.text)
        tables = [rows for caption, rows in page.captions.items() if "Suspected" in caption]
        if spoiler is None:
            assert tables == []
            assert "uspicion" not in said
        else:
            ((row,),) = tables
            node = town.census.node_ids[SPOILER].hex()
            assert row[0] == node[:12]
            assert "suspicion and no proof, and excludes nobody" in said
            assert "1 node was suspected, without proof." in said


@pytest.mark.parametrize("spoiler", [SPOILER, None])
def test_the_verifier_says_it(spoiler, monkeypatch, tmp_path: Path):
    town, _, found = study_of(spoiler)
    monkeypatch.setattr("pnyx.api.verify", lambda *_: found)
    terms = ["study", "verify", "study.bundle", "--network", "network.json"]
    said = CliRunner().invoke(app, terms).output
    node = town.census.node_ids[SPOILER].hex()
    assert (f"node {node[:12]} was in its group" in said) == (spoiler is not None)
    assert ("Suspicion, and no proof" in said) == (spoiler is not None)
    told = json.loads(CliRunner().invoke(app, [*terms, "--json"]).output)
    assert [each["node"] for each in told["suspected"]] == [node] * (spoiler is not None)
