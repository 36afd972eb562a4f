"""Pnyx agrees with the vectors, and the vectors with the plain reference that made them."""

import json
import runpy
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnyx import errors
from pnyx.primitives.envelope import EnvelopeKey, open_envelope
from pnyx.primitives.field import PRIMES, PrimeField, crt_centred
from pnyx.primitives.hashing import digest, merkle_proofs, merkle_root, verify_merkle_proof
from pnyx.primitives.ring import LANES, LinearHash, Ring, expand_public, gaussian_errors
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, decode
from pnyx.primitives.signature import SigningKey, verify

FOLDER = Path(__file__).parent
NAMES = ["hashing", "merkle", "field", "sharing", "sampling", "signature", "envelope", "ring"]


def load(name: str, group: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())[group]


def array(rows: Any) -> Any:
    return np.array(rows, dtype=np.int64)


def fault(case: dict[str, Any]) -> str:
    return case["fault"].replace(" ", "-")


def test_the_files_are_those_of_the_reference() -> None:
    vectors = runpy.run_path(str(FOLDER / "reference.py"))["vectors"]()
    assert list(vectors) == NAMES
    for name, content in vectors.items():
        assert json.loads((FOLDER / f"{name}.json").read_text()) == content


def test_hashing() -> None:
    for case in load("hashing", "digest"):
        parts = [bytes.fromhex(part) for part in case["parts"]]
        assert digest(case["domain"], *parts).hex() == case["digest"]


def merkle_arguments(case: dict[str, Any]) -> tuple[bytes, bytes, int, int, list[bytes]]:
    proof = [bytes.fromhex(sibling) for sibling in case["proof"]]
    root, leaf = bytes.fromhex(case["root"]), bytes.fromhex(case["leaf"])
    return root, leaf, case["index"], case["count"], proof


def test_merkle_proofs() -> None:
    cases = load("merkle", "proofs")
    for case in cases:
        assert verify_merkle_proof(*merkle_arguments(case))
        tree = [other for other in cases if other["count"] == case["count"]]
        leaves = [bytes.fromhex(other["leaf"]) for other in tree]
        assert merkle_root(leaves).hex() == case["root"]
        assert list(merkle_proofs(leaves)[case["index"]]) == merkle_arguments(case)[4]


@pytest.mark.parametrize("case", load("merkle", "refused"), ids=fault)
def test_refused_merkle_proofs(case: dict[str, Any]) -> None:
    assert not verify_merkle_proof(*merkle_arguments(case))


def test_field() -> None:
    for case in load("field", "operations"):
        field, a, b = PrimeField(case["modulus"]), array(case["a"]), array(case["b"])
        assert field.add(a, b).tolist() == case["sum"]
        assert field.subtract(a, b).tolist() == case["difference"]
        assert field.multiply(a, b).tolist() == case["product"]
        assert field.inverse(b).tolist() == case["inverse_of_b"]
        assert field.centred(a).tolist() == case["centred_a"]
        assert field.pack(a).hex() == case["packed_a"]
        assert field.unpack(bytes.fromhex(case["packed_a"]), len(a)).tolist() == case["a"]
        product = field.matmul(array(case["left"]), array(case["right"]))
        assert product.tolist() == case["matrix_product"]
    residues = load("field", "residues")
    assert tuple(residues["moduli"]) == PRIMES
    assert (
        crt_centred([array(row) for row in residues["residues"]]).tolist() == residues["integers"]
    )


