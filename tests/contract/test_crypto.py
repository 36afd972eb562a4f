"""What signatures and envelopes promise, of whichever kind: the real ones and the simulator's."""

import pytest
from tests.support.town import ideal, real

from pnyx.errors import MalformedMessage
from pnyx.simulator.crypto import Tally

MAKERS = pytest.mark.parametrize("make", [ideal, real, Tally().crypto])
KEY, OTHER = b"1" * 32, b"2" * 32


def altered(data: bytes) -> list[bytes]:
    """Each byte changed in turn; cut short; longer."""
    flipped = [data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in range(len(data))]
    return [*flipped, data[:-1], data + b"\0", b""]


def opens(crypto, private_key: bytes, sealed: bytes, info: bytes) -> bool:
    try:
        crypto.open_envelope(private_key, sealed, info)
    except MalformedMessage:
        return False
    return True


@MAKERS
def test_an_envelope_opens_for_one_key_and_one_context(make):
    crypto = make(bytes(32))
    sealed = crypto.seal(crypto.envelope_public_key(KEY), b"shares", b"context")
    assert crypto.open_envelope(KEY, sealed, b"context") == b"shares"
    assert not opens(crypto, OTHER, sealed, b"context")
    assert not opens(crypto, KEY, sealed, b"another")


@MAKERS
def test_an_altered_envelope_does_not_open(make):
    crypto = make(bytes(32))
    sealed = crypto.seal(crypto.envelope_public_key(KEY), b"shares", b"context")
    assert not any(opens(crypto, KEY, each, b"context") for each in altered(sealed))


@MAKERS
def test_a_signature_is_of_one_message_by_one_key(make):
    signer, other = make(KEY), make(OTHER)
    signature = signer.sign(b"words")
    assert other.verify(signer.public_key, b"words", signature)
    assert not other.verify(other.public_key, b"words", signature)
    assert not other.verify(signer.public_key, b"others", signature)
    assert not any(other.verify(signer.public_key, b"words", s) for s in altered(signature))
