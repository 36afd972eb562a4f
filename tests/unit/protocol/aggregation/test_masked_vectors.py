"""Whole masked vectors as a round handles them: bytes in, bytes out, typed errors for others."""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import blocks_of, check_sum, in_ring

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.protocol.aggregation.masked.mask import hidden_segment, rings
from pnyx.protocol.aggregation.masked.parameters import (
    GROUP_BYTES,
    P0,
    P1,
    SHARED_RINGS,
    choose,
    layout,
)
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.aggregation.masked_verification.bounds import choose as choose_verified
from pnyx.protocol.aggregation.masked_verification.bounds import masks_of

CONTEXT = b"round 4, attempt 0"
COUNT = 3


class Summed:
    """Vectors of two segments, masked, and their sum."""

    def __init__(self, ring):
        one = layout(in_ring(ring, 1, 12, 24)).segment_values
        self.parameters = in_ring(ring, one + 5, 12, 24)
        self.code = VectorCode(self.parameters, CONTEXT)
        self.updates = masked.draw(self.parameters, COUNT)
        self.made = [self.mask(who) for who in range(COUNT)]
        self.vectors = [b"".join(each.segments) for each in self.made]
        self.hashes = [each.linear_hash for each in self.made]
        self.keys = tuple(
            sum(each.key[at] for each in self.made) % prime
            for at, prime in enumerate(self.parameters.primes)
        )
        self.total = self.sum_of(range(COUNT))

    def mask(self, who, seed=b"s" * 32):
        return self.code.mask(self.updates[who], seed, b"contributor %d" % who)

    def sum_of(self, chosen):
        return b"".join(sum_vectors(self.parameters, [iter([self.vectors[who]]) for who in chosen]))


@pytest.fixture(scope="module", params=[P0, P1], ids=["P0", "P1"])
def held(request):
    return Summed(request.param)


def test_from_updates_to_their_sum(held):
    assert len(held.made[0].segments) == 2
    for vector, name in zip(held.vectors, held.hashes, strict=True):
        assert len(vector) == held.code.vector_bytes
        assert held.code.linear_hashes(vector)[-1] == name
        assert held.code.read_linear_hash(name).shape == (3, 1024)
    assert len(held.total) == held.code.sum_bytes
    check_sum(held.code, held.total, held.hashes)
    found = held.code.unmask(held.total, held.keys, COUNT)
    assert found.tolist() == held.updates.sum(axis=0).tolist()


@pytest.mark.full
@pytest.mark.parametrize("ring", SHARED_RINGS, ids=["P0", "P1"])
def test_the_longest_vectors_in_all_their_segments(ring):
    """Ten million values: least, most, nothing and a ramp of two contributors, every sum exact."""
    parameters = in_ring(ring, 10_000_000, 12, 24)
    assert layout(parameters).segments > 19
    code = VectorCode(parameters, CONTEXT)
    ramp = np.arange(parameters.length) % 4095 - parameters.value_max
    least, nothing = np.full_like(ramp, -parameters.value_max), np.zeros_like(ramp)
    updates = [ramp, ramp[::-1].copy(), least, -least, nothing]
    made = [code.mask(each, b"s" * 32, b"contributor %d" % at) for at, each in enumerate(updates)]
    total = b"".join(sum_vectors(parameters, [iter(each.segments) for each in made]))
    check_sum(code, total, [each.linear_hash for each in made])
    keys = tuple(
        sum(each.key[at] for each in made) % prime for at, prime in enumerate(parameters.primes)
    )
    assert np.array_equal(code.unmask(total, keys, len(made)), sum(updates))


