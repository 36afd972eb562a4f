"""The report of a study: one self-contained HTML page for owners, and the record behind it.

- `record` says what a report holds. What its author cannot know is absent, and a note says why.
- `sources` fills it from a verified bundle, and from what a node tells its own owner.
- `page` writes it as HTML; `charts` computes where the marks of the figures stand.
"""

from pnyx.report.page import render
from pnyx.report.record import StudyReport
from pnyx.report.sources import from_bundle, made_now, with_own

__all__ = ["StudyReport", "from_bundle", "made_now", "render", "with_own"]
