"""A study's model put to use on its owner's own rows: everything stays at home.

The model is fine-tuned on the rows that the owner has with labels, if there are enough, and then
asked about all rows of a category. No consent is needed: owner and user are one person.
"""

import secrets
from functools import partial

import msgspec
import numpy as np

from pnyx.errors import PnyxError
from pnyx.node.control import Predictions, Use
from pnyx.node.daemon import Daemon
from pnyx.node.learning import using_task
from pnyx.node.queries import OwnerRows
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.study import StudyState
from pnyx.query.compile import read_query
from pnyx.vault import CollectionSummary


async def use_model(daemon: Daemon, state: StudyState, request: Use) -> Predictions:
    """Carry out `control.Use`. Raises PnyxError."""
    manifest = state.manifest
    if state.model is None or not state.records:
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
        model=state.model,
        statistics=state.statistics,
        local=daemon.vault.locals.get(state.study),
        seed=secrets.token_bytes(32),
    )
    outcome = await daemon.run_task(task)
    classes = np.frombuffer(outcome.vector, "<i8")
    return Predictions(
        category=category,
        classes=tuple(classes.tolist()),
        names=_class_names(manifest, held.get(manifest.category)),
        right=None if unseen.labels is None else int((classes == unseen.labels).sum()),
        fine_tuned=task.fine_tune,
    )


async def _rows(daemon: Daemon, category: str, manifest: Manifest) -> OwnerRows:
    return await daemon.rows_for(manifest, partial(daemon.vault.collections.columns, category))


def _is_labelled(manifest: Manifest, summary: CollectionSummary) -> bool:
    """Whether the rows of a collection come with the study's label."""
    if manifest.query:
        return set(read_query(manifest.query).reads) <= {c.name for c in summary.columns}
    return manifest.label in {column.name for column in summary.columns}


def _class_names(manifest: Manifest, summary: CollectionSummary | None) -> tuple[str, ...]:
    """Names of the classes in the owner's own collection, if it names them."""
    columns = () if summary is None else summary.columns
    return next((each.classes for each in columns if each.name == manifest.label), ())
