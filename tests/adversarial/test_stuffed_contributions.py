"""A contributor that also speaks for others would be counted several times (M1, A3).

A whole network in virtual time; the coalition sends every contribution twice more: naming the next
node of the census, signed by its own key or with that node's name on it.
"""

import pytest

from pnyx.errors import ProtocolError
from pnyx.protocol.messages import Signed
from pnyx.protocol.round.values import InputReader
from pnyx.simulator import InvariantError, Scenario, run

SCENARIO = Scenario(seed=11, nodes=10, corrupt=((0, "stuff"), (4, "stuff")))
FOR_ANOTHER = "a contribution speaks for another node"


def test_nobody_contributes_for_another() -> None:
    outcome = run(SCENARIO)
    assert outcome.finished
    body = outcome.records[1]
    assert not body.skipped
    assert sum(body.metrics) == len(body.accepted) == len(set(body.accepted))
    told = " ".join(outcome.rules)
    assert FOR_ANOTHER in told


def test_believed_names_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison of names an honest node would be convicted of two contributions."""
    checked = InputReader._check_header

    def believing(reader: InputReader, signed: Signed, *others: object) -> object:
        try:
            return checked(reader, signed, *others)
        except ProtocolError as error:
            if str(error) != FOR_ANOTHER:
                raise
            return None

    monkeypatch.setattr(InputReader, "_check_header", believing)
    with pytest.raises(InvariantError, match="excludes an honest node"):
        run(SCENARIO)
