"""`pnyx study report`: a study as a page to read, to print and to pass on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import Directory, Json, layout_of, now_s, print_json, say

if TYPE_CHECKING:
    from pnyx.report import StudyReport


def report(
    directory: Directory,
    out: Annotated[Path, typer.Option(readable=False, help="The HTML file to write.")],
    study: Annotated[
        str, typer.Argument(help="First digits of the study's id; leave it out with --bundle.")
    ] = "",
    bundle: Annotated[
        Path | None,
        typer.Option(readable=False, help="Report from this bundle alone, without a node."),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(readable=False, help="The network file that --bundle is checked against."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a report of a study: one HTML page that needs nothing else.

    Example: pnyx study report 4f19 --out report.html
    """
    from pnyx.errors import ConfigError
    from pnyx.node.enrolment import check_writable, replace_file
    from pnyx.report import render

    check_writable(out)
    if bundle is not None and network is not None and not study:
        found = _from_file(bundle, network)
    elif study and bundle is None and network is None:
        found = _from_node(directory, study)
    else:
        raise ConfigError("Name a study of your node, or give both --bundle and --network.")
    replace_file(out, render(found).encode())
    if as_json:
        print_json(found)
    say(f"Wrote the report to {out}.")


def _from_file(bundle: Path, network: Path) -> "StudyReport":
    from pnyx.node.bundle import BUNDLE_BYTES_MAX
    from pnyx.node.enrolment import read_file

    return _verified(read_file(bundle, BUNDLE_BYTES_MAX, "The bundle"), network, str(bundle))


def _from_node(directory: Path, study: str) -> "StudyReport":
    from pnyx.config import read_config
    from pnyx.node.control import (
        Export,
        ExportedBundle,
        Ledger,
        LedgerLine,
        Result,
        StudyResult,
        call,
    )
    from pnyx.report import with_own

    layout = layout_of(directory)
    result = call(layout, Result(study), StudyResult)
    content = call(layout, Export(result.summary.study), ExportedBundle).content
    ledger = call(layout, Ledger(), list[LedgerLine])
    network = layout.root / read_config(layout.config).node.network
    return with_own(_verified(content, network, "The node's bundle"), result, ledger)


def _verified(content: bytes, network: Path, name: str) -> "StudyReport":
    """Report what a bundle proves. Raises PnyxError when it proves nothing."""
    from pnyx.errors import PnyxError
    from pnyx.node.bundle import read_bundle
    from pnyx.node.enrolment import verifying_crypto
    from pnyx.node.network import read_network
    from pnyx.report import from_bundle, made_now

    crypto = verifying_crypto()
    known = read_network(network, crypto, now=0)  # a proof outlives its census
    try:
        return from_bundle(read_bundle(content), known, crypto, made_now(now_s()))
    except PnyxError as error:
        raise PnyxError(
            f"{name} proves nothing ({str(error).rstrip('.')}); no report is written."
        ) from error
