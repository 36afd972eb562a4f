"""A daemon runs a study's query for a round, and outlives every study that cannot be run."""

import asyncio
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from tests.support.town import manifest
from tests.unit.node.test_learning import COLLECTING, study

from pnyx.config import ConsentPolicy, ConsentRule
from pnyx.errors import ConsentError, QueryError
from pnyx.node.daemon import Daemon
from pnyx.node.decisions import Decisions, study_request
from pnyx.node.queries import QueryConfined
from pnyx.node.study_tasks import StudyTasks
from pnyx.node.trainer import TaskFailed
from pnyx.primitives import codec
from pnyx.protocol.events import (
    AskConsent,
    ConsentDeclined,
    ConsentGiven,
    StartTraining,
    TrainingFailed,
    TrainingFinished,
)
from pnyx.protocol.manifest import NO_MODEL
from pnyx.query import process
from pnyx.simulator.parcel_store import MemoryParcelStore
from pnyx.vault import Vault
from pnyx.vault.collections import Column, SourceFile

STUDY = b"s" * 32
QUERY = "SELECT amount / 10 AS x, day AS y, kind FROM data WHERE amount IS NOT NULL"


class Driven:
    """A daemon without network: events that it delivers are heard, effects are given to it."""

    def __init__(self, vault: Vault) -> None:
        self.daemon = Daemon.__new__(Daemon)
        self.heard: list = []
        self.jobs: list = []
        self.daemon.vault = vault
        self.parcels = self.daemon._parcels = MemoryParcelStore()
        self.daemon.node_id = bytes(32)
        self.daemon.deliver = self.heard.append
        self.daemon._tasks = set()
        self.daemon._failure = None
        self.daemon._postman = None
        self.daemon._stopping = asyncio.Event()
        self.noticed: list = []
        self.daemon._observer = self.noticed.append
        policy = ConsentPolicy(default="ask", rules=(ConsentRule(action="accept"),))
        self.daemon.decisions = Decisions(vault, policy, self.heard.append)
        self.daemon.tasks = StudyTasks(
            node_id=bytes(32),
            vault=vault,
            trainer=SimpleNamespace(submit=self.jobs.append),
            sandbox="best",
            model_of=self.daemon.model_of,
            deliver=self.heard.append,
            observer=self.noticed.append,
            fail=self.daemon._fail,
        )

    def __call__(self, *effects) -> None:
        async def live() -> None:
            asyncio.get_running_loop().set_exception_handler(self.daemon._on_loop_error)
            for effect in effects:
                self.daemon._carry_out_one(effect)
            await asyncio.sleep(0)
            while self.daemon._tasks:
                await asyncio.sleep(0.01)

        asyncio.run(live())


@pytest.fixture
def driven(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        columns = [Column(name, "float") for name in ("amount", "day", "secret")]
        columns.append(Column("kind", "int"))
        rows = [(float(n) if n else None, 10.0 * n, -1.0, n % 3) for n in range(6)]
        vault.collections.add("c", columns, SourceFile("f", "csv", bytes(32), 1), rows, 0.0)
        yield Driven(vault)


def start(asked, round_number: int) -> StartTraining:
    return StartTraining(
        study=STUDY,
        round_number=round_number,
        attempt=1,
        manifest=codec.encode(asked),
        model=NO_MODEL,
        statistics=None,
    )


def accept(driven: Driven, asked) -> None:
    driven(AskConsent(STUDY, codec.encode(asked)))
    assert driven.heard.pop() == ConsentGiven(STUDY)


def test_query_is_counted(driven):
    asked = study(query=QUERY)
    accept(driven, asked)
    driven(start(asked, 1))
    (event,) = driven.heard
    assert isinstance(event, TrainingFinished)
    assert event.vector[0] == 5  # the row without an amount is left out


def test_confinement_of_a_query_is_told_once(driven):
    asked = study(query=QUERY)
    accept(driven, asked)
    driven(start(asked, 1), start(asked, 1))
    (notice,) = driven.noticed
    assert isinstance(notice, QueryConfined)
    assert notice.confinement.limits


def test_query_that_cannot_be_confined_as_required_fails_the_round_alone(driven, monkeypatch):
    unconfined = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pnyx.query import child\n"
        "from pnyx.sandbox import Confinement\n"
        "nothing = Confinement(landlock_version=0, system_calls=False, limits=False)\n"
        "child.confine = lambda *_, **__: nothing\n"
        "child.main()"
    )
    monkeypatch.setattr(process, "_START", unconfined)
    asked = study(query=QUERY)
    accept(driven, asked)
    driven.daemon.tasks._sandbox = "require"
    driven(start(asked, 1))
    (event,) = driven.heard
    assert isinstance(event, TrainingFailed)
    assert "the query was not run" in event.reason
    notice = driven.noticed[-1]
    assert notice == TaskFailed(STUDY, 1, event.reason), "its owner is told, and nobody else"
    assert driven.daemon.tasks.troubles == {STUDY: notice}


