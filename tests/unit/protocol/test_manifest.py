"""What a node refuses in a study before anybody looks closer."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.town import NETWORK, manifest, masked_phase, phase, verified_phase

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import SUM_MAX
from pnyx.protocol.aggregation.masked.coding import decode_signed
from pnyx.protocol.aggregation.masked.parameters import P1, RINGS, SHARED_RINGS, choose
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MaskedBounds,
    choose_for,
    masks_of,
)
from pnyx.protocol.aggregation.masked_verification.bounds import choose as choose_verified
from pnyx.protocol.aggregation.robust import Robust
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    NO_MODEL,
    Manifest,
    StudyPhase,
    VerifiedNorm,
    check_sizes,
    read_manifest,
    study_id,
)
from pnyx.protocol.messages import Signed
from pnyx.protocol.noise import Noise
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.selection.security import committee_size

TWO = {"groups": 2, "cohort_min": 2}


def read(plan: Manifest | bytes, params: ProtocolParams | None = None) -> Manifest:
    body = plan if isinstance(plan, bytes) else codec.encode(plan)
    return read_manifest(Signed(bytes(32), body, bytes(64)), NETWORK, params or ProtocolParams())


def test_a_good_manifest():
    plan = manifest(9)
    assert read(plan) == plan
    assert study_id(codec.encode(plan)) != study_id(codec.encode(manifest(9, title="u")))


def test_phases_are_numbered_from_one():
    plan = manifest(9, [phase(9, rounds=2), phase(9, rounds=1, kind="evaluate")])
    assert plan.rounds == 3
    assert [plan.phase_of(n).kind for n in (1, 2, 3)] == ["train", "train", "evaluate"]
    with pytest.raises(ValueError, match="beyond"):
        plan.phase_of(4)


@pytest.mark.parametrize(
    ("terms", "error", "rule"),
    [
        ({"network": b"x" * 32}, WrongContext, "another network"),
        ({"version": 2}, WrongContext, "version 2"),
        ({"proposer": b"x" * 32}, RuleBroken, "another node than its proposer"),
    ],
)
def test_a_study_that_is_not_for_us(terms, error, rule):
    with pytest.raises(error, match=rule):
        read(manifest(9, **terms))


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"bounds": Bounds(20_001, 20_001, 1, 0)}, "above 20000"),
        ({"metrics_length": 10}, "metrics_length is above"),
        ({"noise": Noise(count_width=4)}, "noise on counts"),
        ({"noise": Noise(update_width=3)}, "noise on updates has a width of at least 4"),
        ({"noise": Noise(update_width=4)}, "clips updates, and adds noise, to more"),
        ({"noise": Noise(honest_min=4)}, "relies on more contributors than the floor"),
        ({"bounds": Bounds(9, 5, 1, 5, 1, 7)}, "other noise on counts"),
        ({"clip": 2}, "clips updates, and adds noise, to more"),
        ({"cohort_min": 6}, "cohort_min <= target <= drawn"),
        ({"target": 7}, "cohort_min <= target <= drawn"),
        ({"bounds": Bounds(9, 0, 0, SUM_MAX // 6 + 1)}, "capacity"),
        ({"bounds": Bounds(9, 0, 0, SUM_MAX // 3 + 1), **TWO}, "capacity"),
        ({**TWO, "kind": "evaluate"}, "only a phase that trains"),
        ({**TWO, "cohort_min": 3}, "<= drawn, and these are 2 x 3, 5 and 6"),
        ({**TWO, "robust": Robust("trimmed", 1)}, "needs 3 groups or more"),
        ({"robust": Robust("trimmed", 2)}, "needs 5 groups or more"),
    ],
)
def test_a_phase_that_cannot_work(terms, rule):
    with pytest.raises(RuleBroken, match=rule):
        read(manifest(9, [phase(9, **terms)]))


MASKED = masked_phase(9)
OTHER = choose(9, 2, 8, rings=(RINGS[1],))
FEWER = choose(9, 2, 3, rings=SHARED_RINGS)


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"kind": "evaluate"}, "only a phase that trains has updates to mask"),
        ({"noise": Noise(update_width=4)}, "values of 2 bits are too few: .* need 7"),
        (
            {"clip": 2},
            "values of 2 bits are too few: entries of up to 2 with noise of up to 0 need 3",
        ),
        ({"masked": None}, "another key than its masks are made of"),
        ({"masked": OTHER}, r"another key .*: key_length and key_fields are \d+ and \d, not"),
        (
            {"masked": replace(MASKED.masked, primes=PRIMES[1:])},
            "primes of masks are .*, not the first",
        ),
        (
            {"masked": FEWER},
            "6 contributors are drawn for one sum, and the masks of a phase add up 3",
        ),
    ],
)
def test_masks_that_a_phase_cannot_use(terms, rule):
    """A wrong parameter set, and fewer bits than the values need."""
    assert read(manifest(9, [MASKED])).phases == (MASKED,)
    with pytest.raises(RuleBroken, match=rule):
        read(manifest(9, [replace(MASKED, **terms)]))


def test_as_many_bits_as_noise_needs_are_enough():
    asked = Noise(update_width=4)
    for bits, enough in ((6, False), (7, True)):
        masks = choose(9, bits, 8, rings=SHARED_RINGS)
        fields = {"key_length": masks.degree, "key_fields": len(masks.primes)}
        terms = {"noise": asked, "masked": masks, "bounds": Bounds(1, 0, 0, 1, **fields)}
        plan = manifest(9, [phase(9, **terms)])
        if enough:
            assert read(plan) == plan
        else:
            with pytest.raises(RuleBroken, match=f"values of {bits} bits are too few"):
                read(plan)


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"model_bytes": 40_000_001}, "model_bytes is 40000001, above 40000000"),
        ({"model_bytes": 0}, "names a model and its size, or neither"),
        ({"initial_model": NO_MODEL}, "names a model and its size, or neither"),
        ({"initial_model": NO_MODEL, "model_bytes": 0}, "needs a model to begin with"),
    ],
)
def test_models_that_cannot_be(terms, rule):
    assert read(manifest(9, model_bytes=40_000_000)).model_bytes == 40_000_000
    with pytest.raises(RuleBroken, match=rule):
        read(manifest(9, **terms))


def test_the_capacity_of_the_fields_is_exact():
    entry = SUM_MAX // 4096
    terms = {"drawn": 4096, "target": 4096}
    for bounded in (0, 5):
        read(manifest(9, [phase(9, bounds=Bounds(9, bounded, 4096, entry), **terms)]))
        with pytest.raises(RuleBroken, match="capacity"):
            read(manifest(9, [phase(9, bounds=Bounds(9, bounded, 4096, entry + 1), **terms)]))


@pytest.mark.parametrize(
    "terms",
    [
        {"deadline_s": float("nan")},
        {"deadline_s": float("inf")},
        {"deadline_s": 0.0},
        {"kind": "vote"},
        {"bounds": (9, 9, 20_000, 0, 1, 0, None)},  # a norm that cannot be proven
        {"bounds": (9, 10, 1, 0, 1, 0, None)},
        {"bounds": (9, 5, 1, 2**53, 1, 0, None)},
        {"bounds": (0, 0, 0, 0, 1, 0, None)},
        {"bounds": (9, 9, 0, 0, 1, 0, None)},
        {"bounds": (9, 9, 1, 0, 2, 0, None)},  # a scale of no counts
        {"bounds": (9, 0, 0, 1, 1, 0, ("choice", 2, 0))},
        {"rounds": 0},
        {"cohort_min": 1},
    ],
)
def test_a_phase_beyond_its_types(terms):
    with pytest.raises(MalformedMessage):
        read(manifest(9, [phase(9, **terms)]))


VERIFIED = verified_phase(9)
W = VERIFIED.bounds.masked_norm_max


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"masked": None, "bounds": Bounds(1, 0, 0, 1), "clip": 0}, "travel masked are verified"),
        ({"verified": None}, "another norm of masked updates"),
        ({"verified": VerifiedNorm(7, 2)}, "cannot be verified: colluding"),
        ({"verified": VerifiedNorm(6000, 2)}, "another norm of masked updates"),
        ({"bounds": Bounds(1, 0, 0, 1, 1, 0, None, 1024, 1, 0)}, "another norm of masked updates"),
        ({"bounds": Bounds(1, 0, 0, 1, 1, 0, None, 1024, 1, W - 1)}, "another norm of masked"),
        ({"clip": 0}, "above the"),
        ({"clip": VERIFIED.masked_bounds.clip_max + 1}, "above the"),
        ({"noise": Noise(update_width=30), "clip": VERIFIED.masked_bounds.clip_max}, "above the"),
    ],
)
def test_a_norm_of_masked_updates_that_cannot_be_verified(terms, rule):
    read(manifest(10, [verified_phase(9)]))
    with pytest.raises(RuleBroken, match=rule):
        read(manifest(10, [verified_phase(9, **terms)]))


@pytest.mark.parametrize("less", range(5))
def test_no_entry_of_a_verified_update_is_larger_than_its_phase_says(less):
    """All of the norm that is certified, in one entry; errors may carry it over to the next."""
    masks, norm_max = VERIFIED.masked, VERIFIED.verified.norm_max - less
    bounds = Bounds(1, 0, 0, 1, 1, 0, None, 1024, 1, norm_max << masks.shift)
    asked = verified_phase(9, verified=VerifiedNorm(norm_max, 2), bounds=bounds)
    read(manifest(10, [asked]))
    proven = asked.masked_bounds
    for sign in (1, -1):
        lifted = sign * proven.certified_max + (masks.offset << masks.shift)
        out = np.empty(1, dtype=np.int64)
        decode_signed(masks, np.array([lifted]), 1, proven.largest_sum, out)
        assert abs(int(out[0])) <= asked.update_max
        # In two norms of five it is rounded up, and the bound is reached.
        assert abs(int(out[0])) == asked.update_max - (norm_max % 5 < 3)


def test_an_aggregator_has_room_for_vectors_and_for_sums():
    """Six vectors of 3,456 bytes; and for each of two groups three sums of 4,480 bytes."""
    for terms, room in (({}, 6 * 3456 + 3 * 4480), (TWO, 6 * 3456 + 6 * 4480)):
        plan = manifest(9, [masked_phase(9, drawn=6, **terms)])
        params = ProtocolParams()
        assert params.unvouched_sums_max == 2
        read(plan, replace(params, parcels_bytes_max=room))
        with pytest.raises(RuleBroken, match=f"and their sums take {room} bytes, above"):
            read(plan, replace(params, parcels_bytes_max=room - 1))


def with_values(chosen: MaskedBounds, value_bits: int, clip: int) -> StudyPhase:
    """A phase of these verified bounds, whose values have so many bits."""
    masks = masks_of(replace(chosen, entry_max=(1 << (value_bits - 1)) - 1))
    bounds = Bounds(1, 0, 0, 1, 1, 0, None, masks.degree, 1, chosen.norm_scaled)
    norm = VerifiedNorm(chosen.norm_max, chosen.colluding_max)
    return verified_phase(9, masked=masks, bounds=bounds, verified=norm, clip=clip)


@pytest.mark.parametrize(
    ("bits", "rule"),
    [
        (
            2,
            "values of 2 bits are too few: entries of up to 64, a sixteenth of the clip, .* need 8",
        ),
        (7, "values of 7 bits are too few: entries of up to 64"),
        (
            9,
            "values of 9 bits are too few: .* up to 1024 with noise of up to 0 need 12, .* for 10",
        ),
        (10, "values of 10 bits are too few: .* leaves room for 11 at least"),
    ],
)
def test_verified_values_have_as_many_bits_as_their_norm_leaves_room_for(bits, rule):
    """A proposer that takes fewer would have owners cut what they send."""
    chosen = choose_for(1024, 9, 8, 2)
    most = with_values(chosen, 11, 1024)
    assert most.masked == masks_of(chosen)
    read(manifest(10, [most]))
    read(manifest(10, [with_values(chosen, bits, 1)]))  # such a clip they all hold
    with pytest.raises(RuleBroken, match=rule):
        read(manifest(10, [with_values(chosen, bits, 1024)]))


def test_a_norm_that_leaves_no_room_for_values_is_refused():
    """Looser than the clip needs, and for many that collude: a bit more would not fit."""
    loose = replace(choose_verified(9, 8, 7), norm_max=8508, entry_max=7)
    with pytest.raises(ValueError, match="wrap"):
        replace(loose, entry_max=15)
    read(manifest(10, [with_values(loose, 4, 16 * 7)]))
    with pytest.raises(
        RuleBroken, match="values of 4 bits are too few: entries of up to 8, a sixt"
    ):
        read(manifest(10, [with_values(loose, 4, 16 * 7 + 1)]))


def test_a_norm_is_verified_in_the_smallest_ring():
    masks = choose(9, 2, 8, rings=(P1,))
    bounds = Bounds(1, 0, 0, 1, 1, 0, None, 2048, 2, W)
    with pytest.raises(RuleBroken, match="smallest ring"):
        read(manifest(10, [verified_phase(9, masked=masks, bounds=bounds)]))


@pytest.mark.parametrize(
    "terms",
    [
        (1, 1, 1, 1, 1, 0, None, 1024, 1, W),
        (3, 0, 0, 1, 1, 0, ("choice", 3, 0), 1024, 1, W),
        (1, 0, 0, 1, 1, 0, None, 0, 0, W),
        (0, 0, 0, 0, 1, 0, None, 0, 0, 0),
        (1, 0, 0, 1, 1, 0, None, 1024, 1, 1 << 23),
    ],
)
def test_bounds_of_masked_updates_that_cannot_be(terms):
    with pytest.raises(MalformedMessage):
        read(manifest(10, [verified_phase(9, bounds=terms)]))


@pytest.mark.parametrize(
    "terms",
    [{"join_window_s": float("nan")}, {"version": 0}, {"columns": ()}, {"title": ""}],
)
def test_a_manifest_beyond_its_types(terms):
    with pytest.raises(MalformedMessage):
        read(manifest(9, **terms))


def test_an_oversized_manifest():
    with pytest.raises(MalformedMessage, match="exceeds the limit"):
        read(bytes(MANIFEST_BYTES_MAX + 1))


def test_phases_whose_shares_no_message_carries_are_refused():
    """Owners would pay for rounds in which nothing can arrive."""
    size = committee_size(24, 4, 2, 4)
    wide = Bounds(5000, 0, 0, 2**20, 1, 10 * 2**16)
    plan = manifest(5000, [phase(5000, bounds=wide, kind="statistics")])
    with pytest.raises(RuleBroken, match="ask for fewer columns"):
        check_sizes(plan, size)
    check_sizes(manifest(3000, [phase(3000)]), size)


def test_groups_that_can_work():
    read(manifest(9, [phase(9, bounds=Bounds(9, 0, 0, SUM_MAX // 3), **TWO)]))
    read(manifest(9, [phase(9, groups=3, robust=Robust("trimmed", 1), cohort_min=2, target=6)]))


def test_masks_must_hold_the_largest_group_and_no_more():
    masks = choose(9, 2, 3, rings=SHARED_RINGS)
    key = {"key_length": masks.degree, "key_fields": len(masks.primes)}
    terms = {"bounds": Bounds(1, 0, 0, 1, **key), "masked": masks, **TWO}
    drawn = phase(9, drawn=6, **terms)
    assert drawn.group_size_max == 3
    read(manifest(9, [drawn]))
    with pytest.raises(RuleBroken, match="4 contributors are drawn for one sum"):
        read(manifest(9, [phase(9, drawn=7, **terms)]))


def test_shares_of_all_groups_must_fit_one_message():
    many = {"drawn": 96, "target": 96, "groups": 32, "cohort_min": 3}
    check_sizes(manifest(9, [phase(2_049)]), committee_size(7, 1, 1, 1))
    fewer = "; ask for fewer parameters, or for fewer groups"
    for size, length, mends in (
        (committee_size(7, 1, 1, 1), 2_048, fewer),  # keys of 32 groups are as long
        (committee_size(110, 21, 4, 5), 4_612, f"{fewer}, or mask the updates: masked = true"),
    ):
        check_sizes(manifest(9, [phase(length, **many)]), size)
        with pytest.raises(RuleBroken, match=rf"^phases\[1\]: .*{mends}$"):
            check_sizes(manifest(9, [phase(9), phase(length + 1, **many)]), size)


def test_fewer_groups_are_not_asked_for_where_one_is_too_many():
    size, terms = committee_size(110, 21, 4, 5), {"groups": 2, "drawn": 6, "cohort_min": 2}
    with pytest.raises(RuleBroken, match="; ask for fewer parameters, or mask the updates"):
        check_sizes(manifest(9, [phase(200_000, **terms)]), size)


def test_masked_keys_of_too_many_groups():
    masked = masked_phase(9)
    bounds = Bounds(3, 0, 0, 64, 1, 2**20, key_length=2048, key_fields=2)
    asked = replace(masked, bounds=bounds, groups=32)
    with pytest.raises(RuleBroken, match=r"; ask for fewer groups$"):
        check_sizes(manifest(9, [asked]), committee_size(7, 1, 1, 1))
    check_sizes(manifest(9, [replace(asked, groups=31)]), committee_size(7, 1, 1, 1))
