"""A sealed envelope is copied to another round, attempt, sender or member (THREATS A10, T1)."""

import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives.envelope import EnvelopeKey, open_envelope, seal
from pnyx.primitives.hashing import digest

KEY = EnvelopeKey(b"k" * 32)
CONTEXT = {"network": b"n", "study": b"s", "round": b"3", "attempt": b"0", "sender": b"a"}


def info(context: dict[str, bytes]) -> bytes:
    return digest("test/envelope", *context.values())


@pytest.mark.parametrize("field", CONTEXT)
def test_an_envelope_opens_in_its_own_context_only(field: str) -> None:
    sealed = seal(KEY.public_key, b"shares", info(CONTEXT))
    assert open_envelope(KEY, sealed, info(CONTEXT)) == b"shares"
    with pytest.raises(MalformedMessage):
        open_envelope(KEY, sealed, info(CONTEXT | {field: b"other"}))


def test_the_whole_context_counts() -> None:
    sealed = seal(KEY.public_key, b"shares", b"context")
    for other in (b"", b"contex", b"context\x00", b"Context"):
        with pytest.raises(MalformedMessage):
            open_envelope(KEY, sealed, other)
