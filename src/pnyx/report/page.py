"""A report as one HTML page that needs nothing else: no script, no image, no request.

What others wrote cannot act. The template escapes every text, control characters are taken out
before, and a content policy lets the page run nothing and load nothing, apart from its own style
sheet, which it names by hash.
"""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pnyx.report import charts, words
from pnyx.report.record import StudyReport

_LISTED_MAX = 200  # columns named one by one
_SEATS_MAX = 128  # members drawn one by one


def render(report: StudyReport) -> str:
    """Write a report as HTML."""
    style = resources.files("pnyx.report").joinpath("templates", "style.css").read_text("utf-8")
    committee = report.assessment.committee
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            style=Markup(style),  # noqa: S704  (our own file)
            style_hash=_hash(style),
            charts=charts,
            words=words,
            curve=charts.curve(report.rounds, report.models),
            owners=charts.owners(report.owners),
            spreads=charts.spreads(report.owners),
            happenings=list(words.happenings(report)),
            seats=committee if committee.size <= _SEATS_MAX else None,
            listed_max=_LISTED_MAX,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pnyx.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "odds": words.odds,
        "counted": words.counted,
        "size": words.size,
        "number": words.number,
        "date": words.date,
        "cost": words.cost,
        "seconds": words.seconds,
    }
    return environment


def _finalize(value: Any) -> Any:
    """Make text of others printable; figures of the drawings get two decimals."""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, str) and not isinstance(value, Markup):
        return words.printable(value)
    return value


def _hash(style: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
