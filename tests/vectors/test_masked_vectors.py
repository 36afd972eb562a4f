"""Pnyx agrees with the vectors of masked aggregation, and they with their plain reference."""

import json
import runpy
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pnyx import errors
from pnyx.primitives.codec import decode, encode
from pnyx.primitives.ring import gaussian_errors
from pnyx.protocol.aggregation.masked import coding
from pnyx.protocol.aggregation.masked.checked_sum import (
    Claim,
    HashOfVector,
    claim_statement,
    pack_digest,
)
from pnyx.protocol.aggregation.masked.keys import (
    MaskingKey,
    decode_keys,
    hash_vector,
    read_payload,
    read_released,
    share_key,
    shares_root,
    sum_key_shares,
)
from pnyx.protocol.aggregation.masked.mask import (
    SegmentSum,
    mask_segment,
    public_segment,
    rings,
    unmask_segment,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, choose, layout
from pnyx.protocol.aggregation.masked.segments import (
    ChunkReader,
    pack_segment,
    pack_sum,
    segment_hash,
    vector_root,
)
from pnyx.protocol.selection import committee_size

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "masked.json").read_text())
SIZE = committee_size(7, 1, 2)


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


class Made:
    """One contribution of a vector, made by pnyx from its seed."""

    def __init__(self, parameters: ParameterSet, context: bytes, case: dict[str, Any]) -> None:
        values = np.array(case["values"], dtype=np.int64)
        self.vector_hash = hash_vector([values])
        self.key = MaskingKey.derive(
            parameters,
            bytes.fromhex(case["seed"]),
            bytes.fromhex(case["context"]),
            self.vector_hash,
        )
        public = public_segment(parameters, context, 0)
        self.residues = mask_segment(parameters, public, self.key, 0, values)
        self.segment = pack_segment(parameters, 0, self.residues)
        self.leaf = segment_hash(parameters, 0, self.segment)
        gathered = HashOfVector(parameters, context)
        gathered.add_segment(0, self.residues)
        self.linear_hash = pack_digest(gathered.value)
        self.payloads = share_key(parameters, self.key, SIZE)


@pytest.mark.parametrize("group", VECTORS["groups"], ids=["P0", "P1"])
def test_groups(group: dict[str, Any]) -> None:
    parameters, context = set_of(group["fields"]), bytes.fromhex(group["context"])
    made = [Made(parameters, context, case) for case in group["contributions"]]
    for each, case in zip(made, group["contributions"], strict=True):
        assert each.vector_hash.hex() == case["vector_hash"]
        assert [part[:4].tolist() for part in each.key.secret] == case["key_start"]
        drawn = gaussian_errors(each.key.errors_seed, 4.5, 16, "pnyx/masked/errors/0")
        assert drawn.tolist() == case["errors_start"]
        assert each.segment[:64].hex() == case["segment_start"]
        assert sha256(each.segment).hexdigest() == case["segment_sha256"]
        assert each.leaf.hex() == case["leaf"]
        assert vector_root([each.leaf]).hex() == case["vector_root"]
        assert sha256(each.linear_hash).hexdigest() == case["linear_hash_sha256"]
        assert [payload[:24].hex() for payload in each.payloads] == case["payload_starts"]
        assert shares_root(each.payloads).hex() == case["shares_root"]
        claim = Claim(
            case["contributor"],
            bytes.fromhex(case["vector_root"]),
            each.linear_hash,
            bytes.fromhex(case["shares_root"]),
        )
        assert claim_statement(context, parameters, claim).hex() == case["statement"]
    check_sum(parameters, context, made, group)


def check_sum(
    parameters: ParameterSet, context: bytes, made: list[Made], group: dict[str, Any]
) -> None:
    total = SegmentSum(parameters, 0)
    for each in made:
        total.add(each.residues)
    packed = pack_sum(parameters, 0, total.total())
    assert sha256(packed).hexdigest() == group["sum_packed_sha256"]
    gathered = HashOfVector(parameters, context)
    gathered.add_segment(0, total.total())
    assert sha256(pack_digest(gathered.value)).hexdigest() == group["linear_hash_sha256"]
    released = {
        member: read_released(
            parameters,
            SIZE,
            sum_key_shares(
                parameters,
                SIZE,
                [read_payload(parameters, SIZE, each.payloads[member]) for each in made],
            ),
        )
        for member in range(SIZE.size)
    }
    key_sum, liars = decode_keys(parameters, SIZE, released)
    assert liars == ()
    hashes = [sha256(part.astype("<u4").tobytes()).hexdigest() for part in key_sum]
    assert hashes == group["key_sum_sha256"]
    public = public_segment(parameters, context, 0)
    found = unmask_segment(parameters, public, key_sum, total.total(), 0, len(made))
    assert found.tolist() == group["sum"]


def test_decodings() -> None:
    """Numbers of the largest ring, with errors up to the last one that decodes."""
    for case in VECTORS["decodings"]:
        parameters = set_of(case["fields"])
        residues = []
        for ring, residue in zip(rings(parameters), case["residues"], strict=True):
            block = np.zeros((1, 1024, 32), dtype=np.int64)
            block.reshape(-1)[7] = residue
            assert residue < ring.modulus
            residues.append(block)
        out = np.empty((parameters.slots, 8), dtype=np.int64)
        coding.decode(parameters, residues, case["count"], out)
        assert out[:, 7].tolist() == case["sums"]


@pytest.mark.parametrize("case", VECTORS["segments_refused"], ids=fault)
def test_refused_segments(case: dict[str, Any]) -> None:
    group = VECTORS["groups"][0]
    leaf = bytes.fromhex(group["contributions"][0]["leaf"])
    reader = ChunkReader(set_of(group["fields"]), vector_root([leaf]), [leaf])
    with pytest.raises(getattr(errors, case["error"])):
        reader.read(case["segment"], bytes.fromhex(case["data"]))
