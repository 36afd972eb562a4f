"""What the protocol core needs from the outside, injected by the shells.

Two implementations of `Crypto` exist: the real one (`crypto`, Ed25519 and HPKE) and an ideal
one of equal sizes without arithmetic (`simulator.crypto`), which lets very many nodes be simulated.
`ModelRule` is implemented by `learning` for real models and by the simulator for test vectors.
`Records` is the codec, or one that all nodes of a simulation share: what thousands of them read
alike they then hold once. `ParcelStore` is what shells carry parcel effects out with: files in
`node`, memory in `simulator`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
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


class Records(Protocol):
    """Records to bytes and back, as `primitives.codec` has it."""

    def encode(self, message: msgspec.Struct, /) -> bytes:
        """Encode a record in its one canonical form."""
        ...

    def decode(self, data: bytes, kind: Any, /, *, bytes_max: int) -> Any:
        """Decode untrusted bytes as a `kind`. Raises MalformedMessage."""
        ...


class ModelRule(Protocol):
    """How a study's model follows from the decoded sum; deterministic on every machine."""

    def next_model(
        self, manifest: bytes, round_number: int, model: bytes, total: IntVector, count: int
    ) -> bytes | None:
        """Return the model after this round, which moves by `total` divided by `count`.

        total: [vector length], metrics included: the sum over `count` contributors or, where a
        robust rule combines groups (`aggregation.robust`), what is as many times their update.
        None when no valid contributions can give it: the model then stays as it is.
        """
        ...


class ParcelStore(Protocol):
    """Where a node's parcels lie. All methods raise VaultError when the store cannot go on."""

    def retain(self, parcels: Mapping[bytes, int]) -> frozenset[bytes]:
        """At the start of a process: remove everything but these sealed parcels.

        parcels: name -> length, as `held_parcels` tells them. Returns those that are not there.
        """
        ...

    def write(self, parcel: bytes, index: int, data: bytes) -> None:
        """Put a chunk into its place of a parcel that is not sealed; a process that dies loses it.

        A chunk may be written again, and of a sealed parcel too: its name says what it is.
        """
        ...

    def seal(self, parcel: bytes, length: int) -> None:
        """Make a parcel durable before returning. ValueError when chunks of it are missing.

        Does nothing if it is sealed: a node may pull what it makes itself meanwhile.
        """
        ...

    def read(self, parcel: bytes, index: int) -> bytes | None:
        """A chunk of a sealed parcel as it is stored; None when the parcel is not here."""
        ...

    def chunks(self, parcel: bytes) -> Iterator[bytes]:
        """All chunks of a sealed parcel, in order, for whoever computes with it."""
        ...

    def holds(self, parcel: bytes) -> bool:
        """Whether a parcel was sealed, and not removed since."""
        ...

    def remove(self, parcel: bytes) -> None:
        """Remove a parcel, sealed or not, if it is here."""
        ...
