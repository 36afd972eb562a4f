"""Masked vectors of two segments: pnyx agrees with `long.json`, and that with its reference."""

import json
import runpy
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.support.masked import check_sum

from pnyx import errors
from pnyx.primitives.codec import decode
from pnyx.primitives.ring import gaussian_errors
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.masked.checked_sum import add_digests, pack_digest, unpack_digest
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all
from pnyx.protocol.aggregation.masked.keys import MaskingKey
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode, sum_vectors
from pnyx.protocol.messages import HeldContribution
from pnyx.protocol.round.vectors import accepted_hash, parcel_named, sum_statement

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "long.json").read_text())
GROUPS = {group["ring"]: group for group in VECTORS["groups"]}
SHORT = json.loads((FOLDER / "masked.json").read_text())["groups"]


@lru_cache(maxsize=1)
def reference() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "long_reference.py")))


def test_the_file_is_that_of_the_reference() -> None:
    assert reference().vectors() == VECTORS


@pytest.mark.parametrize(("ring", "group"), list(zip(GROUPS, SHORT, strict=True)))
def test_of_short_vectors_the_reference_gives_what_the_plain_one_gives(
    ring: str, group: dict[str, Any]
) -> None:
    held, parts = reference().Set(ring, 40, 12, 24), []
    assert held.fields == group["fields"]
    for case in group["contributions"]:
        parts.append(reference().Contribution(held, case["contributor"], case["values"]))
        found = reference().contribution_vector(parts[-1])
        [segment] = found["segments"]
        renamed = {f"segment_{name}": segment[name] for name in ("start", "sha256")}
        found |= renamed | {"errors_start": segment["errors_start"], "values": case["values"]}
        assert {name: found[name] for name in case} == case
    found = reference().sum_vector(parts)
    assert found["sum_packed_sha256"] == [group["sum_packed_sha256"]]
    for name in ("key_sum_sha256", "linear_hash_sha256"):
        assert found[name] == group[name]


def hashed(data: bytes) -> str:
    return sha256(data).hexdigest()


def code_of(ring: str) -> VectorCode:
    group = GROUPS[ring]
    fields = msgspec.msgpack.encode(group["fields"])
    parameters = decode(fields, ParameterSet, bytes_max=200)
    return VectorCode(parameters, bytes.fromhex(group["context"]))


def values_of(case: dict[str, Any], parameters: ParameterSet) -> np.ndarray:
    stream = Sampler(bytes.fromhex(case["values_seed"]), case["values_domain"])
    drawn = stream.field_elements(2 * parameters.value_max + 1, parameters.length)
    return drawn - parameters.value_max


@lru_cache(maxsize=3)
def made(ring: str) -> list[MaskedUpdate]:
    """What pnyx makes of the contributions of a group."""
    code = code_of(ring)
    return [
        code.mask(
            values_of(case, code.parameters),
            bytes.fromhex(case["seed"]),
            bytes.fromhex(case["context"]),
        )
        for case in GROUPS[ring]["contributions"]
    ]


@pytest.mark.parametrize("ring", GROUPS)
def test_masking(ring: str) -> None:
    code = code_of(ring)
    shape = layout(code.parameters)
    assert shape.segments == 2
    for case, update in zip(GROUPS[ring]["contributions"], made(ring), strict=True):
        values = values_of(case, code.parameters)
        assert values[:8].tolist() == case["values_start"]
        assert hashed(values.astype("<i8").tobytes()) == case["values_sha256"]
        assert [part[:4].tolist() for part in update.key] == case["key_start"]
        assert [data[:64].hex() for data in update.segments] == [
            each["start"] for each in case["segments"]
        ]
        assert [hashed(data) for data in update.segments] == [
            each["sha256"] for each in case["segments"]
        ]
        assert hashed(update.linear_hash) == case["linear_hash_sha256"]
        assert parcel_named(b"".join(update.segments)).hex() == case["parcel"]
        check_checkpoints(code, update.linear_hashes, case)
        assert code.linear_hashes(b"".join(update.segments)) == update.linear_hashes


def check_checkpoints(code: VectorCode, hashes: tuple[bytes, ...], case: dict[str, Any]) -> None:
    """The linear hashes after each segment are those that the file commits to."""
    checkpoints = [checkpoint(each) for each in hashes]
    assert [each.hex() for each in checkpoints] == case["checkpoints"]
    assert commit_all(code.context, checkpoints).hex() == case["committed"]


