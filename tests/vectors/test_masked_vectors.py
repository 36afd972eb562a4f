"""Pnyx agrees with the vectors of masked aggregation, and they with their plain reference."""

import json
import runpy
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.support.masked import check_sum

from pnyx import errors
from pnyx.primitives.codec import decode, encode
from pnyx.primitives.ring import gaussian_errors
from pnyx.protocol.aggregation.masked import coding
from pnyx.protocol.aggregation.masked.checked_sum import add_digests, pack_digest, unpack_digest
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all, name_earlier
from pnyx.protocol.aggregation.masked.keys import MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    public_segment,
    transform_key,
    unmask_segment,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, choose, layout
from pnyx.protocol.aggregation.masked.segments import unpack_sum
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.messages import HeldContribution, MaskedVector, StatedHash
from pnyx.protocol.round.vectors import (
    accepted_hash,
    commitment_to,
    parcel_named,
    sum_statement,
    vector_statement,
)

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "masked.json").read_text())


def fault(case: dict[str, Any]) -> str:
    return case["fault"].replace(" ", "-")


def test_the_file_is_that_of_the_reference() -> None:
    assert runpy.run_path(str(FOLDER / "masked_reference.py"))["vectors"]() == VECTORS


def set_of(fields: Any) -> ParameterSet:
    return decode(msgspec.msgpack.encode(fields), ParameterSet, bytes_max=200)


def test_parameters() -> None:
    for case in VECTORS["parameters"]:
        found = choose(
            case["length"],
            case["value_bits"],
            case["contributors_max"],
            members=case["members"],
            packing=case["packing"],
        )
        assert encode(found).hex() == case["encoded"]
        assert found == set_of(case["fields"])
        assert layout(found).segments == case["segments"]
        assert (found.coefficients, found.bytes) == (case["coefficients"], case["bytes"])


