"""How a node joins a network: what it asks of the authority, and what it takes in return.

`create_node` makes the keys, the settings and a *request*: the public key and the node's address,
signed with that key, so that nobody enrols a key that is not theirs. The authority answers with a
certificate, and later with a network file; `install` checks that both fit this node and each other
before either is put in place.

A network file with a later census changes nothing that runs: the node passes the census on, and an
epoch begins with it. But where the authority started the network anew, with another first census,
the studies end at this node, and `install` asks first; the vault, with its consents and ledger,
stays.
"""

import math
import os
import secrets
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.config import (
    Advertise,
    ConsentPolicy,
    ConsentRule,
    Listen,
    parse_config,
    read_config,
)
from pnyx.errors import ConfigError, InvalidCertificate, InvalidSignature
from pnyx.hosts import HOST_WORDS, is_host
from pnyx.node import keystore
from pnyx.node.certificates import (
    CERTIFICATE_BYTES_MAX,
    NodeCertificate,
    read_authority_certificate,
    verify_certificate,
)
from pnyx.node.crypto import NodeCrypto
from pnyx.node.keystore import Keys, NodeLayout, Unlocking
from pnyx.node.network import Network, read_network
from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import SigningKey, verify
from pnyx.protocol.identity import check_succession
from pnyx.vault.files import create_private_file, describe, sync_directory, write_all

REQUEST_BYTES_MAX = 16 * 1024
REQUEST_NAME = "request.json"


class EnrolmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node sends to the authority. An empty host and port 0 state no address."""

    pnyx_request: Literal[1]
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    host: Annotated[str, Meta(max_length=253)]
    port: Annotated[int, Meta(ge=0, le=65_535)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]

    def statement(self) -> bytes:
        """What the node signs, to prove that the key is its own."""
        return digest(
            "pnyx/enrolment-request", self.public_key, self.host.encode(), self.port.to_bytes(2)
        )


class Installed(msgspec.Struct, frozen=True):
    """Outcome of `install`."""

    certificate: NodeCertificate
    network: Network
    studies_ended: bool


def create_node(
    layout: NodeLayout,
    unlocking: Unlocking,
    *,
    listen: Listen,
    advertise: Advertise,
    serve_as_actor: bool = True,
) -> EnrolmentRequest:
    """Create keys, settings and the request of a new node. Raises KeystoreError or VaultError.

    A directory that holds a keystore is left as it is.
    """
    settings = _settings(listen, advertise, serve_as_actor)
    host, port = advertise.host or listen.host, advertise.port or listen.port

    def write_others(keys: Keys) -> None:
        request = msgspec.json.encode(make_request(keys.signing_seed, host, port))
        replace_file(layout.config, settings)
        replace_file(layout.root / REQUEST_NAME, msgspec.json.format(request) + b"\n")

    keys = keystore.create(layout, unlocking, write_others)
    return make_request(keys.signing_seed, host, port)


def _settings(listen: Listen, advertise: Advertise, serve_as_actor: bool) -> bytes:
    """Return a settings file that its owner can read and extend. Raises ConfigError."""
    content = _SETTINGS.format(
        actor=str(serve_as_actor).lower(),
        listen_host=_quoted(listen.host),
        listen_port=listen.port,
        advertise_host=_quoted(advertise.host),
        advertise_port=advertise.port,
    ).encode()
    parse_config(content, "The settings")
    return content


def _quoted(texts: str | tuple[str, ...]) -> str:
    return msgspec.json.encode(texts).decode()  # JSON's strings, and lists of them, are TOML's


_SETTINGS = """\
# Settings of this node; restart it after a change. docs/configuration.md lists them all.

[node]
serve_as_actor = {actor}
log_level = "info"  # debug, info, warning or error

[listen]  # where this node waits for peers
host = {listen_host}
port = {listen_port}

[advertise]  # where peers find it, when that differs
host = {advertise_host}
port = {advertise_port}

[consent]  # standing answers: the first rule that applies, otherwise the default
default = "ask"  # accept, ask or decline

# [[consent.rules]]
# action = "accept"
# purposes = ["dpv:ResearchAndDevelopment"]
# categories = ["activity.windows"]
"""


def make_request(signing_seed: bytes, host: str, port: int) -> EnrolmentRequest:
    """Sign a request with a node's key."""
    signing_key = SigningKey(signing_seed)
    draft = EnrolmentRequest(1, signing_key.public_key, host, port, bytes(64))
    return msgspec.structs.replace(draft, signature=signing_key.sign(draft.statement()))


def read_request(path: Path) -> EnrolmentRequest:
    """Read a request and check its signature. Raises ConfigError or InvalidSignature."""
    content = read_file(path, REQUEST_BYTES_MAX, "The request")
    try:
        request = msgspec.json.decode(content, type=EnrolmentRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a node's request; use the {REQUEST_NAME} that `pnyx node init` made."
        ) from error
    if request.host and not is_host(request.host):
        raise ConfigError(
            f"{path} states the host {request.host[:60]!r}; it must be {HOST_WORDS}, so have its "
            "owner create the node anew with another --advertise-host."
        )
    if not verify(request.public_key, request.statement(), request.signature):
        raise InvalidSignature(f"{path} was altered after its node signed it; ask for it again.")
    return request


