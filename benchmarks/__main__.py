"""Run the benchmarks: `python -m benchmarks [--long] [NAME ...]`; results: `bench-out/NAME.json`.

Every result records the machine, the commit and the time, so that figures from different days can
be told apart. Ratios within one run mean more than seconds across runs.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BENCHMARKS = (
    "primitives",
    "verification",
    "masked_verification",
    "masking",
    "masked",
    "masked_traffic",
    "member_load",
    "programs",
    "cohort",
    "learning",
    "worker",
    "transport",
    "overlay",
    "selection",
    "simulator",
    "population",
    "demo_accuracy",
    "round",
    "robustness",
    "protected_steps",
    "protected_round",
    "comparisons",
)
LONG = ("protected_round", "comparisons")  # they take `long`
OUTPUT = Path("bench-out")


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "commit": commit or "unknown",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def main() -> int:
    """Run what is named, or everything; say where each result lies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"which ones, of {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--long", action="store_true", help=f"measure {' and '.join(LONG)} at full size (an hour)"
    )
    given = parser.parse_args()
    names = given.names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(
            f"There is no benchmark {unknown[0]}; choose from {', '.join(BENCHMARKS)}.",
            file=sys.stderr,
        )
        return 2
    OUTPUT.mkdir(exist_ok=True)
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        machine = describe_machine()
        terms = {"long": given.long} if name in LONG else {}
        found = importlib.import_module(f"benchmarks.{name}").run(**terms)
        path = OUTPUT / f"{name}.json"
        path.write_text(json.dumps({"machine": machine, name: found}, indent=2) + "\n")
        print(f"{name}: {path}")
        print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
