"""How long one of our rounds takes, and what it sends, on a network of limited lines.

The machines themselves run in `live_rounds`, up to some hundred nodes. This model goes on from
there: the same steps, with messages of the sizes that the protocol's own functions give, on the
network of `baselines.tree_run` (a latency, a limited line for what a node sends, optionally for
what it receives).

A round is a chain of steps, each with a number of messages that wait for each other (`HOPS`,
counted in runs of the machines on lines without limit) and what the busiest node must send in it.
That is the leader: what it says to all members leaves its line once for each of them or, above
`parted_bytes_min`, once in parts, which members relay; it goes on when a quorum has it.
In masked mode it is also the aggregators, which copy vectors among each other and send the sum,
with the linear hashes of all contributors, to every member.

What the model leaves out: gossip of record and model to the rest of the network, time-outs of the
protocol (five seconds for a view, by default: where a step takes longer than that, patience must be
raised, or views change before the leader has sent what it proposes), and a second attempt.
"""

from math import ceil, log2
from typing import NamedTuple

import msgspec

from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, ParameterSet, choose
from pnyx.protocol.aggregation.verification import (
    ELEMENT_BYTES,
    PUBLISHED_BYTES,
    answer_count,
    payload_bytes,
    released_bytes,
)
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.round.proposed import passed_on_to
from pnyx.protocol.selection.security import CommitteeSize
from pnyx.simulator.device import Device

# Messages that wait for each other, step by step: direct, masked.
HOPS = {
    "open": (9, 9),
    "contribute": (2, 12),
    "close": (5, 5),
    "challenge": (2, 2),
    "accept": (6, 6),
    "release": (2, 4),
    "certify": (1, 1),
}
STEPS = tuple(HOPS)

_VALUE_BITS = 13  # of a masked value, as deep networks use them
_LINEAR_HASH_BYTES = 11_520
_SUM_BITS, _RESIDUE_BITS = 35, 27
_MASK_PASSES, _LINEAR_HASH_PASSES = 12, 20  # docs/adr/0025-masked-aggregation.md
_ADD_PASSES = 0.2
_PROVE_PASSES = 40  # sharing, mask and projection of a direct vector, over its bytes
_CHECKS_PER_CONTRIBUTION = 5  # of a member: envelope, header, receipt, answers

# Bytes, from the records of protocol.messages.
_ROUND_KEY = 244
_SIGNED = 130  # signer, signature, context, and what frames a body
_SIGNATURE = 67
_RECEIPT = 137
_HEADER = 330  # a signed contribution header, without the published vector
_MASKED_HEADER = 70
_ENVELOPE = 200  # around a payload: HPKE, Merkle proof, framing
_PROPOSED = 138  # the hash that a leader proposed, as members pass it on
_HELD = 38  # an entry of a close vote
_OPENING = 70  # a share of a beacon's secret, without its Merkle proof
_HASH = 32


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Lines between nodes."""

    latency_s: float = 0.033
    bytes_per_s: float = 6_000 * 1024.0
    receivers_limited: bool = False


class RoundShape(msgspec.Struct, frozen=True, kw_only=True):
    """One group of a round: its committee, and what its contributors send."""

    committee: CommitteeSize
    contributors: int  # that are summed
    drawn: int
    values: int  # of the model
    masked: bool
    aggregators: int = 3
    # As the phase of a study states them; None: those of a deep network.
    masking: ParameterSet | None = None
    stated: Bounds | None = None

    @property
    def parameters(self) -> ParameterSet:
        """How vectors are masked."""
        return self.masking or choose(
            self.values,
            _VALUE_BITS,
            self.contributors,
            members=self.committee.size,
            packing=self.committee.packing,
            rings=SHARED_RINGS,
        )

    @property
    def bounds(self) -> Bounds:
        """What the shares hold: the whole vector, or a key and a few counts."""
        if self.stated is not None:
            return self.stated
        if not self.masked:
            return Bounds(self.values, self.values, (1 << (_VALUE_BITS - 1)) - 1, 0)
        ring = self.parameters
        fields = len(ring.primes)
        return Bounds(8, 0, 0, 1, key_length=ring.degree, key_fields=fields)


class StepCost(msgspec.Struct, frozen=True, kw_only=True):
    """A step: how long it takes, and what everybody together sends in it."""

    step: str
    seconds: float
    sent: float  # bytes of all nodes


class RoundCost(msgspec.Struct, frozen=True, kw_only=True):
    """A round of one group."""

    steps: tuple[StepCost, ...]
    work_s: float  # of all nodes
    contributor_bytes: int  # that one contributor sends
    leader_bytes: float
    aggregator_bytes: float  # that one aggregator sends

    @property
    def seconds(self) -> float:
        """From the record before to this round's."""
        return sum(step.seconds for step in self.steps)

    @property
    def acknowledged_s(self) -> float:
        """When the last contributor has its receipts, and may leave."""
        return sum(step.seconds for step in self.steps[:2])

    @property
    def sent(self) -> float:
        """Bytes of all nodes."""
        return sum(step.sent for step in self.steps)


