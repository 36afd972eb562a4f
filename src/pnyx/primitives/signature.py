"""Ed25519 signatures (RFC 8032), and certificates signed by a quorum.

Signing and verifying are libsodium's, through PyNaCl: it refuses a scalar S that is not reduced,
public keys and commitments R of small order, and public keys that are not in canonical form, so a
signature cannot be altered into another valid one. `verify` answers False to whatever is wrong.

A `QuorumCertificate` proves that at least `quorum` members of an *ordered* list signed the same
statement. It names its signers by increasing position in that list, which makes it canonical and
makes counting a member twice impossible.
"""

from collections.abc import Callable, Sequence

import msgspec
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from pnyx.errors import InvalidSignature

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, message, signature) -> valid?"""


class SigningKey:
    """An Ed25519 signing key, made from 32 secret bytes that the caller draws."""

    __slots__ = ("_secret_key", "public_key")

    public_key: bytes

    def __init__(self, seed32: bytes) -> None:
        if len(seed32) != SEED_BYTES:
            raise ValueError(f"a signing key is made from {SEED_BYTES} bytes")
        self.public_key, self._secret_key = crypto_sign_seed_keypair(seed32)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for the keystore."""
        return self._secret_key[:SEED_BYTES]

    def sign(self, message: bytes) -> bytes:
        """Sign a message: 64 bytes, the same each time."""
        return crypto_sign(message, self._secret_key)[:SIGNATURE_BYTES]


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is one of `message` by the holder of `public_key`."""
    # libsodium reads fixed lengths through a raw pointer: check them before it does
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


class QuorumCertificate(msgspec.Struct, frozen=True, array_like=True):
    """Signatures of one statement by members of an ordered list.

    signers: positions in the list, strictly increasing.
    signatures: one for each signer, in the same order.
    """

    signers: tuple[int, ...]
    signatures: tuple[bytes, ...]


def check_quorum(
    certificate: QuorumCertificate,
    public_keys: Sequence[bytes],
    statement: bytes,
    quorum: int,
    verify: Verify,
) -> None:
    """Check that at least `quorum` of the members holding `public_keys` signed `statement`.

    Every signature must be valid, those beyond the quorum too. Cheap checks come first: nothing
    is verified before the signers are known to be distinct members, and enough.
    Raises InvalidSignature.
    """
    if quorum < 1:
        raise ValueError("a quorum is at least one")
    signers = certificate.signers
    if len(signers) != len(certificate.signatures):
        raise InvalidSignature("A quorum certificate must hold one signature for each signer.")
    if len(signers) < quorum:
        raise InvalidSignature(f"A quorum certificate has {len(signers)} of {quorum} signatures.")
    previous = -1
    for signer in signers:
        if not previous < signer < len(public_keys):
            raise InvalidSignature(
                "A quorum certificate must name distinct members in increasing order."
            )
        previous = signer
    for signer, signature in zip(signers, certificate.signatures, strict=True):
        if not verify(public_keys[signer], statement, signature):
            raise InvalidSignature(f"The signature of member {signer} is not valid.")
