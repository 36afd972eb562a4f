"""Slow, plain versions of the primitives, from which the vectors beside this file were made.

Everything is Python integers and byte strings, written from the description of each primitive and
sharing no code with pnyx. `python tests/vectors/reference.py` writes the JSON files again;
`test_primitive_vectors.py` checks that they are what this file gives, and that pnyx agrees.

Byte strings are in hexadecimal, matrices are lists of rows. A case with an "error" or a "fault"
holds a single fault and must be refused: with that error, or with the answer "no".
"""

import json
from fractions import Fraction
from hashlib import sha256
from math import ceil
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

P1, P2 = 134176769, 134111233
SEED = bytes(range(32))


def digest(domain: str, *parts: bytes) -> bytes:
    message = b""
    for piece in (domain.encode(), *parts):
        message += len(piece).to_bytes(8, "big") + piece
    return sha256(message).digest()


def tree_top(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return sha256(b"\x01" + tree_top(leaves[:split]) + tree_top(leaves[split:])).digest()


def tree_root(leaves: list[bytes]) -> bytes:
    return sha256(b"\x02" + len(leaves).to_bytes(8, "big") + tree_top(leaves)).digest()


def tree_path(leaves: list[bytes], index: int) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    if index < split:
        return [*tree_path(leaves[:split], index), tree_top(leaves[split:])]
    return [*tree_path(leaves[split:], index - split), tree_top(leaves[:split])]


class Stream:
    """AES-256 of a counter, read from the first block on."""

    def __init__(self, seed: bytes, domain: str) -> None:
        self.cipher = Cipher(AES256(digest("pnyx/sampler", domain.encode(), seed)), ECB())
        self.pending, self.counter = b"", 0

    def bytes(self, count: int):
        if len(self.pending) < count:
            blocks = max(64, ceil((count - len(self.pending)) / 16))  # ahead: one by one is slow
            counters = range(self.counter, self.counter + blocks)
            plain = b"".join(each.to_bytes(16, "big") for each in counters)
            self.pending += self.cipher.encryptor().update(plain)
            self.counter += blocks
        piece, self.pending = self.pending[:count], self.pending[count:]
        return piece

    def cut(self, size: int, bound: int) -> int:
        """Read words of `size` bytes, cut to the bits of bound - 1, until one is below bound."""
        mask = (1 << (bound - 1).bit_length()) - 1
        while True:
            value = int.from_bytes(self.bytes(size), "little") & mask
            if value < bound:
                return value

    def below(self, bound: int) -> int:
        return self.cut(((bound - 1).bit_length() + 7) // 8, bound)

    def field_elements(self, modulus: int, count: int) -> list[int]:
        return [self.cut(4, modulus) for _ in range(count)]

    def matrix(self, modulus: int, rows: int, columns: int) -> list[list[int]]:
        return [self.field_elements(modulus, columns) for _ in range(rows)]

    def sample(self, population: int, count: int) -> list[int]:
        places = list(range(population))
        for place in range(count):
            other = place + self.below(population - place)
            places[place], places[other] = places[other], places[place]
        return places[:count]


def interpolate(p: int, points: list[int], values: list[int], x: int) -> int:
    total = 0
    for i, a in enumerate(points):
        term = values[i]
        for b in points:
            if b != a:
                term = term * (x - b) * pow(a - b, -1, p) % p
        total += term
    return total % p


def share(p: int, members: int, secrets, randomness) -> list[list[int]]:
    """Secrets at -1, -2, ...; the randomness is the shares of the first members."""
    points = [-1 - slot for slot in range(len(secrets))]
    points += [1 + member for member in range(len(randomness))]
    columns = list(zip(*secrets, *randomness, strict=True))
    return [[interpolate(p, points, column, 1 + j) for column in columns] for j in range(members)]


def hashing_vectors():
    calls = [("", []), ("pnyx", []), ("pnyx", [b""]), ("pnyx", [b"", b""]), ("pnyx", [b"ab", b"c"])]
    calls += [("pnyx", [b"a", b"bc"]), ("pnyx/é", [bytes(1000)]), ("p", [b"nyx"])]
    return {
        "digest": [
            {
                "domain": domain,
                "parts": [part.hex() for part in parts],
                "digest": digest(domain, *parts).hex(),
            }
            for domain, parts in calls
        ]
    }


def merkle_vectors():
    def case(leaves: list[bytes], position: int, /, **changes):
        good = {
            "root": tree_root(leaves).hex(),
            "leaf": leaves[position].hex(),
            "index": position,
            "count": len(leaves),
            "proof": [sibling.hex() for sibling in tree_path(leaves, position)],
        }
        return good | changes

    leaves = [bytes([number]) * number for number in range(11)]
    path = [sibling.hex() for sibling in tree_path(leaves, 4)]
    inner = [sha256(b"\x00" + leaf).digest() for leaf in leaves[4:6]]
    unbound = sha256(b"\x01" + tree_top(leaves[:2]) + tree_top(leaves[2:3])).hexdigest()
    return {
        "proofs": [
            case(leaves[:count], index) for count in (1, 2, 3, 7, 8, 11) for index in range(count)
        ],
        "refused": [
            case(leaves, 4, fault="another leaf", leaf=leaves[5].hex()),
            case(leaves, 4, fault="another index", index=5),
            case(leaves, 4, fault="index beyond the count", index=11),
            case(leaves[:8], 7, fault="negative index", index=-1),
            case(leaves, 4, fault="another count", count=12),
            case(leaves, 4, fault="no sibling", proof=[]),
            case(leaves, 4, fault="one sibling too few", proof=path[:-1]),
            case(leaves, 4, fault="one sibling too many", proof=[*path, path[-1]]),
            case(leaves, 4, fault="siblings out of order", proof=path[::-1]),
            case(leaves, 4, fault="a sibling of 31 bytes", proof=[path[0][:-2], *path[1:]]),
            case(leaves[:3], 2, fault="a root that does not bind the count", root=unbound),
            case(leaves[:3], 2, fault="leaf 2 of 3 shown as leaf 1 of 2", index=1, count=2),
            case(
                leaves,
                4,
                fault="an inner node shown as a leaf",
                leaf=b"".join(inner).hex(),
                index=2,
                count=6,
                proof=path[1:],
            ),
        ],
    }


def field_vectors():
    stream = Stream(SEED, "vectors/field")
    cases = []
    for p in (P1, P2):
        a = [0, 1, p - 1, p // 2, p // 2 + 1, *stream.field_elements(p, 5)]
        b = [p - 1, p - 1, p - 1, 2, 2, *stream.field_elements(p, 5)]
        left, right = stream.matrix(p, 3, 4), stream.matrix(p, 4, 2)
        pairs = list(zip(a, b, strict=True))
        case = {
            "modulus": p,
            "a": a,
            "b": b,
            "sum": [(x + y) % p for x, y in pairs],
            "difference": [(x - y) % p for x, y in pairs],
            "product": [x * y % p for x, y in pairs],
            "inverse_of_b": [pow(y, -1, p) for y in b],
            "centred_a": [x if 2 * x < p else x - p for x in a],
            "packed_a": b"".join(x.to_bytes(4, "little") for x in a).hex(),
            "left": left,
            "right": right,
            "matrix_product": [
                [
                    sum(x * y for x, y in zip(row, column, strict=True)) % p
                    for column in zip(*right, strict=True)
                ]
                for row in left
            ],
        }
        cases.append(case)
    half = P1 * P2 // 2
    integers = [0, 1, -1, half, -half, 10**15, -(10**15)]
    good = (5).to_bytes(4, "little")
    refusals = [
        ("the modulus itself", good + P1.to_bytes(4, "little"), 2),
        ("all bits set", good + b"\xff" * 4, 2),
        ("one element too few", good, 2),
        ("one element too many", good * 3, 2),
        ("a byte short", good + good[:3], 2),
    ]
    return {
        "operations": cases,
        "residues": {
            "moduli": [P1, P2],
            "integers": integers,
            "residues": [[value % p for value in integers] for p in (P1, P2)],
        },
        "unpack_refused": [
            {
                "modulus": P1,
                "fault": fault,
                "data": data.hex(),
                "count": count,
                "error": "MalformedMessage",
            }
            for fault, data, count in refusals
        ],
    }


def sharing_vectors():
    stream = Stream(SEED, "vectors/sharing")
    width, sharings = 3, []
    for p, members, privacy, packing in ((P1, 24, 4, 2), (P2, 5, 2, 3), (P1, 9, 1, 1)):
        secrets = stream.matrix(p, packing, width)
        randomness = stream.matrix(p, privacy, width)
        sharings.append(
            {
                "modulus": p,
                "members": members,
                "privacy": privacy,
                "packing": packing,
                "secrets": secrets,
                "randomness": randomness,
                "shares": share(p, members, secrets, randomness),
            }
        )
    committee = sharings[0]
    combination = stream.field_elements(P1, width)

    def answers(indices: list[int], lying: list[int], /, **outcome):
        rows = [list(committee["shares"][index]) for index in indices]
        for liar in lying:
            row = rows[indices.index(liar)]
            row[liar % width] = (row[liar % width] + 1 + stream.below(P1 - 1)) % P1
        return {
            "indices": indices,
            "shares": rows,
            "corrupt_max": 4,
            "combination": combination,
        } | outcome

    everyone = list(range(24))
    shuffled = stream.sample(24, 20)
    good = {"secrets": committee["secrets"]}
    decodings = [
        answers(everyone, [], liars=[], **good),
        answers(everyone, [0, 9, 17, 23], liars=[0, 9, 17, 23], **good),
        answers(shuffled, shuffled[3:7], liars=sorted(shuffled[3:7]), **good),
        answers(shuffled[:10], [], liars=[], **good),
        answers(shuffled[:12], shuffled[:2], liars=sorted(shuffled[:2]), **good),
    ]
    refused = [
        answers(shuffled[:9], [], fault="too few answers", error="DecodingError"),
        answers(shuffled[:10], shuffled[:1], fault="one lie, none safe", error="DecodingError"),
        answers(shuffled[:12], shuffled[:3], fault="three lies, two safe", error="DecodingError"),
    ]
    return {"sharings": sharings, "decodings": decodings, "refused": refused}


def sampling_vectors():
    cases = []
    for seed, domain in ((SEED, "vectors"), (SEED, "other"), (bytes(32), "vectors")):
        stream = Stream(seed, domain)
        calls = []
        for method, arguments in (
            ("bytes", [5]),
            ("field_elements", [P1, 4]),
            ("below", [1]),
            ("below", [7]),
            ("below", [256]),
            ("below", [10**30]),
            ("field_elements", [257, 8]),
            ("sample", [36, 24]),
            ("bytes", [2000]),
            ("sample", [5, 5]),
            ("field_elements", [2**32, 3]),
        ):
            result = getattr(stream, method)(*arguments)
            calls.append(
                {
                    "method": method,
                    "arguments": arguments,
                    "result": result.hex() if isinstance(result, bytes) else result,
                }
            )
        cases.append({"seed": seed.hex(), "domain": domain, "calls": calls})
    return {"streams": cases}


def signature_vectors():
    """RFC 8032, section 7.1, tests 1 to 3, and faults that naive verifiers let through."""
    tests = [
        {
            "seed": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "message": "",
            "signature": "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb88215"
            "90a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        },
        {
            "seed": "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "public_key": "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "message": "72",
            "signature": "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e4"
            "3e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        },
        {
            "seed": "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "public_key": "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "message": "af82",
            "signature": "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b53"
            "8d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        },
    ]
    good = {key: tests[1][key] for key in ("public_key", "message", "signature")}
    order = 2**252 + 27742317777372353535851937790883648493
    raw = bytes.fromhex(good["signature"])
    larger = (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    neutral = (1).to_bytes(32, "little").hex()
    refused = [
        good | {"fault": "another message", "message": "73"},
        good | {"fault": "another key", "public_key": tests[0]["public_key"]},
        good | {"fault": "a scalar that is not reduced", "signature": (raw[:32] + larger).hex()},
        good | {"fault": "a truncated signature", "signature": raw[:63].hex()},
        good | {"fault": "a byte too many", "signature": raw.hex() + "00"},
        good | {"fault": "a truncated key", "public_key": good["public_key"][:-2]},
        good
        | {
            "fault": "key and commitment of small order",
            "public_key": neutral,
            "signature": neutral + "00" * 32,
        },
    ]
    return {"signatures": tests, "refused": refused}


def envelope_vectors():
    """RFC 9180, appendix A.1.1, with its key and nonce and no additional data."""
    key = bytes.fromhex("4531685d41d65f03dc48f6b8302c05b0")
    nonce = bytes.fromhex("56d890e5accaaf011cff4b7d")
    encapsulated = "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"
    plaintext = b"Beauty is truth, truth beauty"
    sealed = encapsulated + AESGCM(key).encrypt(nonce, plaintext, b"").hex()
    good = {
        "private_key": "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
        "public_key": "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
        "info": b"Ode on a Grecian Urn".hex(),
        "sealed": sealed,
        "plaintext": plaintext.hex(),
    }
    wrong = {"error": "MalformedMessage"}
    return {
        "envelopes": [good],
        "refused": [
            good | wrong | {"fault": "another context", "info": b"Ode on a Grecian urn".hex()},
            good | wrong | {"fault": "no context", "info": ""},
            good | wrong | {"fault": "another key", "private_key": "00" * 32},
            good | wrong | {"fault": "truncated", "sealed": sealed[:-2]},
            good | wrong | {"fault": "a byte too many", "sealed": sealed + "00"},
            good
            | wrong
            | {"fault": "an encapsulated key of small order", "sealed": "00" * 32 + sealed[64:]},
        ],
    }


class Ring:
    """Z_p[X]/(X^n + 1): lanes of 32 polynomials side by side, [n][32]."""

    def __init__(self, n: int, p: int) -> None:
        generator = 2
        while pow(generator, (p - 1) // 2, p) == 1:
            generator += 1
        self.n, self.p = n, p
        self.root = pow(generator, (p - 1) // (2 * n), p)
        self.powers = [pow(self.root, exponent, p) for exponent in range(2 * n)]

    def values(self, terms: dict[int, int]) -> list[int]:
        """The polynomial of these coefficients at every root, in bit-reversed order."""
        found = []
        for place in range(self.n):
            odd = 2 * int(format(place, "b").zfill(self.n.bit_length() - 1)[::-1], 2) + 1
            products = (c * self.powers[odd * i % (2 * self.n)] for i, c in terms.items())
            found.append(sum(products) % self.p)
        return found

    def product(self, a: list[int], b: list[int]) -> list[int]:
        result = [0] * self.n
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                result[(i + j) % self.n] += x * y if i + j < self.n else -x * y
        return [value % self.p for value in result]

    def packed(self, rows: list[list[int]]) -> bytes:
        """32 values of a lane are one little-endian number; its words alternate with the lanes'."""
        bits, result = self.p.bit_length(), b""
        for start in range(0, len(rows), 32):
            columns = zip(*rows[start : start + 32], strict=True)
            numbers = [sum(v << bits * i for i, v in enumerate(column)) for column in columns]
            for word in range(bits):
                for number in numbers:
                    result += (number >> 32 * word & 0xFFFFFFFF).to_bytes(4, "little")
        return result

    def public(self, seed: bytes, block: int) -> list[list[int]]:
        stream = Stream(seed, f"ring/public/{self.n}/{self.p}/{block}")
        return stream.matrix(self.p, self.n, 32)


def words_hash(rows: list[list[int]]) -> str:
    """SHA-256 of the rows as little-endian words of 4 bytes."""
    return sha256(b"".join(v.to_bytes(4, "little") for row in rows for v in row)).hexdigest()


def exponential(exponent: Fraction) -> int:
    """exp(-exponent)·2^300, within 2^60: the power series of a small part, squared up."""
    x, unit = exponent / 4096, 1 << 300
    term, total, count = unit, unit, 0
    while term:
        count += 1
        term = term * x.numerator // (x.denominator * count)
        total += -term if count % 2 else term
    for _ in range(12):
        total = total * total >> 300
    return total


def gaussian_table(sigma: float) -> list[int]:
    """P(X <= k)·2^128 for k from -ceil(13.5 sigma) on, rounded."""
    end = ceil(Fraction(27, 2) * Fraction(sigma))
    weights = [
        exponential(Fraction(k * k) / (2 * Fraction(sigma) ** 2)) for k in range(-end, end + 1)
    ]
    total, running, table = sum(weights), 0, []
    for weight in weights[:-1]:
        running += weight
        table.append(((running << 129) + total) // (2 * total))
    return table


def gaussian(seed: bytes, sigma: float, count: int, domain: str) -> tuple[list[int], int]:
    """Errors, and how many of them needed their tail."""
    heads, tails = Stream(seed, f"{domain}/heads"), Stream(seed, f"{domain}/tails")
    table, errors, used = gaussian_table(sigma), [], 0
    undecided = {entry >> 112 for entry in table}
    for _ in range(count):
        draw = int.from_bytes(heads.bytes(2), "little")
        tail = 0
        if draw in undecided:
            tail = int.from_bytes(tails.bytes(14), "little")
            used += 1
        draw = draw << 112 | tail
        errors.append(sum(entry <= draw for entry in table) - len(table) // 2)
    return errors, used


HASH_PRIMES = (1073707009, 1073698817, 1073692673)


def linear_hash(seed: bytes, terms: dict[tuple[int, int, int], int]) -> list[list[int]]:
    """Of a vector that is zero but for some places (block, coefficient, lane)."""
    parts = []
    for p in HASH_PRIMES:
        ring, part = Ring(1024, p), [0] * 1024
        for block in {place[0] for place in terms}:
            key = ring.public(seed, block)
            for lane in {place[2] for place in terms if place[0] == block}:
                polynomial = {i: c for (b, i, at), c in terms.items() if (b, at) == (block, lane)}
                values = ring.values(polynomial)
                part = [
                    (x + row[lane] * y) % p for x, row, y in zip(part, key, values, strict=True)
                ]
        parts.append(part)
    return parts


def ring_cases(stream: Stream):
    for n, p in ((32, P1), (64, P2), (32, 67109633), (32, HASH_PRIMES[0])):
        ring = Ring(n, p)
        a, key = stream.field_elements(p, n), stream.field_elements(p, n)
        a[:3] = 0, 1, p - 1
        public = ring.public(SEED, 7)
        packed = ring.packed(public)
        yield {
            "degree": n,
            "modulus": p,
            "root": ring.root,
            "polynomial": a,
            "key": key,
            "transform": ring.values(dict(enumerate(a))),
            "product": ring.product(a, key),
            "public_seed": SEED.hex(),
            "public_block": 7,
            "public_first_row": public[0],
            "public_sha256": words_hash(public),
            "packed_start": packed[:128].hex(),
            "packed_sha256": sha256(packed).hexdigest(),
        }


def ring_vectors():
    stream = Stream(SEED, "vectors/ring")
    cases = list(ring_cases(stream))
    small = Ring(32, P1)
    wrong = {"degree": small.n, "modulus": small.p, "error": "MalformedMessage"}
    zeros = bytes(small.n * 32 * 27 // 8).hex()

    def altered(row: int, lane: int, value: int) -> str:
        rows = [[0] * 32 for _ in range(small.n)]
        rows[row][lane] = value
        return small.packed(rows).hex()

    errors = []
    for sigma, count in ((4.5, 20_000), (3.18, 5_000), (0.5, 1_000)):
        drawn, used = gaussian(SEED, sigma, count, "vectors")
        errors.append(
            {
                "seed": SEED.hex(),
                "sigma": sigma,
                "domain": "vectors",
                "count": count,
                "tails_used": used,
                "first": drawn[:64],
                "sha256": sha256(bytes(each % 256 for each in drawn)).hexdigest(),
            }
        )
    places = [(0, 0, 0), (0, 1023, 31), (0, 5, 0), (1, 77, 3), (1, 78, 3), (1, 1023, 12)]
    terms = dict(zip(places, [1, P1 - 1, 2**35 - 1, *stream.field_elements(P1, 3)], strict=True))
    digest = linear_hash(SEED, terms)
    return {
        "rings": cases,
        "errors": errors,
        "linear_hashes": [
            {
                "seed": SEED.hex(),
                "blocks": 2,
                "terms": [[*place, value] for place, value in terms.items()],
                "first": [part[:8] for part in digest],
                "sha256": words_hash(digest),
            }
        ],
        "unpack_refused": [
            wrong | {"fault": "a byte short", "data": zeros[:-2]},
            wrong | {"fault": "a byte too many", "data": zeros + "00"},
            wrong | {"fault": "nothing", "data": ""},
            wrong | {"fault": "the modulus itself", "data": altered(0, 0, small.p)},
            wrong | {"fault": "all bits of the last set", "data": altered(31, 31, 2**27 - 1)},
        ],
    }


def vectors():
    return {
        "hashing": hashing_vectors(),
        "merkle": merkle_vectors(),
        "field": field_vectors(),
        "sharing": sharing_vectors(),
        "sampling": sampling_vectors(),
        "signature": signature_vectors(),
        "envelope": envelope_vectors(),
        "ring": ring_vectors(),
    }


if __name__ == "__main__":
    for name, content in vectors().items():
        target = Path(__file__).with_name(f"{name}.json")
        target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
