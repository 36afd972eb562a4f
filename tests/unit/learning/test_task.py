import msgspec
import pytest

from pnyx.errors import MalformedMessage
from pnyx.learning import Hyperparameters
from pnyx.primitives.codec import decode, encode


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("local_epochs", 0),
        ("local_epochs", 10**6),
        ("batch_size", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", float("inf")),
        ("clip_norm", 0.0),
        ("clip_norm", 1e9),
        ("fraction_bits", 60),
        ("server_learning_rate", 1e6),
        ("alone_learning_rate", -1.0),
    ],
)
def test_values_out_of_range_are_refused(hyperparameters, name, value):
    with pytest.raises(ValueError, match=name):
        hyperparameters(**{name: value})


def test_whole_numbers_given_for_floats_encode_canonically(hyperparameters):
    settings = hyperparameters(clip_norm=2, momentum=0)
    assert decode(encode(settings), Hyperparameters, bytes_max=1000) == settings


def test_a_manifest_with_absurd_settings_is_malformed(hyperparameters):
    fields = msgspec.to_builtins(hyperparameters())
    fields[fields.index(11)] = 63  # fraction_bits
    with pytest.raises(MalformedMessage):
        decode(msgspec.msgpack.encode(fields), Hyperparameters, bytes_max=1000)
