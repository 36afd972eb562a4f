"""Every error that Pnyx raises on purpose.

    PnyxError                  something a person can act upon: one clear sentence
    ├── Interrupted            Ctrl-C or SIGTERM ended a command, which says how to go on
    ├── ConfigError            a setting is missing or out of range
    ├── ProtocolError          a peer broke a rule; the machine drops the message and carries on
    │   ├── MalformedMessage   not decodable, not canonical, or beyond a bound
    │   ├── InvalidSignature   a signature or quorum certificate does not verify
    │   ├── InvalidCertificate certificate, census or identity is wrong or has expired
    │   ├── WrongContext       bound to another network, study, round or attempt
    │   └── RuleBroken         any other rule of docs/protocol.md, named in the message
    ├── DecodingError          shares lie too far from any codeword to name one
    ├── TransportError         a peer could not be reached, or a port could not be opened
    ├── KeystoreError          wrong passphrase, damaged or missing key
    ├── VaultError             the vault cannot be opened, read or written
    │   └── DataImportError    a file of personal data cannot be imported
    ├── ConsentError           an action lacks a valid consent, or its budget is spent
    ├── QueryError             a study's feature query is not allowed, or cannot be run
    └── TrainingError          a training task cannot be run or gave unusable numbers

A call that breaks a function's contract is a bug and raises ValueError or TypeError instead.
"""


class PnyxError(Exception):
    """Base of all errors meant for people; its text is one sentence that says what to do."""


class Interrupted(PnyxError):
    """A command was ended by Ctrl-C or SIGTERM before it was done."""


class ConfigError(PnyxError):
    """A setting is missing, unknown or out of range."""


class ProtocolError(PnyxError):
    """A peer broke a rule of the protocol."""


class MalformedMessage(ProtocolError):
    """Bytes that cannot be decoded, are not canonical, or exceed a bound."""


class InvalidSignature(ProtocolError):
    """A signature or a quorum certificate does not verify."""


class InvalidCertificate(ProtocolError):
    """A certificate, census or identity is wrong, revoked or expired."""


class WrongContext(ProtocolError):
    """A valid message bound to another network, study, round, attempt or member."""


class RuleBroken(ProtocolError):
    """A well-formed, authentic message that breaks a named rule."""


class DecodingError(PnyxError):
    """Shares are too few, or too far from every codeword, to decode."""


class TransportError(PnyxError):
    """A peer cannot be reached, or a listening port cannot be opened."""


class KeystoreError(PnyxError):
    """A key file is missing or damaged, or the passphrase is wrong."""


class VaultError(PnyxError):
    """The vault cannot be opened, read or written."""


class DataImportError(VaultError):
    """A file of personal data cannot be imported."""


class ConsentError(PnyxError):
    """An action lacks a valid consent, or its privacy budget is spent."""


class QueryError(PnyxError):
    """A study's feature query is not in the language, or cannot be run on the owner's data."""


class TrainingError(PnyxError):
    """A training task cannot be run, or produced unusable numbers."""
