"""The documents agree with the program, and the check that says so is awake."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main

from pnyx import cli
from pnyx.vault.importers.mapping import ColumnMapping, ImportMapping, read_mapping

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_docs", ROOT / "tools" / "check_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documents_agree_with_the_program(check):
    assert check.problems() == []


def test_the_mapping_that_is_explained_is_one(tmp_path):
    page = (ROOT / "docs" / "mapping.md").read_text()
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "energy.toml").write_text(toml)
    mapping = read_mapping(tmp_path / "energy.toml")
    used, weekday, at_home = mapping.target_columns()
    assert (used.name, weekday.type, at_home.classes) == ("used", "int", ("no", "yes"))
    keys = {f"columns.NAME.{name}" for name in ColumnMapping.__struct_fields__}
    keys |= set(ImportMapping.__struct_fields__) - {"columns"}
    assert all(f"| `{key}` |" in page for key in keys)


def test_broken_links_are_found(check, tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A heading, *marked* `so`\n\n```\n# no heading\n```\n")
    text = (
        "# Here\n[a](other.md) [b](other.md#a-heading-marked-so) [c](#here) [d](https://x.org)\n"
        "[e](gone.md) [f](other.md#no-heading) [g](#there)\n`[h](in-code.md)`\n"
        "```\n[i](in-a-fence.md)\n```\n"
    )
    page.write_text(text)
    found = list(check.broken_links(page, text))
    assert [each.split(":")[0] for each in found] == [
        "link to gone.md",
        "link to other.md#no-heading",
        "link to #there",
    ]


def test_missing_paths_are_found(check):
    text = "`src/pnyx/errors.py` `tests/*` `docs/adr/` `src/pnyx/gone.py` `a src/gone.py`"
    assert list(check.missing_paths(text)) == ["`src/pnyx/gone.py` does not exist"]


def test_what_no_document_mentions_is_found(check):
    docs = "`listen.port` pnyx demo `Vote`"
    found = set(check.undocumented(docs, {"demo", "node run"}))
    assert "setting consent.rules.action is not documented" in found
    assert "record NodeRecord is not documented" in found
    assert "command pnyx node run is not documented" in found
    for documented in ("setting listen.port", "command pnyx demo", "record Vote"):
        assert f"{documented} is not documented" not in found


def test_commands_that_do_not_exist_are_found(check):
    known = set(check.commands(typer.main.get_command(cli.app)))
    text = "`pnyx demo --json`\n```sh\npnyx node run\npnyx node fly\n```\n`pnyx security` `pnyx go`"
    assert sorted(check.unknown_commands(text, known)) == [
        "pnyx go is not a command",
        "pnyx node fly is not a command",
    ]
