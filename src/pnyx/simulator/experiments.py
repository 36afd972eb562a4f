"""All experiments, by name. `experiment` says what one is; docs/evaluation.md what they showed."""

from pnyx.simulator import live, live_rounds, outcomes, rounds
from pnyx.simulator.baselines import naive, repairs, trees, withheld
from pnyx.simulator.bulk import caches, costs, effectiveness, regions
from pnyx.simulator.experiment import Experiment
from pnyx.simulator.learning import experiment as learning
from pnyx.simulator.learning.records import LearningParameters, LearningRound

_ALL = (
    Experiment(
        name="live",
        purpose="Rounds of a whole network, by the node's own machines under virtual time.",
        parameters=live.LiveParameters,
        record=outcomes.LiveRound,
        run=live.run,
        trace=live.trace,
    ),
    Experiment(
        name="selection",
        purpose="Corrupted actors of very many selections, against the ideal A·C/N.",
        parameters=effectiveness.SelectionParameters,
        record=effectiveness.SelectionRecord,
        run=effectiveness.run,
    ),
    Experiment(
        name="regions",
        purpose="Nodes in the regions of whole networks, against the exact tails.",
        parameters=regions.RegionParameters,
        record=regions.RegionRecord,
        run=regions.run,
    ),
    Experiment(
        name="repairs",
        purpose="Corrupted nodes that can forge random values, with repairs of SEP2P taken away.",
        parameters=repairs.RepairParameters,
        record=repairs.RepairRecord,
        run=repairs.run,
    ),
    Experiment(
        name="withheld-reveals",
        purpose="Corrupted actors when a coalition may withhold reveals that nobody recovers.",
        parameters=withheld.WithheldParameters,
        record=withheld.WithheldRecord,
        run=withheld.run,
    ),
    Experiment(
        name="naive-selection",
        purpose="Corrupted actors of naive selections, beside ours.",
        parameters=naive.NaiveParameters,
        record=naive.NaiveRecord,
        run=naive.run,
    ),
    Experiment(
        name="selection-cost",
        purpose="Signatures, messages and bytes of one selection, by every strategy.",
        parameters=costs.CostParameters,
        record=costs.CostRecord,
        run=costs.run,
    ),
    Experiment(
        name="caches",
        purpose="Stale and missing entries of node caches under churn, and what selection finds.",
        parameters=caches.CacheParameters,
        record=caches.CacheRecord,
        run=caches.run,
    ),
    Experiment(
        name="trees",
        purpose="Trees of additive shares under failures, by published dropout strategies.",
        parameters=trees.TreeParameters,
        record=trees.TreeRecord,
        run=trees.run,
    ),
    Experiment(
        name="rounds",
        purpose="Our round on the network of the trees, by a model of its steps.",
        parameters=rounds.RoundParameters,
        record=rounds.RoundRecord,
        run=rounds.run,
    ),
    Experiment(
        name="live-rounds",
        purpose="Our round on the network of the trees, by the node's own machines.",
        parameters=live_rounds.LiveRoundParameters,
        record=live_rounds.LiveRoundRecord,
        run=live_rounds.run,
    ),
    Experiment(
        name="learning",
        purpose="What a study learns, with many owners trained together, and what it costs them.",
        parameters=LearningParameters,
        record=LearningRound,
        run=learning.run,
        check=learning.check,
    ),
)

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in _ALL}
