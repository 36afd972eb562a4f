"""Groups and robust rules in plain integers, from which `groups.json` was made.

Written from docs/protocol.md (section 22) on top of `reference.py`, and sharing no code with pnyx.
`python tests/vectors/groups_reference.py` writes the file again; `test_group_vectors.py` checks
that it is what this file gives, and that pnyx agrees.

Contributors are named by their place among those that were drawn. A case with an "error" holds a
single fault and must be refused with that error. `robust.json` holds what byzfl gives, in floats.
"""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import msgspec

PLAIN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference.py"))))
digest, Stream = PLAIN.digest, PLAIN.Stream

CONTEXT = digest("vectors/groups", b"context")
LARGEST = 2**31  # of an entry of one contribution
SUMMED_MAX = 256  # contributors of one sum


def mean(total: int, contributors: int) -> int:
    """The mean of a group in units of 2^-8, rounded to nearest, halves up."""
    return (2**9 * total + contributors) // (2 * contributors)


def near(means: list[list[int]], tolerated: int) -> list[list[int]]:
    """For each group those that it is mixed from."""
    found = []
    for own, row in enumerate(means):
        others = []
        for other, given in enumerate(means):
            if other != own:
                square = sum((a - b) ** 2 for a, b in zip(row, given, strict=True))
                others.append((square, other))
        nearest = [other for _, other in sorted(others)]
        found.append(sorted([own, *nearest[: len(means) - tolerated - 1]]))
    return found


def trimmed(groups: list[dict], tolerated: int) -> dict:
    """The rule step by step."""
    means = [[mean(each, group["contributors"]) for each in group["sum"]] for group in groups]
    mixed_from, kept = near(means, tolerated), len(groups) - 2 * tolerated
    mixed = [
        [sum(column) for column in zip(*(means[at] for at in chosen), strict=True)]
        for chosen in mixed_from
    ]
    columns = [sorted(column) for column in zip(*mixed, strict=True)]
    return {
        "means": means,
        "mixed_from": mixed_from,
        "mixed": mixed,
        "total": [sum(column[tolerated : tolerated + kept]) for column in columns],
        "divisor": 2**8 * (len(groups) - tolerated) * kept,
    }


def plain(groups: list[dict]) -> dict:
    """The mean of all contributors."""
    columns = zip(*(group["sum"] for group in groups), strict=True)
    return {
        "total": [sum(column) for column in columns],
        "divisor": sum(group["contributors"] for group in groups),
    }


def assigned(beacon: bytes, drawn: list[bytes], groups: int) -> list[int]:
    """The group of each that was drawn."""
    ranked = sorted(drawn, key=lambda node: digest("pnyx/selection/group", beacon, node))
    return [ranked.index(node) % groups for node in drawn]


def opened(group_of: list[int], accepted: list[int], floor: int, tolerated: int) -> list:
    """The groups whose sums are opened, each with who counts in it."""
    filled = {group: [who for who in accepted if group_of[who] == group] for group in set(group_of)}
    reached = [[group, filled[group]] for group in sorted(filled) if len(filled[group]) >= floor]
    return reached if len(reached) >= 2 * tolerated + 1 else []


def sum_hash(context: bytes, group: int, entries: list[int]) -> bytes:
    """What a record says of a sum."""
    data = b"".join(entry.to_bytes(8, "little", signed=True) for entry in entries)
    return digest("pnyx/group-sum", context, group.to_bytes(4, "big"), data)


# --- the vectors ----------------------------------------------------------------------------------


def mean_vectors():
    most = SUMMED_MAX * (LARGEST - 1)
    for total, contributors in (
        (0, 1), (1, 1), (-1, 1), (1, 3), (-1, 3), (2, 3), (-2, 3), (1, 4), (5, 7), (-5, 7),
        (1, 512), (-1, 512), (3, 512), (-3, 512), (1, 511), (-1, 511), (1, 513), (-1, 513),
        (most, SUMMED_MAX), (-most, SUMMED_MAX), (most - 1, SUMMED_MAX), (1 - most, SUMMED_MAX),
    ):  # fmt: skip
        yield {"sum": total, "contributors": contributors, "mean": mean(total, contributors)}


def drawn_groups(stream, counts: list[int], length: int, bound: int, moved: int = 0) -> list[dict]:
    """Groups with sums of entries below a bound; the last ones are moved far away."""
    return [
        {
            "sum": [
                (stream.below(2 * bound + 1) - bound) * count
                + (moved if at + 1 == len(counts) else 0)
                for _ in range(length)
            ],
            "contributors": count,
        }
        for at, count in enumerate(counts)
    ]


def rule_vectors(stream):
    ones = [{"sum": [entry], "contributors": 1} for entry in (0, 2, -2, 2, 0)]
    equal = [{"sum": [7, -7], "contributors": 2} for _ in range(4)]
    most = [
        {"sum": [sign * 3 * (LARGEST - 1), 3 * (1 - LARGEST)], "contributors": 3}
        for sign in (1, -1, 1, -1, 1)
    ]
    halves = [{"sum": [entry], "contributors": 512} for entry in (1, 1, -1)]
    for what, groups, tolerated in (
        ("a mean of groups of different sizes", drawn_groups(stream, [3, 4, 3], 4, 100), 0),
        ("one group alone", drawn_groups(stream, [5], 3, 100), 0),
        ("three groups, one poisoned", drawn_groups(stream, [3, 4, 3], 4, 100, 10**6), 1),
        ("five groups, one tolerated", drawn_groups(stream, [2, 3, 2, 3, 3], 3, 50, -(10**5)), 1),
        ("five groups, two tolerated", drawn_groups(stream, [2, 3, 2, 3, 3], 3, 50, 10**5), 2),
        ("equally near groups: the lowest is taken", ones, 2),
        ("equally near groups, fewer left out", ones, 1),
        ("all groups alike", equal, 1),
        ("halves of the grid go up", halves, 1),
        ("the largest entries", most, 2),
        ("as many as there can be", drawn_groups(stream, [8] * 31, 2, 10**4, 10**8), 15),
    ):
        result = trimmed(groups, tolerated) if tolerated else plain(groups)
        rule = "trimmed" if tolerated else "mean"
        yield {"what": what, "rule": rule, "tolerated": tolerated, "groups": groups, **result}


