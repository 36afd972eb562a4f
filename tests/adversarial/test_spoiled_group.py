"""One contributor makes its group's masked sum worthless (A9): the other groups make the model.

Nothing ties a masked update to the key that is shared. In one group that costs the
round (`test_spoiled_masked_sum`); in several it costs the group, and the record says so.
"""

import numpy as np
from tests.adversarial.test_spoiled_masked_sum import Spoiler, contributor
from tests.support.town import Town, masked_manifest

from pnyx.protocol.aggregation.robust import Robust
from pnyx.protocol.events import ContributionCounted
from pnyx.protocol.messages import RecordBody
from pnyx.protocol.round.groups import NO_SUM
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.study import read_body

LENGTH = 9
MEAN = {"groups": 3, "cohort_min": 2, "target": 9, "drawn": 9}
ROBUST = {**MEAN, "robust": Robust("trimmed", 1)}


def round_of(terms, count: int = 1) -> tuple[Town, RoundPlan, RecordBody, list[int]]:
    """A round in which so many groups are spoiled; returns their numbers too."""
    town = Town()
    study = town.propose(plan=masked_manifest(LENGTH, **terms))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    spoilt = []
    for group in range(count):
        who = next(who for who in plan.contributors if plan.group_of[who] == group)
        made = contributor(town, study, who)
        made._vectors = Spoiler(made._vectors, 0)
        spoilt.append(group)
    assert town.run(town.finished(study))
    assert town.blamed() == set(), "nobody, as nobody knows"
    return town, plan, read_body(town.machines[0].studies[study].records[-1]), spoilt


def told_that_they_count(town: Town) -> set[int]:
    return {node for _, node, effect in town.log if isinstance(effect, ContributionCounted)}


def test_a_spoiled_group_is_left_out():
    town, plan, body, spoilt = round_of(MEAN)
    assert [each.group for each in body.sums if each.sum == NO_SUM] == spoilt
    model = town.model(body.study)[:LENGTH]
    counted = [who for who in body.accepted if plan.group_of[who] not in spoilt]
    assert np.flatnonzero(model).tolist() == counted
    assert sum(model) == len(counted)
    assert told_that_they_count(town) == set(counted)


def test_all_groups_spoiled_keep_the_model():
    town, _, body, spoilt = round_of(MEAN, 3)
    assert [each.sum for each in body.sums] == [NO_SUM] * 3
    assert spoilt == [0, 1, 2]
    assert not body.skipped
    assert body.metrics == ()
    assert not any(town.model(body.study))
    assert told_that_they_count(town) == set(), "what is published holds nothing of theirs"


def test_fewer_groups_than_the_rule_needs_keep_the_model():
    """Of two groups nobody can tell which one is poisoned, so neither is used."""
    town, _, body, spoilt = round_of(ROBUST)
    assert [each.group for each in body.sums if each.sum == NO_SUM] == spoilt
    assert body.metrics == ()
    assert not any(town.model(body.study))
    assert told_that_they_count(town) == set(), "what is published holds nothing of theirs"
