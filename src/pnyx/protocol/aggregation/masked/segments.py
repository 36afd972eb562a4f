"""Segments on the wire: packed residues, and packed sums.

A masked vector is handled in segments of about a megabyte, `Layout` says which. A packed segment
holds its residues modulo each prime, one prime after the other, 27 bits each
(`primitives.ring.packing`): equal residues have equal bytes. What travels is all segments one after
the other, in a parcel whose name fixes every byte (`protocol.chunks`).

A packed sum holds, for each prime, the sum modulo that prime, packed in the same way, and how often
the prime goes into the sum, a byte each: 35 bits in all, for what the linear hash is checked with.
"""

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring import LANES
from pnyx.primitives.ring.packing import pack_residues, unpack_residues
from pnyx.protocol.aggregation.masked.mask import Residues, Sums, check_sums
from pnyx.protocol.aggregation.masked.parameters import GROUP, GROUP_BYTES, ParameterSet, layout


def pack_segment(parameters: ParameterSet, segment: int, residues: Residues) -> bytes:
    """Write the residues of a segment, as `mask_segment` gives them."""
    sent = layout(parameters).segment_coefficients(segment)
    return b"".join(
        pack_residues(part.reshape(-1)[:sent], prime)
        for part, prime in zip(residues, parameters.primes, strict=True)
    )


def unpack_segment(parameters: ParameterSet, segment: int, data: bytes) -> Residues:
    """Read a segment: [blocks, n, LANES] for each prime. Raises MalformedMessage."""
    shape = layout(parameters)
    if len(data) != shape.segment_bytes(segment):
        raise MalformedMessage(
            f"Segment {segment} takes {shape.segment_bytes(segment)} bytes, not {len(data)}."
        )
    step = len(data) // len(parameters.primes)
    return tuple(
        _unpack(parameters, segment, data[at * step : (at + 1) * step], prime)
        for at, prime in enumerate(parameters.primes)
    )


def sum_bytes(parameters: ParameterSet, segment: int) -> int:
    """Size of a packed sum of a segment."""
    groups = layout(parameters).segment_coefficients(segment) // GROUP
    return len(parameters.primes) * groups * (GROUP_BYTES + GROUP)


def whole_sum_bytes(parameters: ParameterSet) -> int:
    """Size of the packed sum of all segments."""
    return sum(sum_bytes(parameters, each) for each in range(layout(parameters).segments))


def pack_sum(parameters: ParameterSet, segment: int, sums: Sums) -> bytes:
    """Write the integer sums of a segment."""
    sent = layout(parameters).segment_coefficients(segment)
    parts = []
    for total, prime in zip(sums, parameters.primes, strict=True):
        quotients, rest = np.divmod(total.reshape(-1)[:sent], np.uint64(prime))
        parts.append(pack_residues(rest.astype(np.uint32), prime))
        parts.append(quotients.astype(np.uint8).tobytes())
    return b"".join(parts)


def unpack_sum(parameters: ParameterSet, segment: int, data: bytes, count: int) -> Sums:
    """Read the sums of a segment of `count` contributions.

    Raises MalformedMessage, or RuleBroken when they are larger than so many can make them.
    """
    if len(data) != sum_bytes(parameters, segment):
        raise MalformedMessage(
            f"A sum of segment {segment} takes {sum_bytes(parameters, segment)} bytes, "
            f"not {len(data)}."
        )
    sent = layout(parameters).segment_coefficients(segment)
    step = len(data) // len(parameters.primes)
    sums = []
    for at, prime in enumerate(parameters.primes):
        part = data[at * step : (at + 1) * step]
        total = _unpack(parameters, segment, part[: step - sent], prime).astype(np.uint64)
        quotients = np.frombuffer(part[step - sent :], dtype=np.uint8)
        total.reshape(-1)[:sent] += quotients * np.uint64(prime)
        sums.append(total)
    found = tuple(sums)
    check_sums(parameters, found, count)
    return found


def _unpack(parameters: ParameterSet, segment: int, data: bytes, prime: int) -> NDArray[np.uint32]:
    """Residues of one prime as whole blocks, with zeros beyond what was sent."""
    shape = layout(parameters)
    sent = shape.segment_coefficients(segment)
    blocks = (shape.blocks(segment), parameters.degree, LANES)
    if sent == blocks[0] * blocks[1] * blocks[2]:
        return unpack_residues(data, blocks, prime)
    whole = np.zeros(blocks, dtype=np.uint32)
    whole.reshape(-1)[:sent] = unpack_residues(data, (sent,), prime)
    return whole
