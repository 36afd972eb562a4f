"""A study that keeps every other rule, and is too much for those who are drawn to it.

Each member holds the sums of all groups of a masked round at a time, and each aggregator the
vectors of all who were drawn. A manifest that asks for more than they have is refused by everybody.
"""

import pytest
from msgspec.structs import replace
from tests.support.town import NETWORK, manifest, masked_phase
from tests.support.weakened import weaken

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol import manifest as manifests
from pnyx.protocol.aggregation.masked.parameters import P1, choose
from pnyx.protocol.aggregation.robust import PLAIN_MEAN, Robust
from pnyx.protocol.manifest import StudyPhase, read_manifest
from pnyx.protocol.messages import Signed
from pnyx.protocol.params import DEFAULT_PARAMS

LARGEST = DEFAULT_PARAMS.model_bytes_max // 4


def phase(length: int, groups: int, drawn: int, value_bits: int = 12) -> StudyPhase:
    """A phase of masked rounds over so many values, with groups of two or more."""
    made = masked_phase(6)
    masked = choose(length, value_bits, 200, rings=(P1,))
    bounds = replace(made.bounds, key_length=masked.degree, key_fields=len(masked.primes))
    return replace(
        made,
        masked=masked,
        bounds=bounds,
        groups=groups,
        robust=PLAIN_MEAN if groups < 3 else Robust("trimmed", (groups - 1) // 2),
        cohort_min=2,
        target=2 * groups,
        drawn=drawn,
    )


def read(asked: StudyPhase, model_bytes: int = DEFAULT_PARAMS.model_bytes_max) -> None:
    body = codec.encode(manifest(1, [asked], model_bytes=model_bytes))
    read_manifest(Signed(bytes(32), body, bytes(64)), NETWORK, DEFAULT_PARAMS)


def longer_than_the_model() -> None:
    read(phase(1000, 1, 8), 4000)
    with pytest.raises(RuleBroken, match="updates of 1000 values are masked, for a model of 3999"):
        read(phase(1000, 1, 8), 3999)


def more_than_memory() -> None:
    read(phase(LARGEST, 8, 16))
    with pytest.raises(RuleBroken, match="sums of 9 groups have 90000000 values, above 80000000"):
        read(phase(LARGEST, 9, 18))
    with pytest.raises(RuleBroken, match="ask for fewer groups"):
        read(phase(2_600_000, 31, 31 * 8))


def more_than_a_disk() -> None:
    read(phase(LARGEST, 1, 200))
    read(phase(LARGEST, 1, 100, value_bits=16))
    with pytest.raises(RuleBroken, match="the vectors of 200 contributors and their sums take"):
        read(phase(LARGEST, 1, 200, value_bits=16))


@pytest.mark.parametrize("attack", [longer_than_the_model, more_than_memory, more_than_a_disk])
def test_it_is_refused(attack):
    attack()


@pytest.mark.parametrize(
    ("attack", "defence"),
    [
        (longer_than_the_model, "if MODEL_VALUE_BYTES * longest > manifest.model_bytes:"),
        (more_than_memory, "if values > params.group_values_max:"),
        (more_than_a_disk, "if room > params.parcels_bytes_max:"),
    ],
)
def test_each_rule_is_a_defence(monkeypatch, attack, defence):
    weaken(monkeypatch, manifests, (defence, "if False:"))
    with pytest.raises(pytest.fail.Exception):
        attack()
