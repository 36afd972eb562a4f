"""`pnyx consent`: the owner's decisions. Nothing leaves the node without one."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pnyx.cli.common import (
    Directory,
    Json,
    KeyFileOption,
    Keyring,
    Yes,
    check_terminal,
    complete_study,
    interruptible_prompt,
    is_running,
    layout_of,
    now_s,
    open_vault,
    plain,
    print_json,
    print_rows,
    print_table,
    say,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pnyx.node.control import PhaseSummary, StudySummary
    from pnyx.vault import Consent

app = typer.Typer(no_args_is_help=True, help="Decide which studies may use your data.")

_INDENT = 15  # where words stand on the consent screen, behind their labels
_WIDTH_MAX = 100
_WORDS_WIDTH_MIN = 20

StudyArgument = Annotated[
    str,
    typer.Argument(
        help="First digits of the study's id, as `pnyx consent list` shows it.",
        autocompletion=complete_study,
    ),
]


@app.command("list")
def list_decisions(
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """List the studies that ask, and your decisions; of a stopped node only the latter.

    Example: pnyx consent list
    """
    from pnyx.node.control import Studies, StudySummary, call

    if is_running(directory):
        found = call(layout_of(directory), Studies(), list[StudySummary])
        rows = [_row(s.study, s.decision, s.decided_by, s.category, s.title) for s in found]
    else:
        with open_vault(directory, key_file, keyring) as vault:
            rows = [
                _row(c.study.hex(), c.decision, c.decided_by, ", ".join(c.categories), c.purpose)
                for c in vault.consents.current()
            ]
    if as_json:
        print_json(rows)
        return
    headings = ("STUDY", "DECISION", "BY", "CATEGORY", "TITLE")
    print_table(headings, [(row["study"][:12], *list(row.values())[1:]) for row in rows])


def _row(study: str, decision: str, by: str, category: str, title: str) -> dict[str, str]:
    return {
        "study": study,
        "decision": decision,
        "decided_by": by,
        "category": plain(category),
        "title": plain(title),
    }


@app.command()
def preview(study: StudyArgument, directory: Directory, as_json: Json = False) -> None:
    """Show the rows that a study would use of your data; nothing leaves the node.

    Example: pnyx consent preview 4f19
    """
    from pnyx.node.control import Preview, StudyPreview, call

    found = call(layout_of(directory), Preview(study), StudyPreview)
    if as_json:
        print_json(found)
        return
    print_rows(found.columns, found.first, found.rows)


@app.command()
def accept(study: StudyArgument, directory: Directory, yes: Yes = False) -> None:
    """Read what a study asks, and accept it; the node must be running.

    Example: pnyx consent accept 4f19
    """
    from pnyx.errors import ConsentError
    from pnyx.node.control import Studies, StudySummary, call

    known = call(layout_of(directory), Studies(), list[StudySummary])
    found = [each for each in known if study and each.study.startswith(study)]
    if not found:
        raise ConsentError(
            f"Study {study} is not known here; `pnyx consent list` shows those that are."
        )
    if len(found) > 1:
        raise ConsentError(f"Several studies begin with {study}; give more digits.")
    (asked,) = found
    if not yes:
        check_terminal("whether you accept", "add --yes")
        for line in _terms(asked):
            say(line)
        with interruptible_prompt():
            accepted = typer.confirm("Do you accept?", default=False, err=True)
        if not accepted:
            raise ConsentError("Nothing was decided; `pnyx consent decline` says no for good.")
    # By its whole id: another one that begins with these digits may have come in the meantime.
    _decide(directory, asked.study, "accept")


@app.command()
def decline(study: StudyArgument, directory: Directory) -> None:
    """Decline a study; the node must be running.

    Example: pnyx consent decline 4f19
    """
    _decide(directory, study, "decline")


@app.command()
def withdraw(
    study: StudyArgument,
    directory: Directory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Withdraw an acceptance: nothing more leaves for the study, whether the node runs or not.

    What has left stays in the sums and in the model. Example: pnyx consent withdraw 4f19
    """
    if is_running(directory):
        _decide(directory, study, "withdraw")
        return
    with open_vault(directory, key_file, keyring) as vault:
        consent = _one(vault.consents.current(), study)
        vault.withdraw(consent.study, now_s())
    say(f"Withdrew from {consent.study.hex()[:12]}.")


