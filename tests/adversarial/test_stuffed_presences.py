"""D1, R2: nodes of a setter's region name so many candidates that its roll is too long to be sent.

A roll carries every presence, and goes to everybody on it. So a few accomplices would silence an
honest setter, whenever its region holds some. The setter takes no presence that adds others than
certified nodes of R3 which it left out itself, each once.
"""

import pytest
from tests.support.regions import Exchange, Ring

from pnyx.primitives import codec
from pnyx.protocol.selection.region.caller import Caller
from pnyx.protocol.selection.region.messages import CANDIDATES_MAX, Presence, Region, Roll
from pnyx.protocol.selection.region.signer import Signer

RING = Ring(36, corrupt_max=4)
COUNT = 30
INVENTED = tuple(number.to_bytes(32, "big") for number in range(CANDIDATES_MAX))
STUFFING = {
    "invented": INVENTED,
    "repeated": (RING.ids[0],) * CANDIDATES_MAX,
    "named already": tuple(RING.ids),
}


def rolls(monkeypatch, additions, region=Region.LIST):
    """Bytes of the longest roll for a region if k_r - 1 nodes around its caller add these."""
    honest, longest, stuffed = Signer._additions, [0], set()

    def corrupt(signer, call):
        around = RING.nodes_around(call.caller)[: RING.rule.corrupt_max]
        if call.region is region and signer._s.node_id in around:
            return additions
        return honest(signer, call)

    def listen(sender, receiver, message):
        if isinstance(message, Presence) and message.additions == additions:
            stuffed.add(sender)
        if isinstance(message, Roll) and message.region is region:
            longest.append(len(codec.encode(message)))
        return [(receiver, message)]

    monkeypatch.setattr(Signer, "_additions", corrupt)
    exchange = Exchange(RING, COUNT, spoil=listen)
    proof = exchange.run(9.0)
    assert len(stuffed) == RING.rule.corrupt_max
    return max(longest), proof, exchange.refused


@pytest.mark.parametrize("region", list(Region))
@pytest.mark.parametrize("stuffing", STUFFING)
def test_stuffed_presences(monkeypatch, stuffing, region):
    longest, proof, refused = rolls(monkeypatch, STUFFING[stuffing], region)
    assert longest < 10_000
    assert proof is not None
    assert proof.draw.attempt == 1, "the others are a quorum"
    assert set(refused) == {"a node adds candidates that are none, named already, or named twice"}


def test_a_setter_that_took_them_could_not_send_its_roll(monkeypatch):
    everybody = frozenset(INVENTED)
    monkeypatch.setattr(Caller, "_left_out", property(lambda caller: everybody))
    longest, _, _ = rolls(monkeypatch, INVENTED)
    assert longest > RING.rule.corrupt_max * 32 * CANDIDATES_MAX
