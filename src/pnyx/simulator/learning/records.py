"""What determines a simulated study, and what comes of it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.errors import ConfigError
from pnyx.protocol.aggregation.robust import GROUPS_MAX, Robust
from pnyx.simulator.experiment import FILE, SHARE

_Share = Annotated[float, Meta(ge=0.0, le=1.0)]
_Rate = Annotated[float, Meta(gt=0.0, le=100.0)]
Attack = Literal["sign_flip", "label_flip", "unbounded"]


class LearningParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What determines a simulated study, beside its seed."""

    data: Annotated[str, Meta(description="Parquet table with one row per example", extra=FILE)]
    owner_column: Annotated[str, Meta(description="column that names the owner")]
    label_column: Annotated[str, Meta(description="column that holds the class")]
    ignored: Annotated[tuple[str, ...], Meta(description="columns that are not learned from")] = ()
    standardise: Annotated[
        Literal["owner", "none"], Meta(description="whose statistics standardise the columns")
    ] = "owner"
    program: Annotated[
        str, Meta(description="exported program; none: a perceptron", extra=FILE)
    ] = ""
    hidden: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=4096)], ...],
        Meta(description="widths of the perceptron's hidden layers"),
    ] = (64,)
    owners: Annotated[
        int, Meta(ge=0, le=10_000_000, description="owners of the population; 0: those of the data")
    ] = 0
    rows: Annotated[
        int,
        Meta(ge=0, le=100_000, description="examples of a simulated owner; 0: all its real ones"),
    ] = 0
    contributors: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="owners that contribute to a round; or all, where they are fewer",
        ),
    ] = 24
    groups: Annotated[
        int, Meta(ge=1, le=GROUPS_MAX, description="groups of contributors, each with a sum")
    ] = 1
    groups_tolerated: Annotated[
        int,
        Meta(
            ge=0,
            le=(GROUPS_MAX - 1) // 2,
            description="groups whose sums a trimmed mean withstands; 0: a plain mean of all",
        ),
    ] = 0
    rounds: Annotated[int, Meta(ge=1, le=10_000, description="rounds of the study")] = 20
    participations_max: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="participations of one owner at most; 0: one above the even share",
        ),
    ] = 0
    local_epochs: Annotated[int, Meta(ge=1, le=1000, description="epochs of local training")] = 3
    batch_size: Annotated[int, Meta(ge=1, le=4096, description="examples of a batch")] = 16
    learning_rate: Annotated[_Rate, Meta(description="learning rate of local training")] = 0.3
    weight_decay: Annotated[_Share, Meta(description="weight decay of local training")] = 0.001
    momentum: Annotated[float, Meta(ge=0.0, le=0.999, description="momentum of local training")] = (
        0.0
    )
    server_learning_rate: Annotated[
        _Rate, Meta(description="share of the mean update by which the model moves")
    ] = 1.5
    clip_norm: Annotated[_Rate, Meta(description="norm to which updates are clipped")] = 2.0
    fraction_bits: Annotated[
        int, Meta(ge=0, le=24, description="binary digits of an update after the point")
    ] = 11
    noise_multiplier: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1000.0,
            description="noise multiplier: deviation of the sum's noise over the clipping norm",
        ),
    ] = 0.0
    honest_share: Annotated[
        float,
        Meta(gt=0.0, le=1.0, description="share of the contributors whose noise must suffice"),
    ] = 0.5
    corrupted: Annotated[_Share, Meta(description="corrupted share of the owners")] = 0.0
    attack: Annotated[Attack, Meta(description="what the corrupted owners do")] = "sign_flip"

    def __post_init__(self) -> None:
        if 2 * self.groups_tolerated >= self.groups:
            raise ConfigError(
                f"groups_tolerated must be below half of groups, {self.groups}, not "
                f"{self.groups_tolerated}."
            )

    @property
    def robust(self) -> Robust:
        """What makes one update of the sums of groups."""
        return Robust("trimmed" if self.groups_tolerated else "mean", self.groups_tolerated)

    def even_participations(self, owners: int) -> int:
        """Of one owner, if all of these owners take part equally often."""
        return -(-self.rounds * min(self.contributors, owners) // owners)

    def most_participations(self, owners: int) -> int:
        """Of one owner: as stated, or one more than if all took part equally often."""
        return self.participations_max or self.even_participations(owners) + 1


class LearningRound(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    round: Annotated[int, Meta(description="round, from 1")]
    owners: Annotated[int, Meta(description="owners of the population")]
    contributors: Annotated[int, Meta(description="owners that contributed")]
    accuracy: Annotated[
        float, Meta(description="accuracy of the model on all held-out rows, a share", extra=SHARE)
    ]
    epsilon: Annotated[
        float | None,
        Meta(
            description="epsilon spent by who took part most often, at a delta of 1e-6; none "
            "without noise, where there is no bound"
        ),
    ]
    participations: Annotated[int, Meta(description="of who took part most often")]
    clipped: Annotated[float, Meta(description="share of updates that were clipped", extra=SHARE)]
