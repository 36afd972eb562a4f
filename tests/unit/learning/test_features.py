import numpy as np
import pytest

from pnyx.errors import TrainingError
from pnyx.learning.features import ROWS_MIN, prepare, read_rows, split, standardise

SEED = bytes(range(32))


def rows_of(count: int, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(count, width)).astype(np.float32)
    return features, np.sort(generator.integers(0, 3, size=count))


def test_split_holds_out_each_class_in_proportion():
    features, labels = rows_of(200)
    held_out = split(features, labels, SEED)
    assert held_out.sum() == 60
    for label in range(3):
        chosen = labels == label
        assert abs(held_out[chosen].sum() - 0.3 * chosen.sum()) <= 1


def test_split_ignores_the_order_of_rows():
    features, labels = rows_of(80)
    shuffle = np.random.default_rng(1).permutation(80)
    np.testing.assert_array_equal(
        split(features, labels, SEED)[shuffle], split(features[shuffle], labels[shuffle], SEED)
    )


def test_split_depends_on_its_seed_alone():
    features, labels = rows_of(80)
    first = split(features, labels, SEED)
    np.testing.assert_array_equal(first, split(features, labels, SEED))
    seeds = (number.to_bytes(32, "big") for number in range(150))
    assert len({split(features, labels, seed).tobytes() for seed in seeds}) == 150


@pytest.mark.parametrize("count", range(ROWS_MIN, 12))
def test_split_leaves_no_side_empty(count):
    features, labels = rows_of(count)
    for number in range(100):
        held_out = split(features, labels, number.to_bytes(32, "big"))
        assert 0 < held_out.sum() < count


def test_standardise_centres_on_the_training_median():
    training = np.array([[1.0], [2.0], [9.0], [np.nan]], dtype=np.float32)
    others = np.array([[2.0], [np.nan], [1e9]], dtype=np.float32)
    scaled, other = standardise(training, others)
    deviation = 8 / 3
    np.testing.assert_allclose(scaled[:, 0], [-1 / deviation, 0, 7 / deviation, 0], rtol=1e-6)
    np.testing.assert_allclose(other[:, 0], [0, 0, 3])


def test_constant_and_absent_columns_become_zero():
    training = np.array([[5.0, np.nan]] * 6, dtype=np.float32)
    others = np.array([[5.0, np.nan], [6.0, 2.0]], dtype=np.float32)
    scaled, other = standardise(training, others)
    assert not scaled.any()
    np.testing.assert_allclose(other, [[0, 0], [1, 2]])


def test_held_out_rows_do_not_influence_training_rows():
    features, labels = rows_of(50)
    held_out = split(features, labels, SEED)
    training, _ = prepare(features, labels, SEED, "owner")
    changed = features.copy()
    changed[held_out] += 100
    # The same split is imposed: the content of a row decides on which side it falls.
    scaled, _ = standardise(changed[~held_out], changed[held_out])
    np.testing.assert_array_equal(training.features, scaled)


def encode(features: np.ndarray, labels: np.ndarray) -> tuple[bytes, bytes]:
    return features.astype("<f4").tobytes(), labels.astype("<i8").tobytes()


def test_bad_rows_are_refused_with_a_sentence(monkeypatch):
    features, labels = rows_of(10)
    with pytest.raises(TrainingError, match="too few"):
        read_rows(b"", b"", 0, 4, 3)
    with pytest.raises(TrainingError, match="narrow the window"):
        read_rows(b"", b"", (1 << 20) + 1, 4, 3)
    with pytest.raises(TrainingError, match="columns"):
        read_rows(*encode(features, labels), 11, 4, 3)
    with pytest.raises(TrainingError, match="columns"):
        read_rows(*encode(features, labels[:9]), 10, 4, 3)
    for wrong in (3, -1):
        mislabelled = labels.copy()
        mislabelled[4] = wrong
        with pytest.raises(TrainingError, match="label"):
            read_rows(*encode(features, mislabelled), 10, 4, 3)
    for absurd in (np.inf, -np.inf, 1e35):
        features[2, 2] = absurd
        with pytest.raises(TrainingError, match="infinite"):
            read_rows(*encode(features, labels), 10, 4, 3)
