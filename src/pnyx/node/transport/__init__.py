"""How nodes reach each other: one port, two implementations.

base      the port `Transport` and its named limits
tls       asyncio sockets, TLS 1.3, mutual certificates of one network
memory    the same behaviour inside one process, for tests

frames    length-prefixed frames on a stream of bytes (pure)
admission which connections a listener keeps (pure)
channel   one TLS connection: handshake, records, bounded memory
link      requests and replies, both ways, over one channel
identity  our certificate and key, loaded into TLS contexts
"""

from pnyx.node.transport.base import (
    Handler,
    PeerListener,
    PeerPredicate,
    Traffic,
    Transport,
    TransportLimits,
)

__all__ = [
    "Handler",
    "PeerListener",
    "PeerPredicate",
    "Traffic",
    "Transport",
    "TransportLimits",
]
