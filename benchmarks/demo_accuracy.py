"""Accuracy of the demo study, without the protocol: `python -m benchmarks.demo_accuracy`.

Runs the very `run_task` and `apply_update` of the nodes in one process: each round draws
contributors uniformly from those who joined, adds their integer contributions and applies the
sum; at the end every joined node evaluates the three models on its own held-out windows, and the
counts are added up.

Each seed draws who joins, the split of every owner, the initial model, the contributors and the
order of mini-batches. The defaults of `pnyx.demo.activity` were chosen on seeds from 1000; the
report uses seeds from 1, so the figures are not those of the best of many draws. (The windows are
the same 5,418.)

Prints a table on stderr and one JSON object on stdout.
"""

import argparse
import hashlib
import json
import sys
import time
from statistics import mean, median, stdev

import msgspec
import numpy as np

from pnyx.demo.activity import (
    USERS,
    demo_hyperparameters,
    demo_program,
    owner_table,
    training_arrays,
)
from pnyx.learning import Hyperparameters, TrainingTask, apply_update, initial_model
from pnyx.learning.training import run_task, warm_up
from pnyx.learning.update import norm_max


class Result(msgspec.Struct, frozen=True):
    """Figures of one seed. Accuracies are pooled: correct windows over held-out windows."""

    seed: int
    alone: float
    shared: float
    personalised: float
    gain: float  # personalised less alone
    held_out: int
    clipped_share: float
    update_norm_max: float
    train_ms_median: float
    evaluate_ms_median: float


class Draws:
    """All randomness of one run, derived from its seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator = np.random.default_rng(seed)

    def secret(self, *parts: object) -> bytes:
        """32 bytes bound to this run and to `parts`."""
        return hashlib.sha256(repr((self.seed, *parts)).encode()).digest()


def simulate(
    seed: int,
    hyperparameters: Hyperparameters,
    rows: dict[int, tuple[bytes, bytes, int]],
    *,
    rounds: int,
    joined: int,
    contributors: int,
) -> Result:
    """Train for `rounds` rounds, then evaluate at every joined node."""
    draws = Draws(seed)
    program = demo_program()
    model = initial_model(program, draws.secret("model"))
    members = draws.generator.permutation(list(rows))[:joined]
    norms: list[float] = []
    clipped: list[float] = []
    cpu: dict[str, list[float]] = {"train": [], "evaluate": []}

    def contribute(kind: str, user: int, model: bytes, round_number: int) -> np.ndarray:
        features, labels, count = rows[user]
        task = TrainingTask(
            kind=kind,
            program=program,
            hyperparameters=hyperparameters,
            model=model,
            features=features,
            targets=labels,
            rows=count,
            seed=draws.secret("order", user, round_number),
            split_seed=draws.secret("split", user),
        )
        before = time.process_time()
        outcome = run_task(task)
        cpu[kind].append(1000 * (time.process_time() - before))
        if kind == "train":
            norms.append(outcome.metrics["update_norm"])
            clipped.append(outcome.metrics["clipped"])
        return np.frombuffer(outcome.vector, "<i8").astype(np.int64)

    for round_number in range(rounds):
        drawn = draws.generator.permutation(members)[:contributors]
        total = sum(contribute("train", int(user), model, round_number) for user in drawn)
        model = apply_update(model, total, len(drawn), hyperparameters, norm_max(hyperparameters))
    counts = sum(contribute("evaluate", int(user), model, rounds) for user in members)
    alone, shared, personalised, held_out = (int(count) for count in counts)
    return Result(
        seed=seed,
        alone=alone / held_out,
        shared=shared / held_out,
        personalised=personalised / held_out,
        gain=(personalised - alone) / held_out,
        held_out=held_out,
        clipped_share=mean(clipped),
        update_norm_max=max(norms),
        train_ms_median=median(cpu["train"]),
        evaluate_ms_median=median(cpu["evaluate"]),
    )


def summarise(results: list[Result]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation over seeds, minimum and maximum of each figure."""
    summary: dict[str, dict[str, float]] = {}
    for name in ("alone", "shared", "personalised", "gain"):
        values = [getattr(result, name) for result in results]
        summary[name] = {
            "mean": round(mean(values), 4),
            "stdev": round(stdev(values), 4) if len(values) > 1 else 0.0,
            "min": round(min(values), 4),
            "max": round(max(values), 4),
        }
    return summary


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--joined", type=int, default=34)
    parser.add_argument("--contributors", type=int, default=24)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a hyper-parameter, e.g. --set clip_norm=2",
    )
    return parser.parse_args(arguments)


def run(arguments: list[str] | None = None) -> dict[str, object]:
    """Run the seeds asked for (by default four) and return the figures."""
    options = parse(arguments if arguments is not None else ["--seeds", "4"])
    overrides = {
        name: json.loads(value) for name, _, value in (item.partition("=") for item in options.set)
    }
    hyperparameters = msgspec.structs.replace(demo_hyperparameters(), **overrides)
    warm_up()
    rows = {user: training_arrays(owner_table(user)) for user in USERS}
    results: list[Result] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        result = simulate(
            seed,
            hyperparameters,
            rows,
            rounds=options.rounds,
            joined=options.joined,
            contributors=options.contributors,
        )
        results.append(result)
        print(
            f"seed {seed:4}: alone {result.alone:.3f}, shared {result.shared:.3f}, "
            f"personalised {result.personalised:.3f} ({result.gain:+.3f}), "
            f"clipped {result.clipped_share:.2f}",
            file=sys.stderr,
        )
    return {
        "rounds": options.rounds,
        "joined": options.joined,
        "contributors": options.contributors,
        "hyperparameters": {
            name: getattr(hyperparameters, name) for name in hyperparameters.__struct_fields__
        },
        "summary": summarise(results),
        "seeds": [msgspec.to_builtins(result) for result in results],
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1:])))