@pytest.mark.parametrize("ring", GROUPS)
def test_errors_are_drawn_for_each_segment(ring: str) -> None:
    code = code_of(ring)
    shape = layout(code.parameters)
    for case in GROUPS[ring]["contributions"]:
        seed, context = bytes.fromhex(case["seed"]), bytes.fromhex(case["context"])
        vector_hash = bytes.fromhex(case["vector_hash"])
        key = MaskingKey.derive(code.parameters, seed, context, vector_hash)
        for segment, each in enumerate(case["segments"]):
            count = shape.segment_coefficients(segment)
            domain = f"pnyx/masked/errors/{segment}"
            drawn = gaussian_errors(key.errors_seed, 4.5, count, domain)
            assert drawn[:16].tolist() == each["errors_start"]
            assert hashed(drawn.tobytes()) == each["errors_sha256"]


@pytest.mark.parametrize("ring", GROUPS)
def test_linear_hashes(ring: str) -> None:
    """Hashing a vector that came, and comparing it by rows, give what its contributor gave."""
    code, (first, second) = code_of(ring), made(ring)
    checker = code.checker(bytes(32))
    for update, other in ((first, second), (second, first)):
        vector = b"".join(update.segments)
        assert code.linear_hashes(vector)[-1] == update.linear_hash
        assert code.has_hash(checker, vector, unpack_digest(update.linear_hash))
        assert not code.has_hash(checker, vector, unpack_digest(other.linear_hash))


@pytest.mark.parametrize("ring", GROUPS)
def test_sum(ring: str) -> None:
    code, group, updates = code_of(ring), GROUPS[ring], made(ring)
    segments = list(sum_vectors(code.parameters, [iter(each.segments) for each in updates]))
    assert [hashed(each) for each in segments] == group["sum_packed_sha256"]
    hashes, total = [each.linear_hash for each in updates], b"".join(segments)
    assert parcel_named(total).hex() == group["sum_parcel"]
    check_sum(code, total, hashes)
    hash_of_sum = pack_digest(add_digests(map(unpack_digest, hashes)))
    assert hashed(hash_of_sum) == group["linear_hash_sha256"]
    of_sum = code.linear_hashes_of_sum(total, 2)
    assert of_sum[-1] == hash_of_sum
    check_checkpoints(code, of_sum, group)
    key_sum = tuple(
        sum(parts) % prime
        for prime, *parts in zip(
            code.parameters.primes, *(each.key for each in updates), strict=True
        )
    )
    assert [hashed(part.astype("<u4").tobytes()) for part in key_sum] == group["key_sum_sha256"]
    found = code.unmask(total, key_sum, 2)
    assert found is not None
    assert hashed(found.astype("<i8").tobytes()) == group["sum_sha256"]


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_what_is_said_of_a_sum(group: dict[str, Any]) -> None:
    context = bytes.fromhex(group["context"])
    headers = map(bytes.fromhex, group["header_hashes"])
    accepted = tuple(
        HeldContribution(case["contributor"], header)
        for case, header in zip(group["contributions"], headers, strict=True)
    )
    summed, parcel = accepted_hash(context, accepted), bytes.fromhex(group["sum_parcel"])
    assert summed.hex() == group["summed"]
    committed = bytes.fromhex(group["committed"])
    told = sum_statement(context, group["teller"], summed, len(accepted), parcel, committed)
    assert told.hex() == group["sum_statement"]


@pytest.mark.parametrize(
    "case", VECTORS["vectors_refused"], ids=lambda case: case["fault"].replace(" ", "-")
)
def test_refused_vectors(case: dict[str, Any]) -> None:
    """Segments that are missing, doubled or out of order."""
    code, (first, second) = code_of("P0"), made("P0")
    vectors = [iter([first.segments[at] for at in case["segments"]]), iter(second.segments)]
    error = getattr(errors, case["error"])
    if case["refused_by"] == "sum":
        with pytest.raises(error):
            list(sum_vectors(code.parameters, vectors))
        return
    total = b"".join(sum_vectors(code.parameters, vectors))
    with pytest.raises(error):
        check_sum(code, total, [first.linear_hash, second.linear_hash])
