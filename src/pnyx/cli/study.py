"""`pnyx study`: propose studies, follow them, and check their results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import (
    Directory,
    Json,
    complete_study,
    layout_of,
    plain,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from pnyx.node.control import PhaseSummary, RoundSummary, StudyResult, StudySummary
    from pnyx.protocol.manifest import StudyPhase

app = typer.Typer(no_args_is_help=True, help="Propose studies, follow them, check their results.")

StudyArgument = Annotated[
    str,
    typer.Argument(
        help="First digits of the study's id, as `pnyx study list` shows it.",
        autocompletion=complete_study,
    ),
]
StudyFileArgument = Annotated[Path, typer.Argument(readable=False, help="The study's TOML file.")]
_EXAMPLE_COLUMNS = ("first_column", "second_column")
_NO_NETWORK = bytes(32)
_NO_NODE = bytes(32)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(readable=False, help="New TOML file.")],
    mapping: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Take category, columns and classes from an import mapping."
        ),
    ] = None,
) -> None:
    """Write a commented study file to start from.

    Example: pnyx study new study.toml --mapping activity.toml
    """
    from pnyx.errors import ConfigError
    from pnyx.node.enrolment import replace_file
    from pnyx.node.study_file import template

    if file.exists():
        raise ConfigError(f"{file} exists already; choose another name.")
    replace_file(file, template(*_described(mapping)).encode())
    say(f"Wrote {file}; edit it, then run `pnyx study check {file}`.")


def _described(mapping: Path | None) -> tuple[tuple[str, ...], str, str, int]:
    """Columns, category, label and number of classes for the template."""
    from pnyx.errors import ConfigError
    from pnyx.vault.importers import read_mapping

    if mapping is None:
        return _EXAMPLE_COLUMNS, "activity.windows", "activity", 6
    read = read_mapping(mapping)
    columns = read.target_columns()
    labels = [column for column in columns if column.classes]
    if not labels:
        raise ConfigError(
            f"{mapping} has no column with classes to take for the label; leave out "
            "--mapping, and name columns and label in the file."
        )
    names = tuple(column.name for column in columns if column.type != "text")
    return names, read.category, labels[0].name, len(labels[0].classes)


@app.command()
def check(file: StudyFileArgument, as_json: Json = False) -> None:
    """Check a study file, and say what its nodes would do.

    Example: pnyx study check study.toml
    """
    from pnyx.api import figures as figures_of
    from pnyx.node.learning import cut_share, read_manifest_body
    from pnyx.node.proposal import read_proposal, unfit_networks

    proposal = read_proposal(file, _NO_NETWORK, _NO_NODE)
    manifest = read_manifest_body(proposal.manifest)
    figures = figures_of(proposal)
    if as_json:
        print_json(figures)
        return
    say(
        f"{file} is a valid study: {figures['columns']} columns, {figures['parameters']} "
        f"parameters, {figures['rounds']} rounds, sums over at least {figures['cohort_min']} "
        "owners, "
        + (
            "no bound on the privacy cost: noise is off."
            if figures["epsilon"] is None
            else f"epsilon {figures['epsilon']:.3g} for an owner who takes part in every round."
        )
    )
    print_table(
        ("PHASE", "ROUNDS", "OWNERS AT LEAST", "UPDATES"),
        [(each.kind, str(each.rounds), _floor(each), _updates(each)) for each in manifest.phases],
    )
    for number, phase in enumerate(manifest.phases):
        cut = cut_share(phase)
        if cut is not None:
            bits = figures["fraction_bits"]
            say(
                f"phases[{number}]: a single entry of an update is cut at {cut:.1%} of "
                f"training.clip_norm; training.fraction_bits is {bits}: "
                f"{'fewer of them, or ' if bits else ''}more groups leave more room."
            )
    unfit = unfit_networks(manifest)
    if unfit:
        sizes = ", ".join(f"{nodes:,}" for nodes in unfit)
        say(f"Not for networks of {sizes} nodes: {next(iter(unfit.values()))}.")


def _updates(phase: "StudyPhase") -> str:
    """How the updates of a phase travel, and what is known of them."""
    from pnyx.report.words import size

    if phase.masked is None:
        return "secret shares to the committee" if phase.kind == "train" else "-"
    kind = "masked" if phase.verified is None else "masked and verified (experimental)"
    return f"{kind}, {size(phase.masked.bytes)} from each contributor"


def _floor(phase: "StudyPhase") -> str:
    floor = str(phase.cohort_min)
    return floor if phase.groups == 1 else f"{floor} in each of {phase.groups} groups"


@app.command()
def propose(file: StudyFileArgument, directory: Directory, as_json: Json = False) -> None:
    """Propose a study to the network, through the running node.

    Example: pnyx study propose study.toml
    """
    from pnyx.errors import Interrupted
    from pnyx.node.control import NodeStatus, Propose, Status, StudySummary, call
    from pnyx.node.proposal import read_proposal

    layout = layout_of(directory)
    status = call(layout, Status(), NodeStatus)
    node = bytes.fromhex(status.node_id)
    proposal = read_proposal(file, status.network_id, node, status.epoch)
    try:
        summary = call(layout, Propose(proposal.manifest, proposal.model), StudySummary)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "Interrupted while the node was asked; `pnyx study list` shows whether it proposed the "
            "study."
        ) from error
    if as_json:
        print_json(summary)
    say(f"Proposed {plain(summary.title)} as {summary.study}.")


@app.command("list")
def list_studies(directory: Directory, as_json: Json = False) -> None:
    """List the studies that the running node knows.

    Example: pnyx study list
    """
    from pnyx.node.control import Studies, StudySummary, call

    found = call(layout_of(directory), Studies(), list[StudySummary])
    if as_json:
        print_json(found)
        return
    print_table(
        ("STUDY", "ROUNDS", "PHASES", "STATE", "YOUR DECISION", "TITLE"),
        [
            (
                study.study[:12],
                f"{study.rounds_certified} of {study.rounds}",
                ", ".join(_phase(phase) for phase in study.phases),
                _state(study),
                study.decision,
                plain(study.title),
            )
            for study in found
        ],
    )


@app.command()
def status(
    study: StudyArgument,
    directory: Directory,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the study is finished, round by round.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the certified rounds of a study.

    Example: pnyx study status 4f19 --wait
    """
    from pnyx.node.control import Result, StudyResult, call

    if wait:
        _wait(directory, study)
    found = call(layout_of(directory), Result(study), StudyResult)
    if as_json:
        parts = {"summary": found.summary, "rounds": found.rounds, "stalled": found.stalled}
        print_json(parts)
        return
    summary = found.summary
    say(f"{plain(summary.title)} ({summary.study}): {_state(summary)}.")
    if summary.trouble:
        say(f"Your node could not contribute to {plain(summary.trouble)}")
    print_table(
        ("ROUND", "KIND", "CONTRIBUTORS", "RESULT"),
        [
            (str(r.round_number), r.kind, str(r.contributors), _outcome(r, _measure(summary)))
            for r in found.rounds
        ],
    )
    for draw in found.stalled:
        say(
            f"Node {draw.node[:12]} did not answer as {draw.role} when actors were drawn for "
            f"round {draw.round_number} (attempt {draw.attempt})."
        )


