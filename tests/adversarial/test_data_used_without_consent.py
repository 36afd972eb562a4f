"""Whatever the order of decisions, withdrawals and debits, nothing leaves without a valid consent.

A state machine plays the owner and a node in a hurry; a plain model says what must be allowed. It
meets each rule by chance only; `test_debits_beyond_consent` tries each alone, and takes it away.
"""

import tempfile
import threading
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pnyx.errors import ConsentError
from pnyx.protocol.privacy import epsilon
from pnyx.vault import StudyRequest, Vault
from pnyx.vault.collections import Column, SourceFile

KEY = bytes(range(32))
studies = st.sampled_from([b"a" * 32, b"b" * 32])
COSTS = (0.25, 0.5)
RHO_TOTAL_MAX = 0.75


class OwnerAndNode(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.vault = self.opened()
        self.now = 0.0
        self.decisions = []
        self.accepted = {}
        self.debits = {}
        self.aborted = set()

    def opened(self):
        folder = Path(self.folder.name)
        return Vault.open(folder, KEY, epsilon_total_max=epsilon(RHO_TOTAL_MAX))

    @initialize()
    def data(self):
        columns = (Column("x", "float"), Column("secret", "float"))
        source = SourceFile("f", "csv", bytes(32), 1)
        self.vault.collections.add("c", columns, source, [(1.0, 2.0)], 0.0)

    @rule(seconds=st.sampled_from([0.0, 1.0, 2.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(
        study=studies,
        yes=st.sampled_from([True, True, False]),
        by=st.sampled_from(["owner", "owner", "policy"]),
        lasting=st.sampled_from([2.0, 100.0, 100.0]),
        budget=st.sampled_from([0.5, 1.0]),
        rounds=st.integers(1, 2),
    )
    def decide(self, study, yes, by, lasting, budget, rounds):
        request = StudyRequest(
            study=study, purpose="p", columns={"c": ("x",)}, epsilon=epsilon(budget), rounds=rounds
        )
        already = any(decided == study for decided, _ in self.decisions)

        def record():
            return self.vault.consents.record(
                request, accepted=yes, decided_by=by, now=self.now, expires=self.now + lasting
            )

        if by == "policy" and already:
            with pytest.raises(ConsentError):
                record()
            return
        record()
        self.decisions.append((study, "accepted" if yes else "declined"))
        self.accepted.pop(study, None)
        if yes:
            self.accepted[study] = (self.now + lasting, budget, rounds)

    @rule(study=studies)
    def withdraw(self, study):
        if study not in self.accepted:
            with pytest.raises(ConsentError):
                self.vault.consents.withdraw(study, self.now)
            return
        self.vault.consents.withdraw(study, self.now)
        del self.accepted[study]
        self.decisions.append((study, "withdrawn"))

    @rule(
        study=studies,
        number=st.integers(1, 4),
        attempt=st.integers(0, 1),
        rho=st.sampled_from(COSTS),
    )
    def debit(self, study, number, attempt, rho):
        def act():
            return self.vault.ledger.debit(
                study, number, attempt, phase="p", bytes_planned=1, rho=rho, now=self.now
            )

        if self.may_debit(study, number, attempt, rho):
            act()
            self.debits[study, number, attempt] = rho
        else:
            with pytest.raises(ConsentError):
                act()

    @rule(study=studies, number=st.integers(1, 4), attempt=st.integers(0, 1))
    def abort(self, study, number, attempt):
        if (study, number, attempt) in self.debits:
            self.vault.ledger.abort(study, number, attempt, certificate=bytes(32), now=self.now)
            self.aborted.add((study, number, attempt))

    @rule()
    def restart(self):
        self.vault.close()
        self.vault = self.opened()

    def holds(self, study):
        return study in self.accepted and self.now < self.accepted[study][0]

    def spent(self, study=None):
        return sum(
            rho
            for debit, rho in self.debits.items()
            if debit not in self.aborted and study in (None, debit[0])
        )

    def may_debit(self, study, number, attempt, rho):
        if not self.holds(study) or (study, number, attempt) in self.debits:
            return False
        _, budget, rounds_max = self.accepted[study]
        rounds = {debit[1] for debit in self.debits if debit[0] == study} | {number}
        return (
            self.spent(study) + rho <= budget
            and len(rounds) <= rounds_max
            and self.spent() + rho <= RHO_TOTAL_MAX
        )

    @invariant()
    def data_is_read_only_with_consent(self):
        for study in (b"a" * 32, b"b" * 32):
            assert self.vault.consents.allowed(study, self.now) == self.holds(study)
            if self.holds(study):
                read = self.vault.read_for_study(study, "c", ["x"], self.now)
                assert read["x"].tolist() == [1.0]
                with pytest.raises(ConsentError):
                    self.vault.read_for_study(study, "c", ["x", "secret"], self.now)
            else:
                with pytest.raises(ConsentError):
                    self.vault.read_for_study(study, "c", ["x"], self.now)

    @invariant()
    def histories_are_complete(self):
        history = [(c.study, c.decision) for c in self.vault.consents.history()]
        assert history == self.decisions
        assert self.vault.ledger.spent().rho == self.spent()
        self.vault.consents.verify_chain()
        self.vault.ledger.verify_chain()

    def teardown(self):
        self.vault.close()
        self.folder.cleanup()


OwnerAndNode.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_data_used_without_consent = OwnerAndNode.TestCase


def test_withdrawal_racing_with_debits(tmp_path):
    """Once `withdraw` has returned, no debit succeeds, from whatever thread it comes."""
    study = b"a" * 32
    with Vault.open(tmp_path / "v", KEY) as vault:
        request = StudyRequest(
            study=study, purpose="p", columns={"c": ("x",)}, epsilon=1.0, rounds=10_000
        )
        vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=9.0)
        refused = threading.Event()

        def debit_until_refused():
            number = 0
            while not refused.is_set():
                number += 1
                try:
                    vault.ledger.debit(
                        study, number, 0, phase="p", bytes_planned=1, rho=0.0, now=1.0
                    )
                except ConsentError:
                    refused.set()

        thread = threading.Thread(target=debit_until_refused)
        thread.start()
        while not vault.ledger.entries():
            pass
        vault.consents.withdraw(study, 1.0)
        before = len(vault.ledger.entries())
        assert refused.wait(10.0)
        thread.join()
        assert len(vault.ledger.entries()) == before
        vault.ledger.verify_chain()
