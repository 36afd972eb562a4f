"""From a manifest to what the worker is told, or to what is counted without one."""

import asyncio

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.town import manifest, phase

from pnyx.errors import ConsentError, TrainingError
from pnyx.learning import initial_model, mlp
from pnyx.learning.programs import Operation, encode_program
from pnyx.learning.statistics import RESOLUTION, owner_statistics
from pnyx.learning.task import Hyperparameters
from pnyx.node.learning import (
    LEARNT,
    Clipped,
    PrivacyTerms,
    bounds_for,
    check_study,
    choose_masks,
    counted_vector,
    encode_hyperparameters,
    is_scored,
    phase_for,
    poll_bounds,
    statistics_bounds,
    training_task,
)
from pnyx.node.queries import rows_for
from pnyx.primitives import codec
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.events import PublishedSum
from pnyx.protocol.manifest import Range
from pnyx.protocol.noise import noise_max, update_width
from pnyx.vault import StudyRequest, Vault
from pnyx.vault.collections import Column, SourceFile

STUDY = b"s" * 32
PROGRAM = mlp((2, 3))
TERMS = {"rounds": 1, "cohort_min": 3, "target": 5, "drawn": 6, "deadline_s": 5.0}


def hyperparameters(**changes) -> Hyperparameters:
    terms = {
        "local_epochs": 1,
        "batch_size": 4,
        "learning_rate": 0.1,
        "clip_norm": 1.0,
        "fraction_bits": 8,
        "fine_tune_epochs": 1,
        "fine_tune_learning_rate": 0.1,
        "alone_epochs": 1,
        "alone_learning_rate": 0.1,
    }
    return Hyperparameters(**{**terms, **changes})


COLLECTING = phase_for("statistics", statistics_bounds(2), **TERMS)
TRAINING = phase_for("train", bounds_for(PROGRAM, hyperparameters(), "train"), **TERMS)


def study(**changes):
    """Statistics, then training standardised by them."""
    settings = hyperparameters(standardise="study")
    phases = changes.pop("phases", [COLLECTING, TRAINING])
    learns = any(each.kind in LEARNT for each in phases)
    return manifest(
        9,
        phases,
        **{
            "columns": ("x", "y"),
            "ranges": (Range(0.0, 1.0), Range(0.0, 100.0)),
            "label": "kind",
            "category": "c",
            "program": encode_program(PROGRAM),
            "hyperparameters": encode_hyperparameters(settings),
            "model_bytes": 4 * PROGRAM.shared_count if learns else 0,
            **changes,
        },
    )


