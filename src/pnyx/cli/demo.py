"""`pnyx demo`: the whole system on one machine."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pnyx.cli.common import Json


class Selection(StrEnum):
    """The back-ends of selection."""

    CENSUS = "census"
    REGION = "region"


def demo(
    nodes: Annotated[int, typer.Option(help="Personal clouds, 6 to 36.")] = 36,
    rounds: Annotated[int, typer.Option(help="Rounds of training.")] = 20,
    kill: Annotated[float, typer.Option(help="Share of the nodes killed on the way.")] = 0.1,
    corrupt: Annotated[
        int, typer.Option(help="Nodes that lie, withhold, equivocate or over-scale.")
    ] = 0,
    seed: Annotated[
        int | None, typer.Option(help="Fixes the initial model and who is killed or corrupt.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(readable=False, help="New directory in which to keep every node's files."),
    ] = None,
    report: Annotated[
        Path, typer.Option(readable=False, help="The HTML file for the report of the study.")
    ] = Path("pnyx-demo-report.html"),
    masked: Annotated[
        bool,
        typer.Option(
            "--masked", help="Mask updates, as large models do; nobody checks their size."
        ),
    ] = False,
    verified: Annotated[
        bool,
        typer.Option(
            "--verified",
            help="With --masked: verify the size of updates while they are masked (experimental).",
        ),
    ] = False,
    selection: Annotated[
        Selection,
        typer.Option(help="How rounds get their actors: drawn from the census, or by regions."),
    ] = Selection.CENSUS,
    as_json: Json = False,
) -> None:
    """Let personal clouds on this machine train a model together, some of them killed on the way.

    Example: pnyx demo --nodes 12 --rounds 5 --kill 0.2 --corrupt 1
    """
    from pnyx.demo.run import run_demo

    raise typer.Exit(
        run_demo(
            nodes=nodes,
            rounds=rounds,
            kill=kill,
            corrupt=corrupt,
            seed=seed,
            as_json=as_json,
            keep=keep,
            report=report,
            masked=masked,
            verified=verified,
            selection=selection.value,
        )
    )
