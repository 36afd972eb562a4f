"""Replay one random scenario and print its trace: `python -m pnyx.simulator SEED`."""

import sys

import msgspec

from pnyx.simulator.invariants import InvariantError
from pnyx.simulator.scenario import random_scenario, run


def main(arguments: list[str]) -> int:
    """Replay the scenario of a seed; return 1 when it breaks an invariant."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m pnyx.simulator SEED (a whole number)\n")
        return 2
    scenario = random_scenario(int(arguments[0]))
    sys.stdout.write(f"{scenario}\n")
    try:
        outcome = run(scenario, say=lambda line: sys.stdout.write(line + "\n") and None)
    except InvariantError as error:
        sys.stdout.write(f"BROKEN  {error}\n")
        return 1
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(_figures(outcome))).decode() + "\n")
    return 0


def _figures(outcome: object) -> dict[str, object]:
    fields = msgspec.structs.asdict(outcome)  # type: ignore[type-var]
    return {name: value for name, value in fields.items() if name not in ("scenario", "records")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
