"""Replay a random scenario and print its trace: `python -m pnyx.simulator [OPTION] SEED`.

With `--short` it is one of the many small ones, with `--outlasting` one whose attempts are aborted.
"""

import sys
from collections.abc import Callable
from functools import partial

import msgspec

from pnyx.simulator.invariants import InvariantError
from pnyx.simulator.scenario import Scenario, outlasting_scenario, random_scenario
from pnyx.simulator.simulation import Outcome, run


def main(arguments: list[str]) -> int:
    """Replay the scenario of a seed; return 1 when it breaks an invariant."""
    draws: dict[str, Callable[[int], Scenario]] = {
        "--outlasting": outlasting_scenario,
        "--short": partial(random_scenario, short=True),
    }
    option = arguments[0] if arguments[:1] and arguments[0] in draws else ""
    seeds = arguments[1:] if option else arguments
    if len(seeds) != 1 or not seeds[0].isdigit():
        usage = "usage: python -m pnyx.simulator [--short | --outlasting] SEED (a whole number)\n"
        sys.stderr.write(usage)
        return 2
    scenario = draws.get(option, random_scenario)(int(seeds[0]))
    _say(str(scenario))
    try:
        outcome = run(scenario, say=_say)
    except InvariantError as error:
        _say(f"BROKEN  {error}")
        return 1
    _say(msgspec.json.format(msgspec.json.encode(_figures(outcome))).decode())
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _figures(outcome: Outcome) -> dict[str, object]:
    fields = msgspec.structs.asdict(outcome)
    return {name: value for name, value in fields.items() if name not in ("scenario", "records")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
