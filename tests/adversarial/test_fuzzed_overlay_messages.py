"""D3, T1: whatever bytes arrive as messages of the overlay, nothing is raised and nothing believed.

Random bytes, and every kind of true message with bytes flipped, cut or put in, reach a node of a
ring that is at work. Afterwards the ring is in order and knows no node that does not exist.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.ringtown import LINK

from pnyx.protocol.events import MessageReceived
from pnyx.protocol.overlay.events import Leave
from pnyx.protocol.overlay.messages import is_overlay_message
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.simulator.overlay import Ringtown

PARAMS = OverlayParams(finger_first_s=600.0, repair_s=2.0, requests_burst=1e9)


def working_town():
    town = Ringtown(12, seed=13, params=PARAMS, link=LINK)
    town.start_converged()
    return town


def harvest():
    """One true message of each kind, with who said it to whom."""
    town, found = working_town(), {}
    carry = town._carry

    def listen(sender, receiver, payload):
        found.setdefault(payload[1], (sender.index, town.by_id[receiver].index, payload))
        carry(sender, receiver, payload)

    town._carry = listen
    ticket = town.put_note(town.nodes[0], b"words")
    town.run(10.0)
    town.get_item(town.nodes[1], town.put[ticket].key)
    town.run(5.0)
    town.nodes[3].handle(Leave())
    return found


MESSAGES = harvest()
TOWN = working_town()


def test_every_kind_is_harvested():
    assert sorted(MESSAGES) == list(range(112, 120))
    assert all(is_overlay_message(payload) for _, _, payload in MESSAGES.values())


def altered(payload, draw):
    at = draw(st.integers(0, len(payload) - 1))
    kind = draw(st.sampled_from(["flip", "cut", "insert", "splice"]))
    if kind == "flip":
        return payload[:at] + bytes([payload[at] ^ draw(st.integers(1, 255))]) + payload[at + 1 :]
    if kind == "cut":
        return payload[:at]
    if kind == "insert":
        return payload[:at] + draw(st.binary(min_size=1, max_size=40)) + payload[at:]
    other = draw(st.sampled_from(sorted(MESSAGES)))
    return payload[:at] + MESSAGES[other][2][at:]


def deliver(data):
    tag = data.draw(st.sampled_from(sorted(MESSAGES)))
    sender, receiver, payload = MESSAGES[tag]
    fuzzed = data.draw(st.one_of(st.binary(max_size=200), st.just(None)))
    if fuzzed is None:
        fuzzed = altered(payload, data.draw)
    said_by = data.draw(st.sampled_from([sender, 5]))
    node = TOWN.nodes[receiver]
    before = {each.node_id for each in node.machine.ring.table}
    node.machine.handle(MessageReceived(TOWN.nodes[said_by].node_id, fuzzed), TOWN.scheduler.now)
    known = {each.node_id for each in node.machine.ring.table}
    assert known <= {each.node_id for each in TOWN.nodes}
    assert len(before - known) <= 1, "at most a node that said goodbye itself"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzzed_messages(data):
    deliver(data)


@pytest.mark.full
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_fuzzed_messages(data):
    deliver(data)


def test_ring_is_in_order_afterwards():
    TOWN.run(20.0)
    assert TOWN.settle(60.0) >= 0.0
