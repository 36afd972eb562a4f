"""What a file of vectors of verified masked updates is about, as pnyx takes it."""

from typing import Any

import msgspec

from pnyx.primitives.codec import decode
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.masked_verification.bounds import bounds_of
from pnyx.protocol.selection import committee_size


class Given:
    """The committee, the masks and the bounds that a file gives."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.size = committee_size(given["members"], given["corrupt_max"], given["packing"])
        self.masks = decode(msgspec.msgpack.encode(given["masks"]), ParameterSet, bytes_max=200)
        self.masked = bounds_of(self.masks, given["norm_max"], given["colluding_max"])
        self.bounds = Bounds(
            len(given["counts"]),
            0,
            0,
            given["count_max"],
            key_length=self.masks.degree,
            key_fields=1,
            masked_norm_max=self.masked.norm_scaled,
        )
        context = bytes.fromhex(given["context"])
        self.code = VectorCode(self.masks, context, self.masked.largest_sum)
