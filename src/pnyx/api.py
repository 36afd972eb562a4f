"""What a proposer does, from Python: `import pnyx` gives these names.

    study = pnyx.Study(title=..., columns=[...], model=pnyx.export(module, loss, example), ...)
    node = pnyx.connect("~/pnyx/node")        # a node that runs on this machine
    proposed = node.propose(study)
    proposed.wait()
    proposed.result().load_into(module)

It talks to the running node through its control socket, as the commands do, and everything raises
`pnyx.errors.PnyxError` with one sentence.
"""

import math
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.config import parse_toml
from pnyx.errors import ConfigError, PnyxError
from pnyx.learning.programs import Program, read_program
from pnyx.learning.programs.models import PARAMETER_DTYPE
from pnyx.node.bundle import BUNDLE_BYTES_MAX, VerifiedStudy, read_bundle, verify_bundle
from pnyx.node.control import (
    Export,
    ExportedBundle,
    NodeStatus,
    Propose,
    Result,
    RoundSummary,
    Status,
    Studies,
    StudyResult,
    StudySummary,
    call,
)
from pnyx.node.enrolment import read_file, replace_file, verifying_crypto
from pnyx.node.keystore import NodeLayout
from pnyx.node.learning import cut_share, fraction_bits_of, read_manifest_body
from pnyx.node.network import read_network
from pnyx.node.proposal import Proposal, make_proposal, read_proposal, unfit_networks
from pnyx.node.study_file import StudyFile
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.privacy import epsilon, study_rho

if TYPE_CHECKING:
    from torch import nn

    from pnyx.learning.programs.export import Exported

POLL_S = 1.0
_NOBODY = bytes(32)


class Study:
    """A study to propose; the keyword arguments are the keys of a study file.

    model: what `pnyx.export` gave, or a mapping such as {"hidden": [64], "classes": 6}. phases: as
    in the file; or give `rounds` and `contributors` for training and one evaluation. `pnyx study
    new` writes a file with every key explained.
    """

    def __init__(
        self,
        *,
        model: "Exported | Mapping[str, object] | None" = None,
        phases: Sequence[Mapping[str, object]] | None = None,
        rounds: int = 20,
        contributors: int = 40,
        **keys: Any,
    ) -> None:
        self._exported: Exported | None = None
        if isinstance(model, Mapping):
            keys["model"] = dict(model)
        elif model is not None:
            self._exported = _checked_model(model)
            keys["model"] = _names("study")
        if phases is None:
            drawn = {"target": contributors, "drawn": math.ceil(1.25 * contributors)}
            phases = [
                {"kind": "train", "rounds": rounds, **drawn},
                {"kind": "evaluate", "rounds": 1, **drawn},
            ]
        self._keys = {"cohort_min": 32, "join_window_s": 600.0, "phases": [*phases], **keys}
        self._read("The study")

    def _text(self, stem: str) -> bytes:
        """The study file, with the names of its model's files. Raises ConfigError."""
        keys = self._keys if self._exported is None else {**self._keys, "model": _names(stem)}
        try:
            return msgspec.toml.encode(keys)
        except TypeError as error:
            raise ConfigError(f"The study holds what no study file can hold: {error}.") from error

    def _read(self, source: str) -> StudyFile:
        return parse_toml(self._text("study"), StudyFile, source, ConfigError)

    def _model_files(self, stem: str) -> dict[str, bytes]:
        if self._exported is None:
            return {}
        names = _names(stem)
        return {names["program"]: self._exported.program, names["weights"]: self._exported.weights}

    def save(self, path: Path | str) -> None:
        """Write a study file, and its model beside it, for `pnyx study propose`.

        The model's files have the study's name, so that studies can share a folder. Raises
        ConfigError.
        """
        target = Path(path)
        if target.suffix != ".toml":
            raise ConfigError(f"{target} is no name of a study file: let it end in .toml.")
        files = {target.name: self._text(target.stem), **self._model_files(target.stem)}
        for name, content in files.items():
            replace_file(target.with_name(name), content)

    def check(self) -> dict[str, object]:
        """What `pnyx study check` says: sizes, rounds, and the privacy cost (None: no bound)."""
        return figures(self.proposal(_NOBODY, _NOBODY))

    def proposal(self, network: bytes, proposer: bytes, epoch: int = 0) -> Proposal:
        """The signed-to-be manifest and the model it begins with. Raises ConfigError."""
        study = self._read("The study")
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self._model_files("study").items():
                (Path(folder) / name).write_bytes(content)
            source = str(Path(folder) / "The study")
            try:
                nonce = secrets.token_bytes(32)
                return make_proposal(study, network, proposer, nonce, source, epoch)
            except ConfigError as error:
                raise ConfigError(str(error).replace(f"{folder}/", "")) from error


