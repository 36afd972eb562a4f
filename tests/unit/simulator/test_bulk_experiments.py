"""What experiments in bulk find is what formulas say, where there is one."""

from itertools import pairwise

import numpy as np
import pytest

from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.baselines import naive, repairs, withheld
from pnyx.simulator.bulk import caches, costs, effectiveness, regions
from pnyx.simulator.experiment import silent


@pytest.mark.parametrize("back_end", ["census", "region"])
@pytest.mark.parametrize(("nodes", "share"), [(10_000, 0.2), (200_000, 0.01)])
def test_corrupted_actors_are_as_many_as_in_a_uniform_draw(back_end, nodes, share) -> None:
    parameters = effectiveness.SelectionParameters(
        nodes=nodes, corrupted_share=share, back_end=back_end, selections=10_000, epochs=50
    )
    [found] = effectiveness.run(parameters, 3, silent)
    assert found.ideal == pytest.approx(32 * share)
    # Selections of one epoch share its positions, hence a margin beyond four standard errors.
    assert found.corrupted_actors == pytest.approx(
        found.ideal, abs=4 * found.standard_error + 0.01 * found.ideal
    )
    assert found.deviation == pytest.approx(found.ideal_deviation, rel=0.06)
    assert found.forged_values == found.forged_lists == 0
    assert found.failed <= 0.003 * found.selections


def test_a_coalition_of_half_the_nodes_still_forges_nothing() -> None:
    parameters = effectiveness.SelectionParameters(
        nodes=2_000, corrupted_share=0.2, back_end="region", selections=5_000, epochs=50, alpha=1e-4
    )
    [found] = effectiveness.run(parameters, 4, silent)
    assert found.forged_values == found.forged_lists == 0


def test_progress_goes_up_to_one() -> None:
    shares: list[float] = []
    parameters = effectiveness.SelectionParameters(nodes=1_000, selections=12_000, epochs=7)
    effectiveness.run(parameters, 1, shares.append)
    assert shares[-1] == 1.0
    assert all(earlier < later for earlier, later in pairwise(shares))


def test_regions_hold_what_the_tails_predict() -> None:
    parameters = regions.RegionParameters(
        nodes=20_000, corrupted_share=0.05, networks=20, samples=20_000
    )
    [found] = regions.run(parameters, 5, silent)
    assert found.occupancy == pytest.approx(found.expected, rel=0.01)
    assert found.occupancy_deviation == pytest.approx(found.expected**0.5, rel=0.03)
    assert found.sparse == pytest.approx(found.sparse_predicted, rel=0.6)
    assert found.corrupted_max < found.signers


def test_unverified_setters_give_a_coalition_more_than_its_share() -> None:
    parameters = naive.NaiveParameters(
        nodes=50_000, corrupted_share=0.05, selections=20_000, epochs=10
    )
    found = {record.strategy: record for record in naive.run(parameters, 6, silent)}
    c = 0.05
    assert found["unverified_setter"].excess == pytest.approx(2 - c, rel=0.05)
    assert found["unverified_setter"].captured == pytest.approx(c, rel=0.1)
    near = 1 - (1 - c) ** 16  # a region of 16 holds somebody corrupted
    lenient = c * (1 + 31 * near) + (1 - c) * 31 * c  # the setter is the first actor, or is honest
    assert found["any_of_region"].corrupted_actors == pytest.approx(lenient, rel=0.05)
    for strict in ("every_source_verifies", "census", "region"):
        assert found[strict].excess == pytest.approx(1, abs=0.03)


def test_withheld_reveals_multiply_corrupted_actors() -> None:
    found = withheld.run(withheld.WithheldParameters(), 7, silent)
    gains = [record.gain for record in found]
    assert gains[0] == pytest.approx(1.0, abs=0.03)
    # Known from another computation, for 8 actors and one corrupted node in ten.
    assert [gains[a] for a in (1, 2, 3, 8)] == pytest.approx([1.57, 2.1, 2.7, 4.8], rel=0.03)


