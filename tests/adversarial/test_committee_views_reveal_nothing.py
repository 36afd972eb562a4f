"""Members pool everything that direct mode shows them (THREATS A1).

The view of a coalition in one contribution: its shares, the blinds' shares, and every member's
answers to the challenge, which all members see. It is linear in (secrets, blinds, randomness); what
it says about the secrets is its rank less its rank as a function of the rest. 0 for f members, at
least 1 for f + 1, everything for f + l.
"""

import numpy as np
import pytest

from pnyx.primitives.field import PrimeField, Vector
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.selection import choose_committee, committee_size

WIDTH = 2
COLUMNS = WIDTH + direct.REPETITIONS


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


def learned(size, coalition, *, blinds: bool = True) -> int:
    """Independent relations on the secrets in a coalition's view of one contribution."""
    field = FIELDS[0]
    sharing = PackedSharing(field, size.size, size.corrupt_max, size.packing)
    eye = np.eye(size.packing + size.corrupt_max, dtype=np.int64)
    matrix = sharing.share(eye[: size.packing], eye[size.packing :])  # [k, l + f]
    rho = direct.check_coefficients(b"c" * 32, 1, WIDTH)[0]  # [repetitions, width]
    rows = []
    for column in range(COLUMNS):
        block = np.zeros((len(coalition), COLUMNS, matrix.shape[1]), dtype=np.int64)
        block[:, column] = matrix[list(coalition)]
        rows.append(block)
    for repetition in range(direct.REPETITIONS):
        block = np.zeros((size.size, COLUMNS, matrix.shape[1]), dtype=np.int64)
        for column in range(WIDTH):
            block[:, column] = field.reduce(matrix * int(rho[repetition, column]))
        if blinds:
            block[:, WIDTH + repetition] = matrix
        rows.append(block)
    view = np.concatenate(rows)  # [rows, columns, l + f]
    secret = view[:, :WIDTH, : size.packing].reshape(len(view), -1)
    unknown = np.concatenate(
        [
            view[:, WIDTH:].reshape(len(view), -1),
            view[:, :WIDTH, size.packing :].reshape(len(view), -1),
        ],
        axis=1,
    )
    return rank(field, np.concatenate([unknown, secret], axis=1)) - rank(field, unknown)


@pytest.mark.parametrize("size", [committee_size(7, 1, 2), committee_size(11, 2, 2)])
def test_f_colluding_members(size):
    sampler = Sampler(bytes(32), "views")
    for _ in range(3):
        order = sampler.sample(size.size, size.size)
        f, packing = size.corrupt_max, size.packing
        assert learned(size, order[:f]) == 0
        assert learned(size, order[: f + 1]) >= 1
        assert learned(size, order[: f + packing]) == packing * WIDTH


def test_the_committee_of_the_demonstration():
    size = choose_committee(36)
    assert learned(size, range(size.corrupt_max)) == 0
    assert learned(size, range(size.corrupt_max + 1)) >= 1


def test_without_blinds_the_answers_would_tell():
    size = committee_size(7, 1, 2)
    assert learned(size, (0,), blinds=False) >= 1
