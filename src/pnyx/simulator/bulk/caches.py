"""What churn does to node caches, and through them to region selection.

A node keeps a cache of the nodes around it, refreshed every `refresh_s` seconds by asking each. In
between, nodes go and come back: an entry is *stale* when its node is away now, a node is *missing*
when it is here and was away at the refresh. Nodes are online for sessions and away for absences,
both of a given mean; sessions are exponential, or Weibull with shape 0.5, as measured in open
networks: many short ones and a few very long.

The coalition never goes away. So who answers is corrupted more often than who is enrolled, by c /
(c + (1 - c)·(share of honest entries that answer)): this holds for every selection that passes over
those who do not answer, by census or by region, and no cache repairs it.

With exponential sessions an entry that was online u ago is online now with probability
a + (1 - a)·exp(-u/session - u/absence), which is what `stale_predicted` averages over u.
"""

from math import exp
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.costs import ENTRY, HEADER
from pnyx.simulator.bulk.effectiveness import Actors, Alpha, Nodes, Share, check_actors
from pnyx.simulator.bulk.ring import POSITIONS
from pnyx.simulator.bulk.sizing import region_rule, sized
from pnyx.simulator.experiment import SHARE, Progress

_WEIBULL_SHAPE = 0.5
_WEIBULL_MEAN = 2.0  # of a Weibull variable of shape 1/2 and scale 1: Γ(3)
_BATCH = 1_000

Seconds = Annotated[float, Meta(ge=1.0, le=1e8)]
_Numbers = NDArray[np.float64]


class CacheParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network and how its nodes come and go."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.05
    actors: Actors = 32
    session_s: Annotated[Seconds, Meta(description="session of an honest node, mean, seconds")] = (
        4 * 3600.0
    )
    absence_s: Annotated[Seconds, Meta(description="absence of an honest node, mean, seconds")] = (
        3600.0
    )
    sessions: Annotated[
        Literal["exponential", "weibull"], Meta(description="distribution of the sessions")
    ] = "exponential"
    refresh_s: Annotated[
        Seconds, Meta(description="time between two refreshes of a cache, seconds")
    ] = 600.0
    caches: Annotated[int, Meta(ge=10, le=1_000_000, description="caches looked at")] = 20_000
    alpha: Alpha = ALPHA

    def __post_init__(self) -> None:
        check_actors(self.actors, self.nodes)


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """State of caches at a random moment, and what selection finds in them."""

    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    sessions: Annotated[str, Meta(description="distribution of the sessions")]
    availability: Annotated[
        float, Meta(description="share of the time that an honest node is online", extra=SHARE)
    ]
    refresh_s: Annotated[float, Meta(description="seconds between two refreshes")]
    entries: Annotated[float, Meta(description="entries of a cache, mean")]
    stale: Annotated[float, Meta(description="share of entries whose node is away", extra=SHARE)]
    stale_predicted: Annotated[
        float, Meta(description="the same, by the formula for exponential", extra=SHARE)
    ]
    missing: Annotated[
        float, Meta(description="share of online nodes that a cache lacks", extra=SHARE)
    ]
    contacts: Annotated[
        float, Meta(description="candidates asked until enough actors answer, mean")
    ]
    short: Annotated[
        float, Meta(description="share of caches with too few candidates that answer", extra=SHARE)
    ]
    corrupted_online: Annotated[
        float, Meta(description="corrupted share of those who answer", extra=SHARE)
    ]
    corrupted_predicted: Annotated[
        float, Meta(description="the same, by the formula for exponential", extra=SHARE)
    ]
    signers_short: Annotated[
        float,
        Meta(description="share of regions in which fewer than k_r others answer", extra=SHARE),
    ]
    messages_per_hour: Annotated[float, Meta(description="messages of a node to keep its cache")]
    bytes_per_hour: Annotated[float, Meta(description="bytes of a node to keep its cache")]
    caches: Annotated[int, Meta(description="caches looked at")]


class _Sums:
    """What is counted over the caches."""

    def __init__(self) -> None:
        self.entries = self.stale = self.online = self.missing = self.bad_online = 0
        self.asked = self.full = self.short = self.signers_short = 0


class _Around(NamedTuple):
    """The nodes around some cache owners: [caches, most]."""

    there: NDArray[np.bool_]  # enrolled, the rest is padding
    bad: NDArray[np.bool_]
    cached: NDArray[np.bool_]
    online: NDArray[np.bool_]


def run(parameters: CacheParameters, seed: int, progress: Progress) -> list[CacheRecord]:
    """Look into many caches at a random moment after their refresh."""
    generator = np.random.Generator(np.random.PCG64([seed, 7]))
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    size = sized(parameters.nodes, corrupted, parameters.alpha)
    rule = region_rule(parameters.nodes, size, parameters.actors)
    share = rule.candidates_width / POSITIONS
    in_region = min(1.0, size.region_size / share)
    sums = _Sums()
    for at in range(0, parameters.caches, _BATCH):
        rows = min(_BATCH, parameters.caches - at)
        around = _look_around(generator, parameters, rows, share)
        _count(sums, around, parameters.actors)
        signing = around.online & (generator.random(around.online.shape) < in_region)
        sums.signers_short += int((signing.sum(axis=1) < size.signers).sum())
        progress((at + rows) / parameters.caches)
    return [_record(parameters, corrupted, sums)]


