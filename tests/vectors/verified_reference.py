"""A slow, plain version of verified masked contributions: `masked_verification.json` comes from it.

Python integers and byte strings, written from docs/protocol.md (section 11) on top of
`long_reference.py`, which masks with numpy's integers, and sharing no code with pnyx.
`python tests/vectors/verified_reference.py` writes the file again;
`test_masked_verification_vectors.py` checks that it is what this file gives, and that pnyx agrees.

`masked_verification_long.json` is from the same computation with an update of two blocks: run with
another LENGTH (`runpy`'s init_globals). Long arrays are in it by their SHA-256.

"given" holds everything that is chosen, randomness included: the seed, from which all secrets
follow, and what they came to (salts, masking key, blinds and mask are columns of "payloads").
Negative cases hold one fault each, in bytes, and the error, or the verdict and who is off.
"""

import json
import runpy
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from math import comb, isqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np

LONG = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("long_reference.py"))))
MASKS, PLAIN = LONG.MASKS, LONG.PLAIN
digest, Stream = PLAIN.digest, PLAIN.Stream

FIELDS = (PLAIN.P1, PLAIN.P2)
P = PLAIN.P1
ROWS, TABLES, BUCKETS, BLOCKS, BLOCK = 256, 8, 4096, 8, 32 * 1024
MEMBERS, CORRUPT, PACKING, QUORUM = 7, 1, 2, 6
DEGREE = CORRUPT + PACKING - 1
DEGREES = (DEGREE, DEGREE + PACKING - 1, 2 * DEGREE)  # of V, L, Q
CONTRIBUTOR = 9
NORM_MAX, COLLUDING_MAX, COUNT_MAX = 1112, 6, 3
CHALLENGE = bytes(range(64, 96))
LENGTH = globals().get("LENGTH", 1000)
LENGTH_OF_TWO_BLOCKS = BLOCK + 5
STATED = SimpleNamespace(
    n=1024, primes=(P,), length=LENGTH, bits=11, most=24, slots=1, slot_bits=16, shift=9,
    coefficients=1024 * -(-LENGTH // 1024), fields=[1024, [P], LENGTH, 11, 24, 1, 16, 9, 4.5],
)  # fmt: skip
SENT = STATED.coefficients
UPDATE = [at % 7 - 3 for at in range(STATED.length)]
COUNTS = [2, 0, 3]

# --- sizes ----------------------------------------------------------------------------------------

SCALE = 2**STATED.shift
NORM = SCALE * NORM_MAX
DIGIT = isqrt(8 * NORM // 5)
THRESHOLDS = (-(-64 * NORM**2 // DIGIT**2), 25 * DIGIT**2)
COUNT_BITS = COUNT_MAX.bit_length()
SLACK = [[*(2**i for i in range(t.bit_length() - 1))] for t in THRESHOLDS]
SLACK = [[*powers, t - sum(powers)] for powers, t in zip(SLACK, THRESHOLDS, strict=True)]
BITS = sum(map(len, SLACK)) + len(COUNTS) * COUNT_BITS
WIDTH = isqrt(11**2 * 337 * (sum(THRESHOLDS) + BITS)) + 1
PUBLISHED_MAX = 6 * WIDTH
ENTRY_MAX = 2 ** (STATED.bits - 1) - 1
ERRORS_MAX = isqrt(2 * STATED.most * (65 + SENT.bit_length()) * 567 // 40) + 1
REACH = COLLUDING_MAX * (22 * NORM // 10 + 1)
REACH += (STATED.most - COLLUDING_MAX) * SCALE * ENTRY_MAX + ERRORS_MAX


def repetitions() -> int:
    honest, count = max(2 * DEGREE + 1, QUORUM - CORRUPT), 2
    while comb(MEMBERS - CORRUPT, honest) * 2**40 > min(FIELDS) ** count:
        count += 1
    return count


TIMES = repetitions()


def columns(length: int) -> int:
    return -(-length // PACKING)


DIGITS, SLACKS = columns(ROWS), columns(sum(map(len, SLACK)))
SQUARED, AT_BITS = (slice(0, DIGITS), slice(DIGITS, 2 * DIGITS)), 2 * DIGITS
AT_COUNTS = AT_BITS + SLACKS
SHORT = AT_COUNTS + COUNT_BITS * columns(len(COUNTS))  # of X
DATA = SHORT + columns(ROWS)  # and of the mask
COLUMNS = DATA + 3 * TIMES  # and of the blinds
KEY = columns(STATED.n)


def slots(row: list[int]) -> list[list[int]]:
    width = columns(len(row))
    padded = row + [0] * (PACKING * width - len(row))
    return [padded[at * width : (at + 1) * width] for at in range(PACKING)]


def words(values: list[int]) -> bytes:
    return b"".join(v.to_bytes(4, "little") for v in values)


def joined(rows) -> list[int]:
    return [value for row in rows for value in row]


def dot(left, right) -> int:
    return sum(map(int.__mul__, left, right))


# --- the sketch -----------------------------------------------------------------------------------


def stream_at(seed: bytes, domain: str, start: int, count: int) -> bytes:
    """Bytes of a stream from a place on, a multiple of 16."""
    stream = Stream(seed, domain)
    stream.counter = start // 16
    return stream.bytes(count)


class Sketch:
    """P: each entry's bucket and sign in each table, each bucket's row and sign in each block."""

    def __init__(self, sketched: bytes) -> None:
        self.codes = [self.chunk_codes(sketched, first) for first in range(0, SENT, BLOCK)]
        each = TABLES * BUCKETS
        self.rows = [
            b"".join(
                stream_at(sketched, "pnyx/sketch/rows", block * each + part * BUCKETS, BUCKETS)
                for part in range(TABLES)
            )
            for block in range(BLOCKS)
        ]

    def chunk_codes(self, sketched: bytes, first: int) -> list[list[int]]:
        """The codes of the entries of one chunk that are sent, table by table."""
        number = (first // BLOCK).to_bytes(4, "big")
        chunk, sent = digest("pnyx/sketch/chunk", sketched, number), min(BLOCK, SENT - first)
        starts = range(0, 2 * TABLES * BLOCK, 2 * BLOCK)
        read = [stream_at(chunk, "pnyx/sketch/codes", start, 2 * sent) for start in starts]
        return [[int.from_bytes(r[at : at + 2], "little") for at in range(0, 2 * sent, 2)]
                for r in read]  # fmt: skip

    def column(self, entry: int):
        """The rows that an entry goes to, with signs: 64 of them, some perhaps alike."""
        for table in range(TABLES):
            code = self.codes[entry // BLOCK][table][entry % BLOCK]
            sign = -1 if code >> 12 & 1 else 1
            for block in range(BLOCKS):
                row = self.rows[block][table * BUCKETS + (code & 0xFFF)]
                yield 32 * block + (row & 31), -sign if row >> 5 & 1 else sign

    def apply(self, vector: list[int]) -> list[int]:
        """P·z."""
        found = [0] * ROWS
        for entry, value in enumerate(vector):
            for row, sign in self.column(entry):
                found[row] += sign * value
        return found

    def transposed(self, weights: list[int]) -> list[int]:
        """weights·P, of the entries that are sent."""
        return [
            sum(sign * weights[row] for row, sign in self.column(entry)) % P
            for entry in range(SENT)
        ]


def digits_of(sketch: list[int]):
    """Upper and lower digits, and slack bits; None over a threshold."""
    upper = [(u + DIGIT // 2) // DIGIT for u in sketch]
    lower = [u - DIGIT * a for u, a in zip(sketch, upper, strict=True)]
    slack = []
    for row, threshold, powers in zip((upper, lower), THRESHOLDS, SLACK, strict=True):
        left = threshold - dot(row, row)
        if left < 0:
            return None
        slack += bits_of(left, powers)
    return upper, lower, slack


def bits_of(value: int, powers: list[int]) -> list[int]:
    """Weights are powers of two, the last one cut so that they add up to the limit."""
    last = value >> (len(powers) - 1)
    rest = value - last * powers[-1]
    return [*(rest >> at & 1 for at in range(len(powers) - 1)), last]


# --- the contributor ------------------------------------------------------------------------------


def expanded(seed: bytes) -> list[list[int]]:
    """The columns that a seed stands for, those of the key included."""
    stream = Stream(seed, "pnyx/masked-verification/share")
    return [
        stream.field_elements(p, COLUMNS + keys) for p, keys in zip(FIELDS, (KEY, 0), strict=True)
    ]


class Contribution:
    """What a contributor sends, and everything on the way. forged: with a wrong slack bit."""

    def __init__(self, *, forged: bool = False) -> None:
        self.forged = forged
        self.masked = LONG.Contribution(STATED, CONTRIBUTOR, UPDATE)
        self.seed, self.context = self.masked.seed, self.masked.context
        self.key, [errors] = self.masked.key[0].tolist(), self.masked.errors
        padded = UPDATE + [0] * (SENT - LENGTH)
        self.hidden = [SCALE * v + e for v, e in zip(padded, errors.tolist(), strict=True)]
        [self.segment] = self.masked.segments
        self.parcel = MASKS.parcel_name(self.segment)
        parts = [b"".join(v.to_bytes(8, "little") for v in part) for part in (self.key, COUNTS)]
        secret = digest(
            "pnyx/masked-verification/seed", self.seed, self.context, self.parcel, *parts
        )
        self.stream = Stream(secret, "pnyx/masked-verification")
        self.seeds = [self.stream.bytes(32) for _ in range(CORRUPT)]
        self.salts = [self.stream.bytes(16) for _ in range(MEMBERS - CORRUPT)]
        given = [expanded(each) for each in self.seeds]
        self.table = given + [[[0] * (COLUMNS + KEY), [0] * COLUMNS] for _ in self.salts]
        self.deal(0, COLUMNS, slots(self.key), DEGREE)
        self.leaves = [self.leaf(member) for member in range(MEMBERS)]
        self.key_root = PLAIN.tree_root(self.leaves)
        self.draw_sketch()
        self.share_digits()
        self.share_blinds()
        self.publish()
        offset = SCALE * 2 ** (STATED.bits - 1)
        lowered = [(y - offset) % P for y in self.masked.residues[0].tolist()]
        self.stated = words([v % P for v in self.sketch.apply(lowered)])
        self.checkpoint = MASKS.checkpoint(self.masked.linear_hash, self.stated)

    def deal(self, at: int, start: int, secrets: list[list[int]], degree: int) -> None:
        """Share secrets in columns of a field; the first shares are the seeds', the next drawn."""
        width, p = len(secrets[0]), FIELDS[at]
        given = [rows[at][start : start + width] for rows in self.table[:CORRUPT]]
        given += self.stream.matrix(p, degree + 1 - PACKING - CORRUPT, width)
        dealt = PLAIN.share(p, MEMBERS, secrets, given)
        for rows, share in zip(self.table, dealt, strict=True):
            rows[at][start : start + width] = share

    def draw_sketch(self) -> None:
        digits = None
        while digits is None:
            self.salt = self.stream.bytes(16)
            self.sketched = digest(
                "pnyx/masked-verification/sketch",
                self.context, self.parcel, self.key_root, self.salt,
            )  # fmt: skip
            self.sketch = Sketch(self.sketched)
            self.sketch_of_hidden = self.sketch.apply(self.hidden)
            digits = digits_of(self.sketch_of_hidden)
        self.upper, self.lower, self.slack = digits

    def share_digits(self) -> None:
        if self.forged:
            self.slack[3] ^= 1
        powers = [*(2**at for at in range(COUNT_BITS - 1))]
        powers.append(COUNT_MAX - sum(powers))
        counted = zip(*(bits_of(count, powers) for count in COUNTS), strict=True)
        rows = [slots(row) for row in (self.upper, self.lower, self.slack, *map(list, counted))]
        self.short = [joined(row[at] for row in rows) for at in range(PACKING)]
        for at, p in enumerate(FIELDS):
            self.deal(at, 0, [[v % p for v in slot] for slot in self.short], DEGREE)

    def share_blinds(self) -> None:
        for at, p in enumerate(FIELDS):
            for check, degree in enumerate(DEGREES):
                secrets = self.stream.matrix(p, PACKING, TIMES)
                if check:
                    sums = [sum(column) for column in zip(*secrets[1:], strict=True)]
                    secrets[0] = [-v % p for v in sums]
                self.deal(at, DATA + check * TIMES, secrets, degree)

    def publish(self) -> None:
        short = joined(self.short)
        while True:
            self.mask = gaussian(self.stream, WIDTH, ROWS)
            for at, p in enumerate(FIELDS):
                self.deal(at, SHORT, slots([v % p for v in self.mask]), DEGREE)
            self.payloads = [self.payload(member) for member in range(MEMBERS)]
            self.root = PLAIN.tree_root(self.payloads)
            self.commitment = digest(
                "pnyx/masked-verification/commitment", self.sketched, self.root
            )
            hidden = projected(self.commitment, short)
            found = [h + g for h, g in zip(hidden, self.mask, strict=True)]
            fits = dot(hidden, hidden) <= WIDTH**2 // 121 and max(map(abs, found)) <= PUBLISHED_MAX
            if fits and hides(self.stream, hidden, found):
                break
        self.published = b"".join(v.to_bytes(4, "little", signed=True) for v in found)

    def body(self, member: int, start: int = 0) -> bytes:
        """A payload without its proof; start: the first of the columns that are not the key's."""
        if member < CORRUPT:
            return self.seeds[member]
        first, second = self.table[member]
        plain = words(first[start:COLUMNS]) + words(second[start:COLUMNS])
        return self.salts[member - CORRUPT] + plain + words(first[COLUMNS:])

    def leaf(self, member: int) -> bytes:
        return self.body(member, COLUMNS)

    def payload(self, member: int) -> bytes:
        return self.body(member) + b"".join(PLAIN.tree_path(self.leaves, member))


def gaussian(stream, width: int, count: int) -> list[int]:
    """Candidates within ten widths, each kept if its coin is below exp(-x²/2σ²)."""
    kept: list[int] = []
    while len(kept) < count:
        batch = min(10 * (count - len(kept)) + 16, 2**13)
        drawn = [v - 10 * width for v in stream.field_elements(20 * width + 1, batch)]
        coins = stream.bytes(16 * batch)
        for at, value in enumerate(drawn):
            coin = int.from_bytes(coins[16 * at : 16 * at + 16], "little")
            if coin << 172 < PLAIN.exponential(Fraction(value**2, 2 * width**2)):
                kept.append(value)
    return kept[:count]


def hides(stream, hidden: list[int], found: list[int]) -> bool:
    """Publish with probability exp((‖w‖² - 2⟨v, w⟩)/2σ²)/3."""
    coin = int.from_bytes(stream.bytes(16), "little") * 3
    exponent = Fraction(2 * dot(found, hidden) - dot(hidden, hidden), 2 * WIDTH**2)
    if exponent >= 0:
        return coin << 172 < PLAIN.exponential(exponent)
    return coin * PLAIN.exponential(-exponent) < 1 << 428


def projection(commitment: bytes) -> list[list[int]]:
    """R' column by column: two bits a trit, first bit less second."""
    stream = Stream(commitment, "pnyx/verify/projection")
    return [
        [
            (byte >> 2 * at & 1) - (byte >> 2 * at + 1 & 1)
            for byte in stream.bytes(64)
            for at in range(4)
        ]
        for _ in range(PACKING * SHORT)
    ]


def projected(commitment: bytes, short: list[int]) -> list[int]:
    found = [0] * ROWS
    for value, column in zip(short, projection(commitment), strict=True):
        found = [f + value * t for f, t in zip(found, column, strict=True)] if value else found
    return found


# --- a claim, its challenge, a member's answers ---------------------------------------------------


class Claim:
    """What a header states, and the coefficients that a challenge gives for it."""

    def __init__(self, made: Contribution, **changes: bytes) -> None:
        context = changes.get("context", made.context)
        self.sketched = digest(
            "pnyx/masked-verification/sketch", context, made.parcel, made.key_root, made.salt
        )
        self.commitment = digest("pnyx/masked-verification/commitment", self.sketched, made.root)
        self.published = changes.get("published", made.published)
        self.stated = changes.get("stated", made.stated)
        seed = digest(
            "pnyx/verify/challenge", CHALLENGE, CONTRIBUTOR.to_bytes(4, "big"),
            self.commitment, self.published, self.stated,
        )  # fmt: skip
        stream = Stream(seed, "pnyx/verify/coefficients")
        self.rho = stream.matrix(min(FIELDS), TIMES, ROWS)
        self.taus = stream.matrix(min(FIELDS), 3, TIMES)
        self.kappa = stream.matrix(P, TIMES, ROWS)
        self.on_data, self.on_key = [], []
        for p, keys in zip(FIELDS, (KEY, 0), strict=True):
            self.on_data.append(stream.matrix(p, TIMES, DATA))
            self.on_key.append(stream.matrix(p, TIMES, keys))
        self.on_short = [self.combined(rho) for rho in self.rho]
        sketch = made.sketch if self.sketched == made.sketched else Sketch(self.sketched)
        self.key_weights = [key_weights(sketch.transposed(kappa)) for kappa in self.kappa]

    def combined(self, rho: list[int]) -> list[list[int]]:
        """ρR' on X, slot by slot."""
        row = [dot(rho, column) for column in projection(self.commitment)]
        return [row[at * SHORT : (at + 1) * SHORT] for at in range(PACKING)]

    def linear(self, at: int, time: int) -> list[list[int]]:
        """What L multiplies the columns of X and the mask by, slot by slot."""
        rows = [a + b for a, b in zip(self.on_short[time], slots(self.rho[time]), strict=True)]
        if at == 0:
            for row, kappa in zip(rows, slots(self.kappa[time]), strict=True):
                for place, value in enumerate(kappa):
                    row[place] += DIGIT * value
                    row[DIGITS + place] += value
        return rows

    def wanted(self, at: int, time: int) -> tuple[int, int]:
        """What the slots of L and Q must sum to."""
        linear = dot(self.rho[time], signed(self.published))
        if at == 0:
            linear += dot(self.kappa[time], read_words(self.stated))
        squares = sum(t * tau[time] for t, tau in zip(THRESHOLDS, self.taus[:2], strict=True))
        return linear % FIELDS[at], squares % FIELDS[at]


def key_weights(weights: list[int]) -> list[int]:
    """c with Σ tᵢ(a·s)ᵢ = Σ cᵢsᵢ for every s: lane by lane t times a(1/X), summed."""
    ring, public = LONG.Transform(STATED.n, P), LONG.masks(STATED, P)
    padded = np.zeros(public.size, dtype=np.int64)
    padded[:SENT] = weights
    values = ring.forth(padded.reshape(-1, STATED.n, LONG.LANES).transpose(1, 0, 2))
    odd = [2 * int(format(at, "010b")[::-1], 2) + 1 for at in range(STATED.n)]
    place_of = {each: at for at, each in enumerate(odd)}
    mirrored = public[[place_of[2 * STATED.n - each] for each in odd]]
    return ring.back((mirrored * values % P).sum(axis=(1, 2)) % P).tolist()


def read_words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def signed(data: bytes) -> list[int]:
    return [v - 2**32 if v >= 2**31 else v for v in read_words(data)]


def basis(p: int, member: int) -> list[int]:
    """The polynomials that are 1 on one slot and 0 on the others, at a member's point."""
    points = [-1 - at for at in range(PACKING)]
    unit = [[int(at == slot) for at in range(PACKING)] for slot in range(PACKING)]
    return [PLAIN.interpolate(p, points, each, 1 + member) for each in unit]


def answers(made: Contribution, claim: Claim, member: int) -> list[int]:
    """V, L, Q of each field, each as often as tests are repeated."""
    found = []
    for at, p in enumerate(FIELDS):
        share, on_slots = made.table[member][at], basis(p, member)
        data, key = share[:DATA], share[COLUMNS:]
        blinds = [share[DATA + check * TIMES :][:TIMES] for check in range(3)]
        products = squares(p, share, on_slots)
        tested = zip(claim.on_data[at], claim.on_key[at], strict=True)
        found += [dot(on_data, data) + dot(on_key, key) for on_data, on_key in tested]
        for time in range(TIMES):
            by_slot = [dot(row, data) for row in claim.linear(at, time)]
            if at == 0:
                weights = slots(claim.key_weights[time])
                by_slot = [v + dot(c, key) for v, c in zip(by_slot, weights, strict=True)]
            found.append(dot(on_slots, by_slot))
        found += [dot(products, taus) for taus in zip(*claim.taus, strict=True)]
        start = at * 3 * TIMES
        blinded = zip(found[start:], joined(blinds), strict=True)
        found[start:] = [(value + blind) % p for value, blind in blinded]
    return found


def squares(p: int, share: list[int], on_slots: list[int]) -> list[int]:
    """A member's shares of Σa² and Σb² with slack, and of Σ(β² - β)."""
    found, slack = [], share[AT_BITS:AT_COUNTS]
    for nth, place in enumerate(SQUARED):
        row = joined([w * (at == nth) for w in powers] for at, powers in enumerate(SLACK))
        seen = [dot(on_slots, column) for column in zip(*slots(row), strict=True)]
        found.append(dot(share[place], share[place]) + dot(slack, seen))
    return [*found, sum(v * v - v for v in share[AT_BITS:SHORT]) % p]


# --- the verdict ----------------------------------------------------------------------------------


def judged(claim: Claim, given: dict[int, list[int]]) -> tuple[str, list[int]]:
    """The verdict over a claim, and which members are off."""
    if max(map(abs, signed(claim.published))) > PUBLISHED_MAX:
        return "RANGE", []
    n, most = len(given), 2 * DEGREE
    radius = min(CORRUPT, (n - most - 1) // 2, n - CORRUPT - most - 1)
    for count in range(radius + 1):
        for off in combinations(sorted(given), count):
            kept = {m: a for m, a in given.items() if m not in off}
            if all(fits(kept, place) for place in range(6 * TIMES)):
                return verdict(claim, kept), list(off)
    return ("UNDECIDED" if explained(given) else "SHARING"), []


def place_of(place: int) -> tuple[int, int]:
    """Field and degree of an answer."""
    return place // (3 * TIMES), DEGREES[place // TIMES % 3]


def fits(given: dict[int, list[int]], place: int) -> bool:
    """Whether one of the answers lies on a polynomial of its degree."""
    at, degree = place_of(place)
    members = sorted(given)
    points, values = [1 + m for m in members], [given[m][place] for m in members]
    first = slice(0, degree + 1)
    return all(
        PLAIN.interpolate(FIELDS[at], points[first], values[first], x) == v
        for x, v in zip(points, values, strict=True)
    )


def explained(given: dict[int, list[int]]) -> bool:
    """Whether f liars explain the answers, polynomial after polynomial: V, then L, then Q."""
    kept = dict(given)
    for check in range(3):
        for place in range(6 * TIMES):
            if place // TIMES % 3 != check:
                continue
            left = CORRUPT - (len(given) - len(kept))
            if 2 * left > len(kept) - DEGREES[check] - 1:
                continue
            sets = (s for count in range(left + 1) for s in combinations(sorted(kept), count))
            smaller = ({m: a for m, a in kept.items() if m not in off} for off in sets)
            found = next((each for each in smaller if fits(each, place)), None)
            if found is None:
                return False
            kept = found
    return True


def verdict(claim: Claim, given: dict[int, list[int]]) -> str:
    """From the slots of L and Q, whose sums are known."""
    right = [[True, True], [True, True]]
    for at, p in enumerate(FIELDS):
        for check in (1, 2):
            for time in range(TIMES):
                place = (3 * at + check) * TIMES + time
                members = sorted(given)[: DEGREES[check] + 1]
                points, values = [1 + m for m in members], [given[m][place] for m in members]
                total = sum(PLAIN.interpolate(p, points, values, -1 - s) for s in range(PACKING))
                right[at][check - 1] &= total % p == claim.wanted(at, time)[check - 1]
    (link, in_ring), (short, other) = right
    if not short:
        return "RANGE"
    if not (in_ring and other):
        return "BOUND"
    return "accepted" if link else "LINK"


# --- the sum --------------------------------------------------------------------------------------


def summed_share(made: Contribution, member: int, times: int) -> bytes:
    """A member's share of the sum of the same contribution so many times over."""
    width, powers = columns(len(COUNTS)), [1, COUNT_MAX - 1]
    parts = []
    for p, share in zip(FIELDS, made.table[member], strict=True):
        blocks = [share[AT_COUNTS + at * width :][:width] for at in range(COUNT_BITS)]
        parts.append([times * dot(powers, column) % p for column in zip(*blocks, strict=True)])
        parts.append([times * v % p for v in share[COLUMNS:]])
    return b"".join(map(words, parts))


def unmasked(made: Contribution, times: int) -> list[int]:
    """Σy - aΣs less offsets, centred, rounded to multiples of Δ."""
    mask = LONG.product(STATED, P, [times * v % P for v in made.key]).tolist()
    found = []
    for y, m in zip(made.masked.residues[0][:LENGTH].tolist(), mask, strict=False):
        found.append(decoded(times * y - m - times * SCALE * 2 ** (STATED.bits - 1)))
    return found


def decoded(value: int) -> int:
    centred = (value + P // 2) % P - P // 2
    assert abs(centred) <= REACH
    return (centred + SCALE // 2) // SCALE


# --- the vectors ----------------------------------------------------------------------------------


def hashed(values: list[int], size: int = 4) -> str:
    """SHA-256 of signed little-endian integers."""
    return sha256(b"".join(v.to_bytes(size, "little", signed=True) for v in values)).hexdigest()


def given_values(made: Contribution):
    return {
        "members": MEMBERS,
        "corrupt_max": CORRUPT,
        "packing": PACKING,
        "masks": STATED.fields,
        "norm_max": NORM_MAX,
        "colluding_max": COLLUDING_MAX,
        "count_max": COUNT_MAX,
        "context": MASKS.CONTEXT.hex(),
        "contributor": CONTRIBUTOR,
        "contributor_context": made.context.hex(),
        "seed": made.seed.hex(),
        "challenge": CHALLENGE.hex(),
        "update": UPDATE,
        "counts": COUNTS,
    }


def step_values(made: Contribution, claim: Claim):
    return {
        "norm": NORM,
        "digit": DIGIT,
        "thresholds": list(THRESHOLDS),
        "mask_width": WIDTH,
        "published_max": PUBLISHED_MAX,
        "repetitions": TIMES,
        "reach": REACH,
        "key": made.key,
        "hidden": made.hidden,
        "segment": made.segment.hex(),
        "linear_hash_sha256": sha256(made.masked.linear_hash).hexdigest(),
        "parcel": made.parcel.hex(),
        "key_root": made.key_root.hex(),
        "salt": made.salt.hex(),
        "sketch_commitment": made.sketched.hex(),
        "codes_sha256": hashed([c & 0x1FFF for c in joined(joined(made.sketch.codes))], 2),
        "sketch_of_hidden": made.sketch_of_hidden,
        "upper": made.upper,
        "lower": made.lower,
        "short_sha256": hashed(joined(made.short)),
        "mask": made.mask,
        "payloads": [each.hex() for each in made.payloads],
        "shares_root": made.root.hex(),
        "commitment": made.commitment.hex(),
        "published": made.published.hex(),
        "sketch_of_masked": made.stated.hex(),
        "checkpoint": made.checkpoint.hex(),
        "committed": MASKS.committed([made.checkpoint]).hex(),
        "rho_sha256": hashed(joined(claim.rho)),
        "taus": claim.taus,
        "kappa_sha256": hashed(joined(claim.kappa)),
        "key_weights_sha256": hashed(joined(claim.key_weights)),
        "summed_shares": [summed_share(made, member, 2).hex() for member in range(MEMBERS)],
        "sum_of_two_updates": unmasked(made, 2),
        "sum_of_two_counts": [2 * count for count in COUNTS],
    }


def sum_values():
    """Centred sums and what they decode to; one more or less than the last is refused."""
    half = SCALE // 2
    sums = [0, 1, -1, half - 1, half, -half, -half - 1, REACH, -REACH]
    return {
        "decoded": [{"sum": each, "decoded": decoded(each)} for each in sums],
        "refused": [{"sum": each, "error": "DecodingError"} for each in (REACH + 1, -REACH - 1)],
    }


def unreadable(made: Contribution):
    """Single faults in what member 4, or member 1, is dealt, and in a stated sketch."""
    good, other = made.payloads[4], made.payloads[0]
    end = len(good) - 3 * 32
    for fault, member, data in (
        ("payload too short", 4, good[:-1]),
        ("payload too long", 4, good + bytes(1)),
        ("share not below the prime", 4, good[:16] + words([P]) + good[20:]),
        ("key share of another key", 4, good[: end - 4] + bytes(4) + good[end:]),
        ("proof of the key share altered", 4, good[:-1] + bytes([good[-1] ^ 1])),
        ("seed of another member", 1, other),
    ):
        yield {"fault": fault, "reader": "payload", "member": member, "data": data.hex()}
    for fault, data in (
        ("sketch not below the prime", words([P]) + made.stated[4:]),
        ("sketch too short", made.stated[:-4]),
    ):
        yield {"fault": fault, "reader": "sketch", "data": data.hex()}


def judged_cases(made: Contribution, honest: Claim):
    """Claims with all members' answers, and the verdict."""
    stated = read_words(made.stated)
    stated[7] = (stated[7] + 1) % P
    long = words([PUBLISHED_MAX + 1]) + made.published[4:]
    right = {member: answers(made, honest, member) for member in range(MEMBERS)}
    yield judgement("none", honest, right)
    for fault, changes in (
        ("published entry too large", {"published": long}),
        ("one entry of the sketch changed", {"stated": words(stated)}),
        ("another context", {"context": bytes(32)}),
        ("another published vector", {"published": bytes(4 * ROWS)}),
    ):
        claim = Claim(made, **changes)
        yield judgement(fault, claim, {m: answers(made, claim, m) for m in range(MEMBERS)})
    forged = Contribution(forged=True)
    claim = Claim(forged)
    given = {member: answers(forged, claim, member) for member in range(MEMBERS)}
    yield judgement("slack bit wrong", claim, given, range(CORRUPT, MEMBERS))
    for fault, liars in (("one member lies", [2]), ("two members lie", [2, 3])):
        lies = {m: [v ^ (m in liars) for v in each] for m, each in right.items()}
        yield judgement(fault, honest, lies, liars)
    for fault, away in (("one member silent", [5]), ("three members silent", [4, 5, 6])):
        yield judgement(fault, honest, {m: a for m, a in right.items() if m not in away})


def judgement(fault: str, claim: Claim, given: dict[int, list[int]], otherwise=()):
    """otherwise: members whose answers are not those of the payloads in "steps"."""
    rule, off = judged(claim, given)
    return {
        "fault": fault,
        "sketch_commitment": claim.sketched.hex(),
        "commitment": claim.commitment.hex(),
        "published": claim.published.hex(),
        "sketch_of_masked": claim.stated.hex(),
        "answers": {str(member): words(each).hex() for member, each in given.items()},
        "answered_otherwise": list(otherwise),
        "verdict": rule,
        "off": off,
    }


def vectors():
    made = Contribution()
    honest = Claim(made)
    return {
        "given": given_values(made),
        "steps": step_values(made, honest),
        "sums": sum_values(),
        "unreadable": [case | {"error": "MalformedMessage"} for case in unreadable(made)],
        "judged": list(judged_cases(made, honest)),
    }


def long_vectors():
    """The same with two blocks, without what does not depend on the length of the update."""
    assert LENGTH == LENGTH_OF_TWO_BLOCKS
    made = Contribution()
    claim = Claim(made)
    given, steps = given_values(made), step_values(made, claim)
    steps["codes_sha256"] = [
        hashed([c & 0x1FFF for c in joined(chunk)], 2) for chunk in made.sketch.codes
    ]
    answered = {member: answers(made, claim, member) for member in range(MEMBERS)}
    steps["answers_sha256"] = [hashed(each) for each in answered.values()]
    steps["verdict"], _ = judged(claim, answered)
    for values, name, size in (
        (given, "update", 8), (steps, "key", 4), (steps, "hidden", 4),
        (steps, "sum_of_two_updates", 8),
    ):  # fmt: skip
        values[f"{name}_sha256"] = hashed(values.pop(name), size)
    for name in ("segment", "published", "sketch_of_masked"):
        steps[f"{name}_sha256"] = sha256(bytes.fromhex(steps.pop(name))).hexdigest()
    for name in ("payloads", "summed_shares"):
        steps[f"{name}_sha256"] = [
            sha256(bytes.fromhex(each)).hexdigest() for each in steps.pop(name)
        ]
    for name in ("sketch_of_hidden", "upper", "lower", "mask"):
        steps[f"{name}_sha256"] = hashed(steps.pop(name), 8)
    return {"given": given, "steps": steps, "judged": list(long_judged_cases(made))}


def long_judged_cases(made: Contribution):
    """A masked vector whose second chunk was sketched as if it were the first, or not at all."""
    offset = SCALE * 2 ** (STATED.bits - 1)
    lowered = [(y - offset) % P for y in made.masked.residues[0].tolist()]
    cut = made.sketch.apply(lowered[:BLOCK])
    beginning = Sketch(made.sketched)
    beginning.codes[1] = [table[: SENT - BLOCK] for table in beginning.codes[0]]
    for fault, sketch in (
        ("second chunk sketched like the first", beginning.apply(lowered)),
        ("second chunk left out of the sketch", cut),
    ):
        stated = words([v % P for v in sketch])
        claim = Claim(made, stated=stated)
        given = {member: answers(made, claim, member) for member in range(MEMBERS)}
        rule, off = judged(claim, given)
        assert rule == "LINK"
        yield {"fault": fault, "sketch_of_masked": stated.hex(), "verdict": rule, "off": off}


if __name__ == "__main__":
    longer = runpy.run_path(__file__, init_globals={"LENGTH": LENGTH_OF_TWO_BLOCKS})
    for name, content in (("", vectors()), ("_long", longer["long_vectors"]())):
        path = Path(__file__).with_name(f"masked_verification{name}.json")
        path.write_text(json.dumps(content, indent=1) + "\n")
