"""What determines a simulated study, and what comes of it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_Share = Annotated[float, Meta(ge=0.0, le=1.0)]
_Rate = Annotated[float, Meta(gt=0.0, le=100.0)]
Attack = Literal["sign_flip", "label_flip"]


class LearningParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What determines a simulated study, beside its seed."""

    data: str  # Parquet, one row per example
    owner_column: str
    label_column: str
    ignored: tuple[str, ...] = ()
    standardise: Literal["owner", "none"] = "owner"
    program: str = ""  # file of an exported program; else a perceptron
    hidden: tuple[Annotated[int, Meta(ge=1, le=4096)], ...] = (64,)
    owners: Annotated[int, Meta(ge=0, le=10_000_000)] = 0  # 0: those of the data
    rows: Annotated[int, Meta(ge=0, le=100_000)] = 0  # a simulated owner's; 0: all its real ones
    contributors: Annotated[int, Meta(ge=1, le=1_000_000)] = 24  # or all, where they are fewer
    rounds: Annotated[int, Meta(ge=1, le=10_000)] = 20
    participations_max: Annotated[int, Meta(ge=0, le=10_000)] = 0  # 0: see `most_participations`
    local_epochs: Annotated[int, Meta(ge=1, le=1000)] = 3
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 16
    learning_rate: _Rate = 0.3
    weight_decay: _Share = 0.001
    momentum: _Share = 0.0
    server_learning_rate: _Rate = 1.5
    clip_norm: _Rate = 2.0
    fraction_bits: Annotated[int, Meta(ge=0, le=24)] = 11
    noise_multiplier: Annotated[float, Meta(ge=0.0, le=1000.0)] = 0.0
    honest_share: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.5  # whose noise must suffice
    corrupted: _Share = 0.0
    attack: Attack = "sign_flip"

    def most_participations(self, owners: int) -> int:
        """Of one owner: as stated, or one more than if all took part equally often."""
        even = -(-self.rounds * min(self.contributors, owners) // owners)
        return self.participations_max or even + 1


class LearningRound(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    round: Annotated[int, Meta(description="round, from 1")]
    owners: Annotated[int, Meta(description="owners of the population")]
    contributors: Annotated[int, Meta(description="owners that contributed")]
    accuracy: Annotated[float, Meta(description="of the model, on all held-out rows, a share")]
    epsilon: Annotated[
        float | None,
        Meta(
            description="epsilon spent by who took part most often, at a delta of 1e-6; none "
            "without noise, where there is no bound"
        ),
    ]
    participations: Annotated[int, Meta(description="of who took part most often")]
    clipped: Annotated[float, Meta(description="share of updates that were clipped")]
