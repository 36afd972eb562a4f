"""Bytes that were changed on their way."""

import numpy as np


def mutated(payload: bytes, generator: np.random.Generator) -> bytes:
    """A byte flipped, or one to three changes: flipped bytes, the end cut off, bytes put in."""
    changed = bytearray(payload)
    if generator.integers(2):
        changed[int(generator.integers(len(changed)))] ^= int(generator.integers(1, 256))
        return bytes(changed)
    for _ in range(int(generator.integers(1, 4))):
        match int(generator.integers(3)):
            case 0 if changed:
                changed[int(generator.integers(len(changed)))] ^= int(generator.integers(1, 256))
            case 1 if changed:
                del changed[int(generator.integers(1, len(changed) + 1)) :]
            case _:
                at = int(generator.integers(len(changed) + 1))
                changed[at:at] = generator.bytes(int(generator.integers(1, 5)))
    return bytes(changed)
