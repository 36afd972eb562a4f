import math

import msgspec
import pytest

from pnyx.errors import ConsentError, VaultError
from pnyx.protocol.privacy import epsilon
from pnyx.vault import Aborted, Acknowledged, Counted, Debit, Vault


def debit(vault, study, round_number=1, attempt=0, rho=0.1, now=1.0):
    return vault.ledger.debit(
        study,
        round_number,
        attempt,
        phase="train",
        bytes_planned=1000,
        rho=rho,
        now=now,
    )


def test_a_debit_is_kept(tmp_path, vault, accept, study, key):
    accept(vault)
    entry = debit(vault, study)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        assert again.ledger.entries() == (entry,)
        assert again.ledger.debited(study, 1, 0) == entry
        assert again.ledger.debited(study, 1, 1) is None
        again.ledger.verify_chain()


def debit_many(vault, study, count):
    for round_number in range(count):
        debit(vault, study, round_number, rho=0.0)


@pytest.mark.parametrize("how", ["never asked", "withdrawn", "expired", "other study"])
def test_nothing_is_debited_without_consent(vault, accept, study, how):
    if how != "never asked":
        accept(vault, b"o" * 32 if how == "other study" else study, expires=10.0)
    if how == "withdrawn":
        vault.consents.withdraw(study, 1.0)
    with pytest.raises(ConsentError):
        debit(vault, study, now=10.0 if how == "expired" else 1.0)
    assert vault.ledger.entries() == ()


def test_an_attempt_is_debited_once(vault, accept, study):
    accept(vault)
    debit(vault, study)
    with pytest.raises(ConsentError, match="debited before; a contribution leaves once"):
        debit(vault, study)
    debit(vault, study, attempt=1)
    spent = vault.ledger.spent(study)
    assert (spent.contributions, spent.rounds, spent.bytes_planned) == (2, 1, 2000)


def test_the_privacy_budget_is_kept(vault, accept, study):
    accept(vault, epsilon=epsilon(0.3), rounds=100)
    for round_number in range(3):
        debit(vault, study, round_number)
    with pytest.raises(ConsentError, match=r"would cost epsilon 4\.604, above the 3\.92"):
        debit(vault, study, 3)
    assert vault.ledger.spent(study).rho == pytest.approx(0.3)
    assert vault.ledger.spent(study).epsilon == pytest.approx(epsilon(0.3))


def test_the_number_of_rounds_is_kept(vault, accept, study):
    accept(vault, rounds=2)
    debit(vault, study, 1)
    debit(vault, study, 2)
    debit(vault, study, 2, attempt=1)
    with pytest.raises(ConsentError, match="beyond the 2 consented to"):
        debit(vault, study, 3)


def test_the_owners_total_is_kept(tmp_path, accept, study, key):
    other = b"o" * 32
    with Vault.open(tmp_path / "v", key, epsilon_total_max=epsilon(0.2)) as vault:
        accept(vault)
        accept(vault, other)
        debit(vault, study)
        debit(vault, other)
        with pytest.raises(ConsentError, match=r"All studies together would cost epsilon 3\.92"):
            debit(vault, study, 2)


def test_a_study_without_noise_needs_a_boundless_consent(vault, accept, study):
    accept(vault, epsilon=1.0)
    with pytest.raises(ConsentError, match="would cost epsilon inf"):
        debit(vault, study, rho=math.inf)
    accept(vault, epsilon=math.inf)
    debit(vault, study, rho=math.inf)
    debit(vault, study, 2, rho=math.inf)


def test_an_abort_certificate_gives_the_cost_back(tmp_path, vault, accept, study, key):
    accept(vault, epsilon=epsilon(0.1))
    debit(vault, study)
    vault.ledger.acknowledge(study, 1, 0, receipts=16, now=2.0)
    with pytest.raises(ConsentError, match=r"above the 2\.142"):
        debit(vault, study, attempt=1)
    vault.ledger.abort(study, 1, 0, certificate=b"c" * 32, now=3.0)
    vault.ledger.abort(study, 1, 0, certificate=b"c" * 32, now=4.0)
    vault.ledger.acknowledge(study, 1, 0, receipts=17, now=5.0)
    debit(vault, study, attempt=1)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        kinds = [type(entry) for entry in again.ledger.entries()]
        assert kinds == [Debit, Acknowledged, Aborted, Debit]
        assert again.ledger.spent().rho == pytest.approx(0.1)
        assert again.ledger.spent().bytes_planned == 2000


