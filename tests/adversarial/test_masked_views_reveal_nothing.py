"""Members pool everything that a verified masked contribution shows them.

As `test_verification_views_reveal_nothing`, with the key among the secrets: over one field, the
unknowns are the slots of key, X and mask, the coefficients of the product polynomial, the
randomness of the sharing, and the blinds. A coalition sees its shares and *every* member's answers.
The rank of that view, less its rank in randomness and blinds alone, is what it tells of secrets and
products.

Public anyway are, per repetition, the slot sum of L, which follows from y, P and v, and that of Q,
which is the same for every honest contributor. Of each kind of column a few are taken: the others
are shared alike, and say nothing new.
"""

import numpy as np
import pytest
from tests.support.masked_forger import hidden, update
from tests.support.ranks import rank, sharing_matrix

from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import is_codeword
from pnyx.protocol.aggregation import coefficients, verification
from pnyx.protocol.aggregation.bounds import CHECKS, layout
from pnyx.protocol.aggregation.coefficients import Claim, slot_basis
from pnyx.protocol.aggregation.encoding import FIELDS, to_slots
from pnyx.protocol.aggregation.masked_verification import proof
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.payloads import read_share
from pnyx.protocol.aggregation.verification import codes
from pnyx.protocol.selection import committee_size

BOUNDS = MaskedBounds(20_000, 4096, 1024, 24, 6, 512)
SIZES = [committee_size(7, 1, 2), committee_size(11, 2, 2), committee_size(9, 2, 1)]
CHALLENGES = (b"1" * 32, b"2" * 32)
PROVEN = BOUNDS.alone
CLAIM = Claim(3, b"c" * 32, bytes(1024), b"p" * 32, bytes(32), bytes(1024))
KEYS, EACH = 4, 2  # columns of the key, and of each other kind