@pytest.fixture
def vault(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as opened:
        columns = (Column("x", "float"), Column("y", "float"), Column("kind", "int"))
        rows = [(0.2 * n, 10.0 * n, n % 3) for n in range(5)]
        opened.collections.add("c", columns, SourceFile("f", "csv", bytes(32), 1), rows, 0.0)
        opened.consents.record(
            StudyRequest(
                study=STUDY, purpose="p", columns={"c": ("x", "y", "kind")}, epsilon=1.0, rounds=9
            ),
            accepted=True,
            decided_by="owner",
            now=0.0,
            expires=10.0,
        )
        yield opened


def consented(vault, asked, now: float = 1.0):
    def read(names):
        return vault.read_for_study(STUDY, asked.category, names, now)

    return asyncio.run(rows_for(asked, read))


def counted(vault, asked, now: float = 1.0):
    rows = consented(vault, asked, now)
    return counted_vector(rows, manifest_body=codec.encode(asked), round_number=1)


def test_statistics_are_those_of_the_consented_rows(vault):
    table = np.array([(0.2 * n, 10.0 * n) for n in range(5)])
    expected = owner_statistics(table, np.array([0.0, 0.0]), np.array([1.0, 100.0]))
    assert counted(vault, study()).tolist() == expected.tolist()


def test_nothing_is_counted_without_consent(vault):
    with pytest.raises(ConsentError):
        counted(vault, study(), now=11.0)
    with pytest.raises(ConsentError):
        counted(vault, study(columns=("x", "z")))


def trained(vault, asked, statistics):
    return training_task(
        consented(vault, asked),
        study=STUDY,
        manifest_body=codec.encode(asked),
        round_number=2,
        model=initial_model(PROGRAM, bytes(32)),
        node_id=bytes(32),
        statistics=statistics,
        local=vault.locals.get(STUDY),
        seed=bytes(32),
    )


def test_training_is_standardised_by_what_was_published(vault):
    half = RESOLUTION // 2
    total = (0, 3 * RESOLUTION, 3 * half, 3 * half, 3 * RESOLUTION, 3 * half, 3 * half)
    task = trained(vault, study(), PublishedSum(total, 3))
    means, deviations = np.frombuffer(task.standard, "<f8").reshape(2, 2)
    assert means.tolist() == [0.5, 50.0]
    assert deviations.tolist() == [0.5, 50.0]


def test_without_published_statistics_the_owners_own_serve(vault):
    assert trained(vault, study(), None).standard == b""
    own = encode_hyperparameters(hyperparameters())
    asked = study(hyperparameters=own)
    assert trained(vault, asked, PublishedSum((1,) * 7, 3)).standard == b""


def poll(count_max: int = 1, ballot: Ballot | None = None, **changes):
    bounds = poll_bounds(2, count_max, ballot)
    terms = {"program": b"", "hyperparameters": b"", "ranges": (), "label": "", **changes}
    return study(phases=[phase_for("poll", bounds, **TERMS)], **terms)


def answering(vault, *rows):
    columns = (Column("x", "float"), Column("y", "float"))
    vault.collections.add("p", columns, SourceFile("g", "csv", b"g" * 32, 1), list(rows), 0.0)
    vault.consents.record(
        StudyRequest(study=STUDY, purpose="p", columns={"p": ("x", "y")}, epsilon=1.0, rounds=9),
        accepted=True,
        decided_by="owner",
        now=0.0,
        expires=10.0,
    )


def test_a_poll_takes_the_owners_one_answer(vault):
    answering(vault, (0.0, 1.0))
    asked = poll(ballot=Ballot("choice", 2), category="p")
    check_study(asked)
    assert counted(vault, asked).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1.0, 1.0)], "no valid ballot"),
        ([(0.0, 0.0)], "no valid ballot"),
        ([(0.0, 2.0)], "no valid ballot"),
        ([(1e300, 0.0)], "no valid ballot"),
        ([(-1.0, 2.0)], "no valid ballot"),
        ([(0.5, 0.5)], "whole numbers"),
        ([(0.0, 1.0), (1.0, 0.0)], "one answer"),
    ],
)
def test_answers_that_are_none(vault, rows, message):
    answering(vault, *rows)
    with pytest.raises(TrainingError, match=message):
        counted(vault, poll(ballot=Ballot("choice", 2), category="p"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ""}, "no column that holds the class"),
        ({"columns": ("x",), "ranges": (Range(0.0, 1.0),)}, "does not match the columns"),
        ({"ranges": ()}, "does not collect"),
        ({"phases": [TRAINING]}, "does not collect before it learns"),
        ({"phases": [TRAINING, COLLECTING]}, "does not collect before it learns"),
        ({"phases": [COLLECTING, COLLECTING, TRAINING]}, "one statistics phase"),
        ({"model_bytes": 4 * PROGRAM.shared_count - 4}, "has 32 bytes, where its program has 9"),
        ({"phases": [COLLECTING], "model_bytes": 36}, "has 36 bytes, where its program has 0"),
        ({"phases": [COLLECTING, phase(9)]}, "does not match its program"),
        ({"phases": [phase_for("statistics", statistics_bounds(3), **TERMS)]}, "does not match"),
        ({"phases": [replace(COLLECTING, metrics_length=1), TRAINING]}, "does not match"),
        ({"phases": [COLLECTING, replace(TRAINING, metrics_length=0)]}, "does not match"),
        ({"phases": [phase_for("poll", poll_bounds(3, 1, None), **TERMS)]}, "does not match"),
    ],
)
def test_studies_that_contradict_themselves(changes, message):
    check_study(study())
    with pytest.raises(TrainingError, match=message):
        check_study(study(**changes))


