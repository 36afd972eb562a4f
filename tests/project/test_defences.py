"""What is said to fail without its defence does: the source is changed in a copy, and a test run.

Some tests take a defence away themselves, and see the attack succeed. Here the honest half of each
must fail, so that a change that loses a defence is noticed. The full count runs them all.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.defences import REMOVED, Removed

ROOT = Path(__file__).parents[2]
APART = {  # docs/threat-model.md says why
    "test_checkers.py",
    "test_masked_coefficients_open_an_entry.py",
    "test_masked_rounds.py",
    "test_robust_rule_skipped.py",
    "test_secrets_reused_after_restart.py",
    "test_verified_rounds.py",
}
COPIED = ("src", "tests", "benchmarks", "pyproject.toml")
TESTS_FAILED = 1  # pytest's exit status; others say that it could not run them


@pytest.mark.parametrize("removed", REMOVED, ids=lambda removed: removed.attack)
def test_the_defence_is_where_it_is_said_to_be(removed: Removed) -> None:
    source = (ROOT / removed.file).read_text()
    assert [source.count(old) for old, _ in removed.changes] == [1] * len(removed.changes)
    file, _, name = removed.test.partition("::")
    text = (ROOT / file).read_text()
    assert not name or f"def {name}(" in text


def test_each_attack_on_masked_updates_has_its_defence() -> None:
    text = (ROOT / "docs/threat-model.md").read_text()
    _, _, table = text.partition("### Masked updates, row by row")
    named = set(re.findall(r"test_\w+\.py", table.partition("\n### ")[0]))
    named.discard("test_defences.py")
    assert named - APART == {removed.test.partition("::")[0].split("/")[-1] for removed in REMOVED}


def copied(folder: Path, removed: Removed) -> None:
    """A copy of this project without the defence. Compiled functions are taken along."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy2(source, folder / name)
    changed = folder / removed.file
    text = changed.read_text()
    for old, new in removed.changes:
        text = text.replace(old, new)
    changed.write_text(text)


def run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a copy."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "not full",
        "-p",
        "no:cacheprovider",
    ]
    paths = os.pathsep.join((str(folder / "src"), str(folder)))
    return subprocess.run(
        [*command, test],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.full
@pytest.mark.parametrize("removed", REMOVED, ids=lambda removed: removed.attack)
def test_without_its_defence_an_attack_succeeds(removed: Removed, tmp_path: Path) -> None:
    copied(tmp_path, removed)
    found = run(tmp_path, removed.test)
    assert found.returncode == TESTS_FAILED, found.stdout[-4000:] + found.stderr[-4000:]


@pytest.mark.full
def test_with_all_defences_nothing_fails(tmp_path: Path) -> None:
    """So what fails above fails for the change, and not for the copy."""
    removed = REMOVED[0]
    copied(tmp_path, removed._replace(new=removed.old, more=()))
    found = run(tmp_path, removed.test)
    assert found.returncode == 0, found.stdout[-4000:]
