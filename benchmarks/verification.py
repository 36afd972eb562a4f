"""Cost of verified direct contributions.

Times one contribution of the demonstration's size (3,142 bounded entries and three counts) for two
committees: `prove` by the contributor, `answers` by one member (with the coefficients of the
challenge, and once they are known), and `judge` for thirty contributions at once, with nobody and
with f members lying. Medians and means in milliseconds of wall time on one thread; `prove` draws
about three masks, so its mean counts. The sampler of contributors' noise is timed beside them.
"""

import time
from collections.abc import Callable
from statistics import mean, median

import numpy as np

from pnyx.primitives.hashing import merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, verification
from pnyx.protocol.aggregation.bounds import Bounds, cheating_log2, repetitions
from pnyx.protocol.aggregation.gaussian import discrete_gaussian
from pnyx.protocol.aggregation.verdicts import judge
from pnyx.protocol.selection import CommitteeSize, committee_size

BOUNDS = Bounds(3145, 3142, 4096, 1 << 20)
SIZES = (committee_size(24, 4, 2, 4), committee_size(64, 12, 4, 9))
CONTRIBUTORS = 30
CHALLENGE = b"c" * 32
CONTEXT = b"benchmark"
NOISE_WIDTH, NOISE_VALUES = 10_000, 1 << 20


def timed(action: Callable[[int], object], repeats: int) -> dict[str, float]:
    """Milliseconds of action(0), ..., action(repeats - 1), after one to warm up."""
    action(0)
    spent = []
    for repeat in range(repeats):
        start = time.perf_counter()
        action(repeat)
        spent.append(1e3 * (time.perf_counter() - start))
    return {"median_ms": round(median(spent), 3), "mean_ms": round(mean(spent), 3)}


def vectors(seed: int) -> list[np.ndarray]:
    """Updates close to the bound, and counts, all different."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(CONTRIBUTORS):
        update = generator.normal(size=BOUNDS.bounded)
        update = np.rint(update * 0.98 * BOUNDS.norm_max / np.linalg.norm(update))
        counts = generator.integers(0, BOUNDS.count_max, BOUNDS.counts)
        found.append(np.concatenate([update.astype(np.int64), counts]))
    return found


def measure(size: CommitteeSize, seed: int, repeats: int) -> dict[str, object]:
    """Figures of one committee."""
    rows = vectors(seed)
    proven = [
        verification.prove(row, BOUNDS, size, who.to_bytes(32, "big"), CONTEXT)
        for who, row in enumerate(rows)
    ]
    claims = [
        coefficients.Claim(
            who, verification.commit(CONTEXT, merkle_root(each.payloads)), each.published
        )
        for who, each in enumerate(proven)
    ]
    shares = [
        [verification.read_payload(payload, BOUNDS, size) for payload in each.payloads]
        for each in proven
    ]

    def answer(who: int, member: int) -> np.ndarray:
        return verification.answers(
            shares[who][member], member, claims[who], CHALLENGE, BOUNDS, size
        )

    answers = {m: {who: answer(who, m) for who in range(CONTRIBUTORS)} for m in range(size.size)}
    lies = {m: dict(given) for m, given in answers.items()}
    for member in range(size.corrupt_max):
        for who in range(CONTRIBUTORS):
            lies[member][who] = (lies[member][who] + 1 + who) % 1_000_003
    verdicts = judge(size, BOUNDS, claims, CHALLENGE, lies)
    assert all(verdict.accepted for verdict in verdicts.values())

    def fresh_challenge(repeat: int) -> object:
        challenge = repeat.to_bytes(32, "big")
        return verification.answers(shares[0][0], 0, claims[0], challenge, BOUNDS, size)

    def judged(given: dict[int, dict[int, np.ndarray]]) -> Callable[[int], object]:
        return lambda _: judge(size, BOUNDS, claims, CHALLENGE, given)

    return {
        "members": size.size,
        "corrupt_max": size.corrupt_max,
        "packing": size.packing,
        "repetitions": repetitions(size),
        "cheating_log2": round(cheating_log2(size, repetitions(size)), 1),
        "payload_bytes": verification.payload_bytes(BOUNDS, size),
        "published_bytes": verification.PUBLISHED_BYTES,
        "answer_bytes": verification.ELEMENT_BYTES * verification.answer_count(size),
        "prove": timed(
            lambda at: verification.prove(rows[0], BOUNDS, size, at.to_bytes(32, "big"), b""),
            repeats,
        ),
        "answers": timed(fresh_challenge, repeats),
        "answers_known_coefficients": timed(lambda _: answer(0, 0), repeats),
        "judge_thirty": timed(judged(answers), repeats),
        "judge_thirty_f_liars": timed(judged(lies), max(3, repeats // 10)),
    }


def noise(repeats: int) -> dict[str, object]:
    """The exact sampler beside a key stream of one word a value, and beside numpy's own normals."""

    def seconds(work: Callable[[], object]) -> float:
        spent = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            spent.append(time.perf_counter() - start)
        return median(spent)

    sampler, generator = Sampler(bytes(32), "benchmark/noise"), np.random.default_rng(1)
    exact = seconds(lambda: discrete_gaussian(sampler, NOISE_WIDTH, NOISE_VALUES))
    stream = seconds(lambda: sampler.bytes(8 * NOISE_VALUES))
    normals = seconds(lambda: generator.normal(0.0, NOISE_WIDTH, NOISE_VALUES))
    return {
        "width": NOISE_WIDTH,
        "values_per_s": round(NOISE_VALUES / exact),
        "ratio_to_key_stream": round(exact / stream, 1),
        "ratio_to_numpy_normal": round(exact / normals, 1),
    }


def run() -> dict[str, object]:
    """Figures of both committees, and of the noise that contributors add."""
    return {
        "length": BOUNDS.length,
        "noise": noise(5),
        "committees": [measure(size, 1, 60) for size in SIZES],
    }
