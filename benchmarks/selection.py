"""What selection costs and gives: lists verified among 10⁶ nodes, draws made, shares obtained.

- `verification`: milliseconds of one core, and bytes, to verify the actor list of a round among 10⁶
  nodes, by region and by census; the beacon's quorum certificate, which a round checks once, apart;
  beside what SEP2P verifies (k_r certificates and k_r signatures) with the same primitives;
- `draws`: messages, bytes and seconds on the clock of one list, with links of 10 ms;
- `silent`: seconds to a list where nodes are away, and corrupt callers say nothing;
- `shares`: corrupted actors over 10⁵ selections by the protocol's own rules, against A·C/N;
- `bias`: corrupted actors when a coalition may withhold reveals, without and with recovery. With it
  they are those of real draws, each repeated with every subset of the coalition silent.
"""

import time
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from tests.support.region_baselines import bias
from tests.support.regions import EPOCH_BEACON, STUDY, Exchange, Ring, beacon_of, listed

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_commit, verify_merkle_proof
from pnyx.primitives.signature import QuorumCertificate, SigningKey, check_quorum, verify
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.actors import listed_count
from pnyx.protocol.selection import choose_committee, select_census
from pnyx.protocol.selection.region import RegionSelector, draw_context, region_rule
from pnyx.protocol.selection.region.draws import DrawTimes
from pnyx.protocol.selection.region.messages import Call, Continue, Reveal, Witness
from pnyx.protocol.selection.region.ring import CensusCache
from pnyx.protocol.selection.region.statements import ordered, point_of

NODES = 1_000_000
REPEAT_S = 1.0
SELECTIONS, SHARE_NODES, SHARE_CORRUPTED, ACTORS = 100_000, 10_000, 500, 24
DRAWS_IN_AN_EPOCH = 200


def milliseconds(act: Callable[[], object]) -> float:
    """Median milliseconds of thread CPU time for one call."""
    act()
    samples: list[float] = []
    limit = time.perf_counter() + REPEAT_S
    while time.perf_counter() < limit or len(samples) < 5:
        start = time.thread_time_ns()
        act()
        samples.append((time.thread_time_ns() - start) / 1e6)
    return round(float(np.median(samples)), 4)


class _Keys(dict[bytes, SigningKey]):
    """A key for every node, made when it is needed."""

    def __missing__(self, node: bytes) -> SigningKey:
        made = self[node] = SigningKey(digest("bench/key", node))
        return made


class _PublicKeys:
    """Public keys by census index, made when they are needed."""

    def __init__(self, ids: list[bytes], keys: _Keys) -> None:
        self._ids, self._keys = ids, keys

    def __getitem__(self, index: int) -> bytes:
        return self._keys[self._ids[index]].public_key


def verification() -> dict[str, Any]:
    """Verify one round's list, membership and beacon among 10⁶ nodes."""
    size = choose_committee(NODES)
    ids = sorted(digest("bench/node", n.to_bytes(4, "big")) for n in range(NODES))
    keys = _Keys()
    public = _PublicKeys(ids, keys)
    start = time.perf_counter()
    cache = CensusCache(ids, public, EPOCH_BEACON)  # type: ignore[arg-type]  # is indexed only
    cache_s = time.perf_counter() - start
    rule = region_rule(NODES, size.corrupt_max)
    selector = RegionSelector(
        network=b"n" * 32, epoch=0, census_root=b"r" * 32, cache=cache, rule=rule, verify=verify
    )
    count = listed_count(size, NODES)
    drawn = (beacon_of(0), STUDY, 1, "actors", count)
    proof = listed(selector, selector.draw(*drawn, 1), keys)
    encoded = codec.encode(proof)
    members = ids[: size.size]
    statement = b"s" * 64
    signers = tuple(range(size.quorum))
    certificate = QuorumCertificate(
        signers, tuple(keys[members[m]].sign(statement) for m in signers)
    )
    committee = [keys[node].public_key for node in members]
    pair = keys[ids[0]].sign(statement)
    key = keys[ids[0]].public_key

    def sep2p() -> None:
        for _ in range(2 * rule.signers):
            verify(key, statement, pair)

    # Membership for whoever has the census root only: the tree of 2^20 leaves has 20 siblings.
    root, proofs = merkle_commit([node + bytes(32) for node in ids[:1024]])
    leaf = ids[0] + bytes(32)

    def light() -> None:
        for _ in range(2 * (rule.signers + 1)):  # 10 siblings each: twice for 20
            verify_merkle_proof(root, leaf, 0, 1024, proofs[0])

    region_ms = milliseconds(lambda: selector.read(encoded, *drawn))
    return {
        "nodes": NODES,
        "committee": size.size,
        "listed": count,
        "k_r": rule.signers,
        "legitimate_expected": round(rule.region_share * NODES, 1),
        "region_list_ms": region_ms,
        "region_list_signatures": rule.signers + 1,
        "region_list_bytes": len(encoded),
        "region_proof_bytes_without_names": len(encoded) - 34 * count,
        "census_list_ms": milliseconds(
            lambda: select_census(beacon_of(0), STUDY, 1, "committee", size.size, NODES)
        ),
        "census_list_bytes": 0,
        "sep2p_signatures": 2 * rule.signers,
        "sep2p_ms": milliseconds(sep2p),
        "one_signature_ms": milliseconds(lambda: verify(key, statement, pair)),
        "membership_proofs_ms": milliseconds(light),
        "membership_proofs_bytes": 20 * 32 * (rule.signers + 1),
        "beacon_certificate_signatures": size.quorum,
        "beacon_certificate_ms": milliseconds(
            lambda: check_quorum(certificate, committee, statement, size.quorum, verify)
        ),
        "beacon_certificate_bytes": 66 * size.quorum,
        "positions_once_an_epoch_s": round(cache_s, 2),
    }


