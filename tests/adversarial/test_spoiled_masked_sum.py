"""A contributor shares another key than it masks with (A9): its round comes to nothing, no more.

In this mode nothing ties the masked update to the key that is shared, so nobody can say who did it:
the study goes on with the model that it had, and nobody is blamed, least of all an honest node. The
next round, of other contributors, may well succeed. This is what unverified masked mode lacks; the
verified one names the contributor.
"""

import numpy as np
import pytest
from tests.support.town import Town, masked_manifest

from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode, sum_vectors
from pnyx.protocol.events import MessageRejected
from pnyx.protocol.messages import Contribution
from pnyx.protocol.models import model_name
from pnyx.protocol.round.contributor import Contributor

LENGTH = 9


class Spoiler:
    """Masks as everybody does, and hands out another key."""

    def __init__(self, code: VectorCode, place: int) -> None:
        self._code, self._place = code, place
        self.vector_bytes = code.vector_bytes

    def mask(self, update: np.ndarray, seed: bytes, context: bytes) -> MaskedUpdate:
        """Mask; one element of the key is another one."""
        made = self._code.mask(update, seed, context)
        key = tuple(part.copy() for part in made.key)
        key[0][self._place] = (key[0][self._place] + 12345) % PRIMES[0]
        return made._replace(key=key)


def contributor(town: Town, study: bytes, index: int) -> Contributor:
    plan = town.plan(study)
    found = town.machines[index].rounds.active[plan.context].contributor
    assert found is not None
    return found


def spoiled(place: int, rounds: int = 2) -> tuple[Town, bytes, int]:
    """The first round of two is spoiled."""
    town = Town()
    study = town.propose(plan=masked_manifest(LENGTH, rounds=rounds, target=6))
    town.run(town.in_round(study, 1))
    spoiler = next(i for i in town.plan(study).contributors if i not in town.plan(study).committee)
    made = contributor(town, study, spoiler)
    made._vectors = Spoiler(made._vectors, place)
    return town, study, spoiler


@pytest.mark.parametrize("place", [0, 1023])
def test_spoiled_masked_sum(place):
    town, study, spoiler = spoiled(place)
    assert town.run(town.finished(study))
    first, second = town.certified()
    sent = {m.header.signer for m in town.sent(Contribution)}
    assert town.census.node_ids[spoiler] in sent
    assert first.contributors >= 3
    assert first.metrics == ()
    assert first.model_hash == model_name(bytes(8 * (LENGTH + 1))), "the model stays"
    assert second.contributors >= 3
    assert sum(town.model(study)) == second.contributors, "the next round counts"
    assert town.blamed() == set(), "nobody, as nobody knows"
    assert town.effects(MessageRejected) == []


def test_a_study_whose_only_round_is_spoiled_ends():
    town, study, _ = spoiled(0, rounds=1)
    assert town.run(town.finished(study))
    assert town.model(study) == [0] * (LENGTH + 1)
    assert town.blamed() == set()


def test_garbage_is_told_from_a_sum():
    """What the rule stands on: a key that is not the sum of the masks' keys decodes to nothing."""
    phase = masked_manifest(LENGTH).phases[0]
    assert phase.masked is not None
    code = VectorCode(phase.masked, b"c" * 32)
    updates = [np.full(LENGTH, at - 1, dtype=np.int64) for at in range(3)]
    made = [code.mask(each, bytes([at]) * 32, b"x") for at, each in enumerate(updates)]
    total = b"".join(sum_vectors(code.parameters, [iter(each.segments) for each in made]))
    key = np.sum([each.key[0] for each in made], axis=0) % PRIMES[0]
    assert code.unmask(total, (key,), 3).tolist() == np.sum(updates, axis=0).tolist()
    for place in range(0, 1024, 93):
        wrong = key.copy()
        wrong[place] = (wrong[place] + 1) % PRIMES[0]
        assert code.unmask(total, (wrong,), 3) is None
