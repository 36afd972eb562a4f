"""One masked contribution: its proof, its payloads, its answers, and what a repeated call gives."""

from math import isqrt

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.masked_forger import hidden, masked, public, update

from pnyx.errors import MalformedMessage
from pnyx.primitives.hashing import merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, direct, payloads, verdicts, verification
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification import commitments, proof, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.aggregation.ranges import project
from pnyx.protocol.aggregation.verdicts import Rule, Verdict
from pnyx.protocol.aggregation.verification import codes
from pnyx.protocol.selection import committee_size

SIZE = committee_size(13, 2, 3)
MASKED = MaskedBounds(33_000, 4096, 1024, 24, 6, 512)
W = MASKED.norm_scaled
BOUNDS = Bounds(3, 0, 0, 100, key_length=RING_DEGREE, key_fields=1, masked_norm_max=W)
PLAN = layout(BOUNDS, SIZE)
COUNTS = np.array([7, 0, 100])
KEY = Sampler(b"k" * 32, "test").field_elements(MODULUS, RING_DEGREE)
HIDDEN = hidden(MASKED, update(MASKED, 0.9, 1), 1)
VECTOR = masked(HIDDEN, KEY)
CHALLENGE = b"c" * 32


def prove(
    seed: bytes = b"seed",
    context: bytes = b"context",
    root: bytes = b"r" * 32,
    key: int = 0,
    counts: np.ndarray = COUNTS,
):
    return proof.prove_masked(HIDDEN, KEY ^ key, root, counts, MASKED, BOUNDS, SIZE, seed, context)


def claimed(proven, z=HIDDEN, **changes) -> coefficients.Claim:
    """What a header of this contribution claims."""
    stated = sketch.masked_sketch(proven.sketched, list(masked(z, KEY)), MASKED)
    terms = {
        "contributor": 3,
        "context": b"context",
        "vector_root": b"r" * 32,
        "key_root": proven.key_root,
        "salt": proven.salt,
        "shares_root": merkle_root(proven.payloads),
        "published": proven.published,
        "sketch": FIELDS[0].pack(stated),
        **changes,
    }
    return commitments.masked_claim(terms.pop("contributor"), terms.pop("context"), **terms)


PROVEN = prove()
CLAIM = claimed(PROVEN)


def shares(member: int):
    return payloads.read_share(PROVEN.payloads[member], member, CLAIM, BOUNDS, SIZE)


def opened(columns: slice, at: int = 0) -> np.ndarray:
    """The slots of some columns, row by row."""
    table = np.stack([shares(m)[at][columns] for m in range(SIZE.size)])
    return codes(SIZE)[at][0].reconstruct(range(SIZE.size), table)


def test_what_is_shared():
    """Key, digits of the sketch, bits and mask; the last three the same in both fields."""
    key = opened(slice(PLAN.columns, PLAN.columns + PLAN.keys[0])).reshape(-1)
    assert key[:RING_DEGREE].tolist() == KEY.tolist()
    assert len(shares(5)[1]) == PLAN.columns, "the key lies in the ring's field alone"
    found = sketch.Sketch(CLAIM.sketched).apply(HIDDEN)
    upper, lower = proof.digits_of(found, MASKED)
    assert (MASKED.digit * upper + lower == found).all()
    rows = []
    for at, field in enumerate(FIELDS):
        for nth, row in enumerate((upper, lower)):
            columns = slice(nth * PLAN.digits, (nth + 1) * PLAN.digits)
            shared = field.centred(opened(columns, at)).reshape(-1)
            assert shared[: len(row)].tolist() == row.tolist()
            assert not shared[len(row) :].any()
        bits = opened(slice(PLAN.slack_start, PLAN.short), at)
        assert set(bits.reshape(-1).tolist()) == {0, 1}
        rows.append(field.centred(opened(slice(PLAN.short, PLAN.data), at).reshape(-1)))
    assert (rows[0] == rows[1]).all()
    short = field.centred(opened(slice(0, PLAN.short), 1))
    assert (short == verification.short_integers(COUNTS, BOUNDS, SIZE, (upper, lower))).all()
    published = np.frombuffer(PROVEN.published, "<i4")
    hides = project(CLAIM.commitment, short.reshape(-1)) + rows[0][:256]
    assert published.tolist() == hides.tolist()