def personal():
    """Its weights are shared, its bias stays with each owner; it predicts a number."""
    parameters = (PROGRAM.parameters[0], msgspec.structs.replace(PROGRAM.parameters[1], local=True))
    operations = (
        Operation("linear", (0, 2, 3)),
        Operation("mean", (4, (1,), False)),
        Operation("mse_loss", (5, 1)),
    )
    return msgspec.structs.replace(
        PROGRAM, classes=0, parameters=parameters, operations=operations, loss=6, score=5
    )


def test_what_an_owner_keeps_goes_into_its_next_task(vault):
    program = personal()
    asked = study(program=encode_program(program), columns=("x", "kind"), label="y")
    vault.consents.record(
        StudyRequest(
            study=STUDY, purpose="p", columns={"c": ("x", "y", "kind")}, epsilon=1.0, rounds=9
        ),
        accepted=True,
        decided_by="owner",
        now=0.0,
        expires=10.0,
    )
    first = trained(vault, asked, None)
    assert first.local == b""
    assert np.frombuffer(first.targets, "<f4").tolist() == [0.0, 10.0, 20.0, 30.0, 40.0]
    vault.keep_locals(STUDY, bytes(12), 1.0)
    assert trained(vault, asked, None).local == bytes(12)
    assert trained(vault, study(), None).local == b"", "this program has none"


def test_figures_of_numbers_are_scores():
    assert is_scored(study(program=encode_program(personal())))
    assert not is_scored(study())
    assert not is_scored(study(program=b"[1]")), "which is refused before anybody takes part"
    assert not is_scored(study(program=b""))


def test_classes_are_whole_numbers(vault):
    with pytest.raises(ConsentError, match="holds no classes"):
        trained(vault, study(columns=("x", "kind"), label="y"), None)


def test_a_study_is_audited_before_consent():
    program = msgspec.structs.replace(PROGRAM, loss=0)
    with pytest.raises(TrainingError, match="program is refused"):
        check_study(study(program=encode_program(program)))
    with pytest.raises(TrainingError, match="cannot be read"):
        check_study(study(program=b"[1]"))
    with pytest.raises(TrainingError, match="settings cannot be read"):
        check_study(study(hyperparameters=b"[1]"))


def test_only_shared_parameters_are_contributed():
    bounds = bounds_for(personal(), hyperparameters(), "train")
    assert (bounds.bounded, bounds.length) == (6, 6 + 3)


def test_a_norm_that_no_proof_takes_is_refused_like_another_that_does_not_match():
    """A node decides upon what others wrote: it declines, and nothing else happens."""
    settings = encode_hyperparameters(hyperparameters(clip_norm=1024.0, fraction_bits=11))
    with pytest.raises(TrainingError, match="cannot be proven: norm_max is too large"):
        check_study(study(phases=[TRAINING], hyperparameters=settings))


def test_noise_comes_on_top_of_the_stated_bits():
    """The largest noise and the largest value, which only their sum holds."""
    privacy = PrivacyTerms(multiplier=0.4, honest_min=4)
    masks = choose_masks(Clipped(12, 9, 1023, 64), 12, 8, privacy)
    noise = noise_max(update_width(1023, 4, 0.4))
    assert noise == 2050
    assert masks.value_max >= 2047 + noise
    assert masks.value_bits == 14, "as many as a larger one of the two has, and one more"


def test_bits_that_masks_have_no_room_for():
    """Nobody stated them: the sentence says what they are for."""
    updates = Clipped(12, 9, 2**30, 64)
    with pytest.raises(ValueError, match="masked values would need 37 bits, noise included, above"):
        choose_masks(updates, None, 8, PrivacyTerms(5.0, 2))
