"""Members pool what their machines were really sent of keys in a masked round (THREATS A1).

As `test_coalition_pools_real_views`, for the part that hides updates here: each contributor's key,
which travels on the same polynomials as its counts. f members have no relation with it, f + 1 one,
f + l all; and whoever has the key has the update, for aggregators hold the vectors.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from tests.adversarial.test_verification_views_reveal_nothing import rank
from tests.support.town import SMALL, Town, masked_manifest

from pnyx.primitives import codec
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES
from pnyx.primitives.field import Vector
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation.bounds import layout
from pnyx.protocol.aggregation.encoding import FIELDS, to_slots
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.aggregation.verification import read_payload
from pnyx.protocol.events import Persist
from pnyx.protocol.messages import (
    Chunk,
    Contribution,
    ContributionHeader,
    Message,
    VectorOffer,
)
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import contribution_context
from pnyx.simulator.masquerade import _Stored

LENGTH = 9
MANIFEST = masked_manifest(LENGTH)
PHASE = MANIFEST.phases[0]
COLUMNS = layout(PHASE.bounds, SMALL).columns
SAMPLES = 24  # columns of each contribution
FIELD = FIELDS[0]


class Views:
    """What members were sent of keys, by contributor; and the keys, from contributors' disks."""

    def __init__(self) -> None:
        self.town = Town()
        study = self.town.propose(plan=MANIFEST)
        assert self.town.run(self.town.in_round(study, 1))
        plan: RoundPlan = self.town.plan(study)
        self.code = VectorCode(PHASE.masked, plan.context)
        self.vectors: dict[int, bytes] = {}
        self._parcels: dict[bytes, int] = {}
        self.town.wire = self._wire
        assert self.town.run(self.town.finished(study))
        self.shares: dict[int, dict[int, Vector]] = {}
        for message in self.town.sent(Contribution):
            payload = message.share.sealed[ENVELOPE_OVERHEAD_BYTES:]  # ideal envelopes are open
            held = self.shares.setdefault(self.town.census.index_of(message.header.signer), {})
            row = read_payload(payload, PHASE.bounds, SMALL)[0]
            held[message.share.member] = row[COLUMNS : COLUMNS + SAMPLES]
        self.keys = {who: self._key(plan, who) for who in self.shares}

    def _wire(self, sender: int, receiver: int, message: Message) -> None:
        if isinstance(message, VectorOffer):
            header = codec.decode(message.header.body, ContributionHeader, bytes_max=10**6)
            self._parcels[header.masked.parcel] = header.contributor
        if isinstance(message, Chunk) and message.parcel in self._parcels:
            assert message.length == len(message.data), "one chunk"
            self.vectors[self._parcels[message.parcel]] = message.data

    def _key(self, plan: RoundPlan, who: int) -> Vector:
        """The key that a contributor masks with, from the seed that it stored."""
        kept = [e for e in self.town.effects(Persist, who) if e.key.endswith("/contribution")]
        stored = codec.decode(kept[-1].value, _Stored, bytes_max=10**6)
        update = np.frombuffer(stored.update, dtype="<i4").astype(np.int64)
        made = self.code.mask(update, stored.seed, contribution_context(plan.context, who))
        return made.key[0]

    def relations(self, coalition: Sequence[int]) -> int:
        """Relations that the coalition's shares have with the keys."""
        secrets, seen = [], []
        for who, held in self.shares.items():
            if set(coalition) <= set(held):
                secrets.append(to_slots(self.keys[who], SMALL.packing)[:, :SAMPLES])
                seen.append(np.stack([held[member] for member in coalition]))
        unknown, view = np.concatenate(secrets, axis=1), np.concatenate(seen, axis=1)
        assert view.shape[1] > 2 * (SMALL.size + SMALL.packing)  # samples enough
        both = np.concatenate([unknown, view])
        return rank(FIELD, unknown) + rank(FIELD, view) - rank(FIELD, both)


@cache
def views() -> Views:
    return Views()


@pytest.mark.parametrize("size", range(1, SMALL.corrupt_max + SMALL.packing + 1))
def test_every_coalition(size: int) -> None:
    learned = max(0, size - SMALL.corrupt_max)
    for coalition in combinations(range(SMALL.size), size):
        assert views().relations(coalition) == learned, coalition


def test_who_has_the_key_has_the_update() -> None:
    """The promise is needed: with its key a vector that aggregators hold is in the clear."""
    seen = views()
    for who, key in seen.keys.items():
        vector = seen.vectors[who]
        alone = b"".join(sum_vectors(seen.code.parameters, [iter((vector,))]))
        found = seen.code.unmask(alone, (key,), 1)
        assert found is not None
        assert found.tolist() == [int(place == who) for place in range(LENGTH)]
        other = next(each for index, each in seen.keys.items() if index != who)
        assert seen.code.unmask(alone, (other,), 1) is None


def test_a_machine_without_randomness_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    share = PackedSharing.share
    monkeypatch.setattr(
        PackedSharing,
        "share",
        lambda sharing, secrets, randomness: share(sharing, secrets, np.zeros_like(randomness)),
    )
    assert Views().relations((2,)) > 0
