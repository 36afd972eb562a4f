"""Writes the tables of docs/evaluation.md anew: `python tools/evaluation_tables.py [FOLDER]`.

FOLDER (`evaluation` by default) holds what `make evaluation` made, a folder for each scenario. In
the document `<!-- table: NAME -->` stands above each table that is written here; a table whose
scenario was not run stays as it is, and is named.

`a ± b` is a mean with its 95 % interval (Student's, over all independent runs of the row), `k of n
(a to b %)` a share with Wilson's. Where all values are alike, nothing follows the mean.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow.parquet as pq

from pnyx.protocol.selection.security import choose_committee
from pnyx.simulator.baselines.trees import PUBLISHED, PUBLISHED_SEEDS
from pnyx.simulator.runner.statistics import student, wilson

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "evaluation.md"
MARK = "<!-- table: "
WINDOWS = (400, 200, 100)
DEVICES = ("measured", "published")
GIB = 2**30
TREE_SHARES = 5  # vectors that a contributor sends into a tree

Row = dict[str, Any]
Line = Sequence[object]
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "evaluation")


def rows_of(scenario: str, **where: object) -> list[Row]:
    """Records of a scenario with these values."""
    rows: list[Row] = pq.read_table(FOLDER / scenario / "results.parquet").to_pylist()
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def values(rows: Iterable[Row], column: str, scale: float = 1.0) -> list[float]:
    """A column's values, but for those that are missing."""
    return [scale * row[column] for row in rows if row[column] is not None]


def mean(found: Sequence[float], digits: int = 2) -> str:
    """Mean with its interval; digits: decimals where there is no spread."""
    if not found:
        return "–"
    reach = student(found)
    if not reach > 1e-9 * abs(fmean(found)):
        return f"{fmean(found):,.{digits}f}"
    shown = -math.floor(math.log10(reach))
    shown = max(0, shown + (round(reach * 10**shown) == 1))
    return f"{fmean(found):,.{shown}f} ± {reach:,.{shown}f}"


def percent(found: Sequence[float], digits: int = 1) -> str:
    """Mean of shares, in per cent."""
    return mean([100 * each for each in found], digits)


def share(done: Sequence[bool]) -> str:
    """So many of so many, with the interval."""
    low, high = wilson(sum(done), len(done))
    return f"{sum(done)} of {len(done)} ({100 * low:.0f} to {100 * high:.0f} %)"


def power(nodes: int) -> str:
    """10⁴ and the like."""
    return "10" + "⁰¹²³⁴⁵⁶⁷"[round(math.log10(nodes))]


def rare(value: float) -> str:
    """A probability or an expected number, of one digit where it is small."""
    if value == 0 or value >= 0.01:
        return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
    exponent = math.floor(math.log10(value))
    exponent += round(value / 10**exponent) == 10
    raised = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(-exponent))
    return f"{value / 10**exponent:.0f} · 10⁻{raised}"


def kinds(rows: Iterable[Row], *columns: str) -> list[tuple[Any, ...]]:
    """The different values of these columns, as they came."""
    return list(dict.fromkeys(tuple(row[column] for column in columns) for row in rows))


def selection() -> Iterator[Line]:
    """Corrupted actors of both back-ends."""
    yield "nodes", "corrupted", "ideal", "census", "region", "k_r"
    for nodes, corrupt in sorted(kinds(rows_of("selection"), "nodes", "corrupted_share")):
        both = {
            back_end: rows_of("selection", nodes=nodes, corrupted_share=corrupt, back_end=back_end)
            for back_end in ("census", "region")
        }
        found = [mean(values(rows, "corrupted_actors"), 4) for rows in both.values()]
        first = both["region"][0]
        yield (
            power(nodes),
            f"{100 * corrupt:g} %",
            f"{first['ideal']:.4g}",
            *found,
            first["signers"],
        )


def regions() -> Iterator[Line]:
    """What regions hold."""
    yield (
        "nodes",
        "corrupted",
        "k_r",
        "expected",
        "counted",
        "deviation",
        "sparse, predicted",
        ("sparse, counted"),
        "most accomplices",
        "networks",
    )
    for nodes, corrupt in kinds(rows_of("regions"), "nodes", "corrupted_share"):
        rows = rows_of("regions", nodes=nodes, corrupted_share=corrupt)
        sparse = values(rows, "sparse")
        yield (
            power(nodes),
            f"{100 * corrupt:g} %",
            rows[0]["signers"],
            f"{rows[0]['expected']:.1f}",
            mean(values(rows, "occupancy"), 1),
            f"{fmean(values(rows, 'occupancy_deviation')):.1f}",
            rare(rows[0]["sparse_predicted"]),
            f"{rare(fmean(sparse))} ± {rare(student(sparse))}" if any(sparse) else 0,
            f"{max(values(rows, 'corrupted_max')):.0f}",
            sum(row["networks"] for row in rows),
        )