@app.command()
def policy(
    directory: Directory,
    add: Annotated[
        Literal["accept", "ask", "decline"] | None,
        typer.Option(help="Add a rule with this answer, after those there are."),
    ] = None,
    purpose: Annotated[
        list[str] | None,
        typer.Option(help="Term of the Data Privacy Vocabulary it is for; any when not given."),
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Data category it is for; any when not given.")
    ] = None,
    epsilon_max: Annotated[
        float | None,
        typer.Option(min=0, help="Accept up to this privacy cost, or ask or decline above it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the standing answers of this node's settings, or add one.

    Example: pnyx consent policy --add accept --category activity.windows --epsilon-max 2
    """
    from pnyx.config import ConsentRule, read_config
    from pnyx.errors import ConfigError
    from pnyx.node.enrolment import add_consent_rule

    layout = layout_of(directory)
    if add is not None:
        limit = float("inf") if epsilon_max is None else epsilon_max
        rule = ConsentRule(
            action=add,
            purposes=tuple(purpose or ()),
            categories=tuple(category or ()),
            epsilon_max=limit,
        )
        found = add_consent_rule(layout.config, rule)
        say("Added; it holds once the node is started again. The first rule that applies decides.")
    elif purpose or category or epsilon_max is not None:
        raise ConfigError(
            "--purpose, --category and --epsilon-max describe a rule to add; give --add, too."
        )
    else:
        found = read_config(layout.config).consent
    if as_json:
        print_json(found)
        return
    print_table(
        ("RULE", "ANSWER", "PURPOSES", "CATEGORIES", "PRIVACY COST"),
        [
            (
                str(number),
                rule.action,
                ", ".join(rule.purposes) or "any",
                ", ".join(rule.categories) or "any",
                f"{'up to' if rule.action == 'accept' else 'above'} {rule.epsilon_max:g}"
                if rule.epsilon_max < float("inf")
                else "any",
            )
            for number, rule in enumerate(found.rules, 1)
        ]
        + [("otherwise", found.default, "any", "any", "any")],
    )
    say(f"To change or remove one, edit [consent] in {layout.config} and start the node again.")


def _decide(
    directory: "Path", study: str, decision: Literal["accept", "decline", "withdraw"]
) -> None:
    from pnyx.node.control import Decide, StudySummary, call

    done = call(layout_of(directory), Decide(study, decision), StudySummary)
    say(f"{plain(done.title)} ({done.study[:12]}): {done.decision}.")


def _one(consents: "tuple[Consent, ...]", digits: str) -> "Consent":
    from pnyx.errors import ConsentError

    found = [consent for consent in consents if consent.study.hex().startswith(digits)]
    if len(found) != 1:
        raise ConsentError(
            f"{len(found)} studies with a decision begin with '{digits}'; "
            "see `pnyx consent list` for their ids."
        )
    return found[0]


def _told(label: str, text: str) -> list[str]:
    """A line of the screen whose words are others', or several.

    None begins where labels stand: long texts would else go on there, as if we had said it. Rows of
    blanks, which only serve to bring that about, become one.
    """
    import shutil
    import textwrap

    from rich.cells import chop_cells

    width = max(_WORDS_WIDTH_MIN, min(shutil.get_terminal_size().columns, _WIDTH_MAX) - _INDENT - 1)
    indent = "" if label else " " * (len(text) - len(text.lstrip(" ")))  # of a query's line
    lines = [
        part
        for line in textwrap.wrap(indent + " ".join(plain(text).split()), width)
        for part in chop_cells(line, width)
    ] or [""]
    heads = [f"  {label:<{_INDENT - 2}}", *[" " * _INDENT] * (len(lines) - 1)]
    return [head + line for head, line in zip(heads, lines, strict=True)]


def _reads(study: "StudySummary") -> str:
    """Every column of the collection that the study reads."""
    if not study.reads:
        return "its query cannot be run here, so it reads nothing"
    columns = ", ".join(name for name in study.reads if study.query or name != study.label)
    return f"{columns}{'' if study.query else _class(study)}"


def _query(study: "StudySummary") -> list[str]:
    """What the study makes of the columns before anything else, word for word."""
    if not study.query:
        return []
    words = [part for line in study.query.strip().splitlines() for part in _told("", line)]
    return [
        "  Query        runs on your node, and only its result is used:",
        *words,
        *_told("Made of it", f"{', '.join(study.columns)}{_class(study)}"),
    ]


def _class(study: "StudySummary") -> str:
    if not study.label:
        return ""
    return f"; {'to predict' if study.scored else 'class'}: {study.label}"


def _rounds(count: int) -> str:
    return "one round" if count == 1 else f"{count} rounds"


def _phase(phase: "PhaseSummary") -> str:
    vote = f" by {phase.ballot}" if phase.ballot else ""
    cost = "no noise" if phase.epsilon is None else f"epsilon {phase.epsilon:.3g}"
    unchecked = ", updates masked: nobody checks their size" if phase.masked else ""
    owners = f"over {phase.cohort_min} owners or more"
    if phase.groups > 1:
        robust = "averaged"
        if phase.tolerated:
            robust = f"by a trimmed mean that bears {phase.tolerated} poisoned"
        owners = f"in {phase.groups} groups ({robust}), each {owners}"
    if phase.verified:
        unchecked = ", updates masked, and their size verified: experimental"
    return (
        f"{_rounds(phase.rounds)} to {_PHASE_VERBS[phase.kind]}{vote} {owners} ({cost}{unchecked})"
    )


_PHASE_VERBS = {
    "statistics": "count means and deviations",
    "train": "train",
    "evaluate": "evaluate",
    "poll": "vote",
}


_PUBLISHED = {
    "statistics": "means and deviations of columns",
    "train": "the resulting model",
    "evaluate": "its accuracy",
    "poll": "the sums of all answers",
}


def _results(study: "StudySummary") -> str:
    kinds = dict.fromkeys(phase.kind for phase in study.phases)
    return ", ".join(_PUBLISHED[kind] for kind in kinds)


def _cost(study: "StudySummary") -> str:
    if study.epsilon is None:
        return "no bound can be stated: this study adds no noise to its sums"
    return f"epsilon {study.epsilon:.3g} at delta 1e-6, if your node takes part in every round"


def _terms(study: "StudySummary") -> list[str]:
    """What an owner must know before saying yes."""
    return [
        *_told("Study", study.title),
        *_told("Purpose", f"{study.purpose} ({study.purpose_term})"),
        f"  Who asks     node {study.proposer}",
        f"  Who gets it  every node of the network reads {_results(study)}",
        *_told("Data", f"{study.category}: {_reads(study)}"),
        *_query(study),
        "  What leaves  in each round in which your node is drawn, secret shares of one update",
        "               of the model or of a few counts; your rows never leave",
        f"  Your rows    `pnyx consent preview {study.study[:12]}` shows what it would use",
        f"  Phases       {', then '.join(_phase(phase) for phase in study.phases)}",
        f"  With whom    no sum over fewer than {study.cohort_min} owners is opened",
        "  Who computes a committee of nodes drawn by lot; `pnyx security` states the risk",
        f"  Privacy cost {_cost(study)}",
        f"  Duration     {_rounds(study.rounds)}; your acceptance lasts a year at most",
        "  Withdrawing  stops what is still to come; a model cannot forget what it was given",
    ]
