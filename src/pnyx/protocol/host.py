"""What a machine does for its parts: it gathers their effects, and lets no broken rule stop it."""

from collections.abc import Callable
from typing import Any, Protocol

from pnyx.protocol.messages import AbortCertificate, Items, Record
from pnyx.protocol.round.services import Mailbox


class Host(Mailbox, Protocol):
    """The machine, as its parts see it."""

    @property
    def now(self) -> float:
        """Time of the event in hand."""
        ...

    def send(self, peer: bytes, message: Items) -> None:
        """Send a message to a peer."""
        ...

    def guard(self, peer: bytes, act: Callable[[], Any]) -> None:
        """Carry out what a peer caused; a broken rule costs it the message."""
        ...

    def persist(self, key: str, value: bytes) -> None:
        """Have the shell store a value before anything that follows is sent."""
        ...

    def on_record(self, record: Record, peer: bytes) -> None:
        """Take up the record of a round. Raises ProtocolError."""
        ...

    def on_abort(self, certificate: AbortCertificate) -> None:
        """Take up that the first attempt at a round ended unopened. Raises ProtocolError."""
        ...
