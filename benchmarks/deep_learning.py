"""Deep networks under masks and without: `python -m benchmarks.deep_learning --data DIR ...`.

Two networks, exported from plain torch modules: a convolutional one of 108,818 parameters that
reads handwritten letters, and a language model of 1,038,275 parameters over the next character.
Each is trained twice. In one process with plain sums, for several seeds: the yardstick and its
spread. And by forty processes that find each other, draw committees and sum masked updates over
TLS, while a tenth of them is killed and comes back.

Prints one JSON object on stdout; what happens meanwhile on stderr. See docs/deep-learning.md.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.__main__ import describe_machine
from benchmarks.deep.masked import Options, Protected
from benchmarks.deep.models import SUBJECTS
from benchmarks.deep.plain import simulate, spread
from benchmarks.deep.study import DeepScript, cohort
from pnyx.learning.training import warm_up


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--subject", choices=SUBJECTS, required=True)
    parser.add_argument("--seeds", type=int, default=4, help="of the yardstick, 0 for none")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--protected", type=int, default=1, help="runs by processes, 0 for none")
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--rounds", type=int, help="of training")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a setting of training, e.g. --set local_epochs=2",
    )
    parser.add_argument("--verified", action="store_true", help="verify the norm of masked updates")
    parser.add_argument(
        "--cut", action="store_true", help="cut entries of the yardstick as masks do"
    )
    parser.add_argument("--kill", type=float, default=0.1, help="share of the nodes")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one run")
    parser.add_argument("--keep", type=Path, help="new directory for the files of the nodes")
    return parser.parse_args(arguments)


def run(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run what was asked for and return the figures."""
    options = parse(arguments)
    subject = SUBJECTS[options.subject]
    changed = {
        name: json.loads(value) for name, _, value in (e.partition("=") for e in options.set)
    }
    subject = msgspec.structs.replace(subject, training={**subject.training, **changed})
    rounds = options.rounds or subject.rounds
    size = cohort(options.nodes)
    with tempfile.TemporaryDirectory(prefix="pnyx-deep-") as temporary:
        root = options.keep or Path(temporary)
        study = root / "study"
        study.mkdir(parents=True)
        population = subject.population(options.data)
        script = DeepScript(options.subject, subject, population, study, verified=options.verified)
        script.prepare(size, rounds)
        # Processes first: a fork should not inherit what the yardstick leaves behind.
        protected = []
        for number in range(options.protected):
            folder = root / f"run-{number + 1}"
            folder.mkdir()
            chosen = Options(options.kill, number, options.timeout)
            protected.append(Protected(folder, script, size, rounds, chosen).run())
            _say(f"processes, run {number + 1}", protected[-1])
        warm_up()
        plain = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            plain.append(simulate(seed, script, size, cut=options.cut))
            _say(f"plain sums, seed {seed}", msgspec.to_builtins(plain[-1]))
        parameters = len(script.seeded(bytes(32)).model) // 4
    return {
        "machine": describe_machine(),
        "subject": options.subject,
        "parameters": parameters,
        "cohort": msgspec.to_builtins(size),
        "training": subject.training,
        "verified": options.verified,
        "cut": options.cut,
        "protected": protected,
        "plain": {"spread": spread(plain), "seeds": msgspec.to_builtins(plain)} if plain else None,
    }


def _say(what: str, found: dict[str, Any]) -> None:
    print(f"{what}: {json.dumps(found)}", file=sys.stderr, flush=True)


def main() -> None:
    """Print the figures."""
    print(json.dumps(run()))


if __name__ == "__main__":
    main()
