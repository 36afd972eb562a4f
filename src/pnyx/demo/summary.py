"""What a demonstration found, as one JSON object and as words for a person."""

import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from pnyx.demo.activity import FEATURES, RANGES
from pnyx.demo.culprits import agreed, all_verified, find_culprits
from pnyx.demo.study import NORMAL_COHORT, STATISTICS_ROUNDS, demo_cohort
from pnyx.demo.watch import Watch
from pnyx.learning.statistics import column_statistics
from pnyx.protocol.selection import Assessment


def summarise(
    watch: Watch,
    assessment: Assessment,
    *,
    nodes: int,
    rounds: int,
    killed: int,
    refused: int,
    corrupt: Mapping[int, str],
    masked: bool,
    verified: bool = False,
    selection: str = "census",
) -> dict[str, Any]:
    """The object that `pnyx demo --json` prints.

    masked: whether updates travelled masked; unless `verified`, their size was proven to nobody.
    """
    last = STATISTICS_ROUNDS + rounds
    training = [watch.rounds[n] for n in sorted(watch.rounds) if STATISTICS_ROUNDS < n <= last]
    evaluation = watch.rounds.get(last + 1)
    alone, shared, personalised, held_out = (
        evaluation.metrics if evaluation and evaluation.metrics else [0, 0, 0, 0]
    )
    seconds, cpu = watch.seconds_per_round(), watch.cpu_per_round()
    size = assessment.committee
    return {
        "nodes": nodes,
        "rounds": rounds,
        "rounds_completed": sum(not figures.skipped for figures in training),
        "statistics": _statistics(watch),
        "accuracy_alone": _share(alone, held_out),
        "accuracy_shared": _share(shared, held_out),
        "accuracy_personalised": _share(personalised, held_out),
        "seconds_per_round_median": round(statistics.median(seconds), 3) if seconds else None,
        "cpu_seconds_per_round_median": round(statistics.median(cpu), 3) if cpu else None,
        "bytes_sent_per_contributor_round": round(watch.bytes_per_node_round()),
        "memory_mb_peak": round(watch.memory_mb_peak),
        "processes_killed": killed,
        "owners_refusing": refused,
        "contributors_min": min((f.contributors for f in training), default=0),
        "masked": masked,
        "selection": selection,
        "verified": verified,
        **_verification(
            watch, nodes, corrupt, size.corrupt_max + 1, unchecked=masked and not verified
        ),
        "committee": {
            "size": size.size,
            "corrupt_max": size.corrupt_max,
            "packing": size.packing,
            "degree": size.degree,
            "quorum": size.quorum,
            "answers_needed": size.answers_needed,
        },
        "exposure_probability": assessment.exposure_probability,
        "step_seconds_median": {k: round(v, 3) for k, v in watch.step_seconds().items()},
        "accuracy_by_round": [
            _share(f.metrics[0], f.metrics[1]) if f.metrics else None for f in training
        ],
        "messages_rejected": dict(watch.rejected),
    }


