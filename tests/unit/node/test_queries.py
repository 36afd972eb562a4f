"""The rows that a study's query makes of an owner's columns."""

import asyncio

import numpy as np
import pytest
from tests.support.confined import MACHINE, needs_filter
from tests.support.town import manifest

from pnyx.errors import ConsentError, QueryError, VaultError
from pnyx.node.queries import (
    QueryLimits,
    check_outputs,
    columns_read,
    first_rows,
    rows_for,
    run_query,
)
from pnyx.query.compile import FeatureQuery, read_query
from pnyx.query.functions import DATED, FUNCTIONS, PARTS
from pnyx.sandbox import Confinement, landlock
from pnyx.vault import Vault
from pnyx.vault.collections import Column, SourceFile

AMOUNTS = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 7.0])
COLUMNS = {
    "amount": AMOUNTS,
    "day": np.array([0, 0, 0, 1, 1, 2]),
    "kind": np.array(["food", "rent", "", "food", "", "rent"]),
}


def given(text: str, *, label="", columns=None, outputs=None, sandbox="best", **limits):
    query = read_query(text)
    features = outputs or [name for name in query.outputs if name != label]
    return asyncio.run(
        run_query(
            query,
            COLUMNS if columns is None else columns,
            outputs=features,
            label=label,
            limits=QueryLimits(**limits),
            sandbox=sandbox,
        )
    )


def test_rows_are_those_of_the_query():
    rows = given(
        "SELECT avg(amount) AS mean, count(*) AS n, day AS label FROM data GROUP BY day ORDER BY 3",
        label="label",
        outputs=["n", "mean"],
    )
    assert rows.features.tolist() == [[3.0, 1.5], [2.0, 4.5], [1.0, 7.0]]
    assert rows.labels.tolist() == [0, 1, 2]
    assert rows.labels.dtype == np.int64


@needs_filter
def test_process_of_a_query_is_confined_as_far_as_the_kernel_can():
    found = given("SELECT amount FROM data").confinement
    assert found == Confinement(
        landlock_version=landlock.version(MACHINE), system_calls=True, limits=True
    )
    if found.full:
        given("SELECT amount FROM data", sandbox="require")


def test_missing_values_are_null_within_and_nan_without():
    rows = given(
        "SELECT count(amount) AS numbers, count(kind) AS texts, "
        "max(CASE WHEN amount > 9 THEN 1 END) AS none FROM data"
    )
    assert rows.features[0, :2].tolist() == [5.0, 4.0]
    assert np.isnan(rows.features[0, 2])
    assert first_rows(rows, 10) == ((5.0, 4.0, None),)


def test_windows_and_texts():
    rows = given(
        "SELECT day, sum(amount) OVER (ORDER BY day, amount ROWS BETWEEN 1 PRECEDING AND CURRENT "
        "ROW) AS pair FROM data WHERE kind LIKE 'fo%' OR upper(kind) = 'RENT'"
    )
    assert sorted(rows.features.tolist()) == [[0, 1], [0, 3], [1, 6], [2, 11]]


def test_no_rows():
    rows = given("SELECT amount FROM data WHERE amount > 100")
    assert rows.features.shape == (0, 1)
    assert given("SELECT amount FROM data", columns={"amount": np.array([])}).features.size == 0


ARGUMENTS = {
    **dict.fromkeys(["contains", "starts_with", "ends_with"], "'food', 'f'"),
    **dict.fromkeys(["lower", "upper", "trim", "length"], "kind"),
    **dict.fromkeys(["bool_and", "bool_or", "count_if"], "amount > 1"),
    **dict.fromkeys(["year", "quarter", "month", "week", "day", "epoch"], "make_timestamp(day)"),
    **dict.fromkeys(["dayofyear", "dayofweek", "isodow"], "make_timestamp(day)"),
    **dict.fromkeys(["hour", "minute", "second"], "make_timestamp(day)"),
    **dict.fromkeys(["quantile_cont", "quantile_disc"], "amount, 0.5"),
    "make_timestamp": "day",
    "substr": "kind, 1, 2",
    "ntile": "2",
    "nth_value": "amount, 2",
    "lag": "amount, 1, 0",
}
WITHIN = {
    **dict.fromkeys(["lower", "upper", "trim", "substr"], "length"),
    "make_timestamp": "epoch",
}


@pytest.mark.parametrize("kind", ["scalar", "aggregate", "window"])
def test_every_function_runs(kind):
    calls = []
    for name, function in FUNCTIONS.items():
        if function.kind == kind:
            arguments = ARGUMENTS.get(name, ", ".join(["amount"] * function.arguments_min))
            call = f"{name}({arguments})" + (" OVER (ORDER BY day)" if kind == "window" else "")
            calls.append(f"{WITHIN[name]}({call})" if name in WITHIN else call)
    listed = ", ".join(f"{call} AS x{place}" for place, call in enumerate(calls))
    rows = given(f"SELECT {listed} FROM data WHERE amount BETWEEN -1 AND 1 AND day >= 0")
    assert rows.features.shape == (1, len(calls))


