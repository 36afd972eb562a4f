"""Options that several commands share, and how they print.

A secret is taken from a hidden prompt, from PNYX_PASSPHRASE, or from a key file; it is never an
option's value, which other users of the machine could read in the list of processes.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from pnyx.node.keystore import NodeLayout, Unlocking
    from pnyx.vault import Vault

_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # Hangul fillers, an empty braille cell
PASSPHRASE_VARIABLE = "PNYX_PASSPHRASE"  # noqa: S105  (a name, not a secret)


def _data_directory() -> Path:
    from platformdirs import user_data_path

    return user_data_path("pnyx")


def _node_directory() -> Path:
    return _data_directory() / "node"


def _authority_directory() -> Path:
    return _data_directory() / "authority"


# Paths are declared readable=False: whether a file can be read is found out by reading it, and said
# in one sentence by who does.
Directory = Annotated[
    Path,
    typer.Option(
        "--dir",
        "-d",
        envvar="PNYX_DIR",
        default_factory=_node_directory,
        show_default="your data directory",
        help="The node's directory.",
        readable=False,
    ),
]
AuthorityDirectory = Annotated[
    Path,
    typer.Option(
        "--dir",
        "-d",
        default_factory=_authority_directory,
        show_default="your data directory",
        help="The authority's directory.",
        readable=False,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="PNYX_KEY_FILE",
        help="Unlock with this file instead of a passphrase; for unattended test networks.",
        readable=False,
    ),
]
Keyring = Annotated[
    bool, typer.Option("--keyring", help="Unlock with the operating system's keyring.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def complete_study(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids and titles of the studies that the running node knows, for the shell's completion."""
    from pnyx.errors import PnyxError
    from pnyx.node.control import Studies, StudySummary, call

    directory = context.params.get("directory") or _node_directory()
    try:
        found = call(layout_of(Path(directory)), Studies(), list[StudySummary])
    except PnyxError:  # no node runs: nothing to propose
        return []
    return [(s.study[:12], plain(s.title)) for s in found if s.study.startswith(incomplete)]


def layout_of(directory: Path) -> "NodeLayout":
    """Name the files of a directory."""
    from pnyx.node.keystore import NodeLayout

    return NodeLayout(directory.expanduser().absolute())


def unlocking(key_file: Path | None, keyring: bool, *, new: bool = False) -> "Unlocking":
    """Choose how keys are unlocked; new: ask for the passphrase twice. Raises KeystoreError."""
    from pnyx.node.keystore import KeyFile, Passphrase, SystemKeyring

    if key_file is not None and keyring:
        raise ConfigError("Give either --key-file or --keyring, not both.")
    if key_file is not None:
        return KeyFile(key_file.expanduser())
    if keyring:
        return SystemKeyring()
    text = os.environ.get(PASSPHRASE_VARIABLE)
    if text is None:
        text = _ask_passphrase(new)
    return Passphrase(text)


def _ask_passphrase(new: bool) -> str:
    check_terminal("for the passphrase", f"set {PASSPHRASE_VARIABLE}, or give --key-file")
    with interruptible_prompt():
        text: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    return text


def check_terminal(question: str, otherwise: str) -> None:
    """Refuse to ask where nobody can answer. Raises ConfigError with what to do otherwise."""
    if not sys.stdin.isatty():
        raise ConfigError(f"There is no terminal to ask {question}; {otherwise}.")


@contextmanager
def interruptible_prompt() -> Iterator[None]:
    """Turn Ctrl-C or Ctrl-D at a prompt into Interrupted."""
    try:
        yield
    except typer.Abort as error:
        raise Interrupted("Interrupted; nothing was changed, so give the command again.") from error


@contextmanager
def open_vault(directory: Path, key_file: Path | None, keyring: bool) -> Iterator["Vault"]:
    """Open the vault of a node that is not running. Raises KeystoreError or VaultError."""
    from pnyx.config import read_config
    from pnyx.node.keystore import open_keys
    from pnyx.vault import Vault

    layout = layout_of(directory)
    config = read_config(layout.config)
    keys = open_keys(layout, unlocking(key_file, keyring))
    with Vault.open(
        layout.vault, keys.vault_key, epsilon_total_max=config.limits.epsilon_total_max
    ) as vault:
        yield vault


def is_running(directory: Path) -> bool:
    """Whether a process holds the directory's lock."""
    from pnyx.node.runner import is_locked

    return is_locked(layout_of(directory))


def say(message: str) -> None:
    """Print a message for a person, on stderr."""
    typer.echo(message, err=True)


def print_json(value: object) -> None:
    """Print a value as indented JSON on stdout."""
    import msgspec

    encoded = msgspec.json.encode(value, enc_hook=str)
    typer.echo(msgspec.json.format(encoded, indent=2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings on stdout, whole words even in a narrow pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: what others wrote is no markup
    console = Console()
    if console.is_terminal:
        console.print(table)
    else:
        Console(width=1000).print(table)


def print_rows(columns: Sequence[str], first: Sequence[Sequence[float | None]], rows: int) -> None:
    """Print the first of some rows of numbers on stdout, and how many there are."""
    print_table(
        [plain(name) for name in columns],
        [["-" if value is None else f"{value:.6g}" for value in row] for row in first],
    )
    say(f"{rows} rows; the first {len(first)} are shown." if rows else "There are no rows.")


def now_s() -> float:
    """Calendar time in unix seconds, for certificates, consents and the ledger."""
    import time

    return time.time_ns() / 1e9


def day(unix_s: float) -> str:
    """Word a date: '2026-01-31'."""
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()


def moment(unix_s: float) -> str:
    """Word a moment in this machine's time zone: '2026-01-31 17:20'."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def plain(text: str) -> str:
    """Make text that others wrote safe to print: no control character reaches the terminal.

    Nor do letters that look like blanks, of which terminals do not agree how wide they are.
    """
    return "".join(
        character if character.isprintable() and character not in _BLANK_LETTERS else "�"
        for character in text
    )