def test_query_is_trained_on(driven):
    asked = study(query=QUERY)
    accept(driven, asked)
    driven(start(asked, 2))
    assert driven.heard == []
    (job,) = driven.jobs
    features = np.frombuffer(job.task.features, "<f4").reshape(-1, 2)
    assert features.tolist() == [[np.float32(n / 10), 10 * n] for n in range(1, 6)]
    assert np.frombuffer(job.task.targets, "<i8").tolist() == [n % 3 for n in range(1, 6)]


def test_a_round_whose_model_is_gone_is_sat_out(driven):
    asked = study(query=QUERY)
    accept(driven, asked)
    driven(msgspec.structs.replace(start(asked, 2), model=b"x" * 32))
    (event,) = driven.heard
    assert isinstance(event, TrainingFailed)
    assert event.reason == "The round ended before its model was read; wait for the next."
    assert driven.jobs == []


def test_consent_is_to_the_columns_read_and_the_query(driven):
    asked = study(query=QUERY)
    accept(driven, asked)
    consent = driven.daemon.vault.consents.get(STUDY)
    assert consent.columns == {"c": ("amount", "day", "kind")}
    assert consent.query == QUERY
    other = study(query=QUERY.replace("amount / 10", "secret"))
    driven(start(other, 1))
    (event,) = driven.heard
    assert isinstance(event, TrainingFailed)
    assert "no consent to read secret" in event.reason


def test_withdrawn_consent_runs_no_query(driven):
    asked = study(query=QUERY)
    accept(driven, asked)
    driven.daemon.vault.consents.withdraw(STUDY, 1.0)
    driven(start(asked, 1))
    (event,) = driven.heard
    assert isinstance(event, TrainingFailed)


@pytest.mark.parametrize(
    "changes",
    [
        {"query": "COPY data TO '/tmp/x'"},
        {"query": "SELECT x, y, kind FROM read_csv('/etc/passwd')"},
        {"query": "SELECT x, y FROM data"},
        {"query": "SELECT x, y, kind, secret FROM data"},
        {"query": QUERY, "columns": ("x", "x")},
        {"program": b"nonsense"},
    ],
)
def test_study_that_cannot_be_run_is_never_accepted_and_ends_no_node(driven, changes):
    """A policy that accepts everything must not let a stranger's study stop the node."""
    asked = study(**changes)
    driven(AskConsent(STUDY, codec.encode(asked)))
    assert driven.heard == []
    assert driven.daemon.vault.consents.get(STUDY) is None
    assert not driven.daemon._stopping.is_set()
    with pytest.raises((ConsentError, QueryError)):
        driven.daemon.decisions.decide(STUDY, codec.encode(asked), accept=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"query": QUERY, "category": "other"},
        {"query": QUERY.replace("amount / 10", "absent")},
        {"query": "", "columns": ("amount", "nothing"), "label": "kind"},
    ],
)
def test_no_policy_takes_a_seat_without_data(driven, changes):
    """The owner is left to decide, and may import first."""
    driven(AskConsent(STUDY, codec.encode(study(**changes))))
    assert driven.heard == []
    assert driven.daemon.vault.consents.get(STUDY) is None


def test_a_policy_declines_with_or_without_data(driven):
    driven.daemon.decisions._policy = ConsentPolicy(default="decline")
    driven(AskConsent(STUDY, codec.encode(study(query=QUERY, category="other"))))
    assert driven.heard.pop() == ConsentDeclined(STUDY)


def test_query_that_fails_here_fails_the_round_alone(driven):
    asked = study(query="SELECT amount // 0 AS x, day // 0 AS y, kind // 0 AS kind FROM data")
    accept(driven, asked)
    driven(start(asked, 1))
    (event,) = driven.heard
    assert isinstance(event, TrainingFailed)
    assert not driven.daemon._stopping.is_set()


def test_unexpected_error_in_a_round_ends_the_node(driven):
    """As everywhere in the daemon: what nothing handles is a bug, and is not lived with."""
    driven.daemon.tasks._trainer = None
    asked = study(query=QUERY)
    accept(driven, asked)
    driven(start(asked, 2))
    assert driven.daemon._stopping.is_set()


def test_columns_of_a_request_are_those_read():
    plain = manifest(1, [COLLECTING], columns=("a", "b"), label="k")
    assert study_request(STUDY, codec.encode(plain)).columns == {"c": ("a", "b", "k")}
    query = "SELECT sum(z) AS a, 1 AS b, max(q) AS k FROM data"
    asked = study_request(STUDY, codec.encode(manifest(1, [COLLECTING], query=query)))
    assert asked.columns == {"c": ("z", "q")}
    assert asked.query == query
