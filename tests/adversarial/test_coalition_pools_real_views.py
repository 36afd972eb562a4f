"""Members pool what their machines were really sent in a round (THREATS A1).

`test_coalition_learns_shares` ranks the sharing itself. Here whole machines run a round with
random updates, and the payloads are taken from the envelopes that arrived: so a machine that drew
its randomness badly, or shared with another degree than it should, would show. Every column of a
contribution is one sample of (secrets, shares seen). The number of linear relations between the
two, over many samples, is rank(secrets) + rank(shares) - rank(both).
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from tests.adversarial.test_verification_views_reveal_nothing import rank
from tests.support.town import SMALL, Town, manifest, phase

from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES
from pnyx.primitives.field import Vector
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation.bounds import layout
from pnyx.protocol.aggregation.encoding import FIELDS, to_slots
from pnyx.protocol.aggregation.verification import read_payload
from pnyx.protocol.messages import Contribution

LENGTH = 24
PHASE = phase(LENGTH, norm_max=4_000)


def update(index: int, round_number: int, length: int) -> Vector:
    """A random update of one node."""
    generator = np.random.Generator(np.random.PCG64([index, round_number]))
    return generator.integers(-700, 700, length)


class Views:
    """contributor -> member -> the packed shares that the member's machine was sent."""

    def __init__(self) -> None:
        town = Town(vector=update)
        study = town.propose(plan=manifest(LENGTH, [PHASE]))
        assert town.run(town.finished(study))
        assert not town.certified()[0].skipped
        self.shares: dict[int, dict[int, tuple[Vector, ...]]] = {}
        for message in town.sent(Contribution):
            payload = message.share.sealed[ENVELOPE_OVERHEAD_BYTES:]  # ideal envelopes are open
            who = town.census.index_of(message.header.signer)
            held = self.shares.setdefault(who, {})
            held[message.share.member] = read_payload(payload, PHASE.bounds, SMALL)

    def relations(self, field_at: int, coalition: Sequence[int]) -> int:
        """Relations that the coalition's shares have with what others shared."""
        field, width = FIELDS[field_at], layout(PHASE.bounds, SMALL).update
        secrets, seen = [], []
        for who, held in self.shares.items():
            if set(coalition) <= set(held):
                secrets.append(field.reduce(to_slots(update(who, 1, LENGTH), SMALL.packing)))
                seen.append(np.stack([held[member][field_at][:width] for member in coalition]))
        unknown, view = np.concatenate(secrets, axis=1), np.concatenate(seen, axis=1)
        assert view.shape[1] > 2 * (SMALL.size + SMALL.packing)  # samples enough
        both = np.concatenate([unknown, view])
        return rank(field, unknown) + rank(field, view) - rank(field, both)


@cache
def views() -> Views:
    return Views()


@pytest.mark.parametrize("field_at", range(len(FIELDS)))
@pytest.mark.parametrize("size", range(1, SMALL.corrupt_max + SMALL.packing + 1))
def test_every_coalition(size: int, field_at: int) -> None:
    learned = max(0, size - SMALL.corrupt_max)
    for coalition in combinations(range(SMALL.size), size):
        assert views().relations(field_at, coalition) == learned, coalition


def test_a_machine_without_randomness_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    share = PackedSharing.share
    monkeypatch.setattr(
        PackedSharing,
        "share",
        lambda sharing, secrets, randomness: share(sharing, secrets, np.zeros_like(randomness)),
    )
    assert Views().relations(0, (2,)) > 0
