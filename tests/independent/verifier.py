"""A second verifier of a study's records, written from docs/protocol.md, section 15.

It shares only `digest` and Ed25519 with pnyx and derives everything else itself, plainly and
slowly: the census and its Merkle root, the committees, the contributors, every context, link,
certificate and model. `verify` returns what it found wrong, an empty list for a valid bundle. It
carries on after a fault where the rest can still be judged, so one fault may give many findings.
"""

from collections import Counter
from fractions import Fraction
from hashlib import sha256
from math import ceil, comb, isfinite, isqrt, log, log2, prod
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.independent import shapes
from tests.independent.regions import Regions
from tests.independent.shapes import KI, MI, Unreadable, decode

from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import verify as signature_valid

VERSION = 1
ZERO = bytes(32)
MODULUS = 134176769 * 134111233
SUM_MAX = (MODULUS - 1) // 2
MODEL_BYTES_MAX = 40_000_000
VECTOR_LENGTH_MAX = 20_000
GROUP_VALUES_MAX = 80_000_000


class Finding(NamedTuple):
    """A rule that does not hold.

    implied: nodes do not check this rule again, since no honest member signs what breaks it.
    """

    where: str
    rule: str
    implied: bool = False


class Census(NamedTuple):
    """Who takes part. ids, keys: by census index."""

    network: bytes
    root: bytes
    ids: list[bytes]
    keys: list[bytes]
    size: int
    quorum: int
    corrupt_max: int = 1
    census_number: int = 0
    previous: bytes = ZERO


class Round(NamedTuple):
    """What is known of a round before its record: who acts, and from where it starts.

    committee: census indices by member. phase: None when the round takes no contributions.
    beacon, joins: what actors and contributors were drawn by. aborted: names what ended the
    attempt before, and is empty in the first.
    """

    where: str
    study: bytes
    number: int
    previous: bytes
    model: bytes
    committee: list[int]
    contributors: list[int]
    phase: Any = None
    floor: int = 0
    spent: int | None = 0  # by the rounds before
    beacon: bytes = b""
    joins: tuple[int, ...] = ()
    aborted: bytes = b""
    attempt: int = 1
    excluded: tuple[int, ...] = ()
    epoch: int = 0
    actors: bytes = b""  # the list that the committee was taken from, and its census indices
    listed: tuple[int, ...] = ()


# --- hashes and draws ---------------------------------------------------------------------------


def _hashed(data: bytes) -> bytes:
    return sha256(data).digest()


