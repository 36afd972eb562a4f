"""Replay one random scenario and print its trace: `python -m pnyx.simulator [--short] SEED`."""

import sys

import msgspec

from pnyx.simulator.invariants import InvariantError
from pnyx.simulator.scenario import random_scenario
from pnyx.simulator.simulation import Outcome, run


def main(arguments: list[str]) -> int:
    """Replay the scenario of a seed; return 1 when it breaks an invariant."""
    short = arguments[:1] == ["--short"]
    seeds = arguments[short:]
    if len(seeds) != 1 or not seeds[0].isdigit():
        sys.stderr.write("usage: python -m pnyx.simulator [--short] SEED (a whole number)\n")
        return 2
    scenario = random_scenario(int(seeds[0]), short=short)
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
