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
    """A fetch that has its first three chunks at time 0, and whose window is open: four chunks."""
    fetch = first_chunk(count, *sources)
    assert fetch.ask(0.0) == (1, 2)
    for index in (1, 2):
        assert fetch.take(fetch.source, index, b"hash", 0.0)
    return fetch


def first_chunk(count: int, *sources: bytes) -> Fetch:
    """A fetch that has its first chunk at time 0."""
    fetch = Fetch(PARAMS, lambda peer: peer in AWAY)
    fetch.add_sources(sources)
    assert fetch.ask(0.0) == (0,)
    fetch.learn_length((count - 1) * CHUNK_BYTES + 1)
    assert fetch.take(fetch.source, 0, b"hash", 0.0)
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
    assert first_chunk(1, A).complete


def test_the_window_is_filled_when_half_of_it_has_come():
    fetch = begun(14, A)
    assert fetch.ask(1.0) == (3, 4, 5, 6)
    fetch.take(A, 3, b"h", 1.0)
    assert fetch.ask(1.0) == ()
    fetch.take(A, 5, b"h", 1.0)
    assert fetch.ask(1.0) == (7, 8)
    for index in (4, 6, 7, 8):
        fetch.take(A, index, b"h", 2.0)
    assert fetch.ask(2.0) == (9, 10, 11, 12)
    for index in (9, 10, 11, 12):
        fetch.take(A, index, b"h", 2.0)
    assert fetch.ask(2.0) == (13,)
    assert not fetch.complete
    fetch.take(A, 13, b"last", 2.0)
    assert fetch.complete
    assert fetch.hashes[13] == b"last"
    assert fetch.next_deadline() is None


