"""A simulated study as an experiment."""

from pnyx.simulator.experiment import Progress
from pnyx.simulator.learning.records import LearningParameters, LearningRound


def run(parameters: LearningParameters, seed: int, progress: Progress) -> list[LearningRound]:
    """Simulate a study; its rounds. Raises ConfigError."""
    # Training loads torch, which the table of experiments shall not.
    from pnyx.simulator.learning.study import run_study

    return list(run_study(parameters, seed, progress))