def test_forgers_are_as_many_as_the_tail_says() -> None:
    parameters = repairs.RepairParameters(
        nodes=5_000, corrupted_share=0.05, alpha=0.01, networks=200, samples=1_000
    )
    found = {record.rule: record for record in repairs.run(parameters, 9, silent)}
    # Forgers come in clusters: 2.8 and 5.9 is the deviation of one network from the next.
    for rule, deviation in (("per_region", 2.8), ("per_region_trigger_counts", 5.9)):
        margin = 3 * deviation / parameters.networks**0.5
        assert found[rule].forgers == pytest.approx(found[rule].forgers_expected, abs=margin)
    assert found["repaired"].forgers_expected <= 0.01
    assert found["trigger_counts"].forgers_expected > 3 * found["repaired"].forgers_expected
    assert found["any_signers"].forgers_expected > 3 * found["repaired"].forgers_expected
    # What the repairs cost: more signers than SEP2P asks for.
    assert found["sep2p"].signers_asked < found["repaired"].signers_asked


def test_published_numbers_of_signers() -> None:
    """SEP2P's k as another program computed it, from incomplete beta functions."""
    found = [costs.published_signers(1_000_000, c, 1e-6) for c in (100, 1_000, 10_000, 50_000)]
    assert found == [2, 3, 4, 6]


def test_costs_add_up() -> None:
    few = costs.CostParameters(nodes=100_000, corrupted_share=0.01, sources=10)
    found = {record.strategy: record for record in costs.run(few, 0, silent)}
    region, sep2p = found["region"], found["sep2p"]
    assert region.checks == region.signers
    assert sep2p.checks == 2 * sep2p.signers
    assert found["census"].messages == 0
    assert found["census"].stored_bytes == 64 * 100_000
    assert found["every_source_verifies"].all_messages > 100 * found["every_source_verifies"].actors
    for record in found.values():
        assert record.all_bytes == record.bytes + 10 * record.source_bytes


@pytest.mark.parametrize(("session_s", "absence_s"), [(14_400.0, 3_600.0), (1_800.0, 1_800.0)])
def test_stale_entries_are_as_many_as_predicted(session_s: float, absence_s: float) -> None:
    parameters = caches.CacheParameters(
        session_s=session_s, absence_s=absence_s, corrupted_share=0.1, caches=4_000, nodes=100_000
    )
    [found] = caches.run(parameters, 9, silent)
    assert found.stale == pytest.approx(found.stale_predicted, rel=0.05)
    assert found.missing == pytest.approx(found.stale, rel=0.05)  # time looks alike both ways
    assert found.corrupted_online == pytest.approx(found.corrupted_predicted, rel=0.03)
    assert found.corrupted_online > 0.1


def test_many_short_sessions_and_few_long_ones() -> None:
    """Whoever is online is mostly in a long session, so entries go stale more slowly."""
    stale = [
        caches.run(caches.CacheParameters(sessions=kind, caches=4_000), 10, silent)[0].stale
        for kind in ("exponential", "weibull")
    ]
    assert stale[1] < 0.95 * stale[0]


def test_sessions_under_way_are_longer() -> None:
    parameters = caches.CacheParameters(sessions="weibull", session_s=100.0)
    generator = np.random.default_rng(1)
    began = np.ones(200_000, dtype=bool)
    soon = caches.online_after(generator, parameters, began, np.full(began.shape, 100.0))
    # E[residual] = E[X²]/2E[X] = (4! · scale²) / (2 · 2 · scale) = 6 · scale = 300: after 100 s
    # ∫(1 - F)/mean from 100 on = (√2 + 1)·exp(-√2) of them never left.
    never_left = (2**0.5 + 1) * np.exp(-(2**0.5))
    assert soon.mean() > never_left
    assert soon.mean() == pytest.approx(never_left, abs=0.05)


def test_heads_are_counted_as_people_write_them() -> None:
    parameters = effectiveness.SelectionParameters(nodes=100, corrupted_share=0.07, selections=10)
    [found] = effectiveness.run(parameters, 1, silent)
    assert found.corrupted == head_count(0.07, 100) == 7
