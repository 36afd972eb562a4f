"""Checkpoints: why one segment shows that a long vector is not what was signed of it.

A vector of ten million values has forty megabytes, too many to show to everybody. So who signs what
a vector is, signs how far that has come after every segment:

    checkpoint i = H("pnyx/masked/checkpoint", linear hash of segments 0 to i, P·y of these)

The last one is of all of it. P·y is empty where no norm is verified, and for sums. What is signed
is one hash of all checkpoints (`commit`), such that whoever knows the linear hash of the whole
needs 32 bytes beside it to check that it is the one.

Whoever holds the vector and all checkpoints computes its own, and compares: if the last one
differs, there is a first that does. Up to the one before, both are the same, so the linear hash and
P·y before that segment are what the signer committed to; with the segment's bytes they give another
checkpoint. Anybody can repeat that (`round.false_segments`), and for a true vector nobody can show
it: that takes a second preimage.
"""

from collections.abc import Sequence

from pnyx.primitives.hashing import digest


def checkpoint(linear_hash: bytes, sketch: bytes = b"") -> bytes:
    """How far a vector has come after a segment: linear hash and, where one is stated, P·y."""
    return digest("pnyx/masked/checkpoint", linear_hash, sketch)


def name_earlier(checkpoints: Sequence[bytes]) -> bytes:
    """Names all checkpoints but the last; there are none where there is one segment."""
    return digest("pnyx/masked/earlier", *checkpoints)


def commit(context: bytes, earlier: bytes, last: bytes) -> bytes:
    """What is signed of all checkpoints in a context. earlier: as `name_earlier` names them."""
    return digest("pnyx/linear-hash", context, earlier, last)


def commit_all(context: bytes, checkpoints: Sequence[bytes]) -> bytes:
    """The same from all checkpoints, of which there is at least one."""
    *earlier, last = checkpoints
    return commit(context, name_earlier(earlier), last)
