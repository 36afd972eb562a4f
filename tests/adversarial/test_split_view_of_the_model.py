"""Different contributors are made to train from different models (THREATS A5).

A header signs the model that its contributor started from, and every member knows the one model of
the chain: the odd contribution is refused before anything is added up.
"""

import pytest
from msgspec.structs import replace
from tests.support.town import NETWORK, Town

from pnyx.primitives import codec
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Contribution, ContributionHeader
from pnyx.protocol.round.values import InputReader


def split_view() -> tuple[Town, bytes, int]:
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    victim = town.plan(study).contributors[0]

    def wire(sender, receiver, message):
        if sender != victim or not isinstance(message, Contribution):
            return None
        header = codec.decode(message.header.body, ContributionHeader, bytes_max=2000)
        other = replace(header, model_hash=b"x" * 32)
        signed = sign_body(town.cryptos[victim], NETWORK, town.census.node_ids[victim], other)
        return [replace(message, header=signed)]

    town.wire = wire
    return town, study, victim


def test_split_view_of_the_model():
    town, study, victim = split_view()
    assert town.run(town.finished(study))
    assert town.model(study)[victim] == 0
    assert "a contribution starts from another model" in town.rules()


def test_the_signed_model_hash_is_the_defence(monkeypatch):
    original = InputReader._check_header

    def permissive(self, signed, header):
        original(self, signed, replace(header, model_hash=self._plan.model_hash))

    monkeypatch.setattr(InputReader, "_check_header", permissive)
    town, _, _ = split_view()
    assert town.run(lambda: bool(town.certified()))
    assert "a contribution starts from another model" not in town.rules()


@pytest.mark.parametrize("at", [0, 3])
def test_all_nodes_hold_one_model(at):
    town = Town()
    study = town.propose()
    assert town.run(town.finished(study))
    assert town.model_bytes(study, at) == town.model_bytes(study, 5)
