"""Ideal signatures and envelopes: the sizes of the real ones, without their arithmetic.

They make very many simulated nodes affordable. They are as strong as the real ones *inside* the
simulator, where nobody computes what the interface does not offer: a public key is the hash of the
secret, a signature or envelope a keyed hash over everything it binds.
"""

from hashlib import blake2b

from pnyx.errors import MalformedMessage
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES

_TAG_BYTES = 16
_PADDING = bytes(ENVELOPE_OVERHEAD_BYTES - _TAG_BYTES)


def _hash(person: bytes, *parts: bytes, size: int = 32) -> bytes:
    framed = b"".join([piece for part in parts for piece in (len(part).to_bytes(4, "big"), part)])
    return blake2b(framed, digest_size=size, person=person).digest()


def ideal_public_key(secret: bytes) -> bytes:
    """Public half of an ideal key."""
    return _hash(b"pnyx-public", secret)


class IdealCrypto:
    """Implements `protocol.ports.Crypto` for one simulated node."""

    def __init__(self, secret: bytes) -> None:
        self._public_key = ideal_public_key(secret)

    @property
    def public_key(self) -> bytes:
        """The node's public key."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Sign with the node's key."""
        return _hash(b"pnyx-sign", self._public_key, message, size=64)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is valid."""
        return signature == _hash(b"pnyx-sign", public_key, message, size=64)

    def envelope_public_key(self, private_key: bytes) -> bytes:
        """Public half of an envelope key."""
        return ideal_public_key(private_key)

    def seal(self, public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
        """Bind the plaintext to key and context; it stays readable to the simulator."""
        tag = _hash(b"pnyx-seal", public_key, info, plaintext, size=_TAG_BYTES)
        return _PADDING + tag + plaintext

    def open_envelope(self, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        """Open an envelope; raises MalformedMessage when key or context differ."""
        plaintext = sealed[ENVELOPE_OVERHEAD_BYTES:]
        if sealed != self.seal(ideal_public_key(private_key), plaintext, info):
            raise MalformedMessage("an envelope does not open")
        return plaintext


class Tally:
    """How often nodes checked a signature, or sealed or opened an envelope, all together."""

    def __init__(self) -> None:
        self.checks = 0

    def crypto(self, secret: bytes) -> "CountedCrypto":
        """Make the cryptography of one node, which counts here."""
        return CountedCrypto(secret, self)


class CountedCrypto:
    """Ideal cryptography whose use is counted."""

    def __init__(self, secret: bytes, tally: Tally) -> None:
        self._ideal, self._tally = IdealCrypto(secret), tally

    @property
    def public_key(self) -> bytes:
        """The node's public key."""
        return self._ideal.public_key

    def sign(self, message: bytes) -> bytes:
        """Sign with the node's key: not counted, as it costs half of a check."""
        return self._ideal.sign(message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is valid."""
        self._tally.checks += 1
        return self._ideal.verify(public_key, message, signature)

    def envelope_public_key(self, private_key: bytes) -> bytes:
        """Public half of an envelope key."""
        return self._ideal.envelope_public_key(private_key)

    def seal(self, public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
        """Bind the plaintext to key and context."""
        self._tally.checks += 1
        return self._ideal.seal(public_key, plaintext, info)

    def open_envelope(self, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        """Open an envelope; raises MalformedMessage when key or context differ."""
        self._tally.checks += 1
        return self._ideal.open_envelope(private_key, sealed, info)
