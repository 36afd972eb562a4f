"""A study's model put to use on its owner's own rows: everything stays at home.

The model is fine-tuned on the rows that the owner has with labels, if there are enough, and then
asked about all rows of a category. No consent is needed: owner and user are one person.
"""

import secrets
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.errors import PnyxError
from pnyx.learning.update import numbers_of
from pnyx.node.control import Predictions, Use
from pnyx.node.daemon import Daemon
from pnyx.node.learning import using_task
from pnyx.node.queries import OwnerRows
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.study import StudyState
from pnyx.query.compile import read_query
from pnyx.vault import Array, CollectionSummary


async def use_model(daemon: Daemon, state: StudyState, request: Use) -> Predictions:
    """Carry out `control.Use`. Raises PnyxError."""
    manifest = state.manifest
    model = daemon.model_of(state.model_hash) if state.holds_model else None
    if model is None or not state.records:
        raise PnyxError("The node does not hold this study's model yet; try again in a while.")
    held = {found.category: found for found in daemon.vault.collections.list()}
    category = request.category or manifest.category
    if category not in held:
        raise PnyxError(f"The vault holds no {category}; import some, or name a --category.")
    labelled = _is_labelled(manifest, held[category])
    asked = manifest if labelled else msgspec.structs.replace(manifest, label="")
    unseen = await _rows(daemon, category, asked)
    known = None
    if request.fine_tune and manifest.category in held:
        same = labelled and category == manifest.category
        known = unseen if same else await _rows(daemon, manifest.category, manifest)
    task = using_task(
        known,
        unseen,
        manifest=manifest,
        model=model,
        statistics=state.statistics,
        local=daemon.vault.locals.get(state.study),
        seed=secrets.token_bytes(32),
    )
    outcome = await daemon.tasks.run_task(task)
    found = np.frombuffer(outcome.vector, "<i8")
    if not task.program.classes:
        return _numbers(category, numbers_of(found), unseen.labels, task.fine_tune)
    return Predictions(
        category=category,
        classes=tuple(found.tolist()),
        names=_class_names(manifest, held.get(manifest.category)),
        right=None if unseen.labels is None else int((found == unseen.labels).sum()),
        fine_tuned=task.fine_tune,
    )


def _numbers(
    category: str, numbers: NDArray[np.float32], labels: Array | None, fine_tuned: bool
) -> Predictions:
    """What a model of real numbers says, and how far that is from the labels that there are."""
    difference: float | None = None
    if labels is not None and labels.dtype.kind in "iuf":
        differences = np.abs(numbers - labels.astype(np.float64))
        if np.isfinite(differences).any():
            difference = float(np.nanmean(differences))
    return Predictions(
        category=category,
        classes=(),
        names=(),
        right=None,
        numbers=tuple(numbers.tolist()),
        mean_difference=difference,
        fine_tuned=fine_tuned,
    )


async def _rows(daemon: Daemon, category: str, manifest: Manifest) -> OwnerRows:
    return await daemon.tasks.rows_for(
        manifest, partial(daemon.vault.collections.columns, category)
    )


def _is_labelled(manifest: Manifest, summary: CollectionSummary) -> bool:
    """Whether the rows of a collection come with the study's label."""
    if manifest.query:
        return set(read_query(manifest.query).reads) <= {c.name for c in summary.columns}
    return manifest.label in {column.name for column in summary.columns}


def _class_names(manifest: Manifest, summary: CollectionSummary | None) -> tuple[str, ...]:
    """Names of the classes in the owner's own collection, if it names them."""
    columns = () if summary is None else summary.columns
    return next((each.classes for each in columns if each.name == manifest.label), ())
