"""Draw the growth curves: `python -m benchmarks.side_by_side.draw RESULT.json FIGURE.png`.

Needs matplotlib, which nothing else here does; RESULT.json is what `comparisons --long` writes.
"""

import json
import sys
from pathlib import Path
from typing import Any

LABELS = {
    "values": ("values", "values"),
    "contributors": ("contributors", "contributors"),
    "members": ("members", "members of the committee"),
}
STYLES = {
    "plain": "o--",
    "protected": "s-",
    "additive, 3 servers": "^:",
    "additive, 5 servers": "v:",
    "additive, 10 servers": "D:",
}


def draw(result: dict[str, Any], path: Path) -> None:
    """One panel for each of what grows; CPU seconds of a round, all nodes together."""
    from matplotlib.figure import Figure

    growth = result["comparisons"]["growth"]
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels = figure.subplots(1, len(LABELS))
    for panel, (key, (field, label)) in zip(panels, LABELS.items(), strict=True):
        points = [point for point in growth[key] if point["a_round"]]
        for name, style in STYLES.items():
            across = [point[field] for point in points]
            panel.plot(across, [p["a_round"][name]["cpu_s"] for p in points], style, label=name)
        panel.set_yscale("log")
        panel.set_xscale("log" if key == "values" else "linear")
        panel.set_xlabel(label)
        panel.grid(visible=True, which="major", alpha=0.3)
    panels[0].set_ylabel("CPU-seconds a round")
    panels[0].legend()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Read, draw, write."""
    if len(sys.argv) != 3:
        print("Name a result of `comparisons --long` and a figure to write.", file=sys.stderr)
        return 2
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
