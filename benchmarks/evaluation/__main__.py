"""Writes the tables of docs/evaluation.md anew: the last step of `make evaluation`.

They are made of what its first steps left, a folder for each scenario and a file for each
benchmark. In the document `<!-- table: NAME -->` stands above each table that is written here; a
table whose scenario or benchmark was not run stays as it is, and is named.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.evaluation import computing, faults, rounds, selection
from benchmarks.evaluation.cells import Line, markdown

DOCUMENT = Path("docs") / "evaluation.md"
MARK = "<!-- table: "

TABLES: dict[str, Callable[[], Iterator[Line]]] = {
    "selection": selection.selection,
    "population": computing.population,
    "regions": selection.regions,
    "repairs": selection.repairs,
    "withheld-reveals": selection.withheld,
    "naive-selection": selection.naive,
    "selection-cost": selection.costs,
    "selection-cost-shares": selection.costs_shares,
    "caches": selection.caches,
    "caches-sizes": selection.caches_sizes,
    "trees-reference": rounds.reference,
    "masked-latency": rounds.beside("masked", "latency_s", 1.0),
    "masked-completeness": rounds.beside("masked", "completeness", 100.0),
    "direct-latency": rounds.beside("direct", "latency_s", 1.0),
    "direct-completeness": rounds.beside("direct", "completeness", 100.0),
    "quiet": rounds.quiet,
    "rounds-exposed": rounds.exposed,
    "live-round-sizes": rounds.sizes("live-round-sizes"),
    "live-masked-sizes": rounds.sizes("live-masked-sizes"),
    "live-model": rounds.model,
    "live-rounds": rounds.deaths,
    "live-failures": rounds.failures,
    "live-rounds-long": rounds.long_rounds,
    "live-lines": faults.lossy,
    "live-churn": faults.churn,
    "live-sizes": faults.network_sizes,
    "coalitions-results": faults.coalitions(faults.results),
    "coalitions-latency": faults.coalitions(faults.latency),
    "coalitions-excluded": faults.coalitions(faults.excluded),
    "poisoning": faults.poisoning,
    "privacy": faults.accuracy("privacy", "owners", "noise_multiplier", 20),
    "privacy-epsilon": faults.epsilon("privacy", "owners", "noise_multiplier", 20),
    "privacy-cost": faults.cost("privacy", "owners", "noise_multiplier", 20),
    "cohort": computing.cohort,
    "studies": computing.studies,
}


def rewritten(text: str) -> tuple[str, list[str]]:
    """The document with its tables made anew, and which could not be made."""
    written, *parts = text.split(MARK)
    left = []
    for part in parts:
        name, _, rest = part.partition(" -->\n")
        lines = rest.splitlines(keepends=True)
        end = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
        table = "".join(lines[:end])
        try:
            table = markdown(TABLES[name]())
        except FileNotFoundError as error:
            left.append(f"{name}: {error}")
        written += f"{MARK}{name} -->\n{table}{''.join(lines[end:])}"
    return written, left


def main() -> int:
    """Write every table that the document names."""
    written, left = rewritten(DOCUMENT.read_text())
    DOCUMENT.write_text(written)
    sys.stderr.writelines(f"{each}\n" for each in left)
    print(f"{len(TABLES) - len(left)} of {len(TABLES)} tables are written anew.", file=sys.stderr)
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
