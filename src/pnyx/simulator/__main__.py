"""Replay one random scenario and print its trace: `python -m pnyx.simulator SEED`.

With `--outlasting` before the seed it is one in which attempts are aborted.
"""

import sys

import msgspec

from pnyx.simulator.invariants import InvariantError
from pnyx.simulator.scenario import outlasting_scenario, random_scenario
from pnyx.simulator.simulation import Outcome, run


def main(arguments: list[str]) -> int:
    """Replay the scenario of a seed; return 1 when it breaks an invariant."""
    draw = outlasting_scenario if arguments[:1] == ["--outlasting"] else random_scenario
    seeds = arguments[1:] if draw is outlasting_scenario else arguments
    if len(seeds) != 1 or not seeds[0].isdigit():
        usage = "usage: python -m pnyx.simulator [--outlasting] SEED (a whole number)\n"
        sys.stderr.write(usage)
        return 2
    scenario = draw(int(seeds[0]))
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
