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
    """What systems send and compute where nobody dies, and nobody is drawn in surplus."""
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
            rows = rows_of("rounds-quiet", mode=mode, groups=groups, surplus=0.0)
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


def sizes(name: str) -> Callable[[], Iterator[Line]]:
    """Rounds of the machines without failures, and the model beside them."""

    def lines() -> Iterator[Line]:
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

    return lines


def model() -> Iterator[Line]:
    """What quiet rounds of the machines send and check, beside what the model says of them."""
    yield (
        "nodes",
        "values",
        "mode",
        "drawn",
        "MB sent",
        "by the model",
        "machines over model",
        "checks",
        "by the model",
        "machines over model",
    )
    for name in ("live-round-sizes", "live-masked-sizes"):
        columns = ("nodes", "vector_length", "masked", "drawn")
        for nodes, length, masked, drawn in kinds(rows_of(name), *columns):
            rows = rows_of(name, nodes=nodes, vector_length=length, masked=masked, drawn=drawn)
            first = rows[0]
            yield (
                nodes,
                f"{length:,}",
                "masked" if masked else "direct",
                drawn,
                mean(values(rows, "bytes", 1e-6)),
                f"{first['model_bytes'] / 1e6:.2f}",
                mean(values(rows, "bytes", 1 / first["model_bytes"])),
                mean(values(rows, "checks"), 0),
                f"{first['model_checks']:,}",
                mean(values(rows, "checks", 1 / first["model_checks"])),
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


SPENT = ("bytes", "messages", "checks")  # of which a tree has the first alone


SPENDING = (
    "system",
    "W",
    "complete %",
    "latency s",
    "MB",
    "over quiet",
    "messages",
    "over quiet",
    "checks",
    "over quiet",
    "MB without a result",
)


def failures() -> Iterator[Line]:
    """What rounds of the machines spend while nodes die, and trees of that size."""
    yield SPENDING
    calm = rows_of("trees-live", window_s=0)[0]  # whatever the strategy: nothing happens
    for strategy, window_s in kinds(rows_of("trees-live"), "strategy", "window_s"):
        rows = rows_of("trees-live", strategy=strategy, window_s=window_s)
        if not window_s and strategy != calm["strategy"]:
            continue
        yield (
            f"tree, {strategy}" if window_s else "tree",
            f"{window_s:g}" if window_s else "none",
            percent(values(rows, "completeness"), 0),
            mean(values(rows, "latency_s")),
            mean(values(rows, "bytes", 1e-6)),
            mean(values(rows, "bytes", 1 / calm["bytes"])) if window_s else "",
            *[""] * 5,
        )
    for masked, surplus in kinds(rows_of("live-rounds-quiet"), "masked", "surplus"):
        quiet = rows_of("live-rounds-quiet", masked=masked, surplus=surplus)
        yield _spent(quiet, quiet)
        for (window_s,) in kinds(rows_of("live-rounds"), "window_s"):
            where: Row = {"masked": masked, "surplus": surplus, "window_s": window_s}
            yield _spent(rows_of("live-rounds", **where), quiet)


def long_rounds() -> Iterator[Line]:
    """What rounds spend while nodes die that take as long as large ones."""
    yield SPENDING
    for name in ("live-rounds-long", "live-rounds-larger"):
        for (masked,) in kinds(rows_of(name), "masked"):
            quiet = rows_of(name, masked=masked, window_s=0)
            for (window_s,) in kinds(rows_of(name), "window_s"):
                yield _spent(rows_of(name, masked=masked, window_s=window_s), quiet)


def _spent(rows: list[Row], quiet: list[Row]) -> Line:
    """One line of `failures`; each round with a result beside the quiet round of its seed."""
    calm = {row["seed"]: row for row in quiet}
    done = [row for row in rows if row["completed"]]
    without = [row for row in rows if not row["completed"]]
    cells = []
    for column in SPENT:
        ratios = [row[column] / calm[row["seed"]][column] for row in done]
        scale, digits = (1e-6, 2) if column == "bytes" else (1.0, 0)
        cells += [mean(values(done, column, scale), digits), "" if rows == quiet else mean(ratios)]
    mode = "masked" if rows[0]["masked"] else "direct"
    counted = [min(row["accepted"], row["asked"]) / row["asked"] for row in rows]
    return (
        f"ours, {mode}, {rows[0]['drawn']} drawn",
        f"{rows[0]['window_s']:g}" if rows != quiet else "none",
        percent(counted, 0),
        mean(values(done, "latency_s")),
        *cells,
        mean(values(without, "bytes", 1e-6)) if without else "",
    )
