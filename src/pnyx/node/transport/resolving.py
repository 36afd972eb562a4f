"""Addresses behind the names of peers, looked up without holding anybody up.

A peer names its host, and whoever answers for that name may take as long as it likes. So look-ups
run in threads of their own, not in those that compute; one at a time for a peer, and so many in
all. A look-up that was given up runs on until the system ends it: until then its peer gets none.
The threads are daemons, for a process must be able to end before a name server answers.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from pnyx.errors import TransportError
from pnyx.hosts import is_address
from pnyx.node.transport.base import short

Outcome = list[str] | OSError | ValueError


class Resolver:
    """Looks up the hosts of peers, `lookups_max` at a time."""

    def __init__(self, lookups_max: int) -> None:
        self._lookups_max = lookups_max
        self._busy: set[bytes] = set()  # peers whose name is being looked up

    async def resolve(self, peer: bytes, host: str) -> list[str]:
        """IP addresses of a peer's host, best first; waits for as long as the system takes.

        Raises TransportError when too much is being looked up; otherwise what the system's resolver
        raises: OSError, or ValueError for what is no name.
        """
        if is_address(host):
            return [host]
        if peer in self._busy or len(self._busy) >= self._lookups_max:
            raise TransportError(
                f"The host name {host!r} of peer {short(peer)} is not looked up while earlier "
                "look-ups are unanswered; it is tried again."
            )
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(outcome: Outcome) -> None:
            self._busy.discard(peer)
            if found.done():
                return  # whoever asked has given up
            if isinstance(outcome, list):
                found.set_result(outcome)
            else:
                found.set_exception(outcome)

        def tell(outcome: Outcome) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, outcome)

        try:
            threading.Thread(target=_look_up, args=(host, tell), daemon=True).start()
        except RuntimeError as error:
            raise OSError("the system has no thread left") from error
        self._busy.add(peer)
        return await found


def _look_up(host: str, tell: Callable[[Outcome], None]) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        tell(list(dict.fromkeys(str(address[0]) for *_, address in found)))
    except (OSError, ValueError) as error:
        tell(error)
