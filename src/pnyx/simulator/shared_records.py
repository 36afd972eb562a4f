"""One memory of records for all nodes of a simulation: what is gossiped to everybody is held once.

A join reaches ten thousand nodes. Each would decode it, check that it is canonical, encode it for
its neighbours, and keep both. Records are immutable, so nodes may share them; they cannot tell.
"""

from collections import OrderedDict
from typing import Any

import msgspec

from pnyx.primitives import codec

_HELD_MAX = 20_000  # records that are remembered, the last ones used


class SharedRecords:
    """A codec that returns the same object for the same bytes, and the same bytes for a record."""

    def __init__(self) -> None:
        self._decoded: OrderedDict[tuple[Any, bytes], Any] = OrderedDict()
        self._encoded: OrderedDict[msgspec.Struct, bytes] = OrderedDict()

    def encode(self, message: msgspec.Struct, /) -> bytes:
        """Encode a record in its one canonical form."""
        known = self._encoded.get(message)
        if known is None:
            known = self._encoded[message] = codec.encode(message)
            _trim(self._encoded)
        else:
            self._encoded.move_to_end(message)
        return known

    def decode(self, data: bytes, kind: Any, /, *, bytes_max: int) -> Any:
        """Decode untrusted bytes as a `kind`. Raises MalformedMessage."""
        key = kind, data
        known = self._decoded.get(key) if len(data) <= bytes_max else None
        if known is None:
            known = self._decoded[key] = codec.decode(data, kind, bytes_max=bytes_max)
            _trim(self._decoded)
        else:
            self._decoded.move_to_end(key)
        return known


def _trim(held: OrderedDict[Any, Any]) -> None:
    if len(held) > _HELD_MAX:
        held.popitem(last=False)
