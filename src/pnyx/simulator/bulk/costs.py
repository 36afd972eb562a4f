"""What one selection costs: signatures, messages, bytes, steps, and what a node must store.

Counted message by message (`Flow`), by these sizes: a hash, a secret or a point 32 bytes, a
signature 64, a node's entry (key and id) 64, a certificate 256, the overhead of an envelope 48; 100
bytes of headers on every message. A look-up on the ring takes log₂ N hops, half of them on average.
Times are sequential steps, each one link's latency.

Who trusts a list checks it: `checks` are the signatures that *each source* verifies, as
certificates are checked once an epoch for ours and every time in SEP2P, which counts 2·k_r. What
signers and setters check among themselves is `checks_of_actors`.

- `census`: hashes alone. The price is the census itself at every node, and that the beacon exists:
  it is part of the record of the round before, and not counted here;
- `region`: R1 commits, deals its secrets to each other (so that no reveal can be withheld), reveals
  and signs; the point is looked up; R2 checks the value, lists candidates from its caches, makes
  the order, and signs the list;
- `sep2p`: the same without dealing, with the smallest k that finds enough nodes in a region for
  which alpha holds region by region, and with certificates;
- naive: `unverified_setter` checks nothing; `any_of_region` lets a source check that each actor
  lies near its point, by its certificate; `every_source_verifies` makes each source look every
  point up.
"""

from math import ceil, log2
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from pnyx.protocol.selection.region_sizes import region_size
from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.effectiveness import Actors, Alpha, Nodes, Share, check_actors
from pnyx.simulator.bulk.ring import POSITIONS
from pnyx.simulator.bulk.sizing import region_rule, sized
from pnyx.simulator.experiment import Progress

HASH, SIGNATURE, ENTRY, CERTIFICATE, ENVELOPE, HEADER = 32, 64, 64, 256, 48, 100


class CostParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, and what is selected from it."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.05
    actors: Actors = 32
    sources: Annotated[
        int, Meta(ge=1, le=10_000_000, description="sources that check the list")
    ] = 512
    alpha: Alpha = ALPHA

    def __post_init__(self) -> None:
        check_actors(self.actors, self.nodes)


class CostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a selection by one strategy."""

    strategy: Annotated[str, Meta(description="how actors are selected")]
    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    actors: Annotated[int, Meta(description="actors of a selection")]
    signers: Annotated[int, Meta(description="signers of a region, k_r; 0 where nobody signs")]
    checks: Annotated[int, Meta(description="signatures that each source verifies")]
    checks_of_actors: Annotated[int, Meta(description="signatures verified in making the list")]
    signatures: Annotated[int, Meta(description="signatures made")]
    messages: Annotated[int, Meta(description="messages to make the list")]
    bytes: Annotated[int, Meta(description="bytes to make the list")]
    steps: Annotated[int, Meta(description="messages that wait for each other, to make the list")]
    source_messages: Annotated[int, Meta(description="messages of each source to check it")]
    source_bytes: Annotated[int, Meta(description="bytes that each source is sent to check it")]
    stored_bytes: Annotated[int, Meta(description="bytes that a node must keep to take part")]
    all_messages: Annotated[
        int, Meta(description="messages in all, checks of all sources included")
    ]
    all_bytes: Annotated[int, Meta(description="bytes in all, checks of all sources included")]


class Flow(NamedTuple):
    """Some messages of one kind, sent side by side."""

    messages: int
    payload: int  # bytes of each
    steps: int = 1


class _Cost(NamedTuple):
    """What a strategy costs before sources are counted."""

    flows: tuple[Flow, ...] = ()
    signers: int = 0
    signatures: int = 0
    checks: int = 0
    checks_of_actors: int = 0
    source_messages: int = 0
    source_bytes: int = 0
    stored_bytes: int = 0


def run(parameters: CostParameters, seed: int, progress: Progress) -> list[CostRecord]:
    """Count; the seed changes nothing."""
    del seed
    nodes, actors = parameters.nodes, parameters.actors
    corrupted = head_count(parameters.corrupted_share, nodes)
    size = sized(nodes, corrupted, parameters.alpha)
    rule = region_rule(nodes, size, actors)
    candidates = ceil(nodes * rule.candidates_width / POSITIONS)
    published = published_signers(nodes, corrupted, parameters.alpha)
    costs = {
        "census": _census(nodes),
        "region": _region(nodes, actors, size.signers, candidates),
        "sep2p": _sep2p(nodes, actors, published, candidates),
        "unverified_setter": _unverified_setter(nodes, actors),
        "any_of_region": _any_of_region(nodes, actors),
        "every_source_verifies": _every_source_verifies(nodes, actors),
    }
    progress(1.0)
    return [_record(parameters, corrupted, name, cost) for name, cost in costs.items()]


def published_signers(nodes: int, corrupted: int, alpha: float) -> int:
    """Return SEP2P's k: the fewest that a region holds on average, alpha holding in each alone."""
    signers = 2
    while (
        nodes * region_size(nodes, corrupted, signers, alpha, network_wide=False).region_size
        < signers
    ):
        signers += 1
    return signers


