"""`pnyx use`: a study's model applied to one's own data."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import Directory, Json, complete_study, layout_of, print_json, print_table, say

if TYPE_CHECKING:
    from pnyx.node.control import Predictions


def use(
    study: Annotated[
        str,
        typer.Argument(
            help="First digits of the study's id, as `pnyx study list` shows it.",
            autocompletion=complete_study,
        ),
    ],
    directory: Directory,
    category: Annotated[
        str, typer.Option(help="Rows to apply the model to; the study's category if not given.")
    ] = "",
    shared: Annotated[
        bool, typer.Option("--shared", help="Take the shared model as it is, not fine-tuned.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(readable=False, help="Write one prediction a row to this new CSV file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Apply a study's model to your own data; nothing leaves the node, which must be running.

    The model is first fine-tuned on your labelled rows of the study's category, if you have any.
    Example: pnyx use 4f19 --category activity.unlabelled --out predictions.csv
    """
    from pnyx.errors import ConfigError
    from pnyx.node.control import USE_TIMEOUT_S, Predictions, Use, call
    from pnyx.node.enrolment import check_writable

    if out is not None:
        if out.exists():
            raise ConfigError(f"{out} exists already; name a new file.")
        check_writable(out)
    request = Use(study, category, not shared)
    found = call(layout_of(directory), request, Predictions, timeout_s=USE_TIMEOUT_S)
    rows = len(found.classes) or len(found.numbers)
    if out is not None:
        _write(out, found)
        say(f"Wrote {rows} predictions to {out}, in the order of your rows.")
    if as_json:
        print_json(found)
        return
    if found.numbers:
        _print_numbers(found.numbers)
    else:
        counts = Counter(found.classes)
        print_table(
            ("CLASS", "ROWS"), [(_name(found, each), str(counts[each])) for each in sorted(counts)]
        )
    tuned = "fine-tuned on your rows" if found.fine_tuned else "as it was shared"
    say(f"{rows} rows of {found.category}, by the model {tuned}{_agreement(found)}.")


def _print_numbers(numbers: Sequence[float]) -> None:
    from statistics import median

    shown = (min(numbers), median(numbers), max(numbers))
    print_table(("SMALLEST", "MEDIAN", "LARGEST"), [[f"{each:.6g}" for each in shown]])


def _agreement(found: "Predictions") -> str:
    if found.right is not None:
        return f"; {found.right} of {len(found.classes)} agree with their label"
    if found.mean_difference is not None:
        return f"; they differ from their labels by {found.mean_difference:.4g} on average"
    return ""


def _name(found: "Predictions", index: int) -> str:
    return found.names[index] if index < len(found.names) else str(index)


def _write(path: Path, found: "Predictions") -> None:
    import csv
    import io

    from pnyx.node.enrolment import replace_file

    text = io.StringIO()
    writer = csv.writer(text)
    if found.numbers:
        writer.writerow(["row", "number"])
        writer.writerows(enumerate(found.numbers, 1))
    else:
        writer.writerow(["row", "class"])
        writer.writerows((row, _name(found, each)) for row, each in enumerate(found.classes, 1))
    replace_file(path, text.getvalue().encode())
