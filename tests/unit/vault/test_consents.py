import math

import pytest

from pnyx.config import ConsentPolicy, ConsentRule
from pnyx.errors import ConsentError, VaultError
from pnyx.vault import Vault, evaluate_policy


def test_an_acceptance_holds_until_it_expires(vault, accept, study):
    accept(vault, now=10.0, expires=20.0)
    assert vault.consents.allowed(study, 19.9)
    assert not vault.consents.allowed(study, 20.0)
    with pytest.raises(ConsentError, match="has expired; ask the owner again"):
        vault.consents.require(study, 20.0)


def test_no_decision_is_no_consent(vault, study):
    assert not vault.consents.allowed(study, 0.0)
    with pytest.raises(ConsentError, match="has not decided about it"):
        vault.consents.require(study, 0.0)


def test_a_refusal_is_kept(vault, request_study, study):
    vault.consents.record(
        request_study(), accepted=False, decided_by="owner", now=1.0, expires=math.inf
    )
    assert not vault.consents.allowed(study, 2.0)
    with pytest.raises(ConsentError, match="it was declined"):
        vault.consents.require(study, 2.0)


def test_a_withdrawal_is_kept_with_all_that_went_before(tmp_path, vault, accept, study, key):
    accept(vault)
    vault.consents.withdraw(study, 5.0)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        assert not again.consents.allowed(study, 6.0)
        assert [c.decision for c in again.consents.history()] == ["accepted", "withdrawn"]
        assert again.consents.current() == again.consents.history()[1:]
        again.consents.verify_chain()


def test_only_an_acceptance_can_be_withdrawn(vault, accept, study):
    with pytest.raises(ConsentError, match="no acceptance to withdraw"):
        vault.consents.withdraw(study, 0.0)
    accept(vault)
    vault.consents.withdraw(study, 0.0)
    with pytest.raises(ConsentError, match="no acceptance to withdraw"):
        vault.consents.withdraw(study, 0.0)


def test_a_policy_never_overturns_a_decision(vault, accept, request_study, study):
    accept(vault)
    vault.consents.withdraw(study, 1.0)
    with pytest.raises(ConsentError, match="only the owner can change"):
        vault.consents.record(
            request_study(), accepted=True, decided_by="policy", now=2.0, expires=9.0
        )
    accept(vault, now=3.0)
    assert vault.consents.allowed(study, 4.0)


def test_a_consent_must_expire_after_it_is_given(vault, accept):
    with pytest.raises(ConsentError, match="give a later date"):
        accept(vault, now=5.0, expires=5.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": b"short"},
        {"epsilon": math.nan},
        {"epsilon": -1.0},
        {"rounds": 0},
        {"columns": {}},
        {"columns": {"a": ()}},
    ],
)
def test_impossible_requests_are_bugs(vault, accept, changes):
    with pytest.raises(ValueError, match="a study"):
        accept(vault, **changes)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chain_entries SET body = zeroblob(9) WHERE sequence = 1",
        "DELETE FROM chain_entries WHERE sequence = 1",
        "DELETE FROM chain_entries WHERE sequence = 2",
        "UPDATE chain_entries SET hash = zeroblob(32) WHERE sequence = 2",
        "UPDATE chain_heads SET entries = 1",
        "DELETE FROM chain_entries",
    ],
)
def test_an_altered_history_is_refused(tmp_path, vault, accept, study, key, statement):
    accept(vault)
    vault.consents.withdraw(study, 1.0)
    with vault._database.transaction() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute(statement)
    with pytest.raises(VaultError, match=r"history of consents .* was altered"):
        vault.consents.verify_chain()
    vault.close()
    with pytest.raises(VaultError, match=r"history of consents .* was altered"):
        Vault.open(tmp_path / "vault", key)


RESEARCH, SALES = "dpv:AcademicResearch", "dpv:Marketing"


@pytest.mark.parametrize(
    ("rules", "changes", "answer"),
    [
        ([], {}, "ask"),
        ([ConsentRule(action="accept")], {"epsilon": math.inf}, "accept"),
        ([ConsentRule(action="accept", epsilon_max=1.0)], {}, "accept"),
        ([ConsentRule(action="accept", epsilon_max=0.9)], {}, "ask"),
        ([ConsentRule(action="accept", purposes=(SALES,))], {}, "ask"),
        ([ConsentRule(action="accept", purposes=(SALES, RESEARCH))], {}, "accept"),
        ([ConsentRule(action="accept", categories=("activity.windows",))], {}, "accept"),
        (
            [ConsentRule(action="accept", categories=("activity.windows",))],
            {"columns": {"activity.windows": ("x",), "bank": ("y",)}},
            "ask",
        ),
        (
            [ConsentRule(action="decline", categories=("bank",)), ConsentRule(action="accept")],
            {"columns": {"activity.windows": ("x",), "bank": ("y",)}},
            "decline",
        ),
        (
            [ConsentRule(action="decline", epsilon_max=0.5), ConsentRule(action="accept")],
            {},
            "decline",
        ),
        (
            [ConsentRule(action="decline", epsilon_max=2.0), ConsentRule(action="accept")],
            {},
            "accept",
        ),
    ],
)
def test_policies(request_study, rules, changes, answer):
    policy = ConsentPolicy(rules=tuple(rules))
    assert evaluate_policy(policy, request_study(**changes)) == answer


def test_data_is_read_only_within_the_consent(vault, accept, study):
    from pnyx.vault.collections import Column, SourceFile

    columns = (Column("x", "float"), Column("label", "text", ("a", "b")), Column("secret", "int"))
    source = SourceFile("f.csv", "csv", bytes(32), 1)
    vault.collections.add("activity.windows", columns, source, [(1.5, 1, 42)], 0.0)
    with pytest.raises(ConsentError, match="has not decided"):
        vault.read_for_study(study, "activity.windows", ["x"], 1.0)
    accept(vault)
    read = vault.read_for_study(study, "activity.windows", ["x", "label"], 1.0)
    assert {name: list(values) for name, values in read.items()} == {"x": [1.5], "label": [1]}
    with pytest.raises(ConsentError, match="no consent to read secret of"):
        vault.read_for_study(study, "activity.windows", ["x", "secret"], 1.0)
    with pytest.raises(ConsentError, match="read x of bank"):
        vault.read_for_study(study, "bank", ["x"], 1.0)
