"""Linear algebra over a prime field, to count what a view tells of secrets."""

import numpy as np

from pnyx.primitives.field import PrimeField, Vector


def rank(field: PrimeField, matrix: Vector) -> int:
    rows = matrix.copy()
    found = 0
    for column in range(rows.shape[1]):
        pivots = np.flatnonzero(rows[found:, column])
        if not len(pivots):
            continue
        rows[[found, found + pivots[0]]] = rows[[found + pivots[0], found]]
        rows[found] = field.multiply(rows[found], int(field.inverse(rows[found, column])))
        others = rows[:, column].copy()
        others[found] = 0
        rows = field.reduce(rows - field.reduce(others[:, None] * rows[found][None, :]))
        found += 1
        if found == len(rows):
            break
    return found


def sharing_matrix(sharing) -> Vector:
    """Shares [members, packing + privacy] of each secret and random element alone."""
    eye = np.eye(sharing.packing + sharing.privacy, dtype=np.int64)
    return sharing.share(eye[: sharing.packing], eye[sharing.packing :])
