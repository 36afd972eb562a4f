"""Messages per CPU second: the scheduler alone, networks of 36 with each cryptography, and a large
one of a thousand nodes in a process of its own, which also tells what memory a node takes.

The scheduler carries messages of a machine that does nothing, through the link model and the
queue. The networks run the demonstration's sizes (vectors of 3,146 integers, 24 of 36 contribute)
in virtual time on one thread, with the invariants checked and the trace hashed. With real
cryptography the time is that of Ed25519 and HPKE; one round of it is what 36 nodes spend on the
protocol together.
"""

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from pnyx.node.crypto import NodeCrypto
from pnyx.primitives.signature import SigningKey
from pnyx.simulator import IdealCrypto, Link, Scenario, Simulation, live
from pnyx.simulator.experiment import silent
from pnyx.simulator.live import LiveParameters
from pnyx.simulator.network import Network
from pnyx.simulator.population import CryptoFactory
from pnyx.simulator.scheduler import Scheduler

NODES = 36
ROUNDS = 3
VECTOR_LENGTH = 3_146
MESSAGES = 400_000


def _scheduler_alone() -> dict[str, float]:
    """Each delivery of a no-op node sends one message on, until all are sent."""
    scheduler, network = Scheduler(), Network(Link(), (), (), seed=1)
    left = MESSAGES

    def deliver(node: int) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            peer = (node + 7) % NODES
            for at in network.arrivals(node, peer, 200, scheduler.now):
                scheduler.call_at(at, deliver, peer)

    for node in range(NODES):
        scheduler.call_at(0.0, deliver, node)
    started = time.process_time()
    scheduler.run(1e9, lambda: False)
    seconds = time.process_time() - started
    return {"messages": network.messages, "messages_per_cpu_s": network.messages / seconds}


def _network(crypto: CryptoFactory) -> dict[str, float]:
    scenario = Scenario(
        seed=1, nodes=NODES, rounds=ROUNDS, cohort_min=16, vector_length=VECTOR_LENGTH
    )
    simulation = Simulation(scenario, crypto)
    started = time.process_time()
    outcome = simulation.run()
    seconds = time.process_time() - started
    return {
        "messages": outcome.messages,
        "bytes_sent": outcome.bytes_sent,
        "virtual_s": outcome.ended_s,
        "cpu_s": seconds,
        "cpu_s_per_round": seconds / ROUNDS,
        "messages_per_cpu_s": outcome.messages / seconds,
    }


def _large() -> dict[str, float]:
    """A round of a thousand nodes, by the settings of live mode: 110 members, 60 owners join."""
    parameters = LiveParameters(
        nodes=1_000,
        consenting=0.06,
        cohort_min=16,
        contributors=32,
        mbit_per_s=1_000,
        view_timeout_s=30.0,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    rounds = live.run(parameters, 1, silent)
    seconds = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    messages = sum(each.messages for each in rounds)
    assert rounds[-1].completed
    return {
        "nodes": parameters.nodes,
        "committee": parameters.sizes.size,
        "messages": messages,
        "cpu_s": seconds,
        "messages_per_cpu_s": messages / seconds,
        "kib_per_node": memory / parameters.nodes,
    }


def run() -> dict[str, Any]:
    """All figures."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        large = pool.submit(_large).result()
    return {
        "nodes": NODES,
        "rounds": ROUNDS,
        "vector_length": VECTOR_LENGTH,
        "scheduler_alone": _scheduler_alone(),
        "ideal": _network(IdealCrypto),
        "real": _network(lambda seed: NodeCrypto(SigningKey(seed))),
        "large": large,
    }
