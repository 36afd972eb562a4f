"""The commands as a whole: help, start-up, exit status, and what may not reach a terminal."""

import json
import subprocess
import sys

import pytest
import typer
from rich.cells import chop_cells
from typer.testing import CliRunner

from pnyx.cli import app
from pnyx.cli.common import plain
from pnyx.cli.consent import _terms
from pnyx.cli.study import _outcome
from pnyx.errors import ConsentError
from pnyx.node.control import Decide, PhaseSummary, Predictions, RoundSummary, StudySummary

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


@pytest.mark.parametrize("digits", ["4f19", "4", ""])
def test_no_study_is_accepted_that_was_not_shown(monkeypatch, tmp_path, digits) -> None:
    """One that comes while the owner reads, or a moment after the list was asked for."""
    shown, later = "4f19" + "0" * 60, "4f19" + "1" * 60
    decided = []

    def call(_layout, request, _kind):
        if isinstance(request, Decide):
            decided.append(request.study)
            return summary(study=request.study)
        return [] if digits == "4" else [summary(study=shown), summary(study="a" * 64)]

    monkeypatch.setattr("pnyx.node.control.call", call)
    monkeypatch.setattr("pnyx.cli.consent.check_terminal", lambda *_words: None)
    run = runner.invoke(app, ["consent", "accept", digits, "--dir", str(tmp_path)], input="y\n")
    assert later not in decided
    if digits == "4f19":
        assert (run.exit_code, decided) == (0, [shown])
        assert "Do you accept?" in run.stderr
    else:
        assert isinstance(run.exception, ConsentError)
        assert decided == []


def test_predicted_numbers_are_summed_up_and_written(monkeypatch, tmp_path) -> None:
    numbers = (3.0, -1.25, 10.0)
    found = Predictions(
        category="c", classes=(), names=(), right=None, numbers=numbers, mean_difference=0.5,
        fine_tuned=False,
    )  # fmt: skip
    monkeypatch.setattr("pnyx.node.control.call", lambda *_asked, **_limits: found)
    out = tmp_path / "out.csv"
    shown = runner.invoke(app, ["use", "4f19", "--dir", str(tmp_path), "--out", str(out)])
    assert "-1.25     3       10" in shown.stdout
    assert (
        "3 rows of c, by the model as it was shared; they differ from their labels by 0.5 on"
        in (shown.stderr)
    )
    assert out.read_text().splitlines() == ["row,number", "1,3.0", "2,-1.25", "3,10.0"]


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


def test_consent_screen_tells_groups_and_how_many_may_be_poisoned() -> None:
    terms = {"kind": "train", "rounds": 20, "cohort_min": 16, "epsilon": 2.5, "ballot": ""}
    for changes, expected in (
        (
            {"groups": 4},
            "to train in 4 groups (averaged), each over 16 owners or more (epsilon 2.5)",
        ),
        (
            {"groups": 7, "tolerated": 2},
            "in 7 groups (by a trimmed mean that bears 2 poisoned), each over 16",
        ),
    ):
        phases = (PhaseSummary(**terms, masked=False, **changes),)
        assert expected in "\n".join(_terms(summary(phases=phases)))


@pytest.mark.parametrize(
    ("masked", "verified", "said"),
    [
        (False, False, "(no noise)"),
        (True, False, "(no noise, updates masked: nobody checks their size)"),
        (True, True, "(no noise, updates masked, and their size verified: experimental)"),
    ],
)
def test_consent_screen_says_who_checks_masked_updates(masked, verified, said) -> None:
    phase = PhaseSummary(
        kind="train",
        rounds=3,
        cohort_min=16,
        epsilon=None,
        ballot="",
        masked=masked,
        verified=verified,
    )
    assert said in "\n".join(_terms(summary(phases=(phase,))))


def test_consent_screen_shows_the_query_and_all_that_it_reads() -> None:
    query = "SELECT x + y AS sum,\n  z AS class\x1b[2J FROM data"
    asked = summary(query=query, reads=("x", "y", "z"), columns=("sum",), label="class")
    text = "\n".join(_terms(asked))
    assert "activity.windows: x, y, z\n" in text
    assert "SELECT x + y AS sum,\n" in text
    assert "z AS class\ufffd[2J FROM data" in text
    assert "Made of it   sum; class: class" in text
    assert "consent preview 4f4f" in text


