"""What a report of a study holds: figures and identifiers, no sentences but notes.

Accuracies are shares from 0 to 1 of held-out rows, which no model was trained on. Identifiers are
hexadecimal. Titles, purposes and names of columns come from others: `page` escapes all text.
"""

from typing import Literal

import msgspec

from pnyx.node.control import ColumnSummary, PhaseSummary
from pnyx.protocol.selection import Assessment


class Made(msgspec.Struct, frozen=True):
    """By what and when a report was made; `revision` is empty outside a source tree."""

    version: str
    revision: str
    at: float  # unix seconds


class Models(msgspec.Struct, frozen=True):
    """Accuracy of three models on the same held-out rows, of one owner or of all together."""

    alone: float
    shared: float
    personalised: float
    held_out: int


class Owner(msgspec.Struct, frozen=True):
    """One owner's accuracies, by a short name."""

    name: str
    models: Models


class Group(msgspec.Struct, frozen=True):
    """A group of contributors whose sum was opened; spoiled if it came to nothing."""

    number: int  # from 1
    owners: int
    spoiled: bool


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One certified round.

    accuracy: of the shared model before the round, on the held-out rows of its contributors; None
    where no such counts were published. attempt: 2 after the first was aborted. groups: those whose
    sums were opened; groups_drawn: into how many the contributors fell.
    """

    number: int
    kind: str
    contributors: int
    accuracy: float | None
    skipped: bool
    attempt: int
    groups: tuple[Group, ...] = ()
    groups_drawn: int = 1


class Poll(msgspec.Struct, frozen=True):
    """What one round of a poll published: the sum of the answers, by column."""

    round_number: int
    owners: int
    ballot: str  # choice, approval, ranking or nothing
    sums: tuple[tuple[str, float], ...]


class Exclusion(msgspec.Struct, frozen=True):
    """A node that certified records draw no more, from the round after this one."""

    node: str
    round_number: int


class Culprit(msgspec.Struct, frozen=True):
    """A node that broke a rule. evidence: hash of what proves it to anybody, empty if only seen.

    witnesses: honest nodes known to say so, at least.
    """

    node: str
    rule: str
    evidence: str
    witnesses: int


class Suspected(msgspec.Struct, frozen=True):
    """A node that was in groups that came to nothing more often than chance explains: no proof.

    spoiled: rounds in which its group did; troubled: those in which any did, and it counted.
    chance: the most with which any innocent contributor of the study would look so.
    """

    node: str
    spoiled: int
    troubled: int
    chance: float


class Corrupted(msgspec.Struct, frozen=True):
    """A node that the demonstration corrupted: how it misbehaved, how often, what came of it."""

    name: str
    node: str
    behaviour: str
    misbehaved: int
    outcome: Literal["proven", "named", "tolerated", "no occasion"]


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """What a demonstration did to its own nodes."""

    killed: int
    refused: int
    corrupted: tuple[Corrupted, ...]


class Judged(msgspec.Struct, frozen=True):
    """What committees made of contributions, as far as honest nodes agree."""

    verified: bool  # in every round exactly the contributions that passed were summed
    rejected: int
    left_out: int


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a round takes, in the median: bytes that one node sends, seconds, and where they go.

    steps: seconds by step of the committee, in order. cpu_seconds: of all nodes together.
    """

    bytes_sent: float
    seconds: float | None
    cpu_seconds: float | None
    memory_mb: float
    steps: tuple[tuple[str, float], ...]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What left this owner's own node for the study, by its ledger."""

    contributions: int
    bytes_planned: int
    aborted: int  # of them: never opened


class StudyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A study from beginning to end, as one reader can know it.

    whose: all owners' accuracies are known in a demonstration only; a node knows its own; a bundle
    alone tells none. The notes say why something is absent.
    """

    made: Made
    whose: Literal["all", "own", "none"]
    network: str
    nodes: int  # enrolled
    study: str
    title: str
    purpose: str
    purpose_term: str
    category: str
    columns: tuple[str, ...]
    label: str
    scored: bool = False  # the models predict numbers: accuracies are average scores
    proposer: str
    phases: tuple[PhaseSummary, ...]
    rounds_planned: int
    joined: int  # owners
    rounds: tuple[Round, ...]
    finished: bool
    models: Models | None  # certified sums of the evaluation
    models_noisy: bool
    model_hash: str
    owners: tuple[Owner, ...] = ()
    owners_note: str
    statistics: tuple[ColumnSummary, ...] = ()
    polls: tuple[Poll, ...] = ()
    cost: Cost | None = None
    cost_note: str
    sent: Sent | None = None
    assessment: Assessment
    epsilon_spent: float | None  # None: without bound
    epsilon_planned: float | None
    delta: float
    exclusions: tuple[Exclusion, ...] = ()
    culprits: tuple[Culprit, ...] = ()
    suspected: tuple[Suspected, ...] = ()
    judged: Judged | None = None
    staged: Staged | None = None
    troubles_note: str
    commands: tuple[str, ...]  # that verify it
    verify_note: str
