"""`pnyx security`: what a network of some size can promise."""

from pathlib import Path
from typing import Annotated

import typer

from pnyx.cli.common import Json, print_json


def security(
    nodes: Annotated[int, typer.Option(help="Nodes in the network.")] = 36,
    corrupted: Annotated[float, typer.Option(help="Share of corrupted nodes to plan for.")] = 0.05,
    absent: Annotated[float, typer.Option(help="Share of nodes away at any one time.")] = 0.10,
    alpha: Annotated[float, typer.Option(help="Largest accepted probability, per study.")] = 1e-6,
    rounds: Annotated[int, typer.Option(help="Rounds of a study.")] = 40,
    groups: Annotated[int, typer.Option(help="Groups of contributors in a round.")] = 1,
    committees: Annotated[
        int, typer.Option(help="Committees in a round; the protocol draws one for all groups.")
    ] = 1,
    alpha_per_region: Annotated[
        float | None,
        typer.Option(help="Bound each region by itself, as in SEP2P, and not the whole network."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(readable=False, help="An SVG file for a figure of the same."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show committee sizes and the remaining risk of a network.

    Example: pnyx security --nodes 100000 --corrupted 0.05 --plot risk.svg
    """
    from pnyx.errors import ConfigError
    from pnyx.protocol.selection import as_json as figures
    from pnyx.protocol.selection import assess, explain

    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot}: a figure is an SVG file; let its name end in .svg.")
    assessment = assess(
        nodes,
        corrupted,
        absent,
        rounds,
        groups=groups,
        committees=committees,
        alpha=alpha,
        alpha_per_region=alpha_per_region,
    )
    if plot is not None:
        from pnyx.node.enrolment import check_writable, replace_file
        from pnyx.report.security_figure import security_figure

        check_writable(plot)
        replace_file(plot, security_figure(assessment).encode())
    if as_json:
        print_json(figures(assessment))
        return
    for sentence in explain(assessment):
        typer.echo(sentence)