def _statistics(watch: Watch) -> dict[str, Any] | None:
    """What the statistics round published; None when it was skipped."""
    found = watch.rounds.get(STATISTICS_ROUNDS)
    if found is None or not found.metrics:
        return None
    columns = column_statistics(
        found.metrics, 1, [each.low for each in RANGES], [each.high for each in RANGES]
    )
    named = zip(FEATURES, columns, strict=True)
    return {
        "owners": found.contributors,
        "columns": {
            name: {"mean": _rounded(each.mean), "deviation": _rounded(each.deviation)}
            for name, each in named
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _verification(
    watch: Watch, nodes: int, corrupt: Mapping[int, str], needed: int, *, unchecked: bool
) -> dict[str, Any]:
    """What the honest nodes agree on: what was verified, what was rejected, and who is to blame."""
    honest = frozenset(range(nodes)) - frozenset(corrupt)
    completed = {n: f.contributors for n, f in watch.rounds.items() if n > 0 and not f.skipped}
    judged = [agreed(said, honest, needed) for said in watch.judged.values()]
    passed = all_verified(watch.judged, completed, honest, needed)
    return {
        "contributions_verified": passed and not unchecked,
        "contributions_rejected": sum(len(each.rejected) for each in judged if each is not None),
        "contributions_left_out": sum(each.left_out for each in judged if each is not None),
        "corrupt": [
            {
                "node": watch.node_ids.get(node, ""),
                "number": node + 1,
                "behaviour": behaviour,
                "misbehaved": watch.misbehaved[node],
            }
            for node, behaviour in sorted(corrupt.items())
        ],
        "culprits": msgspec.to_builtins(find_culprits(watch.blamed, honest, needed)),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def show(console: Console, found: Mapping[str, Any], corrupted: int) -> None:
    """Print the summary for a person."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    rows = [
        ("personal clouds", f"{found['nodes']}, of which {found['owners_refusing']} refused"),
        ("rounds completed", f"{found['rounds_completed']} of {found['rounds']}"),
        ("killed and back", f"{found['processes_killed']} processes (SIGKILL)"),
        ("statistics", _statistics_words(found["statistics"])),
        ("accuracy alone", _percent(found["accuracy_alone"]) + "  each owner trains by itself"),
        ("accuracy shared", _percent(found["accuracy_shared"]) + "  the model trained together"),
        (
            "accuracy personalised",
            _percent(found["accuracy_personalised"]) + "  the shared model, fine-tuned at home",
        ),
        (
            "a round",
            f"{found['seconds_per_round_median']} s, "
            f"{found['cpu_seconds_per_round_median']} CPU-s for all nodes together",
        ),
        ("sent per node and round", f"{found['bytes_sent_per_contributor_round'] / 1000:.0f} kB"),
        ("memory, all processes", f"{found['memory_mb_peak']} MB at most"),
        ("committee", _committee(found["committee"])),
        (
            "exposure",
            f"probability {found['exposure_probability']:.2g} over the study that "
            f"{corrupted} colluding nodes read a contribution",
        ),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(Panel(table, title="What happened", expand=False))
    cohort = demo_cohort(found["nodes"])
    console.print(
        "[bold red]noise off[/]: sums of tens of people are not private by themselves; "
        "this demonstration shows the protocol, not a privacy guarantee"
    )
    console.print(
        f"[yellow]floor of {cohort} contributors[/], below the normal {NORMAL_COHORT}; "
        f"the smallest round had {found['contributors_min']}"
    )
    _show_verification(console, found)
    if found["corrupt"] or found["culprits"]:
        _show_culprits(console, found)


def _show_verification(console: Console, found: Mapping[str, Any]) -> None:
    counts = f"{found['contributions_rejected']} rejected"
    if found["contributions_left_out"]:
        counts += f", {found['contributions_left_out']} that too few members held left out"
    if found["masked"] and not found["verified"]:
        console.print(
            "[bold red]updates masked, and their size not verified[/]: one dishonest contributor "
            "can spoil the model, though not read another's update; counts were proven to be in "
            f"their range; {counts}"
        )
    elif found["contributions_verified"] and found["masked"]:
        console.print(
            "[bold green]contributions verified while masked[/] [bold red](experimental, not yet "
            "reviewed by outside cryptographers)[/]: in every round each contribution that counts "
            "was proven to have counts in their range, and an update of at most about 2.2 times "
            f"the norm that it may have, before its sum was opened; {counts}"
        )
    elif found["contributions_verified"]:
        console.print(
            "[bold green]contributions verified[/]: in every round each contribution that counts "
            "was proven to have a bounded norm and counts in their range, before its sum was "
            f"opened; {counts}"
        )
    else:
        console.print(
            "[bold red]contributions not verified[/]: too few nodes confirm for every round that "
            f"just the contributions that passed were summed; {counts}"
        )


def _show_culprits(console: Console, found: Mapping[str, Any]) -> None:
    named: defaultdict[str, list[str]] = defaultdict(list)
    for culprit in found["culprits"]:
        named[culprit["node"]].append(
            f"[bold red]{'proven' if culprit['evidence'] else 'named'}[/], "
            f"say {culprit['witnesses']} honest nodes: {culprit['rule']}"
        )
    table = Table(title="Corrupt nodes", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("node", "behaviour", "acted", "outcome"):
        table.add_column(heading)
    for each in found["corrupt"]:
        acted = each["misbehaved"]
        unnamed = ["tolerated, not attributed" if acted else "had no occasion"]
        outcome = named.pop(each["node"], unnamed)
        table.add_row(str(each["number"]), each["behaviour"], f"{acted} x", "\n".join(outcome))
    for node, accusations in named.items():
        table.add_row(node[:12], "[bold red]honest[/]", "", "\n".join(accusations))
    console.print(table)
    needed = found["committee"]["corrupt_max"] + 1
    console.print(
        "A node is proven to have broken a rule when there is evidence that anybody can verify, "
        f"and named when at least {needed} honest nodes blame it alike. Withheld openings are "
        "tolerated, not attributed: they leave no evidence."
    )


def _statistics_words(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "the round was skipped"
    shown = found["columns"]["yavg"]
    return (
        f"means and deviations of {len(found['columns'])} columns over {found['owners']} owners, "
        f"such as yavg {shown['mean']:.1f} ± {shown['deviation']:.1f}"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _committee(size: Mapping[str, int]) -> str:
    return (
        f"{size['size']} members drawn by the beacon each round; up to {size['corrupt_max']} "
        f"may collude, {size['quorum']} must agree"
    )
