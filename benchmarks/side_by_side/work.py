"""What is summed, what must come out, and how it is measured."""

import time

import msgspec
import numpy as np

from pnyx.protocol.aggregation.encoding import IntVector

VALUE_BITS = 12
_SPREAD = 1000  # of the common part; a contributor's number comes on top


class Work(msgspec.Struct, frozen=True):
    """`rounds` sums over vectors [values] of 12-bit integers, one from each contributor."""

    values: int
    contributors: int
    rounds: int = 1

    def common(self) -> IntVector:
        """What all vectors have in common [values]."""
        generator = np.random.default_rng(1)
        return generator.integers(-_SPREAD, _SPREAD + 1, self.values)

    def check(self, model: bytes, numbers: int) -> None:
        """Refuse a model that is not what `next_model` makes of zeros, round after round.

        numbers: the sum of the contributors' numbers, over all rounds.
        """
        counted = self.contributors * self.rounds
        wanted = self.common() * counted + numbers
        found = np.frombuffer(model, dtype="<f4")
        if not np.allclose(found, wanted / self.contributors, rtol=1e-5, atol=1e-3):
            raise RuntimeError("the sums are wrong, so the figures are worth nothing")


def next_model(model: bytes, total: IntVector, count: int) -> bytes:
    """The model after a round: the mean of the vectors is added to it."""
    before = np.frombuffer(model, dtype="<f4")
    return (before + total[: len(before)] / np.float32(count)).astype("<f4").tobytes()


class Spent(msgspec.Struct, frozen=True):
    """What a round took, all nodes together. Bytes are those on the wire, TLS included."""

    wall_s: float
    cpu_s: float
    sent_mb: float


class Meter:
    """Reads clocks between two moments."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per_round(self, rounds: int, sent_bytes: int) -> Spent:
        """What went by since it was made, over so many rounds."""
        return Spent(
            round((time.perf_counter() - self._wall) / rounds, 3),
            round((time.process_time() - self._cpu) / rounds, 3),
            round(sent_bytes / rounds / 1e6, 2),
        )