def test_what_is_added_up_are_counts_and_keys():
    given = [[shares(m)] * 2 for m in range(SIZE.size)]
    released = {m: verification.sum_share(each, BOUNDS, SIZE) for m, each in enumerate(given)}
    length, keys = verification.summed_length(BOUNDS, SIZE), verification.key_widths(BOUNDS, SIZE)
    read = {m: direct.read_released(d, length, SIZE.packing, keys) for m, d in released.items()}
    decoded = direct.decode_sum(SIZE, read, length)
    total = verification.summed_vector(decoded.total, BOUNDS, SIZE)
    assert total.tolist() == (2 * COUNTS).tolist()
    assert decoded.keys[0][:RING_DEGREE].tolist() == (2 * KEY % MODULUS).tolist()
    assert len(released[0]) == verification.released_bytes(BOUNDS, SIZE)


def test_repeating_a_call_gives_the_same_contribution_and_any_other_an_independent_one():
    assert prove() == PROVEN
    others = [prove(seed=b"other"), prove(context=b"other"), prove(root=b"o" * 32), prove(key=1)]
    others.append(prove(counts=COUNTS[::-1]))
    for other in others:
        assert other.published != PROVEN.published
        for mine, theirs in zip(PROVEN.payloads, other.payloads, strict=True):
            assert mine[:16] != theirs[:16]


def test_a_mask_that_was_rejected_is_never_shared(monkeypatch):
    """Every try has a mask of its own; what is shared is the last one."""
    tried = []
    hides = proof.hides

    def thrice(sampler, hidden, masked, width):
        tried.append(masked - hidden)
        return len(tried) > 3 and hides(sampler, hidden, masked, width)

    monkeypatch.setattr(proof, "hides", thrice)
    proven = prove()
    assert len(tried) > 3
    assert all((tried[0] != other).any() for other in tried[1:])
    at, claim = 1, claimed(proven)
    table = np.stack(
        [
            payloads.read_share(p, m, claim, BOUNDS, SIZE)[at][PLAN.short : PLAN.data]
            for m, p in enumerate(proven.payloads)
        ]
    )
    mask = FIELDS[at].centred(codes(SIZE)[at][0].reconstruct(range(SIZE.size), table))
    assert mask.reshape(-1)[:256].tolist() == tried[-1].tolist()


