"""Trees of additive shares, and our rounds on their network."""

import math
from collections.abc import Callable, Iterator
from statistics import fmean, stdev

from benchmarks.evaluation.cells import (
    Line,
    Row,
    kinds,
    mean,
    percent,
    rare,
    rows_of,
    share,
    values,
)
from pnyx.protocol.selection.security import choose_committee
from pnyx.simulator.baselines.trees import PUBLISHED, PUBLISHED_SEEDS

WINDOWS = (400, 200, 100)
DEVICES = ("measured", "published")
GIB = 2**30
TREE_SHARES = 5  # vectors that a contributor sends into a tree


def reference() -> Iterator[Line]:
    """Trees beside their authors' simulator; † beyond three standard errors of the difference."""
    yield (
        "strategy, W",
        "completeness %: reference",
        "ours",
        "latency s: reference",
        "ours",
        ("GiB: reference"),
        "ours",
    )
    for strategy in ("abort", "cut", "replace", "eager"):
        for window_s in WINDOWS:
            rows = rows_of("trees", strategy=strategy, window_s=window_s, device="published")
            published = PUBLISHED.get((strategy, window_s), (None, None, None))
            cells: list[object] = []
            columns = (("completeness", 100.0, 1), ("latency_s", 1.0, 2), ("bytes", 1 / GIB, 2))
            for (column, scale, digits), theirs in zip(columns, published, strict=True):
                ours = values(rows, column, scale)
                error = stdev(ours) * (1 / PUBLISHED_SEEDS + 1 / len(ours)) ** 0.5
                far = theirs is not None and abs(fmean(ours) - theirs) > 3 * error
                shown = "" if theirs is None else f"{theirs:.{digits}f}"
                cells += [shown, mean(ours) + " †" * far]
            yield f"{strategy}, {window_s}", *cells


SYSTEMS = {
    "tree, cut": ("cut", None, None),
    "tree, replace": ("replace", None, None),
    "tree, eager": ("eager", None, None),
    "ours, 16 groups": (None, 16, 0.0),
    "16 groups, surplus": (None, 16, 0.1),
    "ours, 2 groups": (None, 2, 0.0),
    "2 groups, surplus": (None, 2, 0.1),
}


def beside(mode: str, column: str, scale: float) -> Callable[[], Iterator[Line]]:
    """A quantity of trees and of our rounds, on each device, for every window."""
    trees, kib = ("trees", 1024) if mode == "masked" else ("trees-small", 80)
    systems = {
        name: each for name, each in SYSTEMS.items() if mode == "masked" or each[0] != "replace"
    }

    def lines() -> Iterator[Line]:
        yield "device", "W", *systems
        for device in DEVICES:
            for window_s in (0, *WINDOWS):
                cells = []
                for strategy, groups, surplus in systems.values():
                    where: Row = {"device": device}
                    if strategy and not window_s:
                        name, where["vector_kib"] = "trees-quiet", kib
                    elif strategy:
                        name, where["strategy"] = trees, strategy
                    else:
                        name = "rounds" if window_s else "rounds-quiet"
                        where |= {"mode": mode, "groups": groups, "surplus": surplus}
                    if window_s:
                        where["window_s"] = window_s
                    cells.append(mean(values(rows_of(name, **where), column, scale)))
                yield device, window_s or "none", *cells

    return lines


def quiet() -> Iterator[Line]:
    """What systems send and compute where nobody dies."""
    yield (
        "vectors",
        "system",
        "GiB in all",
        "MB of a contributor",
        "MB of a leader",
        ("MB of an aggregator"),
        "core-s, measured",
        "core-s, published",
    )
    for mode, kib in (("masked", 1024), ("direct", 80)):
        words = "1 MiB / 262,144 values" if mode == "masked" else "80 KiB / 20,000 values"
        found = rows_of("trees-quiet", vector_kib=kib)
        work = {row["device"]: row["work_s"] for row in found}
        upload = TREE_SHARES * kib * 1024 / 1e6
        cells = [f"{found[0]['bytes'] / GIB:.2f}", f"{upload:.1f}", "", ""]
        yield words, "tree", *cells, *(f"{work[device]:,.1f}" for device in DEVICES)
        for groups in (16, 2):
            rows = rows_of("rounds-quiet", mode=mode, groups=groups, surplus=0.1)
            work = {row["device"]: row["work_s"] for row in rows}
            sent = [rows[0][f"{who}_bytes"] / 1e6 for who in ("contributor", "leader")]
            yield (
                words,
                f"ours, {mode}, {groups} groups",
                f"{rows[0]['bytes'] / GIB:.2f}",
                *(f"{each:.1f}" for each in sent),
                f"{rows[0]['aggregator_bytes'] / 1e6:.0f}" if mode == "masked" else "",
                *(f"{work[device]:,.0f}" for device in DEVICES),
            )


def exposed() -> Iterator[Line]:
    """Our rounds with committees that are as exposed as a tree."""
    yield "device", "W", "committee", "completeness %", "latency s", "exposure of a round"
    for device in DEVICES:
        for window_s in WINDOWS:
            rows = rows_of("rounds-exposed", device=device, window_s=window_s)
            found = percent(values(rows, "completeness")), mean(values(rows, "latency_s"))
            yield device, window_s, rows[0]["committee"], *found, rare(rows[0]["exposure"])


def sizes() -> Iterator[Line]:
    """Rounds of the machines without failures, and the model beside them."""
    yield (
        "nodes",
        "values",
        "mode",
        "committee",
        "runs",
        "in the result",
        "latency s",
        ("model, s"),
        "machines over model",
        "MB sent",
        "messages",
    )
    for name in ("live-round-sizes", "live-masked-sizes"):
        for nodes, length, masked in kinds(rows_of(name), "nodes", "vector_length", "masked"):
            rows = rows_of(name, nodes=nodes, vector_length=length)
            yield (
                nodes,
                f"{length:,}",
                "masked" if masked else "direct",
                choose_committee(nodes).size,
                len(rows),
                f"{min(values(rows, 'accepted')):.0f} of {rows[0]['asked']}",
                mean(values(rows, "latency_s")),
                f"{rows[0]['model_s']:.2f}",
                mean([row["latency_s"] / row["model_s"] for row in rows]),
                mean(values(rows, "bytes", 1e-6), 0),
                mean(values(rows, "messages"), 0),
            )


def deaths() -> Iterator[Line]:
    """Rounds of the machines while nodes die."""
    yield (
        "mode",
        "drawn",
        "W",
        "rounds with a result",
        "counted, of 24",
        "latency s",
        "longest",
        ("drawn that died"),
        "of them not counted",
        "MB sent",
    )
    for masked, surplus, window_s in kinds(rows_of("live-rounds"), "masked", "surplus", "window_s"):
        rows = rows_of("live-rounds", masked=masked, surplus=surplus, window_s=window_s)
        done = [row for row in rows if row["completed"]]
        yield (
            "masked" if masked else "direct",
            rows[0]["drawn"],
            f"{window_s:g}",
            share([row["completed"] for row in rows]),
            mean(values(done, "accepted"), 0),
            mean(values(done, "latency_s")),
            f"{max(values(done, 'latency_s'), default=math.nan):.1f}",
            round(sum(values(done, "drawn_died"))),
            round(sum(values(done, "lost"))),
            mean(values(done, "bytes", 1e-6)),
        )
