"""Envelopes: they open for the right key and context, and in no other case."""

import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES, EnvelopeKey, open_envelope, seal

KEY = EnvelopeKey(bytes(range(32)))
INFO = b"network|study|round 3|attempt 0|member 7"


@pytest.mark.parametrize("plaintext", [b"", b"x", bytes(10_000)])
def test_an_envelope_opens_for_its_key_and_context(plaintext: bytes) -> None:
    sealed = seal(KEY.public_key, plaintext, INFO)
    assert len(sealed) == len(plaintext) + ENVELOPE_OVERHEAD_BYTES
    assert open_envelope(KEY, sealed, INFO) == plaintext


def test_two_envelopes_of_one_message_differ() -> None:
    assert seal(KEY.public_key, b"m", INFO) != seal(KEY.public_key, b"m", INFO)


def test_no_part_of_an_envelope_can_be_changed() -> None:
    sealed = seal(KEY.public_key, b"message", INFO)
    for place in range(len(sealed)):
        flip = 2 if place == 31 else 1  # X25519 ignores the top bit of byte 31, the KDF does not
        changed = sealed[:place] + bytes([sealed[place] ^ flip]) + sealed[place + 1 :]
        with pytest.raises(MalformedMessage, match="does not open"):
            open_envelope(KEY, changed, INFO)
    unused_bit = sealed[:31] + bytes([sealed[31] ^ 128]) + sealed[32:]
    with pytest.raises(MalformedMessage):
        open_envelope(KEY, unused_bit, INFO)


@pytest.mark.parametrize("length", [0, 1, 32, ENVELOPE_OVERHEAD_BYTES - 1])
def test_short_envelopes_are_refused(length: int) -> None:
    with pytest.raises(MalformedMessage):
        open_envelope(KEY, seal(KEY.public_key, b"", INFO)[:length], INFO)


def test_an_envelope_for_another_key_does_not_open() -> None:
    with pytest.raises(MalformedMessage):
        open_envelope(EnvelopeKey(bytes(32)), seal(KEY.public_key, b"m", INFO), INFO)


def test_an_encapsulated_key_of_small_order_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        open_envelope(KEY, bytes(32) + bytes(20), INFO)


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(33), bytes(32)])
def test_unusable_published_keys_are_refused(public_key: bytes) -> None:
    with pytest.raises(MalformedMessage, match="not a usable X25519 key"):
        seal(public_key, b"m", INFO)


def test_an_envelope_key_takes_32_bytes_and_shows_none() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        EnvelopeKey(bytes(31))
    assert "sss" not in repr(EnvelopeKey(b"s" * 32))
