"""I3: a fifth of the ring is silent, lies, leaves out honest nodes, or steals what it should keep.

A look-up is correct if every honest node of the place is in it, nobody is in it who was not there,
and it is as long as was asked. Without verification a single path fails where ours holds; each part
of the defence is shown to be one. Figures are printed with their seed.
"""

import pytest
from tests.support.ringtown import PARAMS, Unchecked, Unverified, ask_around, corrupted_town

from pnyx.protocol.overlay import ring
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.simulator.overlay_adversary import KINDS

SINGLE = OverlayParams(cache_max=128, finger_first_s=600.0, paths=1, waves_max=1)


def figures(nodes, kind, look_ups, seed, params=PARAMS):
    town = corrupted_town(nodes, kind, seed, params)
    ask_around(town, look_ups)
    found = town.summary()
    print(f"seed {seed}, {nodes} nodes, {kind}: {found}")  # noqa: T201
    assert town.verdicts
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_look_ups_hold_with_a_fifth_corrupted(kind):
    found = figures(100, kind, 60, seed=7)
    assert found["correct"] >= 0.99
    assert found["forged"] == 0


@pytest.mark.full
@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_look_ups_hold_with_a_fifth_of_a_thousand_corrupted(kind):
    found = figures(1000, kind, 1000, seed=8)
    assert found["correct"] >= 0.99
    assert found["forged"] == 0


@pytest.mark.full
def test_look_ups_hold_with_a_fifth_of_ten_thousand_corrupted():
    params = OverlayParams(cache_max=64, finger_first_s=600.0)
    found = figures(10_000, "liar", 500, seed=9, params=params)
    assert found["correct"] >= 0.99
    assert found["forged"] == 0


def test_single_path_that_verifies_nothing_fails(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ring, "Search", Unverified)
        naive = figures(200, "liar", 60, seed=7, params=SINGLE)
    assert naive["correct"] < 0.9, "one path, believed: the baseline"


def test_asking_the_place_itself_is_a_defence(monkeypatch):
    """With as many paths, but believed as they are, dead and omitted nodes come through."""
    with monkeypatch.context() as patch:
        patch.setattr(ring, "Search", Unverified)
        town = corrupted_town(100, "omitter", 7)
        town.kill_some(0.2)
        ask_around(town, 60)
    assert town.summary()["correct"] < 0.9
    town = corrupted_town(100, "omitter", 7)
    town.kill_some(0.2)
    ask_around(town, 60)
    assert town.summary()["correct"] >= 0.98


def test_density_is_a_defence(monkeypatch):
    """One path only: what it misses is found when the place is too empty to be true."""
    one = OverlayParams(cache_max=32, finger_first_s=600.0, paths=1, waves_max=6)
    with monkeypatch.context() as patch:
        patch.setattr(ring, "Search", Unchecked)
        unchecked = figures(300, "liar", 80, seed=7, params=one)
    checked = figures(300, "liar", 80, seed=7, params=one)
    assert checked["correct"] > unchecked["correct"] + 0.05
    assert checked["correct"] >= 0.97
