"""Members pool everything that a verified contribution shows them (THREATS A1, A6).

Over one field, the unknowns of one contribution are the slots of X and the mask, the coefficients
of the product polynomial (quadratic in X: taken as unknowns of their own), the randomness of the
sharing, and the blinds. What a coalition sees is linear in them: its shares, and *every* member's
answers V, L and Q. What the view says of the secrets (slots and products) is its rank less its rank
as a function of randomness and blinds alone.

All that f members may learn is public: for each repetition ρ·(R'X + g) = ρ·v, which follows from
the published v, and the slot sum of the product, which is τ₁T for every honest contributor.
The published v itself has the distribution of the mask whatever X is (`test_gaussian`).

That is a model of the answers. The last tests take real ones, and compare them with what they would
be without blinds.
"""

import numpy as np
import pytest
from tests.support.ranks import rank, sharing_matrix

from pnyx.primitives.field import Vector
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, is_codeword
from pnyx.protocol.aggregation import coefficients, verification
from pnyx.protocol.aggregation.bounds import CHECKS, Bounds, layout
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.selection import committee_size

BOUNDS = Bounds(2, 1, 2, 1)
SIZES = [committee_size(7, 1, 2), committee_size(11, 2, 2), committee_size(9, 2, 1)]
CHALLENGES = (b"1" * 32, b"2" * 32)
CLAIM = Claim(3, b"c" * 32, bytes(1024))


class View:
    """Rows over (secrets of the data columns | products | randomness | blinds)."""

    def __init__(self, size, field_at: int = 0) -> None:
        self.size, self.plan = size, layout(BOUNDS, size)
        self.at, self.field = field_at, FIELDS[field_at]
        self.codes = verification.codes(size)[field_at]
        # Fewer columns of the mask: it is one shared column like another, and the ranks of 128
        # more say nothing new. The coefficients are those of the first columns.
        self.columns = self.plan.short + 4
        packing, data = size.packing, self.codes[0]
        self.secrets = packing * self.columns
        self.products = self.plan.repetitions * (2 * size.degree + 1)
        self.random = data.privacy * self.columns
        self.blind_sizes = [
            packing - (check > 0) + code.privacy for check, code in enumerate(self.codes)
        ]
        blinds = self.plan.repetitions * sum(self.blind_sizes)
        self.width = self.secrets + self.products + self.random + blinds
        self.rows: list[Vector] = []
        self.own: list[Vector] = []  # shares of products that follow from a member's shares

    def _data_row(self, member: int, coefficients: Vector) -> Vector:
        """A combination [columns] of one member's shares."""
        matrix = sharing_matrix(self.codes[0])[member]
        row = np.zeros(self.width, dtype=np.int64)
        packing, start = self.size.packing, self.secrets + self.products
        for column, coefficient in enumerate(coefficients):
            scaled = self.field.multiply(matrix, int(coefficient))
            row[column * packing : (column + 1) * packing] = scaled[:packing]
            privacy = self.codes[0].privacy
            row[start + column * privacy : start + (column + 1) * privacy] = scaled[packing:]
        return row

    def _blind(self, row: Vector, member: int, check: int, repetition: int) -> Vector:
        """Add a member's share of a blind; L and Q blinds have slots that sum to zero."""
        matrix = sharing_matrix(self.codes[check])[member]
        if check:
            free = self.field.reduce(matrix[1 : self.size.packing] - matrix[0])
            matrix = np.concatenate([free, matrix[self.size.packing :]])
        start = self.secrets + self.products + self.random
        start += self.plan.repetitions * sum(self.blind_sizes[:check])
        start += repetition * self.blind_sizes[check]
        row[start : start + len(matrix)] = matrix
        return row

    def corrupt(self, member: int) -> None:
        """Everything in one member's payload."""
        eye = np.eye(self.columns, dtype=np.int64)
        self.rows += [self._data_row(member, row) for row in eye]
        for check in range(3):
            for repetition in range(self.plan.repetitions):
                row = np.zeros(self.width, dtype=np.int64)
                self.rows.append(self._blind(row, member, check, repetition))
        # Its share of the product follows from its shares, whatever the randomness was.
        for repetition in range(self.plan.repetitions):
            self.own.append(self._product(member, repetition))

    def _product(self, member: int, repetition: int) -> Vector:
        row = np.zeros(self.width, dtype=np.int64)
        powers = [pow(member + 1, d, self.field.modulus) for d in range(2 * self.size.degree + 1)]
        start = self.secrets + repetition * len(powers)
        row[start : start + len(powers)] = powers
        return row

    def answers(self, challenge: bytes, *, blinded=(0, 1, 2)) -> None:
        """The answers of every member to a challenge."""
        rows, _, _ = coefficients.coefficients(CLAIM, challenge, BOUNDS, self.size)
        packing = self.size.packing
        table = rows[self.at].reshape(self.plan.repetitions, 1 + packing, -1)[:, :, : self.columns]
        basis = coefficients.slot_basis(self.field, self.size)
        for member in range(self.size.size):
            for repetition in range(self.plan.repetitions):
                degree_test, *by_slot = table[repetition]
                linear = self.field.reduce(basis[member] @ np.stack(by_slot))
                found = [
                    self._data_row(member, degree_test),
                    self._data_row(member, linear),
                    self._product(member, repetition),
                ]
                for check, row in enumerate(found):
                    if check in blinded:
                        self._blind(row, member, check, repetition)
                    self.rows.append(row)

    def public(self, challenges) -> list[Vector]:
        """What everybody may know: ρ·(R'X + g), and slot sums of products."""
        found = []
        packing = self.size.packing
        for challenge in challenges:
            rows, _, _ = coefficients.coefficients(CLAIM, challenge, BOUNDS, self.size)
            table = rows[self.at].reshape(self.plan.repetitions, 1 + packing, -1)
            for repetition in range(self.plan.repetitions):
                row = np.zeros(self.width, dtype=np.int64)
                by_slot = table[repetition, 1:, : self.columns]  # [packing, columns]
                row[: self.secrets] = by_slot.T.reshape(-1)
                found.append(row)
        modulus, degree = self.field.modulus, 2 * self.size.degree
        for repetition in range(self.plan.repetitions):
            row = np.zeros(self.width, dtype=np.int64)
            sums = [sum(pow(-1 - s, d, modulus) for s in range(packing)) for d in range(degree + 1)]
            start = self.secrets + repetition * (degree + 1)
            row[start : start + degree + 1] = np.mod(sums, modulus)
            found.append(row)
        return found

    def learned(self, challenges=CHALLENGES[:1]) -> int:
        """Relations on secrets and products beyond public ones and the coalition's own products.

        A member's product share is a function of its shares of X, which are uniform: knowing it
        is knowing its own shares. So those rows are taken as given, on both sides.
        """
        split = self.secrets + self.products
        given = np.stack([*self.public(challenges), *self.own])
        view = np.concatenate([given, np.stack(self.rows)])
        unknown = view[:, split:]
        total = rank(self.field, np.concatenate([unknown, view[:, :split]], axis=1))
        return total - rank(self.field, unknown) - rank(self.field, given[:, :split])


