import threading

import msgspec
import pytest
from tests.support.confined import MACHINE, attempt, needs_filter

from pnyx.sandbox import Confinement, confine, kernel, landlock, query_profile, training_profile
from pnyx.sandbox.landlock import _ruleset

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def reached(arrange_before=lambda: None, make=training_profile) -> Confinement:
    """What a child says of itself."""
    told = []

    def arrange(channel: int) -> None:
        arrange_before()
        found = confine(make(channel), channel=channel, memory_bytes=64 << 20, cpu_seconds=5)
        told.append(msgspec.to_builtins(found))

    ending = attempt(lambda: told[0], arrange)
    assert ending.succeeded, ending
    return msgspec.convert(ending.result, Confinement)


def test_words_for_an_owner():
    full = Confinement(landlock_version=4, system_calls=True, limits=True)
    assert full.full
    assert full.describe() == "full"
    nothing = Confinement(landlock_version=0, system_calls=False, limits=False)
    assert nothing.describe() == (
        "reduced: system calls are not filtered, files and network are not barred by Landlock, "
        "memory is not bounded"
    )
    partly = Confinement(landlock_version=0, system_calls=True, limits=True)
    assert not partly.full
    assert partly.describe() == "reduced: files and network are not barred by Landlock"


@needs_filter
def test_child_says_what_it_reached():
    found = reached()
    assert found == Confinement(
        landlock_version=landlock.version(MACHINE), system_calls=True, limits=True
    )
    assert reached(make=query_profile) == found


@needs_filter
def test_missing_parts_are_told_not_assumed(monkeypatch):
    """Kernels and containers that refuse: every part is looked at after it was asked for."""
    real = kernel.call

    def refusing(refused):
        def call(name, machine, *arguments):
            if name.startswith(refused):
                raise OSError(38, "Function not implemented")
            return real(name, machine, *arguments)

        return call

    monkeypatch.setattr(kernel, "call", refusing("landlock"))
    assert reached() == Confinement(landlock_version=0, system_calls=True, limits=True)
    monkeypatch.setattr(kernel, "call", refusing("seccomp"))
    assert not reached().system_calls
    monkeypatch.setattr(kernel, "call", lambda *_: 1)  # says yes to everything and does nothing
    found = reached()
    assert (found.landlock_version, found.system_calls) == (0, False)


@needs_filter
def test_landlock_beside_other_threads_does_not_count():
    waiting = threading.Event()
    found = reached(lambda: threading.Thread(target=waiting.wait, daemon=True).start())
    assert found.landlock_version == 0
    assert found.system_calls  # the filter is put on all threads


def test_elsewhere_limits_are_all(monkeypatch):
    monkeypatch.setattr(kernel, "architecture", lambda: None)
    assert not reached().full


@pytest.mark.parametrize(
    ("version", "size", "words"),
    [
        (1, 8, (0x1FFF, 0, 0)),
        (2, 8, (0x3FFF, 0, 0)),
        (3, 8, (0x7FFF, 0, 0)),
        (4, 16, (0x7FFF, 3, 0)),
        (5, 16, (0xFFFF, 3, 0)),
        (6, 24, (0xFFFF, 3, 3)),
        (9, 24, (0xFFFF, 3, 3)),
    ],
)
def test_all_rights_of_every_version_of_landlock(version, size, words):
    attributes, length = _ruleset(version)
    assert length == size
    assert tuple(int.from_bytes(attributes[at : at + 8], "little") for at in (0, 8, 16)) == words


@needs_filter
def test_query_engine_works_in_memory_and_opens_no_file(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    connection = []

    def arrange(channel: int) -> None:
        connection.append(duckdb.connect(config={"threads": 1}))
        connection[0].execute("select 1").fetchall()
        confine(query_profile(channel), channel=channel, memory_bytes=512 << 20, cpu_seconds=20)

    def query() -> list[tuple[int, ...]]:
        rows = "range(100000) t(i)"
        grouped = f"select i % 7 as k, sum(i) as s, count(*) from {rows} group by k order by k"
        return connection[0].execute(grouped).fetchall()

    def read() -> str:
        try:
            connection[0].execute(f"select * from read_csv('{secret}')").fetchall()
        except duckdb.Error as error:
            return type(error).__name__
        return "read"

    assert len(attempt(query, arrange).result) == 7
    assert attempt(read, arrange).result != "read"


def test_profile_names_are_known():
    for profile in (training_profile(3), query_profile(3)):
        for name in profile.allowed.keys() | profile.refused.keys():
            assert kernel.number(name, "x86_64") is not None