def repairs() -> Iterator[Line]:
    """Who can forge, with repairs taken away."""
    yield (
        "nodes",
        "corrupted",
        "rule",
        "k_r",
        "signers asked",
        "forgers expected",
        "counted",
        ("networks with one"),
    )
    shown = [(10**4, 0.05), (10**6, 0.01), (10**6, 0.05), (10**7, 0.01), (10**4, 0.2), (10**7, 0.2)]
    for nodes, corrupt in shown:
        of_network = rows_of("repairs", nodes=nodes, corrupted_share=corrupt)
        for (rule,) in kinds(of_network, "rule"):
            rows = [row for row in of_network if row["rule"] == rule]
            able = [round(row["forgeable"] * row["networks"]) for row in rows]
            drawn = [row["networks"] for row in rows]
            forgeable = [True] * sum(able) + [False] * (sum(drawn) - sum(able))
            yield (
                power(nodes),
                f"{100 * corrupt:g} %",
                rule.replace("_", " "),
                rows[0]["signers"],
                f"{fmean(values(rows, 'signers_asked')):.1f}",
                rare(rows[0]["forgers_expected"]),
                mean(values(rows, "forgers"), 0),
                share(forgeable),
            )


def withheld() -> Iterator[Line]:
    """Gain over the ideal by reveals withheld."""
    shown = (0, 1, 2, 3, 4, 6, 8)
    yield "reveals withheld, a", *shown
    for actors in (8, 32):
        found = [rows_of("withheld-reveals", actors=actors, withheld=count) for count in shown]
        yield f"gain, {actors} actors", *(mean(values(rows, "gain")) for rows in found)


def naive() -> Iterator[Line]:
    """Naive selections over the ideal."""
    names = ("unverified_setter", "any_of_region", "every_source_verifies", "census", "region")
    yield "corrupted", *(name.replace("_", " ") for name in names), "captured, unverified setter"
    for (corrupt,) in kinds(rows_of("naive-selection"), "corrupted_share"):
        found = {
            name: rows_of("naive-selection", corrupted_share=corrupt, strategy=name)
            for name in names
        }
        ratios = [mean(values(rows, "excess")) for rows in found.values()]
        yield f"{100 * corrupt:g} %", *ratios, f"{percent(values(found[names[0]], 'captured'))} %"


def costs() -> Iterator[Line]:
    """What a selection costs among a million, of which 5 % are corrupted."""
    yield (
        "strategy",
        "signatures a source checks",
        "messages to make the list",
        "KB",
        "steps",
        ("KB a source gets"),
        "a node stores, KB",
        "MB in all",
    )
    for row in rows_of("selection-cost", nodes=10**6, corrupted_share=0.05):
        yield (
            row["strategy"].replace("_", " "),
            row["checks"],
            row["messages"],
            f"{row['bytes'] / 1e3:,.0f}",
            row["steps"],
            f"{row['source_bytes'] / 1e3:.1f}",
            f"{row['stored_bytes'] / 1e3:,.1f}",
            f"{row['all_bytes'] / 1e6:.1f}",
        )


def costs_shares() -> Iterator[Line]:
    """How costs grow with the coalition."""
    yield (
        "corrupted",
        "region: checks of a source",
        "SEP2P, certificates kept alike",
        ("SEP2P as published"),
        "region: messages",
        "SEP2P: messages",
        "region: KB",
        "SEP2P: KB",
    )
    for (corrupt,) in kinds(rows_of("selection-cost"), "corrupted_share"):
        found = {
            row["strategy"]: row
            for row in rows_of("selection-cost", nodes=10**6, corrupted_share=corrupt)
        }
        region, sep2p = found["region"], found["sep2p"]
        yield (
            f"{100 * corrupt:g} %",
            region["checks"],
            sep2p["checks"] // 2,  # a certificate and a signature of each signer
            sep2p["checks"],
            region["messages"],
            sep2p["messages"],
            f"{region['bytes'] / 1e3:,.0f}",
            f"{sep2p['bytes'] / 1e3:,.0f}",
        )


def _caches(rows: list[Row]) -> Line:
    shares = ("stale", "missing", "short", "corrupted_online", "signers_short")
    return *(percent(values(rows, column)) for column in shares), (
        f"{fmean(values(rows, 'bytes_per_hour')) / 1e3:,.0f}"
    )


