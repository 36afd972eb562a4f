"""What the honest nodes' own journals say about corrupt ones, and about what was verified.

The launcher knows which processes it corrupted, and asks only the others. A culprit that one of
them holds evidence against is listed: the node verified it, as anybody can. Otherwise the launcher
believes what at least `needed` of them say alike: with f + 1 at least one is honest even where f
are not, so that nobody is listed on the word of liars. Who is accused is not looked at: an honest
node that enough others blamed would be listed, and a test would fail.
"""

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec


class Culprit(msgspec.Struct, frozen=True):
    """A node, by its id in hexadecimal, that broke a rule before enough witnesses.

    evidence: hash of what proves it to anybody, in hexadecimal; empty if it was only seen.
    """

    node: str
    rule: str
    witnesses: int
    evidence: str


class Judged(msgspec.Struct, frozen=True):
    """What one node says of the contributions of one round; see `events.ContributionsJudged`."""

    accepted: int
    rejected: frozenset[str]  # node ids in hexadecimal
    left_out: int


Judgements = Mapping[int, Mapping[int, Judged]]  # round -> node -> judged


Accusations = Mapping[tuple[str, str], Mapping[int, str]]  # (node id, rule) -> who says so


def find_culprits(blamed: Accusations, honest: Collection[int], needed: int) -> list[Culprit]:
    """List culprits, in order of node and rule.

    blamed: (node id, rule) -> node that says so -> hash of its evidence, empty without.
    """
    culprits = []
    for (node, rule), said in sorted(blamed.items()):
        witnesses = {who: evidence for who, evidence in said.items() if who in honest}
        evidence = min(filter(None, witnesses.values()), default="")
        if evidence or len(witnesses) >= needed:
            culprits.append(Culprit(node, rule, len(witnesses), evidence))
    return culprits


def agreed(said: Mapping[int, Judged], honest: Collection[int], needed: int) -> Judged | None:
    """The judgement of one round that enough honest nodes report."""
    votes = Counter(judged for node, judged in said.items() if node in honest)
    found = votes.most_common(1)
    return found[0][0] if found and found[0][1] >= needed else None


def all_verified(
    judgements: Judgements, contributors: Mapping[int, int], honest: Collection[int], needed: int
) -> bool:
    """Whether in every completed round just the contributions that passed were summed.

    contributors: completed round -> contributions that its record counts.
    """
    for number, count in contributors.items():
        judged = agreed(judgements.get(number, {}), honest, needed)
        if judged is None or judged.accepted != count:
            return False
    return bool(contributors)
