"""What the protocol core needs from the outside, injected by the shells.

Two implementations of `Crypto` exist: the real one (`node.crypto`, Ed25519 and HPKE) and an ideal
one of equal sizes without arithmetic (`simulator.crypto`), which lets very many nodes be simulated.
`ModelRule` is implemented by `learning` for real models and by the simulator for test vectors.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IntVector = NDArray[np.int64]


class Crypto(Protocol):
    """Signatures and envelopes of one node; holds the node's long-term signing key."""

    @property
    def public_key(self) -> bytes:
        """The node's 32-byte Ed25519 public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign with the node's long-term key; 64 bytes."""
        ...

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is valid; never raises on foreign bytes."""
        ...

    def envelope_public_key(self, private_key: bytes) -> bytes:
        """Public half of a 32-byte X25519 private key."""
        ...

    def seal(self, public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
        """Encrypt to a public key, bound to `info`."""
        ...

    def open_envelope(self, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        """Decrypt; raises MalformedMessage when the envelope or its context is wrong."""
        ...


class ModelRule(Protocol):
    """How a study's model follows from the decoded sum; deterministic on every machine."""

    def next_model(
        self, manifest: bytes, round_number: int, model: bytes, total: IntVector, count: int
    ) -> bytes | None:
        """Return the model after this round, from the sum over `count` contributors.

        total: [vector length], metrics included. None when no valid contributions can add up to
        it: the model then stays as it is.
        """
        ...
