"""One command makes every table of docs/evaluation.md: scenarios, benchmarks, then the tables."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks.evaluation import __main__ as tables
from benchmarks.evaluation import cells
from benchmarks.evaluation.cells import Line

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / tables.DOCUMENT).read_text()
SCENARIOS = {path.stem for path in (ROOT / "scenarios").glob("*.toml")}


@pytest.fixture(scope="module")
def steps() -> str:
    """What `make evaluation` would do, had nothing been done."""
    command = ["make", "--dry-run", "--always-make", "evaluation"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_one_command_runs_scenarios_then_benchmarks_then_writes_the_tables(steps: str) -> None:
    scenarios = steps.index("pnyx simulate $scenario --out evaluation/$name || exit 1")
    benchmarks = [found.start() for found in re.finditer(r"-m benchmarks \w+ ", steps)]
    written = steps.index("-m benchmarks.evaluation\n")
    assert scenarios < min(benchmarks)
    assert max(benchmarks) < written
    assert set(re.findall(r" scenarios/([\w-]+)\.toml", steps)) == SCENARIOS


def test_the_document_lists_every_scenario_and_benchmark_that_is_run(steps: str) -> None:
    listed = DOCUMENT.split("| section |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    second = " ".join(line.split(" | ")[1] for line in listed)
    names = set(re.findall(r"`([\w-]+)`", second))
    assert names == SCENARIOS | set(re.findall(r"-m benchmarks (\w+) ", steps))


@pytest.mark.parametrize("name", re.findall(r"^<!-- table: (\S+) -->", DOCUMENT, re.MULTILINE))
def test_a_table_is_made_of_what_the_command_leaves(
    name: str, steps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table reads a scenario that there is, or a benchmark that is run."""
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    monkeypatch.setattr(cells, "OUTPUT", tmp_path)
    lines: Callable[[], Iterator[Line]] = tables.TABLES[name]
    with pytest.raises(FileNotFoundError) as missing:
        list(lines())
    [(folder, file)] = re.findall(r"([\w-]+)/([\w-]+\.(?:parquet|json))", str(missing.value))
    if file == "results.parquet":
        assert folder in SCENARIOS
    else:
        assert f"-m benchmarks {file.removesuffix('.json')} " in steps


def test_no_table_reads_a_scenario_that_there_is_not() -> None:
    """Those read after the first, which the test above does not reach."""
    sources = (ROOT / "benchmarks" / "evaluation").glob("*.py")
    text = "".join(path.read_text() for path in sources)
    read = set(re.findall(r'rows_of\("([\w-]+)"', text))
    assert read
    assert read <= SCENARIOS
