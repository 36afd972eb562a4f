"""The ring overlay: real nodes over TLS in one process, and simulated ones with a corrupted fifth.

    python -m benchmarks overlay           everything, at the counts of docs/overlay.md
    python benchmarks/overlay.py --real 200 --simulated 1000 --look-ups 1000

Real: messages and bytes of a node and minute once the ring is in order (TLS and framing included),
steps and latency of look-ups, how many are exactly right, before and after a fifth of the nodes
left at once, and how long until an item is back at its eight holders. Simulated: the same under
loss, latency, and one kind of corruption at a time, with the seed.
"""

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.ring_nodes import RealNodes

from pnyx.protocol.overlay.params import OverlayParams
from pnyx.simulator.network import Link
from pnyx.simulator.overlay import Ringtown
from pnyx.simulator.overlay_adversary import KINDS, RingCoalition

SEED = 20
LINK = Link(latency_s=0.03, latency_tail_s=0.02, loss=0.01)
# The bounds of a node on a line of its own, but for patience: here hundreds share two cores.
REAL = OverlayParams(ask_timeout_s=10.0, finger_first_s=5.0, repair_s=10.0, hasty_repair_s=0.5)


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 4)


async def _measure_real(count: int, look_ups: int, quiet_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        nodes = RealNodes(Path(directory), count, REAL)
        try:
            began = time.perf_counter()
            await nodes.join_all(within_s=1800.0)
            joined_s = time.perf_counter() - began
            await asyncio.sleep(quiet_s)
            traffic = [node.transport.traffic for node in nodes.nodes]
            sent = sum(each.bytes_sent for each in traffic)
            requests = sum(each.requests for each in traffic)
            began = time.perf_counter()
            await asyncio.sleep(quiet_s)
            minutes = (time.perf_counter() - began) / 60 * count
            quiet_bytes = (sum(each.bytes_sent for each in traffic) - sent) / minutes
            quiet_requests = (sum(each.requests for each in traffic) - requests) / minutes
            right, latencies = await nodes.correct_look_ups(look_ups)
            put = await nodes.nodes[1].shell.put_note(secrets.token_bytes(1000))
            gone = nodes.nodes[1::5]
            await asyncio.gather(*(node.stop() for node in gone))
            began = time.perf_counter()
            after, late = await nodes.correct_look_ups(look_ups)
            true = set(nodes.true_answer(put.key, 8))
            while not true <= {
                node.node_id
                for node in nodes.live()
                if node.shell.machine.storage.get(put.key) is not None
            }:
                await asyncio.sleep(0.1)
            repaired_s = time.perf_counter() - began
        finally:
            await nodes.stop()
    return {
        "nodes": count,
        "all_joined_s": round(joined_s, 1),
        "requests_per_node_and_minute": round(quiet_requests, 1),
        "bytes_per_node_and_minute": round(quiet_bytes),
        "look_ups": look_ups,
        "correct": right / look_ups,
        "latency_s_median": _percentile(latencies, 0.5),
        "latency_s_p95": _percentile(latencies, 0.95),
        "left_at_once": len(gone),
        "correct_after": after / look_ups,
        "latency_after_s_median": _percentile(late, 0.5),
        "item_at_all_holders_after_s": round(repaired_s, 1),
    }


def measure_simulated(nodes: int, kind: str, look_ups: int, seed: int = SEED) -> dict[str, Any]:
    """A converged ring of which a fifth is corrupted in one way; look-ups by honest nodes."""
    corrupt = range(3, nodes, 5) if kind != "none" else ()
    params = OverlayParams(cache_max=64 if nodes > 2000 else 256, finger_first_s=60.0)
    town = Ringtown(nodes, seed=seed, params=params, link=LINK, corrupt=corrupt)
    RingCoalition(town, kind if kind != "none" else "mixed")
    began = time.process_time()
    town.start_converged()
    honest = town.honest()
    for _ in range(look_ups):
        town.look_up(honest[town.sampler.below(len(honest))], town.sampler.bytes(32))
        town.run(0.02)
    while town.unanswered:
        town.run(5.0)
    figures = {key: round(value, 4) for key, value in town.summary().items()}
    return {
        "nodes": nodes,
        "corrupted": len(corrupt),
        "kind": kind,
        "seed": seed,
        **figures,
        "cpu_s": round(time.process_time() - began, 1),
    }


def measure(real: int, simulated: int, look_ups: int) -> dict[str, Any]:
    """All figures."""
    result: dict[str, Any] = {}
    if real:
        result["real"] = asyncio.run(_measure_real(real, min(look_ups, 40), 30.0))
    if simulated:
        kinds = ("none", *KINDS)
        result["simulated"] = [measure_simulated(simulated, each, look_ups) for each in kinds]
    return result


def run() -> dict[str, Any]:
    """The counts that docs/overlay.md reports."""
    return measure(200, 1000, 1000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--real", type=int, default=200)
    parser.add_argument("--simulated", type=int, default=1000)
    parser.add_argument("--look-ups", type=int, default=1000)
    asked = parser.parse_args()
    print(json.dumps(measure(asked.real, asked.simulated, asked.look_ups), indent=2))
