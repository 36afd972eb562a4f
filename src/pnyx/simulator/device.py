"""How fast the devices of a network model compute.

Work is counted in *passes*, one encryption (or decryption) of a vector and its addition, and in
*checks*, one signature verified or one small envelope opened. Two devices:

- `published`: what Mirval, Bouganim and Sandu Popa assume, 50 µs per KB and 10 ms a check, which is
  a small box with a secure element;
- `measured`: one core of the server that our benchmarks ran on, 0.5 ms for AES-CTR and 0.1 ms for
  the addition over 10⁶ values of 4 bytes (docs/adr/0025-masked-aggregation.md), 60 µs a check.
"""

from typing import Literal

import msgspec

DeviceName = Literal["published", "measured"]

_MIB = 1 << 20


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one core."""

    pass_s_per_mib: float
    check_s: float

    def passes_s(self, passes: float, size: float) -> float:
        """Return the time of so many passes over `size` bytes."""
        return passes * self.pass_s_per_mib * size / _MIB


DEVICES: dict[DeviceName, Device] = {
    "published": Device(pass_s_per_mib=0.0512, check_s=0.01),
    "measured": Device(pass_s_per_mib=0.0006 * _MIB / 4e6, check_s=0.00006),
}