CACHES = (
    "stale %",
    "missing %",
    "too few answer %",
    "corrupted, of those who answer %",
    "fewer than k_r answer %",
    "KB an hour",
)


def caches() -> Iterator[Line]:
    """Caches under churn among a million."""
    yield "sessions", "session / absence, h", "refresh, min", *CACHES
    found = rows_of("caches")
    for key in kinds(found, "sessions", "session_s", "absence_s", "refresh_s"):
        sessions, session_s, absence_s, refresh_s = key
        rows = [
            row
            for row in found
            if (row["sessions"], row["session_s"], row["refresh_s"])
            == (sessions, session_s, refresh_s)
        ]
        times = f"{session_s / 3600:g} / {absence_s / 3600:g}"
        yield sessions, times, f"{refresh_s / 60:g}", *_caches(rows)


def caches_sizes() -> Iterator[Line]:
    """Caches in networks of all sizes."""
    yield "nodes", "corrupted", *CACHES
    for nodes, corrupt in kinds(rows_of("caches-sizes"), "nodes", "corrupted_share"):
        rows = rows_of("caches-sizes", nodes=nodes, corrupted_share=corrupt)
        yield power(nodes), f"{100 * corrupt:g} %", *_caches(rows)


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
            columns = (("completeness", 100.0), ("latency_s", 1.0), ("bytes", 1 / GIB))
            for (column, scale), theirs in zip(columns, published, strict=True):
                ours = values(rows, column, scale)
                error = stdev(ours) * (1 / PUBLISHED_SEEDS + 1 / len(ours)) ** 0.5
                far = theirs is not None and abs(fmean(ours) - theirs) > 3 * error
                cells += ["" if theirs is None else theirs, mean(ours) + " †" * far]
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
    trees, systems = ("trees", SYSTEMS) if mode == "masked" else ("trees-small", dict(SYSTEMS))
    if mode == "direct":
        systems = {name: each for name, each in SYSTEMS.items() if each[0] != "replace"}

    def lines() -> Iterator[Line]:
        yield "device", "W", *systems
        for device in DEVICES:
            for window_s in (0, *WINDOWS):
                cells = []
                for strategy, groups, surplus in systems.values():
                    where: Row = {"device": device}
                    if strategy and not window_s:
                        name, where["vector_kib"] = "trees-quiet", 1024 if mode == "masked" else 80
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
            window_s,
            share([row["completed"] for row in rows]),
            mean(values(done, "accepted"), 0),
            mean(values(done, "latency_s")),
            f"{max(values(done, 'latency_s'), default=math.nan):.1f}",
            sum(values(done, "drawn_died")),
            sum(values(done, "lost")),
            mean(values(done, "bytes", 1e-6)),
        )


def _live(rows: list[Row]) -> Line:
    done = [row for row in rows if row["completed"]]
    return (
        share([row["completed"] for row in rows]),
        mean(values(done, "latency_s")),
        f"{max(values(done, 'latency_s'), default=math.nan):.1f}",
        mean(values(done, "contributors"), 0),
        mean(values(rows, "messages"), 0),
    )


LIVE = "rounds with a result", "latency s", "longest", "counted", "messages"


def lossy() -> Iterator[Line]:
    """Rounds over bad lines."""
    yield "a third cut off", "loss", *LIVE
    for apart, loss in kinds(rows_of("live-lines"), "partition_share", "loss"):
        rows = rows_of("live-lines", partition_share=apart, loss=loss, round=1)
        yield "18 s" if apart else "no", f"{100 * loss:g} %", *_live(rows)


def churn() -> Iterator[Line]:
    """Rounds while nodes come and go."""
    yield "sessions", "mean, s", "round", *LIVE, "processes that ended"
    for sessions, session_s in kinds(rows_of("live-churn"), "sessions", "session_s"):
        for number in (1, 2):
            rows = rows_of("live-churn", sessions=sessions, session_s=session_s, round=number)
            yield sessions, session_s, number, *_live(rows), mean(values(rows, "deaths"), 0)


def network_sizes() -> Iterator[Line]:
    """Rounds in networks of several sizes."""
    yield "nodes", *LIVE, "MiB"
    for (nodes,) in kinds(rows_of("live-sizes"), "nodes"):
        rows = rows_of("live-sizes", nodes=nodes, round=1)
        yield nodes, *_live(rows), mean(values(rows, "mebibytes"), 1)


