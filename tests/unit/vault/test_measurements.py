"""What an owner measured at home is kept, by study."""

import pytest

from pnyx.errors import VaultError
from pnyx.vault import Measurement, Vault


def measurement(study: bytes, round_number: int) -> Measurement:
    return Measurement(
        study=study,
        round_number=round_number,
        alone=0.9,
        shared=0.8,
        personalised=0.95,
        held_out=30,
        at=1.0,
    )


def test_the_last_measurement_of_a_study_is_kept(tmp_path, vault, study, key):
    other = measurement(b"o" * 32, 9)
    for made in (measurement(study, 1), other, measurement(study, 2)):
        vault.measurements.record(made)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        assert again.measurements.last(study) == measurement(study, 2)
        assert again.measurements.last(other.study) == other
        assert again.measurements.last(b"n" * 32) is None


def test_an_altered_measurement_is_noticed(tmp_path, vault, study, key):
    vault.measurements.record(measurement(study, 1))
    with vault._database.transaction() as connection:
        connection.execute("UPDATE chain_entries SET body = ? WHERE chain = 'measurements'", (b"",))
    vault.close()
    with pytest.raises(VaultError, match="history of measurements"):
        Vault.open(tmp_path / "vault", key)
