"""How large a committee must be, and what remains possible.

A committee of k nodes tolerates f corrupt members. Contributions are shared with polynomials of
degree D = f + l - 1, l values packed into each, so f members together learn nothing and f + 1
begin to learn. Every other size follows (docs/protocol.md, section 6):

- *answers needed*: a check that multiplies shares doubles the degree; max(2D+1+f+e, 2D+1+2e)
  answers decode it when e of those who answer lie. With e = f this is 4f + 2l - 1;
- *quorum* q: two quorums share more than f members when 2q > k + f, so an honest one, and no two
  sets are opened; and q <= k - f - absent, or silent members would block every certificate.

A committee is drawn uniformly from N nodes of which C are corrupt, afresh every round, and the
draw cannot be bent; so the number of corrupt members is hypergeometric, and a study of T rounds is
exposed with probability 1 - (1 - P[more than f])^T.

`choose_committee` knows two cases. In a **large** network it takes the smallest committee that
meets alpha in a network without limit (binomial tails): the size then neither depends on N nor
relies on the exact head-count ⌈cN⌉. A network is **small** when that committee would be more than
two thirds of it. Then two thirds are drawn, never everyone, so that the draw still means something,
and as many corrupt members as possible are tolerated, whatever share was expected: exposure is
zero up to f corrupt nodes, and the figure beyond is for people to judge (see `assessment`).
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.errors import ConfigError
from pnyx.protocol.selection.tails import (
    at_least_once,
    binomial_upper,
    head_count,
    hypergeometric_upper,
)

NODES_MIN = 6  # five members are the fewest with f = l = 1, and one node must stay undrawn
COMMITTEE_SIZE_MAX = 512  # beyond, shares for every member outweigh the model itself
ALPHA = 1e-6  # exposure accepted for a whole study
TOO_FEW_MAX = 0.01  # rounds that may lack answers; they are attempted again, nothing leaks
AGGREGATORS_MIN = 2  # for availability alone
_TINY_COMMITTEE_MAX = 8  # f = 1 with two absences; two thirds of twelve nodes

_Count = Annotated[int, Meta(ge=0, le=1024)]


class CommitteeSize(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The sizes that every node of a network must agree on; inconsistent ones cannot exist.

    Build it with `committee_size` or `choose_committee`. It travels inside the signed census:
    decoding sizes that break a rule of the module docstring raises ValueError, which decoders
    report as a malformed message.
    """

    size: Annotated[int, Meta(ge=5, le=1024)]  # k
    corrupt_max: Annotated[int, Meta(ge=1, le=1024)]  # f
    packing: Annotated[int, Meta(ge=1, le=1024)]  # l
    degree: _Count  # D
    quorum: _Count  # q
    answers_needed: _Count  # with f liars, products checked
    absent_max: _Count  # honest members that may be away while everything still works

    def __post_init__(self) -> None:
        broken = _broken_rule(self)
        if broken:
            raise ValueError(broken)

    @property
    def linear_answers_needed(self) -> int:
        """Answers that decode a sharing of degree D when f of those who answer lie."""
        return linear_answers_needed(self.corrupt_max, self.packing)

    @property
    def handover_quorum(self) -> int:
        """Members of whom, and of any quorum, more than f are the same: w = k + f - q + 1."""
        return self.size + self.corrupt_max - self.quorum + 1

    @property
    def two_sets_min(self) -> int:
        """Corrupt members that could have two different sets certified: 2q - k, above f."""
        return 2 * self.quorum - self.size


def answers_needed(corrupt_max: int, packing: int, lying: int | None = None) -> int:
    """Answers that decode a product of two sharings when `lying` of them are wrong (default f)."""
    lying = corrupt_max if lying is None else lying
    product = 2 * (corrupt_max + packing - 1) + 1
    return max(product + corrupt_max + lying, product + 2 * lying)


def linear_answers_needed(corrupt_max: int, packing: int) -> int:
    """Answers that decode one sharing (a sum, no product) when f of them are wrong: D + 1 + 2f."""
    return (corrupt_max + packing - 1) + 1 + 2 * corrupt_max


def quorum(size: int, corrupt_max: int, absent_max: int | None = None) -> int:
    """Signatures that certify a decision, with (k + f)/2 < q <= k - f - absent.

    Without `absent_max` the smallest safe quorum. With it the largest that is still reached when
    that many honest members are away and all corrupt ones keep silent: more overlap between two
    quorums at no cost in planned availability.
    """
    smallest = (size + corrupt_max) // 2 + 1
    if absent_max is None:
        return smallest
    largest = size - corrupt_max - absent_max
    if largest < smallest:
        raise ConfigError(
            f"A committee of {size} with {corrupt_max} corrupt and {absent_max} absent members "
            f"cannot reach the quorum of {smallest}: tolerate fewer of either."
        )
    return largest