class View:
    """Rows over (slots of the columns | products | randomness | blinds), in one field."""

    def __init__(self, size, at: int = 0) -> None:
        self.size, self.at, self.plan = size, at, layout(PROVEN, size)
        self.field, self.codes = FIELDS[at], codes(size)[at]
        kinds = [0, self.plan.digits, self.plan.slack_start, self.plan.short]
        key = self.plan.columns
        self.chosen = [*range(key, key + KEYS if at == 0 else key)]
        self.chosen += [start + n for start in kinds for n in range(EACH)]
        packing, privacy = size.packing, self.codes[0].privacy
        self.secrets = packing * len(self.chosen)
        self.products = self.plan.repetitions * (2 * size.degree + 1)
        self.random = privacy * len(self.chosen)
        self.blind_sizes = [packing - (c > 0) + code.privacy for c, code in enumerate(self.codes)]
        self.split = self.secrets + self.products
        self.width = self.split + self.random + self.plan.repetitions * sum(self.blind_sizes)
        self.rows: list[np.ndarray] = []
        self.own: list[np.ndarray] = []  # shares of products that follow from a member's shares
        self.open: list[np.ndarray] = []  # what is public

    def row(self) -> np.ndarray:
        return np.zeros(self.width, dtype=np.int64)

    def data_row(self, member: int, coefficients) -> np.ndarray:
        """A combination of one member's shares of the chosen columns."""
        matrix = sharing_matrix(self.codes[0])[member]
        row, packing, privacy = self.row(), self.size.packing, self.codes[0].privacy
        for column, coefficient in enumerate(coefficients):
            scaled = self.field.multiply(matrix, int(coefficient))
            row[column * packing : (column + 1) * packing] = scaled[:packing]
            start = self.split + column * privacy
            row[start : start + privacy] = scaled[packing:]
        return row

    def product(self, member: int, repetition: int) -> np.ndarray:
        row, count = self.row(), 2 * self.size.degree + 1
        start = self.secrets + repetition * count
        row[start : start + count] = [pow(member + 1, d, self.field.modulus) for d in range(count)]
        return row

    def blind(self, row: np.ndarray, member: int, check: int, repetition: int) -> np.ndarray:
        matrix, packing = sharing_matrix(self.codes[check])[member], self.size.packing
        if check:  # slots that sum to zero
            free = self.field.reduce(matrix[1:packing] - matrix[0])
            matrix = np.concatenate([free, matrix[packing:]])
        start = self.split + self.random + self.plan.repetitions * sum(self.blind_sizes[:check])
        start += repetition * self.blind_sizes[check]
        row[start : start + len(matrix)] = matrix
        return row

    def corrupt(self, member: int) -> None:
        """Everything in one member's payload."""
        self.rows += [self.data_row(member, row) for row in np.eye(len(self.chosen), dtype=int)]
        for repetition in range(self.plan.repetitions):
            for check in range(CHECKS):
                self.rows.append(self.blind(self.row(), member, check, repetition))
            self.own.append(self.product(member, repetition))

    def answered(self, challenge: bytes, blinded=(0, 1, 2)) -> None:
        """The answers of every member to a challenge, and what is public about them."""
        rows, on_keys, _ = coefficients.coefficients(CLAIM, challenge, PROVEN, self.size)
        packing, keys = self.size.packing, self.plan.keys[self.at]
        combined = rows[self.at].reshape(self.plan.repetitions, 1 + packing, -1)
        gap = np.zeros((self.plan.repetitions, CHECKS * self.plan.repetitions), dtype=np.int64)
        degree_test = np.concatenate([combined[:, 0], gap, on_keys[self.at]], axis=1)
        by_slot = combined[:, 1:]
        on_key = Sampler(challenge, "c").field_elements(
            MODULUS, (self.plan.repetitions, packing * keys)
        )
        basis = slot_basis(self.field, self.size)
        for repetition in range(self.plan.repetitions):
            blinds = np.zeros((packing, CHECKS * self.plan.repetitions), dtype=np.int64)
            key = to_slots(on_key[repetition], packing)
            whole = np.concatenate([by_slot[repetition], blinds, key], axis=1)
            whole = whole[:, self.chosen]  # [packing, columns]
            for member in range(self.size.size):
                found = [
                    self.data_row(member, degree_test[repetition, self.chosen]),
                    self.data_row(member, self.field.reduce(basis[member] @ whole)),
                    self.product(member, repetition),
                ]
                for check, row in enumerate(found):
                    if check in blinded:
                        self.blind(row, member, check, repetition)
                    self.rows.append(row)
            known = self.row()
            known[: self.secrets] = whole.T.reshape(-1)
            self.open.append(known)

    def slot_sums(self) -> None:
        """The slot sums of products, which are public."""
        count, modulus = 2 * self.size.degree + 1, self.field.modulus
        for repetition in range(self.plan.repetitions):
            row, start = self.row(), self.secrets + repetition * count
            row[start : start + count] = [
                sum(pow(-1 - slot, d, modulus) for slot in range(self.size.packing)) % modulus
                for d in range(count)
            ]
            self.open.append(row)

    def learned(self, *, products: bool = True) -> int:
        """Relations on secrets, and products, beyond public ones and the coalition's products."""
        self.slot_sums()
        given = np.stack([*self.open, *self.own])
        view = np.concatenate([given, np.stack(self.rows)])
        unknown, secrets = view[:, self.split :], view[:, : self.split]
        total = rank(self.field, np.concatenate([unknown, secrets], axis=1))
        return total - rank(self.field, unknown) - rank(self.field, given[:, : self.split])


def view(size, coalition, challenges=CHALLENGES[:1], at: int = 0, **options) -> int:
    seen = View(size, at)
    for member in coalition:
        seen.corrupt(member)
    for challenge in challenges:
        seen.answered(challenge, **options)
    return seen.learned()


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("size", SIZES)
def test_f_members_learn_nothing_of_a_masked_contribution(size, at):
    order = Sampler(bytes(32), "views").sample(size.size, size.size)
    assert view(size, [], at=at) == 0
    assert view(size, order[: size.corrupt_max], at=at) == 0
    assert view(size, order[: size.corrupt_max + 1], at=at) >= 1, "so the bound is real"


