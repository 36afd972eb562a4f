"""Rounds of whole networks under faults, and what populations learn."""

import math
from collections.abc import Callable, Iterator

from benchmarks.evaluation.cells import Line, Row, kinds, mean, percent, rows_of, share, values
from pnyx.simulator.experiment import many


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
    yield "a third cut off", "loss", "opens at, s", *LIVE
    for apart, loss in kinds(rows_of("live-lines"), "partition_share", "loss"):
        rows = rows_of("live-lines", partition_share=apart, loss=loss, round=1)
        before = rows_of("live-lines", partition_share=apart, loss=loss, round=0)
        opens = values(before, "latency_s")  # of round 0, which ends as round 1 opens
        span = f"{min(opens):.1f} to {max(opens):.1f}"
        yield "18 s" if apart else "no", f"{100 * loss:g} %", span, *_live(rows)


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


def results(rows: list[Row]) -> str:
    """Rounds with a result, and runs in which an invariant broke."""
    broken = {row["repetition"] for row in rows if row["broken"]}
    done = [row["completed"] for row in rows if row["round"] > 0]
    return f"{sum(done)} of {len(done)}" + (
        f", {many(len(broken), 'runs')} broken" if broken else ""
    )


def latency(rows: list[Row]) -> str:
    """Seconds of round 1, where it has a result; in brackets the longest of both rounds."""
    done = [row for row in rows if row["round"] > 0 and row["completed"]]
    longest = max(values(done, "latency_s"), default=math.nan)
    return f"{mean([row['latency_s'] for row in done if row['round'] == 1])} ({longest:.1f})"


def excluded(rows: list[Row]) -> str:
    """Nodes excluded by round 2."""
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


ATTACKS = {
    "sign_flip": "negative, within the bound",
    "label_flip": "wrong labels",
    "unbounded": "negative, ten times the bound",
}


def poisoning() -> Iterator[Line]:
    """Accuracy of the last round's model, in per cent, by attack and by what sums are made of."""
    shares = [share for (share,) in kinds(rows_of("poisoning"), "corrupted")]
    yield "poisoners", "by", *(f"{100 * share:g} %" for share in shares)
    for attack, words in ATTACKS.items():
        for groups, tolerated in kinds(rows_of("poisoning"), "groups", "groups_tolerated"):
            rows = rows_of("poisoning", attack=attack, groups=groups, round=20)
            each = f"{groups} groups of {rows[0]['contributors'] // groups}, {tolerated} tolerated"
            found = [[row for row in rows if row["corrupted"] == share] for share in shares]
            cells = [percent(values(of, "accuracy")) for of in found]
            yield words, each if tolerated else "plain mean", *cells


def cost(scenario: str, series: str, x: str, last: int) -> Callable[[], Iterator[Line]]:
    """Points of accuracy lost against the same seeds at the first value of x."""

    def lines() -> Iterator[Line]:
        first, *swept = [value for (value,) in kinds(rows_of(scenario), x)]
        yield series, *(f"{x.replace('_', ' ')} {value:g}" for value in swept)
        for (name,) in kinds(rows_of(scenario), series):
            found = {
                value: {
                    row["seed"]: 100 * row["accuracy"]
                    for row in rows_of(scenario, **{series: name, x: value}, round=last)
                }
                for value in (first, *swept)
            }
            cell = f"{name:,}" if isinstance(name, int) else name
            whole = found[first]
            yield (
                cell,
                *(
                    mean([whole[seed] - each for seed, each in found[value].items()])
                    for value in swept
                ),
            )

    return lines


def epsilon(scenario: str, series: str, x: str, last: int) -> Callable[[], Iterator[Line]]:
    """The largest epsilon of all seeds, where there is noise."""

    def lines() -> Iterator[Line]:
        _, *swept = [value for (value,) in kinds(rows_of(scenario), x)]
        yield series, *(f"{x.replace('_', ' ')} {value:g}" for value in swept)
        for (name,) in kinds(rows_of(scenario), series):
            rows = [rows_of(scenario, **{series: name, x: value}, round=last) for value in swept]
            spent = [max(values(each, "epsilon")) for each in rows]
            yield f"{name:,}", *(f"{each:.{(each < 10) + (each < 1)}f}" for each in spent)

    return lines
