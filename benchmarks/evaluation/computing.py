"""What selections in bulk and the training of populations cost to compute, by the benchmarks."""

from collections.abc import Iterator

from benchmarks.evaluation.cells import Line, found_by


def population() -> Iterator[Line]:
    """Selections in bulk, by each back-end."""
    yield "by", "CPU-s", "MB of memory"
    for back_end, found in found_by("population").items():
        yield back_end, f"{found['cpu_s']:.1f}", f"{found['memory_mb']:.0f}"


def cohort() -> Iterator[Line]:
    """Clients trained together, one by one and by hand; milliseconds of CPU for each."""
    yield "parameters", "clients", "together, ms", "one by one", "by hand", "taken", "over by hand"
    for row in found_by("cohort"):
        spent = row["cpu_ms_a_client"]
        by_hand = min(value for name, value in spent.items() if name.startswith("by hand"))
        yield (
            f"{row['parameters']:,}",
            f"{row['clients']:,}",
            *(f"{each:.2f}" for each in (spent["together"], spent["apart"], by_hand)),
            "together" if row["trained_together"] else "one by one",
            f"{row['ratio_to_handwritten']:.2f}",
        )


def studies() -> Iterator[Line]:
    """Whole studies of many owners."""
    yield "network", "contributors a round", "rounds", "CPU-s", "ms a contribution", "accuracy %"
    words = {"small": "3,142 parameters", "deep": "1,038,275 parameters"}
    for name, found in found_by("learning").items():
        yield (
            words[name],
            f"{found['contributors']:,}",
            found["rounds"],
            f"{found['cpu_s']:.0f}",
            f"{found['cpu_ms_a_contribution']:.1f}",
            f"{100 * found['accuracy_by_round'][-1]:.1f}",
        )