def merkle_root(leaves: list[bytes]) -> bytes:
    def top(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return _hashed(b"\x00" + part[0])
        split = 1
        while 2 * split < len(part):
            split *= 2
        return _hashed(b"\x01" + top(part[:split]) + top(part[split:]))

    return _hashed(b"\x02" + len(leaves).to_bytes(8, "big") + top(leaves))


def statement(network: bytes, body: bytes) -> bytes:
    """What is signed for a body."""
    return b"pnyx/1/" + network + body


def model_name(model: bytes) -> bytes:
    """A parcel: chunks of 128 KiB under a Merkle root, and the length."""
    cut = [model[at : at + 128 * KI] for at in range(0, len(model), 128 * KI)]
    root = merkle_root([digest("pnyx/parcel/chunk", part) for part in cut])
    sizes = len(model).to_bytes(8, "big"), (128 * KI).to_bytes(4, "big")
    return digest("pnyx/parcel", *sizes, root)


def record_name(body: bytes) -> bytes:
    return digest("pnyx/record", body)


def epoch_chain(network: bytes) -> bytes:
    return digest("pnyx/epoch-chain", network)


def context_of(census: Census, plan: Round) -> bytes:
    attempt, epoch = plan.attempt, plan.epoch
    return digest(
        "pnyx/round",
        VERSION.to_bytes(4, "big"),
        census.network,
        plan.study,
        plan.number.to_bytes(4, "big"),
        attempt.to_bytes(1, "big"),
        epoch.to_bytes(4, "big"),
        census.root,
        plan.previous,
        plan.model,
        *([plan.aborted] if plan.aborted else []),
    )


def genesis_committee(census: Census) -> list[int]:
    def rank(index: int) -> bytes:
        return digest("pnyx/selection/genesis", census.root, census.ids[index])

    return sorted(range(len(census.ids)), key=rank)[: census.size]


def vote(context: bytes, instance: int, view: int, value: bytes) -> bytes:
    """What a member signs to lock a value: phase 1."""
    name = digest("pnyx/agreement/value", value)
    kind = bytes([instance, 1])
    return b"pnyx/vote/" + digest(
        "pnyx/agreement/vote", context, kind, view.to_bytes(4, "big"), name
    )


def draw_committee(
    census: Census,
    beacon: bytes,
    study: bytes,
    number: int,
    excluded: tuple[int, ...] = (),
    stand_ins: int = 0,
) -> list[int]:
    eligible = len(set(range(len(census.ids))) - set(excluded))
    shapes.expect(eligible >= census.size + stand_ins, "the census", "large enough to draw from")
    drawn: list[int] = []
    attempt = 0
    while len(drawn) < census.size + stand_ins:
        hashed = digest(
            "pnyx/selection/census",
            beacon,
            study,
            number.to_bytes(8, "big"),
            b"committee",
            attempt.to_bytes(8, "big"),
        )
        index = int.from_bytes(hashed, "big") % len(census.ids)
        if index not in drawn and index not in excluded:
            drawn.append(index)
        attempt += 1
    return drawn


def joins_name(joins: tuple[int, ...], actors: bytes) -> bytes:
    joined = b"".join(index.to_bytes(4, "big") for index in joins)
    return digest("pnyx/joins", joined, *([digest("pnyx/actors", actors)] if actors else []))


def draw_contributors(
    census: Census, beacon: bytes, joins: list[int], excluded: list[int], count: int
) -> list[int]:
    def rank(index: int) -> bytes:
        return digest("pnyx/selection/contributor", beacon, census.ids[index])

    joined = {index for index in joins if index < len(census.ids) and index not in excluded}
    return sorted(joined, key=rank)[:count]


# --- bounds of a contribution -------------------------------------------------------------------


def provable(bounds: Any) -> bool:
    """Whether a contribution within these bounds can be proven without wrapping."""
    counts = bounds.length - bounds.bounded
    if bounds.length < (0 if bounds.masked_norm_max else 1) or counts < 0:
        return False
    if bounds.bounded and bounds.norm_max < 1:
        return False
    if counts and not 1 <= bounds.count_max <= SUM_MAX:
        return False
    if not counts and (bounds.count_scale != 1 or bounds.noise_max):
        return False
    if largest_entry(bounds) > SUM_MAX:
        return False
    if bool(bounds.key_length) != bool(bounds.key_fields):
        return False
    slack = 0
    if bounds.ballot is not None:
        slack = ballot_slack(bounds.ballot, counts)
        if slack is None or bounds.count_max != 1:
            return False
    squares = [bounds.norm_max**2] if bounds.bounded else []
    if bounds.masked_norm_max:
        if bounds.bounded or bounds.ballot is not None or not bounds.key_length:
            return False
        squares = digit_squares(bounds.masked_norm_max)
    each = bounds.count_max.bit_length() + (2 * bounds.noise_max).bit_length()
    bits = sum(square.bit_length() for square in squares) + counts * each + slack
    return not_wrapping(squares, bits)


def digit_squares(norm: int) -> list[int]:
    """The largest sums of squares of the upper and the lower digits of a sketch."""
    squared = isqrt(8 * norm // 5) ** 2
    return [ceil(Fraction(64 * norm**2, squared)), 25 * squared] if squared else [0, 0]


def not_wrapping(squares: list[int], bits: int) -> bool:
    published_max = 6 * (isqrt(11**2 * 337 * (sum(squares) + bits)) + 1)
    return 32 * published_max**2 + 24576 * published_max + max(squares, default=0) < MODULUS


def ballot_slack(ballot: Any, counts: int) -> int | None:
    """Slack bits of a ballot of so many counts; None where there is no such ballot."""
    options, chosen_max = ballot.options, ballot.chosen_max
    if ballot.kind == "ranking":
        if chosen_max or not 3 <= options <= 24 or counts != comb(options, 2):
            return None
        return comb(options, 3)
    if counts == 0 or counts % options:
        return None
    if ballot.kind == "choice":
        return None if chosen_max else 0
    if not 1 <= chosen_max <= options:
        return None
    return counts // options * len(f"{chosen_max:b}")


def largest_entry(bounds: Any) -> int:
    update = bounds.norm_max if bounds.bounded else 0
    count = bounds.count_scale * bounds.count_max + bounds.noise_max
    return max(update, count if bounds.length > bounds.bounded else 0)


def noise_covered(phase: Any) -> bool:
    """Whether every honest contribution, noise included, keeps the bounds of its phase."""
    bounds, noise = phase.bounds, phase.noise
    counts = bounds.length - bounds.bounded
    if noise.honest_min > phase.cohort_min:
        return False
    masked = phase.masked
    if noise.update_width and (noise.update_width < 4 or not (bounds.bounded or masked)):
        return False
    if noise.count_width and (noise.count_width < 4 or not counts):
        return False
    if bounds.noise_max != 10 * noise.count_width:
        return False
    if masked is not None:
        entry = phase.clip if phase.verified is None else ceil(Fraction(phase.clip, 16))
        return max(1, entry) + 10 * noise.update_width < 2 ** (masked.value_bits - 1)
    norm = 0
    if noise.update_width:
        entries = bounds.bounded
        tail = entries + isqrt(4 * entries * 42) + 1 + 2 * 42
        norm = isqrt(noise.update_width**2 * tail) + 1
    return phase.clip + norm <= bounds.norm_max


def masks_hold(masked: Any) -> bool:
    """Whether masks hide, and a sum under them is exact (section 19)."""
    n, primes, h, b = masked.degree, masked.primes, masked.contributors_max, masked.value_bits
    bits = {1024: 27, 2048: 54, 4096: 108}.get(n)
    product = prod(primes)
    if bits is None or product < 1 or (product - 1).bit_length() > bits:
        return False
    if len(set(primes)) < len(primes) or any(p % (2 * n) != 1 or not is_prime(p) for p in primes):
        return False
    room = 27 * len(primes)
    ranges = (
        4.5 <= masked.noise_width <= 9,
        masked.length <= 2**24,
        b <= 32,
        2 <= h <= 256,
        masked.slots <= room,
        masked.slot_bits <= room,
        masked.shift <= 26,
    )
    if not all(ranges) or h * (2**b - 1) >= 2**masked.slot_bits:
        return False
    ones = sum(2 ** (masked.slot_bits * slot) for slot in range(masked.slots))
    if 2**masked.shift * (1 + h * (2**b - 1) * ones) > product:
        return False
    reach = 2.0 ** (masked.shift - 1)
    tail = reach**2 / (2 * h * masked.noise_width**2 * log(2))
    return log2(2 * coefficients(masked)) - tail <= -64


def coefficients(masked: Any) -> int:
    """How many coefficients a masked vector sends."""
    blocks = max(1, 2**18 // (32 * masked.degree * len(masked.primes)))
    full = masked.slots * 32 * blocks * masked.degree
    whole, rest = divmod(masked.length, full)
    return sum(1024 * ceil(k / (1024 * masked.slots)) for k in [full] * whole + [rest] * (rest > 0))


def is_prime(number: int) -> bool:
    return 2 < number < 2**27 and all(number % d for d in range(2, isqrt(number) + 1))


def group_size(phase: Any) -> int:
    """The most contributors of one group."""
    return ceil(Fraction(phase.drawn, phase.groups))


def groups_needed(phase: Any) -> int:
    """How many groups must reach the floor for any to be opened."""
    return 2 * phase.robust.tolerated + 1


def groups_fit(phase: Any) -> bool:
    """Whether a phase may have its groups, and its rule as many as it needs."""
    if phase.groups > 1 and phase.kind != "train":
        return False
    if (phase.robust.rule == "mean") != (phase.robust.tolerated == 0):
        return False
    return groups_needed(phase) <= phase.groups


def masks_fit(phase: Any) -> bool:
    """Whether a phase shares the key of its masks, and draws no more than they add up."""
    masked, bounds = phase.masked, phase.bounds
    if masked is None:
        return bounds.key_length == bounds.key_fields == 0
    count = len(masked.primes)
    return (
        bounds.bounded == 0
        and (bounds.key_length, bounds.key_fields) == (masked.degree, count)
        and list(masked.primes) == [134176769, 134111233][:count]
        and count <= 2
        and group_size(phase) <= masked.contributors_max
    )


def norm_holds(phase: Any) -> bool:
    """Whether the norm of masked updates that a phase states is one that can be verified."""
    masked, verified, bounds = phase.masked, phase.verified, phase.bounds
    if verified is None:
        return bounds.masked_norm_max == 0
    if masked is None or (masked.degree, masked.slots, masked.noise_width) != (1024, 1, 4.5):
        return False
    prime, h, most = 134176769, masked.contributors_max, verified.colluding_max
    unit = 2**masked.shift
    norm, sent = unit * verified.norm_max, coefficients(masked)
    entry_max = 2 ** (masked.value_bits - 1) - 1
    doublings = 65 + sent.bit_length()
    errors = isqrt(2 * h * doublings * 7 * 81 // 40) + 1
    certified = 22 * norm // 10 + 1
    largest = most * certified + (h - most) * unit * entry_max + errors
    width, noise = phase.noise.update_width, 0
    if width:
        tail = masked.length + isqrt(4 * masked.length * 42) + 1 + 2 * 42
        noise = isqrt(width**2 * tail) + 1
    return (
        list(masked.primes) == [prime]
        and bounds.masked_norm_max == norm < prime
        and most <= h
        and entry_max <= verified.norm_max
        and unit > 2 * errors
        and 256 * (81 * sent // 4) <= norm**2
        and not_wrapping(digit_squares(norm), 2**16)
        and largest <= prime // 2
        and 0 < phase.clip <= 9 * verified.norm_max // 10 - noise
    )


def values_roomy(phase: Any) -> bool:
    """Whether verified values hold a whole clip, or else as much as their norm leaves room for."""
    masked = phase.masked
    if phase.verified is None or masked is None:
        return True
    if phase.clip + 10 * phase.noise.update_width < 2 ** (masked.value_bits - 1):
        return True
    bits = masked.value_bits + 1
    slot_bits = (masked.contributors_max * (2**bits - 1)).bit_length()
    wider = SimpleNamespace(**vars(masked) | {"value_bits": bits, "slot_bits": slot_bits})
    return not (
        masks_hold(wider) and norm_holds(SimpleNamespace(**vars(phase) | {"masked": wider}))
    )


def cost(phase: Any) -> int | None:
    """What a round costs in privacy, in units of ρ/2^30, rounded up; None is without bound."""
    bounds, noise = phase.bounds, phase.noise
    counts = bounds.length - bounds.bounded
    total = Fraction(0)
    if bounds.bounded or phase.masked is not None:
        if not noise.update_width:
            return None
        total += Fraction(phase.clip**2, 2 * noise.honest_min * noise.update_width**2)
    if counts:
        if not noise.count_width:
            return None
        squared = counts * bounds.count_max**2
        if bounds.ballot is not None:
            ballot = bounds.ballot
            each = 1 if ballot.kind == "choice" else ballot.chosen_max
            squared = counts if ballot.kind == "ranking" else counts // ballot.options * each
        moved = bounds.count_scale**2 * squared
        total += Fraction(moved, 2 * noise.honest_min * noise.count_width**2)
    return ceil(total * 2**30)


def metrics_possible(phase: Any, accepted: int, metrics: list[int]) -> bool:
    """Whether these may be the last entries of a sum of that many contributions."""
    bounds = phase.bounds
    for entry, metric in enumerate(metrics, start=bounds.length - len(metrics)):
        if entry < bounds.bounded:
            possible = abs(metric) <= accepted * bounds.norm_max
        else:
            noise = accepted * bounds.noise_max
            counted = accepted * bounds.count_scale * bounds.count_max
            possible = -noise <= metric <= counted + noise
        if not possible:
            return False
    return True


# --- the verifier -------------------------------------------------------------------------------


def verify_census(
    content: bytes, network: bytes, authority_key: bytes, now: int
) -> tuple[Census | None, list[Finding]]:
    """Check an encoded signed census; None when it cannot be read. now: unix seconds."""
    try:
        signed = decode(content, shapes.SIGNED_CENSUS, "census", 256 * MI)
        body = decode(signed.body, shapes.CENSUS_BODY, "census body", 4 * KI)
    except Unreadable as unreadable:
        return None, [Finding("census", str(unreadable))]
    return read_census(signed, body, network, authority_key, now)


def read_census(
    signed: Any, body: Any, network: bytes, authority_key: bytes, now: int
) -> tuple[Census, list[Finding]]:
    """Check a signed census that was read."""
    sizes = body.sizes
    ids = [entry.node for entry in signed.entries]
    leaves = [entry.node + entry.public_key for entry in signed.entries]
    needed = 2 * (sizes.f + sizes.packing - 1) + 1 + 2 * sizes.f
    rules = {
        "another network": body.network == network,
        "not signed by the authority": signature_valid(
            authority_key, statement(network, signed.body), signed.signature
        ),
        "expired": now < body.valid_until,
        "node count": len(ids) == body.node_count,
        "order of nodes": sorted(set(ids)) == ids,
        "nodes root": bool(leaves) and merkle_root(leaves) == body.nodes_root,
        "committee larger than the network": sizes.k <= body.node_count,
        "degree": sizes.degree == sizes.f + sizes.packing - 1,
        "answers needed": sizes.answers_needed == needed <= sizes.k - sizes.absent,
        "quorum": (sizes.k + sizes.f) // 2 < sizes.quorum <= sizes.k - sizes.f - sizes.absent,
    }
    findings = [Finding("census", rule) for rule, holds in rules.items() if not holds]
    keys = [entry.public_key for entry in signed.entries]
    root = digest("pnyx/census", signed.body)
    people = Census(
        body.network, root, ids, keys, sizes.k, sizes.quorum, sizes.f, body.number, body.previous
    )
    return people, findings


def verify(
    bundle: bytes, census: bytes, network: bytes, authority_key: bytes, now: int
) -> list[Finding]:
    """Check a bundle against the census of a network file. now: unix seconds."""
    people, findings = verify_census(census, network, authority_key, now)
    if people is None or findings:
        return findings  # nothing can be believed under another census
    try:
        read = decode(bundle, shapes.BUNDLE, "bundle", MODEL_BYTES_MAX + 40 * MI)
        manifest = decode(read.manifest.body, shapes.MANIFEST, "manifest", 64 * KI)
        return _Chain(people, read, manifest, authority_key).verify()
    except Unreadable as unreadable:
        return [Finding("bundle", str(unreadable))]


class _Chain:
    """The walk along one bundle."""

    def __init__(self, census: Census, bundle: Any, manifest: Any, authority_key: bytes) -> None:
        self.census = census  # of the epoch to which the walk has come
        self.authority_key = authority_key
        self.bundle = bundle
        self.manifest = manifest
        self.study = digest("pnyx/study", bundle.manifest.body)
        self.rounds = [phase for phase in manifest.phases for _ in range(phase.rounds)]
        self.findings: list[Finding] = []
        self.regions: Regions | None = None

    def check(self, holds: bool, where: str, rule: str, *, implied: bool = False) -> None:
        if not holds:
            self.findings.append(Finding(where, rule, implied))

    def verify(self) -> list[Finding]:
        beacon = self.walk_epochs()
        self.check_manifest()
        if self.manifest.selection == "region":
            self.regions = Regions(self.census, beacon, self.manifest.epoch)
        plan = self.first_round(beacon)
        model = plan.model
        for at, record in enumerate(self.bundle.records):
            if at > len(self.rounds):
                self.check(False, f"record {at}", "beyond the last round")
                break
            body = self.check_record(plan, record)
            model = body.model_hash
            if at < len(self.rounds):
                plan = self.following(plan, record, body)
        found = self.bundle.model
        self.check(not found or model_name(found) == model, "model", "hash")
        self.check(len(found) in (0, self.manifest.model_bytes), "model", "size")
        return self.findings

    def walk_epochs(self) -> bytes:
        """Check the chain of epochs; return the beacon of the last, whose census is then known."""
        epochs = [self.bundle.epoch_record, *self.bundle.later]
        self.check(self.manifest.epoch == len(epochs) - 1, "manifest", "another epoch")
        plan = self.genesis()
        for number, record in enumerate(epochs):
            body = self.check_record(plan, record)
            if body.next_census is not None:
                self.census = self.successor(body.next_census, plan.where)
            beacon = body.next_beacon
            chain = epoch_chain(self.census.network)
            plan = Round(
                where=f"record of epoch {number + 1}",
                study=chain,
                number=number + 1,
                epoch=number,
                previous=record_name(record.body),
                model=ZERO,
                committee=draw_committee(self.census, beacon, chain, number),
                contributors=[],
                beacon=beacon,
            )
        return beacon

    def successor(self, root: bytes, where: str) -> Census:
        """The census that an epoch begins with. Raises Unreadable where the bundle lacks it."""
        for signed in self.bundle.censuses:
            if digest("pnyx/census", signed.body) == root:
                break
        else:
            raise Unreadable(f"the bundle lacks the census of {where}")
        body = decode(signed.body, shapes.CENSUS_BODY, where, 4 * KI)
        people, findings = read_census(signed, body, self.census.network, self.authority_key, 0)
        self.findings += findings
        follows = people.census_number == self.census.census_number + 1
        self.check(follows and people.previous == self.census.root, where, "census out of line")
        return people

    def check_manifest(self) -> None:
        signed, manifest = self.bundle.manifest, self.manifest
        where = "manifest"
        self.check(signed.signer in self.census.ids, where, "signed by a stranger")
        if signed.signer in self.census.ids:
            key = self.census.keys[self.census.ids.index(signed.signer)]
            signable = statement(self.census.network, signed.body)
            self.check(signature_valid(key, signable, signed.signature), where, "signature")
        self.check(manifest.network == self.census.network, where, "another network")
        self.check(manifest.version == VERSION, where, "another version")
        self.check(manifest.proposer == signed.signer, where, "signed by another than its proposer")
        for each in manifest.ranges:
            finite = isfinite(each.low) and isfinite(each.high - each.low)
            self.check(finite and each.low < each.high, where, "a range that is none")
        named = len(manifest.ranges) in (0, len(manifest.columns))
        self.check(named, where, "ranges of some columns only")
        self.check(manifest.model_bytes <= MODEL_BYTES_MAX, where, "model too large")
        named = manifest.initial_model != ZERO
        self.check(named == (manifest.model_bytes > 0), where, "a model without a size, or a size")
        for phase in manifest.phases:
            trains = phase.kind == "train"
            self.check(named or not trains, where, "training without a model")
            self.check(trains or phase.masked is None, where, "masks without an update")
            counts = phase.kind == "statistics"
            self.check(manifest.ranges or not counts, where, "statistics without ranges")
            length = phase.bounds.length
            self.check(provable(phase.bounds), where, "bounds that cannot be proven")
            self.check(length <= VECTOR_LENGTH_MAX, where, "vector too long")
            self.check(phase.metrics_length <= length, where, "more metrics than sums")
            self.check(noise_covered(phase), where, "noise that its bounds do not cover")
            masked = phase.masked
            self.check(masked is None or masks_hold(masked), where, "masks that do not hold")
            self.check(masks_fit(phase), where, "masks that do not fit the phase")
            values = 0 if masked is None else masked.length
            self.check(4 * values <= manifest.model_bytes, where, "updates above the model")
            few = phase.groups * values <= GROUP_VALUES_MAX
            self.check(few, where, "sums of too many values")
            self.check(groups_fit(phase), where, "groups that do not fit the phase")
            self.check(norm_holds(phase), where, "a masked norm that cannot be verified")
            self.check(values_roomy(phase), where, "verified values of too few bits")
            ordered = phase.groups * phase.cohort_min <= phase.target <= phase.drawn
            self.check(ordered, where, "floor, target and drawn out of order")
            fits = group_size(phase) * largest_entry(phase.bounds) <= SUM_MAX
            self.check(fits, where, "sums may wrap")

    # --- rounds ---------------------------------------------------------------------------------

    def genesis(self) -> Round:
        return Round(
            where="epoch record",
            study=epoch_chain(self.census.network),
            number=0,
            previous=ZERO,
            model=ZERO,
            committee=genesis_committee(self.census),
            contributors=[],
        )

    def first_round(self, epoch_beacon: bytes) -> Round:
        chain = epoch_chain(self.census.network)
        return Round(
            where="round 0",
            study=self.study,
            number=0,
            previous=self.study,
            model=self.manifest.initial_model,
            committee=draw_committee(self.census, epoch_beacon, chain, self.manifest.epoch),
            epoch=self.manifest.epoch,
            beacon=epoch_beacon,
            contributors=[],
        )

    def following(self, plan: Round, record: Any, body: Any) -> Round:
        number, beacon = plan.number + 1, body.next_beacon
        phase = self.rounds[plan.number]
        excluded = tuple(body.excluded)
        listed: tuple[int, ...] = ()
        if self.regions is None:
            committee = draw_committee(self.census, beacon, self.study, number, excluded)
        else:
            names = decode(record.actors, shapes.ACTORS, f"actors of round {number}", 512 * KI)
            listed = self.regions.in_order(names, beacon, number, "committee", excluded)
            committee = list(listed[: self.census.size])
        return Round(
            where=f"round {number}",
            study=self.study,
            number=number,
            epoch=self.manifest.epoch,
            previous=record_name(record.body),
            model=body.model_hash,
            committee=committee,
            actors=record.actors,
            listed=listed,
            beacon=beacon,
            joins=tuple(record.joins),
            contributors=draw_contributors(
                self.census, beacon, record.joins, body.excluded, phase.drawn
            ),
            phase=phase,
            floor=phase.cohort_min,
            spent=body.privacy_spent,
            excluded=excluded,
        )

    def check_record(self, plan: Round, record: Any) -> Any:
        """Check a record against its round; return its body. Raises Unreadable."""
        body = decode(record.body, shapes.RECORD_BODY, plan.where, 4 * MI)
        if record.abort is not None:
            handed = hasattr(record.abort, "decisions")
            later = self.handed_over if handed else self.second_attempt
            plan = later(plan, record.abort)
        expected = {
            "network": self.census.network,
            "study": plan.study,
            "round": plan.number,
            "attempt": plan.attempt,
            "epoch": plan.epoch,
            "census_root": self.census.root,
            "previous_record": plan.previous,
            "context": context_of(self.census, plan),
        }
        for name, value in expected.items():
            self.check(getattr(body, name) == value, plan.where, f"wrong {name}")
        committed = joins_name(record.joins, record.actors)
        self.check(body.joins == committed, plan.where, "joins or actors")
        chained = plan.study == epoch_chain(self.census.network) and plan.number > 0
        self.check(body.next_census is None or chained, plan.where, "a census that it cannot begin")
        self.check_actors(plan, record, body)
        self.check_outcome(plan, body)
        self.check_excluded(plan, body)
        self.check_without_outcome(plan, body)
        self.check_implied(plan, record, body)
        self.check_certificate(plan, record)
        return body

    def second_attempt(self, plan: Round, abort: Any) -> Round:
        """Check the end of the first attempt; return the plan of the second. Raises Unreadable."""
        where = f"abort of {plan.where}"
        chain = epoch_chain(self.census.network)
        self.check(plan.study != chain, where, "of a round that cannot be aborted")
        agreement = 1 if plan.phase is None else 2
        self.check(abort.study == plan.study, where, "of another study")
        self.check(abort.round == plan.number, where, "of another round")
        context = context_of(self.census, plan)
        for decision, instance in ((abort.opened, 0), (abort.aborted, agreement)):
            self.check(decision.context == context, where, "of another context")
            self.check(decision.instance == instance, where, "of another agreement")
            signable = vote(context, instance, decision.view, decision.value)
            self.check_quorum(where, plan.committee, signable, decision.certificate)
        keys = decode(abort.opened.value, shapes.OPEN_VALUE, where, 4 * MI).keys
        words = decode(abort.aborted.value, shapes.ABORT_VALUE, where, 4 * MI).give_ups
        there = self.members(plan, where, keys, shapes.ROUND_KEY)
        there |= self.members(plan, where, words, shapes.GIVE_UP)
        absent = [member for member in range(self.census.size) if member not in there]
        left = len(self.census.ids) - self.census.size - len(plan.excluded)
        study, number = (chain, plan.epoch) if plan.phase is None else (plan.study, plan.number)
        if plan.listed:
            out = {*plan.committee, *plan.excluded}
            spare = [index for index in plan.listed if index not in out]
            committee = list(plan.committee)
            for member, index in zip(absent, spare, strict=False):
                committee[member] = index
            name = digest("pnyx/agreement/value", abort.aborted.value)
            return plan._replace(committee=committee, aborted=name, attempt=2)
        drawn = draw_committee(
            self.census,
            plan.beacon,
            study,
            number,
            plan.excluded,
            min(len(absent), left),
        )
        committee = drawn[: self.census.size]
        for member, index in zip(absent, drawn[self.census.size :], strict=False):
            committee[member] = index
        name = digest("pnyx/agreement/value", abort.aborted.value)
        return plan._replace(committee=committee, aborted=name, attempt=2)

    def handed_over(self, plan: Round, handover: Any) -> Round:
        """Check that attempts at an epoch's record ended; return the plan of the next."""
        where, size = f"handover of {plan.where}", self.census.size
        chain, nodes = epoch_chain(self.census.network), len(self.census.ids)
        self.check(plan.study == chain and plan.number > 0, where, "of a round that is not")
        self.check(handover.study == plan.study, where, "of another study")
        self.check(handover.round == plan.number, where, "of another round")
        few = size + self.census.corrupt_max - self.census.quorum + 1
        turns = min(nodes, size * (len(handover.decisions) + 1)) - size
        drawn = draw_committee(self.census, plan.beacon, chain, plan.epoch, stand_ins=turns)
        for at, decision in enumerate(handover.decisions, start=1):
            context = context_of(self.census, plan)
            self.check(decision.context == context, where, "of another context")
            self.check(decision.instance == 1, where, "of another agreement")
            self.check(decision.value == b"pnyx/handover", where, "of something else")
            signable = vote(context, 1, decision.view, decision.value)
            self.check_quorum(where, plan.committee, signable, decision.certificate, few)
            plan = plan._replace(
                committee=[drawn[(at * size + place) % nodes] for place in range(size)],
                aborted=digest("pnyx/agreement/value", decision.value),
                attempt=at + 1,
            )
        return plan

    def members(self, plan: Round, where: str, inputs: list[Any], shape: shapes.Shape) -> set[int]:
        """Who signed these inputs: a quorum of members, in order. Raises Unreadable."""
        context, last = context_of(self.census, plan), -1
        found: set[int] = set()
        for signed in inputs:
            body = decode(signed.body, shape, where, 4 * MI)
            self.check(body.context == context, where, "an input of another context")
            self.check(body.member > last, where, "members out of order")
            last = body.member
            if body.member >= len(plan.committee):
                self.check(False, where, "an input of nobody")
                continue
            index = plan.committee[body.member]
            self.check(signed.signer == self.census.ids[index], where, "an input of somebody else")
            signable = statement(self.census.network, signed.body)
            valid = signature_valid(self.census.keys[index], signable, signed.signature)
            self.check(valid, where, f"signature of member {body.member}")
            found.add(body.member)
        self.check(len(found) >= self.census.quorum, where, "inputs of fewer than a quorum")
        return found

    def check_without_outcome(self, plan: Round, body: Any) -> None:
        """A round without a closed list: its second attempt was aborted, too."""
        if plan.phase is None or body.closed_value != ZERO:
            return
        stayed = joins_name(plan.joins, plan.actors)
        beacon = digest(
            "pnyx/beacon/skipped", self.study, plan.number.to_bytes(4, "big"), plan.beacon
        )
        self.check(bool(plan.aborted), plan.where, "no closed list in a first attempt")
        self.check(body.skipped, plan.where, "no closed list, but not skipped")
        self.check(body.joins == stayed, plan.where, "joins or actors did not stay")
        self.check(body.next_beacon == beacon, plan.where, "another beacon after a skip")

    def check_actors(self, plan: Round, record: Any, body: Any) -> None:
        """Regions drew the list of the next round, where they select; but after two aborts."""
        if plan.phase is not None and body.closed_value == ZERO:
            return
        chained = plan.study == epoch_chain(self.census.network)
        last = plan.number == len(self.rounds) or chained
        if self.regions is None or last:
            self.check(not record.actors, plan.where, "an actor list that serves nothing")
            return
        where = f"actors of {plan.where}"
        names = decode(record.actors, shapes.ACTORS, where, 512 * KI)
        for rule in self.regions.broken(
            names, self.study, plan.number + 1, plan.beacon, plan.excluded
        ):
            self.check(False, where, rule)

    def check_excluded(self, plan: Round, body: Any) -> None:
        """Exclusions only grow, up to an eighth of the network."""
        excluded, where = body.excluded, plan.where
        self.check(sorted(set(excluded)) == excluded, where, "exclusions out of order")
        self.check(all(i < len(self.census.ids) for i in excluded), where, "excludes a stranger")
        self.check(set(plan.excluded) <= set(excluded), where, "an exclusion was taken back")
        nodes = len(self.census.ids)
        most = min((nodes - self.census.size) // 2, (nodes + 7) // 8)
        self.check(len(excluded) <= most, where, "excludes too many")

    def check_outcome(self, plan: Round, body: Any) -> None:
        accepted = body.accepted
        self.check(set(accepted) <= set(plan.contributors), plan.where, "accepted but not drawn")
        self.check(len(set(accepted)) == len(accepted), plan.where, "accepted twice")
        if body.skipped:
            self.check(not accepted, plan.where, "skipped, but somebody is accepted")
            self.check(not body.metrics, plan.where, "skipped, but there are metrics")
            self.check(body.model_hash == plan.model, plan.where, "skipped, but the model changed")
            self.check(not body.sums, plan.where, "skipped, but there are sums")
        else:
            self.check(len(accepted) >= plan.floor, plan.where, "below the floor")
        if plan.phase is None:
            self.check(not body.sums, plan.where, "sums without contributions")
        elif not body.skipped:
            self.check_groups(plan, body)
        spent = plan.spent
        if plan.phase is not None and not body.skipped and spent is not None:
            added = cost(plan.phase)
            spent = None if added is None else spent + added
        self.check(body.privacy_spent == spent, plan.where, "another privacy cost")

    def check_groups(self, plan: Round, body: Any) -> None:
        """Every contributor that counts is in an opened group, and each of these has the floor."""
        ranked = sorted(
            plan.contributors,
            key=lambda index: digest("pnyx/selection/group", plan.beacon, self.census.ids[index]),
        )
        group_of = {index: rank % plan.phase.groups for rank, index in enumerate(ranked)}
        sizes = Counter(group_of[index] for index in body.accepted if index in group_of)
        opened = [each.group for each in body.sums]
        self.check(opened == sorted(sizes), plan.where, "other groups than those that count")
        reached = all(size >= plan.floor for size in sizes.values())
        self.check(reached, plan.where, "a group below the floor")
        enough = len(sizes) >= groups_needed(plan.phase)
        self.check(enough, plan.where, "fewer groups than the rule needs")

    def check_implied(self, plan: Round, record: Any, body: Any) -> None:
        """What every honest member's own computation would have given."""

        def check(holds: bool, rule: str) -> None:
            self.check(holds, plan.where, rule, implied=True)

        same_model = body.model_hash == plan.model
        check(sorted(set(body.accepted)) == body.accepted, "accepted out of order")
        check(sorted(set(record.joins)) == record.joins, "joins out of order")
        check(all(index < len(self.census.ids) for index in record.joins), "a stranger joined")
        if plan.phase is None:
            check(not body.skipped, "a round without contributions cannot be skipped")
            check(not body.metrics and same_model, "an outcome without contributions")
            return
        phase = plan.phase
        if phase.kind == "evaluate":
            check(same_model, "an evaluation changed the model")
        if not body.skipped:
            withheld = not body.metrics and same_model
            check(withheld or len(body.metrics) == phase.metrics_length, "number of metrics")
            possible = metrics_possible(phase, len(body.accepted), body.metrics)
            check(possible, "metrics beyond their bound")

    def check_certificate(self, plan: Round, record: Any) -> None:
        signable = statement(self.census.network, record.body)
        self.check_quorum(plan.where, plan.committee, signable, record.certificate)

    def check_quorum(
        self,
        where: str,
        committee: list[int],
        signable: bytes,
        certificate: Any,
        least: int | None = None,
    ) -> None:
        least = self.census.quorum if least is None else least
        signers, signatures = certificate.signers, certificate.signatures
        self.check(len(signers) == len(signatures), where, "a signature for each signer")
        self.check(len(signers) >= least, where, "below the quorum")
        self.check(sorted(set(signers)) == signers, where, "signers out of order")
        for member, signature in zip(signers, signatures, strict=False):
            if not 0 <= member < len(committee):
                self.check(False, where, "signed by nobody of the committee")
                continue
            key = self.census.keys[committee[member]]
            valid = signature_valid(key, signable, signature)
            self.check(valid, where, f"signature of member {member}")