def committee_size(
    size: int, corrupt_max: int, packing: int = 1, absent_max: int = 0
) -> CommitteeSize:
    """Derive all sizes from four; raises ConfigError when they cannot work together."""
    needed = answers_needed(corrupt_max, packing)
    if min(corrupt_max, packing) < 1 or absent_max < 0 or not 5 <= size <= 1024:
        raise ConfigError(
            "A committee has 5 to 1024 members, tolerates at least one corrupt one and packs at "
            "least one value."
        )
    if needed > size - absent_max:
        raise ConfigError(
            f"A committee of {size} leaves {size - absent_max} answers after {absent_max} "
            f"absences, but {corrupt_max} corrupt members and packing {packing} need {needed}: "
            "enlarge the committee or tolerate less."
        )
    return CommitteeSize(
        size=size,
        corrupt_max=corrupt_max,
        packing=packing,
        degree=corrupt_max + packing - 1,
        quorum=quorum(size, corrupt_max, absent_max),
        answers_needed=needed,
        absent_max=absent_max,
    )


def choose_committee(
    nodes: int,
    corrupted_share: float = 0.05,
    absent_share: float = 0.10,
    rounds: int = 40,
    *,
    groups: int = 1,
    packing: int = 4,
    alpha: float = ALPHA,
    too_few_max: float = TOO_FEW_MAX,
    size_max: int = COMMITTEE_SIZE_MAX,
) -> CommitteeSize:
    """Choose the committee for a network and its longest study (rules: module docstring).

    rounds, groups: a fresh committee for each; both attempts of a round keep theirs. (A round draws
    one for all its groups of contributors, which then count as one here.) `packing` is what a large
    network packs, and the most that a small one does. When alpha is out of reach within `size_max`
    members the committee comes from the rule for small networks: the caller shows
    `exposure_probability`. Raises ConfigError when the network is too small.
    """
    _check_planning(nodes, corrupted_share, absent_share, rounds * groups)
    if not (0 < alpha < 1 and 0 < too_few_max < 1):
        raise ConfigError("Alpha, and the share of rounds that may fail, lie between 0 and 1.")
    if packing < 1 or not 5 <= size_max <= 1024:
        raise ConfigError("Packing must be at least 1, the largest committee 5 to 1024.")
    corrupted, absent = head_count(corrupted_share, nodes), head_count(absent_share, nodes)
    cap, drawn = min(_size_cap(nodes, absent), size_max), rounds * groups
    first = _smallest_in_large_network(
        corrupted_share, absent_share, packing, alpha / drawn, too_few_max, cap
    )
    for size in range(first, cap + 1):
        away = _absent_planned(nodes, absent, size, too_few_max)
        corrupt_max = _corrupt_max(size, away, packing)
        exposed = hypergeometric_upper(nodes, corrupted, size, corrupt_max + 1)
        if corrupt_max >= 1 and at_least_once(exposed, drawn) <= alpha:
            return committee_size(size, corrupt_max, packing, away)
    return _most_tolerant(cap, _absent_planned(nodes, absent, cap, too_few_max), packing)


def exposure_probability(
    nodes: int,
    corrupted: int,
    committee: CommitteeSize,
    rounds: int,
    attempts: int = 1,
    groups: int = 1,
    stand_ins: int = 0,
) -> float:
    """Probability that some committee of a study has more than f corrupt members, who then read.

    attempts: committees drawn afresh per round; one when attempts keep their committee. stand_ins:
    members that a later attempt may replace by the continuation of the same draw; what counts is
    then the corrupt among all size + stand_ins drawn, since honest members can be kept away.
    """
    drawn = min(nodes, committee.size + stand_ins)
    once = hypergeometric_upper(nodes, corrupted, drawn, committee.corrupt_max + 1)
    return at_least_once(once, rounds * attempts * groups)


def two_sets_probability(
    nodes: int, corrupted: int, committee: CommitteeSize, rounds: int, groups: int = 1
) -> float:
    """Probability that some committee could certify two different sets: 2q - k corrupt members."""
    once = hypergeometric_upper(nodes, corrupted, committee.size, committee.two_sets_min)
    return at_least_once(once, rounds * groups)


def wrong_result_probability(
    nodes: int,
    corrupted: int,
    committee: CommitteeSize,
    rounds: int,
    groups: int = 1,
    aggregators: int = 0,
) -> float:
    """Probability that a coalition could have a wrong result certified in some round of a study.

    More than f members can steer the decoder, which corrects at most f wrong answers, and then
    honest ones sign what they decoded. In masked mode so can the aggregators of a group when all
    of them are corrupt; direct mode has none (aggregators = 0).
    """
    steered = hypergeometric_upper(nodes, corrupted, committee.size, committee.corrupt_max + 1)
    captured = (
        hypergeometric_upper(nodes, corrupted, aggregators, aggregators) if aggregators else 0
    )
    return at_least_once(steered + (1 - steered) * captured, rounds * groups)


