"""Settings that experiments on networks of failing nodes share: trees, our round, its machines."""

from typing import Annotated

from msgspec import Meta

from pnyx.simulator.device import DeviceName

WindowS = Annotated[
    float, Meta(ge=0.0, le=1e9, description="nodes die uniformly from 0 to this, seconds")
]
LatencyS = Annotated[float, Meta(ge=0.0, le=10.0, description="latency of a line, seconds")]
TimeoutS = Annotated[
    float,
    Meta(ge=0.0, le=600.0, description="time after which a silent node counts as dead, seconds"),
]
KibPerS = Annotated[float, Meta(ge=1.0, le=1e9, description="line of a node, KiB/s")]
Runs = Annotated[int, Meta(ge=1, le=100_000, description="runs, with failures drawn anew")]
DeviceSpeed = Annotated[DeviceName, Meta(description="how fast nodes compute")]
