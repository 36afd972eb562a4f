"""Messages of rounds that a node has not opened yet, kept within bounds: the oldest go first."""

from collections import OrderedDict

from pnyx.protocol.messages import RoundMessage


class EarlyMessages:
    """Messages by the context that they are for.

    messages_max: how many are kept. bytes_max: that they take, as they came.
    """

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._kept: OrderedDict[int, tuple[bytes, RoundMessage, int]] = OrderedDict()
        self._next = 0
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, sender: bytes, message: RoundMessage, size: int) -> None:
        """Keep a message of `size` bytes until its round opens."""
        self._kept[self._next] = (sender, message, size)
        self._next += 1
        self.size += size
        while len(self._kept) > self._messages_max or self.size > self._bytes_max:
            _, (_, _, dropped) = self._kept.popitem(last=False)
            self.size -= dropped

    def take(self, context: bytes) -> list[tuple[bytes, RoundMessage]]:
        """Senders and messages for a context, in the order they came; they are kept no longer."""
        found = [number for number, (_, m, _) in self._kept.items() if m.context == context]
        taken = [self._kept.pop(number) for number in found]
        self.size -= sum(size for _, _, size in taken)
        return [(sender, message) for sender, message, _ in taken]
