"""Parcels of a simulated node: what a disk would keep of them, in memory.

It outlives the simulated process. What was sealed stays; what was not is gone with the next start,
as `node.parcel_store` removes it.
"""

from collections.abc import Iterator, Mapping

from pnyx.protocol.chunks import chunk_count, chunk_length


class MemoryParcelStore:
    """Implements `protocol.ports.ParcelStore`."""

    def __init__(self) -> None:
        self._parts: dict[bytes, dict[int, bytes]] = {}
        self._sealed: dict[bytes, tuple[bytes, ...]] = {}

    def retain(self, parcels: Mapping[bytes, int]) -> frozenset[bytes]:
        """Remove everything but these sealed parcels; returns those that are not there."""
        self._parts.clear()
        whole = {
            name for name, cut in self._sealed.items() if sum(map(len, cut)) == parcels.get(name)
        }
        self._sealed = {name: self._sealed[name] for name in whole}
        return frozenset(parcels) - whole

    def write(self, parcel: bytes, index: int, data: bytes) -> None:
        """Put a chunk into its place; of a sealed parcel it is there already."""
        if parcel in self._sealed:
            return
        self._parts.setdefault(parcel, {})[index] = data

    def seal(self, parcel: bytes, length: int) -> None:
        """Let a parcel outlive the process."""
        if parcel in self._sealed:
            return
        part = self._parts.get(parcel, {})
        sizes = {index: chunk_length(length, index) for index in range(chunk_count(length))}
        if {index: len(data) for index, data in part.items()} != sizes:
            raise ValueError("chunks of a parcel are missing")
        self._sealed[parcel] = tuple(part[index] for index in range(len(part)))
        del self._parts[parcel]

    def read(self, parcel: bytes, index: int) -> bytes | None:
        """A chunk of a sealed parcel."""
        cut = self._sealed.get(parcel, ())
        return cut[index] if index < len(cut) else None

    def chunks(self, parcel: bytes) -> Iterator[bytes]:
        """All chunks of a sealed parcel."""
        return iter(self._sealed[parcel])

    def holds(self, parcel: bytes) -> bool:
        """Whether a parcel was sealed and not removed since."""
        return parcel in self._sealed

    def remove(self, parcel: bytes) -> None:
        """Remove a parcel."""
        self._parts.pop(parcel, None)
        self._sealed.pop(parcel, None)
