"""A report's figures in words: numbers with their units, and sentences."""

import datetime as dt
import math
from collections.abc import Iterator

from pnyx.node.control import PhaseSummary
from pnyx.protocol.selection import Assessment, exposure_probability
from pnyx.protocol.selection.assessment import in_words
from pnyx.protocol.selection.tails import head_count
from pnyx.report.record import Round, StudyReport

MODELS = {
    "alone": "alone",
    "shared": "shared",
    "personalised": "fine-tuned at home",
}
STEPS = {
    "open": "members publish keys made for this round alone",
    "close": "owners train at home and hand out their shares; the list is closed",
    "challenge": "a random challenge is made, and answered on the shares",
    "accept": "what passed the test is fixed",
    "release": "the sum is opened, and every share erased",
    "certify": "the record is signed",
}
PHASES = {
    "statistics": "count means and deviations",
    "train": "train",
    "evaluate": "compare three models",
    "poll": "add up answers",
}
_CHANCE_MIN = 1e-12  # told as no less
_RISK_SHARES = (0.05, 0.10, 0.20)


def percent(share: float) -> str:
    """'88.9 %'."""
    return f"{100 * share:.1f} %"


def odds(chance: float) -> str:
    """A small chance, rounded up: '1 in 113'."""
    return f"1 in {math.floor(1 / max(chance, _CHANCE_MIN)):,}"


def counted(count: int, word: str) -> str:
    """'1 owner', '36 owners'."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def size(count: float) -> str:
    """Bytes in decimal units: '422 kB'."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"


def seconds(value: float) -> str:
    """Two decimals: '0.35'."""
    return f"{value:.2f}"


def number(value: float | None) -> str:
    """Four digits, or a dash for what is not known."""
    return "–" if value is None else f"{value:.4g}"


def date(unix_s: float) -> str:
    """'5 March 2026, 17:20 UTC'."""
    moment = dt.datetime.fromtimestamp(unix_s, dt.UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def cost(epsilon: float | None) -> str:
    """A privacy cost, or that there is no bound on it."""
    return "no bound" if epsilon is None else f"ε {epsilon:.3g}"


def printable(text: str) -> str:
    """Text of others without control characters, which could hide or turn around what follows."""
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "\ufffd"
        for character in text
    )


def state(report: StudyReport) -> str:
    """Where the study stands."""
    done = f"{len(report.rounds)} of {counted(report.rounds_planned, 'round')} certified"
    if report.finished:
        return f"finished: {done}"
    return f"running: {done}" if report.rounds else "collecting owners: no round is certified yet"


def in_short(report: StudyReport) -> Iterator[str]:
    """What a reader with half a minute should know."""
    skipped = sum(each.skipped for each in report.rounds)
    yield (
        f"{report.joined:,} of {report.nodes:,} owners lent their data without giving them away. "
        + (
            f"{counted(skipped, 'round')} of {len(report.rounds):,} had to be skipped. "
            * (skipped > 0)
        )
        + "No machine saw what a single owner contributed, as long as no committee held more than "
        f"{counted(report.assessment.committee.corrupt_max, 'corrupt member')}."
    )
    if (models := report.models) is not None:
        figures = (
            f"{percent(models.alone)} of the time, the model trained together "
            f"{percent(models.shared)}, and that model fine-tuned at home "
            f"{percent(models.personalised)}."
        )
        if report.scored:
            figures = figures.replace("of the time", "on average", 1)
        yield (
            "On rows that no model was trained on, an owner's model trained alone "
            f"{'scores' if report.scored else 'is right'} {figures} "
            f"{_verdict(models.personalised - models.alone, measure(report))}"
        )
    yield privacy(report)
    yield " ".join(troubles_short(report))


def measure(report: StudyReport) -> str:
    """What the figures of models are."""
    return "score" if report.scored else "accuracy"


def _verdict(gain: float, what: str) -> str:
    points = f"{100 * abs(gain):.1f} points"
    if abs(gain) < 0.0005:
        return "Taking part changed nothing for the average row."
    if gain > 0:
        return f"Taking part was worth {points} of {what}."
    return f"Training alone was better, by {points}."