def draws() -> list[dict[str, Any]]:
    """One list, made by all nodes that take part."""
    rows = []
    for nodes, corrupt_max, count in ((36, 4, 30), (1_000, 4, 30), (3_000, 21, 138)):
        ring = Ring(nodes, corrupt_max=corrupt_max)
        exchange = Exchange(ring, count)
        proof = exchange.run()
        rows.append(
            {
                "nodes": nodes,
                "k_r": ring.rule.signers,
                "listed": count,
                "attempts": proof.draw.attempt,
                "seconds": round(exchange.now, 3),
                "messages": exchange.messages,
                "megabytes": round(exchange.bytes / 1e6, 2),
            }
        )
    return rows


def silent(networks: int = 64, corrupted: float = 0.05, away: float = 0.1) -> list[dict[str, Any]]:
    """Seconds to a list where nodes are away, and those of a coalition are silent as callers.

    Attempts of 15 s each, as they were, and as `ProtocolParams` has them.
    """
    ring, params = Ring(300, tag=b"silent"), ProtocolParams()
    schedules = {
        "15 s each": (15.0, 1.0),
        "growing": (params.selection_attempt_s, params.selection_attempt_growth),
    }
    found = []
    for name, (attempt_s, growth) in schedules.items():
        times = DrawTimes(
            attempt_s=attempt_s,
            attempt_growth=growth,
            grace_s=params.grace_s,
            retransmit_s=params.retransmit_s,
        )
        made = [_seconds(ring, times, number, corrupted, away) for number in range(networks)]
        seconds, attempts = (np.array(column) for column in zip(*made, strict=True))
        found.append(
            {
                "attempts": name,
                "draws": networks,
                "failed_attempts": round(1 - networks / float(attempts.sum()), 3),
                "mean_s": round(float(seconds.mean()), 2),
                **{f"p{q}_s": round(float(np.percentile(seconds, q)), 2) for q in (50, 90, 99)},
            }
        )
    return found


def _seconds(
    ring: Ring, times: DrawTimes, number: int, corrupted: float, away: float
) -> tuple[float, int]:
    """Seconds to the list of a draw, and its attempt; both rolls of dice are the draw's own."""
    nodes = ordered(digest("bench/silent", number.to_bytes(4, "big")), ring.ids)
    absent = frozenset(nodes[: round(away * len(nodes))])
    coalition = frozenset(nodes[-round(corrupted * len(nodes)) :])

    def spoil(sender: bytes, receiver: bytes, message: Any) -> list[Any]:
        silent = isinstance(message, Call) and sender in coalition
        return [] if silent else [(receiver, message)]

    exchange = Exchange(
        ring,
        30,
        beacon=beacon_of(number),
        absent=absent,
        spoil=spoil,
        seed=number,
        times=times,
    )
    proof = exchange.run(600.0)
    return exchange.now, proof.draw.attempt