def nodes(count: int) -> list[bytes]:
    return [digest("vectors/groups", b"node", bytes([at])) for at in range(count)]


def assignment_vectors():
    for number, (count, groups) in enumerate(((9, 3), (10, 3), (11, 4), (7, 1), (64, 32), (3, 5))):
        beacon = digest("vectors/groups", b"beacon", bytes([number]))
        drawn = nodes(count)
        yield {
            "beacon": beacon.hex(),
            "drawn": [node.hex() for node in drawn],
            "groups": groups,
            "group_of": assigned(beacon, drawn, groups),
        }


def opened_vectors():
    group_of = next(assignment_vectors())["group_of"]
    first, second, third = ([w for w in range(9) if group_of[w] == at] for at in range(3))
    for what, accepted, floor, tolerated in (
        ("all of them", first + second + third, 3, 1),
        ("one group below the floor", first + second[1:] + third, 3, 0),
        ("too few groups for the rule", first + second[1:] + third, 3, 1),
        ("the floor is reached exactly", first[1:] + second[1:] + third[1:], 2, 1),
        ("one alone in each", [first[0], second[0], third[0]], 2, 0),
        ("nobody", [], 2, 0),
    ):
        yield {
            "what": what,
            "group_of": group_of,
            "accepted": sorted(accepted),
            "floor": floor,
            "tolerated": tolerated,
            "opened": opened(group_of, sorted(accepted), floor, tolerated),
        }


def sum_vectors():
    for group, entries in (
        (0, [0]), (1, [0]), (0, [1, -1]), (31, [2**62, -(2**62), 0]), (0, [-1, 1]), (256, [5]),
    ):  # fmt: skip
        yield {
            "context": CONTEXT.hex(),
            "group": group,
            "entries": entries,
            "hash": sum_hash(CONTEXT, group, entries).hex(),
        }


def refused_rules():
    """Rules as a manifest states them."""
    for fault, rule in (
        ("a mean that tolerates a group", ["mean", 1]),
        ("a trimmed mean that tolerates none", ["trimmed", 0]),
        ("more than 15 tolerated", ["trimmed", 16]),
        ("fewer than none tolerated", ["trimmed", -1]),
        ("no rule of ours", ["median", 1]),
    ):
        encoded = msgspec.msgpack.encode(rule)
        yield {"fault": fault, "encoded": encoded.hex(), "error": "MalformedMessage"}


def refused_phases():
    """Phases whose groups serve nothing, or are too few for their rule."""
    for fault, kind, groups, tolerated in (
        ("groups where nothing is trained", "evaluate", 2, 0),
        ("two groups, one tolerated", "train", 2, 1),
        ("four groups, two tolerated", "train", 4, 2),
        ("one group, one tolerated", "train", 1, 1),
        ("thirty groups, fifteen tolerated", "train", 30, 15),
    ):
        phase = {"kind": kind, "groups": groups, "tolerated": tolerated}
        yield {"fault": fault, **phase, "error": "RuleBroken"}


def refused_records():
    """What a record says of the round of the first assignment, with a floor of two."""
    group_of = next(assignment_vectors())["group_of"]
    whole = list(range(9))
    first = [who for who in whole if group_of[who] == 0]
    lone = [who for who in whole if who not in first[1:]]
    assert [group for group, _ in opened(group_of, lone, 2, 0)] == [1, 2]
    for fault, accepted, named, skipped, tolerated in (
        ("a group left out", whole, [0, 1], False, 0),
        ("a group that is not there", whole, [0, 1, 2, 3], False, 0),
        ("groups out of order", whole, [1, 0, 2], False, 0),
        ("a group twice", whole, [0, 1, 1, 2], False, 0),
        ("one contributor below the floor counts", lone, [1, 2], False, 0),
        ("one below the floor is opened", lone, [0, 1, 2], False, 0),
        ("too few groups for the rule", sorted(set(whole) - set(first)), [1, 2], False, 1),
        ("a round that was skipped opens one", whole, [0], True, 0),
    ):
        yield {
            "fault": fault,
            "group_of": group_of,
            "accepted": accepted,
            "floor": 2,
            "tolerated": tolerated,
            "named": named,
            "skipped": skipped,
            "error": "RuleBroken",
        }


def vectors():
    stream = Stream(PLAIN.SEED, "vectors/groups")
    return {
        "means": list(mean_vectors()),
        "rules": list(rule_vectors(stream)),
        "assignments": list(assignment_vectors()),
        "opened": list(opened_vectors()),
        "sums": list(sum_vectors()),
        "rules_refused": list(refused_rules()),
        "phases_refused": list(refused_phases()),
        "records_refused": list(refused_records()),
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("groups.json")
    path.write_text(json.dumps(vectors(), indent=1) + "\n")
