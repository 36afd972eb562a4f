"""The Python interface of proposers, as far as it needs no running node."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pnyx
from pnyx.api import Node, StudyOutcome, connect
from pnyx.errors import ConfigError, PnyxError
from pnyx.learning.programs import encode_program, initial_model, mlp
from pnyx.node.keystore import NodeLayout
from pnyx.node.learning import check_study, read_manifest_body
from pnyx.node.proposal import read_proposal

KEYS = {
    "title": "T",
    "purpose": "P",
    "purpose_term": "dpv:ResearchAndDevelopment",
    "category": "a.b",
    "columns": ["x", "y"],
    "label": "z",
}
MODEL = {"hidden": [4], "classes": 3}


def test_importing_costs_nothing() -> None:
    code = "import sys, pnyx; print([m for m in ('torch', 'numpy', 'msgspec') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_study_is_checked_before_anybody_is_asked() -> None:
    found = pnyx.Study(model=MODEL, rounds=3, contributors=40, **KEYS).check()
    assert found["parameters"] == 2 * 4 + 4 + 4 * 3 + 3
    assert found["rounds"] == 4
    assert found["phases"] == ["train", "evaluate"]
    assert 0 < found["epsilon"] < 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"colums": ["x"]}, "colums"),
        ({"title": 7}, "title"),
        ({"cohort_min": 0}, "cohort_min"),
        ({"model": None}, r"needs a \[model\] table"),
        ({"model": {"hidden": [4]}}, "classes"),
        ({"model": "model.json"}, "not a str; a model in files is named in a study file"),
        ({"label": None}, "no study file can hold"),
        ({"purpose": object()}, "no study file can hold"),
    ],
)
def test_a_mistake_is_named(changes, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        pnyx.Study(**{"model": MODEL, **KEYS, **changes}).check()


def exported() -> tuple[nn.Module, object]:
    module = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    example = (torch.randn(4, 2), torch.randint(3, (4,)))
    return module, pnyx.export(module, nn.functional.cross_entropy, example)


def test_an_exported_module_is_proposed_with_its_weights(tmp_path: Path) -> None:
    module, model = exported()
    study = pnyx.Study(model=model, **KEYS)
    proposal = study.proposal(bytes(32), bytes(32))
    manifest = read_manifest_body(proposal.manifest)
    check_study(manifest)
    study.save(tmp_path / "study.toml")
    saved = read_proposal(tmp_path / "study.toml", bytes(32), bytes(32))
    assert saved.model == proposal.model
    assert read_manifest_body(saved.manifest).program == manifest.program
    outcome = StudyOutcome(None, (), manifest, proposal.model)
    assert outcome.parameters().keys() == module.state_dict().keys()
    other, _ = exported()
    outcome.load_into(other)
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_parameters_are_put_into_no_other_module() -> None:
    _, model = exported()
    proposal = pnyx.Study(model=model, **KEYS).proposal(bytes(32), bytes(32))
    outcome = StudyOutcome(None, (), read_manifest_body(proposal.manifest), proposal.model)
    wider = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 5))
    for other, found in ((nn.Linear(2, 4), "none"), (wider, "one of shape \\(5, 4\\)")):
        before = {name: each.clone() for name, each in other.state_dict().items()}
        with pytest.raises(PnyxError, match=f"the module {found}: give the module"):
            outcome.load_into(other)
        assert all(torch.equal(each, before[n]) for n, each in other.state_dict().items())


def test_a_notebook_completes_the_names() -> None:
    assert set(pnyx.__all__) <= set(dir(pnyx))
    assert repr(Node(NodeLayout(Path("/somewhere")))) == "Node('/somewhere')"


def test_studies_in_one_folder_keep_their_models(tmp_path: Path) -> None:
    models = [exported()[1] for _ in range(2)]
    for name, model in zip("ab", models, strict=True):
        pnyx.Study(model=model, **KEYS).save(tmp_path / f"{name}.toml")
    for name, model in zip("ab", models, strict=True):
        proposal = read_proposal(tmp_path / f"{name}.toml", bytes(32), bytes(32))
        again = pnyx.Study(model=model, **KEYS).proposal(bytes(32), bytes(32))
        assert proposal.model == again.model


def test_a_study_is_saved_under_a_name_of_study_files_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"end in \.toml"):
        pnyx.Study(model=exported()[1], **KEYS).save(tmp_path / "model.json")
    assert list(tmp_path.iterdir()) == []


def test_parameters_have_their_shapes() -> None:
    program = mlp((2, 4, 3))
    manifest = type("M", (), {"program": encode_program(program)})()
    found = StudyOutcome(None, (), manifest, initial_model(program, bytes(32))).parameters()
    assert [array.shape for array in found.values()] == [each.shape for each in program.parameters]
    assert all(array.dtype == np.float32 for array in found.values())


def test_connecting_to_nothing_says_how_to_start_a_node(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pnyx node run"):
        connect(tmp_path)
