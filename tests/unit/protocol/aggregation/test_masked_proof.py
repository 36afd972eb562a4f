"""One masked contribution: its proof, its payloads, its answers, and what a repeated call gives."""

from math import isqrt

import numpy as np
import pytest
from tests.support.masked_forger import hidden, masked, public, update

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.hashing import merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import verdicts as decoding
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification import answers, payloads, proof, verdicts
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
    layout,
)
from pnyx.protocol.aggregation.ranges import project
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.aggregation.verification import codes
from pnyx.protocol.selection import committee_size

SIZE = committee_size(13, 2, 3)
BOUNDS = MaskedBounds(33_000, 4096, 1024, 24, 6, 512)
PLAN = layout(BOUNDS, SIZE)
KEY = Sampler(b"k" * 32, "test").field_elements(MODULUS, RING_DEGREE)
HIDDEN = hidden(BOUNDS, update(BOUNDS, 0.9, 1), 1)
CHALLENGE = b"c" * 32


def prove(
    seed: bytes = b"seed", context: bytes = b"context", root: bytes = b"r" * 32, key: int = 0
):
    return proof.prove(HIDDEN, KEY ^ key, root, BOUNDS, SIZE, seed, context)


PROVEN = prove()
CLAIM = payloads.claim(3, b"context", PROVEN.binding, PROVEN.published)


def shares(member: int):
    return payloads.read_payload(PROVEN.payloads[member], member, BOUNDS, SIZE)


def opened(columns: slice, at: int = 0) -> np.ndarray:
    """The slots of some columns, row by row."""
    table = np.stack([shares(m)[at][columns] for m in range(SIZE.size)])
    return codes(SIZE)[at][0].reconstruct(range(SIZE.size), table)


def test_what_is_shared():
    """Key, digits of the sketch, slack bits and mask; the last three the same in both fields."""
    key = opened(slice(0, PLAN.key)).reshape(-1)
    assert key[:RING_DEGREE].tolist() == KEY.tolist()
    sketch = proof.Sketch(CLAIM.sketched).apply(HIDDEN)
    upper, lower, bits = proof.short_integers(sketch, BOUNDS)
    assert (BOUNDS.digit * upper + lower == sketch).all()
    assert set(bits.tolist()) <= {0, 1}
    rows = []
    for at, field in enumerate(FIELDS):
        start = PLAN.start(at)
        for row, width in ((upper, PLAN.digits), (lower, PLAN.digits), (bits, PLAN.bits)):
            found = field.centred(opened(slice(start, start + width), at)).reshape(-1)
            assert found[: len(row)].tolist() == row.tolist()
            assert not found[len(row) :].any()
            start += width
        rows.append(field.centred(opened(PLAN.mask(at), at)).reshape(-1))
    assert (rows[0] == rows[1]).all()
    short = field.centred(opened(slice(PLAN.start(1), PLAN.start(1) + PLAN.short), 1))
    published = np.frombuffer(PROVEN.published, "<i4")
    hides = project(CLAIM.commitment, short.reshape(-1)) + rows[0][:256]
    assert published.tolist() == hides.tolist()