def test_the_window_opens_chunk_by_chunk_and_no_further_than_its_bound():
    fetch = first_chunk(30, A)
    sizes = []
    for _ in range(6):
        asked = fetch.ask(0.0)
        sizes.append(len(asked))
        for index in asked:
            fetch.take(A, index, b"h", 0.0)
    assert sizes == [2, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(("took_s", "window"), [(2.5, 3), (2.6, 2), (5.0, 2), (5.1, 1)])
def test_the_window_opens_on_quick_lines_only(took_s, window):
    fetch = first_chunk(30, A)
    assert fetch.ask(0.0) == (1, 2)
    fetch.take(A, 1, b"h", took_s)
    assert 1 + len(fetch.ask(took_s)) == max(1, window)
    if window == 1:
        fetch.take(A, 2, b"h", took_s)
        assert len(fetch.ask(took_s)) == 1


def test_a_slow_line_narrows_the_window_and_lengthens_patience():
    fetch = begun(30, A)
    asked = fetch.ask(0.0)
    for index, comes in zip(asked, (2.5, 3.0, 5.0, 5.1), strict=True):
        fetch.take(A, index, b"h", comes)
    assert len(fetch.ask(5.1)) == 3, "more than allowed: one chunk less"
    assert fetch.next_deadline() == pytest.approx(5.1 + 3 * 5.1)
    for index, comes in zip((7, 8, 9), (15.0, 20.0, 45.0), strict=True):
        fetch.take(A, index, b"h", comes)
    assert len(fetch.ask(45.0)) == 1, "and never less than one"
    assert fetch.next_deadline() == 45.0 + PARAMS.parcel_request_timeout_s_max
    fetch.take(A, 10, b"h", 46.0)
    assert len(fetch.ask(46.0)) == 2
    assert fetch.next_deadline() == 46.0 + PARAMS.parcel_request_timeout_s


def test_patience_doubles_with_every_silence_and_stays_until_a_chunk_tells_better():
    fetch = first_chunk(30, A)
    now, waits = 0.0, []
    for _ in range(6):
        fetch.ask(now)
        waits.append(fetch.next_deadline() - now)
        now = fetch.next_deadline()
        assert fetch.tick(now)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert fetch.ask(now) == (1,), "and the window is as it was at first"
    fetch.take(A, 1, b"h", now + 0.1)
    assert fetch.ask(now + 0.1) == (2,), "a chunk that was asked for twice tells nothing of time"
    assert fetch.next_deadline() == now + 0.1 + 60.0
    fetch.take(A, 2, b"h", now + 0.2)
    assert fetch.ask(now + 0.2) == (3,), "nor this one"
    fetch.take(A, 3, b"h", now + 0.3)
    assert fetch.ask(now + 0.3) == (4, 5)
    assert fetch.next_deadline() == now + 0.3 + 5.0


def test_only_what_was_asked_of_a_peer_is_expected_of_it_and_once():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    assert fetch.expects(A, 3)
    assert not fetch.expects(A, 7)
    assert not fetch.expects(B, 3)
    fetch.take(A, 3, b"h", 1.0)
    assert not fetch.expects(A, 3)


def test_a_silent_source_is_left_for_the_next():
    fetch = begun(14, A, B, C)
    fetch.ask(1.0)
    assert fetch.next_deadline() == 6.0
    assert not fetch.tick(5.9)
    assert fetch.source == A
    assert fetch.tick(6.0)
    assert fetch.source == B
    assert fetch.ask(6.0) == (3,), "whose line is not known yet"
    assert fetch.tick(16.0)
    fetch.ask(16.0)
    assert fetch.tick(36.0)
    assert fetch.source == A, "and comes round again"


def test_one_source_alone_is_asked_again():
    fetch = begun(14, A)
    fetch.ask(1.0)
    assert fetch.tick(6.0)
    assert fetch.source == A
    assert fetch.ask(6.0) == (3,)


def test_a_source_that_answers_is_asked_again_for_what_was_lost():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    fetch.take(A, 4, b"h", 1.5)
    assert not fetch.tick(6.0)
    assert fetch.source == A
    assert fetch.ask(6.0) == (3, 5, 6, 7)
    assert fetch.tick(11.0), "until it stays silent"
    assert fetch.source == B


def test_what_comes_late_counts_once():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    fetch.tick(6.0)
    assert fetch.ask(6.0) == (3,)
    assert fetch.expects(A, 3)
    assert fetch.take(A, 3, b"h", 7.0)
    assert fetch.expects(B, 3)
    assert not fetch.take(B, 3, b"h", 7.0), "it is stored already"
    assert fetch.take(A, 4, b"h", 7.0)
    assert fetch.ask(7.0) == (5, 6)


def test_what_comes_late_of_another_does_not_speak_for_the_source():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    fetch.tick(6.0)
    assert fetch.ask(6.0) == (3,)
    fetch.take(A, 4, b"h", 7.0)
    assert fetch.tick(16.0)
    assert fetch.source == A


def test_a_liar_is_never_asked_again():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    fetch.exclude(A)
    assert fetch.source == B
    assert not fetch.expects(A, 3)
    assert fetch.ask(1.0) == (3,)
    fetch.add_sources([A])
    fetch.exclude(C)
    fetch.exclude(B)
    assert fetch.source is None
    assert fetch.ask(1.0) == ()
    assert fetch.next_deadline() is None


def test_a_liar_that_is_not_being_asked_disturbs_nothing():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    fetch.exclude(B)
    assert fetch.source == A
    assert fetch.expects(A, 3)
    assert fetch.ask(1.0) == ()


def test_who_cannot_be_reached_is_left_at_once():
    fetch = begun(14, A, B)
    fetch.ask(1.0)
    fetch.leave(B)
    assert fetch.source == A
    AWAY.add(A)
    fetch.leave(A)
    assert fetch.source == B
    assert fetch.ask(1.0) == (3,)
    assert fetch.next_deadline() == 6.0, "silence is something else"


def test_who_seems_away_is_asked_last():
    AWAY.update((A, B))
    fetch = Fetch(PARAMS, lambda peer: peer in AWAY)
    fetch.add_sources([A, B, C, C])
    assert fetch.ask(0.0) == (0,)
    assert fetch.source == C
    AWAY.add(C)
    fetch.leave(C)
    assert fetch.ask(0.0) == (0,), "a hint is no proof"


# --- slices --------------------------------------------------------------------------------------


def answered(fetch: Fetch, now: float, count: int) -> float:
    """The source sends chunks, one each second; returns the time."""
    for _ in range(count):
        asked = fetch.ask(now)
        now += 1.0
        waiting = asked or sorted(fetch._asked_at)
        assert fetch.take(fetch.source, waiting[0], b"h", now)
    return now


def test_each_source_has_a_slice_and_then_the_next_is_tried():
    fetch = begun(300, A, B, C)
    fetch.ask(0.0)
    assert fetch.next_deadline() == 5.0
    assert answered(fetch, 0.0, 9) == 9.0
    assert not fetch.tick(9.0)
    fetch.ask(9.0)
    assert fetch.next_deadline() == 10.0, "the end of the slice"
    assert not fetch.tick(9.9)
    assert fetch.source == A
    assert not fetch.tick(10.0), "no silence: the turn goes on"
    assert fetch.source == B
    answered(fetch, 10.0, 2)
    fetch.tick(20.0)
    assert fetch.source == C


def test_the_fastest_goes_on_for_some_slices_and_then_all_are_tried_in_longer_ones():
    fetch = begun(900, A, B, C)
    came, now, seen = {A: 9, B: 2, C: 1}, 0.0, []
    for _ in range(9):
        seen.append((fetch.source, fetch._slice_s))
        answered(fetch, now, came[fetch.source])
        now += fetch._slice_s
        fetch.tick(now)
    assert seen[:3] == [(A, 10.0), (B, 10.0), (C, 10.0)]
    assert seen[3:8] == [(A, 10.0)] * 5
    assert seen[8] == (B, 20.0)


def test_the_fastest_is_left_when_another_was_faster():
    fetch = begun(900, A, B)
    answered(fetch, 0.0, 6)
    fetch.tick(10.0)
    answered(fetch, 10.0, 4)
    fetch.tick(20.0)
    assert fetch.source == A
    answered(fetch, 20.0, 3)
    fetch.tick(30.0)
    assert fetch.source == B
    assert fetch._slice_s == 10.0


def test_a_source_that_brings_as_much_as_is_missing_goes_on():
    fetch = begun(20, A, B)
    answered(fetch, 0.0, 9)
    fetch.tick(10.0)
    assert fetch.source == A
    fetch.tick(20.0)
    assert fetch.source == B, "but only for as long as it does"


def test_slices_do_not_grow_for_ever():
    fetch, now = begun(30, A, B), 0.0
    for _ in range(40):
        fetch.ask(now)
        fetch._heard_at = now + 1.0  # something came late, which nobody missed
        now += fetch._slice_s
        fetch._asked_at = dict.fromkeys(fetch._asked_at, now)
        fetch.tick(now)
    assert fetch._slice_s == 160.0


def test_a_slice_is_counted_while_the_fetch_has_its_turn():
    fetch = begun(30, A, B)
    fetch.ask(0.0)
    fetch.pause(4.0)
    fetch.pause(5.0)
    assert fetch.next_deadline() == 5.0, "silence counts all the same"
    fetch.take(A, 3, b"h", 30.0)
    assert fetch.ask(30.0) == ()
    fetch.take(A, 4, b"h", 31.0)
    fetch.ask(31.0)
    assert not fetch.tick(35.9)
    fetch.take(A, 5, b"h", 35.9)
    assert fetch.source == A
    fetch.pause(36.0)
    assert fetch.source == B, "a turn that ends with the slice"


def test_one_source_alone_has_no_slices_and_one_that_is_alone_within_reach_goes_on():
    fetch = begun(30, A)
    asked = fetch.ask(0.0)
    fetch.take(A, asked[0], b"h", 4.0)
    assert fetch.next_deadline() == 12.0, "three times what it took"
    AWAY.add(B)
    fetch.add_sources([B])
    assert fetch.next_deadline() == 10.0
    assert not fetch.tick(10.0)
    assert fetch.source == A
    assert fetch.ask(10.0) == ()
    assert fetch.next_deadline() == 12.0


def test_later_fetches_begin_with_who_is_unknown_and_then_with_the_fastest():
    slices = {}

    def fresh() -> Fetch:
        fetch = Fetch(PARAMS, lambda peer: peer in AWAY, slices)
        fetch.add_sources([A, B, C])
        return fetch

    first = fresh()
    for now, source in ((0.0, A), (10.0, B)):
        assert first.ask(now) == (0,)
        assert first.source == source
        first._heard_at = now + 1.0
        first._came = 3 if source == B else 1
        first._asked_at = {0: now + 9.0}
        first.tick(now + 10.0)
    assert {peer: its.rate for peer, its in slices.items()} == {A: 0.1, B: 0.3}
    later = fresh()
    assert later.ask(20.0) == (0,)
    assert list(later._sources) == [C, B, A]
    AWAY.update((C, B))
    other = fresh()
    other.ask(20.0)
    assert other.source == A