@pytest.mark.full
def test_the_largest_group_of_verified_vectors_at_their_largest_entries():
    """256 contributors, all with the largest entry of one sign or the other, in two segments.

    With nobody who colludes their bounds leave hardly any room: a sum comes to 99 % of p/2.
    """
    one = layout(in_ring(P0, 1, 12, 24)).segment_values
    bounds = choose_verified(one + 5, 256, 0)
    masks = masks_of(bounds)
    assert 256 * masks.value_max << masks.shift > 99 * (masks.primes[0] // 2) // 100
    assert (layout(masks).segments, masks.contributors_max) == (2, 256)
    code = VectorCode(masks, CONTEXT, bounds.largest_sum)
    update = np.where(np.arange(masks.length) % 2, masks.value_max, -masks.value_max)
    made = [code.mask(update, b"s" * 32, b"contributor %d" % who) for who in range(256)]
    total = b"".join(sum_vectors(masks, [iter(each.segments) for each in made]))
    check_sum(code, total, [each.linear_hash for each in made])
    keys = (sum(each.key[0] for each in made) % masks.primes[0],)
    assert np.array_equal(code.unmask(total, keys, 256), 256 * update)


def test_masking_again_gives_the_same_and_any_change_another_key(held):
    again = held.mask(0)
    assert again.segments == held.made[0].segments
    assert again.linear_hash == held.hashes[0]
    assert [part.tolist() for part in again.key] == [p.tolist() for p in held.made[0].key]
    others = [
        held.mask(0, b"t" * 32),
        held.mask(1),
        held.code.mask(held.updates[0], bytes(32), b""),
    ]
    keys = [each.key[0].tobytes() for each in (held.made[0], *others)]
    assert len(set(keys)) == len(keys)


def test_an_update_shows_nothing_in_its_representation(held):
    assert repr(held.made[0]) == "MaskedUpdate(...)"


@pytest.mark.parametrize("value", [2048, -2048])
def test_an_update_out_of_range_is_not_masked(held, value):
    update = held.updates[0].copy()
    update[-1] = value
    with pytest.raises(ValueError, match="12 bits"):
        held.code.mask(update, bytes(32), b"")


def cuts(data, size):
    return iter([data[start : start + size] for start in range(0, len(data), size)])


@pytest.mark.parametrize("size", [1 << 17, 999_983, 1 << 30])
def test_pieces_of_any_size_add_up_alike(held, size):
    """Parcels come in chunks, which end where they like within a segment."""
    vectors = [cuts(vector, size + who) for who, vector in enumerate(held.vectors)]
    assert b"".join(sum_vectors(held.parameters, vectors)) == held.total


def test_bytes_of_another_size_are_no_vector(held):
    first = held.vectors[0]
    for wrong in (b"", first[:-1], first + b"\0", first[: len(held.made[0].segments[0])]):
        with pytest.raises(MalformedMessage):
            held.code.linear_hashes(wrong)
        with pytest.raises(MalformedMessage):
            list(sum_vectors(held.parameters, [iter([first]), cuts(wrong, 1 << 17)]))


def test_residues_beyond_the_prime_are_no_vector(held):
    wrong = held.vectors[0][:-GROUP_BYTES] + b"\xff" * GROUP_BYTES
    with pytest.raises(MalformedMessage, match="not below the prime"):
        held.code.linear_hashes(wrong)
    with pytest.raises(MalformedMessage, match="not below the prime"):
        list(sum_vectors(held.parameters, [iter([wrong])]))


def test_reordered_and_duplicated_parts_have_another_linear_hash(held):
    """Blocks of equal size, so the bytes parse; each has a key of its own."""
    first = held.vectors[0]
    block = held.parameters.degree * 32 * 27 // 8
    exchanged = first[block : 2 * block] + first[:block] + first[2 * block :]
    twice = first[:block] * 2 + first[2 * block :]
    for wrong in (exchanged, twice):
        assert held.code.linear_hashes(wrong)[-1] != held.hashes[0]


def test_a_vector_means_nothing_in_another_context_or_set(held):
    for code in (
        VectorCode(held.parameters, b"round 5, attempt 0"),
        VectorCode(type(held.parameters)(*_narrower(held.parameters)), CONTEXT),
    ):
        assert len(held.vectors[0]) == code.vector_bytes  # the bytes would fit
        assert code.linear_hashes(held.vectors[0])[-1] != held.hashes[0]
        with pytest.raises(RuleBroken, match="not that of its contributions"):
            check_sum(code, held.total, held.hashes)


def _narrower(parameters):
    """The same set for values of a bit less."""
    fields = {name: getattr(parameters, name) for name in parameters.__struct_fields__}
    return (fields | {"value_bits": parameters.value_bits - 1}).values()


def test_malformed_sums_and_hashes_are_refused(held):
    total = held.total
    for wrong in (b"", total[:-1], total + b"\0"):
        with pytest.raises(MalformedMessage, match="wrong size"):
            check_sum(held.code, wrong, held.hashes)
    with pytest.raises(MalformedMessage, match="not below the prime"):
        check_sum(held.code, b"\xff" * GROUP_BYTES + total[GROUP_BYTES:], held.hashes)
    for wrong in (b"", held.hashes[0][:-1], b"\xff" * len(held.hashes[0])):
        with pytest.raises(MalformedMessage):
            check_sum(held.code, total, [wrong, *held.hashes[1:]])
        with pytest.raises(MalformedMessage):
            held.code.read_linear_hash(wrong)


def test_keys_of_other_vectors_open_nothing(held):
    for at in range(len(held.keys)):
        wrong = list(held.keys)
        wrong[at] = (wrong[at] + 1) % held.parameters.primes[at]
        assert held.code.unmask(held.total, tuple(wrong), COUNT) is None
    assert held.code.unmask(held.total, held.made[0].key, COUNT) is None


def test_keys_are_integers_of_any_width(held):
    """The committee decodes 64-bit integers, reduced; nothing else comes out of it."""
    assert {part.dtype for part in held.made[0].key} == {np.dtype(np.int64)}


# --- where updates are verified -------------------------------------------------------------------


def test_what_is_hidden_is_what_the_residues_hold_beyond_mask_and_offset():
    bounds = choose_verified(70_000, 8, 2)
    masks = masks_of(bounds)
    code = VectorCode(masks, b"c" * 32, bounds.largest_sum)
    update = np.arange(70_000) % 7 - 3
    made = code.mask(update, b"s" * 32, b"mine")
    assert len(made.blocks) == len(made.hidden) == bounds.blocks == 3
    blocks = blocks_of(code, b"".join(made.segments))
    assert all((one == other).all() for one, other in zip(blocks, made.blocks, strict=True))
    hidden = np.concatenate([each.reshape(-1) for each in made.hidden])
    assert not hidden[bounds.coefficients :].any()
    errors = hidden[:70_000] - bounds.scale * update
    assert 0 < np.abs(errors).max() < 60
    [prime] = masks.primes
    [ring], key = rings(masks), made.key[0].astype(np.uint32)
    masked_by = ring.mask(np.stack(list(code.public())), ring.transform_key(key))
    left = np.concatenate([b.reshape(-1) for b in blocks]).astype(np.int64)
    left -= masked_by.reshape(-1) + (masks.offset << masks.shift)
    sent = slice(0, bounds.coefficients)
    assert ((left[sent] - hidden[sent]) % prime == 0).all()
    assert VectorCode(masks, b"c" * 32).mask(update, b"s" * 32, b"mine").hidden == ()


def test_a_verified_sum_is_centred_and_refused_beyond_its_reach():
    """Values beyond what one of them may have by itself are summed; another key gives garbage."""
    bounds = choose_verified(50, 8, 2)
    code = VectorCode(masks_of(bounds), b"c" * 32, bounds.largest_sum)
    updates = [np.full(50, value) for value in (bounds.entry_max, bounds.entry_max, -3)]
    made = [code.mask(u, bytes([at]) * 32, b"x") for at, u in enumerate(updates)]
    total = b"".join(sum_vectors(code.parameters, [iter(each.segments) for each in made]))
    [prime] = code.parameters.primes
    key = sum(each.key[0] for each in made) % prime
    assert code.unmask(total, (key,), 3).tolist() == sum(updates).tolist()
    assert code.unmask(total, ((key + 1) % prime,), 3) is None


def test_a_vector_is_verified_a_value_a_coefficient():
    masks = choose(1000, 4, 4)
    assert masks.slots > 1
    with pytest.raises(ValueError, match="one value"):
        hidden_segment(masks, bytes(32), 0, np.zeros(1000, dtype=np.int64))