def round_cost(shape: RoundShape, network: Network, device: Device) -> RoundCost:
    """Add up a round of one group."""
    size, masked = shape.committee, shape.masked
    values = proposed_bytes(shape)
    certificates = size.quorum * 2 * (_SIGNATURE * size.quorum + _SIGNED)
    said = dict(values)  # by the leader to all members
    said["challenge"] = (2 * size.corrupt_max + 2) * _opening_bytes(size)
    said["release"] = (size.degree + 1 + size.corrupt_max) * _release_bytes(shape)
    spread = {step: _spread(length, size, network) for step, length in said.items()}
    upload = _upload_bytes(shape)
    vector = shape.parameters.bytes if masked else 0
    copies, sums = _aggregator_bytes(shape, vector)
    received = shape.drawn * vector if network.receivers_limited else 0.0
    compute = _compute(shape, device)
    seconds = {}
    for step, hops in HOPS.items():
        seconds[step] = hops[masked] * network.latency_s + compute.get(step, 0.0)
        if step in spread:
            seconds[step] += spread[step].seconds
        if step in values:
            seconds[step] += certificates / network.bytes_per_s
    seconds["contribute"] += upload / network.bytes_per_s
    # Vectors are copied while the committee closes and accepts; the sum waits for both.
    copied = max(copies, received) / network.bytes_per_s
    meanwhile = seconds["close"] + seconds["challenge"] + seconds["accept"]
    seconds["release"] += max(0.0, copied - meanwhile) + sums / network.bytes_per_s
    certified = certificates * size.size / size.quorum
    sent = {step: size.size * said.get(step, 0.0) for step in STEPS}
    passed_on = size.size * passed_on_to(size) * _PROPOSED
    for step in values:
        sent[step] += certified + passed_on
    sent["contribute"] += shape.drawn * (upload + size.size * _RECEIPT)
    sent["close"] += size.size * _close_vote_bytes(shape) + shape.aggregators * copies
    sent["release"] += shape.aggregators * sums
    return RoundCost(
        steps=tuple(StepCost(step=s, seconds=seconds[s], sent=sent[s]) for s in STEPS),
        work_s=_work(shape, device),
        contributor_bytes=upload,
        leader_bytes=sum(each.leader_bytes for each in spread.values()) + len(values) * certified,
        aggregator_bytes=copies + sums,
    )


class _Spread(NamedTuple):
    seconds: float  # until a quorum has the message, but for the latency of its first way
    leader_bytes: float


def _spread(length: float, size: CommitteeSize, network: Network) -> _Spread:
    """How what a leader says comes to a committee: whole, or in parts that members relay."""
    if length <= DEFAULT_PARAMS.parted_bytes_min:
        return _Spread(size.quorum * length / network.bytes_per_s, size.size * length)
    line = max(length, min(DEFAULT_PARAMS.part_line_bytes, size.size * length))
    return _Spread(network.latency_s + 2 * line / network.bytes_per_s, line)


