"""What a member of the one committee does in a masked round, against the number of groups.

256 contributors a group, the most that masks hold; 24 members; updates of 100,000 values. Measured
is everything that grows: reading and answering for each contribution, judging all of them by the
answers of all members, and for each group checking the sum of its vectors by the linear hashes, and
unmasking it. One contribution stands for all, under other numbers, so its errors do not cancel and
a sum is not exact; it takes the same time. CPU seconds of one thread.
Signatures and envelopes are left out: some 0.5 ms a contribution (`benchmarks/primitives.py`).
"""

import time
from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from pnyx.primitives.hashing import merkle_commit, verify_merkle_proof
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, choose
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.aggregation.payloads import read_share
from pnyx.protocol.aggregation.verdicts import judge
from pnyx.protocol.selection import committee_size

LENGTH, VALUE_BITS, A_GROUP = 100_000, 16, 256
SIZE = committee_size(24, 4, 2, 4)
GROUPS = (1, 4, 16)
MEMBER = SIZE.size - 1
CONTEXT, CHALLENGE = b"benchmark", b"c" * 32
PARAMETERS = choose(LENGTH, VALUE_BITS, A_GROUP, rings=SHARED_RINGS)
BOUNDS = Bounds(3, 0, 0, 1 << 10, key_length=PARAMETERS.degree, key_fields=len(PARAMETERS.primes))


class Round:
    """One contribution, and the sum of a group of equal ones."""

    def __init__(self) -> None:
        generator = np.random.default_rng(1)
        self.code = VectorCode(PARAMETERS, CONTEXT)
        update = generator.integers(-1000, 1000, LENGTH)
        self.made = self.code.mask(update, bytes(32), CONTEXT)
        counts = np.array([1, 2, 3], dtype=np.int64)
        proven = verification.prove(counts, BOUNDS, SIZE, bytes(32), CONTEXT, self.made.key)
        self.payloads = proven.payloads
        self.root, self.proofs = merkle_commit(proven.payloads)
        self.claim = Claim(0, verification.commit(CONTEXT, self.root), proven.published)
        vectors = [iter(self.made.segments) for _ in range(A_GROUP)]
        self.total = b"".join(sum_vectors(PARAMETERS, vectors))
        primes = PARAMETERS.primes
        self.key = tuple(
            part * A_GROUP % prime for part, prime in zip(self.made.key, primes, strict=True)
        )

    def hold(self, count: int) -> None:
        """Read and check a share of each contribution."""
        payload, proof = self.payloads[MEMBER], self.proofs[MEMBER]
        for _ in range(count):
            assert verify_merkle_proof(self.root, payload, MEMBER, SIZE.size, proof)
            read_share(payload, MEMBER, self.claim, BOUNDS, SIZE)

    def answer(self, count: int) -> None:
        """Answer for each contribution."""
        share = read_share(self.payloads[MEMBER], MEMBER, self.claim, BOUNDS, SIZE)
        for who in range(count):
            claim = replace(self.claim, contributor=who)
            verification.answers(share, MEMBER, claim, CHALLENGE, BOUNDS, SIZE)

    def judge(self, count: int) -> None:
        """Judge all contributions by everybody's answers."""
        claims = [replace(self.claim, contributor=who) for who in range(count)]
        given = {
            member: dict.fromkeys(
                range(count),
                verification.answers(
                    read_share(payload, member, self.claim, BOUNDS, SIZE),
                    member,
                    self.claim,
                    CHALLENGE,
                    BOUNDS,
                    SIZE,
                ),
            )
            for member, payload in enumerate(self.payloads)
        }
        judge(SIZE, BOUNDS, claims, CHALLENGE, given)

    def sums(self, groups: int) -> None:
        """Check and unmask the sum of every group."""
        for _ in range(groups):
            self.code.check_sum(self.total, [self.made.linear_hash] * A_GROUP)
            self.code.unmask(self.total, self.key, A_GROUP)


def cpu_s(act: Callable[[int], None], count: int) -> float:
    """Thread CPU seconds of a call."""
    start = time.thread_time()
    act(count)
    return round(time.thread_time() - start, 3)


def run() -> dict[str, object]:
    """CPU seconds and bytes of one member, for some numbers of groups."""
    made = Round()
    for act in (made.hold, made.answer, made.judge, made.sums):
        act(1)  # what is compiled and cached once
    table = []
    for groups in GROUPS:
        count = groups * A_GROUP
        steps = {
            "hold_cpu_s": cpu_s(made.hold, count),
            "answer_cpu_s": cpu_s(made.answer, count),
            "judge_cpu_s": cpu_s(made.judge, count),
            "sums_cpu_s": cpu_s(made.sums, groups),
        }
        share = read_share(made.payloads[MEMBER], MEMBER, made.claim, BOUNDS, SIZE)
        table.append(
            {
                "groups": groups,
                "contributors": count,
                **steps,
                "all_cpu_s": round(sum(steps.values()), 3),
                "shares_in_memory_bytes": count * sum(part.nbytes for part in share),
                "sums_in_memory_bytes": groups * len(made.total),
            }
        )
    return {"values": LENGTH, "members": SIZE.size, "table": table}
