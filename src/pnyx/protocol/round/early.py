"""Messages of rounds that a node has not opened yet, kept within bounds: the oldest go first.

They are kept as the bytes that they came in, for a record can take many times as much memory: a
list of a million small numbers has a few bytes for each, and its record an object.
"""

from collections import OrderedDict
from typing import NamedTuple

from pnyx.primitives import codec
from pnyx.protocol.messages import RoundMessage


class _Kept(NamedTuple):
    sender: bytes
    context: bytes
    payload: bytes


class EarlyMessages:
    """Messages by the context that they are for.

    messages_max: how many are kept. bytes_max: that they take, encoded.
    """

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._next = 0
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, sender: bytes, message: RoundMessage) -> None:
        """Keep a message until its round opens."""
        payload = bytes(memoryview(codec.encode(message)))  # copied: encoders leave room
        self._kept[self._next] = _Kept(sender, message.context, payload)
        self._next += 1
        self.size += len(payload)
        while len(self._kept) > self._messages_max or self.size > self._bytes_max:
            _, dropped = self._kept.popitem(last=False)
            self.size -= len(dropped.payload)

    def take(self, context: bytes) -> list[tuple[bytes, bytes]]:
        """Senders and messages for a context, in the order they came; they are kept no longer.

        Encoded still, so that whoever takes them up has one at a time as a record.
        """
        found = [number for number, kept in self._kept.items() if kept.context == context]
        taken = [self._kept.pop(number) for number in found]
        self.size -= sum(len(kept.payload) for kept in taken)
        return [(kept.sender, kept.payload) for kept in taken]
