"""The file in which a proposer writes a study: its tables, and a template to start from.

What fits together is for `study_phases` and `proposal` to say; here is what may be stated at all.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.learning.programs.audit import BATCH_SIZE_MAX
from pnyx.learning.programs.format import WIDTH_MAX
from pnyx.learning.task import (
    CLIP_NORM_MAX,
    EPOCHS_MAX,
    EXAMPLES_MAX,
    FRACTION_BITS_MAX,
    LEARNING_RATE_MAX,
    Standard,
)
from pnyx.learning.update import TRAIN_COUNTS
from pnyx.node.learning import PhaseKind
from pnyx.node.study_model import ModelTable
from pnyx.protocol.aggregation.robust import GROUPS_MAX
from pnyx.protocol.manifest import QUERY_CHARACTERS_MAX
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.vault.collections import CATEGORY_PATTERN

NOISE_MULTIPLIER = 5.0  # epsilon of about 5 for twenty rounds: docs/adr/0016
COUNT_MAX_WITH_NOISE = 64
VALUE_BITS_MAX = 24
RATE_MIN = 2.0**-20
SHARED_MAX = DEFAULT_PARAMS.vector_length_max - TRAIN_COUNTS  # longer updates are masked

_ShortText = Annotated[str, Meta(min_length=1, max_length=200)]
_Category = Annotated[str, Meta(max_length=200, pattern=CATEGORY_PATTERN)]
_Rate = Annotated[float, Meta(ge=RATE_MIN, le=LEARNING_RATE_MAX)]
_Epochs = Annotated[int, Meta(ge=1, le=EPOCHS_MAX)]
_Contributors = Annotated[int, Meta(ge=1, le=4096)]
_Floor = Annotated[int, Meta(ge=2, le=4096)]  # a sum over one is that one
_RangePair = Annotated[tuple[float, ...], Meta(min_length=2, max_length=2)]
_Seconds = Annotated[float, Meta(ge=0.1, le=7 * 86_400)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the file's tables."""


class TrainingTable(_Table, frozen=True, kw_only=True):
    """What every owner's worker does; see `learning.task.Hyperparameters`."""

    local_epochs: _Epochs = 3
    batch_size: Annotated[int, Meta(ge=1, le=BATCH_SIZE_MAX)] = 16
    learning_rate: _Rate = 0.3
    momentum: Annotated[float, Meta(ge=0, le=0.999)] = 0.0
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Meta(ge=RATE_MIN, le=CLIP_NORM_MAX)] = 2.0
    fraction_bits: Annotated[int, Meta(ge=0, le=FRACTION_BITS_MAX)] | None = None
    server_learning_rate: _Rate = 1.0
    fine_tune_epochs: _Epochs = 10
    fine_tune_learning_rate: _Rate = 0.2
    alone_epochs: _Epochs = 40
    alone_learning_rate: _Rate = 0.3
    standardise: Standard = "owner"


class PrivacyTable(_Table, frozen=True, kw_only=True):
    """Noise that every owner adds; see `protocol.privacy`.

    noise_multiplier: noise of the whole sum, relative to what one owner can move; 0 for none.
    honest_min: owners whose noise is relied upon, half of a phase's floor unless stated. count_max:
    rows that one owner counts for in published counts.
    """

    noise_multiplier: Annotated[float, Meta(ge=0, le=1000)] = NOISE_MULTIPLIER
    honest_min: _Contributors | None = None
    count_max: Annotated[int, Meta(ge=1, le=EXAMPLES_MAX)] | None = None


class BallotTable(_Table, frozen=True, kw_only=True):
    """A rule for the answers of a poll; see `protocol.aggregation.ballots`."""

    kind: Literal["choice", "approval", "ranking"]
    options: Annotated[int, Meta(ge=2, le=4096)]
    chosen_max: Annotated[int, Meta(ge=0, le=4096)] = 0


class RobustTable(_Table, frozen=True, kw_only=True):
    """How the sums of groups make a model; see `protocol.aggregation.robust`.

    tolerated: groups that may hold somebody who poisons them.
    """

    rule: Literal["mean", "trimmed"]
    tolerated: Annotated[int, Meta(ge=0, le=(GROUPS_MAX - 1) // 2)] = 0


PLAIN_MEAN = RobustTable(rule="mean")


class PhaseTable(_Table, frozen=True, kw_only=True):
    """A number of rounds of one kind; a round closes at `target` or at its deadline.

    cohort_min: the phase's own floor, else the study's. Of a poll: count_max is the largest answer
    in a column, ballot the rule that answers keep. Of training: masked tells whether updates travel
    masked to aggregators; unless stated, those do that are too long to be shared with a committee.
    value_bits: of each masked entry before noise, with its sign. groups: into how many a round's
    contributors fall; the floor and the noise are those of each. robust: what is made of their
    sums. verified (experimental): whether the committee verifies the norm of masked updates, which
    then travel masked; value_bits follow from that.
    """

    kind: PhaseKind
    rounds: Annotated[int, Meta(ge=1, le=10_000)]
    target: _Contributors
    drawn: _Contributors
    deadline_s: _Seconds = 30.0
    cohort_min: _Floor | None = None
    count_max: Annotated[int, Meta(ge=1, le=EXAMPLES_MAX)] = 1
    ballot: BallotTable | None = None
    masked: bool | None = None
    value_bits: Annotated[int, Meta(ge=2, le=VALUE_BITS_MAX)] | None = None
    groups: Annotated[int, Meta(ge=1, le=GROUPS_MAX)] = 1
    robust: RobustTable = PLAIN_MEAN
    verified: bool = False


class StudyFile(_Table, frozen=True, kw_only=True):
    """All that a proposer states. With a query, columns and label are what it gives."""

    title: _ShortText
    purpose: Annotated[str, Meta(min_length=1, max_length=2000)]
    purpose_term: _ShortText
    category: _Category
    query: Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX)] = ""
    columns: Annotated[tuple[_ShortText, ...], Meta(min_length=1, max_length=WIDTH_MAX)]
    ranges: Annotated[dict[str, _RangePair], Meta(max_length=WIDTH_MAX)] = {}
    label: Annotated[str, Meta(max_length=200)] = ""
    cohort_min: _Floor
    join_window_s: _Seconds
    selection: Literal["census", "region"] = "census"
    model: ModelTable | None = None
    training: TrainingTable = TrainingTable()
    privacy: PrivacyTable = PrivacyTable()
    phases: Annotated[tuple[PhaseTable, ...], Meta(min_length=1, max_length=16)]


