"""What studies compute on the owner's rows, and what the owner computes with their models.

A round that trains goes to the worker; what is only counted needs none. Whatever comes of it,
something is answered: a vector, or that there is none. What a task trained for the owner alone goes
to the vault.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pnyx.errors import PnyxError, TrainingError
from pnyx.learning.task import TrainingOutcome, TrainingTask
from pnyx.node.clock import wall_clock
from pnyx.node.learning import LEARNT, counted_vector, read_manifest_body, training_task
from pnyx.node.queries import (
    DEFAULT_LIMITS,
    OwnerRows,
    QueryConfined,
    QueryLimits,
    Sandbox,
    rows_for,
)
from pnyx.node.trainer import Job, TaskFailed, Trainer
from pnyx.protocol.events import Event, Notice, StartTraining, TrainingFailed, TrainingFinished
from pnyx.protocol.manifest import Manifest
from pnyx.sandbox import Confinement
from pnyx.vault import Array, Measurement, Vault


class StudyTasks:
    """Tasks of one node.

    sandbox: how a query's process must be confined, see `config`. model_of: the bytes of a model by
    its name, None if it is not here. deliver: takes the events that answer the machine. fail: ends
    the node.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        vault: Vault,
        trainer: Trainer,
        sandbox: Sandbox,
        model_of: Callable[[bytes], bytes | None],
        deliver: Callable[[Event], None],
        observer: Callable[[Notice], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.troubles: dict[bytes, TaskFailed] = {}  # the last one of each study
        self._node_id = node_id
        self._vault = vault
        self._trainer = trainer
        self._sandbox = sandbox
        self._model_of = model_of
        self._deliver = deliver
        self._observer = observer
        self._fail = fail
        self._reading = asyncio.Lock()  # one query at a time: each may take a gigabyte
        self._query_confinement: Confinement | None = None

    async def train(self, effect: StartTraining) -> None:
        """Do what a round asks, and answer it."""
        manifest = read_manifest_body(effect.manifest)

        def read(names: Sequence[str]) -> dict[str, Array]:
            return self._vault.read_for_study(effect.study, manifest.category, names, wall_clock())

        try:
            rows = await self.rows_for(manifest, read)
            model = self._model_of(effect.model)
            if model is None:
                raise TrainingError("The round ended before its model was read; wait for the next.")
            if manifest.phase_of(effect.round_number).kind not in LEARNT:
                self._count(effect, rows)
                return
            task = training_task(
                rows,
                study=effect.study,
                manifest_body=effect.manifest,
                round_number=effect.round_number,
                model=model,
                node_id=self._node_id,
                statistics=effect.statistics,
                local=self._vault.locals.get(effect.study),
                seed=secrets.token_bytes(32),
            )
        except PnyxError as error:
            self._on_failed(effect, error)
            return
        self._trainer.submit(Job(task, lambda outcome: self._on_trained(effect, outcome)))

    async def run_task(self, task: TrainingTask) -> TrainingOutcome:
        """Run a task of the owner's own, after those of the rounds. Raises TrainingError."""
        done: asyncio.Future[TrainingOutcome] = asyncio.get_running_loop().create_future()

        def tell(outcome: TrainingOutcome | TrainingError) -> None:
            if done.cancelled():
                return
            if isinstance(outcome, TrainingError):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        self._trainer.submit(Job(task, tell))
        return await done

    async def rows_for(
        self,
        manifest: Manifest,
        read: Callable[[Sequence[str]], Mapping[str, Array]],
        limits: QueryLimits = DEFAULT_LIMITS,
    ) -> OwnerRows:
        """What a study asks of this node's rows, one query at a time; see `queries.rows_for`.

        Tells how a query's process was confined, the first time and when that changes.
        """
        async with self._reading:
            rows = await rows_for(manifest, read, limits, self._sandbox)
        if rows.confinement is not None and rows.confinement != self._query_confinement:
            self._query_confinement = rows.confinement
            self._observer(QueryConfined(rows.confinement))
        return rows

    def _count(self, effect: StartTraining, rows: OwnerRows) -> None:
        """A statistics round or a poll asks for what is quickly counted, without a worker."""
        vector = counted_vector(
            rows, manifest_body=effect.manifest, round_number=effect.round_number
        )
        self._deliver(TrainingFinished(effect.study, effect.round_number, vector, effect.attempt))

    def _on_trained(self, effect: StartTraining, outcome: TrainingOutcome | TrainingError) -> None:
        try:
            if isinstance(outcome, TrainingError):
                raise outcome
            if outcome.local:
                self._vault.keep_locals(effect.study, outcome.local, wall_clock())
        except PnyxError as error:
            self._on_failed(effect, error)
            return
        try:
            self._keep_measurement(effect, outcome.metrics)
        except PnyxError as error:
            self._fail(error)
            return
        vector = np.frombuffer(outcome.vector, dtype="<i8").astype(np.int64)
        self._deliver(TrainingFinished(effect.study, effect.round_number, vector, effect.attempt))

    def _on_failed(self, effect: StartTraining, error: PnyxError) -> None:
        """Nothing will be sent: the owner may know why, and nobody else."""
        notice = TaskFailed(effect.study, effect.round_number, str(error))
        self.troubles[effect.study] = notice
        self._observer(notice)
        self._deliver(TrainingFailed(effect.study, effect.round_number, str(error), effect.attempt))

    def _keep_measurement(self, effect: StartTraining, metrics: Mapping[str, float]) -> None:
        """Keep for the owner what an evaluation measured on the owner's rows."""
        phase = read_manifest_body(effect.manifest).phase_of(effect.round_number)
        if phase.kind == "evaluate":
            self._vault.measurements.record(
                Measurement(
                    study=effect.study,
                    round_number=effect.round_number,
                    alone=metrics["alone_accuracy"],
                    shared=metrics["shared_accuracy"],
                    personalised=metrics["personalised_accuracy"],
                    held_out=int(metrics["held_out"]),
                    at=wall_clock(),
                )
            )
