"""What a masked contribution costs contributor, aggregator and committee, beside AES-CTR.

The yardstick is one AES-256-CTR pass over the vector as 4-byte words, into memory that is there.
Public polynomials are expanded once in a round and counted apart; hashing is counted apart, since
SHA-256 alone costs more than the masks. Times are of one core, in milliseconds.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.checked_sum import HashOfVector
from pnyx.protocol.aggregation.masked.chunks import (
    ChunkReader,
    chunk_hash,
    pack_chunk,
    unpack_chunk,
    vector_root,
)
from pnyx.protocol.aggregation.masked.keys import (
    MaskingKey,
    decode_keys,
    payload_bytes,
    read_payload,
    read_released,
    share_key,
    sum_key_shares,
)
from pnyx.protocol.aggregation.masked.mask import (
    ChunkSum,
    Residues,
    Sums,
    mask_chunk,
    public_chunk,
    unmask_chunk,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, choose, layout
from pnyx.protocol.selection import CommitteeSize, committee_size

VALUES = 1_000_000
VALUE_BITS = 12
CONTEXT = b"benchmark"
REPEAT_S = 0.4
COMMITTEES = {"24": committee_size(24, 4, 2, 4), "64": committee_size(64, 12, 4)}


def milliseconds(act: Callable[[], object]) -> float:
    """Median milliseconds of thread CPU time for one call."""
    act()
    samples: list[float] = []
    limit = time.perf_counter() + REPEAT_S
    while time.perf_counter() < limit or len(samples) < 5:
        start = time.thread_time_ns()
        act()
        samples.append((time.thread_time_ns() - start) / 1e6)
    return round(float(np.median(samples)), 3)


def aes_pass(words: int) -> float:
    """One AES-256-CTR pass over 4-byte words."""
    encryptor = Cipher(AES256(secrets.token_bytes(32)), CTR(bytes(16))).encryptor()
    source, target = bytes(4 * words), bytearray(4 * words + 16)
    return milliseconds(lambda: encryptor.update_into(source, target))


class Case:
    """One contribution of a random vector, and what is needed to handle it."""

    def __init__(self, parameters: ParameterSet) -> None:
        self.parameters, self.shape = parameters, layout(parameters)
        generator = np.random.default_rng(1)
        offset = parameters.offset
        vector = generator.integers(-offset, offset, parameters.length)
        self.pieces = [self.cut(vector, chunk) for chunk in range(self.shape.chunks)]
        self.key = MaskingKey.derive(parameters, secrets.token_bytes(32), CONTEXT, bytes(32))
        self.public = [public_chunk(parameters, CONTEXT, c) for c in range(self.shape.chunks)]
        self.masked = self.mask()
        self.packed = [pack_chunk(parameters, c, each) for c, each in enumerate(self.masked)]
        self.out = np.zeros(parameters.length, dtype=np.int64)

    def cut(self, vector: IntVector, chunk: int) -> IntVector:
        """The values of a chunk."""
        start = self.shape.start(chunk)
        return vector[start : start + self.shape.values(chunk)]

    def mask(self) -> list[Residues]:
        """Mask all chunks."""
        return [
            mask_chunk(self.parameters, public, self.key, chunk, values)
            for chunk, (public, values) in enumerate(zip(self.public, self.pieces, strict=True))
        ]

    def unmask(self, sums: list[Sums]) -> None:
        """Unmask all chunks, into memory that is there."""
        for chunk, each in enumerate(sums):
            out = self.cut(self.out, chunk)
            secret, public = self.key.secret, self.public[chunk]
            unmask_chunk(self.parameters, public, secret, each, chunk, 1, out)

    def sums(self) -> list[Sums]:
        """Sums of this one contribution."""
        found = [ChunkSum(self.parameters, chunk) for chunk in range(self.shape.chunks)]
        for each, residues in zip(found, self.masked, strict=True):
            each.add(residues)
        return [each.total() for each in found]

    def add_group(self) -> None:
        """Add as many contributions to the first chunk as the parameters hold."""
        total = ChunkSum(self.parameters, 0)
        for _ in range(self.parameters.contributors_max):
            total.add(self.masked[0])
        total.total()

    def commit(self) -> bytes:
        """Root of the packed chunks."""
        return vector_root(
            [chunk_hash(self.parameters, at, data) for at, data in enumerate(self.packed)]
        )

    def read(self) -> None:
        """Check and parse all chunks."""
        leaves = [chunk_hash(self.parameters, at, data) for at, data in enumerate(self.packed)]
        reader = ChunkReader(self.parameters, vector_root(leaves), leaves)
        for chunk, data in enumerate(self.packed):
            reader.read(chunk, data)

    def linear_hash(self) -> None:
        """The linear hash of all chunks, its key expanded on the way."""
        gathered = HashOfVector(self.parameters, CONTEXT)
        for chunk, residues in enumerate(self.masked):
            gathered.add_chunk(chunk, residues)


def vector_costs(length: int, contributors: int, members: int, packing: int) -> dict[str, Any]:
    """Every step on a whole vector."""
    parameters = choose(length, VALUE_BITS, contributors, members=members, packing=packing)
    case = Case(parameters)
    aes = aes_pass(length)
    sums = case.sums()
    left = np.zeros(case.shape.coefficients * len(parameters.primes), dtype=np.uint32)
    right = np.ones_like(left)
    numpy_add = milliseconds(lambda: np.add(left, right, out=left))
    share = case.shape.chunk_coefficients(0) / case.shape.coefficients
    mask, unmask = milliseconds(case.mask), milliseconds(lambda: case.unmask(sums))
    add = milliseconds(case.add_group) / contributors / share
    return {
        "degree": parameters.degree,
        "slots": parameters.slots,
        "bytes": parameters.bytes,
        "bits_per_value": round(8 * parameters.bytes / length, 2),
        "aes_ctr_pass": aes,
        "mask": mask,
        "mask_in_aes_passes": round(mask / aes, 1),
        "unmask": unmask,
        "unmask_in_aes_passes": round(unmask / aes, 1),
        "add_one": round(add, 3),
        "add_in_numpy_adds": round(add / numpy_add, 2),
        "expand_public": milliseconds(
            lambda: [public_chunk(parameters, CONTEXT, c) for c in range(case.shape.chunks)]
        ),
        "pack": milliseconds(
            lambda: [pack_chunk(parameters, c, each) for c, each in enumerate(case.masked)]
        ),
        "unpack": milliseconds(
            lambda: [unpack_chunk(parameters, c, each) for c, each in enumerate(case.packed)]
        ),
        "commit_sha256": milliseconds(case.commit),
        "read_and_check": milliseconds(case.read),
        "linear_hash": milliseconds(case.linear_hash),
        "plain_sha256": milliseconds(lambda: digest("benchmark", *case.packed)),
    }


def key_costs(size: CommitteeSize, contributors: int = 24) -> dict[str, Any]:
    """What the key of one contribution costs, in the smallest ring."""
    parameters = choose(10_000, VALUE_BITS, contributors, members=size.size, packing=size.packing)
    key = MaskingKey.derive(parameters, secrets.token_bytes(32), CONTEXT, bytes(32))
    payloads = share_key(parameters, key, size)
    shares = [read_payload(parameters, size, payload) for payload in payloads]
    released = {
        member: read_released(parameters, size, sum_key_shares(parameters, size, [each]))
        for member, each in enumerate(shares)
    }
    return {
        "degree": parameters.degree,
        "payload_bytes": payload_bytes(parameters, size),
        "share": milliseconds(lambda: share_key(parameters, key, size)),
        "read_payload": milliseconds(lambda: read_payload(parameters, size, payloads[0])),
        "sum_of_24_shares": milliseconds(
            lambda: sum_key_shares(parameters, size, [shares[0]] * contributors)
        ),
        "decode_sum": milliseconds(lambda: decode_keys(parameters, size, released)),
    }


def run() -> dict[str, Any]:
    """A million values, keys, and growth with values and contributors."""
    million = {
        "short key": vector_costs(VALUES, 24, 24, 2),
        "few bytes": vector_costs(VALUES, 24, 0, 1),
        "128 contributors": vector_costs(VALUES, 128, 0, 1),
    }
    wanted = ("degree", "bits_per_value", "mask", "unmask", "linear_hash", "add_one")
    growth = {}
    for length in (10_000, 100_000, 1_000_000, 10_000_000):
        found = vector_costs(length, 24, 24, 2)
        growth[str(length)] = {name: found[name] for name in wanted}
    contributors = {}
    for count in (2, 24, 31, 64, 128, 256):
        parameters = choose(VALUES, VALUE_BITS, count)
        contributors[str(count)] = {
            "degree": parameters.degree,
            "slots": parameters.slots,
            "shift": parameters.shift,
            "bytes": parameters.bytes,
        }
    return {
        "million_values_of_12_bits": million,
        "keys": {name: key_costs(size) for name, size in COMMITTEES.items()},
        "growth_with_values": growth,
        "growth_with_contributors": contributors,
    }