def availability(parameters: CacheParameters) -> float:
    """Return the share of the time that an honest node is online."""
    return parameters.session_s / (parameters.session_s + parameters.absence_s)


def stale_share(parameters: CacheParameters) -> float:
    """Return the share of stale honest entries, for exponential sessions, averaged over time."""
    rate = 1 / parameters.session_s + 1 / parameters.absence_s
    kept = (1 - exp(-rate * parameters.refresh_s)) / (rate * parameters.refresh_s)
    return (1 - availability(parameters)) * (1 - kept)


def online_after(
    generator: np.random.Generator,
    parameters: CacheParameters,
    began: NDArray[np.bool_],
    u: _Numbers,
) -> NDArray[np.bool_]:
    """Tell which nodes are online u seconds after a moment at which `began` says who was.

    The moment falls into a session (or an absence) at random, so longer ones are met more often.
    """
    online = began.copy()
    left = np.where(began, _residual(generator, parameters, u.shape), 0.0)
    away = ~began
    left[away] = generator.exponential(parameters.absence_s, int(away.sum()))
    ends = left
    while True:
        over = np.flatnonzero(ends.ravel() < u.ravel())
        if not len(over):
            return online
        flat, until = online.reshape(-1), ends.reshape(-1)
        flat[over] = ~flat[over]
        stays = flat[over]
        lasts = np.where(
            stays,
            _session(generator, parameters, len(over)),
            generator.exponential(parameters.absence_s, len(over)),
        )
        until[over] += lasts


def _session(generator: np.random.Generator, parameters: CacheParameters, count: int) -> _Numbers:
    if parameters.sessions == "exponential":
        return generator.exponential(parameters.session_s, count)
    return generator.weibull(_WEIBULL_SHAPE, count) * (parameters.session_s / _WEIBULL_MEAN)


def _residual(
    generator: np.random.Generator, parameters: CacheParameters, shape: tuple[int, ...]
) -> _Numbers:
    """What is left of a session that is under way at a random moment.

    A session of Weibull shape 1/2 is scale · E² with E exponential. Met with a chance in proportion
    to its length, E has the density E²·exp(-E)/2, a gamma variable of shape 3; what is left is a
    uniform part of it.
    """
    if parameters.sessions == "exponential":
        return generator.exponential(parameters.session_s, shape)
    met = generator.gamma(3.0, 1.0, shape) ** 2 * (parameters.session_s / _WEIBULL_MEAN)
    return met * generator.random(shape)


def _look_around(
    generator: np.random.Generator, parameters: CacheParameters, rows: int, share: float
) -> _Around:
    counts = generator.binomial(parameters.nodes, share, rows)
    there = np.arange(int(counts.max(initial=1)))[None, :] < counts[:, None]
    bad = there & (generator.random(there.shape) < parameters.corrupted_share)
    began = generator.random(there.shape) < availability(parameters)
    u = generator.uniform(0.0, parameters.refresh_s, (rows, 1)) + np.zeros(there.shape)
    online = online_after(generator, parameters, began, u)
    return _Around(there, bad, there & (began | bad), there & (online | bad))


def _count(sums: _Sums, around: _Around, actors: int) -> None:
    answering = around.cached & around.online
    sums.entries += int(around.cached.sum())
    sums.stale += int((around.cached & ~around.online).sum())
    sums.online += int(around.online.sum())
    sums.missing += int((around.online & ~around.cached).sum())
    sums.bad_online += int((answering & around.bad).sum())
    sums.full += int(answering.sum())
    # Columns are in random order, so asking one after the other is asking in the order of hashes.
    reached = np.cumsum(answering, axis=1) < actors
    enough = answering.sum(axis=1) >= actors
    asked = (around.cached & reached).sum(axis=1) + 1
    sums.asked += int(asked[enough].sum())
    sums.short += int((~enough).sum())


def _record(parameters: CacheParameters, corrupted: int, sums: _Sums) -> CacheRecord:
    entries, share = sums.entries / parameters.caches, parameters.corrupted_share
    per_hour = 3600.0 / parameters.refresh_s
    up = availability(parameters)
    answering = up * (1 - stale_share(parameters))  # in the cache, and still there
    honest = up * (1 - share) / (up * (1 - share) + share)  # of the entries
    return CacheRecord(
        nodes=parameters.nodes,
        corrupted=corrupted,
        sessions=parameters.sessions,
        availability=up,
        refresh_s=parameters.refresh_s,
        entries=entries,
        stale=sums.stale / max(1, sums.entries),
        stale_predicted=stale_share(parameters) * honest,
        missing=sums.missing / max(1, sums.online),
        contacts=sums.asked / max(1, parameters.caches - sums.short),
        short=sums.short / parameters.caches,
        corrupted_online=sums.bad_online / max(1, sums.full),
        corrupted_predicted=share / (share + (1 - share) * answering),
        signers_short=sums.signers_short / parameters.caches,
        messages_per_hour=2 * entries * per_hour,
        bytes_per_hour=2 * entries * per_hour * (ENTRY + HEADER),
        caches=parameters.caches,
    )
