"""What binds a verified masked contribution, in two steps.

    C1 = H(context, root of the masked vector y, root of the key shares, salt)      fixes z, then P
    C2 = H(C1, root of all payloads)                                        fixes X and g, then R'

so P is drawn when the vector that it sketches can no longer be chosen, and R' when the digits can
not. With the second root alone a dealer could choose its key shares, and with them z, after it has
seen P: 256 equations for 1,024 unknowns. So every payload proves that its key share is under the
first root. The roots are Merkle roots over the members, in order.
"""

from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.coefficients import Claim


def sketch_commitment(context: bytes, vector_root: bytes, key_root: bytes, salt: bytes) -> bytes:
    """C1: binds the masked vector and the key shares to round, attempt and contributor."""
    return digest("pnyx/masked-verification/sketch", context, vector_root, key_root, salt)


def commitment(sketched: bytes, shares_root: bytes) -> bytes:
    """C2: binds everything that is shared to C1."""
    return digest("pnyx/masked-verification/commitment", sketched, shares_root)


def masked_claim(
    contributor: int,
    context: bytes,
    *,
    vector_root: bytes,
    key_root: bytes,
    salt: bytes,
    shares_root: bytes,
    published: bytes,
    sketch: bytes,
) -> Claim:
    """What a signed header claims in a context. vector_root: names every byte of y."""
    sketched = sketch_commitment(context, vector_root, key_root, salt)
    bound = commitment(sketched, shares_root)
    return Claim(contributor, bound, published, sketched, key_root, sketch)
