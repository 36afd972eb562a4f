"""How long the longest messages of a round are, by its committee and by what it releases.

A leader shows everybody the openings from which a challenge follows, and the shares that members
release: k times f + 1 opened shares of dealers, and k shares of the sums. With few members that is
nothing; 231 members that release 20,000 entries come to 12 MB, and 512 to 21 MB by openings alone.
So a study is refused whose committee could not carry them, and members take no more of a leader.
"""

from pnyx.errors import MalformedMessage
from pnyx.primitives import codec
from pnyx.primitives.hashing import HASH_BYTES, merkle_proof_hashes
from pnyx.protocol.beacon import SHARE_BYTES, dealers_needed
from pnyx.protocol.dealing import SALT_BYTES
from pnyx.protocol.messages import PARTED_BYTES_MAX, OpenedShare, OpenedShares
from pnyx.protocol.selection.security import CommitteeSize

_OTHERS_BYTES = 8 * 1024 * 1024  # whatever else a leader says to all: a value has half of it
_SIGNED_BYTES = 256  # of a release besides shares and openings: signature, names, framing


def check_openings(openings: OpenedShares, member: int, size: CommitteeSize) -> None:
    """Refuse opened shares that could make what a leader shows too long. Raises MalformedMessage.

    As many dealers are opened as are needed, and a proof is as long as the committee asks for.
    """
    hashes = merkle_proof_hashes(member, size.size)
    if len(openings) > dealers_needed(size) or any(
        len(each.share) != SHARE_BYTES or len(each.proof) != hashes for each in openings
    ):
        raise MalformedMessage("a member opens more dealings than are needed, or at greater length")


def opened_bytes_max(size: CommitteeSize) -> int:
    """Most bytes of one opened share of a dealer, as it is encoded."""
    hashes = merkle_proof_hashes(0, size.size)  # no leaf has more
    proof = (bytes(HASH_BYTES),) * hashes
    longest = OpenedShare(size.size - 1, bytes(SHARE_BYTES), bytes(SALT_BYTES), proof)
    return len(codec.encode(longest))


def shown_bytes_max(size: CommitteeSize, released: int) -> int:
    """Most bytes of what all members release, or open, in one message of a leader.

    released: bytes of a member's shares of all sums.
    """
    openings = dealers_needed(size) * opened_bytes_max(size)
    return (size.size + 1) * (_SIGNED_BYTES + released + openings)


def parted_bytes_max(size: CommitteeSize, released: int) -> int:
    """Most bytes of what members of a committee take of a leader in parts."""
    return min(PARTED_BYTES_MAX, max(_OTHERS_BYTES, shown_bytes_max(size, released)))
