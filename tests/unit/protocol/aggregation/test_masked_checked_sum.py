"""The linear hash of a sum is that of its contributions, and a claim is signed in one context."""

import numpy as np
import pytest
from msgspec import structs
from tests.support import masked
from tests.support.masked import CONTEXT, in_ring

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken
from pnyx.primitives.codec import decode, encode
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.aggregation.masked.checked_sum import (
    Claim,
    HashOfVector,
    SumCheck,
    add_digests,
    check_claim,
    open_claim,
    pack_digest,
    sign_claim,
)
from pnyx.protocol.aggregation.masked.parameters import P0, P1, RINGS

SIGNING_KEY = SigningKey(bytes(32))


def hash_of(parameters, integers, context=CONTEXT):
    gathered = HashOfVector(parameters, context)
    for chunk, part in enumerate(integers):
        gathered.add_chunk(chunk, part)
    return gathered


def masked_by(parameters, count):
    vectors = masked.draw(parameters, count)
    return [
        masked.mask(parameters, masked.key_of(parameters, who, vector), vector)
        for who, vector in enumerate(vectors)
    ]


def claim_of(parameters, residues, contributor=7):
    linear_hash = pack_digest(hash_of(parameters, residues).value)
    return Claim(contributor, bytes(32), linear_hash, b"\1" * 32)


@pytest.mark.parametrize("ring", RINGS, ids=["P0", "P1", "P2"])
def test_the_hash_of_a_sum_is_the_sum_of_the_hashes(ring):
    parameters = in_ring(ring, 40_000, 11, 40)
    contributions = masked_by(parameters, 2)
    claimed = [hash_of(parameters, each).value for each in contributions]
    sums = masked.add(parameters, [contributions[who % 2] for who in range(40)])
    check = SumCheck(parameters, CONTEXT, {who: claimed[who % 2] for who in range(40)})
    for chunk, part in enumerate(sums):
        check.add_chunk(chunk, part)
    check.finish()
    assert np.array_equal(hash_of(parameters, sums).value, add_digests(claimed * 20))


def test_chunks_are_hashed_once_each_in_any_order_and_all_of_them():
    parameters = in_ring(P0, 300_000, 12, 24)
    [residues] = masked_by(parameters, 1)
    assert len(residues) == 2
    gathered = HashOfVector(parameters, CONTEXT)
    gathered.add_chunk(1, residues[1])
    with pytest.raises(RuleBroken, match="not complete"):
        check_claim(gathered, hash_of(parameters, residues).value)
    for chunk in (1, 2, -1):
        with pytest.raises(ValueError, match="hashed once"):
            gathered.add_chunk(chunk, residues[0])
    gathered.add_chunk(0, residues[0])
    check_claim(gathered, hash_of(parameters, residues).value)
    exchanged = hash_of(parameters, residues).value
    exchanged[2, 1023] ^= 1
    with pytest.raises(RuleBroken, match="not that of its masked vector"):
        check_claim(gathered, exchanged)


def test_a_claim_is_signed_for_one_context_and_one_parameter_set():
    parameters = in_ring(P0, 1000, 12, 24)
    [residues] = masked_by(parameters, 1)
    claim = claim_of(parameters, residues)
    signature = sign_claim(SIGNING_KEY, CONTEXT, parameters, claim)
    opened = open_claim(SIGNING_KEY.public_key, CONTEXT, parameters, claim, signature)
    assert np.array_equal(opened, hash_of(parameters, residues).value)
    for public_key, context, held, said in (
        (SigningKey(b"\1" * 32).public_key, CONTEXT, parameters, claim),
        (SIGNING_KEY.public_key, CONTEXT + b"2", parameters, claim),
        (SIGNING_KEY.public_key, CONTEXT, in_ring(P0, 1000, 11, 24), claim),
        (SIGNING_KEY.public_key, CONTEXT, parameters, structs.replace(claim, contributor=8)),
        (
            SIGNING_KEY.public_key,
            CONTEXT,
            parameters,
            structs.replace(claim, vector_root=b"\2" * 32),
        ),
        (
            SIGNING_KEY.public_key,
            CONTEXT,
            parameters,
            structs.replace(claim, shares_root=b"\2" * 32),
        ),
        (
            SIGNING_KEY.public_key,
            CONTEXT,
            parameters,
            structs.replace(claim, linear_hash=bytes(DIGEST_BYTES)),
        ),
    ):
        with pytest.raises(InvalidSignature):
            open_claim(public_key, context, held, said, signature)


def test_a_claim_travels_and_a_malformed_one_does_not():
    parameters = in_ring(P1, 1000, 12, 24)
    claim = claim_of(parameters, masked_by(parameters, 1)[0])
    assert decode(encode(claim), Claim, bytes_max=12_000) == claim
    for fields in (
        {"contributor": -1},
        {"vector_root": bytes(31)},
        {"shares_root": bytes(33)},
        {"linear_hash": bytes(DIGEST_BYTES - 1)},
    ):
        with pytest.raises(MalformedMessage):
            decode(encode(structs.replace(claim, **fields)), Claim, bytes_max=12_000)
    beyond = structs.replace(claim, linear_hash=b"\xff" * DIGEST_BYTES)
    signature = sign_claim(SIGNING_KEY, CONTEXT, parameters, beyond)
    with pytest.raises(MalformedMessage, match="prime"):
        open_claim(SIGNING_KEY.public_key, CONTEXT, parameters, beyond, signature)
