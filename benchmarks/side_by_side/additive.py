"""Additive shares to k servers, the plainest aggregation that hides single vectors.

A contributor splits its vector into k shares modulo 2^32, k - 1 of them random, and sends one to
each server, as parcels over the transport of `plain`. Servers add what they hold; every node pulls
the k sums and adds them. All k servers have to be there to the end, all k together read everything,
and nothing is checked. (A seed could stand for all shares but one, for less traffic.)
"""

import asyncio
import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from benchmarks.side_by_side.network import (
    Founded,
    folder,
    found,
    loop_factory,
    open_connections,
)
from benchmarks.side_by_side.peer import Note, Peer
from benchmarks.side_by_side.work import Meter, Spent, Work, next_model
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.selection import CommitteeSize

_LIMIT_S = 900.0


def split(vector: IntVector, servers: int) -> list[bytes]:
    """Shares of a vector, 4 bytes a value each."""
    rest = vector.astype(np.uint32)
    shares = []
    for _ in range(servers - 1):
        encryptor = Cipher(AES256(secrets.token_bytes(32)), CTR(bytes(16))).encryptor()
        shares.append(encryptor.update(bytes(rest.nbytes)))
        rest -= np.frombuffer(shares[-1], dtype="<u4")
    return [*shares, rest.astype("<u4").tobytes()]


class _Node:
    """Contributor, perhaps server, and reader of the sums."""

    def __init__(self, founded: Founded, number: int, work: Work, servers: int) -> None:
        self.peer = Peer(founded, number, self._on_note)
        self.model = bytes(4 * work.values)
        self.ended = asyncio.Event()
        self._nodes = len(founded.members)
        self._work = work
        self._servers = servers
        self._own: list[bytes] = []
        self._held: list[bytes] = []
        self._sums: list[bytes] = []

    def begin(self) -> None:
        """Forget the last round."""
        for name in {*self._own, *self._held, *self._sums}:
            self.peer.forget(name)
        self._own, self._held, self._sums = [], [], []
        self.ended.clear()

    def contribute(self, vector: IntVector) -> None:
        """Offer one share to each server."""
        for server, share in enumerate(split(vector, self._servers)):
            name = self.peer.keep(share, [server])
            self._own.append(name)
            self.peer.tell(server, Note("share", name, len(share)))

    def _on_note(self, sender: int, note: Note) -> None:
        done = self._hold if note.kind == "share" else self._on_sum
        self.peer.fetch(note.name, note.length, [sender], done)

    def _hold(self, name: bytes) -> None:
        self._held.append(name)
        if len(self._held) == self._work.contributors:
            task = asyncio.get_running_loop().create_task(self._sum())
            task.add_done_callback(lambda each: each.result())

    async def _sum(self) -> None:
        total = await asyncio.to_thread(self._added_up, self._held)
        data = total.astype("<u4").tobytes()
        name = self.peer.keep(data, range(self._nodes))
        self._own.append(name)
        for reader in range(self._nodes):
            self.peer.tell(reader, Note("sum", name, len(data)))

    def _added_up(self, names: list[bytes]) -> NDArray[np.uint32]:
        total = np.zeros(self._work.values, dtype=np.uint32)
        for name in names:
            total += np.frombuffer(self.peer.read(name), dtype="<u4")
        return total

    def _on_sum(self, name: bytes) -> None:
        self._sums.append(name)
        if len(self._sums) == self._servers:
            total = self._added_up(self._sums).view(np.int32).astype(np.int64)
            self.model = next_model(self.model, total, self._work.contributors)
            self.ended.set()


async def _rounds(founded: Founded, work: Work, servers: int) -> Spent:
    nodes = [_Node(founded, at, work, servers) for at in range(len(founded.members))]
    common = work.common()
    for node in nodes:
        await node.peer.start()
    try:
        async with asyncio.timeout(_LIMIT_S):
            await open_connections(founded, [node.peer.transport for node in nodes])
            before, meter = _sent(nodes), Meter()
            for _ in range(work.rounds):
                for node in nodes:
                    node.begin()
                for number in range(work.contributors):
                    nodes[number].contribute(common + number)
                for node in nodes:
                    await node.ended.wait()
        spent = meter.per_round(work.rounds, _sent(nodes) - before)
    finally:
        for node in nodes:
            await node.peer.stop()
    for node in nodes:
        work.check(node.model, work.rounds * work.contributors * (work.contributors - 1) // 2)
    return spent


def _sent(nodes: list[_Node]) -> int:
    return sum(node.peer.transport.traffic.bytes_sent for node in nodes)


def run_additive(work: Work, nodes: int, committee: CommitteeSize, servers: int) -> Spent:
    """Sum additive shares at so many servers; the mean of the rounds."""
    with folder() as root:
        founded = found(root, nodes, committee)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_rounds(founded, work, servers))
