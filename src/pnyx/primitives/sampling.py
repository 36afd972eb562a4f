"""Deterministic, exactly uniform draws from a seed.

A `Sampler` reads the AES-256-CTR key stream under the key digest("pnyx/sampler", domain, seed),
counter block starting at zero. Draws consume the stream in order, so the same seed, domain and
sequence of calls give the same values everywhere: beacons select the same actors on every node,
and a secret seed stands for the random values expanded from it. Different domains give
independent streams.

Uniform means exactly uniform: words beyond the largest accepted value are dropped and drawn
again, never reduced modulo n, which would favour small values. How many words are dropped can be
seen in the running time, but says nothing of the values that are kept.
"""

import builtins
from math import prod

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from pnyx.primitives.hashing import digest

SEED_BYTES = 32

_WORD_BYTES = 4
_REFILL = bytes(1024)  # small draws share one call of the cipher


class Sampler:
    """A stream of uniform draws, fixed by 32 bytes of seed and a domain."""

    __slots__ = ("_buffer", "_encryptor", "_offset")

    def __init__(self, seed32: bytes, domain: str) -> None:
        if len(seed32) != SEED_BYTES:
            raise ValueError(f"a sampler is seeded by {SEED_BYTES} bytes")
        key = digest("pnyx/sampler", domain.encode(), seed32)
        self._encryptor = Cipher(AES256(key), CTR(builtins.bytes(16))).encryptor()
        self._buffer = b""
        self._offset = 0

    def bytes(self, count: int) -> builtins.bytes:
        """Return the next `count` bytes of the stream."""
        if count < 0:
            raise ValueError("cannot draw a negative number of bytes")
        end = self._offset + count
        if end <= len(self._buffer):
            piece = self._buffer[self._offset : end]
            self._offset = end
            return piece
        rest = self._buffer[self._offset :]
        missing = count - len(rest)
        if missing > len(_REFILL):  # a large draw: leave the buffer empty, copy nothing twice
            self._buffer, self._offset = b"", 0
            return rest + self._encryptor.update(builtins.bytes(missing))
        self._buffer, self._offset = self._encryptor.update(_REFILL), missing
        return rest + self._buffer[:missing]

    def field_elements(self, modulus: int, shape: int | tuple[int, ...]) -> NDArray[np.int64]:
        """Draw an array of integers uniform in [0, modulus), modulus at most 2^32.

        Each is a 4-byte little-endian word of the stream, cut to the bits of modulus - 1 and
        dropped if still too large; accepted words fill the array in C order.
        """
        if not 1 <= modulus <= 1 << (8 * _WORD_BYTES):
            raise ValueError("the modulus must lie between 1 and 2**32")
        count = prod(shape) if isinstance(shape, tuple) else shape
        mask = np.uint32((1 << (modulus - 1).bit_length()) - 1)
        values = np.empty(count, dtype=np.int64)
        filled = 0
        while filled < count:
            # exactly as many words as are missing, so that the values are those of a
            # word-by-word reading of the stream and nothing is consumed beyond the last one
            words = np.frombuffer(self.bytes(_WORD_BYTES * (count - filled)), dtype="<u4") & mask
            accepted = words[words < modulus]
            values[filled : filled + len(accepted)] = accepted
            filled += len(accepted)
        return values.reshape(shape)

    def below(self, bound: int) -> int:
        """Draw an integer uniform in [0, bound); a bound of 1 consumes nothing.

        Little-endian words of as many bytes as bound - 1 needs, cut to its bits.
        """
        if bound < 1:
            raise ValueError("the bound must be at least 1")
        bits = (bound - 1).bit_length()
        size, mask = (bits + 7) // 8, (1 << bits) - 1
        while (value := int.from_bytes(self.bytes(size), "little") & mask) >= bound:
            pass
        return value

    def sample(self, population: int, count: int) -> list[int]:
        """Draw `count` distinct integers of [0, population), each ordered choice equally likely.

        The first `count` steps of a Fisher-Yates shuffle, of which only the places that moved
        are kept: one draw per element and no array of the size of the population.
        """
        if not 0 <= count <= population:
            raise ValueError("cannot draw more distinct integers than there are")
        moved: dict[int, int] = {}
        chosen = []
        for place in range(count):
            other = place + self.below(population - place)
            chosen.append(moved.get(other, other))
            moved[other] = moved.get(place, place)
        return chosen