@pytest.mark.parametrize("case", VECTORS["parameters_refused"], ids=fault)
def test_refused_parameters(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"]), match=case["names"]):
        decode(bytes.fromhex(case["encoded"]), ParameterSet, bytes_max=200)


@pytest.mark.parametrize("group", VECTORS["groups"], ids=["P0", "P1", "P2"])
def test_groups(group: dict[str, Any]) -> None:
    parameters = set_of(group["fields"])
    code = VectorCode(parameters, bytes.fromhex(group["context"]))
    sent, keys = [], []
    for case in group["contributions"]:
        values = np.array(case["values"], dtype=np.int64)
        seed, context = bytes.fromhex(case["seed"]), bytes.fromhex(case["context"])
        assert hash_vector([values]).hex() == case["vector_hash"]
        key = key_of(parameters, case)
        assert [part[:4].tolist() for part in key.secret] == case["key_start"]
        drawn = gaussian_errors(key.errors_seed, 4.5, 16, "pnyx/masked/errors/0")
        assert drawn.tolist() == case["errors_start"]
        made = code.mask(values, seed, context)
        assert [part.tolist() for part in made.key] == [part.tolist() for part in key.secret]
        [segment] = made.segments
        assert segment[:64].hex() == case["segment_start"]
        assert sha256(segment).hexdigest() == case["segment_sha256"]
        assert sha256(made.linear_hash).hexdigest() == case["linear_hash_sha256"]
        assert code.linear_hashes(segment)[-1] == made.linear_hash
        sent.append(segment)
        keys.append(made.key)
    check_one(code, sent, keys, group)


def key_of(parameters: ParameterSet, case: dict[str, Any]) -> MaskingKey:
    seed, context = bytes.fromhex(case["seed"]), bytes.fromhex(case["context"])
    return MaskingKey.derive(parameters, seed, context, bytes.fromhex(case["vector_hash"]))


def check_one(code: VectorCode, sent: list[bytes], keys: list[Any], group: dict[str, Any]) -> None:
    total = b"".join(sum_vectors(code.parameters, [iter([each]) for each in sent]))
    assert sha256(total).hexdigest() == group["sum_packed_sha256"]
    hashes = [code.linear_hashes(each)[-1] for each in sent]
    check_sum(code, total, hashes)
    hash_of_sum = pack_digest(add_digests(map(unpack_digest, hashes)))
    assert sha256(hash_of_sum).hexdigest() == group["linear_hash_sha256"]
    key_sum = tuple(
        sum(key[at] for key in keys) % prime for at, prime in enumerate(code.parameters.primes)
    )
    hashes = [sha256(part.astype("<u4").tobytes()).hexdigest() for part in key_sum]
    assert hashes == group["key_sum_sha256"]
    found = code.unmask(total, key_sum, len(sent))
    assert found is not None
    assert found.tolist() == group["sum"]


def test_decodings() -> None:
    """Numbers of the largest ring, with errors up to the last one that decodes."""
    for case in VECTORS["decodings"]:
        parameters = set_of(case["fields"])
        residues = np.zeros((len(parameters.primes), 8), dtype=np.int64)
        for row, prime, residue in zip(residues, parameters.primes, case["residues"], strict=True):
            row[:] = residue
            assert residue < prime
        out = np.empty((parameters.slots, 8), dtype=np.int64)
        coding.decode(parameters, residues, case["count"], out)
        assert out.T.tolist() == [case["sums"]] * 8


@pytest.mark.parametrize("case", VECTORS["decodings_refused"], ids=fault)
def test_refused_decodings(case: dict[str, Any]) -> None:
    parameters = set_of(case["fields"])
    residues = np.array(case["residues"], dtype=np.int64)[:, np.newaxis]
    out = np.empty((parameters.slots, 1), dtype=np.int64)
    with pytest.raises(getattr(errors, case["error"]), match="garbage"):
        coding.decode(parameters, residues, case["count"], out)


@pytest.mark.parametrize("case", VECTORS["unmaskings_refused"], ids=fault)
def test_refused_unmaskings(case: dict[str, Any]) -> None:
    """A sum and keys that do not belong together are an error, and nobody's sum."""
    group, code = VECTORS["groups"][0], first_group()
    [prime], total = code.parameters.primes, bytes.fromhex(case.get("sum", CHECKED["sum"]))
    key_sum = np.zeros(code.parameters.degree, dtype=np.int64)
    for number in case["keys"]:
        key_sum += key_of(code.parameters, group["contributions"][number]).secret[0]
    key_sum[0] += case["added"]
    key_sum %= prime
    with pytest.raises(getattr(errors, case["error"]), match="garbage"):
        unmask_segment(
            code.parameters,
            public_segment(code.parameters, code.context, 0),
            transform_key(code.parameters, (key_sum.astype(np.uint32),)),
            unpack_sum(code.parameters, 0, total, 2),
            0,
            2,
        )
    assert code.unmask(total, (key_sum,), 2) is None


def test_names() -> None:
    names, group = VECTORS["names"], VECTORS["groups"][0]
    context = bytes.fromhex(group["context"])
    headers = [bytes.fromhex(each) for each in names["header_hashes"]]
    accepted = tuple(map(HeldContribution, names["contributors"], headers))
    assert accepted_hash(context, accepted).hex() == names["summed"]
    statement = vector_statement(context, names["aggregator"], headers[0])
    assert statement.hex() == names["receipt_of_first"]
    earlier = bytes.fromhex(names["earlier"])
    assert name_earlier(()) == earlier
    sent, hashes = [], []
    for case, parcel, last, committed in zip(
        group["contributions"],
        names["parcels"],
        names["checkpoints"],
        names["committed"],
        strict=True,
    ):
        seed, own = bytes.fromhex(case["seed"]), bytes.fromhex(case["context"])
        made = first_group().mask(np.array(case["values"]), seed, own)
        assert parcel_named(b"".join(made.segments)).hex() == parcel
        assert [checkpoint(each).hex() for each in made.linear_hashes] == [last]
        assert commit_all(context, [bytes.fromhex(last)]).hex() == committed
        masked = MaskedVector(bytes.fromhex(parcel), bytes.fromhex(committed))
        stated = StatedHash(made.linear_hash, earlier)
        assert commitment_to(context, stated, masked) == masked.commitment
        sent.append(iter(made.segments))
        hashes.append(made.linear_hash)
    parcel = parcel_named(b"".join(sum_vectors(first_group().parameters, sent)))
    assert parcel.hex() == names["sum_parcel"]
    last = checkpoint(first_group().summed_hash(hashes))
    assert last.hex() == names["sum_checkpoint"]
    committed = commit_all(context, [last])
    assert committed.hex() == names["sum_committed"]
    summed = bytes.fromhex(names["summed"])
    told = sum_statement(context, names["aggregator"], summed, len(hashes), parcel, committed)
    assert told.hex() == names["sum_statement"]


def first_group() -> VectorCode:
    group = VECTORS["groups"][0]
    return VectorCode(set_of(group["fields"]), bytes.fromhex(group["context"]))


@pytest.mark.parametrize("case", VECTORS["vectors_refused"], ids=fault)
def test_refused_vectors(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["data"])
    with pytest.raises(getattr(errors, case["error"])):
        first_group().linear_hashes(data)
    with pytest.raises(getattr(errors, case["error"])):
        list(sum_vectors(first_group().parameters, [iter([data])]))


CHECKED = VECTORS["checked_sum"]


def test_the_sum_whose_changes_are_refused_is_right() -> None:
    hashes = [bytes.fromhex(each) for each in CHECKED["linear_hashes"][:2]]
    check_sum(first_group(), bytes.fromhex(CHECKED["sum"]), hashes)


@pytest.mark.parametrize("case", CHECKED["refused"], ids=fault)
def test_refused_sums(case: dict[str, Any]) -> None:
    hashes = [bytes.fromhex(CHECKED["linear_hashes"][place]) for place in case["hashes"]]
    total = bytes.fromhex(case.get("sum", CHECKED["sum"]))
    with pytest.raises(getattr(errors, case["error"])):
        check_sum(first_group(), total, hashes)