def _checked_model(model: "Exported") -> "Exported":
    if not isinstance(getattr(model, "program", None), bytes):
        raise ConfigError(
            f"A study's model is what pnyx.export gives, or a mapping, not a "
            f"{type(model).__name__}; a model in files is named in a study file."
        )
    return model


def _names(stem: str) -> dict[str, str]:
    """The files of an exported model, beside the study file of this name."""
    return {"program": f"{stem}.model.json", "weights": f"{stem}.model.safetensors"}


def figures(proposal: Proposal) -> dict[str, object]:
    """What the nodes of a proposal would do, in numbers.

    entries_cut_at: for each phase the share of training.clip_norm at which a single entry is cut.
    unfit_networks: numbers of nodes, of a few that are looked at, whose committees cannot carry it.
    """
    manifest = read_manifest_body(proposal.manifest)
    cost = epsilon(study_rho(manifest))
    return {
        "title": manifest.title,
        "columns": len(manifest.columns),
        "parameters": len(proposal.model) // PARAMETER_DTYPE.itemsize,
        "rounds": manifest.rounds,
        "cohort_min": manifest.cohort_min,
        "vector_length": max(phase.length for phase in manifest.phases),
        "phases": [phase.kind for phase in manifest.phases],
        "masked": any(phase.masked is not None for phase in manifest.phases),
        "verified": any(phase.verified is not None for phase in manifest.phases),
        "fraction_bits": fraction_bits_of(manifest),
        "entries_cut_at": [cut_share(phase) for phase in manifest.phases],
        "epsilon": None if math.isinf(cost) else round(cost, 4),
        "unfit_networks": list(unfit_networks(manifest)),
    }


