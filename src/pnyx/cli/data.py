"""`pnyx data`: the owner's data, and what left because of it.

The vault is open in one process at a time: stop the node before importing, and start it again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import (
    Directory,
    Json,
    KeyFileOption,
    Keyring,
    is_running,
    layout_of,
    moment,
    now_s,
    open_vault,
    print_json,
    print_rows,
    print_table,
    say,
)

if TYPE_CHECKING:
    from pnyx.vault import CollectionSummary

app = typer.Typer(no_args_is_help=True, help="Import, look at and export the owner's data.")

_MEGABYTE = 1024 * 1024
_ROWS_SHOWN = 10


@app.command("import")
def import_data(
    file: Annotated[Path, typer.Argument(readable=False, help="A .csv or .parquet file.")],
    mapping: Annotated[
        Path, typer.Option(readable=False, help="TOML file that says what the columns mean.")
    ],
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """Import a file into the vault, all or nothing; importing it twice adds nothing.

    Example: pnyx data import windows.csv --mapping activity.toml
    """
    from pnyx.config import read_config
    from pnyx.vault.importers import ImportLimits, import_file, read_mapping

    limits = read_config(layout_of(directory).config).limits
    read = read_mapping(mapping)
    with open_vault(directory, key_file, keyring) as vault:
        report = import_file(
            vault.collections,
            file,
            read,
            now_s(),
            ImportLimits(
                file_bytes_max=limits.import_file_mb_max * _MEGABYTE,
                rows_max=limits.import_rows_max,
            ),
        )
    if as_json:
        print_json(report)
    say(f"Added {report.rows_added} of {report.rows_read} rows to {report.category}.")


@app.command()
def example(
    directory: Annotated[
        Path, typer.Argument(readable=False, help="New directory for the two files.")
    ],
    person: Annotated[int, typer.Option(min=1, max=36, help="Whose data, of 36 people.")] = 1,
) -> None:
    """Write example data to import: a person's phone movements as CSV, and a mapping for them.

    They come from the WISDM study, whose terms are written beside them.
    Example: pnyx data example samples --person 3
    """
    from pnyx.demo.activity import write_example

    for path in write_example(directory, person):
        say(f"Wrote {path}.")
    say(f"Try: pnyx data import {directory / 'windows.csv'} --mapping {directory / 'mapping.toml'}")


@app.command("list")
def list_data(
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """List the categories of data in the vault.

    Example: pnyx data list
    """
    with open_vault(directory, key_file, keyring) as vault:
        found = vault.collections.list()
    if as_json:
        print_json([_figures(summary) for summary in found])
        return
    rows = [(s.category, str(s.rows), str(len(s.columns)), str(len(s.sources))) for s in found]
    print_table(("CATEGORY", "ROWS", "COLUMNS", "FILES"), rows)


@app.command()
def show(
    category: Annotated[str, typer.Argument(help="A category, as `pnyx data list` shows it.")],
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """Show the columns of a category and the files it came from; never its values.

    Example: pnyx data show activity.windows
    """
    with open_vault(directory, key_file, keyring) as vault:
        summary = vault.collections.show(category)
    if as_json:
        print_json(_figures(summary))
        return
    print_table(
        ("COLUMN", "TYPE", "CLASSES"),
        [(column.name, column.type, ", ".join(column.classes)) for column in summary.columns],
    )
    typer.echo()
    print_table(
        ("FILE", "ROWS ADDED", "OF", "IMPORTED"),
        [
            (part.file.name, str(part.rows_added), str(part.rows_read), moment(part.imported_at))
            for part in summary.sources
        ],
    )


@app.command()
def export(
    category: Annotated[str, typer.Argument(help="A category, as `pnyx data list` shows it.")],
    file: Annotated[
        Path, typer.Argument(readable=False, help="New CSV file that only you can read.")
    ],
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Write a category to a CSV file.

    Example: pnyx data export activity.windows windows.csv
    """
    with open_vault(directory, key_file, keyring) as vault:
        rows = vault.collections.export(category, file)
    say(f"Wrote {rows} rows to {file}, unencrypted: delete it when you no longer need it.")


@app.command()
def query(
    file: Annotated[
        Path, typer.Argument(readable=False, help="A file with one SELECT from the table data.")
    ],
    category: Annotated[str, typer.Option(help="A category, as `pnyx data list` shows it.")],
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """Run a study's query on your own data, to see what it gives; the node must be stopped.

    Example: pnyx data query features.sql --category activity.windows
    """
    import asyncio

    from pnyx.config import read_config
    from pnyx.node.enrolment import read_file
    from pnyx.node.queries import first_rows, run_query
    from pnyx.query.compile import read_query
    from pnyx.query.grammar import TEXT_BYTES_MAX

    text = read_file(file, TEXT_BYTES_MAX, "The query").decode(errors="replace")
    checked = read_query(text)
    sandbox = read_config(layout_of(directory).config).node.sandbox
    with open_vault(directory, key_file, keyring) as vault:
        columns = vault.collections.columns(category, checked.reads)
    found = asyncio.run(run_query(checked, columns, outputs=checked.outputs, sandbox=sandbox))
    first = first_rows(found, _ROWS_SHOWN)
    if as_json:
        print_json({"rows": len(found.features), "columns": checked.outputs, "first": first})
        return
    print_rows(checked.outputs, first, len(found.features))


@app.command()
def ledger(
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """List everything that left this node, whether it runs or not.

    Example: pnyx data ledger
    """
    from pnyx.node.control import Ledger, LedgerLine, call

    if is_running(directory):
        lines = call(layout_of(directory), Ledger(), list[LedgerLine])
    else:
        from pnyx.node.answers import ledger_lines

        with open_vault(directory, key_file, keyring) as vault:
            lines = ledger_lines(vault)
    if as_json:
        print_json(lines)
        return
    print_table(
        ("TIME", "STUDY", "ROUND", "KIND", "BYTES", "PRIVACY COST", "STATE"),
        [
            (
                moment(line.at),
                line.study[:12],
                str(line.round_number),
                line.phase,
                str(line.bytes_planned),
                "no bound" if line.epsilon is None else f"{line.epsilon:.3g}",
                line.state,
            )
            for line in lines
        ],
    )


def _figures(summary: "CollectionSummary") -> dict[str, object]:
    return {
        "category": summary.category,
        "rows": summary.rows,
        "columns": [
            {"name": column.name, "type": column.type, "classes": column.classes}
            for column in summary.columns
        ],
        "sources": [
            {
                "file": part.file.name,
                "sha256": part.file.digest.hex(),
                "rows_read": part.rows_read,
                "rows_added": part.rows_added,
                "imported_at": part.imported_at,
            }
            for part in summary.sources
        ],
    }
