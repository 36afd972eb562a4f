"""The architecture is what the documents say: layers, docstrings, and commands that run."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "pnyx").rglob("*.py"))
SCRIPTS = Path(sys.executable).parent


def run(*arguments):
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_imports_point_one_way():
    outcome = run(SCRIPTS / "lint-imports", "--no-cache")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_every_module_explains_itself():
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_error_hierarchy_is_the_one_drawn():
    """`errors.py` draws its classes; a class that is not drawn would surprise a reader."""
    from pnyx import errors

    drawn = set(re.findall(r"\b([A-Z]\w+)\b", errors.__doc__))
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert classes <= drawn


@pytest.mark.parametrize("package", ["protocol", "primitives"])
def test_pure_layers_load_nothing_heavy(package):
    heavy = "{'torch', 'pyarrow', 'sqlcipher3', 'asyncio', 'ssl'}"
    modules = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if path.is_relative_to(ROOT / "src" / "pnyx" / package)
    ]
    program = f"import sys, {', '.join(modules)}; print(sorted({heavy} & set(sys.modules)))"
    outcome = run(sys.executable, "-c", program)
    assert (outcome.stdout.strip(), outcome.stderr) == ("[]", "")


def readme_commands():
    """Commands of the README that are cheap enough to run in a test."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line[:2] in (["pnyx", "--help"], ["pnyx", "security"])]


def test_readme_names_the_commands():
    assert ["pnyx", "--help"] in readme_commands()
    assert ["pnyx", "security", "--nodes", "36", "--json"] in readme_commands()


@pytest.mark.parametrize("command", readme_commands(), ids=" ".join)
def test_readme_command_runs(command):
    outcome = run(SCRIPTS / command[0], *command[1:])
    assert outcome.returncode == 0, outcome.stderr
    if "--json" in command:
        assert json.loads(outcome.stdout)["committee"]["size"] == 24


def test_threat_model_figures_are_those_of_the_program():
    """docs/threat-model.md states committee sizes and risks; the program computes them."""
    from pnyx.protocol.selection import assess, exposure_probability

    text = (ROOT / "docs" / "threat-model.md").read_text()
    small = assess(36, rounds=22).committee
    assert f"*k* = {small.size}, *f* = {small.corrupt_max}, *l* = {small.packing}" in text
    for corrupted, shown in re.findall(r"^\| (\d) \| (0\.\d+) \|", text, re.MULTILINE):
        exposed = exposure_probability(36, int(corrupted), small, 1)
        assert shown == f"{exposed:.2f}"
    rows = re.findall(
        r"^\| ([\d,]{3,}) \| [\d,]+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", text, re.MULTILINE
    )
    assert len(rows) == 4
    for nodes, *sizes in rows:
        chosen = assess(int(nodes.replace(",", ""))).committee
        shown = [chosen.size, chosen.corrupt_max, chosen.packing, chosen.quorum]
        assert shown == [int(size) for size in sizes]


def test_every_attack_is_in_the_threat_model():
    text = (ROOT / "docs" / "threat-model.md").read_text()
    attacks = {path.name for path in (ROOT / "tests" / "adversarial").glob("test_*.py")}
    named = set(re.findall(r"`(test_\w+\.py)`", text))
    assert attacks == named, "add the attack to docs/threat-model.md, or take it out"