def test_repeating_a_call_gives_the_same_contribution_and_any_other_an_independent_one():
    assert prove() == PROVEN
    others = [prove(seed=b"other"), prove(context=b"other"), prove(root=b"o" * 32), prove(key=1)]
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
    at = 1
    table = np.stack(
        [
            payloads.read_payload(p, m, BOUNDS, SIZE)[at][PLAN.mask(at)]
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
    assert verdicts._verdict(holds, frozenset()).accepted
    wanted = {(0, 0): Rule.LINK, (0, 1): Rule.BOUND, (1, 0): Rule.RANGE, (1, 1): Rule.BOUND}
    for (field, check), rule in wanted.items():
        for repetition in range(4):
            one = holds.copy()
            one[field, check, repetition] = False
            found = verdicts._verdict(one, frozenset({3}))
            assert found == decoding.Verdict(accepted=False, rule=rule, off=frozenset({3}))
    assert verdicts._verdict(~holds, frozenset()).rule is Rule.RANGE
    holds[0] = False
    assert verdicts._verdict(holds, frozenset()).rule is Rule.BOUND, "whatever aggregators say"


def test_key_shares_are_those_of_the_sketch():
    for member, payload in enumerate(PROVEN.payloads):
        key_proof = PROVEN.key_proofs[member]
        payloads.check_key_shares(payload, member, key_proof, PROVEN.binding, BOUNDS, SIZE)
        leaf = len(payloads.key_leaf(payload, member, PLAN, SIZE))
        for at in (0, leaf - 1):
            other = bytearray(payload)
            other[at] ^= 1
            with pytest.raises(RuleBroken, match="key share"):
                payloads.check_key_shares(
                    bytes(other), member, key_proof, PROVEN.binding, BOUNDS, SIZE
                )
        with pytest.raises(RuleBroken, match="key share"):
            payloads.check_key_shares(
                payload, (member + 1) % SIZE.corrupt_max, key_proof, PROVEN.binding, BOUNDS, SIZE
            )


def test_commitments_bind_everything():
    first = payloads.sketch_commitment(b"c", b"v", b"k", b"s")
    others = {
        payloads.sketch_commitment(*parts)
        for parts in ((b"x", b"v", b"k", b"s"), (b"c", b"x", b"k", b"s"), (b"c", b"v", b"x", b"s"))
    }
    others.add(payloads.sketch_commitment(b"c", b"v", b"k", b"x"))
    assert len(others | {first}) == 5
    assert merkle_root(PROVEN.payloads) == PROVEN.binding.shares_root
    assert payloads.commitment(first, b"a") != payloads.commitment(first, b"b")
    assert payloads.commitment(first, b"a") != payloads.commitment(b"x" * 32, b"a")


def test_the_challenge_binds_contributor_commitment_and_published_vector():
    kappa = answers.weights(CLAIM, CHALLENGE, 2).kappa
    for other in (
        payloads.claim(4, b"context", PROVEN.binding, PROVEN.published),
        payloads.claim(3, b"other", PROVEN.binding, PROVEN.published),
        payloads.claim(3, b"context", PROVEN.binding, bytes(1024)),
    ):
        assert (answers.weights(other, CHALLENGE, 2).kappa != kappa).any()
    assert (answers.weights(CLAIM, b"d" * 32, 2).kappa != kappa).any()


def test_sizes_of_payloads():
    for member, payload in enumerate(PROVEN.payloads):
        assert len(payload) == payloads.payload_bytes(member, BOUNDS, SIZE)
    assert len(PROVEN.payloads[0]) == len(PROVEN.payloads[1]) == 32
    assert len(PROVEN.payloads[2]) == 16 + 4 * (PLAN.columns(0) + PLAN.columns(1))


@pytest.mark.parametrize("member", [0, 5])
def test_payloads_of_another_size(member):
    for payload in (b"", PROVEN.payloads[member][:-1], PROVEN.payloads[member] + b"x"):
        with pytest.raises(MalformedMessage, match="wrong size"):
            payloads.read_payload(payload, member, BOUNDS, SIZE)
    with pytest.raises(MalformedMessage, match="wrong size"):
        payloads.read_payload(PROVEN.payloads[5 - member], member, BOUNDS, SIZE)


def test_elements_that_are_not_reduced():
    full = bytearray(PROVEN.payloads[5])
    for at, field in enumerate(FIELDS):
        start = 16 + 4 * at * PLAN.columns(0)
        bad = bytearray(full)
        bad[start : start + 4] = field.modulus.to_bytes(4, "little")
        with pytest.raises(MalformedMessage, match="below the prime"):
            payloads.read_payload(bytes(bad), 5, BOUNDS, SIZE)


def test_proofs_do_not_show_in_logs():
    assert repr(PROVEN) == "Proven(...)"


def test_vectors_of_another_shape():
    for parts, key in ((HIDDEN[:1], KEY), (HIDDEN, KEY[:-1])):
        with pytest.raises(ValueError, match="blocks of the bounds"):
            proof.prove(parts, key, bytes(32), BOUNDS, SIZE, b"seed", b"context")


def test_an_honest_contributor_over_a_threshold_draws_another_sketch(monkeypatch):
    """At the bound itself half of the sketches are over; it is accepted all the same."""
    tries = []
    short = proof.short_integers

    def counted(sketch, bounds):
        tries.append(short(sketch, bounds) is not None)
        return short(sketch, bounds)

    monkeypatch.setattr(proof, "short_integers", counted)
    z = hidden(BOUNDS, update(BOUNDS, 1.0, 5), 5)
    root = merkle_root([block.tobytes() for block in masked(z, KEY)])
    for seed in range(8):
        proven = proof.prove(z, KEY, root, BOUNDS, SIZE, bytes([seed]), b"context")
        assert tries[-1]
        claim = payloads.claim(3, b"context", proven.binding, proven.published)
        assert judged(claim, proven, z).accepted
    assert len(tries) > 8


def judged(claim, proven, z, mangle=None) -> decoding.Verdict:
    row = answers.key_weights(claim, CHALLENGE, BOUNDS, SIZE, public(BOUNDS.blocks))
    table = {}
    for member, payload in enumerate(proven.payloads):
        share = payloads.read_payload(payload, member, BOUNDS, SIZE)
        found = answers.answers(share, member, claim, CHALLENGE, row, BOUNDS, SIZE)
        table[member] = {claim.contributor: found}
    sketches = {claim.contributor: verdicts.masked_sketch(claim, masked(z, KEY), BOUNDS)}
    found = verdicts.judge(SIZE, BOUNDS, [claim], sketches, CHALLENGE, table)
    return found[claim.contributor]


def test_coefficients_of_the_key_are_those_of_the_definition():
    """κ·P·(a·s) = c·s, for a key of one coefficient and for any other."""
    kappa = answers.weights(CLAIM, CHALLENGE, PLAN.repetitions).kappa
    row = answers.key_weights(CLAIM, CHALLENGE, BOUNDS, SIZE, public(BOUNDS.blocks))
    one = np.zeros(RING_DEGREE, dtype=np.int64)
    one[7] = 1
    for key in (KEY, one):
        sketch = verdicts.masked_sketch(CLAIM, masked(np.zeros_like(HIDDEN), key), BOUNDS)
        left = FIELDS[0].matmul(kappa, sketch[:, np.newaxis])
        assert (left == FIELDS[0].matmul(row, key[:, np.newaxis])).all()


def test_entries_that_are_not_sent_do_not_count():
    """33,000 values take 33,792 coefficients: whatever stands beyond in the last block."""
    assert (BOUNDS.coefficients, BOUNDS.blocks, BOUNDS.sent(0), BOUNDS.sent(1)) == (
        33_792,
        2,
        32_768,
        1024,
    )
    vector = masked(HIDDEN, KEY)
    sketch = verdicts.masked_sketch(CLAIM, vector, BOUNDS)
    cut = vector.copy()
    cut.reshape(-1)[BOUNDS.coefficients :] = 0
    assert (verdicts.masked_sketch(CLAIM, cut, BOUNDS) == sketch).all()
    cut.reshape(-1)[BOUNDS.coefficients - 1] ^= 1
    assert (verdicts.masked_sketch(CLAIM, cut, BOUNDS) != sketch).any()
    beyond = HIDDEN.copy()
    beyond.reshape(-1)[BOUNDS.coefficients] = 1
    with pytest.raises(ValueError, match="not sent"):
        proof.prove(beyond, KEY, bytes(32), BOUNDS, SIZE, b"seed", b"context")
    with pytest.raises(ValueError, match="blocks of the bounds"):
        verdicts.masked_sketch(CLAIM, vector[:1], BOUNDS)


@pytest.mark.parametrize("offset", [1, BOUNDS.scale << 11, MODULUS - 1])
def test_an_offset_of_all_values_is_taken_away(offset):
    vector = masked(HIDDEN, KEY)
    lifted = ((vector.astype(np.int64) + offset) % MODULUS).astype(np.uint32)
    wanted = verdicts.masked_sketch(CLAIM, vector, BOUNDS)
    assert (verdicts.masked_sketch(CLAIM, lifted, BOUNDS, offset) == wanted).all()
    assert (verdicts.masked_sketch(CLAIM, lifted, BOUNDS) != wanted).any()


def test_a_slack_of_sums_that_wrap_is_refused_before_anything_is_squared():
    """A digit of 2^32 has a square that is 0 in 64 bits."""
    sketch = np.zeros(256, dtype=np.int64)
    sketch[0] = BOUNDS.digit << 32
    assert proof.short_integers(sketch, BOUNDS) is None
    assert proof.short_integers(-sketch, BOUNDS) is None


def test_malformed_sketches():
    data = verdicts.pack_sketch(np.arange(256))
    assert verdicts.read_sketch(data).tolist() == list(range(256))
    for bad in (data[:-1], data + b"x", b"\xff" * 1024):
        with pytest.raises(MalformedMessage):
            verdicts.read_sketch(bad)
    with pytest.raises(MalformedMessage, match="256 entries"):
        verdicts.judge(SIZE, BOUNDS, [CLAIM], {3: np.zeros(3, dtype=np.int64)}, CHALLENGE, {})


def test_no_answers_are_undecided():
    sketches = {3: np.zeros(256, dtype=np.int64)}
    found = verdicts.judge(SIZE, BOUNDS, [CLAIM], sketches, CHALLENGE, {})
    assert found == {3: decoding.UNDECIDED}


def test_rules_that_convict():
    assert [rule for rule in Rule if not rule.convicts] == [Rule.LINK, Rule.UNDECIDED]
