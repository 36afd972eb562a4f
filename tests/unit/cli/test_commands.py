"""The commands as a whole: help, start-up, exit status, and what may not reach a terminal."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from pnyx.cli import app
from pnyx.cli.common import plain
from pnyx.cli.consent import _terms
from pnyx.cli.study import _outcome
from pnyx.node.control import PhaseSummary, RoundSummary, StudySummary

HEAVY = (
    *("numpy", "torch", "cryptography", "pyarrow", "sqlcipher3", "asyncio", "msgspec", "nacl"),
    *("duckdb", "sqlglot", "jinja2"),
)
runner = CliRunner()


def commands() -> list[tuple[str, object]]:
    """Every command with its words, groups left out."""
    found = []

    def walk(words: str, command) -> None:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(f"{words} {name}", inner)
        else:
            found.append((words, command))

    walk("pnyx", typer.main.get_command(app))
    return found


@pytest.mark.parametrize(("words", "command"), commands(), ids=[words for words, _ in commands()])
def test_every_command_explains_itself_and_gives_an_example(words, command) -> None:
    help_text = " ".join((command.help or "").split())
    assert f"Example: {words}" in help_text
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{words} does not explain {parameter.name}"


def test_secrets_are_no_options() -> None:
    names = {parameter.name for _, command in commands() for parameter in command.params}
    assert not {name for name in names if "pass" in name or "secret" in name}


def test_help_starts_without_heavy_imports() -> None:
    code = f"import sys, pnyx.cli\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["nonsense"], ["node", "run", "--nonsense"], ["data"]])
def test_what_is_not_understood_exits_with_2(arguments) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def test_version_is_printed() -> None:
    from pnyx import __version__

    assert runner.invoke(app, ["--version"]).output == f"pnyx {__version__}\n"


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    assert plain("a\x1b[2Jb\n\u202ec\u2028é") == "a\ufffd[2Jb\ufffd\ufffdc\ufffdé"


def summary(**changes) -> StudySummary:
    terms = {
        "study": "4f" * 32,
        "title": "What?",
        "purpose": "To know.",
        "purpose_term": "dpv:ResearchAndDevelopment",
        "category": "activity.windows",
        "columns": ("x", "y"),
        "label": "activity",
        "cohort_min": 16,
        "phases": (
            PhaseSummary(
                kind="statistics", rounds=1, cohort_min=16, epsilon=None, ballot="", masked=False
            ),
            PhaseSummary(
                kind="poll", rounds=20, cohort_min=20, epsilon=None, ballot="ranking", masked=False
            ),
        ),
        "reads": ("x", "y", "activity"),
        "query": "",
        "epsilon": None,
        "proposer": "ab" * 32,
        "rounds": 21,
        "rounds_certified": 0,
        "finished": False,
        "decision": "asks",
        "decided_by": "nobody",
        "contributions": 0,
    }
    return StudySummary(**{**terms, **changes})


def test_consent_screen_says_what_matters() -> None:
    text = "\n".join(_terms(summary(title="\x1b[31mred")))
    assert "\x1b" not in text
    for expected in ("To know.", "ab" * 32, "x, y", "activity", "fewer than 16", "adds no noise"):
        assert expected in text
    for expected in (
        "one round to count means and deviations over 16 owners or more",
        "then 20 rounds to vote by ranking over 20 owners or more",
        "reads means and deviations of columns, the sums of all answers\n",
    ):
        assert expected in text
    assert "model and" not in text
    assert "epsilon 4.6 at delta 1e-6" in "\n".join(_terms(summary(epsilon=4.6)))
    assert "class" not in "\n".join(_terms(summary(label="")))
    for expected in ("every node", "21 rounds", "cannot forget", "your rows never leave"):
        assert expected in text


def test_consent_screen_shows_the_query_and_all_that_it_reads() -> None:
    query = "SELECT x + y AS sum,\n  z AS class\x1b[2J FROM data"
    asked = summary(query=query, reads=("x", "y", "z"), columns=("sum",), label="class")
    text = "\n".join(_terms(asked))
    assert "activity.windows: x, y, z\n" in text
    assert "SELECT x + y AS sum,\n" in text
    assert "z AS class\ufffd[2J FROM data" in text
    assert "Made of it   sum; class: class" in text
    assert "consent preview 4f4f" in text


def test_consent_screen_says_that_a_query_cannot_be_run() -> None:
    text = "\n".join(_terms(summary(query="DROP TABLE data", reads=())))
    assert "cannot be run here" in text
    assert "DROP TABLE data" in text


@pytest.mark.parametrize(
    ("kind", "metrics", "skipped", "expected"),
    [
        ("train", (50, 200, 800), False, "before it 25.0%"),
        ("evaluate", (1, 2, 3, 4), False, "alone 25.0%, shared 50.0%, fine-tuned at home 75.0%"),
        ("train", (), True, "skipped"),
        ("train", (0, 0, 0), False, "no result"),
        ("evaluate", (1, 2), False, "no result"),
        ("statistics", (1, 2), False, "means and deviations"),
        ("poll", (3, 0, 4), False, "sums 3 0 4"),
    ],
)
def test_sums_of_a_round_are_worded(kind, metrics, skipped, expected) -> None:
    assert expected in _outcome(RoundSummary(1, kind, 5, metrics, skipped, 1))


def test_sums_with_noise_are_worded_in_votes() -> None:
    assert _outcome(RoundSummary(1, "poll", 5, (96, -8, 100), False, 32)) == "sums 3 -0.25 3.125"