def view(size, coalition, challenges=CHALLENGES[:1], **options) -> int:
    seen = View(size)
    for member in coalition:
        seen.corrupt(member)
    for challenge in challenges:
        seen.answers(challenge, **options)
    return seen.learned(challenges)


@pytest.mark.parametrize("size", SIZES)
def test_f_members_learn_nothing_of_a_verified_contribution(size):
    order = Sampler(bytes(32), "views").sample(size.size, size.size)
    assert view(size, []) == 0
    assert view(size, order[: size.corrupt_max]) == 0
    assert view(size, order[: size.corrupt_max + 1]) >= 1, "so the bound is real"


def test_all_secrets_are_read_by_f_plus_l_members():
    size = SIZES[0]
    seen = View(size)
    for member in range(size.corrupt_max + size.packing):
        seen.corrupt(member)
    split = seen.secrets + seen.products
    rows = np.stack(seen.rows)
    slots = np.concatenate([rows[:, split:], rows[:, : seen.secrets]], axis=1)
    assert rank(seen.field, slots) - rank(seen.field, rows[:, split:]) >= seen.secrets


@pytest.mark.parametrize("size", SIZES)
def test_second_challenge_opens_more(size):
    """AGGREGATION.md, section 4, attack 5: one blinding under two challenges."""
    coalition = range(size.corrupt_max)
    assert view(size, coalition, CHALLENGES) >= 1
    assert view(size, [], CHALLENGES) >= 1, "even to those who hold no share"


@pytest.mark.parametrize("blinded", [(1, 2), (0, 2), (0, 1)])
def test_without_any_one_blind_the_answers_tell(blinded):
    assert view(SIZES[0], [], blinded=blinded) >= 1


def real_answers(blinded: bool) -> Vector:
    """What all members answer for a real contribution: [members, fields, checks, repetitions]."""
    size, plan = SIZES[0], layout(BOUNDS, SIZES[0])
    proven = verification.prove(np.array([1, 1]), BOUNDS, size, b"s" * 32, b"context")
    claim = Claim(3, b"c" * 32, proven.published)
    given = []
    for member, payload in enumerate(proven.payloads):
        shares = verification.read_payload(payload, BOUNDS, size)
        if not blinded:
            shares = tuple(np.concatenate([s[: plan.data], 0 * s[plan.data :]]) for s in shares)
        given.append(verification.answers(shares, member, claim, CHALLENGES[0], BOUNDS, size))
    return np.stack(given).reshape(size.size, len(FIELDS), CHECKS, plan.repetitions)


def blinds() -> list[tuple[PackedSharing, Vector]]:
    """What blinds add to the answers of all members [members, repetitions], by field and check."""
    added = real_answers(blinded=True) - real_answers(blinded=False)
    found = []
    for at, field in enumerate(FIELDS):
        for check, code in enumerate(verification.codes(SIZES[0])[at]):
            found.append((code, field.reduce(added[:, at, check])))
    return found


def test_every_answer_is_blinded():
    """By a polynomial of the full degree, so that no coefficient and no slot is read off."""
    members = range(SIZES[0].size)
    for code, added in blinds():
        assert added.all()
        assert is_codeword(code.field, members, added, code.degree).all()
        assert not is_codeword(code.field, members, added, code.degree - 1).any()
        assert code.reconstruct(members, added).all()


def test_blinds_of_linear_and_product_checks_leave_their_sums_as_they_are():
    for at, (code, added) in enumerate(blinds()):
        total = code.field.reduce(code.reconstruct(range(SIZES[0].size), added).sum(axis=0))
        assert total.any() == (at % CHECKS == 0)


def test_a_contribution_without_blinds_would_show(monkeypatch):
    make = verification._share_table

    def bare(short, plan, size, sampler):
        table = make(short, plan, size, sampler)
        table[:, :, plan.data :] = 0
        return table

    monkeypatch.setattr(verification, "_share_table", bare)
    assert not any(added.any() for _, added in blinds())
