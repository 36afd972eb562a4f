"""What the launcher concludes from the journals of honest nodes."""

from pnyx.demo.culprits import Culprit, Judged, agreed, all_verified, find_culprits

HONEST = frozenset(range(8))  # nodes 8 and 9 are corrupt
NEEDED = 3


def seen(*nodes: int) -> dict[int, str]:
    """These nodes blame somebody, without evidence."""
    return dict.fromkeys(nodes, "")


RULE, OTHER = "released a wrong share", "showed two different contributions"


def test_culprit_is_listed_with_the_honest_nodes_that_blame_it() -> None:
    blamed = {("ff", RULE): seen(0, 1, 2, 3, 9), ("ee", OTHER): seen(4, 5, 6)}
    assert find_culprits(blamed, HONEST, NEEDED) == [
        Culprit("ee", OTHER, 3, ""),
        Culprit("ff", RULE, 4, ""),
    ]


def test_culprit_with_evidence_needs_one_honest_node() -> None:
    assert find_culprits({("ff", RULE): {1: "ab"}}, HONEST, NEEDED) == [
        Culprit("ff", RULE, 1, "ab")
    ]
    assert find_culprits({("ff", RULE): {9: "ab"}}, HONEST, NEEDED) == []


def test_fewer_honest_nodes_than_needed_list_nobody() -> None:
    assert find_culprits({("ff", RULE): seen(0, 1)}, HONEST, NEEDED) == []


def test_corrupt_nodes_accuse_in_vain() -> None:
    assert find_culprits({("ff", RULE): seen(0, 1, 8, 9)}, HONEST, NEEDED) == []


def test_different_rules_do_not_add_up() -> None:
    assert (
        find_culprits({("ff", RULE): seen(0, 1), ("ff", OTHER): seen(2, 3)}, HONEST, NEEDED) == []
    )


GOOD = Judged(5, frozenset({"ff"}), 0)


def test_judgement_that_enough_honest_nodes_report() -> None:
    bad = Judged(6, frozenset(), 0)
    said = {0: GOOD, 1: GOOD, 2: GOOD, 3: bad, 8: bad, 9: bad}
    assert agreed(said, HONEST, NEEDED) == GOOD
    assert agreed({0: GOOD, 1: GOOD, 8: GOOD, 9: GOOD}, HONEST, NEEDED) is None
    assert agreed({}, HONEST, NEEDED) is None


def test_every_completed_round_must_have_been_verified() -> None:
    said = dict.fromkeys(range(3), GOOD)
    assert all_verified({1: said, 2: said}, {1: 5, 2: 5}, HONEST, NEEDED)
    assert all_verified({1: said, 2: said}, {1: 5}, HONEST, NEEDED)  # round 2 was skipped
    assert not all_verified({1: said}, {1: 5, 2: 5}, HONEST, NEEDED)
    assert not all_verified({1: said}, {1: 6}, HONEST, NEEDED), "more were summed than had passed"
    assert not all_verified({}, {}, HONEST, NEEDED), "nothing was done, so nothing was verified"
