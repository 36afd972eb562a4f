"""The authority's side: who is enrolled, their certificates, and the censuses that follow.

An authority is a directory, used offline and now and then. It holds the sealed signing seed (the
same keystore as a node's), the self-signed certificate, a private list of enrolments, and the last
census:

    keystore.json      the signing seed, sealed
    authority.pem      the network's certificate, which everybody may have
    enrolments.jsonl   append-only: who was enrolled with which key and nonce, and who was revoked
    census.bin         the last census, which the next one names
    first-census.bin   that of the network's first committee, from which its chain of epochs starts

One person has one certificate: that is all that stands against Sybils, and it is the authority's
task. Renewal keeps key and nonce, hence the node id. A person whose key was lost is revoked first.
The names of persons stay in this directory; certificates and censuses hold none.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography import x509
from msgspec import Meta

from pnyx.errors import ConfigError, InvalidCertificate, ProtocolError
from pnyx.node import certificates, keystore
from pnyx.node.enrolment import EnrolmentRequest, check_writable, replace_file, verifying_crypto
from pnyx.node.keystore import Keys, NodeLayout, Unlocking
from pnyx.node.network import Contact, write_network
from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.identity import (
    CENSUS_BYTES_MAX,
    Census,
    CensusEntry,
    SignedCensus,
    make_census,
    network_id,
    node_id,
    verify_census,
)
from pnyx.protocol.selection import choose_committee
from pnyx.vault.files import FILE_MODE, describe, write_all

DAY_S = 86_400
CERTIFICATE_DAYS = 365
AUTHORITY_DAYS = 10 * 365
CENSUS_DAYS = 30
CONTACTS_MAX = 16
CLOCK_SKEW_S = 3600  # a node whose clock is a little behind accepts its certificate at once

_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Issued(msgspec.Struct, frozen=True, tag="issued", tag_field="event", kw_only=True):
    """A certificate was signed for a person's node; times are unix seconds."""

    person: _Name
    public_key: bytes
    nonce: bytes
    serial: str
    not_after: int
    host: str
    port: int


class Revoked(msgspec.Struct, frozen=True, tag="revoked", tag_field="event", kw_only=True):
    """The node leaves the network with the next census."""

    public_key: bytes
    at: int


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What the list says of one node: its last certificate, and whether it was revoked."""

    node_id: bytes
    issued: Issued
    revoked: bool


class AuthorityFiles(msgspec.Struct, frozen=True):
    """Where an authority's files lie."""

    root: Path

    @property
    def layout(self) -> NodeLayout:
        """The directory, as the keystore knows it."""
        return NodeLayout(self.root)

    @property
    def certificate(self) -> Path:
        """The network's certificate."""
        return self.root / "authority.pem"

    @property
    def enrolments(self) -> Path:
        """The append-only list."""
        return self.root / "enrolments.jsonl"

    @property
    def census(self) -> Path:
        """The last census."""
        return self.root / "census.bin"

    @property
    def first_census(self) -> Path:
        """The census of the network's first committee."""
        return self.root / "first-census.bin"


def create_authority(files: AuthorityFiles, unlocking: Unlocking, name: str, *, now: int) -> None:
    """Create the authority of a new network. Raises KeystoreError or ConfigError."""
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise ConfigError("A network's name has 1 to 64 printable characters; choose another.")

    def write_certificate(keys: Keys) -> None:
        created = certificates.create_authority(
            keys.signing_seed,
            name,
            not_before=now - CLOCK_SKEW_S,
            not_after=now + AUTHORITY_DAYS * DAY_S,
        )
        replace_file(files.certificate, certificates.certificate_pem(created.certificate))

    keystore.create(files.layout, unlocking, write_certificate)