def look_up_hops(nodes: int) -> int:
    """Return how many hops it takes to find a point on the ring, on average."""
    return ceil(log2(nodes) / 2)


def _look_up(nodes: int, count: int = 1) -> Flow:
    """Find `count` points side by side, each hop a question and an answer."""
    hops = look_up_hops(nodes)
    return Flow(2 * hops * count, HASH + ENTRY, steps=2 * hops)


def _census(nodes: int) -> _Cost:
    return _Cost(stored_bytes=nodes * ENTRY)


def _region(nodes: int, actors: int, signers: int, candidates: int) -> _Cost:
    """R1 and R2 each gather, deal, reveal and sign through the trigger, and through the setter."""
    shares = (signers - 1) * (HASH + ENVELOPE)
    value = signers * (HASH + SIGNATURE + ENTRY)
    random_value = (
        Flow(signers, 2 * HASH),  # invitation
        Flow(signers, HASH + SIGNATURE + ENTRY + shares),  # commitment, and shares for the others
        Flow(signers, signers * (HASH + SIGNATURE + ENTRY) + shares),  # the others'
        Flow(signers, HASH + SIGNATURE),  # reveal, signed over all commitments
    )
    listed = (
        Flow(signers, value),  # the value, which each of R2 verifies
        Flow(signers, candidates * ENTRY),  # candidates from its cache
        Flow(signers, actors * ENTRY),  # the list
        Flow(signers, SIGNATURE),  # signed
    )
    proof = signers * (SIGNATURE + ENTRY) + actors * ENTRY + 2 * HASH
    return _Cost(
        flows=(*random_value, _look_up(nodes), Flow(1, value), *random_value[1:], *listed),
        signers=signers,
        signatures=5 * signers,  # commitment and reveal in both regions, the list
        checks=signers,
        checks_of_actors=signers * (2 * signers + 2 * signers + signers),
        source_messages=1,
        source_bytes=proof,
        stored_bytes=candidates * ENTRY,
    )


def _sep2p(nodes: int, actors: int, signers: int, candidates: int) -> _Cost:
    value = signers * (HASH + SIGNATURE + CERTIFICATE)
    random_value = (
        Flow(signers, 2 * HASH),
        Flow(signers, HASH),
        Flow(signers, signers * HASH),
        Flow(signers, HASH + SIGNATURE + CERTIFICATE),
    )
    listed = (
        Flow(signers, value),
        Flow(signers, HASH + candidates * ENTRY),  # commitment, and candidates
        Flow(signers, signers * HASH),
        Flow(signers, HASH),
        Flow(signers, actors * ENTRY + signers * (HASH + candidates * ENTRY)),
        Flow(signers, SIGNATURE + CERTIFICATE),
    )
    return _Cost(
        flows=(*random_value, _look_up(nodes), Flow(1, value), *listed),
        signers=signers,
        signatures=2 * signers,
        checks=2 * signers,
        checks_of_actors=signers * 2 * signers,
        source_messages=1,
        source_bytes=signers * (SIGNATURE + CERTIFICATE) + actors * ENTRY + 2 * HASH,
        stored_bytes=candidates * (ENTRY + CERTIFICATE),
    )


def _unverified_setter(nodes: int, actors: int) -> _Cost:
    return _Cost(flows=(_look_up(nodes),), source_messages=1, source_bytes=actors * ENTRY)


def _any_of_region(nodes: int, actors: int) -> _Cost:
    return _Cost(
        flows=(_look_up(nodes), _look_up(nodes, actors)),
        checks=actors,
        source_messages=1,
        source_bytes=actors * (ENTRY + CERTIFICATE),
    )


def _every_source_verifies(nodes: int, actors: int) -> _Cost:
    asked = _look_up(nodes, actors)
    return _Cost(
        flows=(_look_up(nodes), _look_up(nodes, actors)),
        checks=actors,
        source_messages=1 + asked.messages,
        source_bytes=actors * (ENTRY + CERTIFICATE) + asked.messages * (asked.payload + HEADER),
    )


def _record(parameters: CostParameters, corrupted: int, strategy: str, cost: _Cost) -> CostRecord:
    messages = sum(flow.messages for flow in cost.flows)
    sent = sum(flow.messages * (flow.payload + HEADER) for flow in cost.flows)
    source_bytes = cost.source_bytes + (HEADER if cost.source_messages else 0)
    return CostRecord(
        strategy=strategy,
        nodes=parameters.nodes,
        corrupted=corrupted,
        actors=parameters.actors,
        signers=cost.signers,
        checks=cost.checks,
        checks_of_actors=cost.checks_of_actors,
        signatures=cost.signatures,
        messages=messages,
        bytes=sent,
        steps=sum(flow.steps for flow in cost.flows),
        source_messages=cost.source_messages,
        source_bytes=source_bytes,
        stored_bytes=cost.stored_bytes,
        all_messages=messages + parameters.sources * cost.source_messages,
        all_bytes=sent + parameters.sources * source_bytes,
    )
