"""Randomness that no coalition of up to f members predicts, bends or withholds.

Each *dealer* draws a secret, shares it to the committee with degree f (f members learn nothing)
and commits to the Merkle root of all salted shares. Once the set of dealers is fixed, every
committed secret is opened by f + 1 hash-valid shares of *any* members, so that withholding a
reveal changes nothing (plain commit-reveal lets the last revealer choose: 8 withheld bits multiply
corrupted actors by 4.8). Whoever opens recomputes all shares and the root: a dealer that committed
to something else than a polynomial contributes zero, whichever shares were used, and its opened
shares are evidence. With at least f + 1 dealers one of them is honest, so the value is uniform.
"""

from collections.abc import Mapping
from itertools import islice

from pnyx.primitives.hashing import digest
from pnyx.protocol.dealing import (
    FIELD,
    NO_SECRET,
    SECRET_ELEMENTS,
    SHARE_BYTES,
    DealtSecret,
    deal,
    recover,
    recover_all,
    share_matches,
)
from pnyx.protocol.messages import RoundKey
from pnyx.protocol.selection.security import CommitteeSize

__all__ = [
    "FIELD",
    "NO_DEALING",
    "NO_SECRET",
    "SECRET_ELEMENTS",
    "SHARE_BYTES",
    "DealtSecret",
    "combine",
    "deal",
    "dealer_count",
    "dealers_needed",
    "dealers_of",
    "recover",
    "recover_all",
    "share_matches",
    "skipped",
]

NO_DEALING = bytes(32)


def dealer_count(size: CommitteeSize) -> int:
    """3f + 1 members deal: f may lie and f fall away, and f + 1 still count."""
    return min(size.size, 3 * size.corrupt_max + 1)


def dealers_of(keys: Mapping[int, RoundKey], size: CommitteeSize) -> tuple[int, ...]:
    """The first listed members that committed to a secret.

    Chosen from the open list and not from the committee: a list without enough dealers, for which
    a few absences or one leader suffice, would stop the round for ever.
    """
    committed = (m for m in sorted(keys) if keys[m].next_dealing != NO_DEALING)
    return tuple(islice(committed, dealer_count(size)))


def dealers_needed(size: CommitteeSize) -> int:
    """With f + 1 dealers, at least one is honest."""
    return size.corrupt_max + 1


def skipped(study: bytes, round_number: int, before: bytes) -> bytes:
    """The beacon after a round whose attempts both failed: nobody bends it, everybody foresees it.

    before: the beacon that the round itself was drawn by. No secret enters, for members may differ
    in which dealings they hold to be fixed, and must sign one record. Nor does anything of the
    attempts enter: the context of the second hashes which members gave up the first, and whom they
    name; whoever leads the abort could try as many of these as it likes.
    """
    return digest("pnyx/beacon/skipped", study, round_number.to_bytes(4, "big"), before)


def combine(context: bytes, purpose: str, secrets: Mapping[int, bytes]) -> bytes:
    """The beacon: a hash over every dealer's secret, bound to the round and to its purpose."""
    parts = [
        part for dealer in sorted(secrets) for part in (dealer.to_bytes(4, "big"), secrets[dealer])
    ]
    return digest("pnyx/beacon/value", context, purpose.encode(), *parts)
