"""The real signatures and envelopes, which a node uses; the simulator may, in small networks."""

from pnyx.protocol.crypto import NodeCrypto

__all__ = ["NodeCrypto"]