class AuthorityDesk:
    """An unlocked authority at work; use `open_authority`."""

    def __init__(self, files: AuthorityFiles, seed: bytes, certificate: x509.Certificate) -> None:
        self._files = files
        self._signer = SigningKey(seed)
        self._authority = certificates.Authority(seed, certificate)
        self.name = certificates.network_name(certificate)
        self.network = network_id(certificates.authority_public_key(certificate), self.name)

    def issue(self, request: EnrolmentRequest, person: str, *, now: int) -> bytes:
        """Enrol a person's node, or renew its certificate; return the certificate in PEM.

        Raises InvalidCertificate when the key or the person is enrolled otherwise.
        """
        known = self._check_enrolable(request.public_key, person)
        nonce = known.issued.nonce if known else secrets.token_bytes(16)
        return self._sign(request.public_key, nonce, (request.host, request.port), person, now)

    def renew(self, digits: str, *, now: int) -> bytes:
        """Issue a new certificate for the enrolled node whose id starts with these digits.

        Key, node id and address stay. Returns the certificate in PEM; raises ConfigError when there
        is not exactly one such node.
        """
        last = self._one(digits).issued
        return self._sign(last.public_key, last.nonce, (last.host, last.port), last.person, now)

    def _sign(
        self, public_key: bytes, nonce: bytes, address: tuple[str, int], person: str, now: int
    ) -> bytes:
        """Sign a certificate and note it down, in this order: what is noted exists."""
        not_after = now + CERTIFICATE_DAYS * DAY_S
        certificate = self._authority.issue(
            public_key, nonce, not_before=now - CLOCK_SKEW_S, not_after=not_after
        )
        issued = Issued(
            person=person,
            public_key=public_key,
            nonce=nonce,
            serial=f"{certificate.serial_number:x}",
            not_after=not_after,
            host=address[0],
            port=address[1],
        )
        _append(self._files.enrolments, issued)
        return certificates.certificate_pem(certificate)

    def _check_enrolable(self, public_key: bytes, person: str) -> Enrolment | None:
        """Return the enrolment that this one renews. One person, one key; one key, one person."""
        for enrolment in enrolments(self._files):
            same_key = enrolment.issued.public_key == public_key
            same_person = enrolment.issued.person == person
            if same_key and enrolment.revoked:
                raise InvalidCertificate(
                    "This node was revoked, so its key stays out; create the node again."
                )
            if same_key and not same_person:
                raise InvalidCertificate(
                    "This node is already enrolled for another person; one node serves one person."
                )
            if same_person and not same_key and not enrolment.revoked:
                raise InvalidCertificate(
                    f"{person} has a node already ({enrolment.node_id.hex()[:12]}); "
                    "revoke that one first."
                )
            if same_key:
                return enrolment
        return None

    def revoke(self, digits: str, *, now: int) -> bytes:
        """Leave the node whose id starts with these digits out of the next census; return its id.

        Raises ConfigError when there is not exactly one.
        """
        found = self._one(digits)
        _append(self._files.enrolments, Revoked(public_key=found.issued.public_key, at=now))
        return found.node_id

    def _one(self, digits: str) -> Enrolment:
        """The one enrolled node, not revoked, whose id starts with these digits."""
        found = [
            enrolment
            for enrolment in enrolments(self._files)
            if enrolment.node_id.hex().startswith(digits.lower()) and not enrolment.revoked
        ]
        if len(found) != 1 or not digits:
            raise ConfigError(
                f"{len(found)} enrolled nodes have an id that begins with '{digits}'; "
                "see `pnyx authority list` for their ids."
            )
        return found[0]

    def publish(
        self,
        path: Path,
        *,
        now: int,
        corrupted_share: float = 0.05,
        absent_share: float = 0.10,
        rounds: int = 40,
        restart: bool = False,
    ) -> Census:
        """Sign the next census and write the network file that carries it.

        Nodes pass it on among themselves, and the next epoch begins with it. restart: a new first
        committee, from this census; all that ran ends. The first publication is such a start.

        The shares and rounds plan the committee, see `protocol.selection.choose_committee`. The
        file lists the addresses that nodes stated. Raises ConfigError, for instance when fewer
        than six nodes are enrolled.
        """
        check_writable(path)
        current = [e for e in enrolments(self._files) if not e.revoked and e.issued.not_after > now]
        committee = choose_committee(len(current), corrupted_share, absent_share, rounds)
        previous = self._census(now=0)
        first = None if previous is None or restart else self._first_census()
        signed = make_census(
            self._signer.sign,
            network=self.network,
            number=0 if previous is None else previous.body.number + 1,
            previous=bytes(32) if previous is None else previous.root,
            entries=[CensusEntry(e.node_id, e.issued.public_key) for e in current],
            committee=committee,
            issued_at=now,
            valid_until=now + CENSUS_DAYS * DAY_S,
        )
        contacts = [
            Contact(e.node_id, e.issued.host, e.issued.port)
            for e in current
            if e.issued.host and e.issued.port
        ]
        # The census first: after a crash, a second one must not carry the same number.
        replace_file(self._files.census, codec.encode(signed))
        if first is None:
            replace_file(self._files.first_census, codec.encode(signed))
        try:
            write_network(
                path,
                authority=certificates.certificate_pem(self._authority.certificate),
                sign=self._signer.sign,
                census=signed,
                contacts=tuple(contacts[:CONTACTS_MAX]),
                genesis=first,
            )
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {describe(error)}; free some space, then try again."
            ) from error
        return self._verified(signed, now)

    def _census(self, *, now: int) -> Census | None:
        """The last census."""
        signed = self._read_census(self._files.census)
        return None if signed is None else self._verified(signed, now)

    def _first_census(self) -> SignedCensus | None:
        """The census from which the network started; where that was not noted, the last one."""
        return self._read_census(self._files.first_census) or self._read_census(self._files.census)

    def _read_census(self, path: Path) -> SignedCensus | None:
        """A census of the authority's own; None if there is no such file. Raises ConfigError."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            signed = codec.decode(content, SignedCensus, bytes_max=CENSUS_BYTES_MAX)
            self._verified(signed, 0)
        except ProtocolError as error:
            raise ConfigError(f"{path} is damaged; put back a copy of it.") from error
        return signed

    def check_complete(self) -> None:
        """Refuse a list that lacks a node of the last census: it was cut, or is an old copy.

        Raises ConfigError. Otherwise persons could be enrolled twice.
        """
        census = self._census(now=0)
        listed = {enrolment.node_id for enrolment in enrolments(self._files)}
        if census is not None and not listed.issuperset(census.node_ids):
            raise ConfigError(
                f"{self._files.enrolments} lacks nodes of the last census; put back a copy of it."
            )

    def _verified(self, signed: SignedCensus, now: int) -> Census:
        return verify_census(
            signed,
            network=self.network,
            authority_key=self._signer.public_key,
            crypto=verifying_crypto(),
            now=now,
        )


@contextmanager
def open_authority(files: AuthorityFiles, unlocking: Unlocking) -> Iterator[AuthorityDesk]:
    """Unlock an authority, for one process at a time. Raises KeystoreError or ConfigError."""
    keys = keystore.open_keys(files.layout, unlocking)
    try:
        content = files.certificate.read_bytes()
    except OSError as error:
        raise _unreadable(files.certificate, error) from error
    try:
        certificate = certificates.read_authority_certificate(content)
    except InvalidCertificate as error:
        raise ConfigError(f"{files.certificate} is damaged; put back a copy of it.") from error
    descriptor = os.open(files.root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(descriptor, files.root)
        desk = AuthorityDesk(files, keys.signing_seed, certificate)
        desk.check_complete()
        yield desk
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be read: {describe(error)}; check its permissions, or put back a copy."
    )


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"The authority in {root} is in use by another process; wait for it to end."
        ) from error


def enrolments(files: AuthorityFiles) -> tuple[Enrolment, ...]:
    """Return every node ever enrolled, oldest first. Raises ConfigError when the list is damaged.

    A last line without its end is of a certificate that was never handed out: a crash cut it off.
    """
    try:
        content = files.enrolments.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(files.enrolments, error) from error
    found: dict[bytes, Enrolment] = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            _apply(found, msgspec.json.decode(line, type=Issued | Revoked))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            raise ConfigError(
                f"{files.enrolments} is damaged in line {number}; put back a copy of it."
            ) from error
    return tuple(found.values())


def _apply(found: dict[bytes, Enrolment], entry: Issued | Revoked) -> None:
    match entry:
        case Issued():
            name = node_id(entry.public_key, entry.nonce)
            found[entry.public_key] = Enrolment(node_id=name, issued=entry, revoked=False)
        case Revoked():
            known = found[entry.public_key]
            found[entry.public_key] = msgspec.structs.replace(known, revoked=True)


def _append(path: Path, entry: Issued | Revoked) -> None:
    """Add a line durably, in place of one that a crash cut off."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            whole = path.read_bytes().rfind(b"\n") + 1
            os.ftruncate(descriptor, whole)
            write_all(descriptor, msgspec.json.encode(entry) + b"\n", whole)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {describe(error)}; free some space, then try again."
        ) from error


State = Literal["enrolled", "revoked", "expired"]


def state_of(enrolment: Enrolment, now: float) -> State:
    """Say where an enrolment stands."""
    if enrolment.revoked:
        return "revoked"
    return "enrolled" if enrolment.issued.not_after > now else "expired"
