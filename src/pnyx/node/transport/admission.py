"""Which connections a listener keeps.

Before authentication a connection is worth nothing and is cheap to open, so their number is capped,
in all and per address. Beyond a cap the *oldest unauthenticated* connection makes room: an honest
peer finishes its handshake within milliseconds, an idle attacker only pushes out its own. Refusing
the newest instead would let a few idle connections shut everybody else out.

Authenticated connections are never pushed out by strangers. The caller closes what `arrive`
returns and reports every end with `leave`. Pure bookkeeping: no socket, no clock.
"""

from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from pnyx.node.transport.base import TransportLimits

Connection = TypeVar("Connection", bound=Hashable)

_IPV6_PREFIX_BITS = 64  # what one subscriber usually holds


def address_group(host: str) -> str:
    """Addresses that one party can take at will count as one: an IPv4 address, an IPv6 /64."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{int(address) >> (128 - _IPV6_PREFIX_BITS):x}/{_IPV6_PREFIX_BITS}"
    return str(address)


class Admission(Generic[Connection]):
    """Counts connections by state and address."""

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._groups: dict[Connection, str] = {}
        self._handshaking: dict[Connection, None] = {}  # in order of arrival
        self._handshakes_of: Counter[str] = Counter()
        self._connections_of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._groups)

    def arrive(self, connection: Connection, host: str) -> Connection | None:
        """Note a new, unauthenticated connection; return the one to close for it, if any.

        The result is the newcomer itself where only authenticated ones fill its address's share.
        """
        group = address_group(host)
        self._groups[connection] = group
        self._handshaking[connection] = None
        self._handshakes_of[group] += 1
        self._connections_of[group] += 1
        if (
            self._handshakes_of[group] > self._limits.handshakes_per_address_max
            or self._connections_of[group] > self._limits.connections_per_address_max
        ):
            return next(one for one in self._handshaking if self._groups[one] == group)
        if len(self._handshaking) > self._limits.handshakes_max:
            return next(iter(self._handshaking))
        return None

    def authenticated(self, connection: Connection) -> None:
        """Note a finished handshake: strangers no longer push this connection out."""
        if connection in self._handshaking:
            del self._handshaking[connection]
            self._forget(self._handshakes_of, self._groups[connection])

    def leave(self, connection: Connection) -> None:
        """Forget a connection that ended, or was told to; repeating is harmless."""
        group = self._groups.pop(connection, None)
        if group is None:
            return
        self._forget(self._connections_of, group)
        if connection in self._handshaking:
            del self._handshaking[connection]
            self._forget(self._handshakes_of, group)

    @staticmethod
    def _forget(counter: Counter[str], group: str) -> None:
        counter[group] -= 1
        if not counter[group]:
            del counter[group]