def too_few_answers_probability(nodes: int, absent: int, committee: CommitteeSize) -> float:
    """Probability that absences stop a round, when f other members lie or keep silent.

    Then either the answers or the signatures fall short; the round is attempted again.
    """
    spare_answers = committee.size - committee.answers_needed
    spare_signatures = committee.size - committee.corrupt_max - committee.quorum
    spare = min(spare_answers, spare_signatures)
    return hypergeometric_upper(nodes, absent, committee.size, spare + 1)


def corrupted_tolerated(
    nodes: int, committee: CommitteeSize, rounds: int, groups: int = 1, alpha: float = ALPHA
) -> int:
    """Corrupted nodes in the whole network up to which a study's exposure stays within alpha."""
    low, high = committee.corrupt_max, nodes + 1  # low meets alpha, high does not
    while high - low > 1:
        middle = (low + high) // 2
        exposed = exposure_probability(nodes, middle, committee, rounds, groups=groups)
        low, high = (middle, high) if exposed <= alpha else (low, middle)
    return low


def aggregators_needed(
    nodes: int, corrupted: int, rounds: int, groups: int = 1, alpha: float = ALPHA
) -> int:
    """Fewest aggregators per group of whom, within alpha, some are honest in every round."""
    for count in range(AGGREGATORS_MIN, nodes + 1):
        captured = hypergeometric_upper(nodes, corrupted, count, count)
        if at_least_once(captured, rounds * groups) <= alpha:
            return count
    raise ConfigError("No number of aggregators helps when every node is corrupted.")


def _broken_rule(sizes: CommitteeSize) -> str | None:
    """Name the rule that these sizes break; None when they are consistent."""
    k, f, away = sizes.size, sizes.corrupt_max, sizes.absent_max
    if sizes.degree != f + sizes.packing - 1:
        return "degree is not corrupt_max + packing - 1"
    if sizes.answers_needed != answers_needed(f, sizes.packing):
        return "answers_needed does not follow from corrupt_max and packing"
    if sizes.answers_needed > k - away:
        return "absences leave fewer answers than needed"
    if not (k + f) // 2 < sizes.quorum <= k - f - away:
        return "quorum is not above (size + corrupt_max)/2 and within size - corrupt_max - absent"
    return None


def _size_cap(nodes: int, absent: int) -> int:
    """Two thirds of the network; in tiny ones rather what f = 1 needs, but never everyone."""
    tiny = min(_TINY_COMMITTEE_MAX, max(5, 4 + 2 * absent))
    return max(2 * nodes // 3, min(nodes - 1, tiny))


def _corrupt_max(size: int, away: int, packing: int) -> int:
    """Largest f with 4f + 2l - 1 answers left after `away` absences, and a quorum: k > 3f + 2a."""
    return min((size - away - 2 * packing + 1) // 4, (size - 2 * away - 1) // 3)


def _most_tolerant(size: int, away: int, packing: int) -> CommitteeSize:
    """The rule of small networks: first as many corrupt members as fit, then packing."""
    while _corrupt_max(size, away, 1) < 1:
        away -= 1  # a tiny committee cannot wait for everyone: it tries again instead
    corrupt_max = _corrupt_max(size, away, 1)
    spare = size - away - answers_needed(corrupt_max, 1)
    return committee_size(size, corrupt_max, min(packing, 1 + spare // 2), away)


def _absent_planned(nodes: int, absent: int, size: int, too_few_max: float) -> int:
    """Fewest absences to plan for, so that more are met in at most `too_few_max` of the rounds."""
    away = 0
    while hypergeometric_upper(nodes, absent, size, away + 1) > too_few_max:
        away += 1
    return away


def _smallest_in_large_network(
    corrupted_share: float,
    absent_share: float,
    packing: int,
    alpha_per_committee: float,
    too_few_max: float,
    size_max: int,
) -> int:
    """Smallest committee within alpha when N has no limit; size_max + 1 when there is none."""
    away = 0
    for size in range(5, size_max + 1):
        while binomial_upper(size, absent_share, away + 1) > too_few_max:
            away += 1
        corrupt_max = _corrupt_max(size, away, packing)
        if corrupt_max >= 1:
            exposed = binomial_upper(size, corrupted_share, corrupt_max + 1)
            if exposed <= alpha_per_committee:
                return size
    return size_max + 1


def _check_planning(nodes: int, corrupted_share: float, absent_share: float, drawn: int) -> None:
    """Refuse planning figures that mean nothing; raises ConfigError."""
    if nodes < NODES_MIN:
        raise ConfigError(
            f"A committee needs a network of at least {NODES_MIN} nodes and this one has {nodes}: "
            "enrol more."
        )
    if not (0 <= corrupted_share < 1 and 0 <= absent_share < 1):
        raise ConfigError(
            "The corrupted and absent shares must be at least 0 and below 1; 0.05 means 5 %."
        )
    if drawn < 1:
        raise ConfigError("A study has at least one round, and a round at least one committee.")