def coalitions(cell: Callable[[list[Row]], object]) -> Callable[[], Iterator[Line]]:
    """Strategies by the size of the coalition."""

    def lines() -> Iterator[Line]:
        counts = [count for (count,) in kinds(rows_of("coalitions"), "corrupted")]
        yield "strategy", *(f"{count} of 24" for count in counts)
        for (strategy,) in kinds(rows_of("coalitions"), "strategy"):
            of = [rows_of("coalitions", strategy=strategy, corrupted=count) for count in counts]
            yield strategy, *(cell(rows) for rows in of)

    return lines


def _results(rows: list[Row]) -> str:
    broken = {row["repetition"] for row in rows if row["broken"]}
    done = [row["completed"] for row in rows if row["round"] > 0]
    return f"{sum(done)} of {len(done)}" + (f", {len(broken)} runs broken" if broken else "")


def _latency(rows: list[Row]) -> str:
    return mean([row["latency_s"] for row in rows if row["round"] == 1 and row["completed"]])


def _excluded(rows: list[Row]) -> str:
    return mean([row["excluded"] for row in rows if row["round"] == 2 and row["completed"]], 0)


def accuracy(scenario: str, series: str, x: str, last: int) -> Callable[[], Iterator[Line]]:
    """Accuracy of the last round's model, in per cent."""

    def lines() -> Iterator[Line]:
        swept = [value for (value,) in kinds(rows_of(scenario), x)]
        yield series, *(f"{x.replace('_', ' ')} {value:g}" for value in swept)
        for (name,) in kinds(rows_of(scenario), series):
            rows = [rows_of(scenario, **{series: name, x: value}, round=last) for value in swept]
            cell = f"{name:,}" if isinstance(name, int) else name
            yield cell, *(percent(values(each, "accuracy")) for each in rows)

    return lines


def price() -> Iterator[Line]:
    """What noise costs in accuracy: differences of runs with one seed."""
    yield "owners", "z", "ε", "without noise %", "with noise %", "difference, points"
    found = rows_of("privacy-price", round=20)
    for owners, noise in kinds(found, "owners", "noise_multiplier"):
        if not noise:
            continue
        at = {
            each: {
                row["repetition"]: row
                for row in found
                if (row["owners"], row["noise_multiplier"]) == (owners, each)
            }
            for each in (0.0, noise)
        }
        pairs = [(at[0.0][number], row) for number, row in at[noise].items()]
        yield (
            f"{owners:,}",
            f"{noise:g}",
            f"{fmean(values(at[noise].values(), 'epsilon')):.2g}",
            percent(values(at[0.0].values(), "accuracy")),
            percent(values(at[noise].values(), "accuracy")),
            percent([noisy["accuracy"] - clear["accuracy"] for clear, noisy in pairs]),
        )


TABLES: dict[str, Callable[[], Iterator[Line]]] = {
    "selection": selection,
    "regions": regions,
    "repairs": repairs,
    "withheld-reveals": withheld,
    "naive-selection": naive,
    "selection-cost": costs,
    "selection-cost-shares": costs_shares,
    "caches": caches,
    "caches-sizes": caches_sizes,
    "trees-reference": reference,
    "masked-latency": beside("masked", "latency_s", 1.0),
    "masked-completeness": beside("masked", "completeness", 100.0),
    "direct-latency": beside("direct", "latency_s", 1.0),
    "direct-completeness": beside("direct", "completeness", 100.0),
    "quiet": quiet,
    "rounds-exposed": exposed,
    "live-round-sizes": sizes,
    "live-rounds": deaths,
    "live-lines": lossy,
    "live-churn": churn,
    "live-sizes": network_sizes,
    "coalitions-results": coalitions(_results),
    "coalitions-latency": coalitions(_latency),
    "coalitions-excluded": coalitions(_excluded),
    "poisoning": accuracy("poisoning", "attack", "corrupted", 20),
    "privacy": accuracy("privacy", "owners", "noise_multiplier", 20),
    "privacy-price": price,
}


def markdown(lines: Iterable[Line]) -> str:
    """A table; its first line is the head."""
    head, *body = [[str(cell) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *body])


def main() -> int:
    """Write every table that the document names."""
    written, *parts = DOCUMENT.read_text().split(MARK)
    left = []
    for part in parts:
        name, _, text = part.partition(" -->\n")
        lines = text.splitlines(keepends=True)
        end = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
        table = "".join(lines[:end])
        try:
            table = markdown(TABLES[name]())
        except FileNotFoundError as error:
            left.append(f"{name}: {error}")
        written += f"{MARK}{name} -->\n{table}{''.join(lines[end:])}"
    DOCUMENT.write_text(written)
    sys.stderr.writelines(f"{each}\n" for each in left)
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
