import pytest

from pnyx.vault import StudyRequest, Vault

KEY = bytes(range(32))
STUDY = b"s" * 32


@pytest.fixture
def key():
    return KEY


@pytest.fixture
def study():
    return STUDY


@pytest.fixture
def vault(tmp_path):
    with Vault.open(tmp_path / "vault", KEY) as opened:
        yield opened


@pytest.fixture
def request_study():
    def make(study=STUDY, **changes):
        settings = {
            "study": study,
            "purpose": "dpv:AcademicResearch",
            "columns": {"activity.windows": ("x", "label")},
            "epsilon": 1.0,
            "rounds": 10,
        }
        return StudyRequest(**{**settings, **changes})

    return make


@pytest.fixture
def accept(request_study):
    """Record the owner's yes in a vault."""

    def accepted(vault, study=STUDY, now=0.0, expires=1e9, **changes):
        return vault.consents.record(
            request_study(study, **{"epsilon": 100.0, **changes}),
            accepted=True,
            decided_by="owner",
            now=now,
            expires=expires,
        )

    return accepted