def install(
    layout: NodeLayout,
    certificate_path: Path | None,
    network_path: Path,
    *,
    now: float,
    end_studies: bool = False,
) -> Installed:
    """Check a certificate and a network file against this node, and put them in place.

    certificate_path: None keeps the installed one. now: unix seconds. The node must not be running.
    Raises ConfigError or InvalidCertificate, having changed nothing.
    """
    request = read_request(layout.root / REQUEST_NAME)
    network = read_network(network_path, verifying_crypto(), now=now)
    content = read_file(
        certificate_path or layout.certificate, CERTIFICATE_BYTES_MAX, "The certificate"
    )
    certificate = verify_certificate(
        content, read_authority_certificate(network.authority), now=now
    )
    if certificate.public_key != request.public_key:
        raise InvalidCertificate(
            "The certificate belongs to another node; ask the authority for this node's own."
        )
    if certificate.node_id not in network.census:
        raise InvalidCertificate(
            "This node is not in the network file's census; ask the authority for a newer file."
        )
    installed_at = layout.root / read_config(layout.config).node.network
    ended = _check_following(layout, installed_at, network, end_studies)
    replace_file(layout.certificate, content)
    if network_path.absolute() != installed_at.absolute():
        replace_file(installed_at, network_path.read_bytes())
    if ended:
        layout.rounds.rename(layout.root / f"rounds-before-census-{network.census.body.number}")
    return Installed(certificate, network, ended)


def verifying_crypto() -> NodeCrypto:
    """Cryptography for checking only: it signs with a key that nobody knows."""
    return NodeCrypto(SigningKey(secrets.token_bytes(32)))


def _check_following(
    layout: NodeLayout, installed_at: Path, network: Network, end_studies: bool
) -> bool:
    """Refuse another network or an older census; tell whether studies end."""
    if not installed_at.exists():
        return False
    # The installed census may have expired: at 0, everything is valid.
    current = read_network(installed_at, verifying_crypto(), now=0)
    if current.network != network.network:
        raise ConfigError(
            f"This node belongs to the network {current.name}, and the file is of {network.name}; "
            "create another node for another network."
        )
    if network.census.root == current.census.root:
        return False
    if network.census.body.number < current.census.body.number:
        raise ConfigError(
            "The network file is older than the installed one; ask the authority for its latest."
        )
    if network.census.body.number <= current.census.body.number + 1:
        check_succession(current.census, network.census)
    if network.first.root == current.first.root or not layout.rounds.exists():
        return False
    if not end_studies:
        raise ConfigError(
            "This network file starts the network anew, which ends the studies that this node "
            "knows; export what you need with `pnyx study result --bundle`, then add --end-studies."
        )
    return True


def read_file(path: Path, bytes_max: int, what: str) -> bytes:
    """Read a bounded file; `what` names it in errors. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError(
            f"{what} {path} cannot be read: {describe(error)}; check its path and permissions."
        ) from error
    if len(content) > bytes_max:
        raise ConfigError(f"{path} is larger than {bytes_max} bytes; it is another kind of file.")
    return content


def add_consent_rule(path: Path, rule: ConsentRule) -> ConsentPolicy:
    """Add a standing answer at the end of a settings file; all that it says already stays as it is.

    Returns the whole policy. Raises ConfigError, and then the file is unchanged.
    """
    read_config(path)  # whoever made a mistake in it hears of that, not of the new rule
    content = path.read_bytes() if path.exists() else b""
    lines = ["", "[[consent.rules]]", f"action = {_quoted(rule.action)}"]
    lines += [f"purposes = {_quoted(rule.purposes)}"] if rule.purposes else []
    lines += [f"categories = {_quoted(rule.categories)}"] if rule.categories else []
    lines += [f"epsilon_max = {rule.epsilon_max!r}"] if math.isfinite(rule.epsilon_max) else []
    extended = content + "\n".join([*lines, ""]).encode()
    policy = parse_config(extended, str(path)).consent
    replace_file(path, extended)
    return policy


def replace_file(path: Path, content: bytes) -> None:
    """Write a private file durably, whole or not at all. Raises ConfigError.

    A device or a pipe of that name is refused: a rename would put a file in its place.
    """
    _check_kind(path)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.draft")
    try:
        descriptor = create_private_file(draft)
        try:
            write_all(descriptor, content, 0)
            os.fsync(descriptor)
            draft.replace(path)
        finally:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, describe(error)) from error


def check_writable(path: Path) -> None:
    """Find out, before long or lasting work, whether `replace_file` can write there.

    Raises ConfigError.
    """
    _check_kind(path)
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise _unwritable(path, describe(error)) from error


def _check_kind(path: Path) -> None:
    try:
        is_new = not path.exists()
    except OSError as error:
        raise _unwritable(path, describe(error)) from error
    if not is_new and not path.is_file():
        raise _unwritable(path, "it is a directory" if path.is_dir() else "it is not a file")


def _unwritable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be written: {reason}; free some space, or name a file where you may write."
    )
