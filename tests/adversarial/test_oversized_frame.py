"""A peer claims a frame of 2^31 bytes: it is cut off at once and nothing is allocated (D1).

How soon, under 0.1 s, `python -m benchmarks transport` measures: `oversized_frame_closed_ms_max`.
"""

import time
from pathlib import Path

import pytest
from tests.support.weakened import weaken
from tests.transport_kit import Town, Wire, resident_bytes, run

from pnyx.node.transport import TransportLimits, frames

CLOSED_S_MAX = 1.0  # on a machine that is busy; the benchmark has the 0.1 s
ALLOCATED_BYTES_MAX = 10_000_000


def claimed(directory: Path, claim: int) -> tuple[float, int]:
    """Claim a frame of so many bytes: the seconds until one is cut off, and the bytes allocated."""
    found: list[tuple[float, int]] = []

    async def main() -> None:
        town = Town(directory)
        victim, honest = town.transport(limits=None), town.transport()
        for transport in (victim, honest):
            await transport.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        wire = await Wire.insider(town, victim.port)
        try:
            before, asked_at = resident_bytes(), time.monotonic()
            wire.send(claim.to_bytes(4, "big"))  # not even a whole header
            try:
                assert await wire.closed(within_s=2 * CLOSED_S_MAX) == b""
            except TimeoutError:
                wire.abort()
            found.append((time.monotonic() - asked_at, resident_bytes() - before))
            assert await honest.request(victim.node_id, b"x") == b"x"
        finally:
            await victim.stop()
            await honest.stop()

    run(main())
    return found[0]


@pytest.mark.parametrize("claim", [2**31, 2**32 - 1, TransportLimits().frame_bytes_max + 6])
def test_oversized_frame(tmp_path: Path, claim: int) -> None:
    seconds, allocated = claimed(tmp_path, claim)
    assert seconds < CLOSED_S_MAX
    assert allocated < ALLOCATED_BYTES_MAX


def test_the_check_of_the_length_is_the_defence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the connection stays open, and what was claimed is waited for."""
    allowed = "if not 0 <= body_bytes <= self._frame_bytes_max:"
    weaken(monkeypatch, frames, (allowed, "if False:"))
    seconds, _ = claimed(tmp_path, 2**31)
    assert seconds > CLOSED_S_MAX


def test_a_decoder_that_makes_room_for_a_claim_would_allocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weak decoder: it has the memory ready (a 16th of it) before it looks at the length.

    That is more than any piece of heap that the tests before have freed, and could be used again.
    """
    looked = frames.FrameDecoder._check_length
    room: list[bytearray] = []

    def check_length(decoder: frames.FrameDecoder, length: int) -> int:
        room.append(bytearray(b"\x01") * (length >> 4))
        return looked(decoder, length)

    monkeypatch.setattr(frames.FrameDecoder, "_check_length", check_length)
    _, allocated = claimed(tmp_path, 2**31)
    assert allocated > ALLOCATED_BYTES_MAX
