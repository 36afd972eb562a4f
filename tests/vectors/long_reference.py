"""Masked vectors of two segments, from which `long.json` was made.

Written from docs/protocol.md (section 19), on top of `masked_reference.py`, with numpy's 64-bit
integers in the place of Python's, which would take minutes, and sharing no code with pnyx.
`python tests/vectors/long_reference.py` writes the file again; `test_long_vectors.py` checks that
it is what this file gives, that this file gives what the plain reference gives for short vectors,
and that pnyx agrees.

Long arrays are in the file by their SHA-256: of values and sums as signed little-endian integers of
8 bytes, of errors as signed bytes, of everything else as it travels. The values of a contribution
are field elements below 2^value_bits - 1 of the stream with the domain "values_domain" and the seed
"values_seed", less 2^(value_bits - 1) - 1. "committed" is what the checkpoints, one after each
segment, come to; no norm is verified here. What "teller" says of a sum names contributions by their
"header_hashes".
"""

import json
import runpy
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np

MASKS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("masked_reference.py"))))
PLAIN = MASKS.PLAIN
digest, Stream, Set, encoded = MASKS.digest, MASKS.Stream, MASKS.Set, MASKS.encoded
LANES, GROUP, CONTEXT = MASKS.LANES, MASKS.GROUP, MASKS.CONTEXT
VALUES_SEED = PLAIN.SEED
TELLER = 300  # who tells of a sum

# --- streams --------------------------------------------------------------------------------------


def elements(stream, modulus: int, count: int):
    """What `Stream.field_elements` gives: words, cut to the bits of modulus - 1, that are below."""
    found = np.zeros(0, dtype=np.int64)
    while len(found) < count:
        words = np.frombuffer(stream.bytes(4 * (count - len(found))), dtype="<u4")
        words = words & np.uint32((1 << (modulus - 1).bit_length()) - 1)
        found = np.concatenate([found, words[words < modulus].astype(np.int64)])
    return found


def gaussian(seed: bytes, count: int, domain: str):
    """What `gaussian` of the plain reference gives: only heads that are undecided need a tail."""
    heads, tails = Stream(seed, f"{domain}/heads"), Stream(seed, f"{domain}/tails")
    table = PLAIN.gaussian_table(MASKS.WIDTH)
    undecided, end = [entry >> 112 for entry in table], len(table) // 2
    draws = np.frombuffer(heads.bytes(2 * count), dtype="<u2")
    errors = np.searchsorted(undecided, draws) - end
    for place in np.flatnonzero(np.isin(draws, undecided)):
        draw = int(draws[place]) << 112 | int.from_bytes(tails.bytes(14), "little")
        errors[place] = sum(entry <= draw for entry in table) - end
    return errors


def public(seed: bytes, n: int, p: int, blocks: int):
    """Public polynomials, transformed: [n, blocks, 32]."""
    streams = (Stream(seed, f"ring/public/{n}/{p}/{block}") for block in range(blocks))
    drawn = [elements(stream, p, n * LANES).reshape(n, LANES) for stream in streams]
    return np.stack(drawn, axis=1)


# --- polynomials ----------------------------------------------------------------------------------


