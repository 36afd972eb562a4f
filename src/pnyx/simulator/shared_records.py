"""One memory of records for all nodes of a simulation: what is gossiped to everybody is held once.

A join reaches ten thousand nodes, and so does evidence of half a megabyte. Each node would decode
it, check that it is canonical, verify it, encode it for its neighbours, and keep both. Records are
immutable, so nodes may share them; they cannot tell. What evidence proves depends on it and on the
plan of its attempt alone, so that is found out once, too.
"""

from collections import OrderedDict
from typing import Any

import msgspec

from pnyx.primitives import codec
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import Evidence
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import RoundPlan

_HELD_MAX = 20_000  # records that are remembered, the last ones used
_HELD_BYTES_MAX = 256 * 1024 * 1024  # of them, encoded


class SharedRecords:
    """A codec that returns the same object for the same bytes, and the same bytes for a record."""

    def __init__(self) -> None:
        self._decoded = _Held()
        self._encoded = _Held()
        self._proven = _Held()

    def encode(self, message: msgspec.Struct, /) -> bytes:
        """Encode a record in its one canonical form."""
        known: bytes | None = self._encoded.get(message)
        if known is None:
            known = codec.encode(message)
            self._encoded.put(message, known, len(known))
        return known

    def decode(self, data: bytes, kind: Any, /, *, bytes_max: int) -> Any:
        """Decode untrusted bytes as a `kind`. Raises MalformedMessage."""
        key = kind, data
        known = self._decoded.get(key) if len(data) <= bytes_max else None
        if known is None:
            known = codec.decode(data, kind, bytes_max=bytes_max)
            self._decoded.put(key, known, len(data))
            self._encoded.put(known, data, len(data))  # what is canonical has no other encoding
        return known

    def verify_evidence(self, evidence: Evidence, plan: RoundPlan, crypto: Crypto) -> None:
        """As `check_evidence`; what fails is looked at by every node for itself."""
        key = plan.context, evidence
        if self._proven.get(key) is None:
            check_evidence(evidence, plan, crypto)
            self._proven.put(key, evidence.culprit, len(self.encode(evidence)))


class _Held:
    """A table of what was used last, bounded in entries and in bytes."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Any) -> Any:
        """Return what is held under a key, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Any, value: Any, size: int) -> None:
        """Hold a value of so many bytes under a key that has none, or keep the one it has."""
        if key in self._entries:
            return
        self._entries[key] = value, size
        self._bytes += size
        while len(self._entries) > _HELD_MAX or self._bytes > _HELD_BYTES_MAX:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._bytes -= dropped