def shares() -> list[dict[str, Any]]:
    """Corrupted actors over many selections, by each back-end."""
    coalition = frozenset(range(0, SHARE_NODES, SHARE_NODES // SHARE_CORRUPTED))
    census = [
        len(
            coalition.intersection(
                select_census(beacon_of(n), STUDY, 1, "committee", ACTORS, SHARE_NODES)
            )
        )
        for n in range(SELECTIONS)
    ]
    ids = sorted(digest("bench/share", n.to_bytes(4, "big")) for n in range(SHARE_NODES))
    corrupt = frozenset(ids[index] for index in coalition)
    share = region_rule(SHARE_NODES, 1).candidate_share(ACTORS)
    region = []
    for epoch in range(SELECTIONS // DRAWS_IN_AN_EPOCH):
        cache = CensusCache(
            ids,
            [bytes(32)] * SHARE_NODES,
            digest("bench/epoch", bytes([epoch % 256, epoch // 256])),
        )
        for number in range(DRAWS_IN_AN_EPOCH):
            value = digest("bench/value", epoch.to_bytes(4, "big"), number.to_bytes(4, "big"))
            inside = cache.near(point_of(b"c" * 32, value), share, SHARE_NODES)
            actors = ordered(digest("bench/order", value), [p.node_id for p in inside])[:ACTORS]
            region.append(len(corrupt.intersection(actors)))
    return [_interval("census", census, 1), _interval("region", region, DRAWS_IN_AN_EPOCH)]


def _interval(name: str, seats: list[int], together: int) -> dict[str, Any]:
    """Mean corrupted actors with its 95 % interval; draws that share positions count as one."""
    means = np.array(seats, dtype=np.float64).reshape(-1, together).mean(axis=1)
    half = 1.96 * float(means.std(ddof=1)) / sqrt(len(means))
    ideal = ACTORS * SHARE_CORRUPTED / SHARE_NODES
    mean = float(means.mean())
    return {
        "back_end": name,
        "selections": len(seats),
        "nodes": SHARE_NODES,
        "corrupted": SHARE_CORRUPTED,
        "actors": ACTORS,
        "ideal": ideal,
        "mean": round(mean, 4),
        "low": round(mean - half, 4),
        "high": round(mean + half, 4),
        "over_ideal": round(mean / ideal, 4),
    }


def withheld(networks: int = 12) -> dict[str, Any]:
    """Bias with and without recovery; a coalition of the trigger and k_r - 1 of its region."""
    generator = np.random.Generator(np.random.PCG64(1))
    plain = {str(a): round(bias(generator, 0.10, 8, a, 10_000), 3) for a in (0, 1, 2, 3, 8)}
    ring = Ring(36, corrupt_max=4)
    changed = choices = 0
    for number in range(networks):
        values = {_drawn(ring, number, bits) for bits in range(1 << ring.rule.corrupt_max)}
        choices += 1 << ring.rule.corrupt_max
        changed += len(values) - 1
    return {
        "plain_commit_reveal_by_withheld_bits": plain,
        "recovered_choices_tried": choices,
        "recovered_values_changed": changed,
        "recovered_bias": 1.0 if changed == 0 else None,
    }


def _drawn(ring: Ring, number: int, bits: int) -> frozenset[bytes]:
    """R1's values when the accomplices that the bits name withhold all that they can."""
    wanted = ring.selector.draw(beacon_of(number), STUDY, 1, "actors", 30, 1)
    trigger = ring.cache.owner(point_of(draw_context(wanted))).node_id
    accomplices = ring.nodes_around(trigger)[: ring.rule.corrupt_max]
    silent = {node for at, node in enumerate(accomplices) if bits >> at & 1}
    values = set()

    def spoil(sender: bytes, receiver: bytes, message: Any) -> list[Any]:
        if isinstance(message, Continue) and message.proof.draw.attempt == 1:
            values.add(message.proof.value)
        mute = isinstance(message, Reveal | Witness) and sender in silent
        return [] if mute else [(receiver, message)]

    Exchange(ring, 30, wanted=wanted, spoil=spoil).run(9.0)
    return frozenset(values)


def run() -> dict[str, Any]:
    """All figures of docs/selection.md."""
    return {
        "verification": verification(),
        "draws": draws(),
        "silent": silent(),
        "shares": shares(),
        "bias": withheld(),
    }
