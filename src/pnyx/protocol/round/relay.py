"""An aggregator as a relay: it keeps sealed envelopes for members that are away.

It can read none of them, and a header does not commit to sealed bytes; so it takes envelopes from
their contributor alone, or anybody could leave garbage in their place. It hands each to its member,
when it comes and on request, so that the contributor need not stay.

What a member makes it send is bounded: an envelope goes to its member when it comes, and as often
again as a member that is killed now and then may have to ask. All members' envelopes of one
contributor can take more than a message carries, so they come in several.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES
from pnyx.protocol.aggregation.payloads import payload_bytes
from pnyx.protocol.events import EnvelopesKept
from pnyx.protocol.messages import (
    Contribution,
    Relay,
    RoundMessage,
    SealedShare,
    ShareRequest,
    Signed,
    VectorReceipt,
)
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import InputReader, ascending

_HANDED_OUT_MAX = 4  # times that an envelope is, on request; honest members ask once a start


def relays(whole: Relay, bytes_max: int) -> Iterator[Relay]:
    """Cut a relay into several with its envelopes, in order, each of `bytes_max` bytes at most."""
    rest = len(codec.encode(msgspec.structs.replace(whole, shares=())))
    for shares in codec.runs(whole.shares, bytes_max - rest):
        yield msgspec.structs.replace(whole, shares=shares)


class EnvelopeRelay:
    """Envelopes kept for one attempt: contributor -> member -> sealed share."""

    def __init__(self, services: RoundServices) -> None:
        self._services = services
        self._plan = services.plan
        self._reader = InputReader(self._plan, services.crypto)
        self._kept: dict[int, _Kept] = {}

    def handle(self, sender: int, message: RoundMessage) -> None:
        """Keep envelopes, or hand them out. Raises ProtocolError."""
        match message:
            case Relay():
                self._keep(sender, message)
            case ShareRequest():
                self._hand_out(sender, message)
            case _:
                return

    def forget(self, contributor: int) -> None:
        """Hand out no more of what a contributor left: this node's own owner withdrew."""
        self._kept.pop(contributor, None)

    def _keep(self, sender: int, message: Relay) -> None:
        header = self._reader.header(message.header)
        if header.contributor != sender:
            raise RuleBroken("envelopes to keep come from another node than their contributor")
        if any(share.member >= len(self._plan.committee) for share in message.shares):
            raise RuleBroken("an envelope is addressed to a member that does not exist")
        if any(len(share.sealed) != self._sealed_bytes(share.member) for share in message.shares):
            raise RuleBroken("an envelope has the wrong size for this study's vector")
        kept = self._kept.setdefault(
            header.contributor, _Kept(message.header, message.receipts, {}, Counter())
        )
        if kept.header != message.header:
            raise RuleBroken("a contributor showed two different contributions")
        before = len(kept.shares)
        for share in message.shares:
            if share.member not in kept.shares:
                kept.shares[share.member] = share
                self._services.send_member(share.member, self._contribution(kept, share.member))
        fresh = len(kept.shares) - before
        if fresh:
            self._services.emit(EnvelopesKept(self._plan.study, self._plan.round_number, fresh))

    def _sealed_bytes(self, member: int) -> int:
        phase = self._plan.phase
        assert phase is not None, "a header was read, so there is something to contribute"
        return ENVELOPE_OVERHEAD_BYTES + payload_bytes(phase.bounds, self._plan.size, member)

    def _contribution(self, kept: "_Kept", member: int) -> Contribution:
        return Contribution(self._plan.context, kept.header, kept.shares[member], kept.receipts)

    def _hand_out(self, sender: int, message: ShareRequest) -> None:
        member = self._plan.member_of.get(sender)
        if member is None:
            return
        if not ascending(message.contributors):
            raise RuleBroken("a member asks for an envelope twice, or out of order")
        for contributor in message.contributors:
            kept = self._kept.get(contributor)
            if kept is None or member not in kept.shares:
                continue
            if kept.handed_out[member] < _HANDED_OUT_MAX:
                kept.handed_out[member] += 1
                self._services.send(sender, self._contribution(kept, member))


class _Kept(NamedTuple):
    """What one contributor left: its header, receipts for its masked vector, envelopes.

    handed_out: how often a member was given its envelope because it asked for it.
    """

    header: Signed
    receipts: tuple[VectorReceipt, ...]
    shares: dict[int, SealedShare]
    handed_out: Counter[int]