class Transform:
    """As that of the plain reference, of many polynomials: the first axis is that of powers."""

    def __init__(self, n: int, p: int) -> None:
        self.n, self.p, self.powers, self.half = n, p, PLAIN.Ring(n, p).powers, (p + 1) // 2

    def forth(self, given, exponent: int | None = None):
        exponent = self.n if exponent is None else exponent
        if len(given) == 1:
            return given
        lower, upper = np.split(given, 2)
        upper = upper * self.powers[exponent // 2] % self.p
        first = self.forth((lower + upper) % self.p, exponent // 2)
        return np.concatenate([first, self.forth((lower - upper) % self.p, exponent // 2 + self.n)])

    def back(self, values, exponent: int | None = None):
        exponent = self.n if exponent is None else exponent
        if len(values) == 1:
            return values
        first, second = np.split(values, 2)
        first, second = self.back(first, exponent // 2), self.back(second, exponent // 2 + self.n)
        root = self.half * self.powers[-(exponent // 2) % (2 * self.n)] % self.p
        lower = self.half * ((first + second) % self.p) % self.p
        return np.concatenate([lower, (first - second) % self.p * root % self.p])


def masks(held, p: int):
    """The public polynomials of all blocks modulo a prime, transformed: [n, blocks, 32]."""
    if (held.n, p, held.coefficients) not in PUBLIC:
        seed, blocks = digest("pnyx/masked/public", CONTEXT), blocks_of(held.coefficients, held.n)
        PUBLIC[held.n, p, held.coefficients] = public(seed, held.n, p, blocks)
    return PUBLIC[held.n, p, held.coefficients]


PUBLIC: dict = {}


def blocks_of(coefficients: int, n: int) -> int:
    return -(-coefficients // (LANES * n))


def product(held, p: int, key):
    """a·s in the order of coefficients: block by block, row by row, lane by lane."""
    ring = Transform(held.n, p)
    values = ring.forth(np.array(key, dtype=np.int64).reshape(-1, 1, 1))
    found = ring.back(masks(held, p) * values % p)
    return found.transpose(1, 0, 2).reshape(-1)[: held.coefficients]


def linear_hash(held, integers: list) -> bytes:
    """Of residues or sums of all segments, cut into polynomials of degree below 1024."""
    blocks, parts = blocks_of(held.coefficients, 1024), []
    for p in PLAIN.HASH_PRIMES:
        total, ring = np.zeros(1024, dtype=np.int64), Transform(1024, p)
        for at, part in enumerate(integers):
            seed = digest("pnyx/masked/hash", CONTEXT, encoded(held.fields), bytes([at]))
            padded = np.zeros(blocks * 1024 * LANES, dtype=np.int64)
            padded[: len(part)] = part % p
            values = ring.forth(padded.reshape(blocks, 1024, LANES).transpose(1, 0, 2))
            products = public(seed, 1024, p, blocks) * values % p
            total = (total + products.sum(axis=(1, 2))) % p
        parts.append(packed(p, total))
    return b"".join(parts)


def linear_hashes(held, integers: list) -> list[bytes]:
    """The same after each segment: nothing is added up of those that follow."""
    ends = [each.stop for each in Cut(held).coefficients]
    return [linear_hash(held, [part[:end] for part in integers]) for end in ends]


# --- bytes ----------------------------------------------------------------------------------------


def packed(p: int, residues) -> bytes:
    """32 rows of a lane are one number, first row lowest; its words alternate with the lanes'."""
    bits = p.bit_length()
    lanes = residues.reshape(-1, 32, LANES).transpose(0, 2, 1)  # [groups, lanes, rows]
    digits = (lanes[..., np.newaxis] >> np.arange(bits) & 1).astype(np.uint8)
    words = np.packbits(digits.reshape(-1, LANES, bits, 32), axis=3, bitorder="little")
    return words.transpose(0, 2, 1, 3).tobytes()  # [groups, words, lanes, 4 bytes]


def packed_sum(primes, sums: list) -> bytes:
    """The sum of one segment."""
    return b"".join(
        packed(p, part % p) + (part // p).astype(np.uint8).tobytes()
        for p, part in zip(primes, sums, strict=True)
    )


def eight_bytes(values) -> bytes:
    return np.asarray(values).astype("<i8").tobytes()


def hashed(data: bytes) -> str:
    return sha256(data).hexdigest()


# --- a contribution -------------------------------------------------------------------------------


class Cut:
    """What of a vector is in which segment."""

    def __init__(self, held) -> None:
        self.full = held.n * LANES * max(1, 2**18 // (held.n * LANES * len(held.primes)))
        self.values, self.coefficients = [], []
        for start in range(0, held.length, held.slots * self.full):
            stop = min(start + held.slots * self.full, held.length)
            first = len(self.values) * self.full
            count = GROUP * -(-(stop - start) // (held.slots * GROUP))
            self.values.append(slice(start, stop))
            self.coefficients.append(slice(first, first + count))


class Contribution:
    """One masked vector. residues: modulo each prime, of all segments one after the other."""

    def __init__(self, held, contributor: int, values) -> None:
        self.set, self.cut, self.contributor = held, Cut(held), contributor
        self.values = np.array(values, dtype=np.int64)
        self.seed = bytes([contributor]) * 32
        self.context = CONTEXT + contributor.to_bytes(4, "big")
        pieces = [eight_bytes(self.values[each]) for each in self.cut.values]
        self.vector_hash = digest(
            "pnyx/masked/vector", *(digest("pnyx/masked/values", each) for each in pieces)
        )
        root = digest(
            "pnyx/masked/seed", self.seed, self.context, encoded(held.fields), self.vector_hash
        )
        stream = Stream(root, "pnyx/masked/key")
        self.key = [elements(stream, p, held.n) for p in held.primes]
        errors_seed = digest("pnyx/masked/errors-seed", root)
        self.errors = [
            gaussian(errors_seed, each.stop - each.start, f"pnyx/masked/errors/{segment}")
            for segment, each in enumerate(self.cut.coefficients)
        ]
        self.residues = [
            (product(held, p, s) + np.concatenate(self.errors) + self.messages(p)) % p
            for p, s in zip(held.primes, self.key, strict=True)
        ]
        self.segments = [
            b"".join(packed(p, r[each]) for p, r in zip(held.primes, self.residues, strict=True))
            for each in self.cut.coefficients
        ]
        self.linear_hashes = linear_hashes(held, self.residues)
        self.linear_hash = self.linear_hashes[-1]

    def messages(self, p: int):
        """Δ·m of every coefficient that is sent, modulo a prime."""
        held, found = self.set, []
        for values, sent in zip(self.cut.values, self.cut.coefficients, strict=True):
            lifted = np.full(held.slots * (sent.stop - sent.start), 2 ** (held.bits - 1))
            lifted[: values.stop - values.start] += self.values[values]
            total = np.zeros(sent.stop - sent.start, dtype=np.int64)
            for slot, plane in enumerate(lifted.reshape(held.slots, -1)):
                total += plane * pow(2, held.shift + held.slot_bits * slot, p) % p
            found.append(total)
        return np.concatenate(found)


def contribution_vector(part: Contribution):
    """What `masked.json` holds of a contribution, segment by segment, without its values."""
    return {
        "contributor": part.contributor,
        "seed": part.seed.hex(),
        "context": part.context.hex(),
        "vector_hash": part.vector_hash.hex(),
        "key_start": [key[:4].tolist() for key in part.key],
        "segments": [
            {
                "errors_start": errors[:16].tolist(),
                "errors_sha256": hashed(errors.astype(np.int8).tobytes()),
                "start": data[:64].hex(),
                "sha256": hashed(data),
            }
            for errors, data in zip(part.errors, part.segments, strict=True)
        ],
        "linear_hash_sha256": hashed(part.linear_hash),
        **checkpoint_vector(part.linear_hashes),
        "parcel": MASKS.parcel_name(b"".join(part.segments)).hex(),
    }


def checkpoint_vector(hashes: list[bytes]):
    """The checkpoint after each segment, without P·y, and what they come to."""
    checkpoints = [MASKS.checkpoint(each) for each in hashes]
    return {
        "checkpoints": [each.hex() for each in checkpoints],
        "committed": MASKS.committed(checkpoints).hex(),
    }


def sum_vector(parts: list[Contribution]):
    """What becomes of some contributions together."""
    held = parts[0].set
    sums = [sum(part.residues[at] for part in parts) for at in range(len(held.primes))]
    key_sum = [sum(part.key[at] for part in parts) % p for at, p in enumerate(held.primes)]
    total = [
        packed_sum(held.primes, [part[each] for part in sums]) for each in parts[0].cut.coefficients
    ]
    hashes, parcel = linear_hashes(held, sums), MASKS.parcel_name(b"".join(total))
    numbers = [part.contributor.to_bytes(4, "big") for part in parts]
    headers = [sha256(bytes([part.contributor])).digest() for part in parts]
    named = [number + header for number, header in zip(numbers, headers, strict=True)]
    summed, checkpoints = digest("pnyx/summed", CONTEXT, *named), map(MASKS.checkpoint, hashes)
    statement = MASKS.sum_statement(TELLER, summed, len(parts), parcel, list(checkpoints))
    return {
        "sum_sha256": hashed(eight_bytes(sum(part.values for part in parts))),
        "sum_packed_sha256": [hashed(each) for each in total],
        "key_sum_sha256": [hashed(part.astype("<u4").tobytes()) for part in key_sum],
        "linear_hash_sha256": hashed(hashes[-1]),
        "sum_parcel": parcel.hex(),
        "header_hashes": [each.hex() for each in headers],
        "summed": summed.hex(),
        "teller": TELLER,
        **checkpoint_vector(hashes),
        "sum_statement": statement.hex(),
    }


def group_vectors(ring: str):
    """Two contributions of a full segment and five values more."""
    short = Set(ring, 40, 12, 24)
    held = Set(ring, short.slots * Cut(short).full + 5, 12, 24)
    assert held.segments == 2
    assert held.slots == short.slots
    found, parts = [], []
    for contributor in range(2):
        domain = f"vectors/long/{ring}/{contributor}"
        drawn = elements(Stream(VALUES_SEED, domain), 2**held.bits - 1, held.length)
        parts.append(Contribution(held, contributor, drawn - (2 ** (held.bits - 1) - 1)))
        given = {
            "values_seed": VALUES_SEED.hex(),
            "values_domain": domain,
            "values_start": parts[-1].values[:8].tolist(),
            "values_sha256": hashed(eight_bytes(parts[-1].values)),
        }
        found.append(given | contribution_vector(parts[-1]))
    return {
        "ring": ring,
        "fields": held.fields,
        "context": CONTEXT.hex(),
        "contributions": found,
        **sum_vector(parts),
    }


def refused_vectors():
    """Segments of the first vector of P0 in other orders, and what refuses them.

    Those that can be added up all the same are refused by the linear hashes of both vectors.
    """
    return [
        {"fault": fault, "segments": segments, "refused_by": by, "error": error}
        for fault, segments, by, error in (
            ("segments exchanged", [1, 0], "check_sum", "RuleBroken"),
            ("the last segment left out", [0], "sum", "MalformedMessage"),
            ("the first segment left out", [1], "sum", "MalformedMessage"),
            ("the last segment twice", [0, 1, 1], "sum", "MalformedMessage"),
            ("the first segment twice", [0, 0, 1], "sum", "MalformedMessage"),
        )
    ]


def vectors():
    return {
        "groups": [group_vectors(ring) for ring in MASKS.RINGS],
        "vectors_refused": refused_vectors(),
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("long.json")
    path.write_text(json.dumps(vectors(), indent=1) + "\n")
