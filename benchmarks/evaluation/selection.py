"""Selection in bulk, naive selections, costs and caches."""

from collections.abc import Iterator
from statistics import fmean

from benchmarks.evaluation.cells import (
    Line,
    Row,
    kinds,
    mean,
    percent,
    power,
    rare,
    rows_of,
    share,
    values,
)
from pnyx.simulator.runner.statistics import student


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
        "others expected",
        "counted",
        "their standard deviation",
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
            f"{(nodes - 1) * rows[0]['region_size']:,.1f}",
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