class StudyOutcome(msgspec.Struct, frozen=True):
    """A study's certified rounds, and the model that they led to."""

    summary: StudySummary
    rounds: tuple[RoundSummary, ...]
    manifest: Manifest
    model: bytes

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The shared parameters of the model, by name. Raises PnyxError when there is no model."""
        if not self.model or not self.manifest.program:
            raise PnyxError("This study has no model, or the node does not hold it yet.")
        return _named(read_program(self.manifest.program), self.model)

    def load_into(self, module: "nn.Module") -> None:
        """Put the shared parameters into the module that was exported; local ones stay.

        Raises PnyxError when the module has not the same parameters; then it is unchanged.
        """
        import torch

        arrays = self.parameters()
        own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        for name, array in arrays.items():
            if own.get(name) != array.shape:
                found = f"one of shape {own[name]}" if name in own else "none"
                raise PnyxError(
                    f"The model has a parameter {name} of shape {array.shape}, and the module "
                    f"{found}: give the module that was exported."
                )
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        module.load_state_dict(tensors, strict=False)


def _named(program: Program, model: bytes) -> dict[str, NDArray[np.float32]]:
    numbers = np.frombuffer(model, PARAMETER_DTYPE)
    found, start = {}, 0
    for parameter in program.parameters:
        if not parameter.local:
            part = numbers[start : start + parameter.size]
            found[parameter.name] = part.reshape(parameter.shape)
            start += parameter.size
    return found


class ProposedStudy:
    """A study that a node knows."""

    def __init__(self, layout: NodeLayout, study: str) -> None:
        self._layout = layout
        self.id = study

    def __repr__(self) -> str:
        return f"ProposedStudy({self.id[:12]})"

    def status(self) -> StudySummary:
        """Where it stands."""
        return self._found().summary

    def wait(
        self,
        *,
        timeout_s: float = math.inf,
        progress: Callable[[StudySummary], None] | None = None,
    ) -> StudySummary:
        """Wait until it is finished, telling each new round. Raises PnyxError after `timeout_s`."""
        ends, told = time.monotonic() + timeout_s, -1
        while True:
            summary = self.status()
            if progress is not None and summary.rounds_certified != told:
                told = summary.rounds_certified
                progress(summary)
            if summary.finished:
                return summary
            if time.monotonic() > ends:
                raise PnyxError(
                    f"The study has {summary.rounds_certified} of {summary.rounds} rounds; "
                    "wait again, nothing is lost."
                )
            time.sleep(POLL_S)

    def result(self) -> StudyOutcome:
        """Its certified rounds and its model so far."""
        found = self._found()
        bundle = read_bundle(self._bundle())
        manifest = read_manifest_body(bundle.manifest.body)
        return StudyOutcome(found.summary, found.rounds, manifest, bundle.model)

    def save_bundle(self, path: Path | str) -> None:
        """Write everything that proves the result, for `pnyx.verify`."""
        replace_file(Path(path), self._bundle())

    def _found(self) -> StudyResult:
        return call(self._layout, Result(self.id), StudyResult)

    def _bundle(self) -> bytes:
        return call(self._layout, Export(self.id), ExportedBundle).content


class Node:
    """A node that runs on this machine; see `connect`."""

    def __init__(self, layout: NodeLayout) -> None:
        self._layout = layout

    def __repr__(self) -> str:
        return f"Node({str(self._layout.root)!r})"

    def status(self) -> NodeStatus:
        """How the node is."""
        return call(self._layout, Status(), NodeStatus)

    def studies(self) -> list[StudySummary]:
        """The studies that it knows."""
        return call(self._layout, Studies(), list[StudySummary])

    def study(self, digits: str) -> ProposedStudy:
        """A study by the first digits of its id."""
        return ProposedStudy(
            self._layout, call(self._layout, Result(digits), StudyResult).summary.study
        )

    def propose(self, study: Study | Path | str) -> ProposedStudy:
        """Propose a study, or the one in a study file, to the node's network. Raises PnyxError."""
        status = self.status()
        who = status.network_id, bytes.fromhex(status.node_id), status.epoch
        made = (
            study.proposal(*who) if isinstance(study, Study) else read_proposal(Path(study), *who)
        )
        request = Propose(made.manifest, made.model)
        return ProposedStudy(self._layout, call(self._layout, request, StudySummary).study)


def connect(directory: Path | str) -> Node:
    """The running node of a directory. Raises PnyxError when none runs there."""
    node = Node(NodeLayout(Path(directory).expanduser().absolute()))
    node.status()
    return node


def verify(bundle: Path | str, network: Path | str) -> VerifiedStudy:
    """Check a study's whole chain of records, with no node and no key of one's own.

    Raises PnyxError when it proves nothing.
    """
    crypto = verifying_crypto()
    # At time 0: a proof outlives the census under which the study ran.
    known = read_network(Path(network), crypto, now=0)
    content = read_file(Path(bundle), BUNDLE_BYTES_MAX, "The bundle")
    try:
        return verify_bundle(read_bundle(content), known.first, crypto, known.authority_key)
    except PnyxError as error:
        raise PnyxError(
            f"{bundle} proves nothing ({str(error).rstrip('.')}); do not use its result."
        ) from error
