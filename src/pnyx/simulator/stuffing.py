"""Contributors that want to be counted more often than once.

With every contribution of its own a stuffing node sends two more of the same vector: one that names
the next node of the census as its contributor, and one that also pretends to be signed by it. Both
are signed with the only key that the node has.
"""

from collections.abc import Iterable

import msgspec

from pnyx.primitives import codec
from pnyx.protocol.events import Send
from pnyx.protocol.messages import Contribution, ContributionHeader, RoundMessage
from pnyx.simulator.adversary import Hands, Wrapper

_BYTES_MAX = 8 * 1024 * 1024


def stuffing(hands: Hands) -> Wrapper:
    """Contributes in the name of others, too."""

    def change(send: Send, message: RoundMessage) -> Iterable[Send]:
        yield send
        if not isinstance(message, Contribution) or message.header.signer != hands.node_id:
            return
        header = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
        other = (header.contributor + 1) % len(hands.census)
        signed = hands.sign(msgspec.structs.replace(header, contributor=other))
        borrowed = msgspec.structs.replace(signed, signer=hands.census.node_ids[other])
        for forged in (signed, borrowed):
            stuffed = msgspec.structs.replace(message, header=forged)
            yield Send(send.peer, codec.encode(stuffed))

    return Wrapper(change)
