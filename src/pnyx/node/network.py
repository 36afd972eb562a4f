"""The network file: what an authority hands to every node of its network.

It holds the authority's certificate, the census, and a few addresses to start from, signed as a
whole. A node checks all of it before it believes any of it.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.errors import (
    ConfigError,
    InvalidCertificate,
    InvalidSignature,
    MalformedMessage,
    PnyxError,
)
from pnyx.node.certificates import (
    authority_public_key,
    certificate_pem,
    network_name,
    read_authority_certificate,
)
from pnyx.primitives import codec
from pnyx.primitives.signature import verify
from pnyx.protocol.identity import (
    Census,
    SignedCensus,
    network_id,
    signing_input,
    verify_census,
)
from pnyx.protocol.ports import Crypto

NETWORK_FILE_BYTES_MAX = 256 * 1024 * 1024


class Contact(msgspec.Struct, frozen=True, array_like=True):
    """A node's address, to start from."""

    node_id: Annotated[bytes, Meta(min_length=32, max_length=32)]
    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Annotated[int, Meta(ge=1, le=65535)]


class NetworkBody(msgspec.Struct, frozen=True, array_like=True, tag=110):
    """What the authority signs."""

    authority: Annotated[bytes, Meta(max_length=16 * 1024)]  # PEM
    census: SignedCensus
    contacts: Annotated[tuple[Contact, ...], Meta(max_length=1024)]
    genesis: SignedCensus | None = None  # the network's first census, where that is another one


class _NetworkFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file itself: JSON with base64 bytes, so that a person can tell what it is."""

    pnyx_network: str
    body: bytes
    signature: bytes


class Network(msgspec.Struct, frozen=True):
    """A verified network file.

    genesis: the census of the network's first committee, where `census` is a later one. signed: all
    censuses of the file as they were signed, encoded.
    """

    name: str
    network: bytes
    authority: bytes
    census: Census
    contacts: tuple[Contact, ...]
    genesis: Census | None = None
    signed: tuple[bytes, ...] = ()
    authority_key: bytes = b""

    @property
    def first(self) -> Census:
        """The census of the network's first committee."""
        return self.census if self.genesis is None else self.genesis

    def lists(self, node: bytes) -> bool:
        """Whether a node is in a census of this file."""
        return node in self.census or node in self.first


def write_network(
    path: Path,
    *,
    authority: bytes,
    sign: Callable[[bytes], bytes],
    census: SignedCensus,
    contacts: tuple[Contact, ...],
    genesis: SignedCensus | None = None,
) -> None:
    """Sign and write a network file, whole or not at all. genesis: None if `census` is it."""
    certificate = read_authority_certificate(authority)
    name = network_name(certificate)
    body = codec.encode(NetworkBody(certificate_pem(certificate), census, contacts, genesis))
    network = network_id(authority_public_key(certificate), name)
    content = msgspec.json.encode(_NetworkFile(name, body, sign(signing_input(network, body))))
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_network(path: Path, crypto: Crypto, *, now: float) -> Network:
    """Read and verify a network file; now: unix seconds. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(NETWORK_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"The network file {path} cannot be read ({error.strerror}); "
            "check its path and permissions, or ask your network's authority for it."
        ) from error
    if len(content) > NETWORK_FILE_BYTES_MAX:
        raise ConfigError(f"{path} is too large for a network file; ask for it again.")
    try:
        return _verified(content, crypto, now)
    except (msgspec.DecodeError, MalformedMessage, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a valid network file of this version of Pnyx; ask your network's "
            "authority for it again, or update Pnyx."
        ) from error
    except PnyxError as error:
        reason = str(error).rstrip(".")
        raise ConfigError(f"{path} is not a valid network file: {reason}.") from error


def _verified(content: bytes, crypto: Crypto, now: float) -> Network:
    file = msgspec.json.decode(content, type=_NetworkFile)
    body = codec.decode(file.body, NetworkBody, bytes_max=NETWORK_FILE_BYTES_MAX)
    certificate = read_authority_certificate(body.authority)
    name = network_name(certificate)
    key = authority_public_key(certificate)
    network = network_id(key, name)
    if not verify(key, signing_input(network, file.body), file.signature):
        raise InvalidSignature("its signature is not the authority's; ask for it again.")
    census = verify_census(
        body.census, network=network, authority_key=key, crypto=crypto, now=int(now)
    )
    genesis = None
    if body.genesis is not None:
        genesis = verify_census(
            body.genesis, network=network, authority_key=key, crypto=crypto, now=0
        )
        if genesis.body.number >= census.body.number:
            raise InvalidCertificate(
                "its first census is not older than its last; ask for it again"
            )
    signed = [each for each in (body.genesis, body.census) if each is not None]
    encoded = tuple(codec.encode(each) for each in signed)
    return Network(name, network, body.authority, census, body.contacts, genesis, encoded, key)