def shares_alone(size, members: int) -> int:
    """Relations on the slots of all columns that so many shares give."""
    seen = View(size)
    for member in range(members):
        seen.corrupt(member)
    rows = np.stack(seen.rows)
    unknown = rows[:, seen.split :]
    whole = np.concatenate([unknown, rows[:, : seen.secrets]], axis=1)
    return rank(seen.field, whole) - rank(seen.field, unknown)


@pytest.mark.parametrize("size", SIZES)
def test_one_member_more_learns_one_relation_and_f_plus_l_everything(size):
    columns, f = len(View(size).chosen), size.corrupt_max
    assert shares_alone(size, f) == 0
    assert shares_alone(size, f + 1) == columns, "one relation on the slots of every column"
    assert shares_alone(size, f + size.packing) == columns * size.packing


@pytest.mark.parametrize("size", SIZES)
def test_one_blinding_under_two_challenges_opens_more(size):
    assert view(size, range(size.corrupt_max), CHALLENGES) >= 1
    assert view(size, [], CHALLENGES) >= 1, "even to those who hold no share"


@pytest.mark.parametrize("blinded", [(1, 2), (0, 2), (0, 1)])
def test_without_any_one_blind_the_answers_tell(blinded):
    assert view(SIZES[0], [], blinded=blinded) >= 1


# --- real contributions ---


def blinds():
    """What blinds add to all members' answers [members, repetitions], by field and check."""
    size, plan = SIZES[0], layout(PROVEN, SIZES[0])
    z, key = hidden(BOUNDS, update(BOUNDS, 0.8, 0), 0), np.arange(RING_DEGREE)
    nothing = np.zeros(0, dtype=np.int64)
    proven = proof.prove_masked(
        z, key, bytes(32), nothing, BOUNDS, PROVEN, size, b"seed", b"context"
    )
    claim = Claim(3, b"c" * 32, proven.published, b"p" * 32, proven.key_root, bytes(1024))
    row = np.ones((plan.repetitions, RING_DEGREE), dtype=np.int64)
    blinds = slice(plan.data, plan.columns)
    given = []
    for member, payload in enumerate(proven.payloads):
        whole = read_share(payload, member, claim, PROVEN, size)
        bare = [share.copy() for share in whole]
        for share in bare:
            share[blinds] = 0
        told = [
            verification.answers(tuple(s), member, claim, CHALLENGES[0], PROVEN, size, row)
            for s in (whole, bare)
        ]
        given.append(told[0] - told[1])
    added = np.stack(given).reshape(size.size, len(FIELDS), CHECKS, plan.repetitions)
    for at, field in enumerate(FIELDS):
        for check, code in enumerate(codes(size)[at]):
            yield check, code, field.reduce(added[:, at, check])


def test_every_answer_is_blinded():
    """By a polynomial of full degree; slots of L and Q blinds sum to zero, those of V do not."""
    members = range(SIZES[0].size)
    for check, code, added in blinds():
        assert added.all()
        assert is_codeword(code.field, members, added, code.degree).all()
        assert not is_codeword(code.field, members, added, code.degree - 1).any()
        slots = code.reconstruct(members, added)
        assert slots.all()
        assert code.field.reduce(slots.sum(axis=0)).any() == (check == 0)


def test_a_contribution_without_blinds_would_show(monkeypatch):
    """Seeded members' rows stay random; nobody else's answers would be hidden."""
    monkeypatch.setattr(proof.Dealing, "share_blinds", lambda dealing: None)
    assert not any(added[SIZES[0].corrupt_max :].any() for _, _, added in blinds())
