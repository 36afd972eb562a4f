"""Reports of made-up studies, and a reader of the pages that they become."""

from html.parser import HTMLParser

from pnyx.node.control import ColumnSummary, PhaseSummary
from pnyx.protocol.selection import assess
from pnyx.report import StudyReport
from pnyx.report.record import Cost, Made, Models, Owner, Round

VOID = {"meta", "br", "hr", "img", "input", "link"}


def owner(number: int) -> Owner:
    """Accuracies that differ from owner to owner, between 50 % and 100 %."""
    shares = (0.5 + (number * step % 500) / 1000 for step in (37, 91, 53))
    return Owner(str(number), Models(*shares, 20 + number % 40))


def training(number: int, **changes) -> Round:
    """A round of training in which the model becomes better."""
    figures = {
        "number": number,
        "kind": "train",
        "contributors": 20 + number % 5,
        "accuracy": 1 - 0.7 / number,
        "skipped": False,
        "attempt": 1,
        **changes,
    }
    return Round(**figures)


def phase(kind: str, rounds: int, epsilon: float | None = None, ballot: str = "") -> PhaseSummary:
    return PhaseSummary(
        kind=kind, rounds=rounds, cohort_min=16, epsilon=epsilon, ballot=ballot, masked=False
    )


def sample(**changes) -> StudyReport:
    """A study of ten rounds of training that twelve owners finished."""
    figures = {
        "made": Made("0.1.0", "abc123", 1_700_000_000.0),
        "whose": "all",
        "network": "testers",
        "nodes": 36,
        "study": "4f" * 32,
        "title": "What are people doing?",
        "purpose": "Recognise activities.",
        "purpose_term": "dpv:ResearchAndDevelopment",
        "category": "activity.windows",
        "columns": ("x", "y"),
        "label": "activity",
        "proposer": "ab" * 32,
        "phases": (phase("statistics", 1), phase("train", 10), phase("evaluate", 1)),
        "rounds_planned": 12,
        "joined": 12,
        "rounds": (
            training(1, kind="statistics", accuracy=None),
            *(training(number) for number in range(2, 12)),
            training(12, kind="evaluate", accuracy=None, contributors=33),
        ),
        "finished": True,
        "models": Models(0.889, 0.829, 0.903, 1083),
        "models_noisy": False,
        "model_hash": "cd" * 32,
        "owners": tuple(owner(number) for number in range(1, 13)),
        "owners_note": "Said of the owners.",
        "statistics": (ColumnSummary("x", 12.0, 3.25, 0.5), ColumnSummary("y", 0.0, None, None)),
        "cost": Cost(
            bytes_sent=422_000,
            seconds=3.6,
            cpu_seconds=6.6,
            memory_mb=1800,
            steps=(("open", 0.4), ("close", 1.8)),
        ),
        "cost_note": "",
        "assessment": assess(36, rounds=13),
        "epsilon_spent": None,
        "epsilon_planned": None,
        "delta": 1e-6,
        "troubles_note": "",
        "commands": ("pnyx study result 4f4f", "pnyx study verify study.bundle"),
        "verify_note": "",
        **changes,
    }
    return StudyReport(**figures)


class Page(HTMLParser):
    """A page as a browser reads it; fails at a tag that is not closed, or closed twice."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.captions: dict[str, list[list[str]]] = {}  # caption of a table -> its rows
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), "an attribute is given twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        match tag:
            case "table":
                self._rows = [[""]]
            case "tr":
                self._rows.append([])
            case "td" | "th":
                self._rows[-1].append("")

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag
        if tag == "table":
            ((caption,), _, *rows) = self._rows
            self.captions[caption.strip()] = [[cell.strip() for cell in row] for row in rows]

    def handle_data(self, data) -> None:
        self.text.append(data)
        if "table" in self._open and self._open[-1] != "summary":
            self._rows[-1][-1:] = [self._rows[-1][-1] + data] if self._rows[-1] else []

    def table(self, beginning: str) -> list[list[str]]:
        """Rows of the one table whose caption begins so, without its headings."""
        (rows,) = [rows for name, rows in self.captions.items() if name.startswith(beginning)]
        return rows

    def shown(self) -> str:
        """All text, white space made one."""
        return " ".join("".join(self.text).split())