def _wait(directory: Path, study: str) -> None:
    """Wait for the end; Ctrl-C stops the waiting, not the study."""
    from pnyx.api import connect

    def tell(summary: "StudySummary") -> None:
        say(f"{summary.rounds_certified} of {summary.rounds} rounds are certified.")

    try:
        connect(layout_of(directory).root).study(study).wait(progress=tell)
    except KeyboardInterrupt:
        say("Stopped waiting; the study goes on: ask for its status again whenever you like.")


@app.command()
def result(
    study: StudyArgument,
    directory: Directory,
    model: Annotated[
        Path | None,
        typer.Option(readable=False, help="Write the model: float32 parameters, little-endian."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(readable=False, help="Write everything that proves the result.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a study's certified result, and write its model or its proof to files.

    Example: pnyx study result 4f19 --bundle study.bundle
    """
    from pnyx.errors import PnyxError
    from pnyx.node.control import Export, ExportedBundle, Result, StudyResult, call
    from pnyx.node.enrolment import replace_file

    layout = layout_of(directory)
    found = call(layout, Result(study, model=model is not None), StudyResult)
    if model is not None:
        if not found.model:
            raise PnyxError("The node does not hold this study's model yet; try again in a while.")
        replace_file(model, found.model)
        say(f"Wrote the model to {model}.")
    if bundle is not None:
        replace_file(bundle, call(layout, Export(study), ExportedBundle).content)
        say(f"Wrote the proof to {bundle}; `pnyx study verify` checks it.")
    if as_json:
        print_json(found)
        return
    say(f"{plain(found.summary.title)}: {_state(found.summary)}.")
    print_table(("", ""), [("model", found.model_hash), *_last_outcomes(found)])
    if found.statistics:
        print_table(
            ("COLUMN", "OWNERS", "MEAN", "DEVIATION"),
            [
                (plain(c.name), f"{c.owners:.0f}", _number(c.mean), _number(c.deviation))
                for c in found.statistics
            ],
        )


@app.command()
def verify(
    bundle: Annotated[
        Path, typer.Argument(readable=False, help="File that `pnyx study result --bundle` wrote.")
    ],
    network: Annotated[
        Path, typer.Option(readable=False, help="The network file of the study's network.")
    ],
    as_json: Json = False,
) -> None:
    """Check a study's whole chain of records, with no node and no key of your own.

    Example: pnyx study verify study.bundle --network network.json
    """
    from pnyx.api import verify as verified

    found = verified(bundle, network)
    suspected = [each for each in found.suspicions if each.stands_out]
    opened = [body for body in found.rounds if body.round_number > 0]
    if as_json:
        print_json(
            {
                "study": found.study.hex(),
                "title": found.manifest.title,
                "proposer": found.proposer.hex(),
                "rounds_certified": len(opened),
                "rounds": found.manifest.rounds,
                "finished": found.finished,
                "model_hash": found.model_hash.hex(),
                "model_included": bool(found.model),
                "contributors_min": min(
                    (len(body.accepted) for body in opened if not body.skipped), default=0
                ),
                "suspected": [
                    {
                        "node": each.node.hex(),
                        "rounds": each.rounds,
                        "troubled": each.troubled,
                        "spoiled": each.spoiled,
                        "chance": each.chance,
                        "chance_of_any": each.chance_of_any,
                    }
                    for each in suspected
                ],
            }
        )
        return
    say(
        f"{plain(found.manifest.title)} ({found.study.hex()}): every record is genuine, "
        f"{len(opened)} of {found.manifest.rounds} rounds are certified, and the model is "
        f"{found.model_hash.hex()[:16]}."
    )
    for each in suspected:
        say(
            f"Suspicion, and no proof: in {each.spoiled} of {each.troubled} rounds in which a sum "
            f"came to nothing, node {each.node.hex()[:12]} was in its group. The chance that any "
            f"innocent contributor looks so is {each.chance_of_any:.2g} at most. Nobody is "
            "excluded by it."
        )


def _phase(phase: "PhaseSummary") -> str:
    return f"poll ({phase.ballot})" if phase.ballot else phase.kind


def _state(study: "StudySummary") -> str:
    if study.finished:
        return "finished"
    return "running" if study.rounds_certified else "collecting owners"


def _measure(study: "StudySummary") -> str:
    return "score" if study.scored else "accuracy"


def _outcome(round_summary: "RoundSummary", measure: str = "accuracy") -> str:
    """Word the sums that a round published."""
    from pnyx.learning.update import EVALUATE_COUNTS, TRAIN_COUNTS

    counts = round_summary.metrics
    if round_summary.skipped:
        return "skipped: too few contributors"
    if round_summary.kind == "train" and len(counts) == TRAIN_COUNTS and counts[1] > 0:
        return f"{measure} of the model before it {counts[0] / counts[1]:.1%}"
    if round_summary.kind == "evaluate" and len(counts) == EVALUATE_COUNTS and counts[3] > 0:
        alone, shared, personalised = (count / counts[3] for count in counts[:3])
        return f"alone {alone:.1%}, shared {shared:.1%}, fine-tuned at home {personalised:.1%}"
    if round_summary.kind == "statistics" and counts:
        return "means and deviations: `pnyx study result` shows them"
    if round_summary.kind == "poll" and counts:
        return "sums " + " ".join(f"{count / round_summary.scale:.12g}" for count in counts)
    return "no result"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _last_outcomes(found: "StudyResult") -> list[tuple[str, str]]:
    last = {each.kind: each for each in found.rounds}
    measure = _measure(found.summary)
    return [(f"last {kind} round", _outcome(each, measure)) for kind, each in last.items()]
