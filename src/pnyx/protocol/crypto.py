"""The real signatures and envelopes of a node: Ed25519 and HPKE."""

from pnyx.primitives import envelope
from pnyx.primitives.signature import SigningKey, verify


class NodeCrypto:
    """Implements `ports.Crypto` with the node's long-term key."""

    def __init__(self, signing_key: SigningKey) -> None:
        self._signing_key = signing_key

    @property
    def public_key(self) -> bytes:
        """The node's Ed25519 public key."""
        return self._signing_key.public_key

    def sign(self, message: bytes) -> bytes:
        """Sign with the node's long-term key."""
        return self._signing_key.sign(message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is valid."""
        return verify(public_key, message, signature)

    def envelope_public_key(self, private_key: bytes) -> bytes:
        """Public half of an X25519 private key."""
        return envelope.EnvelopeKey(private_key).public_key

    def seal(self, public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
        """Encrypt to a public key, bound to `info`."""
        return envelope.seal(public_key, plaintext, info)

    def open_envelope(self, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        """Decrypt; raises MalformedMessage."""
        return envelope.open_envelope(envelope.EnvelopeKey(private_key), sealed, info)
