"""The command line: it parses, calls, and prints.

Data go to stdout, messages to stderr. Exit status: 0 done, 1 refused with one sentence that says
what to do, 2 not understood, 130 interrupted by Ctrl-C or SIGTERM. Each group of commands has its
own module, which imports what it needs inside its functions, so that `pnyx --help` starts at once.
"""

import os
import signal
import sys
from typing import Annotated

import typer

from pnyx.cli import authority, consent, data, demo, node, report, security, simulate, study, use
from pnyx.cli.common import plain
from pnyx.errors import Interrupted, PnyxError

__all__ = ["main"]

_INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended

app = typer.Typer(
    name="pnyx",
    help="Train a model together, from node to node, while everyone's data stay at home.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try: pnyx demo",
)
app.command("demo")(demo.demo)
app.command("use")(use.use)
app.command("security")(security.security)
app.command("simulate")(simulate.simulate)
app.add_typer(node.app, name="node")
app.add_typer(data.app, name="data")
app.add_typer(consent.app, name="consent")
study.app.command("report")(report.report)
app.add_typer(study.app, name="study")
app.add_typer(authority.app, name="authority")


def _show_version(wanted: bool) -> None:
    if wanted:
        from pnyx import __version__

        typer.echo(f"pnyx {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


def main() -> int:
    """Run the command line of this process; return the exit status."""
    # As Ctrl-C: what a command has begun is undone, and its own processes end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            app(prog_name="pnyx")
        finally:
            sys.stdout.flush()
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            _refuse("Interrupted; no file is left half-written, so give the same command again.")
        raise
    except PnyxError as error:
        status = _refuse(str(error))
        return _INTERRUPTED if isinstance(error, Interrupted) else status
    except OSError as error:
        # Whatever knows more about a file has worded its own error; this is mostly a full disk.
        where = f" ({error.filename})" if error.filename else ""
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  (what is unwritten stays so)
        return _refuse(
            f"The operating system refused{where}: {error.strerror}; free some space or check your "
            "permissions, then try again."
        )
    return 0


def _refuse(sentence: str) -> int:
    """Write one line, whatever others' names and texts in the sentence hold."""
    sys.stderr.write(f"pnyx: {plain(' '.join(sentence.split()))}\n")
    return 1
