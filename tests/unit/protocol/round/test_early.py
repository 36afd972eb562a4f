"""Messages that come before their round wait as bytes, so that their number is what they take."""

import tracemalloc

import pytest

from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.messages import (
    Certificate,
    HeadersRequest,
    Instance,
    Phase,
    Pull,
    RoundMessage,
    ShareRequest,
    Step,
)
from pnyx.protocol.round.early import EarlyMessages

CONTEXT, OTHER = b"c" * 32, b"o" * 32
SIGNERS = QuorumCertificate(tuple(range(300, 200_300)), ())
LARGE = [
    Certificate(CONTEXT, Instance.OPEN, Phase.ECHO, 0, bytes(32), SIGNERS),
    ShareRequest(CONTEXT, tuple(range(300, 4396))),
    HeadersRequest(CONTEXT, tuple(at.to_bytes(32, "big") for at in range(4096))),
]


@pytest.mark.parametrize("message", LARGE, ids=lambda message: type(message).__name__)
def test_what_waits_takes_no_more_memory_than_is_counted(message):
    """Decoded, a list of small integers takes a dozen times its bytes."""
    payload = codec.encode(message)
    early = EarlyMessages(messages_max=100, bytes_max=2**30)
    tracemalloc.start()
    for _ in range(5):
        early.keep(b"peer", codec.decode(payload, RoundMessage, bytes_max=2**23))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert early.size == 5 * len(payload)
    assert taken < 1.1 * early.size + 10_000


def test_what_is_taken_is_what_came_in_its_order():
    early = EarlyMessages(messages_max=4, bytes_max=1000)
    pulls = [
        Pull(context, step) for step in (Step.CLOSE, Step.DONE) for context in (CONTEXT, OTHER)
    ]
    for sender, message in enumerate(pulls):
        early.keep(bytes((sender,)), message)
    assert early.take(CONTEXT) == [(bytes((at,)), codec.encode(pulls[at])) for at in (0, 2)]
    assert early.take(CONTEXT) == []
    assert len(early) == 2
    assert early.size == 2 * len(codec.encode(pulls[1]))


@pytest.mark.parametrize("bounds", [{"messages_max": 2}, {"bytes_max": 100}])
def test_the_oldest_goes_first(bounds):
    early = EarlyMessages(**{"messages_max": 9, "bytes_max": 1000, **bounds})
    pulls = [Pull(CONTEXT, step) for step in Step]
    assert 2 <= 100 // len(codec.encode(pulls[0])) < 3
    for message in pulls:
        early.keep(b"peer", message)
    assert [payload for _, payload in early.take(CONTEXT)] == list(map(codec.encode, pulls[-2:]))
    assert early.size == 0
