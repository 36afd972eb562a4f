"""Golden values of the protocol: what another implementation must compute, and must refuse.

protocol.json holds hexadecimal inputs and outputs. Negative cases each hold one fault and name the
error. The committee is k = 7, f = 1, l = 2; a contribution is three entries of norm 60 at most and
two counts up to 9, a ballot is an approval of at most two of three, in quarters, with noise up to
10. "keyed" is the counts 0 and 9 with the key of a masked vector, 0, 1, 2, 3, p - 1 in each field.
`python -m tests.vectors.test_protocol_vectors` writes the file anew.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from pnyx import errors
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import coefficients, direct, verification
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.agreement import value_hash, vote_statement
from pnyx.protocol.identity import network_id, node_id, signing_input
from pnyx.protocol.messages import Instance, Phase
from pnyx.protocol.models import model_name
from pnyx.protocol.round.holdings import dealing_info, receipt_statement, share_info
from pnyx.protocol.round.values import contribution_context, joins_root
from pnyx.protocol.selection import committee_size

FILE = Path(__file__).with_name("protocol.json")
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
SIZE = committee_size(7, 1, 2)
BOUNDS = Bounds(5, 3, 60, 9)
VECTOR = np.array([1, -2, 3, 0, 9], dtype=np.int64)
BALLOT_BOUNDS = Bounds(3, 0, 0, 1, 4, 10, Ballot("approval", 3, 2))
BALLOT = np.array([1, 0, 0, -10, 3, 7], dtype=np.int64)  # three entries, and their noise
KEYED = Bounds(2, 0, 0, 9, key_length=5, key_fields=2)
COUNTS = np.array([0, 9], dtype=np.int64)
KEY = tuple(np.array([0, 1, 2, 3, field.modulus - 1]) for field in FIELDS)
CONTEXT, SEED = bytes(range(32)), bytes(range(32, 64))


def contribution(vector=VECTOR, bounds=BOUNDS, key=()) -> dict[str, bytes]:
    """A golden contribution of node 9, and what member 4 makes of it."""
    context = contribution_context(CONTEXT, 9)
    proven = verification.prove(vector, bounds, SIZE, SEED, context, key)
    commitment = verification.commit(context, merkle_root(proven.payloads))
    claim = coefficients.Claim(9, commitment, proven.published)
    share = verification.read_payload(proven.payloads[4], bounds, SIZE)
    answers = verification.answers(share, 4, claim, CONTEXT, bounds, SIZE)
    return {
        "contribution_context": context,
        "commitment": commitment,
        "published": digest("vector", proven.published),
        "payloads": digest("vector", *proven.payloads),
        "payload_of_member_4": proven.payloads[4],
        "answers_of_member_4": verification.pack_answers([answers]),
        "released_by_member_4": verification.sum_share([share, share], bounds, SIZE),
    }


def computed() -> dict[str, str]:
    """Every golden value, in hexadecimal; long ones by their hash."""
    dealt = beacon.deal(SEED, 3, SIZE)
    secret = beacon.recover(dealt.root, dict(enumerate(dealt.shares)), SIZE)
    assert secret is not None
    values = {
        "node_id": node_id(CONTEXT, bytes(16)),
        "network_id": network_id(CONTEXT, "town"),
        "signing_input": signing_input(CONTEXT, b"body"),
        "model_name": model_name(b"model"),
        "value_hash": value_hash(b"value"),
        "vote_statement": vote_statement(CONTEXT, Instance.CLOSE, Phase.LOCK, 5, SEED),
        "receipt_statement": receipt_statement(CONTEXT, 3, SEED),
        "joins_root": joins_root((1, 2, 300)),
        "share_info": share_info(CONTEXT, 9, 3),
        "dealing_info": dealing_info(CONTEXT, 2, 3),
        "dealing_root": dealt.root,
        "dealing_secret": secret,
        "beacon": beacon.combine(CONTEXT, "next", {3: secret, 5: beacon.NO_SECRET}),
        **contribution(),
        **{f"ballot_{name}": value for name, value in contribution(BALLOT, BALLOT_BOUNDS).items()},
        **{f"keyed_{name}": value for name, value in contribution(COUNTS, KEYED, KEY).items()},
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
        "payload": lambda: verification.read_payload(data, BOUNDS, SIZE),
        "published": lambda: verification.check_published(data, BOUNDS),
        "answers": lambda: verification.read_answers(data, 1, SIZE),
        "released": lambda: direct.read_released(
            data, verification.summed_length(BOUNDS, SIZE), SIZE.packing
        ),
    }
    with pytest.raises(getattr(errors, case["error"])):
        readers[case["reader"]]()


def negative() -> list[dict[str, str]]:
    """Single faults in the golden contribution."""
    good = contribution()
    payload, answers = good["payload_of_member_4"], good["answers_of_member_4"]
    released = good["released_by_member_4"]
    first, second = (field.modulus.to_bytes(4, "little") for field in FIELDS)
    long = np.zeros(256, dtype="<i4")
    long[7] = -BOUNDS.published_max - 1
    cases = [
        ("a payload one byte short", "payload", payload[:-1], "MalformedMessage"),
        ("a payload one element long", "payload", payload + bytes(4), "MalformedMessage"),
        (
            "an element of a payload equal to the first prime",
            "payload",
            payload[:16] + first + payload[20:],
            "MalformedMessage",
        ),
        ("a published vector one entry short", "published", bytes(1020), "MalformedMessage"),
        ("a published entry above its bound", "published", long.tobytes(), "RuleBroken"),
        ("answers for two contributions", "answers", answers * 2, "MalformedMessage"),
        (
            "an answer equal to the second prime",
            "answers",
            answers[:-4] + second,
            "MalformedMessage",
        ),
        ("a released share one byte long", "released", released + b"\0", "MalformedMessage"),
        (
            "a released element above its prime",
            "released",
            b"\xff" * 4 + released[4:],
            "MalformedMessage",
        ),
    ]
    return [
        {"fault": fault, "reader": reader, "data": data.hex(), "error": error}
        for fault, reader, data, error in cases
    ]


if __name__ == "__main__":
    content = {"values": computed(), "negative": negative()}
    FILE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
