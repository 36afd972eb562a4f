"""Contributors that want to be counted more often than once.

With every contribution of its own a stuffing node makes another of the same vector, with a proof
and shares that are right, in the name of the next node of the census. It sends it twice: signed as
itself, and with the other's name on its own signature, the only one that it can make.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from pnyx.primitives import codec
from pnyx.protocol.events import Send
from pnyx.protocol.messages import Contribution, RoundMessage
from pnyx.simulator.adversary import Forger, Hands, Wrapper, read


def stuffing(hands: Hands) -> Wrapper:
    """Contributes in the name of another, too."""
    other = (hands.index + 1) % len(hands.census)
    forger = Forger(hands, names=lambda _: other)

    def change(send: Send, message: RoundMessage) -> Iterable[Send]:
        yield send
        for forged in forger.change(send, message):
            said = read(forged.payload)
            if forged is send or not isinstance(said, Contribution):
                continue
            yield forged
            borrowed = replace(said.header, signer=hands.census.node_ids[other])
            yield Send(send.peer, codec.encode(replace(said, header=borrowed)))

    return Wrapper(change, forger.hear)
