"""What a masked contribution costs contributor, aggregator and committee, beside AES-CTR.

The yardstick is one AES-256-CTR pass over the vector as 4-byte words, into memory that is there.
Public polynomials are expanded once in a round and counted apart; hashing is counted apart, since
SHA-256 alone costs more than the masks. Times are of one core, in milliseconds.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation import direct, verification
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.checked_sum import HashOfVector
from pnyx.protocol.aggregation.masked.keys import MaskingKey
from pnyx.protocol.aggregation.masked.mask import (
    Residues,
    SegmentSum,
    Sums,
    mask_segment,
    public_segment,
    transform_key,
    unmask_segment,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, choose, layout
from pnyx.protocol.aggregation.masked.segments import pack_segment, unpack_segment
from pnyx.protocol.aggregation.masked.vectors import sum_vectors
from pnyx.protocol.chunks import chunks_of, describe
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
        most = parameters.value_max
        vector = generator.integers(-most, most + 1, parameters.length)
        self.pieces = [self.cut(vector, segment) for segment in range(self.shape.segments)]
        self.key = MaskingKey.derive(parameters, secrets.token_bytes(32), CONTEXT, bytes(32))
        self.public = [public_segment(parameters, CONTEXT, c) for c in range(self.shape.segments)]
        self.masked = self.mask()
        self.packed = [pack_segment(parameters, c, each) for c, each in enumerate(self.masked)]
        self.out = np.zeros(parameters.length, dtype=np.int64)

    def cut(self, vector: IntVector, segment: int) -> IntVector:
        """The values of a segment."""
        start = self.shape.start(segment)
        return vector[start : start + self.shape.values(segment)]

    def mask(self) -> list[Residues]:
        """Mask all segments."""
        key = transform_key(self.parameters, self.key.secret)
        return [
            mask_segment(self.parameters, public, key, self.key.errors_seed, segment, values)
            for segment, (public, values) in enumerate(zip(self.public, self.pieces, strict=True))
        ]

    def unmask(self, sums: list[Sums]) -> None:
        """Unmask all segments, into memory that is there."""
        key = transform_key(self.parameters, self.key.secret)
        for segment, each in enumerate(sums):
            out, public = self.cut(self.out, segment), self.public[segment]
            unmask_segment(self.parameters, public, key, each, segment, 1, out)

    def sums(self) -> list[Sums]:
        """Sums of this one contribution."""
        found = [SegmentSum(self.parameters, segment) for segment in range(self.shape.segments)]
        for each, residues in zip(found, self.masked, strict=True):
            each.add(residues)
        return [each.total() for each in found]

    def add_group(self, contributions: Sequence[Sequence[Residues]]) -> None:
        """Add up whole contributions, one segment of each after another."""
        for segment in range(self.shape.segments):
            total = SegmentSum(self.parameters, segment)
            for contribution in contributions:
                total.add(contribution[segment])
            total.total()

    def copies(self, count: int) -> list[list[Residues]]:
        """The contribution many times, each in memory of its own."""
        return [
            [tuple(residues.copy() for residues in segment) for segment in self.masked]
            for _ in range(count)
        ]

    def add_packed(self, count: int) -> None:
        """Add up contributions as they travel: read, unpacked, added, packed."""
        for _ in sum_vectors(self.parameters, [iter(self.packed) for _ in range(count)]):
            pass

    def name(self) -> bytes:
        """Name of the parcel of the packed segments."""
        return describe(chunks_of(b"".join(self.packed))).name

    def linear_hash(self) -> None:
        """The linear hash of all segments, its key expanded on the way."""
        gathered = HashOfVector(self.parameters, CONTEXT)
        for segment, residues in enumerate(self.masked):
            gathered.add_segment(segment, residues)


def add_in_place(vectors: Sequence[IntVector]) -> None:
    """Add up as many bytes, from memory of their own as well."""
    total = np.zeros_like(vectors[0])
    for vector in vectors:
        np.add(total, vector, out=total)


def vector_costs(length: int, contributors: int, members: int, packing: int) -> dict[str, Any]:
    """Every step on a whole vector."""
    parameters = choose(length, VALUE_BITS, contributors, members=members, packing=packing)
    case = Case(parameters)
    aes = aes_pass(length)
    sums = case.sums()
    mask, unmask = milliseconds(case.mask), milliseconds(lambda: case.unmask(sums))
    many = min(contributors, 24)
    added = case.copies(many)
    words = case.shape.coefficients * len(parameters.primes)
    plain = [np.ones(words, dtype=np.uint32) for _ in range(many)]
    numpy_add = milliseconds(lambda: add_in_place(plain)) / many
    add = milliseconds(lambda: case.add_group(added)) / many
    packed = milliseconds(lambda: case.add_packed(many)) / many
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
        "add_packed_one": round(packed, 3),
        "add_packed_in_numpy_adds": round(packed / numpy_add, 2),
        "expand_public": milliseconds(
            lambda: [public_segment(parameters, CONTEXT, c) for c in range(case.shape.segments)]
        ),
        "pack": milliseconds(
            lambda: [pack_segment(parameters, c, each) for c, each in enumerate(case.masked)]
        ),
        "unpack": milliseconds(
            lambda: [unpack_segment(parameters, c, each) for c, each in enumerate(case.packed)]
        ),
        "name_of_parcel": milliseconds(case.name),
        "linear_hash": milliseconds(case.linear_hash),
        "plain_sha256": milliseconds(lambda: digest("benchmark", *case.packed)),
    }


def key_costs(size: CommitteeSize, contributors: int = 24) -> dict[str, Any]:
    """What the key of one contribution costs in the smallest ring, with the one count beside it."""
    parameters = choose(10_000, VALUE_BITS, contributors, members=size.size, packing=size.packing)
    bounds = Bounds(1, 0, 0, 1, key_length=parameters.degree, key_fields=len(parameters.primes))
    key = MaskingKey.derive(parameters, secrets.token_bytes(32), CONTEXT, bytes(32))
    secret = tuple(part.astype(np.int64) for part in key.secret)
    count, seed = np.array([1]), secrets.token_bytes(32)
    payloads = verification.prove(count, bounds, size, seed, CONTEXT, secret).payloads
    shares = [verification.read_payload(payload, bounds, size) for payload in payloads]
    length = verification.summed_length(bounds, size)
    widths = verification.key_widths(bounds, size)
    released = {
        member: direct.read_released(
            verification.sum_share([each], bounds, size), length, size.packing, widths
        )
        for member, each in enumerate(shares)
    }
    return {
        "degree": parameters.degree,
        "payload_bytes": verification.payload_bytes(bounds, size),
        "prove": milliseconds(
            lambda: verification.prove(count, bounds, size, seed, CONTEXT, secret)
        ),
        "read_payload": milliseconds(lambda: verification.read_payload(payloads[0], bounds, size)),
        "sum_of_24_shares": milliseconds(
            lambda: verification.sum_share([shares[0]] * contributors, bounds, size)
        ),
        "decode_sum": milliseconds(lambda: direct.decode_sum(size, released, length)),
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
