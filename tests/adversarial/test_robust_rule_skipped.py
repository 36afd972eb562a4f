"""A leader cannot skip the robust rule, nor choose the groups that it sees (THREATS A5, M4).

What follows from the sums is computed by every member, and the record is signed by a quorum of
them. So whoever leads, and would rather have the plain mean that its friends poisoned, is alone.
"""

import pytest
from tests.support.grouped import ROBUST, grouped_town, growth, record_of

from pnyx.protocol.aggregation.robust import PLAIN_MEAN, combine
from pnyx.protocol.round import outcome
from pnyx.protocol.round.outcome import Outcome


def skip(monkeypatch, members):
    """These members take the mean of all groups, whatever the study says."""
    honest = Outcome._outcome

    def computed(self, releases):
        with monkeypatch.context() as patch:
            if self._m.member in members:
                patch.setattr(outcome, "combine", lambda updates, _: combine(updates, PLAIN_MEAN))
            return honest(self, releases)

    monkeypatch.setattr(Outcome, "_outcome", computed)


@pytest.mark.parametrize("liars", [set(), {0}, {4}])
def test_robust_rule_skipped_by_the_leader(monkeypatch, liars):
    skip(monkeypatch, liars)
    town, study = grouped_town(ROBUST)
    plan = town.plan(study)
    assert town.run(town.finished(study), seconds=120.0)
    body, _ = record_of(town, study)
    assert len(body.sums) == 3
    expected = growth(plan, body.accepted)
    assert expected != growth(plan, body.accepted, PLAIN_MEAN)
    assert town.model(study) == expected


def test_the_quorum_is_the_defence(monkeypatch):
    skip(monkeypatch, set(range(7)))
    town, study = grouped_town(ROBUST)
    plan = town.plan(study)
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert town.model(study) == growth(plan, body.accepted, PLAIN_MEAN), "the attack"
