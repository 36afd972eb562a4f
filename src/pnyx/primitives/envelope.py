"""Sealed envelopes: HPKE (RFC 9180, base mode) bound to a context.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM. An envelope is the 32-byte
encapsulated key followed by the ciphertext and its 16-byte tag. The context (`info`) is hashed
into the key schedule: an envelope opens only under the very context it was sealed for, which
stops copying it to another round, attempt, sender or member.

`seal` is the one primitive that is not a function of its arguments: the library draws the
ephemeral key itself and does not accept one. The protocol therefore reaches it through a port,
and everything else it computes stays replayable. Nothing here tells who sealed an envelope:
senders sign.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from pnyx.errors import MalformedMessage

ENVELOPE_KEY_BYTES = 32
ENVELOPE_OVERHEAD_BYTES = 48

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


class EnvelopeKey:
    """An X25519 key that opens envelopes, made from 32 secret bytes that the caller draws."""

    __slots__ = ("_private_key",)

    def __init__(self, private32: bytes) -> None:
        if len(private32) != ENVELOPE_KEY_BYTES:
            raise ValueError(f"an envelope key is made from {ENVELOPE_KEY_BYTES} bytes")
        self._private_key = X25519PrivateKey.from_private_bytes(private32)

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that others seal to."""
        return self._private_key.public_key().public_bytes_raw()


def seal(public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal `plaintext` for the holder of `public_key`, bound to the context `info`.

    The result is ENVELOPE_OVERHEAD_BYTES longer than the plaintext. Raises MalformedMessage when
    the key, which a peer published, has a wrong length or small order.
    """
    try:
        recipient = X25519PublicKey.from_public_bytes(public_key)
        return _SUITE.encrypt(plaintext, recipient, info)
    except ValueError as error:
        raise MalformedMessage(
            "A published envelope key is not a usable X25519 key: leave its holder out."
        ) from error


def open_envelope(key: EnvelopeKey, sealed: bytes, info: bytes) -> bytes:
    """Open an envelope sealed for `key` under the context `info`, or raise MalformedMessage."""
    try:
        return _SUITE.decrypt(sealed, key._private_key, info)
    except InvalidTag as error:
        raise MalformedMessage(
            "An envelope does not open: it is damaged, or sealed for another key or context."
        ) from error
