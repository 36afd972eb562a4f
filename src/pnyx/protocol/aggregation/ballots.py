"""Ballots: rules that counts of 0 and 1 must keep together, as linear equations over bits.

    choice     questions of `options` entries each, exactly one of them 1
    approval   questions of `options` entries each, at most `chosen_max` of them 1
    ranking    a strict order of `options` candidates, one entry x_ij for each pair i < j, 1 when i
               comes before j: (0,1), (0,2), ..., (1,2), ...

A pairwise ballot with ties, entries (x_ij, x_ji) pair after pair, is an approval of at most one of
every two. A ranking is valid iff no three candidates form a cycle, which is x_ij + x_jk - x_ik in
{0, 1} for every i < j < k: a tournament without cycles of three is transitive (Moon 1968, theorem
9).

Each rule is an equation Σ a·x + Σ c·s = b over the entries x and *slack bits* s, which only take
up what a rule leaves open. Entries and slack bits are proven to be the integers 0 or 1 (see
`bounds`), and every equation is checked in both fields with a random weight of its own that is
drawn after the ballot is committed to. The sums are far smaller than either prime, so an equation
that holds modulo one of them holds over the integers: validity is exact.
"""

from functools import lru_cache
from itertools import combinations
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.protocol.aggregation.encoding import IntVector

RANKED_MAX = 24  # candidates: 276 pairs, 2,024 triples


class Ballot(msgspec.Struct, frozen=True, array_like=True):
    """The rule that a phase's counts keep; see the module docstring.

    chosen_max: for approvals, else 0. A rule that makes no sense raises ValueError, which decoders
    report as a malformed message.
    """

    kind: Literal["choice", "approval", "ranking"]
    options: Annotated[int, Meta(ge=2, le=4096)]
    chosen_max: Annotated[int, Meta(ge=0, le=4096)] = 0

    def __post_init__(self) -> None:
        if self.kind == "approval":
            if not 1 <= self.chosen_max <= self.options:
                raise ValueError("an approval admits between one and all of its options")
        elif self.chosen_max:
            raise ValueError("only an approval has a largest number of choices")
        if self.kind == "ranking" and not 3 <= self.options <= RANKED_MAX:
            raise ValueError(f"a ranking orders 3 to {RANKED_MAX} candidates")

    def fits(self, counts: int) -> bool:
        """Whether this many counts can be such a ballot."""
        if self.kind == "ranking":
            return counts == self.options * (self.options - 1) // 2
        return counts > 0 and counts % self.options == 0

    def slack_bits(self, counts: int) -> int:
        """Slack bits of a ballot of this many counts."""
        if self.kind == "choice":
            return 0
        if self.kind == "approval":
            return counts // self.options * self.chosen_max.bit_length()
        return len(_triples(self.options))

    def chosen(self, counts: int) -> int:
        """The largest number of entries that are 1 in a valid ballot."""
        if self.kind == "ranking":
            return counts
        return counts // self.options * max(1, self.chosen_max)


class Equations(msgspec.Struct, frozen=True):
    """Rules as equations: entries [equations, counts], slack [equations, slack bits], wanted."""

    entries: IntVector
    slack: IntVector
    wanted: IntVector


def bit_weights(limit: int) -> tuple[int, ...]:
    """Weights whose subset sums are exactly 0..limit: powers of two, the last one cut to fit."""
    bits = limit.bit_length()
    powers = [1 << bit for bit in range(bits - 1)]
    return (*powers, limit - sum(powers)) if bits else ()


def to_bits(values: IntVector, limit: int) -> IntVector:
    """Bits [weights, n] with bit_weights(limit) @ bits = values, each of which is in 0..limit."""
    weights = bit_weights(limit)
    last = values >> (len(weights) - 1)  # below 2: a value has no more bits than the limit
    rest = values - last * weights[-1]
    return np.stack([*((rest >> bit) & 1 for bit in range(len(weights) - 1)), last])


def is_valid(ballot: Ballot, entries: IntVector) -> bool:
    """Whether the entries [counts] keep the ballot's rule."""
    if not ballot.fits(len(entries)) or not bool(((entries == 0) | (entries == 1)).all()):
        return False
    if ballot.kind == "ranking":
        return set(_cycles(ballot, entries).tolist()) <= {0, 1}
    chosen = entries.reshape(-1, ballot.options).sum(axis=1)
    if ballot.kind == "choice":
        return bool((chosen == 1).all())
    return bool((chosen <= ballot.chosen_max).all())


def slack_of(ballot: Ballot, entries: IntVector) -> IntVector:
    """The slack bits of a valid ballot [slack bits]."""
    if ballot.kind == "choice":
        return np.zeros(0, dtype=np.int64)
    if ballot.kind == "ranking":
        return _cycles(ballot, entries)
    left = ballot.chosen_max - entries.reshape(-1, ballot.options).sum(axis=1)
    return to_bits(left, ballot.chosen_max).T.reshape(-1)


@lru_cache(maxsize=16)
def equations(ballot: Ballot, counts: int) -> Equations:
    """The equations that are satisfied by valid ballots and their slack bits, and by no others."""
    if ballot.kind == "ranking":
        triples = _triples(ballot.options)
        cycles = np.zeros((len(triples), counts), dtype=np.int64)
        for place, sign in enumerate((1, 1, -1)):
            cycles[np.arange(len(triples)), triples[:, place]] = sign
        return Equations(
            cycles, -np.eye(len(triples), dtype=np.int64), np.zeros(len(triples), dtype=np.int64)
        )
    questions = np.eye(counts // ballot.options, dtype=np.int64)
    weights = np.array([bit_weights(ballot.chosen_max)], dtype=np.int64)  # none for a choice
    return Equations(
        np.repeat(questions, ballot.options, axis=1),
        np.kron(questions, weights),
        np.full(len(questions), max(1, ballot.chosen_max), dtype=np.int64),
    )


@lru_cache(maxsize=16)
def _triples(candidates: int) -> IntVector:
    """Entries (x_ij, x_jk, x_ik) of every three candidates i < j < k: [triples, 3]."""
    pairs = {pair: at for at, pair in enumerate(combinations(range(candidates), 2))}
    return np.array(
        [(pairs[i, j], pairs[j, k], pairs[i, k]) for i, j, k in combinations(range(candidates), 3)],
        dtype=np.int64,
    )


def _cycles(ballot: Ballot, entries: IntVector) -> IntVector:
    """x_ij + x_jk - x_ik of every three candidates: 0 or 1 unless they form a cycle."""
    first, second, third = entries[_triples(ballot.options)].T
    return np.asarray(first + second - third)
