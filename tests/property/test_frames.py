from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.errors import MalformedMessage
from pnyx.node.transport.frames import Frame, FrameDecoder, Kind, header

LIMIT = 200
frames = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=LIMIT),
)


@settings(deadline=None, max_examples=100)
@given(sent=st.lists(frames, max_size=8), cuts=st.lists(st.integers(1, 60), min_size=1))
def test_frames_survive_any_chopping(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(header(f.kind, f.request_id, len(f.body)) + f.body for f in sent)
    decoder = FrameDecoder(LIMIT)
    received, offset, turn = [], 0, 0
    while offset < len(stream):
        size = cuts[turn % len(cuts)]
        received += decoder.feed(stream[offset : offset + size])
        offset += size
        turn += 1
    assert received == sent
    assert not decoder.inside_frame


@settings(deadline=None, max_examples=200)
@given(chunks=st.lists(st.binary(max_size=50), max_size=20))
def test_garbage_is_refused_or_waits_within_the_bound(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(LIMIT)
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert len(frame.body) <= LIMIT
    except MalformedMessage:
        return