BLANKS = {
    "spaces": " ",
    "wide fillers": "\u3164",
    "blank letters": "\u2800",
    "line breaks": "\n",
    "ideographic spaces": "\u3000",
}


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_texts_of_others_never_stand_where_the_screen_speaks(monkeypatch, blank, columns) -> None:
    """A terminal breaks long lines, and what follows would look like a line of our own."""
    monkeypatch.setenv("COLUMNS", columns)
    for count in range(20, 70):
        forged = BLANKS[blank] * count + "  Privacy cost epsilon 0.01"
        asked = summary(
            title=f"Walks{forged}", purpose=f"Research{forged}", category=f"c{forged}",
            query=f"SELECT x{forged}", columns=(f"x{forged}",), label=f"z{forged}",
        )  # fmt: skip
        lines = [line for line in _terms(asked) if "epsilon" in line or "rivacy" in line]
        seen = [
            part
            for line in lines
            for part in chop_cells(line, int(columns))  # as the terminal shows them
        ]
        own = [part for part in seen if part.startswith("  Privacy cost")]
        assert len(own) == 1
        assert "no bound" in own[0] or int(columns) < 80
        assert not [part for part in seen if part.lstrip().startswith("Privacy cost")
                    and part not in own and len(part) - len(part.lstrip()) < 15]  # fmt: skip


def test_letters_that_look_like_nothing_are_shown() -> None:
    assert plain("a\u3164\u2800\u1160b c") == "a\ufffd\ufffd\ufffdb c"


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


CHECKED = """
title = "T"
purpose = "P"
purpose_term = "dpv:ResearchAndDevelopment"
category = "a.b"
columns = ["a", "b"]
label = "c"
cohort_min = 32
join_window_s = 600.0
model = {{ hidden = [64], classes = 6 }}
privacy = {{ noise_multiplier = 0 }}
phases = [
    {{ kind = "train", rounds = 2, target = 320, drawn = 800, groups = 8, {terms} }},
    {{ kind = "evaluate", rounds = 1, target = 40, drawn = 50 }},
]
"""


@pytest.mark.parametrize(
    ("terms", "updates", "cut"),
    [
        ("masked = false", "secret shares to the committee", None),
        ("masked = true", "masked, 6.91 kB from each contributor", None),
        (
            "verified = true",
            "masked and verified (experimental), 3.46 kB from each contributor",
            "phases[0]: a single entry of an update is cut at 12.4% of training.clip_norm",
        ),
    ],
)
def test_check_says_how_updates_travel_and_to_what_they_are_cut(
    tmp_path, terms, updates, cut
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(CHECKED.format(terms=terms))
    told = runner.invoke(app, ["study", "check", str(file)]).output
    [train] = [line for line in told.splitlines() if line.startswith("train")]
    assert "32 in each of 8 groups" in train
    assert train.rstrip().endswith(updates)
    assert ("is cut at" in told) == (cut is not None)
    assert (cut or "") in told


def test_check_says_for_which_networks_a_study_is_too_long(tmp_path) -> None:
    """In one line, which a study for all networks lacks."""
    file = tmp_path / "study.toml"
    text = CHECKED.replace("cohort_min = 32", "cohort_min = 2").replace("[64]", "[2217]")
    text = text.replace("320, drawn = 800, groups = 8", "{target}, drawn = 40, groups = 4")
    text = text.replace("target = 40", "target = 18")
    for target, told in ((18, True), (31, False)):
        file.write_text(text.format(terms="masked = false", target=target))
        output = runner.invoke(app, ["study", "check", str(file)]).output
        lines = [line for line in output.splitlines() if line.startswith("Not for networks of 30")]
        assert len(lines) == told, output
        as_json = runner.invoke(app, ["study", "check", str(file), "--json"]).output
        assert json.loads(as_json)["unfit_networks"] == ([30] if told else [])
