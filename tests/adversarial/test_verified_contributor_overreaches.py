"""A contributor of a verified masked round masks three times what an update may be (THREATS A9).

It proves what it can: the true digits of its sketch, without slack; or a proof without a fault, of
the vector that it did not mask; or it shares another key than it masks with. In unverified masked
rounds each of these spoils the sum, and nobody knows who did it. Here the sum of the others is
exact, every honest node names the contributor, and nobody else. Each defence is then taken away.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened
from tests.support.weakened import weaken

from pnyx.protocol.aggregation import verdicts
from pnyx.protocol.aggregation.verdicts import Rule, Verdict
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.round import false_segments
from pnyx.simulator import InvariantError

HONEST = masked_study(verified=True)
PLAN = drawn(HONEST)
LIAR = next(i for i in PLAN.contributors if i not in PLAN.member_of and i > 0)
KINDS = {
    "over norm": {Rule.BOUND.value},
    "false sketch": {Offence.FALSE_VECTOR.value},
    "other key": {Rule.LINK.value},
    "other hash": {Offence.FALSE_VECTOR.value},
    "over scale": {Rule.RANGE.value, Offence.WRONG_SHARE.value},
    "off polynomial": {Rule.SHARING.value},
    "bad share": {Rule.RANGE.value, Offence.WRONG_SHARE.value},
}


def attacked(kind: str) -> Watched:
    return Watched(replace(HONEST, corrupt=((LIAR, kind),), limit_s=60.0))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_verified_contributor_overreaches(kind):
    simulation = attacked(kind)
    outcome = simulation.run()
    assert opened(outcome)
    assert LIAR not in outcome.records[1].accepted
    assert outcome.records[1].excluded == (LIAR,) or kind in ("false sketch", "other hash")
    assert simulation.culprits() == {LIAR}
    assert simulation.rules_of(LIAR) == KINDS[kind]
    named = {who for who, whom, _ in simulation.blamed if whom == LIAR}
    assert named >= set(range(HONEST.nodes)) - {LIAR}, "everybody hears of it"


def accepting(rule: Rule):
    """Verdicts without one of the tests."""
    judge = verdicts._linked_verdict

    def weak(holds, off):
        found = judge(holds, off)
        return Verdict(accepted=True, off=off) if found.rule is rule else found

    return weak


@pytest.mark.parametrize(("kind", "rule"), [("over norm", Rule.BOUND), ("other key", Rule.LINK)])
def test_the_verdict_is_the_defence(kind, rule, monkeypatch):
    """The checkers see a model that is not the sum of what was contributed."""
    monkeypatch.setattr(verdicts, "_linked_verdict", accepting(rule))
    with pytest.raises(InvariantError, match=r"names another model|lost its sum"):
        attacked(kind).run()


def test_who_holds_the_vector_is_the_defence_against_a_proof_of_another(monkeypatch):
    """To the committee such a proof is without a fault: aggregators must look at the sketch."""
    looked_at = "return Progress(linear_hash, sketch_on(*stated, before.sketch, blocks, first))"
    weaken(monkeypatch, false_segments, (looked_at, "return Progress(linear_hash, claim.sketch)"))
    with pytest.raises(InvariantError, match="names another model"):
        attacked("false sketch").run()
