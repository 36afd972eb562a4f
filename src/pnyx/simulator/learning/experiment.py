"""A simulated study as an experiment."""

from pnyx.simulator.experiment import Progress
from pnyx.simulator.learning.records import LearningParameters, LearningRound


def check(parameters: LearningParameters) -> None:
    """Refuse a study that its data or its numbers do not allow. Raises ConfigError."""
    from pnyx.simulator.learning.inputs import check as check_inputs  # loads what training needs

    check_inputs(parameters)


def run(parameters: LearningParameters, seed: int, progress: Progress) -> list[LearningRound]:
    """Simulate a study; its rounds. Raises ConfigError."""
    # Training loads torch, which the table of experiments shall not.
    from pnyx.simulator.learning.study import run_study

    records: list[LearningRound] = []
    for record in run_study(parameters, seed):
        records.append(record)
        progress(len(records) / parameters.rounds, records)
    return records