def privacy(report: StudyReport) -> str:
    """What the published sums can reveal about one owner at most."""
    floor = min((phase.cohort_min for phase in report.phases), default=0)
    if not any(not each.skipped for each in report.rounds):
        ahead = (
            "the study adds no noise, so there will be no bound"
            if report.epsilon_planned is None
            else f"all of it will cost at most epsilon {report.epsilon_planned:.3g}"
        )
        return f"No sum is opened yet, so no privacy is spent; {ahead}."
    if report.epsilon_spent is None:
        return (
            "No noise was added: there is no bound on what the published sums reveal about one "
            f"owner. Each is over at least {floor:,} owners, which hides much and proves nothing."
        )
    return (
        f"Noise hides each owner in the published sums: epsilon {report.epsilon_spent:.3g} at "
        f"delta {report.delta:g} is spent, for an owner who contributed to every round, and less "
        "for others."
    )


def masked_updates(report: StudyReport) -> str:
    """Who checked updates that travelled masked; empty where none did."""
    masked = [phase for phase in report.phases if phase.masked]
    if not masked:
        return ""
    if all(phase.verified for phase in masked):
        return (
            "Updates travelled masked, and the committee verified the size of each before it "
            "counted. That is experimental: no outside cryptographer has reviewed it."
        )
    return (
        "Updates travelled masked, and nobody checked their size: one dishonest owner could have "
        "spoilt the model."
    )


def outcome(round_: Round) -> str:
    """What became of a round: which sums were opened, over how many, and came to something."""
    said = "skipped"
    spoiled = [str(group.number) for group in round_.groups if group.spoiled]
    if not round_.skipped:
        said = "opened" + ", but came to nothing" * bool(spoiled)
        if round_.groups_drawn > 1:
            owners = listed([str(group.owners) for group in round_.groups])
            said = (
                f"{len(round_.groups)} of {round_.groups_drawn} groups opened, over {owners} owners"
            )
            if spoiled:
                said += f"; of group {listed(spoiled)} nothing came"
    return said + ", second attempt" * (round_.attempt > 1)


def floor(phase: PhaseSummary) -> str:
    """Owners that a sum of a phase is over at least."""
    return f"{phase.cohort_min:,}" + f" in each of {phase.groups} groups" * (phase.groups > 1)


def robust_rules(report: StudyReport) -> str:
    """What is made of the sums of groups; empty where there are none."""
    said = [rule(phase.groups, phase.tolerated) for phase in report.phases if phase.groups > 1]
    return " ".join(dict.fromkeys(said))


def rule(groups: int, tolerated: int) -> str:
    """How the sums of several groups make a model."""
    if not tolerated:
        return f"The sums of {groups} groups are averaged: one poisoned group bends the model."
    return (
        f"The sums of {groups} groups make the model by a trimmed mean of mixed neighbours, which "
        f"bears {counted(tolerated, 'poisoned group')}."
    )