@pytest.mark.parametrize("case", load("field", "unpack_refused"), ids=fault)
def test_refused_field_vectors(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        PrimeField(case["modulus"]).unpack(bytes.fromhex(case["data"]), case["count"])


def sharing_of(case: dict[str, Any]) -> PackedSharing:
    field = PrimeField(case["modulus"])
    return PackedSharing(field, case["members"], case["privacy"], case["packing"])


def decode_case(case: dict[str, Any]) -> tuple[Any, tuple[int, ...]]:
    sharing = sharing_of(load("sharing", "sharings")[0])
    shares, combination = array(case["shares"]), array(case["combination"])
    return decode(sharing, case["indices"], shares, case["corrupt_max"], combination)


def test_sharing() -> None:
    for case in load("sharing", "sharings"):
        sharing = sharing_of(case)
        shares = sharing.share(array(case["secrets"]), array(case["randomness"]))
        assert shares.tolist() == case["shares"]
        members = range(case["members"])
        assert sharing.reconstruct(members, shares).tolist() == case["secrets"]
    for case in load("sharing", "decodings"):
        secrets, liars = decode_case(case)
        assert secrets.tolist() == case["secrets"]
        assert list(liars) == case["liars"]


@pytest.mark.parametrize("case", load("sharing", "refused"), ids=fault)
def test_refused_decodings(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        decode_case(case)


def test_sampling() -> None:
    for case in load("sampling", "streams"):
        sampler = Sampler(bytes.fromhex(case["seed"]), case["domain"])
        for call in case["calls"]:
            result = getattr(sampler, call["method"])(*call["arguments"])
            if isinstance(result, bytes):
                result = result.hex()
            elif isinstance(result, np.ndarray):
                result = result.tolist()
            assert result == call["result"]


def signature_arguments(case: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    public_key, message = bytes.fromhex(case["public_key"]), bytes.fromhex(case["message"])
    return public_key, message, bytes.fromhex(case["signature"])


def test_signatures() -> None:
    for case in load("signature", "signatures"):
        key = SigningKey(bytes.fromhex(case["seed"]))
        public_key, message, signature = signature_arguments(case)
        assert key.public_key == public_key
        assert key.sign(message) == signature
        assert verify(public_key, message, signature)


@pytest.mark.parametrize("case", load("signature", "refused"), ids=fault)
def test_refused_signatures(case: dict[str, Any]) -> None:
    assert not verify(*signature_arguments(case))


def open_case(case: dict[str, Any]) -> bytes:
    key = EnvelopeKey(bytes.fromhex(case["private_key"]))
    return open_envelope(key, bytes.fromhex(case["sealed"]), bytes.fromhex(case["info"]))


def test_envelopes() -> None:
    for case in load("envelope", "envelopes"):
        key = EnvelopeKey(bytes.fromhex(case["private_key"]))
        assert key.public_key.hex() == case["public_key"]
        assert open_case(case).hex() == case["plaintext"]


@pytest.mark.parametrize("case", load("envelope", "refused"), ids=fault)
def test_refused_envelopes(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        open_case(case)


def words(rows: Any) -> Any:
    return np.array(rows, dtype=np.uint32)


def words_hash(block: Any) -> str:
    return sha256(block.astype("<u4").tobytes()).hexdigest()


@pytest.mark.parametrize("case", load("ring", "rings"), ids=lambda case: str(case["modulus"]))
def test_rings(case: dict[str, Any]) -> None:
    ring = Ring(case["degree"], case["modulus"])
    polynomial, key = words(case["polynomial"]), words(case["key"])
    transformed = ring.forward(polynomial)
    assert transformed.tolist() == case["transform"]
    assert ring.inverse(transformed).tolist() == case["polynomial"]
    public = ring.zeros(1)
    public[0, :, 5] = transformed
    assert ring.mask(public, key)[0, :, 5].tolist() == case["product"]
    seed = bytes.fromhex(case["public_seed"])
    expanded = expand_public(ring, seed, 1, first_block=case["public_block"])
    assert expanded[0, 0].tolist() == case["public_first_row"]
    assert words_hash(expanded) == case["public_sha256"]
    packed = ring.pack(expanded)
    assert packed[:128].hex() == case["packed_start"]
    assert sha256(packed).hexdigest() == case["packed_sha256"]
    assert np.array_equal(ring.unpack(packed, 1), expanded)


@pytest.mark.parametrize("case", load("ring", "unpack_refused"), ids=fault)
def test_refused_blocks(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])):
        Ring(case["degree"], case["modulus"]).unpack(bytes.fromhex(case["data"]), 1)


def test_gaussian_errors() -> None:
    for case in load("ring", "errors"):
        seed = bytes.fromhex(case["seed"])
        drawn = gaussian_errors(seed, case["sigma"], case["count"], case["domain"])
        assert drawn[: len(case["first"])].tolist() == case["first"]
        assert sha256(drawn.tobytes()).hexdigest() == case["sha256"]


def test_linear_hashes() -> None:
    for case in load("ring", "linear_hashes"):
        vector = np.zeros((case["blocks"], 1024, LANES), dtype=np.uint64)
        for block, coefficient, lane, value in case["terms"]:
            vector[block, coefficient, lane] = value
        digest = LinearHash(bytes.fromhex(case["seed"])).digest(vector)
        assert digest[:, :8].tolist() == case["first"]
        assert words_hash(digest) == case["sha256"]
