"""A study of the benchmark: a file and a program beside it, as a proposer would have them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.deep.models import PURPOSE_TERM, Subject
from benchmarks.deep.owners import LABEL, Population
from pnyx.node.proposal import Proposal, StudyFile, make_proposal, read_proposal
from pnyx.vault.importers import ImportMapping, parse_mapping

STUDY_NAME = "study.toml"
PROGRAM_NAME = "model.json"
JOIN_WINDOW_S = 8.0
_NOBODY = bytes(32)


class Cohort(msgspec.Struct, frozen=True):
    """How many take part. A training round closes at `target` of `drawn`, the last one with all."""

    nodes: int
    floor: int
    target: int
    drawn: int


def cohort(nodes: int) -> Cohort:
    """In proportion as in the demonstration: of 40 nodes a floor of 18, 27 of 33 drawn."""
    return Cohort(nodes, round(nodes * 16 / 36), round(nodes * 2 / 3), round(nodes * 5 / 6))


class DeepScript:
    """What the nodes play: each owner imports a file of its own, and nobody refuses.

    verified: whether the norm of masked updates is verified.
    """

    purpose_term = PURPOSE_TERM

    def __init__(
        self,
        name: str,
        subject: Subject,
        population: Population,
        folder: Path,
        *,
        verified: bool = False,
    ) -> None:
        self.population = population
        self.category = population.category
        self._name = name
        self._subject = subject
        self._folder = folder
        self._verified = verified
        self._mapping = parse_mapping(population.mapping())

    def prepare(self, size: Cohort, rounds: int) -> None:
        """Write the study and every owner's file."""
        command = [sys.executable, "-m", "benchmarks.deep.models", self._name]
        subprocess.run([*command, str(self._folder / PROGRAM_NAME)], check=True)
        keys = self._keys(size, rounds)
        (self._folder / STUDY_NAME).write_bytes(msgspec.toml.encode(keys))
        for number in range(size.nodes):
            self.population.write(number, self._file(number))

    def _keys(self, size: Cohort, rounds: int) -> dict[str, Any]:
        subject, population = self._subject, self.population
        common = {"deadline_s": subject.deadline_s}
        train = {"kind": "train", "rounds": rounds, "target": size.target, "drawn": size.drawn}
        masks = {"masked": True, "verified": self._verified}
        evaluate = {"kind": "evaluate", "rounds": 1, "target": size.nodes, "drawn": size.nodes}
        return {
            "title": subject.title,
            "purpose": subject.purpose,
            "purpose_term": PURPOSE_TERM,
            "category": population.category,
            "columns": list(population.columns),
            "label": LABEL,
            "cohort_min": size.floor,
            "join_window_s": JOIN_WINDOW_S,
            "model": {"program": PROGRAM_NAME},
            "training": subject.training,
            "privacy": {"noise_multiplier": 0.0},
            "phases": [{**train, **common, **masks}, {**evaluate, **common}],
        }

    def _file(self, node: int) -> Path:
        return self._folder / f"owner-{node + 1:02}.csv"

    def owner_data(self, node: int) -> tuple[Path, ImportMapping]:
        """The file of one owner."""
        return self._file(node), self._mapping

    def refuses(self, node: int) -> bool:  # noqa: ARG002  (as scripts have it)
        """Nobody does."""
        return False

    def study(self, network: bytes, proposer: bytes) -> tuple[bytes, bytes]:
        """Read the study file, as `pnyx study propose` does; each time another initial model."""
        proposal = read_proposal(self._folder / STUDY_NAME, network, proposer)
        return proposal.manifest, proposal.model

    def seeded(self, nonce: bytes) -> Proposal:
        """The same study with the initial model that 32 bytes determine."""
        path = self._folder / STUDY_NAME
        study = msgspec.toml.decode(path.read_bytes(), type=StudyFile)
        return make_proposal(study, _NOBODY, _NOBODY, nonce, str(path))