def test_what_is_published_is_within_its_bound_and_rejection_decides(monkeypatch):
    """Masks are redrawn where R'X or v is too long, before the coin of the rejection is thrown."""
    step, seen = BOUNDS.range_step, []
    monkeypatch.setattr(proof, "hides", lambda *args: bool(seen.append(args)) or len(seen) > 1)
    gaussian, projected, calls = proof.discrete_gaussian, proof.project, []

    def long_at_first(*args):
        calls.append("mask")
        mask = gaussian(*args)
        if len(calls) == 1:
            mask[5] = 2 * step.published_max
        return mask

    def too_long_then(*args):
        found = projected(*args)
        if len(calls) == 2:
            found[:] = isqrt(step.projection_squared_max // 256) + 1
        return found

    monkeypatch.setattr(proof, "discrete_gaussian", long_at_first)
    monkeypatch.setattr(proof, "project", too_long_then)
    proven = prove()
    assert (len(calls), len(seen)) == (4, 2), "two too long, one rejected, one published"
    for _, hides, masked_by, width in seen:
        assert width == step.mask_width
        assert int(hides @ hides) <= step.projection_squared_max
        assert np.abs(masked_by).max() <= step.published_max
    assert proven.published == seen[-1][2].astype("<i4").tobytes()


def test_every_test_counts():
    """One false sum, in any field and repetition, and a contribution is rejected for it."""
    holds = np.ones((2, 2, 4), dtype=np.bool_)
    assert verdicts._linked_verdict(holds, frozenset()).accepted
    wanted = {(0, 0): Rule.LINK, (0, 1): Rule.BOUND, (1, 0): Rule.RANGE, (1, 1): Rule.BOUND}
    for (field, check), rule in wanted.items():
        for repetition in range(4):
            one = holds.copy()
            one[field, check, repetition] = False
            found = verdicts._linked_verdict(one, frozenset({3}))
            assert found == Verdict(accepted=False, rule=rule, off=frozenset({3}))
    assert verdicts._linked_verdict(~holds, frozenset()).rule is Rule.RANGE
    holds[0] = False
    assert verdicts._linked_verdict(holds, frozenset()).rule is Rule.BOUND, "the surer one"


def test_key_shares_are_those_of_the_sketch():
    """Any other key share, or proof, makes a payload that cannot be read."""
    for member, payload in enumerate(PROVEN.payloads):
        body = len(payload) - 32 * (4 if member < 12 else 2)  # thirteen leaves
        key = 0 if member < SIZE.corrupt_max else body - 4 * PLAN.keys[0]
        for at in (0, key, body - 1, body, len(payload) - 1):
            other = bytearray(payload)
            other[at] ^= 1
            with pytest.raises(MalformedMessage, match="share of a key"):
                payloads.read_share(bytes(other), member, CLAIM, BOUNDS, SIZE)
    with pytest.raises(MalformedMessage, match="share of a key"):
        payloads.read_share(PROVEN.payloads[1], 0, CLAIM, BOUNDS, SIZE)


def test_a_share_is_written_again_as_it_was_dealt():
    for member, payload in enumerate(PROVEN.payloads):
        opener = payloads.Opener(payload, BOUNDS, SIZE, member)
        assert opener.payload(shares(member), BOUNDS, SIZE) == payload


def test_commitments_bind_everything():
    first = commitments.sketch_commitment(b"c", b"v", b"k", b"s")
    others = {
        commitments.sketch_commitment(*parts)
        for parts in ((b"x", b"v", b"k", b"s"), (b"c", b"x", b"k", b"s"), (b"c", b"v", b"x", b"s"))
    }
    others.add(commitments.sketch_commitment(b"c", b"v", b"k", b"x"))
    assert len(others | {first}) == 5
    assert CLAIM.sketched == PROVEN.sketched
    assert commitments.commitment(first, b"a") != commitments.commitment(first, b"b")
    assert commitments.commitment(first, b"a") != commitments.commitment(b"x" * 32, b"a")


def test_the_challenge_binds_all_that_is_signed():
    kappa = coefficients.weights(CLAIM, CHALLENGE, BOUNDS, 2).kappa
    for changes in (
        {"contributor": 4},
        {"context": b"other"},
        {"published": bytes(1024)},
        {"sketch": bytes(1024)},
        {"salt": bytes(16)},
    ):
        other = claimed(PROVEN, **changes)
        assert (coefficients.weights(other, CHALLENGE, BOUNDS, 2).kappa != kappa).any()
    assert (coefficients.weights(CLAIM, b"d" * 32, BOUNDS, 2).kappa != kappa).any()


def test_sizes_of_payloads():
    for member, payload in enumerate(PROVEN.payloads):
        assert len(payload) == payloads.payload_bytes(BOUNDS, SIZE, member)
    assert len(PROVEN.payloads[0]) == len(PROVEN.payloads[1]) == 32 + 4 * 32
    assert len(PROVEN.payloads[2]) == 16 + 4 * (2 * PLAN.columns + PLAN.keys[0]) + 4 * 32
    assert payloads.payload_bytes_max(BOUNDS, SIZE) == len(PROVEN.payloads[2])


@pytest.mark.parametrize("member", [0, 5])
def test_payloads_of_another_size(member):
    for payload in (b"", PROVEN.payloads[member][:-1], PROVEN.payloads[member] + b"x"):
        with pytest.raises(MalformedMessage, match="wrong size"):
            payloads.read_share(payload, member, CLAIM, BOUNDS, SIZE)
    with pytest.raises(MalformedMessage, match="wrong size"):
        payloads.read_share(PROVEN.payloads[5 - member], member, CLAIM, BOUNDS, SIZE)


def test_elements_that_are_not_reduced():
    full = bytearray(PROVEN.payloads[5])
    for at, field in enumerate(FIELDS):
        start = 16 + 4 * at * PLAN.columns
        bad = bytearray(full)
        bad[start : start + 4] = field.modulus.to_bytes(4, "little")
        with pytest.raises(MalformedMessage, match="below the prime"):
            payloads.read_share(bytes(bad), 5, CLAIM, BOUNDS, SIZE)


def test_proofs_do_not_show_in_logs():
    assert repr(PROVEN) == "MaskedProof(...)"


def test_vectors_of_another_shape():
    for parts, key in ((HIDDEN[:1], KEY), (HIDDEN, KEY[:-1])):
        with pytest.raises(ValueError, match="blocks of the bounds"):
            proof.prove_masked(
                parts, key, bytes(32), COUNTS, MASKED, BOUNDS, SIZE, b"seed", b"context"
            )
    with pytest.raises(ValueError, match="not within the bounds"):
        prove(counts=COUNTS + 1)


def test_an_honest_contributor_over_a_threshold_draws_another_sketch(monkeypatch):
    """At the bound itself half of the sketches are over; it is accepted all the same."""
    tries = []
    honest = proof.digits_of

    def counted(found, bounds):
        tries.append(honest(found, bounds) is not None)
        return honest(found, bounds)

    monkeypatch.setattr(proof, "digits_of", counted)
    z = hidden(MASKED, update(MASKED, 1.0, 5), 5)
    for seed in range(8):
        proven = proof.prove_masked(
            z, KEY, b"r" * 32, COUNTS, MASKED, BOUNDS, SIZE, bytes([seed]), b"context"
        )
        assert tries[-1]
        assert judged(claimed(proven, z), proven.payloads).accepted
    assert len(tries) > 8


def row_of(claim) -> np.ndarray:
    return key_weights(claim, CHALLENGE, MASKED, BOUNDS, SIZE, public(MASKED.blocks))


def judged(claim, dealt, **changes) -> Verdict:
    row, given = row_of(claim), {}
    for member, payload in enumerate(dealt):
        share = payloads.read_share(payload, member, claim, BOUNDS, SIZE)
        given[member] = verification.answers(share, member, claim, CHALLENGE, BOUNDS, SIZE, row)
    return verdicts.judge_one(SIZE, BOUNDS, replace(claim, **changes), CHALLENGE, given)


def test_a_sketch_or_published_vector_that_cannot_be_read():
    assert judged(CLAIM, PROVEN.payloads).accepted
    long = (BOUNDS.published_max + 1).to_bytes(4, "little") + PROVEN.published[4:]
    for changes in ({"published": long}, {"published": b""}, {"sketch": b"\xff" * 1024}):
        found = judged(CLAIM, PROVEN.payloads, **changes)
        assert found == Verdict(accepted=False, rule=Rule.RANGE)


def test_coefficients_are_for_verified_updates_and_theirs():
    with pytest.raises(ValueError, match="ties a key"):
        verification.answers(shares(3), 3, CLAIM, CHALLENGE, BOUNDS, SIZE)
    plain = Bounds(3, 0, 0, 100)
    with pytest.raises(ValueError, match="ties a key"):
        verification.answers(shares(3), 3, CLAIM, CHALLENGE, plain, SIZE, row_of(CLAIM))


def test_coefficients_of_the_key_are_those_of_the_definition():
    """κ·P·(a·s) = c·s, for a key of one coefficient and for any other."""
    kappa = coefficients.weights(CLAIM, CHALLENGE, BOUNDS, PLAN.repetitions).kappa
    row = row_of(CLAIM)
    one = np.zeros(RING_DEGREE, dtype=np.int64)
    one[7] = 1
    for key in (KEY, one):
        mask = masked(np.zeros_like(HIDDEN), key)
        found = sketch.masked_sketch(CLAIM.sketched, list(mask), MASKED)
        left = FIELDS[0].matmul(kappa, found[:, np.newaxis])
        assert (left == FIELDS[0].matmul(row, key[:, np.newaxis])).all()


def test_entries_that_are_not_sent_do_not_count():
    """33,000 values take 33,792 coefficients: whatever stands beyond in the last block."""
    assert (MASKED.coefficients, MASKED.blocks, MASKED.sent(0), MASKED.sent(1)) == (
        33_792,
        2,
        32_768,
        1024,
    )

    def sketched(vector):
        return sketch.masked_sketch(CLAIM.sketched, list(vector), MASKED)

    cut = VECTOR.copy()
    cut.reshape(-1)[MASKED.coefficients :] = 0
    assert (sketched(cut) == sketched(VECTOR)).all()
    cut.reshape(-1)[MASKED.coefficients - 1] ^= 1
    assert (sketched(cut) != sketched(VECTOR)).any()
    beyond = HIDDEN.copy()
    beyond.reshape(-1)[MASKED.coefficients] = 1
    with pytest.raises(ValueError, match="not sent"):
        proof.prove_masked(
            beyond, KEY, bytes(32), COUNTS, MASKED, BOUNDS, SIZE, b"seed", b"context"
        )
    with pytest.raises(ValueError, match="blocks of the bounds"):
        sketched(VECTOR[:1])


@pytest.mark.parametrize("offset", [1, MASKED.scale << 11, MODULUS - 1])
def test_an_offset_of_all_values_is_taken_away(offset):
    lifted = ((VECTOR.astype(np.int64) + offset) % MODULUS).astype(np.uint32)
    wanted = sketch.masked_sketch(CLAIM.sketched, list(VECTOR), MASKED)
    found = sketch.masked_sketch(CLAIM.sketched, list(lifted), MASKED, offset)
    assert (found == wanted).all()
    assert (sketch.masked_sketch(CLAIM.sketched, list(lifted), MASKED) != wanted).any()


def test_digits_of_sums_that_wrap_are_refused_before_anything_is_squared():
    """A digit of 2^32 has a square that is 0 in 64 bits."""
    found = np.zeros(256, dtype=np.int64)
    found[0] = MASKED.digit << 32
    assert proof.digits_of(found, MASKED) is None
    assert proof.digits_of(-found, MASKED) is None


def test_malformed_sketches():
    data = FIELDS[0].pack(np.arange(256))
    assert verification.check_sketch(data, BOUNDS).tolist() == list(range(256))
    for bad in (data[:-1], data + b"x", b"\xff" * 1024, b""):
        with pytest.raises(MalformedMessage):
            verification.check_sketch(bad, BOUNDS)
    with pytest.raises(MalformedMessage):
        verification.check_sketch(data, Bounds(3, 0, 0, 100))


def test_no_answers_are_undecided():
    assert verdicts.judge_one(SIZE, BOUNDS, CLAIM, CHALLENGE, {}) == verdicts.UNDECIDED


def test_rules_that_convict():
    assert [rule for rule in Rule if not rule.convicts] == [Rule.UNDECIDED]


def test_the_sketch_of_the_masked_vector_comes_with_the_proof():
    """In one pass with that of what it hides: as aggregators compute it from the vector alone."""
    proven = proof.prove_masked(
        HIDDEN,
        KEY,
        b"r" * 32,
        COUNTS,
        MASKED,
        BOUNDS,
        SIZE,
        b"seed",
        b"context",
        vector=list(VECTOR),
        offset=7,
    )
    wanted = sketch.masked_sketch(proven.sketched, list(VECTOR), MASKED, 7)
    assert proven.sketch == FIELDS[0].pack(wanted)
    assert proven.sketches == (proven.sketch,)
    assert replace(proven, sketches=()) == prove(), "nothing else changes"
