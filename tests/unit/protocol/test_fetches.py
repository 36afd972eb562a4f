"""Who is asked for which chunk, and when somebody else is."""

import pytest

from pnyx.protocol.fetches import Fetch
from pnyx.protocol.messages import CHUNK_BYTES
from pnyx.protocol.params import ProtocolParams

A, B, C = (bytes((at,)) * 32 for at in (1, 2, 3))
PARAMS = ProtocolParams(parcel_window_chunks=4, parcel_request_timeout_s=5.0)
AWAY: set[bytes] = set()


@pytest.fixture(autouse=True)
def _nobody_is_away():
    AWAY.clear()


def begun(count: int, *sources: bytes) -> Fetch:
    """A fetch that has the first chunk, at time 0."""
    fetch = Fetch(PARAMS, lambda peer: peer in AWAY)
    fetch.add_sources(sources)
    assert fetch.ask(0.0) == (0,)
    fetch.learn_length((count - 1) * CHUNK_BYTES + 1)
    assert fetch.take(fetch.source, 0, b"hash 0", 0.0)
    return fetch


def test_nothing_but_the_first_chunk_is_asked_for_before_the_length_is_known():
    fetch = Fetch(PARAMS, lambda _: False)
    assert fetch.source is None
    assert fetch.ask(0.0) == ()
    fetch.add_sources([A])
    assert fetch.ask(0.0) == (0,)
    assert fetch.ask(1.0) == ()
    assert not fetch.complete
    with pytest.raises(ValueError, match="not known yet"):
        _ = fetch.count


def test_a_parcel_of_one_chunk():
    assert begun(1, A).complete


def test_the_window_is_filled_when_half_of_it_has_come():
    fetch = begun(12, A)
    assert fetch.ask(1.0) == (1, 2, 3, 4)
    fetch.take(A, 1, b"h", 1.0)
    assert fetch.ask(1.0) == ()
    fetch.take(A, 3, b"h", 1.0)
    assert fetch.ask(1.0) == (5, 6)
    for index in (2, 4, 5, 6):
        fetch.take(A, index, b"h", 2.0)
    assert fetch.ask(2.0) == (7, 8, 9, 10)
    for index in (7, 8, 9, 10):
        fetch.take(A, index, b"h", 2.0)
    assert fetch.ask(2.0) == (11,)
    assert not fetch.complete
    fetch.take(A, 11, b"last", 2.0)
    assert fetch.complete
    assert fetch.hashes[11] == b"last"
    assert fetch.next_deadline() is None


def test_only_what_was_asked_of_a_peer_is_expected_of_it_and_once():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    assert fetch.expects(A, 1)
    assert not fetch.expects(A, 5)
    assert not fetch.expects(B, 1)
    fetch.take(A, 1, b"h", 1.0)
    assert not fetch.expects(A, 1)


def test_a_silent_source_is_left_for_the_next():
    fetch = begun(12, A, B, C)
    fetch.ask(1.0)
    assert fetch.next_deadline() == 6.0
    assert not fetch.tick(5.9)
    assert fetch.source == A
    assert fetch.tick(6.0)
    assert fetch.source == B
    assert fetch.ask(6.0) == (1, 2, 3, 4)
    assert fetch.tick(11.0)
    fetch.ask(11.0)
    assert fetch.tick(16.0)
    assert fetch.source == A, "and comes round again"


def test_one_source_alone_is_asked_again():
    fetch = begun(12, A)
    fetch.ask(1.0)
    assert fetch.tick(6.0)
    assert fetch.source == A
    assert fetch.ask(6.0) == (1, 2, 3, 4)


def test_a_source_that_answers_is_asked_again_for_what_was_lost():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    fetch.take(A, 2, b"h", 1.5)
    assert not fetch.tick(6.0)
    assert fetch.source == A
    assert fetch.ask(6.0) == (1, 3, 4, 5)
    assert fetch.tick(11.0), "until it stays silent"
    assert fetch.source == B


def test_what_comes_late_counts_once():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    fetch.tick(6.0)
    assert fetch.ask(6.0) == (1, 2, 3, 4)
    assert fetch.expects(A, 1)
    assert fetch.take(A, 1, b"h", 7.0)
    assert fetch.expects(B, 1)
    assert not fetch.take(B, 1, b"h", 7.0), "it is stored already"
    assert fetch.take(A, 2, b"h", 7.0)
    assert fetch.ask(7.0) == (5, 6)


def test_what_comes_late_of_another_does_not_speak_for_the_source():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    fetch.tick(6.0)
    fetch.ask(6.0)
    fetch.take(A, 1, b"h", 7.0)
    assert fetch.tick(11.0)
    assert fetch.source == A


def test_a_liar_is_never_asked_again():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    fetch.exclude(A)
    assert fetch.source == B
    assert not fetch.expects(A, 1)
    assert fetch.ask(1.0) == (1, 2, 3, 4)
    fetch.add_sources([A])
    fetch.exclude(C)
    fetch.exclude(B)
    assert fetch.source is None
    assert fetch.ask(1.0) == ()
    assert fetch.next_deadline() is None


def test_a_liar_that_is_not_being_asked_disturbs_nothing():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    fetch.exclude(B)
    assert fetch.source == A
    assert fetch.expects(A, 1)
    assert fetch.ask(1.0) == ()


def test_who_cannot_be_reached_is_left_at_once():
    fetch = begun(12, A, B)
    fetch.ask(1.0)
    fetch.leave(B)
    assert fetch.source == A
    AWAY.add(A)
    fetch.leave(A)
    assert fetch.source == B
    assert fetch.ask(1.0) == (1, 2, 3, 4)


def test_who_seems_away_is_asked_last():
    AWAY.update((A, B))
    fetch = Fetch(PARAMS, lambda peer: peer in AWAY)
    fetch.add_sources([A, B, C, C])
    assert fetch.ask(0.0) == (0,)
    assert fetch.source == C
    AWAY.add(C)
    fetch.leave(C)
    assert fetch.ask(0.0) == (0,), "a hint is no proof"
