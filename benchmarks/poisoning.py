"""Owners that train together while some of them poison: all at once, in numpy, on the demo's data.

The 5,418 windows of the demonstration are dealt to owners as they are (by person), evenly (IID), or
by a Dirichlet distribution over activities. Every owner trains the demonstration's network by plain
SGD; batches of all owners are one product. What follows is the code of the nodes: `quantise`, which
clips, `contributor_groups`, `combine` and `apply_update`.

A poisoner knows all honest updates of its round, and sends what it likes *within the bound that the
committee verifies*: whatever it makes is cut to the clipping norm. Attacks:

    sign flip     its own update, negated
    x10           ten times that
    ALIE          mean - 1.5·deviation of the honest (Baruch et al. 2019; byzfl's default factor)
    IPM           against the mean of the honest, as long as it may (Xie et al. 2020)
    min-max       against it, as far as the two most distant honest ones (Shejwalkar and
                  Houmansadr 2021)
    label flip    honest training on activity 5 - a for a
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pnyx.demo.activity import (
    FEATURES,
    LABELS,
    USERS,
    demo_hyperparameters,
    owner_table,
    training_arrays,
)
from pnyx.learning import apply_update
from pnyx.learning.update import TRAIN_COUNTS, norm_max, quantise
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.robust import GroupUpdate, Robust, combine
from pnyx.protocol.selection import contributor_groups

Spread = Literal["by person", "iid", "dirichlet 0.5"]
SPREADS: tuple[Spread, ...] = ("iid", "dirichlet 0.5", "by person")
ATTACKS = ("sign flip", "x10", "ALIE", "IPM", "min-max", "label flip")
OWNERS = len(USERS)
ROUNDS = 20
HIDDEN = 64
_HELD_OUT = 0.2
_UNBOUNDED = 1024.0  # a clipping norm that clips nothing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Defence(NamedTuple):
    """What stands against poisoners: a bound on updates, groups, and the rule over them."""

    groups: int = 1
    robust: Robust = Robust("mean", 0)
    bounded: bool = True


class Windows(NamedTuple):
    """Rows of all owners, one after the other. starts: [owners + 1], in the training rows."""

    features: NDArray[np.float32]  # [rows, 42]
    labels: Ints  # [rows]
    starts: Ints
    held_features: Floats
    held_labels: Ints


def _standardised() -> tuple[list[Floats], list[Ints]]:
    """Every user's windows, by its own means and deviations, as nodes do."""
    tables, labels = [], []
    for user in USERS:
        features, targets, rows = training_arrays(owner_table(user))
        table = np.frombuffer(features, "<f4").reshape(rows, len(FEATURES)).astype(np.float64)
        spread = np.nanstd(table, axis=0)
        table = (table - np.nanmean(table, axis=0)) / np.where(spread > 1e-6, spread, 1.0)
        tables.append(np.nan_to_num(table))
        labels.append(np.frombuffer(targets, "<i8").astype(np.int64))
    return tables, labels


def deal(spread: Spread, generator: np.random.Generator) -> Windows:
    """Deal the windows to owners, and hold a fifth back."""
    tables, labels = _standardised()
    features, targets = np.concatenate(tables), np.concatenate(labels)
    if spread == "by person":
        owner = np.repeat(np.arange(OWNERS), [len(each) for each in labels])
    elif spread == "iid":
        owner = generator.permutation(len(targets)) % OWNERS
    else:
        owner = np.empty(len(targets), dtype=np.int64)
        for label in range(len(LABELS)):
            rows = generator.permutation(np.flatnonzero(targets == label))
            shares = generator.dirichlet([0.5] * OWNERS)
            owner[rows] = np.searchsorted(np.cumsum(shares), generator.random(len(rows)))
        owner = np.minimum(owner, OWNERS - 1)
    held = generator.random(len(targets)) < _HELD_OUT
    for who in range(OWNERS):  # nobody is without a row to train on
        if not (~held & (owner == who)).any():
            taken = generator.integers(len(targets))
            owner[taken], held[taken] = who, False
    order = np.argsort(owner, kind="stable")
    kept = order[~held[order]]
    starts = np.searchsorted(owner[kept], np.arange(OWNERS + 1))
    return Windows(
        features[kept].astype(np.float32), targets[kept], starts, features[held], targets[held]
    )


# --- training -------------------------------------------------------------------------------------

_SHAPES = ((len(FEATURES), HIDDEN), (1, HIDDEN), (HIDDEN, len(LABELS)), (1, len(LABELS)))
LENGTH = sum(rows * columns for rows, columns in _SHAPES)


def _parts(flat: NDArray[Any]) -> list[NDArray[Any]]:
    """Weights and biases of models [..., LENGTH]."""
    found, at = [], 0
    for rows, columns in _SHAPES:
        found.append(flat[..., at : at + rows * columns].reshape(*flat.shape[:-1], rows, columns))
        at += rows * columns
    return found


def initial(generator: np.random.Generator) -> bytes:
    """A model as nodes start from one: small random weights, biases of zero."""
    parts = [
        generator.uniform(-1, 1, shape) * (shape[0] > 1) / np.sqrt(shape[0]) for shape in _SHAPES
    ]
    return np.concatenate([part.reshape(-1) for part in parts]).astype("<f4").tobytes()


