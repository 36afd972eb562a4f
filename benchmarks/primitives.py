"""What a round's elementary steps cost, each beside the cheapest pass over the same bytes.

Sharing and checking contributions has its own benchmark, `verification`.
"""

import secrets
import time
from collections.abc import Callable

import numpy as np

from pnyx.primitives import envelope
from pnyx.primitives.hashing import digest, merkle_proofs
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.signature import SigningKey, verify
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct, verification
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.selection import choose_committee

LENGTH = 3145  # the demonstration's vector
REPEAT_S = 0.3


def microseconds(act: Callable[[], object]) -> float:
    """Median microseconds of thread CPU time for one call."""
    act()
    samples: list[float] = []
    limit = time.perf_counter() + REPEAT_S
    while time.perf_counter() < limit or len(samples) < 5:
        start = time.thread_time_ns()
        act()
        samples.append((time.thread_time_ns() - start) / 1000)
    return round(float(np.median(samples)), 2)


def run() -> dict[str, float]:
    """Microseconds for each step at the demonstration's sizes (36 nodes)."""
    size = choose_committee(36, rounds=22)
    seed = secrets.token_bytes(32)
    bounds = Bounds(LENGTH, LENGTH - 3, 4096, 1 << 20)
    vector = np.concatenate(
        [np.random.default_rng(1).integers(-50, 50, LENGTH - 3), np.array([30, 40, 90])]
    )
    proven = verification.prove(vector, bounds, size, seed, b"bench")
    payloads = proven.payloads
    key = SigningKey(seed)
    signature = key.sign(b"x" * 200)
    envelope_key = envelope.EnvelopeKey(seed)
    sealed = envelope.seal(envelope_key.public_key, payloads[0], b"info")
    length = verification.summed_length(bounds, size)
    released = {
        member: direct.read_released(
            verification.sum_share(
                [verification.read_payload(payload, bounds, size)], bounds, size
            ),
            length,
            size.packing,
        )
        for member, payload in enumerate(payloads)
    }
    dealt = beacon.deal(seed, 0, size)
    opened = dict(enumerate(dealt.shares))
    buffer = bytes(len(payloads[0]))
    return {
        "payload_bytes": len(payloads[0]),
        "memcpy_payload": microseconds(lambda: bytearray(buffer)),
        "aes_ctr_payload": microseconds(lambda: Sampler(seed, "bench").bytes(len(buffer))),
        "digest_200_bytes": microseconds(lambda: digest("bench", buffer[:200])),
        "sign": microseconds(lambda: key.sign(b"x" * 200)),
        "verify": microseconds(lambda: verify(key.public_key, b"x" * 200, signature)),
        "seal_payload": microseconds(
            lambda: envelope.seal(envelope_key.public_key, payloads[0], b"info")
        ),
        "open_payload": microseconds(lambda: envelope.open_envelope(envelope_key, sealed, b"info")),
        "merkle_proofs_24": microseconds(lambda: merkle_proofs(payloads)),
        "decode_sum_24_answers": microseconds(lambda: direct.decode_sum(size, released, length)),
        "beacon_deal": microseconds(lambda: beacon.deal(seed, 0, size)),
        "beacon_recover": microseconds(lambda: beacon.recover(dealt.root, opened, size)),
    }