def proposed_bytes(shape: RoundShape) -> dict[str, float]:
    """Return the sizes of the three values that the committee agrees on.

    The list of round keys; the close votes with the headers that they name; the members' answers.
    """
    size = shape.committee
    answers = shape.contributors * (ELEMENT_BYTES * answer_count(size) + 2)
    return {
        "open": size.size * _ROUND_KEY,
        "close": shape.contributors * _header_bytes(shape) + size.size * _close_vote_bytes(shape),
        "accept": size.size * (_SIGNED + _HASH + answers),
    }


def _header_bytes(shape: RoundShape) -> int:
    return _HEADER + PUBLISHED_BYTES + shape.masked * _MASKED_HEADER


def _close_vote_bytes(shape: RoundShape) -> int:
    dealers = 2 * (shape.committee.corrupt_max + 1)
    return _SIGNED + shape.contributors * _HELD + dealers


def _opening_bytes(size: CommitteeSize) -> int:
    """One member's shares of one beacon's secrets, with their proofs."""
    return (size.corrupt_max + 1) * (_OPENING + _HASH * ceil(log2(size.size)))


def _release_bytes(shape: RoundShape) -> int:
    size = shape.committee
    return _SIGNED + released_bytes(shape.bounds, size) + _opening_bytes(size)


def _upload_bytes(shape: RoundShape) -> int:
    """What a contributor sends: its envelopes with the header, and its masked vector once."""
    payload = payload_bytes(shape.bounds, shape.committee) + _ENVELOPE + _header_bytes(shape)
    vector = shape.parameters.bytes if shape.masked else 0
    return shape.committee.size * payload + vector


def _aggregator_bytes(shape: RoundShape, vector: int) -> tuple[float, float]:
    """Return what one aggregator sends: copies to the others, and sums to its share of members.

    Every aggregator pulls what the others were given; a sum comes with the linear hashes of all.
    """
    if not shape.masked:
        return 0.0, 0.0
    held = shape.drawn / shape.aggregators
    sum_bytes = vector * _SUM_BITS / _RESIDUE_BITS + shape.contributors * _LINEAR_HASH_BYTES
    members = shape.committee.size / shape.aggregators
    return held * (shape.aggregators - 1) * vector, members * sum_bytes


def _compute(shape: RoundShape, device: Device) -> dict[str, float]:
    """Return how long each step waits for somebody to compute."""
    size = shape.committee
    certificates = 2 * size.quorum * device.check_s
    handled = _CHECKS_PER_CONTRIBUTION * shape.drawn * device.check_s
    seconds = {
        "open": certificates + size.size * device.check_s,
        "contribute": _contribute_s(shape, device) + size.quorum * device.check_s,
        "close": certificates + handled,
        "accept": certificates + size.quorum * device.check_s,
        "release": size.quorum * device.check_s,
        "certify": size.quorum * device.check_s,
    }
    if shape.masked:
        vector = shape.parameters.bytes
        checked = device.passes_s(_LINEAR_HASH_PASSES + _ADD_PASSES, vector)
        seconds["close"] += shape.drawn * checked
        seconds["release"] += checked
    return seconds


def _contribute_s(shape: RoundShape, device: Device) -> float:
    """Mask or prove, hash and seal."""
    sealed = shape.committee.size * device.check_s
    if shape.masked:
        passes = _MASK_PASSES + _LINEAR_HASH_PASSES
        return sealed + device.passes_s(passes, shape.parameters.bytes)
    columns = layout(shape.bounds, shape.committee).columns
    return sealed + device.passes_s(_PROVE_PASSES, 2 * ELEMENT_BYTES * columns)


def _work(shape: RoundShape, device: Device) -> float:
    """Return what all nodes of the group compute, in seconds of one core."""
    size, compute = shape.committee, _compute(shape, device)
    members = sum(compute[s] for s in ("open", "accept", "release", "certify"))
    members += _CHECKS_PER_CONTRIBUTION * shape.drawn * device.check_s
    work = shape.drawn * compute["contribute"] + size.size * members
    if shape.masked:
        checked = device.passes_s(_LINEAR_HASH_PASSES + _ADD_PASSES, shape.parameters.bytes)
        work += shape.aggregators * shape.drawn * checked
    return work
