"""The tutorials do what they say: every block of commands and code in them is run, in order."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "tutorials"
ORDER = ("two-terminals.md", "bring-your-model.md", "your-data.md")
TIMEOUT_S = 500
LINES_TO_A_RUNNING_STUDY = 30


def blocks(name: str) -> list[tuple[str, str]]:
    """Language and text of the fenced blocks of a tutorial."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(r"^```(sh|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def script(base: int) -> str:
    """One shell script of all tutorials; python blocks of one page are one program."""
    parts = ["set -euo pipefail"]
    for name in ORDER:
        found = blocks(name)
        assert found, f"{name} has no blocks"
        program = "".join(text for language, text in found if language == "python")
        parts.append(f"echo '=== {name}'")
        parts += [text for language, text in found if language == "sh"]
        if program:
            parts.append(f"{sys.executable} - <<'PROGRAM'\n{program}PROGRAM\n")
    return "\n".join(parts).replace("740$n", f"{base // 10}$n")


def test_every_command_and_all_code_of_the_tutorials_works(tmp_path: Path) -> None:
    base = 20_000 + os.getpid() % 1_200 * 10  # below the ports that systems hand out themselves
    (tmp_path / "tutorial.sh").write_text(script(base))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with (tmp_path / "output").open("w") as output:
        run = subprocess.Popen(
            ["bash", "tutorial.sh"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = run.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    said = (tmp_path / "output").read_text()
    assert status == 0, said[-3000:]
    assert "every record is genuine" in said
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) > 50


def test_a_model_of_ones_own_takes_few_lines() -> None:
    (_, first), *_ = blocks("bring-your-model.md")
    assert len([line for line in first.splitlines() if line.strip()]) < LINES_TO_A_RUNNING_STUDY


@pytest.mark.parametrize("name", ORDER)
def test_tutorials_are_linked_from_the_readme(name: str) -> None:
    assert f"docs/tutorials/{name}" in (DOCS.parents[1] / "README.md").read_text()
