"""Something is debited or read that the owner's decision does not cover (THREATS C1).

Each rule is met alone, and each attack succeeds once the rule is taken away.
"""

import math
import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from pnyx.errors import ConsentError
from pnyx.protocol.privacy import epsilon
from pnyx.vault import StudyRequest, Vault
from pnyx.vault.collections import Column, SourceFile

KEY = bytes(range(32))
RHO_TOTAL_MAX = 0.75
A, B = b"a" * 32, b"b" * 32


@contextmanager
def opened(directory):
    with Vault.open(directory, KEY, epsilon_total_max=epsilon(RHO_TOTAL_MAX)) as vault:
        columns = (Column("x", "float"), Column("secret", "float"))
        source = SourceFile("f", "csv", bytes(32), 1)
        vault.collections.add("c", columns, source, [(1.0, 2.0)], 0.0)
        yield vault


@pytest.fixture
def vault(tmp_path):
    with opened(tmp_path / "vault") as vault:
        yield vault


def accept(vault, study=A, *, accepted=True, rho=0.5, rounds=2, by="owner"):
    request = StudyRequest(
        study=study, purpose="p", columns={"c": ("x",)}, epsilon=epsilon(rho), rounds=rounds
    )
    vault.consents.record(request, accepted=accepted, decided_by=by, now=0.0, expires=9.0)


def debit(vault, study=A, number=1, attempt=0, rho=0.25, now=1.0):
    vault.ledger.debit(study, number, attempt, phase="p", bytes_planned=1, rho=rho, now=now)


def never_asked(vault):
    debit(vault)


def declined(vault):
    accept(vault, accepted=False)
    debit(vault)


def withdrawn(vault):
    accept(vault)
    vault.consents.withdraw(A, 0.5)
    debit(vault)


def expired(vault):
    accept(vault)
    debit(vault, now=9.0)


def twice(vault):
    accept(vault)
    debit(vault)
    debit(vault)


def beyond_the_studys_budget(vault):
    accept(vault)
    debit(vault)
    debit(vault, attempt=1)
    debit(vault, number=2)


def beyond_the_rounds(vault):
    accept(vault, rounds=1)
    debit(vault)
    debit(vault, number=2)


def beyond_the_total(vault):
    for study in (A, B):
        accept(vault, study)
        debit(vault, study, rho=0.5)


def other_columns(vault):
    accept(vault)
    vault.read_for_study(A, "c", ["x", "secret"], 1.0)


def read_when_withdrawn(vault):
    accept(vault)
    vault.consents.withdraw(A, 0.5)
    vault.read_for_study(A, "c", ["x"], 1.0)


def any_consent(vault):
    """Whatever was decided, a consent to everything."""
    lavish = SimpleNamespace(epsilon_max=math.inf, rounds_max=99, columns={"c": ("x", "secret")})
    vault.consents.require = lambda study, now: lavish


def any_attempt(vault):
    vault.ledger._check_first_time = lambda study, number, attempt: None


def any_round(vault):
    vault.ledger._rounds_with = lambda entry: 1


def any_total(vault):
    vault.ledger._epsilon_total_max = math.inf


@pytest.mark.parametrize(
    ("attack", "without"),
    [
        (never_asked, any_consent),
        (declined, any_consent),
        (withdrawn, any_consent),
        (expired, any_consent),
        (twice, any_attempt),
        (beyond_the_studys_budget, any_consent),
        (beyond_the_rounds, any_round),
        (beyond_the_total, any_total),
        (other_columns, any_consent),
        (read_when_withdrawn, any_consent),
    ],
)
def test_each_rule_is_a_defence(attack, without, tmp_path, vault):
    with pytest.raises(ConsentError):
        attack(vault)
    with opened(tmp_path / "weak") as weak:
        without(weak)
        attack(weak)


def test_an_abort_of_what_was_never_debited_gives_nothing_back(vault):
    accept(vault)
    with pytest.raises(ConsentError, match="never debited"):
        vault.ledger.abort(A, 1, 0, certificate=bytes(32), now=0.5)
    debit(vault, rho=0.5)
    with pytest.raises(ConsentError, match="would cost"):
        debit(vault, number=2)


def test_a_policy_never_overturns_the_owner(vault):
    accept(vault, accepted=False)
    with pytest.raises(ConsentError):
        accept(vault, by="policy")
    assert not vault.consents.allowed(A, 1.0)


def debits_when_withdrawn(vault):
    """Withdraw between a debit's check and its entry; how many debits there were by then."""
    accept(vault)
    checked, withdrawn = threading.Event(), threading.Event()
    entries = []
    check = vault.ledger._check_budget

    def slow(entry, now):
        check(entry, now)
        checked.set()
        withdrawn.wait(0.2)

    def withdraw():
        checked.wait()
        vault.consents.withdraw(A, 1.0)
        entries.append(len(vault.ledger.entries()))
        withdrawn.set()

    vault.ledger._check_budget = slow
    thread = threading.Thread(target=withdraw)
    thread.start()
    debit(vault)
    thread.join()
    return entries[0]


def test_withdrawal_between_check_and_entry(vault):
    """It waits for the entry: no debit follows a withdrawal that has returned."""
    assert debits_when_withdrawn(vault) == 1


def test_without_the_lock_a_debit_would_follow_the_withdrawal(vault):
    vault.ledger._database = SimpleNamespace(lock=nullcontext())
    assert debits_when_withdrawn(vault) == 0
