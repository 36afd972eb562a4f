"""A committee member as a dealer: two secrets, one for the challenge and one for the next beacon.

Its round key commits to both; once the round keys are agreed on, the first dealers of the list send
every listed member its share of each.
"""

from collections.abc import Mapping

from pnyx.errors import MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.messages import Dealing, DealingShares, RoundKey
from pnyx.protocol.round.holdings import dealing_info
from pnyx.protocol.round.services import RoundServices

SEED_BYTES = 64


class Dealer:
    """The dealings of one member. seed: 64 secret bytes, or none once they are erased."""

    def __init__(self, services: RoundServices, member: int, seed: bytes) -> None:
        self._services = services
        self._plan = services.plan
        self._member = member
        self._seed = seed
        self._secrets: tuple[beacon.DealtSecret, beacon.DealtSecret] | None = None
        self._sent: dict[int, Dealing] = {}

    def roots(self) -> tuple[bytes, bytes]:
        """Commitments to the dealings for the next beacon and for the challenge."""
        dealt = self._dealt()
        if dealt is None:
            return beacon.NO_DEALING, beacon.NO_DEALING
        return dealt[0].root, dealt[1].root

    def _dealt(self) -> tuple[beacon.DealtSecret, beacon.DealtSecret] | None:
        if self._seed and self._secrets is None:
            self._secrets = (
                beacon.deal(self._seed[:32], self._member, self._plan.size),
                beacon.deal(self._seed[32:], self._member, self._plan.size),
            )
        return self._secrets

    def deal(self, keys: Mapping[int, RoundKey]) -> None:
        """Send the sealed shares to the listed members, if this one is listed as a dealer."""
        dealt, mine = self._dealt(), keys.get(self._member)
        if dealt is None or mine is None or mine.next_dealing != dealt[0].root:
            return
        if self._member not in beacon.dealers_of(keys, self._plan.size):
            return
        for member, key in keys.items():
            shares = DealingShares(dealt[0].shares[member], dealt[1].shares[member])
            info = dealing_info(self._plan.context, self._member, member)
            try:
                sealed = self._services.crypto.seal(key.encryption_key, codec.encode(shares), info)
            except MalformedMessage:
                continue  # the member published no usable key: it harms itself only
            self._sent[member] = Dealing(self._plan.context, self._member, sealed)
            self._services.send_member(member, self._sent[member])
        self._secrets = None  # dealt once: nothing asks for them again

    def repeat(self, member: int) -> None:
        """Send a member its shares again, if any were dealt."""
        if member in self._sent:
            self._services.send_member(member, self._sent[member])

    def erase(self) -> None:
        """Forget the secrets; what was sealed to others says nothing."""
        self._seed = b""
        self._secrets = None
