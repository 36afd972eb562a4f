"""Checks that the documents agree with the repository: `python tools/check_docs.py`.

Fails, with one line each, when

- a relative link or an anchor in a Markdown file leads nowhere;
- a path in backticks, such as `src/...` or `tests/...`, does not exist;
- `docs/` does not mention a setting of a node, a command, or a record of the protocol;
- a document names a command that does not exist.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec.inspect
import typer.main

from pnyx import cli, config
from pnyx.protocol import messages

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("docs", "src", "tests", "benchmarks", "tools")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?\)")
CODE = re.compile(r"`([^`\n]+)`")
REPOSITORY_PATH = re.compile(r"(?:src|tests|docs|tools|benchmarks)/[\w./*-]+")
COMMAND = re.compile(r"(?:^|`)(?:\.venv/bin/)?pnyx((?: [a-z][a-z-]*)+)", re.MULTILINE)


def markdown_files() -> list[Path]:
    """Every Markdown file of the repository."""
    nested = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))
    return sorted([*ROOT.glob("*.md"), *nested])


def anchors(text: str) -> set[str]:
    """Names under which the headings of a document can be linked to, made as GitHub does."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    shown = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in shown}


def broken_links(path: Path, text: str) -> Iterator[str]:
    """Links of one document that lead nowhere in the repository."""
    for target in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            yield f"link to {target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            yield f"link to {target}: no such heading"


def missing_paths(text: str) -> Iterator[str]:
    """Paths in backticks that do not exist; `*` stands for anything."""
    for quoted in CODE.findall(FENCE.sub("", text)):
        if REPOSITORY_PATH.fullmatch(quoted) and not any(ROOT.glob(quoted.rstrip("/"))):
            yield f"`{quoted}` does not exist"


def settings(record: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings of a record, and of the records in its lists."""
    for field in record.fields:
        name = f"{prefix}{field.encode_name}"
        inner = getattr(field.type, "item_type", field.type)
        if isinstance(inner, msgspec.inspect.StructType):
            yield from settings(inner, f"{name}.")
        else:
            yield name


def commands(command: Any, name: str = "") -> Iterator[str]:
    """Names of a command and of all below it: '', 'demo', 'node', 'node run', ..."""
    yield name
    for inner, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {inner}".strip())


def undocumented(docs: str, known_commands: set[str]) -> Iterator[str]:
    """Settings, commands and protocol records that no document mentions."""
    for name in settings(msgspec.inspect.type_info(config.NodeConfig)):
        if f"`{name}`" not in docs:
            yield f"setting {name} is not documented"
    for name in sorted(known_commands):
        if f"pnyx {name}".strip() not in docs:
            yield f"command pnyx {name} is not documented"
    for name, kind in vars(messages).items():
        own = hasattr(kind, "__struct_fields__") and kind.__module__ == messages.__name__
        if own and not re.search(rf"`{name}\b", docs):
            yield f"record {name} is not documented"


def unknown_commands(text: str, known_commands: set[str]) -> Iterator[str]:
    """Commands in a document that the program does not have."""
    groups = {name.split()[0] for name in known_commands if " " in name}
    for written in COMMAND.findall(text):
        words = written.split()
        name = " ".join(words[:2] if words[0] in groups else words[:1])
        if name not in known_commands:
            yield f"pnyx {name} is not a command"


def problems() -> list[str]:
    """Everything that is wrong, one line each."""
    known = set(commands(typer.main.get_command(cli.app)))
    found: list[str] = []
    for path in markdown_files():
        text = path.read_text()
        wrong = [*broken_links(path, text), *missing_paths(text), *unknown_commands(text, known)]
        found += [f"{path.relative_to(ROOT)}: {each}" for each in wrong]
    docs = "\n".join(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))
    return found + [f"docs: {each}" for each in undocumented(docs, known)]


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