def test_every_part_of_a_time_and_function_of_times_runs():
    time = "CAST('2024-02-29 13:05:09' AS TIMESTAMP)"
    called = [f"date_part('{part}', {time})" for part in PARTS]
    called += [f"epoch(date_trunc('{part}', {time}))" for part in ("day", "week", "month")]
    called += [f"date_diff('hour', CAST('2024-02-29' AS DATE), {time})"]
    assert set(DATED) == {"date_part", "date_trunc", "date_diff"}
    listed = ", ".join(f"{call} AS x{place}" for place, call in enumerate(called))
    rows = given(f"SELECT {listed} FROM data WHERE amount = 1")
    found = dict(zip(PARTS, rows.features[0], strict=False))
    assert (found["year"], found["month"], found["hour"]) == (2024, 2, 13)
    assert (found["dow"], found["isodow"], found["doy"]) == (4, 4, 60)
    assert rows.features[0, -1] == 13


@pytest.mark.parametrize(
    ("text", "label", "limits", "sentence"),
    [
        (
            "SELECT kind AS x FROM data",
            "",
            {},
            "Output 1 of the query is VARCHAR and must be a num",
        ),
        ("SELECT amount AS x FROM data", "x", {}, "is DOUBLE and must be a whole number: CAST it"),
        ("SELECT TRY_CAST(amount AS BIGINT) AS x FROM data", "x", {}, "rows without a label"),
        ("SELECT amount AS x FROM data", "", {"rows_max": 5}, "more than 5 rows"),
        ("SELECT amount AS x FROM data", "", {"result_bytes_max": 40}, "more than 5 rows"),
        ("SELECT CAST(kind AS DOUBLE) AS x FROM data", "", {}, "use TRY_CAST"),
        ("SELECT day * 9223372036854775807 AS x FROM data", "", {}, "digits|CAST numbers"),
        ("SELECT day // 0 AS x FROM data", "", {}, "divide with /"),
        ("SELECT sum(kind) AS x FROM data", "", {}, "does not fit the data .*sum"),
        ("SELECT amount AS x, sum(day) AS y FROM data", "", {}, "does not fit the data"),
        ("SELECT amount AS x FROM data", "", {"wall_seconds_max": 0.01}, "more than 0.01 s"),
    ],
)
def test_failures_are_one_sentence_without_values(text, label, limits, sentence):
    with pytest.raises(QueryError, match=sentence) as caught:
        given(text, label=label, **limits)
    assert "food" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("SELECT a, c FROM data", "lacks b,"),
        ("SELECT a, b, c, d FROM data", "gives d,"),
    ],
)
def test_outputs_are_those_that_the_study_states(text, sentence):
    check_outputs(read_query("SELECT c, a, b FROM data"), ["a", "b"], "c")
    with pytest.raises(QueryError, match=sentence):
        check_outputs(read_query(text), ["a", "b"], "c")


def test_column_named_twice_is_refused():
    with pytest.raises(QueryError, match="twice"):
        check_outputs(read_query("SELECT a FROM data"), ["a", "a"], "")


def test_unchecked_sql_gives_no_other_columns():
    with pytest.raises(QueryError, match="2 columns where 1 are stated"):
        asyncio.run(
            run_query(
                FeatureQuery("SELECT c0, c0 FROM data", ("amount",), ("x",)), COLUMNS, outputs=["x"]
            )
        )


def test_cancelled_query_leaves_no_process(monkeypatch):
    from pnyx.node import queries

    started = []

    class Noted(queries.QueryProcess):
        def __init__(self, *of_a_query):
            super().__init__(*of_a_query)
            started.append(self)

    monkeypatch.setattr(queries, "QueryProcess", Noted)

    async def cancel() -> None:
        query = read_query("SELECT amount FROM data")
        running = asyncio.create_task(run_query(query, COLUMNS, outputs=["amount"]))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancel())
    (process,) = started
    assert process._process.returncode is not None
    assert process.connection.fileno() == -1


@pytest.fixture
def vault(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as opened:
        columns = (Column("x", "float"), Column("note", "text"), Column("kind", "int"))
        rows = [(0.5 * n, "n", n % 2) for n in range(6)]
        opened.collections.add("c", columns, SourceFile("f", "csv", bytes(32), 1), rows, 0.0)
        yield opened


def asked(vault, study):
    return asyncio.run(rows_for(study, lambda names: vault.collections.columns("c", names)))


def test_study_without_a_query_gets_its_columns(vault):
    study = manifest(1, columns=("x",), label="kind")
    assert columns_read(study) == ("x", "kind")
    rows = asked(vault, study)
    assert rows.features.tolist() == [[0.0], [0.5], [1.0], [1.5], [2.0], [2.5]]
    assert rows.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_study_with_a_query_gets_what_it_gives(vault):
    text = "SELECT max(x) AS most, kind AS class FROM data GROUP BY kind ORDER BY kind"
    study = manifest(1, query=text, columns=("most",), label="class")
    assert columns_read(study) == ("x", "kind")
    rows = asked(vault, study)
    assert rows.features.tolist() == [[2.0], [2.5]]
    assert rows.labels.tolist() == [0, 1]


def test_unknown_column_lists_the_known_ones(vault):
    study = manifest(1, query="SELECT y FROM data", columns=("y",), label="")
    with pytest.raises(VaultError, match="no column y; it has x, note, kind"):
        asked(vault, study)


def test_texts_are_no_features(vault):
    with pytest.raises(ConsentError, match="note holds texts"):
        asked(vault, manifest(1, columns=("note",), label="kind"))
