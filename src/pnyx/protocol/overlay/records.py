"""What is believed of a node: its own signed record, the newest one, and nothing else.

A record is a `NodeRecord` signed by a certified node. It says where the node can be reached and
carries a sequence number; the highest one counts, and what an older one says is stale. Whether the
signer is certified is the caller's `check`: a look into the census, or at a certificate.

A `RecordReader` verifies and may be shared by many nodes of one process, since what is valid for
one is valid for all. A `RecordBook` is what one node knows.
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from pnyx.errors import RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.messages import NodeRecord, Signed
from pnyx.protocol.overlay.messages import BODY_BYTES_MAX, Departure

Check = Callable[[Signed], object]
"""Raises ProtocolError unless the signer is certified and the signature is its own."""


class KnownRecord(msgspec.Struct, frozen=True):
    """A verified record."""

    node_id: bytes
    sequence: int
    host: str
    port: int
    signed: Signed


def record_key(node_id: bytes) -> bytes:
    """Under which key the ring stores a node's record."""
    return digest("pnyx/overlay/record", node_id)


class RecordReader:
    """Verifies records; remembers which ones it has verified."""

    def __init__(self, network: bytes, check: Check, records_max: int) -> None:
        self.network = network
        self.check = check
        self._records_max = records_max
        self._verified: OrderedDict[bytes, KnownRecord] = OrderedDict()

    def read(self, signed: Signed, known: KnownRecord | None) -> KnownRecord:
        """The record if it is newer than the known one, else the known one.

        The signature is looked at last, and only of what is news. Raises ProtocolError.
        """
        if known is not None and known.signed == signed:
            return known
        name = digest("pnyx/overlay/verified", signed.signer, signed.body, signed.signature)
        verified = self._verified.get(name)
        if verified is None:
            body = codec.decode(signed.body, NodeRecord, bytes_max=BODY_BYTES_MAX)
            if body.network != self.network:
                raise WrongContext("a node record belongs to another network")
            if known is not None and known.sequence >= body.sequence:
                return known
            self.check(signed)
            verified = KnownRecord(signed.signer, body.sequence, body.host, body.port, signed)
            self._verified[name] = verified
            if len(self._verified) > self._records_max:
                self._verified.popitem(last=False)
        if known is not None and known.sequence >= verified.sequence:
            return known
        return verified


class RecordBook:
    """The newest record of each node that this node knows, and who said goodbye."""

    def __init__(
        self,
        reader: RecordReader,
        records_max: int,
        on_newer: Callable[[KnownRecord], None],
    ) -> None:
        self._reader = reader
        self._records_max = records_max
        self._on_newer = on_newer
        self._newest: OrderedDict[bytes, KnownRecord] = OrderedDict()
        self._departed: OrderedDict[bytes, int] = OrderedDict()

    def get(self, node_id: bytes) -> KnownRecord | None:
        """The newest record of a node."""
        return self._newest.get(node_id)

    def take(self, signed: Signed) -> KnownRecord:
        """Verify a record; return the newest one of its node. Raises ProtocolError."""
        known = self._newest.get(signed.signer)
        newest = self._reader.read(signed, known)
        if newest is not known:
            self._newest[newest.node_id] = newest
            self._newest.move_to_end(newest.node_id)
            if len(self._newest) > self._records_max:
                self._newest.popitem(last=False)
            self._on_newer(newest)
        return newest

    def take_departure(self, signed: Signed) -> None:
        """Note a node's goodbye. Raises ProtocolError, also when there is nothing to take back."""
        body = codec.decode(signed.body, Departure, bytes_max=BODY_BYTES_MAX)
        if body.network != self._reader.network:
            raise WrongContext("a departure belongs to another network")
        known = self._newest.get(signed.signer)
        if known is None or body.sequence < known.sequence:
            raise RuleBroken("a departure is of an older record than the one that is known")
        self._reader.check(signed)
        self._departed[signed.signer] = body.sequence
        self._departed.move_to_end(signed.signer)
        if len(self._departed) > self._records_max:
            self._departed.popitem(last=False)

    def has_departed(self, record: KnownRecord) -> bool:
        """Whether its node took this record back."""
        return record.sequence <= self._departed.get(record.node_id, -1)