def test_a_record_counts_what_was_sent_with_or_without_receipts(
    tmp_path, vault, accept, study, key
):
    accept(vault, rounds=2)
    for number in (1, 2):
        debit(vault, study, number)
    vault.ledger.acknowledge(study, 1, 0, receipts=16, now=2.0)
    for number in (1, 2, 2):
        vault.ledger.count(study, number, 0, record=b"r" * 32, now=3.0)
    vault.ledger.acknowledge(study, 2, 0, receipts=16, now=4.0)
    vault.ledger.abort(study, 2, 0, certificate=b"c" * 32, now=4.0)
    with pytest.raises(ValueError, match="32-byte hash"):
        vault.ledger.count(study, 1, 0, record=b"r" * 31, now=3.0)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        kinds = [type(entry) for entry in again.ledger.entries()]
        assert kinds == [Debit, Debit, Acknowledged, Counted, Counted]
        assert again.ledger.spent().contributions == 2, "what is counted is spent"


def test_a_record_outweighs_a_certificate_of_abort(vault, accept, study):
    """Only too many corrupt members can show both; then the sum is out, and costs what it did."""
    accept(vault)
    debit(vault, study)
    vault.ledger.abort(study, 1, 0, certificate=b"c" * 32, now=2.0)
    assert vault.ledger.spent().contributions == 0
    vault.ledger.count(study, 1, 0, record=b"r" * 32, now=3.0)
    assert vault.ledger.spent().contributions == 1


def test_whole_numbers_are_times_and_costs_too(tmp_path, vault, accept, study, key):
    accept(vault, now=0, expires=9, epsilon=30)
    debit(vault, study, rho=1, now=2)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        assert again.ledger.entries()[0].at == 2.0


def test_what_could_not_be_read_back_is_never_written(tmp_path, vault, accept, study, key):
    accept(vault)
    with pytest.raises(msgspec.ValidationError):
        vault.ledger.debit(study, 1, 0, phase=b"not text", bytes_planned=1, rho=0.1, now=1.0)
    vault.close()
    Vault.open(tmp_path / "vault", key).close()


def test_only_debits_can_be_closed(vault, study):
    with pytest.raises(ConsentError, match="was never debited"):
        vault.ledger.acknowledge(study, 1, 0, receipts=1, now=0.0)
    with pytest.raises(ConsentError, match="was never debited"):
        vault.ledger.count(study, 1, 0, record=bytes(32), now=0.0)
    with pytest.raises(ConsentError, match="was never debited"):
        vault.ledger.abort(study, 1, 0, certificate=bytes(32), now=0.0)


def test_impossible_entries_are_bugs(vault, accept, study):
    accept(vault)
    for rho in (math.nan, -0.1):
        with pytest.raises(ValueError, match="at least 0"):
            debit(vault, study, rho=rho)
    with pytest.raises(ValueError, match="32-byte hash"):
        vault.ledger.abort(study, 1, 0, certificate=b"", now=0.0)


def test_a_full_disk_debits_nothing(vault, accept, study):
    accept(vault, rounds=10_000, epsilon=math.inf)
    vault._database._connection.execute("PRAGMA max_page_count = 16")
    with pytest.raises(VaultError, match="the disk is full"):
        debit_many(vault, study, 10_000)
    entries = vault.ledger.entries()
    round_number = 1 + max(entry.round_number for entry in entries)
    vault._database._connection.execute("PRAGMA max_page_count = 100000")
    vault.ledger.verify_chain()
    assert len(entries) == round_number
    debit(vault, study, round_number)