def listed(names: list[str]) -> str:
    """'5, 6 and 4'."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def troubles_short(report: StudyReport) -> Iterator[str]:
    """Who was named, in a sentence or two."""
    named = {each.node for each in report.culprits if each.evidence}
    if named:
        yield f"{counted(len(named), 'node')} broke a rule and {_was(len(named))} proven to have."
    if report.exclusions:
        excluded = len(report.exclusions)
        yield f"{counted(excluded, 'node')} {_was(excluded)} excluded, on evidence."
    if not named and not report.exclusions:
        yield "Nobody was proven to have broken a rule."
    if report.suspected:
        suspected = len(report.suspected)
        yield f"{counted(suspected, 'node')} {_was(suspected)} suspected, without proof."


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def happenings(report: StudyReport) -> Iterator[str]:
    """What went otherwise than planned, one sentence each."""
    if (staged := report.staged) is not None:
        if staged.killed:
            yield (
                f"{counted(staged.killed, 'node')} {_was(staged.killed)} killed in the middle of "
                "the study, without warning, and came back later. Rounds went on."
            )
        if staged.refused:
            yield (
                f"{counted(staged.refused, 'owner')} refused. Nothing left that owner's node but "
                "its help as a member of committees."
            )
    for each in report.rounds:
        if each.attempt > 1:
            yield (
                f"Round {each.number} took a second attempt. The first was aborted by certificate: "
                "nothing of it was ever opened, and what it cost was given back."
            )
        if each.skipped:
            why = (
                "too few contributions, or too few members"
                if each.attempt > 1
                else ("fewer contributions than the floor")
            )
            yield f"Round {each.number} was skipped: {why}. Nothing was opened; the model stayed."
    if (judged := report.judged) is not None:
        yield (
            "In every round exactly the contributions that passed their test were added up."
            if judged.verified
            else "Too few nodes confirm, for every round, that exactly the contributions that "
            "passed their test were added up."
        )
        if judged.rejected or judged.left_out:
            undecided = f", and {judged.left_out:,} could not be decided" * (judged.left_out > 0)
            yield f"{counted(judged.rejected, 'contribution')} failed the test{undecided}."


def compared(report: StudyReport) -> int:
    """Owners whose counts are in the certified comparison of models."""
    found = [each for each in report.rounds if each.kind == "evaluate" and not each.skipped]
    return found[-1].contributors if found else 0


def gains(report: StudyReport) -> str:
    """For how many owners taking part helped."""
    alone = [(each.models.personalised, each.models.alone) for each in report.owners]
    better = sum(mine > other for mine, other in alone)
    worse = sum(mine < other for mine, other in alone)
    return (
        "Fine-tuning the shared model at home beats training alone for "
        f"{counted(better, 'owner')}, is as good for {len(alone) - better - worse:,}, and is worse "
        f"for {worse:,}."
    )


def committee(assessment: Assessment) -> Iterator[str]:
    """Who computed, and how many colluders are tolerated."""
    a, c = assessment, assessment.committee
    yield (
        f"In each round a new committee of {c.size:,} of the {a.nodes:,} nodes was drawn by lot. "
        "Nobody chose it: the draw follows from a random number that the committee before made "
        "together, and that nobody could foresee or bend."
    )
    begin, everything = c.corrupt_max + 1, c.corrupt_max + c.packing
    beyond = f"{begin:,} together begin to learn, " if begin < everything else ""
    yield (
        "A member holds one share of a contribution, which by itself is random numbers. Up to "
        f"{c.corrupt_max:,} of them may pool what they hold and still learn nothing about anyone; "
        f"{beyond}{everything:,} together read everything."
    )
    yield (
        f"{c.quorum:,} members must sign before a decision counts, and {c.absent_max:,} may be "
        f"away while up to {c.corrupt_max:,} lie."
    )


def residual(assessment: Assessment) -> str:
    """The risk that is left, under the planned number of corrupt nodes."""
    a = assessment
    met = (
        f"That meets the aim of {in_words(a.alpha)}."
        if a.alpha_met
        else f"That misses the aim of {in_words(a.alpha)}: whether it is good enough is each "
        "owner's decision."
    )
    return (
        f"Suppose that {counted(a.corrupted, 'node')} of the {a.nodes:,} obeyed one attacker. The "
        f"chance that some committee of this study held more than {a.committee.corrupt_max:,} of "
        f"them, and so could have read contributions, is {in_words(a.exposure_probability)}. {met}"
    )


def risks(assessment: Assessment) -> list[tuple[int, str, str]]:
    """(corrupt nodes, chance in one round, chance in the study) for a few numbers of them."""
    a = assessment
    wanted = {
        a.committee.corrupt_max,
        a.corrupted,
        a.corrupted_tolerated,
        a.corrupted_tolerated + 1,
    }
    wanted |= {head_count(share, a.nodes) for share in _RISK_SHARES}
    return [
        (
            corrupt,
            in_words(exposure_probability(a.nodes, corrupt, a.committee, 1)),
            in_words(exposure_probability(a.nodes, corrupt, a.committee, a.rounds)),
        )
        for corrupt in sorted(wanted)
        if 1 <= corrupt <= a.nodes
    ]
