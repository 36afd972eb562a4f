import pytest

from pnyx.errors import ConsentError
from pnyx.vault import StudyRequest, Vault

KEY = bytes(range(32))
STUDY, OTHER = b"s" * 32, b"o" * 32


def accept(vault: Vault, study: bytes, accepted: bool = True) -> None:
    request = StudyRequest(study=study, purpose="p", columns={"c": ("x",)}, epsilon=1.0, rounds=9)
    vault.consents.record(request, accepted=accepted, decided_by="owner", now=0.0, expires=10.0)


@pytest.fixture
def vault(tmp_path):
    with Vault.open(tmp_path / "vault", KEY) as opened:
        accept(opened, STUDY)
        accept(opened, OTHER)
        yield opened


def test_the_last_task_counts_and_survives_a_restart(vault, tmp_path):
    assert vault.locals.get(STUDY) == b""
    vault.keep_locals(STUDY, b"first", 1.0)
    vault.keep_locals(STUDY, b"second", 2.0)
    vault.keep_locals(OTHER, b"other", 2.0)
    vault.close()
    with Vault.open(tmp_path / "vault", KEY) as again:
        assert (again.locals.get(STUDY), again.locals.get(OTHER)) == (b"second", b"other")


def test_withdrawing_erases_them(vault, tmp_path):
    secret = b"what an owner likes" * 20
    vault.keep_locals(STUDY, secret, 1.0)
    vault.keep_locals(OTHER, b"other", 1.0)
    vault.withdraw(STUDY, 2.0)
    assert vault.locals.studies() == (OTHER,)
    with pytest.raises(ConsentError, match="was withdrawn"):
        vault.keep_locals(STUDY, secret, 3.0)  # a task that was still running
    assert vault.locals.get(STUDY) == b""


def test_a_crash_between_withdrawal_and_erasure_leaves_nothing(vault, tmp_path):
    vault.keep_locals(STUDY, b"left", 1.0)
    vault.consents.withdraw(STUDY, 2.0)
    vault.close()
    with Vault.open(tmp_path / "vault", KEY) as again:
        assert again.locals.studies() == ()


def test_declining_later_erases_them(vault):
    vault.keep_locals(STUDY, b"left", 1.0)
    vault.forget_unless_accepted(STUDY)
    assert vault.locals.get(STUDY) == b"left"
    accept(vault, STUDY, accepted=False)
    vault.forget_unless_accepted(STUDY)
    assert vault.locals.get(STUDY) == b""


def test_nothing_is_kept_without_consent(vault):
    with pytest.raises(ConsentError, match="expired"):
        vault.keep_locals(STUDY, b"late", 11.0)
    with pytest.raises(ConsentError, match="no consent"):
        vault.keep_locals(b"x" * 32, b"unknown", 1.0)
