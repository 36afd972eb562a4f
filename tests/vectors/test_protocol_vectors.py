"""Golden values of the protocol: what another implementation must compute, and must refuse.

protocol.json holds hexadecimal inputs and outputs. Negative cases each hold one fault and name the
error. The committee is k = 7, f = 1, l = 2.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from pnyx import errors
from pnyx.primitives.hashing import digest
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.agreement import value_hash, vote_statement
from pnyx.protocol.gossip import blob_name
from pnyx.protocol.identity import network_id, node_id, signing_input
from pnyx.protocol.messages import Instance, Phase
from pnyx.protocol.round.committee import joins_root, receipt_statement
from pnyx.protocol.round.holdings import dealing_info, share_info
from pnyx.protocol.selection import committee_size

VECTORS = json.loads((Path(__file__).parent / "protocol.json").read_text(encoding="utf-8"))
SIZE = committee_size(7, 1, 2)
CONTEXT, SEED = bytes(range(32)), bytes(range(32, 64))


def computed() -> dict[str, str]:
    """Every golden value, in hexadecimal; long ones by their hash."""
    dealt = beacon.deal(SEED, 3, SIZE)
    secret = beacon.recover(dealt.root, dict(enumerate(dealt.shares)), SIZE)
    assert secret is not None
    payloads = direct.share_vector(np.array([1, -2, 3], dtype=np.int64), SIZE, SEED)
    share = direct.read_payload(payloads[4], 3, SIZE.packing)
    answers = direct.pack_values([direct.check_values(share, CONTEXT, 9)])
    values = {
        "node_id": node_id(CONTEXT, bytes(16)),
        "network_id": network_id(CONTEXT, "town"),
        "signing_input": signing_input(CONTEXT, b"body"),
        "blob_name": blob_name(b"model"),
        "value_hash": value_hash(b"value"),
        "vote_statement": vote_statement(CONTEXT, Instance.CLOSE, Phase.LOCK, 5, SEED),
        "receipt_statement": receipt_statement(CONTEXT, 3, SEED),
        "joins_root": joins_root((1, 2, 300)),
        "share_info": share_info(CONTEXT, 9, 3),
        "dealing_info": dealing_info(CONTEXT, 2, 3),
        "dealing_root": dealt.root,
        "dealing_secret": secret,
        "beacon": beacon.combine(CONTEXT, "next", {3: secret, 5: beacon.NO_SECRET}),
        "payloads": digest("vector", *payloads),
        "payload_of_member_4": payloads[4],
        "check_values_of_member_4": answers,
        "released_by_member_4": direct.add_shares([share, share], 3, SIZE.packing),
    }
    return {name: value.hex() for name, value in values.items()}


@pytest.mark.parametrize("name", sorted(VECTORS["values"]))
def test_value(name):
    assert computed()[name] == VECTORS["values"][name]


def test_every_value_has_its_vector():
    assert computed().keys() == VECTORS["values"].keys()


@pytest.mark.parametrize("case", VECTORS["negative"], ids=lambda case: case["fault"])
def test_negative(case):
    data = bytes.fromhex(case["data"])
    readers = {
        "payload": lambda: direct.read_payload(data, 3, SIZE.packing),
        "check_values": lambda: direct.read_values(data, 1),
        "released": lambda: direct.read_released(data, 3, SIZE.packing),
    }
    with pytest.raises(getattr(errors, case["error"])):
        readers[case["reader"]]()