def train(model: bytes, data: Windows, labels: Ints, generator: np.random.Generator) -> Floats:
    """Updates [owners, LENGTH] of one local training by everybody."""
    settings = demo_hyperparameters()
    start = np.frombuffer(model, "<f4")  # in single precision, as nodes train
    own = np.tile(start, (OWNERS, 1))
    sizes = np.diff(data.starts)
    steps = settings.local_epochs * int(np.ceil(len(data.labels) / OWNERS / settings.batch_size))
    everybody = np.arange(OWNERS)[:, np.newaxis]
    for _ in range(steps):
        picked = generator.integers(0, sizes[:, np.newaxis], (OWNERS, settings.batch_size))
        rows = data.starts[:-1, np.newaxis] + picked
        x, y = data.features[rows], labels[rows]  # [owners, batch, 42], [owners, batch]
        weights, bias, last, last_bias = _parts(own)
        hidden = np.maximum(x @ weights + bias, 0.0)
        scores = hidden @ last + last_bias
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        error = scores / scores.sum(axis=-1, keepdims=True)
        error[everybody, np.arange(settings.batch_size), y] -= 1.0
        error /= settings.batch_size
        back = (error @ last.swapaxes(1, 2)) * (hidden > 0)
        gradient = np.concatenate(
            [
                (x.swapaxes(1, 2) @ back).reshape(OWNERS, -1),
                back.sum(axis=1),
                (hidden.swapaxes(1, 2) @ error).reshape(OWNERS, -1),
                error.sum(axis=1),
            ],
            axis=1,
        )
        own -= settings.learning_rate * (gradient + settings.weight_decay * own)
    return own.astype(np.float64) - start


def accuracy(model: bytes, data: Windows) -> float:
    """Share of the held-out windows that a model gets right."""
    weights, bias, last, last_bias = _parts(np.frombuffer(model, "<f4").astype(np.float64))
    scores = np.maximum(data.held_features @ weights + bias, 0.0) @ last + last_bias
    return float((scores.argmax(axis=1) == data.held_labels).mean())


# --- attacks --------------------------------------------------------------------------------------


def poisoned(attack: str, updates: Floats, liars: Ints, bound: float) -> Floats:
    """What the poisoners send in the place of their updates, within the bound."""
    mine = updates[liars]
    honest = np.delete(updates, liars, axis=0)
    norms = np.linalg.norm(honest, axis=1, keepdims=True)
    honest = honest * np.minimum(1.0, bound / norms)  # as they will be clipped
    centre, deviation = honest.mean(axis=0), honest.std(axis=0)
    match attack:
        case "sign flip":
            sent = -mine
        case "x10":
            sent = -10.0 * mine
        case "ALIE":
            sent = np.tile(centre - 1.5 * deviation, (len(liars), 1))
        case "IPM":
            sent = np.tile(-centre * (bound / np.linalg.norm(centre)), (len(liars), 1))
        case "min-max":
            sent = np.tile(_min_max(honest, centre), (len(liars), 1))
        case _:
            sent = mine  # of flipped labels
    return sent


def _min_max(honest: Floats, centre: Floats) -> Floats:
    """As far from the mean as no honest one is from another, by bisection."""
    squares = (honest**2).sum(axis=1)
    widest = (squares[:, np.newaxis] + squares - 2 * honest @ honest.T).max()
    away = -centre / np.linalg.norm(centre)
    low, high = 0.0, 10.0 * float(np.sqrt(max(widest, 0.0)))
    for _ in range(40):
        middle = (low + high) / 2
        inside = ((centre + middle * away - honest) ** 2).sum(axis=1).max() <= widest
        low, high = (middle, high) if inside else (low, middle)
    return centre + low * away


# --- rounds ---------------------------------------------------------------------------------------


def study(
    seed: int,
    spread: Spread,
    attack: str | None,
    poisoners: int,
    defence: Defence,
    rounds: int = ROUNDS,
) -> float:
    """Accuracy after a study of all owners, some of which poison."""
    generator = np.random.default_rng(seed)
    data = deal(spread, generator)
    liars = np.sort(generator.permutation(OWNERS)[:poisoners])
    labels = data.labels.copy()
    if attack == "label flip":
        for who in liars:
            part = slice(data.starts[who], data.starts[who + 1])
            labels[part] = len(LABELS) - 1 - labels[part]
    settings = demo_hyperparameters()
    clip = settings.clip_norm if defence.bounded else _UNBOUNDED
    model = initial(generator)
    for number in range(rounds):
        updates = train(model, data, labels, generator)
        if attack is not None:
            updates[liars] = poisoned(attack, updates, liars, settings.clip_norm)
        model = _next(model, updates, clip, defence, digest("round", bytes((seed % 256, number))))
    return accuracy(model, data)


def _next(model: bytes, updates: Floats, clip: float, defence: Defence, beacon: bytes) -> bytes:
    """The next model, as nodes compute it from the contributions of a round."""
    settings = replace(demo_hyperparameters(), clip_norm=clip)
    vectors = np.stack([quantise(update, settings) for update in updates])
    ids = [digest("owner", bytes((who,))) for who in range(OWNERS)]
    group_of = np.array(contributor_groups(beacon, ids, defence.groups))
    sums = [
        GroupUpdate(vectors[group_of == group].sum(axis=0), int((group_of == group).sum()))
        for group in range(defence.groups)
    ]
    found = combine(sums, defence.robust)
    total = np.concatenate([found.total, np.zeros(TRAIN_COUNTS, dtype=np.int64)])
    return apply_update(model, total, found.divisor, settings, norm_max(settings))
