"""What a node tells its owner of a contribution that a record counts."""

from tests.support.town import Town

from pnyx.protocol.events import ContributionCounted
from pnyx.protocol.study import read_body, record_hash


def counted(town: Town, node: int, since: int = 0) -> list[ContributionCounted]:
    said = town.log[since:]
    return [e for _, who, e in said if who == node and isinstance(e, ContributionCounted)]


def test_who_counts_is_told_once_and_again_after_a_restart():
    """The owner's ledger may not have heard it before the node was killed."""
    town = Town()
    study = town.propose()
    assert town.run(town.finished(study))
    record = town.machines[0].studies[study].records[-1]
    body = read_body(record)
    expected = [ContributionCounted(study, 1, 1, record_hash(record))]
    for node in range(town.count):
        assert counted(town, node) == (expected if node in body.accepted else [])
    node, before = body.accepted[0], len(town.log)
    town.crash(node)
    town.restart(node)
    town.run(lambda: bool(counted(town, node, before)), seconds=5.0)
    assert counted(town, node, before) == expected
