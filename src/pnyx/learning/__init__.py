"""Local training, and the arithmetic that turns a decoded sum into the next shared model.

Everything listed here is free of torch, so that a node that only serves as an actor, or a command
that only prints, starts quickly. What computes with torch is imported from
`pnyx.learning.training`: `run_task` and `warm_up`.
"""

from pnyx.learning.programs import Program, audit, initial_model, mlp
from pnyx.learning.server_optimizer import apply_update
from pnyx.learning.task import Hyperparameters, TaskKind, TrainingOutcome, TrainingTask
from pnyx.learning.update import (
    ContributionBounds,
    EvaluateTotals,
    TrainTotals,
    check_contribution,
    contribution_bounds,
    evaluate_totals,
    train_totals,
)
from pnyx.learning.worker import TrainingWorker

__all__ = [
    "ContributionBounds",
    "EvaluateTotals",
    "Hyperparameters",
    "Program",
    "TaskKind",
    "TrainTotals",
    "TrainingOutcome",
    "TrainingTask",
    "TrainingWorker",
    "apply_update",
    "audit",
    "check_contribution",
    "contribution_bounds",
    "evaluate_totals",
    "initial_model",
    "mlp",
    "train_totals",
]