def floor_of(study: StudyFile, phase: PhaseTable) -> int:
    """Fewest contributors over whom a sum of a phase is opened."""
    return phase.cohort_min or study.cohort_min


def masks_updates(phase: PhaseTable, length: int) -> bool:
    """Whether updates of so many values travel masked."""
    if phase.kind != "train":
        return False
    if phase.masked is None:
        return phase.verified or length > SHARED_MAX
    return phase.masked or phase.verified


def count_max_of(study: StudyFile) -> int:
    """Rows that one owner counts for in published counts."""
    if study.privacy.count_max is not None:
        return study.privacy.count_max
    return COUNT_MAX_WITH_NOISE if study.privacy.noise_multiplier else EXAMPLES_MAX


def honest_min_of(study: StudyFile, phase: PhaseTable) -> int:
    """Contributors of a sum on whose noise it relies."""
    return study.privacy.honest_min or floor_of(study, phase) // 2


def template(columns: tuple[str, ...], category: str, label: str, classes: int) -> str:
    """Return a commented study file to start from."""
    listed = "".join(f"    {msgspec.json.encode(name).decode()},\n" for name in columns)
    return _TEMPLATE.format(columns=listed, category=category, label=label, classes=classes)


_TEMPLATE = """\
# A study: what it is for, which data it asks for, and how it trains.
# Check it with `pnyx study check FILE`, propose it with `pnyx study propose FILE`.

title = "What are people doing?"
# Owners read this sentence before they decide.
purpose = "Recognise everyday activities from the accelerometer of a phone, for research."
# A term of the W3C Data Privacy Vocabulary; owners' policies match it.
purpose_term = "dpv:ResearchAndDevelopment"

# The data: a category of the vault, its numeric columns, and the column that holds the class (or
# the number to predict).
category = "{category}"
columns = [
{columns}]
label = "{label}"
# With a query, columns and label are what it gives, of the one table data (docs/queries.md):
#   query = "SELECT avg(x) AS mean_x, day AS label FROM data GROUP BY day"

# No sum over fewer owners is ever opened. 32 or more is advised.
cohort_min = 32
# How long owners may join before the first round, in seconds.
join_window_s = 600.0
# How rounds get their actors: "census" draws them from everybody, "region" lets neighbours draw.
selection = "census"

[model]
hidden = [64]        # widths of the hidden layers
classes = {classes}
# Any other model: program = "model.json" in the place of both, as `pnyx.export` writes it from a
# torch module, and weights = "model.safetensors" to begin with those weights.

[training]
local_epochs = 3
batch_size = 16
learning_rate = 0.3
weight_decay = 0.001
clip_norm = 2.0      # largest norm of one owner's update

[privacy]
# Noise of a whole sum, relative to what one owner can change. 5 costs an epsilon of about 5 in
# twenty rounds, and asks for about a thousand contributors. 0 switches noise off: then sums over
# tens of people can reveal something about one of them, and owners see that the cost has no bound.
noise_multiplier = 5.0

# A statistics phase before the others publishes means and deviations of the columns; it needs
#   [ranges]
#   "name of a column" = [low, high]
# for every column, and training may standardise by it: standardise = "study" under [training].
# A phase of kind "poll" adds up answers, one row an owner: count_max is the largest answer, and
#   [phases.ballot]
#   kind = "choice"     # or "approval" with chosen_max, or "ranking"
#   options = 3
# makes them a vote. A phase may have a cohort_min of its own.
# A phase that trains may add up its contributors in groups, so that those who poison some of them
# cannot bend the model (docs/robustness.md); each takes cohort_min owners and noise of its own:
#   groups = 8
#   robust = {{ rule = "trimmed", tolerated = 2 }}
# Updates too long for shares travel masked; masked = true or false decides otherwise. Nobody checks
# their size then, unless
#   verified = true     # EXPERIMENTAL: no outside cryptographer has reviewed it
# value_bits is what a masked entry takes before noise, which comes on top; unless stated, as many
# as clip_norm needs.
#
# Phases run in order. In each round `drawn` owners are drawn among those who joined; the round
# closes when `target` of them have contributed, or after `deadline_s` seconds.
[[phases]]
kind = "train"
rounds = 20
target = 40
drawn = 50
deadline_s = 60.0

[[phases]]
kind = "evaluate"    # compares: trained alone, shared, shared and fine-tuned at home
rounds = 1
target = 40
drawn = 50
deadline_s = 60.0
"""
