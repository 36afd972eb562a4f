"""C3: in any order of debits, aborts, kills and copies put back, the budget is never overspent.

A plain model says what may leave. A node is killed between any two steps of writing a debit: what
lies in its directory at that moment is all that its next life has. What it was told before it died
must still be there, and what it was not told may be, at the cost of budget only.
"""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support.weakened import weaken

from pnyx.errors import ConsentError, VaultError
from pnyx.protocol.privacy import epsilon
from pnyx.vault import Debit, StudyRequest, Vault, chain, database, ledger

KEY = bytes(range(32))
STUDIES = (b"a" * 32, b"b" * 32)
RHO_MAX, RHO_TOTAL_MAX, ROUNDS_MAX = 0.75, 1.0, 2
COSTS = (0.25, 0.5)
MOMENTS = ("inserted", "committed", "returned")  # of a debit, after which the node is killed
Attempt = tuple[bytes, int, int]
attempts = st.tuples(st.sampled_from(STUDIES), st.integers(1, 4), st.integers(1, 2))


class Killed(Exception):
    """The process is gone."""


class NodeAndBudget(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.lives = 0
        self.vault = self.opened(Path(self.folder.name) / "0")
        self.told: dict[Attempt, float] = {}  # debits of which the node has heard
        self.aborted: set[Attempt] = set()

    def opened(self, directory: Path) -> Vault:
        return Vault.open(directory, KEY, epsilon_total_max=epsilon(RHO_TOTAL_MAX))

    @property
    def directory(self) -> Path:
        return Path(self.folder.name) / str(self.lives)

    @initialize()
    def consent(self) -> None:
        for study in STUDIES:
            request = StudyRequest(
                study=study,
                purpose="p",
                columns={"c": ("x",)},
                epsilon=epsilon(RHO_MAX),
                rounds=ROUNDS_MAX,
            )
            self.vault.consents.record(
                request, accepted=True, decided_by="owner", now=0.0, expires=9.0
            )

    def debit(self, attempt: Attempt, rho: float) -> bool:
        study, number, again = attempt
        try:
            self.vault.ledger.debit(
                study, number, again, phase="p", bytes_planned=1, rho=rho, now=1.0
            )
        except ConsentError:
            return False
        assert attempt not in self.told, "the same contribution leaves twice"
        self.told[attempt] = rho
        return True

    @rule(attempt=attempts, rho=st.sampled_from(COSTS))
    def debits(self, attempt: Attempt, rho: float) -> None:
        self.debit(attempt, rho)

    @rule(attempt=attempts)
    def aborts(self, attempt: Attempt) -> None:
        if attempt in self.told:
            self.vault.ledger.abort(*attempt, certificate=bytes(32), now=1.0)
            self.aborted.add(attempt)

    @rule(attempt=attempts, rho=st.sampled_from(COSTS), moment=st.sampled_from(MOMENTS))
    def is_killed(self, attempt: Attempt, rho: float, moment: str) -> None:
        """A debit is written, and the process dies at one of its moments, or after it."""
        left = self.directory.with_name(str(self.lives + 1))

        def die(act: Callable[..., object]) -> Callable[..., object]:
            def last(*arguments: object) -> object:
                act(*arguments)
                shutil.copytree(self.directory, left)
                raise Killed

            return last

        with pytest.MonkeyPatch.context() as patched:
            if moment == "inserted":
                patched.setattr(chain, "_insert", die(chain._insert))
            elif moment == "committed":
                anchor = self.vault._database._anchor
                patched.setattr(anchor, "advance", lambda count: die(lambda: None)())
            with suppress(Killed):
                self.debit(attempt, rho)
        if not left.exists():  # it was refused, or had returned
            shutil.copytree(self.directory, left)
        self.vault.close()
        self.lives += 1
        self.vault = self.opened(self.directory)
        self.learn()

    def learn(self) -> None:
        """A node that starts finds what it paid, also where it died before it was told."""
        found = self.found()
        assert self.told.items() <= found.items(), "a debit is forgotten"
        self.told = found

    def found(self) -> dict[Attempt, float]:
        entries = [each for each in self.vault.ledger.entries() if isinstance(each, Debit)]
        paid = {(each.study, each.round_number, each.attempt): each.rho for each in entries}
        assert len(paid) == len(entries), "two debits of one attempt"
        return paid

    @rule(attempt=attempts, rho=st.sampled_from(COSTS))
    def is_put_back(self, attempt: Attempt, rho: float) -> None:
        """A copy of the database from before a debit is refused once the debit is there."""
        self.vault.close()
        copy = self.directory.with_name("copy")
        shutil.copytree(self.directory, copy)
        self.vault = self.opened(self.directory)
        spends = self.debit(attempt, rho)
        self.vault.close()
        twin = self.directory.with_name("twin")
        shutil.copytree(self.directory, twin)
        shutil.copy(copy / database.DATABASE_NAME, twin / database.DATABASE_NAME)
        try:
            self.opened(twin).close()
        except VaultError:
            assert spends, "the newest database is refused"
        else:
            assert not spends, "a spent budget is back"
        shutil.rmtree(copy)
        shutil.rmtree(twin)
        self.vault = self.opened(self.directory)

    @invariant()
    def no_budget_is_overspent(self) -> None:
        counted = [each for each in self.told if each not in self.aborted]
        for study in STUDIES:
            spent = sum(self.told[each] for each in counted if each[0] == study)
            assert spent <= RHO_MAX + 1e-9
            rounds = {number for name, number, _ in self.told if name == study}
            assert len(rounds) <= ROUNDS_MAX
        assert sum(self.told[each] for each in counted) <= RHO_TOTAL_MAX + 1e-9

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert self.found() == self.told

    def teardown(self) -> None:
        self.vault.close()
        self.folder.cleanup()


BRIEF = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SOUGHT = settings(BRIEF, max_examples=100, derandomize=True, phases=[Phase.generate], database=None)


@pytest.mark.parametrize("examples", [15, pytest.param(2_000, marks=pytest.mark.full)])
def test_budget_over_kills_and_copies(examples: int) -> None:
    run_state_machine_as_test(NodeAndBudget, settings=settings(BRIEF, max_examples=examples))


def anchor_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, database, ("if transactions < self._anchor.transactions:", "if False:"))


def any_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    first = "if (study, round_number, attempt) in self._debits:"
    weaken(monkeypatch, ledger, (first, "if False:"))


def any_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, ledger, ("if cost > consent.epsilon_max * (1 + _ROUNDING):", "if False:"))


def any_total(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = "if total > self._epsilon_total_max * (1 + _ROUNDING):"
    weaken(monkeypatch, ledger, (spent, "if False:"))


def any_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = "if self._rounds_with(entry) > consent.rounds_max:"
    weaken(monkeypatch, ledger, (taken, "if False:"))


@pytest.mark.parametrize(
    "weakened", [anchor_forgotten, any_attempt, any_budget, any_total, any_round]
)
def test_each_rule_is_a_defence(
    monkeypatch: pytest.MonkeyPatch, weakened: Callable[[pytest.MonkeyPatch], None]
) -> None:
    weakened(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(NodeAndBudget, settings=SOUGHT)
