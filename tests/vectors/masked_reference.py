"""A slow, plain version of masked aggregation, from which `masked.json` was made.

Python integers and byte strings only, written from docs/protocol.md on top of `reference.py`, and
sharing no code with pnyx. `python tests/vectors/masked_reference.py` writes the file again;
`test_masked_vectors.py` checks that it is what this file gives, and that pnyx agrees.

Vectors are short: of the first block 32 rows are sent, the least there is (`long_reference.py` has
vectors of two segments). A case with an "error" holds a single fault and must be refused with that
error.
"""

import json
import runpy
from hashlib import sha256
from math import ceil, log, log2, prod
from pathlib import Path
from types import SimpleNamespace

import msgspec

PLAIN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference.py"))))
digest, Stream = PLAIN.digest, PLAIN.Stream

PRIMES = (134176769, 134111233, 134012929, 133963777)
RINGS = {"P0": (1024, PRIMES[:1]), "P1": (2048, PRIMES[:2]), "P2": (4096, PRIMES)}
LANES, ROWS, GROUP = 32, 32, 1024
WIDTH = 4.5
CONTEXT = b"vectors: network, study, round, attempt"


def encoded(values) -> bytes:
    return msgspec.msgpack.encode(values)


class Set:
    """A parameter set: the most slots that fit, the least shift for the errors."""

    def __init__(self, ring: str, length: int, bits: int, most: int) -> None:
        self.n, self.primes = RINGS[ring]
        self.length, self.bits, self.most = length, bits, most
        self.q = prod(self.primes)
        self.slot_bits = (most * (2**bits - 1)).bit_length()
        self.slots = 0
        for slots in range(110, 0, -1):
            self.slots, self.segments, self.coefficients = slots, *self.cut(slots)
            self.shift = 1
            while self.failure(self.shift) > -64:
                self.shift += 1
            packed = sum(most * (2**bits - 1) << self.slot_bits * j for j in range(slots))
            if (packed + 1) * 2**self.shift <= self.q:
                return
        raise ValueError("nothing fits")

    def cut(self, slots: int) -> tuple[int, int]:
        """Segments, and coefficients sent in all of them."""
        blocks = max(1, 2**18 // (self.n * LANES * len(self.primes)))
        full = slots * LANES * self.n * blocks
        segments = ceil(self.length / full)
        last = ceil((self.length - (segments - 1) * full) / (slots * GROUP)) * GROUP
        return segments, (segments - 1) * (full // slots) + last

    def failure(self, shift: int) -> float:
        reach = 2 ** (shift - 1)
        return 1 + log2(self.coefficients) - reach**2 / (2 * self.most * WIDTH**2) / log(2)

    @property
    def bytes(self) -> int:
        return self.coefficients * 27 // 8 * len(self.primes)

    def key_bytes(self, packing: int) -> int:
        return 4 * len(self.primes) * ceil(self.n / packing)

    @property
    def fields(self) -> list:
        return [
            self.n, list(self.primes), self.length, self.bits, self.most,
            self.slots, self.slot_bits, self.shift, WIDTH,
        ]  # fmt: skip


def chosen(length: int, bits: int, most: int, members: int, packing: int) -> Set:
    found = []
    for ring in RINGS:
        try:
            found.append(Set(ring, length, bits, most))
        except ValueError:
            continue
    return min(found, key=lambda s: s.bytes + members * s.key_bytes(packing))


# --- one masked vector of one segment, of which the first 32 rows are sent ------------------------


class Contribution:
    def __init__(self, held: Set, contributor: int, values: list[int]) -> None:
        assert held.segments == 1
        assert held.coefficients == GROUP
        self.set, self.values = held, values
        self.contributor = contributor
        self.seed = bytes([contributor]) * 32
        self.context = CONTEXT + contributor.to_bytes(4, "big")
        flat = b"".join(v.to_bytes(8, "little", signed=True) for v in values)
        self.vector_hash = digest("pnyx/masked/vector", digest("pnyx/masked/values", flat))
        root = digest(
            "pnyx/masked/seed", self.seed, self.context, encoded(held.fields), self.vector_hash
        )
        stream = Stream(root, "pnyx/masked/key")
        self.key = [stream.field_elements(p, held.n) for p in held.primes]
        errors_seed = digest("pnyx/masked/errors-seed", root)
        self.errors, _ = PLAIN.gaussian(errors_seed, WIDTH, GROUP, "pnyx/masked/errors/0")
        self.residues = [
            self.masked(p, s, sent)
            for p, s, sent in zip(held.primes, self.key, masks(held), strict=True)
        ]
        self.segment = b"".join(
            packed(p, r) for p, r in zip(held.primes, self.residues, strict=True)
        )
        self.linear_hash = linear_hash(held, self.residues)

    def messages(self) -> list[int]:
        """Δ·m of every coefficient that is sent, an integer."""
        held = self.set
        lifted = [v + 2 ** (held.bits - 1) for v in self.values]
        lifted += [2 ** (held.bits - 1)] * (held.slots * GROUP - len(lifted))
        return [
            2**held.shift
            * sum(lifted[j * GROUP + c] << held.slot_bits * j for j in range(held.slots))
            for c in range(GROUP)
        ]

    def masked(self, p: int, s: list[int], public) -> list[int]:
        mask = product(p, public, s)
        return [(a + e + m) % p for a, e, m in zip(mask, self.errors, self.messages(), strict=True)]


def masks(held: Set) -> list:
    """The public polynomials of block 0, transformed, for each prime: [n][32]."""
    if held.n not in CACHE:
        seed = digest("pnyx/masked/public", CONTEXT)
        CACHE[held.n] = [PLAIN.Ring(held.n, p).public(seed, 0) for p in held.primes]
    return CACHE[held.n]


CACHE: dict = {}


def product(p: int, public, key: list[int]) -> list[int]:
    """The first 32 coefficients of a·s in every lane, row after row."""
    values = Transform(len(key), p).forth(key)
    products = [a * v % p for row, v in zip(public, values, strict=True) for a in row]
    return Transform(len(key), p, LANES).back(products)[:GROUP]


class Transform:
    """The values of polynomials at the roots of X^n + 1, in bit-reversed order, and the way back.

    Polynomials lie side by side in lanes: coefficient i of lane l at place i·lanes + l, and so do
    their values. With r^n = -1, X^m - r^e has the factors X^(m/2) - r^(e/2) and
    X^(m/2) - r^(e/2 + n).
    """

    def __init__(self, n: int, p: int, lanes: int = 1) -> None:
        if (n, p) not in POWERS:
            POWERS[n, p] = PLAIN.Ring(n, p).powers
        self.n, self.p, self.lanes = n, p, lanes
        self.powers, self.half = POWERS[n, p], (p + 1) // 2

    def forth(self, given: list[int], exponent: int | None = None) -> list[int]:
        """Values of what is left modulo X^m - r^exponent, with m coefficients."""
        exponent = self.n if exponent is None else exponent
        if len(given) == self.lanes:
            return given
        middle, p, root = len(given) // 2, self.p, self.powers[exponent // 2]
        upper = [root * v % p for v in given[middle:]]
        first = [(x + y) % p for x, y in zip(given[:middle], upper, strict=True)]
        second = [(x - y) % p for x, y in zip(given[:middle], upper, strict=True)]
        return self.forth(first, exponent // 2) + self.forth(second, exponent // 2 + self.n)

    def back(self, values: list[int], exponent: int | None = None) -> list[int]:
        """What has these values."""
        exponent = self.n if exponent is None else exponent
        if len(values) == self.lanes:
            return values
        middle, p = len(values) // 2, self.p
        first = self.back(values[:middle], exponent // 2)
        second = self.back(values[middle:], exponent // 2 + self.n)
        root = self.half * self.powers[-(exponent // 2) % (2 * self.n)] % p
        lower = [self.half * (x + y) % p for x, y in zip(first, second, strict=True)]
        return lower + [root * (x - y) % p for x, y in zip(first, second, strict=True)]


POWERS: dict = {}


def packed(p: int, residues: list[int]) -> bytes:
    rows = [residues[row * LANES : (row + 1) * LANES] for row in range(ROWS)]
    return PLAIN.Ring(LANES, p).packed(rows)


def linear_hash(held: Set, integers: list[list[int]]) -> bytes:
    """Of residues or sums, all primes of the masks together."""
    total = [[0] * 1024 for _ in PLAIN.HASH_PRIMES]
    for at, part in enumerate(integers):
        seed = digest("pnyx/masked/hash", CONTEXT, encoded(held.fields), bytes([at]))
        for p, sums in zip(PLAIN.HASH_PRIMES, total, strict=True):
            padded = [v % p for v in part] + [0] * (1024 * LANES - GROUP)
            values = Transform(1024, p, LANES).forth(padded)
            for place, row in enumerate(hash_key(seed, p)):
                at_root = values[place * LANES : (place + 1) * LANES]
                sums[place] = (sums[place] + sum(map(int.__mul__, row, at_root))) % p
    return b"".join(packed(p, part) for p, part in zip(PLAIN.HASH_PRIMES, total, strict=True))


def hash_key(seed: bytes, p: int) -> list:
    """The key of block 0: [1024][32]."""
    if (seed, p) not in KEYS:
        KEYS[seed, p] = PLAIN.Ring(1024, p).public(seed, 0)
    return KEYS[seed, p]


KEYS: dict = {}


def parcel_name(data: bytes) -> bytes:
    """Of a parcel of these bytes."""
    size = 128 * 1024
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    root = PLAIN.tree_root([digest("pnyx/parcel/chunk", each) for each in chunks])
    sizes = len(data).to_bytes(8, "big"), size.to_bytes(4, "big")
    return digest("pnyx/parcel", *sizes, root)


def checkpoint(linear_hash: bytes, sketch: bytes = b"") -> bytes:
    """How far a vector, or a sum, has come: its linear hash, and P·y where a norm is verified."""
    return digest("pnyx/masked/checkpoint", linear_hash, sketch)


def earlier(checkpoints: list[bytes]) -> bytes:
    """Names all checkpoints but the last."""
    return digest("pnyx/masked/earlier", *checkpoints[:-1])


def committed(checkpoints: list[bytes]) -> bytes:
    """What is signed of the checkpoints after every segment."""
    return digest("pnyx/linear-hash", CONTEXT, earlier(checkpoints), checkpoints[-1])


def sum_statement(
    teller: int, summed: bytes, count: int, parcel: bytes, checkpoints: list[bytes]
) -> bytes:
    """What whoever tells of a sum signs."""
    numbers = teller.to_bytes(4, "big"), count.to_bytes(4, "big")
    parts = *numbers, summed, parcel, committed(checkpoints)
    return b"pnyx/sum/" + digest("pnyx/sum", CONTEXT, *parts)


def opened(held: Set, sums: list[list[int]], key_sum: list[list[int]], count: int) -> list | None:
    """The sums of the values of all slots, plane by plane; None if keys and sums do not fit."""
    left = [
        [y - a for y, a in zip(part, product(p, public, key), strict=True)]
        for p, public, key, part in zip(held.primes, masks(held), key_sum, sums, strict=True)
    ]
    columns = [decoded(held, list(residues), count) for residues in zip(*left, strict=True)]
    if None in columns:
        return None
    return [value for plane in zip(*columns, strict=True) for value in plane]


def decoded(held: Set, residues: list[int], count: int) -> list[int] | None:
    """The sums in the slots of one unmasked coefficient; None if it holds none of so many."""
    number = 0
    for p, residue in zip(held.primes, residues, strict=True):
        rest = held.q // p
        number += residue * rest * pow(rest, -1, p)
    number = (number + 2 ** (held.shift - 1)) % held.q >> held.shift
    found = []
    for _ in range(held.slots):
        number, slot = divmod(number, 2**held.slot_bits)
        found.append(slot)
    if number or min(found) < count or max(found) > count * (2**held.bits - 1):
        return None
    return [slot - count * 2 ** (held.bits - 1) for slot in found]


# --- the vectors ----------------------------------------------------------------------------------


def parameter_vectors():
    cases = [
        (1, 12, 2, 0, 1), (100, 12, 24, 64, 4), (10**4, 12, 24, 24, 2), (10**5, 8, 100, 64, 8),
        (10**6, 12, 24, 0, 1), (10**6, 12, 31, 0, 1), (10**6, 16, 256, 64, 8),
        (10**7, 12, 128, 64, 4),
    ]  # fmt: skip
    for length, bits, most, members, packing in cases:
        found = chosen(length, bits, most, members, packing)
        yield {
            "length": length,
            "value_bits": bits,
            "contributors_max": most,
            "members": members,
            "packing": packing,
            "fields": found.fields,
            "encoded": encoded(found.fields).hex(),
            "segments": found.segments,
            "coefficients": found.coefficients,
            "bytes": found.bytes,
        }


def refused_parameters():
    good = chosen(100, 12, 24, 64, 4).fields
    large = (2147377153, 2147352577)  # 31 bits, 1 modulo 8192

    def case(fault, field, **changes):
        names = (
            "degree", "primes", "length", "value_bits", "contributors_max",
            "slots", "slot_bits", "shift", "noise_width",
        )  # fmt: skip
        values = dict(zip(names, good, strict=True)) | changes
        encoding = encoded(list(values.values())).hex()
        return {"fault": fault, "encoded": encoding, "names": field, "error": "MalformedMessage"}

    return [
        case("a 31-bit modulus at degree 1024", "primes", primes=[large[0]]),
        case("a 62-bit modulus at degree 2048", "primes", degree=2048, primes=list(large)),
        case("a 54-bit modulus at degree 1024", "primes", primes=list(PRIMES[:2])),
        case("a modulus that is no prime", "primes", primes=[7 * 19017143]),
        case("degree 512", "degree", degree=512),
        case("narrow errors", "noise_width", noise_width=3.2),
        case("one contributor more than slots hold", "contributors_max", slot_bits=16),
        case("one slot more than the modulus holds", "contributors_max", slots=2),
        case("a shift too small for the errors", "contributors_max", shift=8),
        case("one contributor alone", "contributors_max", contributors_max=1),
        case("257 contributors", "contributors_max", contributors_max=257),
    ]


def group_vectors(ring: str, stream):
    held = Set(ring, 40, 12, 24)
    rows = [[-2047] * 40, [v - 2047 for v in stream.field_elements(4095, 40)]]
    parts = [Contribution(held, who, row) for who, row in enumerate(rows)]
    sums = [
        [sum(column) for column in zip(*(part.residues[at] for part in parts), strict=True)]
        for at in range(len(held.primes))
    ]
    key_sum = [
        [sum(column) % p for column in zip(*(part.key[at] for part in parts), strict=True)]
        for at, p in enumerate(held.primes)
    ]
    assert opened(held, sums, key_sum, 2)[:40] == [sum(each) for each in zip(*rows, strict=True)]
    return {
        "fields": held.fields,
        "context": CONTEXT.hex(),
        "contributions": [contribution_vector(part) for part in parts],
        "sum": [sum(column) for column in zip(*rows, strict=True)],
        "sum_packed_sha256": sha256(packed_sum(held.primes, sums)).hexdigest(),
        "key_sum_sha256": [PLAIN.words_hash([part]) for part in key_sum],
        "linear_hash_sha256": sha256(linear_hash(held, sums)).hexdigest(),
    }


def contribution_vector(part: Contribution):
    return {
        "contributor": part.contributor,
        "seed": part.seed.hex(),
        "context": part.context.hex(),
        "values": part.values,
        "vector_hash": part.vector_hash.hex(),
        "key_start": [key[:4] for key in part.key],
        "errors_start": part.errors[:16],
        "segment_start": part.segment[:64].hex(),
        "segment_sha256": sha256(part.segment).hexdigest(),
        "linear_hash_sha256": sha256(part.linear_hash).hexdigest(),
    }


def decoding_vectors(stream):
    """Sums in the largest ring: residues of Δ·m + E, for the errors that are just still decoded."""
    held = Set("P2", 1000, 12, 128)
    reach = 2 ** (held.shift - 1)
    for sums, error in (
        ([128] * held.slots, -reach),
        ([128] * held.slots, reach - 1),
        ([128 * 4095] * held.slots, reach - 1),
        ([128 * 4095] * held.slots, -reach),
        ([128 + stream.below(128 * 4094) for _ in range(held.slots)], -17),
    ):
        number = (sum(u << held.slot_bits * j for j, u in enumerate(sums)) << held.shift) + error
        yield {
            "fields": held.fields,
            "count": 128,
            "residues": [number % p for p in held.primes],
            "sums": [u - 128 * 2048 for u in sums],
        }


def refused_decodings():
    """Coefficients that hold no sum of so many: keys and vectors do not belong together."""
    for ring in RINGS:
        held = Set(ring, 1000, 12, 24)
        most, last = 24 * 4095, held.slots - 1
        reach, top = 2 ** (held.shift - 1), 2 ** (held.slot_bits * held.slots)
        ones = sum(1 << held.slot_bits * j for j in range(held.slots))
        least, full = 24 * ones, most * ones
        scale, beyond = 2**held.shift, 1 << held.slot_bits * last
        cases = [
            ("the first slot one above the largest sum", 24, (full + 1) * scale),
            ("a sum of 24 for one of 23", 23, full * scale),
            ("the first slot one below the least sum", 24, (least - 1) * scale),
            ("all slots one below the least sum", 24, (least - ones) * scale),
            ("nothing at all", 24, 0),
            ("a sum of 23 for one of 24", 24, 23 * ones * scale),
            ("an error one below the least, at the least sum", 24, least * scale - reach - 1),
            ("an error one above the most, at the largest sum", 24, full * scale + reach),
        ]
        if last:
            cases.append(("the last slot one above the largest sum", 24, (full + beyond) * scale))
            cases.append(("the last slot one below the least sum", 24, (least - beyond) * scale))
        if top * scale <= held.q:
            cases.append(("something above the last slot", 24, top * scale))
        for fault, count, number in cases:
            residues = [number % p for p in held.primes]
            assert decoded(held, residues, count) is None
            yield {
                "fault": f"{ring}: {fault}",
                "fields": held.fields,
                "count": count,
                "residues": residues,
                "error": "DecodingError",
            }


def refused_unmaskings(parts: list[Contribution], right: bytes):
    """Sums of the first group with keys that are not theirs.

    A case without a "sum" of its own has that of "checked_sum". "keys" says whose keys are added
    up, and "added" what is added to element 0 of the sum.
    """
    held, [prime] = parts[0].set, parts[0].set.primes
    residues = [part.residues[0] for part in parts]
    both = [a + b for a, b in zip(*residues, strict=True)]
    step = 2 ** (held.shift + held.slot_bits - 1)  # the upper half of a slot
    high = [(both[0] + step) % prime, *both[1:]]
    least = parts[0].values[0] + parts[1].values[0] + 2 * 2 ** (held.bits - 1)  # in slot 0
    low = [(both[0] - 2**held.shift * (least - 1)) % prime, *both[1:]]
    for fault, keys, added, sums in (
        ("the key of one for the sum of two", [0], 0, both),
        ("one key twice", [0, 0], 0, both),
        ("the keys of two for the vector of one", [0, 1], 0, residues[0]),
        ("one element of a key larger by one", [0, 1], 1, both),
        ("one slot above what two can make it", [0, 1], 0, high),
        ("one slot one below what two can make it", [0, 1], 0, low),
    ):
        columns = zip(*(parts[who].key[0] for who in keys), strict=True)
        key_sum = [sum(column) % prime for column in columns]
        key_sum[0] = (key_sum[0] + added) % prime
        assert opened(held, [sums], [key_sum], 2) is None
        packed = packed_sum([prime], [sums])
        other = {} if packed == right else {"sum": packed.hex()}
        yield {"fault": fault, "keys": keys, "added": added} | other | {"error": "DecodingError"}


def name_vectors(parts: list[Contribution]):
    """What the roles of a round say of masked vectors (section 20)."""
    headers = [sha256(bytes([part.contributor])).digest() for part in parts]
    numbers = [part.contributor.to_bytes(4, "big") for part in parts]
    summed = [number + header for number, header in zip(numbers, headers, strict=True)]
    aggregator = 300
    statement = digest("pnyx/vector", CONTEXT, aggregator.to_bytes(4, "big"), headers[0])
    checkpoints = [checkpoint(part.linear_hash) for part in parts]
    [prime], name = parts[0].set.primes, digest("pnyx/summed", CONTEXT, *summed)
    sums = [[a + b for a, b in zip(*(part.residues[0] for part in parts), strict=True)]]
    parcel = parcel_name(packed_sum([prime], sums))
    of_sum = checkpoint(linear_hash(parts[0].set, sums))
    return {
        "contributors": [part.contributor for part in parts],
        "header_hashes": [header.hex() for header in headers],
        "parcels": [parcel_name(part.segment).hex() for part in parts],
        "checkpoints": [each.hex() for each in checkpoints],
        "earlier": earlier(checkpoints[:1]).hex(),
        "committed": [committed([each]).hex() for each in checkpoints],
        "summed": name.hex(),
        "aggregator": aggregator,
        "receipt_of_first": (b"pnyx/vector/" + statement).hex(),
        "sum_parcel": parcel.hex(),
        "sum_checkpoint": of_sum.hex(),
        "sum_committed": committed([of_sum]).hex(),
        "sum_statement": sum_statement(aggregator, name, len(parts), parcel, [of_sum]).hex(),
    }


def refused_vectors(part: Contribution):
    """Bytes that are no masked vector; a parcel of them can be named and pulled all the same."""
    data = part.segment
    beyond = packed(part.set.primes[0], [part.set.primes[0], *part.residues[0][1:]])
    return [
        {"fault": fault, "data": each.hex(), "error": "MalformedMessage"}
        for fault, each in (
            ("a byte short", data[:-1]),
            ("a byte more", data + bytes(1)),
            ("nothing", b""),
            ("the prime itself", beyond),
        )
    ]


def sum_vectors(parts: list[Contribution]):
    """A sum of two vectors, in full, and what is not that sum.

    A case names its linear hashes by their place; without a "sum" of its own it has the right one.
    """
    [prime] = parts[0].set.primes
    sums = [a + b for a, b in zip(*(part.residues[0] for part in parts), strict=True)]
    right = packed_sum([prime], [sums])
    hashes = [part.linear_hash for part in parts]
    hashes += [hashes[1][:-1], bytes([255]) * len(hashes[1])]
    moved = [sums[0] + 1 if sums[0] < 2 * (prime - 1) else sums[0] - 1, *sums[1:]]
    residues = packed(prime, [prime, *(v % prime for v in sums[1:])])

    def with_sum(fault: str, integers: list[int]):
        data = packed_sum([prime], [integers])
        return {"fault": fault, "sum": data.hex(), "hashes": [0, 1], "error": "RuleBroken"}

    def with_hashes(fault: str, places: list[int], error: str = "RuleBroken"):
        return {"fault": fault, "hashes": places, "error": error}

    def malformed(fault: str, data: bytes):
        return {"fault": fault, "sum": data.hex(), "hashes": [0, 1], "error": "MalformedMessage"}

    refused = [
        with_sum("one coefficient altered", moved),
        with_sum("two coefficients exchanged", [sums[1], sums[0], *sums[2:]]),
        with_sum("the same residue and the prime once more", plus_prime(prime, sums)),
        with_sum("more than two vectors can make it", [2 * prime - 1, *sums[1:]]),
        with_hashes("a contributor left out", [0]),
        with_hashes("a contributor twice", [0, 0, 1]),
        with_hashes("a linear hash of another vector", [0, 0]),
        with_hashes("a linear hash cut short", [0, 2], "MalformedMessage"),
        with_hashes("a linear hash beyond its primes", [0, 3], "MalformedMessage"),
        malformed("a byte short", right[:-1]),
        malformed("a residue that is the prime", residues + right[len(residues) :]),
    ]
    return {
        "sum": right.hex(),
        "linear_hashes": [each.hex() for each in hashes],
        "refused": refused,
    }


def plus_prime(prime: int, sums: list[int]) -> list[int]:
    """An integer with the same residue, still in the range of two vectors."""
    place = next(at for at, value in enumerate(sums) if value + prime <= 2 * (prime - 1))
    return [*sums[:place], sums[place] + prime, *sums[place + 1 :]]


def packed_sum(primes, sums: list[list[int]]) -> bytes:
    return b"".join(
        packed(p, [v % p for v in part]) + bytes(v // p for v in part)
        for p, part in zip(primes, sums, strict=True)
    )


def vectors():
    stream = Stream(PLAIN.SEED, "vectors/masked")
    groups = [group_vectors(ring, stream) for ring in ("P0", "P1")]
    held = Set("P0", 40, 12, 24)
    made = [
        Contribution(held, at, each["values"]) for at, each in enumerate(groups[0]["contributions"])
    ]
    decodings = list(decoding_vectors(stream))
    checked = sum_vectors(made)
    groups.append(group_vectors("P2", stream))
    return {
        "parameters": list(parameter_vectors()),
        "parameters_refused": refused_parameters(),
        "groups": groups,
        "names": name_vectors(made),
        "decodings": decodings,
        "decodings_refused": list(refused_decodings()),
        "vectors_refused": refused_vectors(made[0]),
        "checked_sum": checked,
        "unmaskings_refused": list(refused_unmaskings(made, bytes.fromhex(checked["sum"]))),
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("masked.json")
    path.write_text(json.dumps(vectors(), indent=1) + "\n")
