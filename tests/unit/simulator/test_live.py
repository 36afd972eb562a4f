"""Live mode: settings that cannot be, and what becomes of rounds."""

import pytest

from pnyx.errors import ConfigError
from pnyx.protocol.crypto import NodeCrypto
from pnyx.simulator import live
from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.experiment import read_parameters, silent
from pnyx.simulator.invariants import Checker, InvariantError
from pnyx.simulator.live import LiveParameters, scenario_of
from pnyx.simulator.outcomes import Watch

IDEAL = {"nodes": 12, "signatures": "ideal"}


def run(seed: int = 1, **changes):
    return live.run(LiveParameters(**{**IDEAL, **changes}), seed, silent)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"node": 9}, "There is no setting node here: choose from absence_s, "),
        ({"nodes": 5}, "nodes must be a whole number from 6 to 100,000, not 5"),
        ({"nodes": "ten"}, "nodes must be a whole number from 6 to 100,000, not 'ten'"),
        ({"loss": 1.5}, "loss must be a number from 0.0 to 1.0, not 1.5"),
        ({"strategy": "bribe"}, "strategy must be one of equivocate, garbage, lie, mixed"),
        ({"corrupted": 40}, "corrupted must be a whole number from 0 to 35, one below nodes"),
        ({"corrupted": 1, "corrupted_share": 0.1}, "corrupted and corrupted_share exclude"),
        (
            {"corrupted_share": 1.0},
            "corrupted_share must be a number from 0 to 35/36, which leaves",
        ),
        ({"committee": 40}, "committee must be 0, or a whole number from 5 to 35"),
        (
            {"committee": 16, "committee_corrupt_max": 4},
            "committee_corrupt_max must be a whole number from 1 to 3, as the committee has 16",
        ),
        (
            {"committee": 8, "committee_corrupt_max": 2},
            "committee_corrupt_max must be 1, as the committee has 8 members, not 2.",
        ),
        (
            {"committee_corrupt_max": 3},
            "committee_corrupt_max must be left out while committee is 0, as the security of such "
            "a network then says both: give committee, a whole number from 5 to 35, or leave",
        ),
        ({"cohort_min": 37}, "cohort_min must be a whole number from 2 to 36, as 36 owners join"),
        (
            {"consenting": 0.0},
            "consenting and groups must leave 2 owners or more in each group, and here 0 owners ",
        ),
        ({"nodes": 6, "groups": 4}, "consenting and groups must leave 2 owners or more in each"),
        ({"nodes": 6, "groups": 3}, "cohort_min must be 2, as 6 owners join in 3 groups, not 3."),
        ({"contributors": 37}, "contributors must be 0, or a whole number from 3 to 36"),
        ({"vector_length": 71}, "vector_length must be 0, or a whole number from 72"),
        ({"vector_length": 20_001}, "vector_length must be at most 20,000 where vectors are not"),
        ({"cut_until_s": 1.0}, "cut_until_s must be at least cut_from_s"),
        ({"sessions": "pareto", "session_shape": 1.0}, "session_shape must be above 1"),
        ({"groups": 2, "groups_tolerated": 1}, "groups_tolerated must be below half of groups"),
    ],
)
def test_settings_that_cannot_be(settings, sentence) -> None:
    with pytest.raises(ConfigError) as refused:
        read_parameters(LiveParameters, settings)
    assert str(refused.value).startswith(sentence)


def test_a_quiet_network_completes_every_round_and_repeats() -> None:
    rounds = run(rounds=2)
    assert [each.round for each in rounds] == [0, 1, 2]
    assert all(each.completed and each.attempts == 1 and not each.broken for each in rounds)
    assert all(8 <= each.contributors <= 10 for each in rounds[1:])
    assert all(0 < each.latency_s < 5 and each.spread_s >= 0 for each in rounds[1:])
    assert all(each.messages and each.mebibytes for each in rounds)
    assert rounds == run(rounds=2)
    assert rounds != run(seed=2, rounds=2)


@pytest.mark.parametrize("strategy", [*live.get_args(live.Strategy)])
def test_every_strategy_within_the_bound_is_survived(strategy) -> None:
    parameters = LiveParameters(**IDEAL, corrupted=1, strategy=strategy)
    assert parameters.sizes.corrupt_max >= 1
    for each in live.run(parameters, 3, silent):
        assert each.completed, each
        assert not each.broken


