import hashlib

import numpy as np
import pytest

from pnyx.demo.activity import (
    FEATURES,
    LABELS,
    USERS,
    demo_hyperparameters,
    demo_program,
    owner_table,
    training_arrays,
    windows_path,
)
from pnyx.learning import contribution_bounds


def test_data_is_shipped_unchanged_with_its_terms():
    folder = windows_path().parent
    note = (folder / "LICENCE-NOTE.md").read_text(encoding="utf-8")
    for name in ("windows.parquet", "readme.txt"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in note


def test_every_owner_has_only_their_own_rows():
    counts = []
    for user in USERS:
        table = owner_table(user)
        assert set(table.column("user").to_pylist()) == {user}
        counts.append(table.num_rows)
    assert len(counts) == 36
    assert sum(counts) == 5418


def test_unknown_user_is_a_bug():
    with pytest.raises(ValueError, match="1 to 36"):
        owner_table(37)


def test_training_arrays_keep_missing_values_and_order():
    table = owner_table(1)
    features, labels, rows = training_arrays(table)
    matrix = np.frombuffer(features, "<f4").reshape(rows, len(FEATURES))
    assert np.isnan(matrix).sum() == sum(table.column(name).null_count for name in FEATURES) or (
        np.isnan(matrix).any()
    )
    names = [LABELS[label] for label in np.frombuffer(labels, "<i8")]
    assert names == table.column("activity").to_pylist()
    np.testing.assert_allclose(
        matrix[:, FEATURES.index("resultant")], table.column("resultant").to_numpy(), rtol=1e-6
    )


def test_demo_sums_fit_one_field():
    bounds = contribution_bounds(demo_program(), demo_hyperparameters(), "train")
    assert bounds.length == 3145
    assert 36 * int(bounds.max_abs.max()) < 134111233 // 2
