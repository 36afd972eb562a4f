"""A study as its proposer writes it: one TOML file, turned into a manifest and an initial model.

Everything is checked here, with the name of the key and what is accepted, before the node sees
anything. The manifest carries a fresh nonce, so that proposing one file twice makes two studies;
the initial model follows from that nonce, unless the file names weights to begin with.
"""

import secrets
from pathlib import Path

import msgspec

from pnyx.config import parse_toml
from pnyx.errors import ConfigError, ProtocolError, QueryError, RuleBroken, TrainingError
from pnyx.learning.programs import Program, encode_program
from pnyx.learning.programs.format import PARAMETERS_MAX
from pnyx.learning.task import Hyperparameters
from pnyx.node.learning import LEARNT, check_study, encode_hyperparameters
from pnyx.node.study_advice import refusal
from pnyx.node.study_file import StudyFile
from pnyx.node.study_model import read_initial_model, read_study_program
from pnyx.node.study_phases import (
    build_phase,
    check_phase_table,
    networks_for,
    objection,
    roundings,
    usual_committee,
)
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    Manifest,
    Range,
    StudyPhase,
    check_sizes,
)
from pnyx.protocol.models import model_name
from pnyx.protocol.params import PROTOCOL_VERSION
from pnyx.protocol.round.values import check_agreeable
from pnyx.vault.files import describe

STUDY_FILE_BYTES_MAX = 256 * 1024


class Proposal(msgspec.Struct, frozen=True):
    """What a node is asked to propose: the encoded manifest and the initial model it names."""

    manifest: bytes
    model: bytes


def read_proposal(path: Path, network: bytes, proposer: bytes, epoch: int = 0) -> Proposal:
    """Read a study file and build its proposal by a node of a network. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(STUDY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"The study file {path} cannot be read: {describe(error)}; check its path and "
            "permissions."
        ) from error
    if len(data) > STUDY_FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {STUDY_FILE_BYTES_MAX} bytes; shorten it.")
    study = parse_toml(data, StudyFile, str(path), ConfigError)
    return make_proposal(study, network, proposer, secrets.token_bytes(32), str(path), epoch)


def make_proposal(
    study: StudyFile,
    network: bytes,
    proposer: bytes,
    nonce: bytes,
    source: str,
    epoch: int = 0,
) -> Proposal:
    """Build the proposal of a checked file. Raises ConfigError.

    epoch: that the network is in. nonce: 32 fresh bytes. source: path of the file, for messages
    and to find those beside it.
    """
    _check_columns(study, source)
    program, model = None, b""
    if any(phase.kind in LEARNT for phase in study.phases):
        program = _program(study, source)
    for number, phase in enumerate(study.phases):
        length = 0 if program is None else program.shared_count
        check_phase_table(study, phase, length, f"{source}: phases[{number}]")
    hyperparameters, phases = _rounded_phases(study, program, source)
    if program is not None:
        assert study.model is not None
        seed = digest("pnyx/proposal/model", nonce)
        model = read_initial_model(program, study.model, Path(source).parent, seed)
    manifest = Manifest(
        network=network,
        proposer=proposer,
        version=PROTOCOL_VERSION,
        epoch=epoch,
        title=study.title,
        purpose=study.purpose,
        purpose_term=study.purpose_term,
        category=study.category,
        query=study.query,
        columns=study.columns,
        ranges=_ranges(study, source),
        label=study.label,
        program=b"" if program is None else encode_program(program),
        hyperparameters=(
            b"" if hyperparameters is None else encode_hyperparameters(hyperparameters)
        ),
        initial_model=model_name(model),
        model_bytes=len(model),
        phases=phases,
        join_window_s=float(study.join_window_s),
        nonce=nonce,
        selection=study.selection,
    )
    return Proposal(_encode_checked(manifest, source), model)


def _check_columns(study: StudyFile, source: str) -> None:
    if len(set(study.columns)) < len(study.columns) or study.label in study.columns:
        raise ConfigError(f"{source}: a column is named twice, or is the label as well.")


def _ranges(study: StudyFile, source: str) -> tuple[Range, ...]:
    """A range for each column, or none. Raises ConfigError."""
    if not study.ranges:
        return ()
    wrong = [name for name in study.ranges if name not in study.columns]
    wrong += [name for name in study.columns if name not in study.ranges]
    if wrong:
        raise ConfigError(f"{source}: ranges names every column and nothing else; see {wrong[0]}.")
    try:
        return tuple(Range(*map(float, study.ranges[name])) for name in study.columns)
    except ValueError as error:
        raise ConfigError(f"{source}: ranges: {error}.") from error


def _program(study: StudyFile, source: str) -> Program:
    if study.model is None or not study.label:
        raise ConfigError(
            f"{source}: a study that trains needs a [model] table, and a label: the column that "
            "holds what is to be predicted."
        )
    program = read_study_program(
        study.model, len(study.columns), study.training.batch_size, Path(source).parent, source
    )
    if program.shared_count > PARAMETERS_MAX:
        raise ConfigError(
            f"{source}: the model has {program.shared_count} parameters, above {PARAMETERS_MAX}; "
            "take fewer layers, or narrower ones."
        )
    return program


def _rounded_phases(
    study: StudyFile, program: Program | None, source: str
) -> tuple[Hyperparameters | None, tuple[StudyPhase, ...]]:
    """The phases, with the stated rounding of updates or the finest that serves all of them.

    Raises ConfigError.
    """
    tried = roundings(study, program)
    for rounded in tried:
        if all(objection(study, phase, program, rounded) is None for phase in study.phases):
            built = (build_phase(study, phase, program, rounded) for phase in study.phases)
            return rounded, tuple(built)
    raise ConfigError(f"{source}: {refusal(study, program, tried)}.")


def _encode_checked(manifest: Manifest, source: str) -> bytes:
    """Encode a manifest that other nodes will accept, or say what they would object to."""
    try:
        check_study(manifest)
        encoded = codec.encode(manifest)
        codec.decode(encoded, Manifest, bytes_max=MANIFEST_BYTES_MAX)
    except (ProtocolError, QueryError, TrainingError) as error:
        raise ConfigError(f"{source}: {str(error).rstrip('.')}.") from error
    return encoded


def unfit_networks(manifest: Manifest) -> dict[int, str]:
    """Why a study cannot be proposed to networks of so many nodes, by what committees they draw.

    Networks of a few sizes are looked at, planned as is usual; others may have other committees.
    """
    objections = {}
    for nodes in networks_for(max(phase.target for phase in manifest.phases)):
        try:
            check_sizes(manifest, usual_committee(nodes))
            check_agreeable(manifest, usual_committee(nodes))
        except RuleBroken as error:
            objections[nodes] = str(error)
    return objections