def test_stuffing_counts_nobody_twice() -> None:
    rounds = run(corrupted=2, strategy="stuff", seed=5)
    assert rounds[1].rejected + rounds[1].blamed > 0, "what was stuffed is noticed"
    assert rounds[1].contributors_corrupted <= 2
    assert not rounds[1].broken


def test_poison_changes_the_model_by_its_own_vector_and_no_more() -> None:
    poisoned = run(nodes=8, corrupted=1, strategy="poison", seed=2)
    assert poisoned[1].completed
    assert not poisoned[1].broken, "the model moved by what each contributed within the bound"


def test_churn_partitions_and_cuts_are_lived_through() -> None:
    rounds = run(
        sessions="exponential",
        session_s=60.0,
        absence_s=2.0,
        partition_share=0.25,
        one_way_cuts=4,
        cut_until_s=4.0,
        loss=0.02,
        duplication=0.05,
        reordering=True,
    )
    assert rounds[1].completed
    assert sum(each.deaths for each in rounds) > 0


def test_a_round_that_cannot_end_ends_with_the_run() -> None:
    rounds = run(partition_share=0.5, cut_from_s=0.0, cut_until_s=1e6, limit_s=15.0)
    assert not rounds[1].completed
    assert rounds[1].latency_s is None
    assert rounds[1].spread_s is None


def test_a_skipped_round_has_no_time_to_a_result() -> None:
    skipped = run(attempt_timeout_s=3.0, deadline_s=2.0, training_s=30.0)[1]
    assert skipped.skipped
    assert skipped.latency_s is None


def test_rounds_that_are_over_are_told_while_a_run_goes_on() -> None:
    heard: list[list] = []

    def progress(share, records=()):
        if len(records) > (len(heard[-1]) if heard else 0):
            heard.append(list(records))

    whole = live.run(LiveParameters(**IDEAL, rounds=2), 1, progress)
    assert [len(records) for records in heard] == [1, 2, 3]
    for records in heard:
        for early, late in zip(
            records[:-1], whole, strict=False
        ):  # of the last, news still spreads
            assert early == late


def test_what_breaks_beyond_the_bound_is_told(monkeypatch) -> None:
    def broken(*_):
        raise InvariantError("no sum")

    monkeypatch.setattr(Checker, "_check_sum", broken)
    rounds = run()
    assert {each.broken for each in rounds} == {"no sum"}


def test_signatures_are_real_below_a_thousand_nodes() -> None:
    secret = bytes(32)
    for nodes, kind in ((999, NodeCrypto), (1_000, IdealCrypto)):
        made = live._crypto(LiveParameters(nodes=nodes))(secret)
        assert isinstance(made, kind)
    for wish, kind in (("real", NodeCrypto), ("ideal", IdealCrypto)):
        assert isinstance(live._crypto(LiveParameters(signatures=wish))(secret), kind)


def test_real_signatures_change_no_figure() -> None:
    """Sizes are equal, so times and bytes are."""
    ideal = run(nodes=8)
    real = run(nodes=8, signatures="real")
    assert ideal[1].completed
    assert real[1].completed
    assert real[1].messages == pytest.approx(ideal[1].messages, rel=0.1)
    assert real[1].mebibytes == pytest.approx(ideal[1].mebibytes, rel=0.1)


def test_rounds_in_groups() -> None:
    assert run(nodes=18, groups=2, cohort_min=2)[1].completed


@pytest.mark.full
def test_masked_rounds() -> None:
    assert run(nodes=8, masked=True, vector_length=200)[1].completed


def test_more_nodes_than_slots() -> None:
    """Nodes that share a unit vector are told apart by the list of who is counted."""
    scenario = scenario_of(LiveParameters(nodes=300, consenting=0.1, committee=8), 1)
    assert scenario.slots == 256
    assert not scenario.addresses
    assert sum(owner.consents for _, owner in scenario.owners) == 30
    watch = Watch(scenario, IdealCrypto)
    watch.advance(12.0)
    assert [each.completed for each in watch.records()] == [True, True]
