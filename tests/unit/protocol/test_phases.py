"""Studies of several kinds of phases in one chain: what each round is told, and publishes."""

import numpy as np
from msgspec.structs import replace
from tests.support.town import Town, manifest, phase

from pnyx.primitives import codec
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.events import PublishedSum, RoundCertified, StartTraining, StudyProposed
from pnyx.protocol.manifest import NO_MODEL, Range, study_id
from pnyx.protocol.models import model_name

NODES = 9
COUNT_MAX = 10
STATISTICS = Bounds(4, 0, 0, COUNT_MAX)
ANSWER = 3


def counts(kind: str, bounds: Bounds, **terms):
    return phase(bounds.length, bounds=bounds, kind=kind, metrics_length=bounds.length, **terms)


def answers(index: int, round_number: int, length: int) -> np.ndarray:
    """Counts in the statistics round, unit vectors in training, one vote in evaluation."""
    if round_number == 1:
        return np.array([ANSWER, 0, 1, COUNT_MAX])
    vector = np.zeros(NODES if round_number == 2 else 4, dtype=np.int64)
    vector[index if round_number == 2 else 0] = 1
    return vector


def propose(town: Town, plan, model: bytes) -> bytes:
    asked = replace(plan, proposer=town.machines[0].node_id, initial_model=model_name(model))
    asked = replace(asked, model_bytes=len(model))
    body = codec.encode(asked)
    study = study_id(body)
    town.lengths[study] = 0  # `answers` knows the length of each round
    town.push(0, StudyProposed(body, model), after=0.5)
    return study


def three_phases(**of_statistics):
    phases = [
        counts("statistics", STATISTICS, **of_statistics),
        phase(NODES),
        counts("evaluate", Bounds(4, 0, 0, 1)),
    ]
    return manifest(NODES, phases, ranges=(Range(0.0, 1.0),))


def told(town: Town, number: int) -> set[PublishedSum | None]:
    return {e.statistics for e in town.effects(StartTraining) if e.round_number == number}


def published(town: Town, number: int) -> RoundCertified:
    (found,) = [e for e in town.certified() if e.round_number == number and e.study in town.lengths]
    return found


def test_what_statistics_publish_is_told_to_the_rounds_after():
    town = Town(vector=answers)
    study = propose(town, three_phases(), bytes(8 * NODES))
    assert town.run(town.finished(study))
    first = published(town, 1)
    owners = first.contributors
    assert first.metrics == (ANSWER * owners, 0, owners, COUNT_MAX * owners)
    assert told(town, 1) == {None}
    assert told(town, 2) == told(town, 3) == {PublishedSum(first.metrics, owners)}
    assert sum(town.model(study)) == published(town, 2).contributors
    assert published(town, 3).metrics[0] == published(town, 3).contributors


def test_a_skipped_statistics_round_tells_nothing():
    """Its floor is above those who joined; the phases after it have floors of their own."""
    town = Town(vector=answers, consents=lambda index: index < 6)
    plan = three_phases(cohort_min=7, target=7, drawn=7, deadline_s=1.0)
    study = propose(town, plan, bytes(8 * NODES))
    assert town.run(town.finished(study))
    assert published(town, 1).skipped
    assert told(town, 2) == told(town, 3) == {None}
    assert not published(town, 3).skipped


def test_a_node_that_restarts_still_tells_what_was_published():
    town = Town(vector=answers)
    study = propose(town, three_phases(), bytes(8 * NODES))
    assert town.run(town.in_round(study, 2))
    expected = town.machines[3].studies[study].statistics
    assert expected is not None
    town.crash(3)
    town.restart(3)
    assert town.run(town.finished(study))
    assert town.machines[3].studies[study].statistics == expected
    assert told(town, 3) == {expected}


def test_a_poll_needs_no_model():
    vote = np.array([0, 1, 0])
    town = Town(vector=lambda index, number, length: vote)
    poll = counts("poll", Bounds(3, 0, 0, 1, ballot=Ballot("choice", 3)))
    study = propose(town, manifest(3, [poll]), b"")
    assert town.run(lambda: all(_finished(each, study) for each in town.machines))
    found = published(town, 1)
    assert found.metrics == (0, found.contributors, 0)
    assert town.machines[0].studies[study].model_hash == NO_MODEL
    assert all(machine.studies[study].holds_model for machine in town.machines)


def _finished(machine, study: bytes) -> bool:
    return study in machine.studies and machine.studies[study].finished
