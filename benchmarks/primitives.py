"""What a round's elementary steps cost, each beside the cheapest pass over the same bytes."""

import secrets
import time
from collections.abc import Callable

import numpy as np

from pnyx.primitives import envelope
from pnyx.primitives.hashing import digest, merkle_proofs
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.signature import SigningKey, verify
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
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
    vector = np.random.default_rng(1).integers(-100, 100, LENGTH)
    payloads = direct.share_vector(vector, size, seed)
    key = SigningKey(seed)
    signature = key.sign(b"x" * 200)
    envelope_key = envelope.EnvelopeKey(seed)
    sealed = envelope.seal(envelope_key.public_key, payloads[0], b"info")
    shares = direct.read_payload(payloads[0], LENGTH, size.packing)
    released = {
        m: direct.read_released(
            direct.add_shares(
                [direct.read_payload(payloads[m], LENGTH, size.packing)], LENGTH, size.packing
            ),
            LENGTH,
            size.packing,
        )
        for m in range(size.size)
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
        "share_vector": microseconds(lambda: direct.share_vector(vector, size, seed)),
        "merkle_proofs_24": microseconds(lambda: merkle_proofs(payloads)),
        "check_values": microseconds(lambda: direct.check_values(shares, seed, 1)),
        "decode_sum_24_answers": microseconds(lambda: direct.decode_sum(size, released, LENGTH)),
        "beacon_deal": microseconds(lambda: beacon.deal(seed, 0, size)),
        "beacon_recover": microseconds(lambda: beacon.recover(dealt.root, opened, size)),
    }
