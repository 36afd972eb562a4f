"""A contributor shares another key than it masks with (A9): its round comes to nothing, no more.

In this mode nothing ties the masked update to the key that is shared, so nobody can say who did it:
the study goes on with the model that it had, and nobody is blamed, least of all an honest node. The
next round, of other contributors, may well succeed. This is what unverified masked mode lacks; the
verified one names the contributor.
"""

import numpy as np
import pytest
from tests.support.tasks import make_hyperparameters
from tests.support.town import Town, masked_manifest
from tests.support.weakened import weaken

from pnyx.errors import TrainingError
from pnyx.learning import apply_update, initial_model, mlp
from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.masked import coding
from pnyx.protocol.aggregation.masked.keys import MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    SegmentSum,
    mask_segment,
    public_segment,
    transform_key,
)
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, ParameterSet, choose
from pnyx.protocol.aggregation.masked.segments import pack_sum
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


# --- a value below the least one ------------------------------------------------------------------

PROGRAM = mlp((2, 3))


def unmasked(parameters: ParameterSet, updates: np.ndarray, less: int) -> np.ndarray | None:
    """The sum of updates [count, length], where one of them takes so much from its first value."""
    context, total, keys = b"c" * 32, SegmentSum(parameters, 0), []
    public = public_segment(parameters, context, 0)
    for who, update in enumerate(updates):
        key = MaskingKey.derive(parameters, bytes([who]) * 32, b"own", hash_vector([update]))
        secret = transform_key(parameters, key.secret)
        residues = mask_segment(parameters, public, secret, key.errors_seed, 0, update)
        if who == 0:
            for part, prime in zip(residues, parameters.primes, strict=True):
                taken = int(part[0, 0, 0]) - (less << parameters.shift)
                part[0, 0, 0] = taken % prime
        total.add(residues)
        keys.append(key.secret)
    summed = tuple(
        np.sum([key[at].astype(np.int64) for key in keys], axis=0) % prime
        for at, prime in enumerate(parameters.primes)
    )
    code = VectorCode(parameters, context)
    return code.unmask(pack_sum(parameters, 0, total.total()), summed, len(updates))


@pytest.mark.parametrize("length", [PROGRAM.shared_count, 1024, 1025])
@pytest.mark.parametrize("count", [2, 5, 256])
@pytest.mark.parametrize("ring", SHARED_RINGS, ids=["P0", "P1"])
def test_what_unmasks_is_what_moves_a_model(ring, count, length):
    """The least values of all who contribute are a sum, padding or not; a unit below is none."""
    parameters = choose(length, 8, 256, rings=(ring,))
    updates = np.full((count, length), -parameters.value_max)
    found = unmasked(parameters, updates, 0)
    assert found is not None
    assert found.tolist() == updates.sum(axis=0).tolist()
    if length == PROGRAM.shared_count:
        model, counts = initial_model(PROGRAM, bytes(32)), np.zeros(3, dtype=np.int64)
        total = np.concatenate([found, counts])
        apply_update(model, total, count, make_hyperparameters(), parameters.value_max)
    for less in (1, count):
        assert unmasked(parameters, updates, less) is None


def test_a_sum_that_unmasks_and_moves_no_model(monkeypatch):
    """Else its round is void with a sum in the record like any other, and nobody is suspected."""
    parameters = choose(PROGRAM.shared_count, 8, 24)
    updates = np.full((5, PROGRAM.shared_count), -parameters.value_max)
    weaken(monkeypatch, coding, (" and int(row.min()) >= count - less", ""))
    found = unmasked(parameters, updates, 1)
    assert found is not None
    assert found[0] == -5 * parameters.value_max - 1
    total = np.concatenate([found, np.zeros(3, dtype=np.int64)])
    model = initial_model(PROGRAM, bytes(32))
    with pytest.raises(TrainingError, match="exceeds what its contributions can add up to"):
        apply_update(model, total, 5, make_hyperparameters(), parameters.value_max)
