"""What a feature query may say, what it reads, and what is run in its place."""

from pathlib import Path

import pytest

from pnyx.errors import QueryError
from pnyx.query.compile import read_query
from pnyx.query.functions import DATED, FUNCTIONS, PARTS


def sql_of(text: str) -> str:
    return read_query(text).sql


def test_query_is_written_anew_with_names_of_our_own():
    query = read_query(
        '/* hidden */ SELECT avg(amount) AS mean, "day of \' week" AS label FROM data '
        "WHERE kind = 'it''s' -- more\n GROUP BY label"
    )
    assert query.sql == (
        "SELECT avg(s.c0) AS o0, s.c1 AS o1 FROM data AS s WHERE (s.c2 = 'it''s') GROUP BY 2"
    )
    assert query.reads == ("amount", "day of ' week", "kind")
    assert query.outputs == ("mean", "label")


def test_selects_chain():
    query = read_query(
        "WITH days AS (SELECT day, sum(amount) AS total FROM data GROUP BY day), "
        "large AS (SELECT d.total FROM days AS d WHERE d.total > 10) "
        "SELECT avg(total) AS mean FROM (SELECT total FROM large) AS inner_one"
    )
    assert query.sql == (
        "SELECT avg(s.o0) AS o0 FROM (SELECT s.o0 AS o0 FROM (SELECT s.o1 AS o0 FROM "
        "(SELECT s.c0 AS o0, sum(s.c1) AS o1 FROM data AS s GROUP BY s.c0) AS s "
        "WHERE (s.o1 > 10)) AS s) AS s"
    )
    assert query.reads == ("day", "amount")


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("a + b * 2", "(s.c0 + (s.c1 * 2))"),
        ("-a / 0.5", "((- s.c0) / 0.5e0)"),
        ("a % 2 ** 3", "(s.c0 % (2 ** 3))"),
        ("a // .5", "(s.c0 // 0.5e0)"),
        ("a = 1 OR NOT b <> 2", "((s.c0 = 1) OR (NOT (s.c1 <> 2)))"),
        ("a IS NOT NULL AND b IS TRUE", "((NOT (s.c0 IS NULL)) AND (s.c1 IS TRUE))"),
        ("a IS DISTINCT FROM b", "(s.c0 IS DISTINCT FROM s.c1)"),
        ("a IN (1, 2e3)", "(s.c0 IN (1, 2e3))"),
        ("a NOT BETWEEN 1 AND b", "(NOT (s.c0 BETWEEN 1 AND s.c1))"),
        ("a ILIKE 'x%'", "(s.c0 ILIKE 'x%')"),
        ("CASE a WHEN 1 THEN b END", "(CASE s.c0 WHEN 1 THEN s.c1 END)"),
        ("CASE WHEN a > 1 THEN b ELSE 0 END", "(CASE WHEN (s.c0 > 1) THEN s.c1 ELSE 0 END)"),
        ("a::DOUBLE", "CAST(s.c0 AS DOUBLE)"),
        ("TRY_CAST(a AS TIMESTAMP)", "TRY_CAST(s.c0 AS TIMESTAMP)"),
        ("EXTRACT(hour FROM a)", "date_part('hour', s.c0)"),
        ("date_trunc('Day', a)", "date_trunc('day', s.c0)"),
        ("date_diff('day', a, b)", "date_diff('day', s.c0, s.c1)"),
        ("COUNT(*)", "count(*)"),
        ("count(DISTINCT a)", "count(DISTINCT s.c0)"),
        ("sum(a) FILTER (WHERE b > 1)", "sum(s.c0) FILTER (WHERE (s.c1 > 1))"),
        ("quantile_cont(a, 0.9)", "quantile_cont(s.c0, 0.9e0)"),
        ("round(a, -2)", "round(s.c0, (- 2))"),
        (
            "sum(a) OVER (PARTITION BY b ORDER BY a DESC ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
            "sum(s.c0) OVER (PARTITION BY s.c1 ORDER BY s.c0 DESC NULLS LAST "
            "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        ),
        (
            "lag(a, 1) OVER (ORDER BY b NULLS FIRST RANGE UNBOUNDED PRECEDING)",
            "lag(s.c0, 1) OVER (ORDER BY s.c1 ASC NULLS FIRST "
            "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
        ),
    ],
)
def test_expressions(expression, written):
    # a and b are read first, so that they are c0 and c1
    text = f"SELECT {expression} AS x FROM (SELECT a, b FROM data)"
    expected = written.replace("s.c", "s.o")
    assert (
        sql_of(text)
        == f"SELECT {expected} AS o0 FROM (SELECT s.c0 AS o0, s.c1 AS o1 FROM data AS s) AS s"
    )


def test_clauses():
    assert sql_of(
        "SELECT DISTINCT a, b + 1 AS c FROM data AS d WHERE d.a > 0 "
        "QUALIFY row_number() OVER (ORDER BY a) = 1 ORDER BY c DESC, 1, a + 1 LIMIT 10"
    ) == (
        "SELECT DISTINCT s.c0 AS o0, (s.c1 + 1) AS o1 FROM data AS s WHERE (s.c0 > 0) "
        "QUALIFY (row_number() OVER (ORDER BY s.c0 ASC NULLS LAST) = 1) "
        "ORDER BY 2 DESC NULLS LAST, 1 ASC NULLS LAST, (s.c0 + 1) ASC NULLS LAST LIMIT 10"
    )
    assert sql_of("SELECT a, sum(b) AS t FROM data GROUP BY ALL HAVING sum(b) > 1") == (
        "SELECT s.c0 AS o0, sum(s.c1) AS o1 FROM data AS s GROUP BY ALL HAVING (sum(s.c1) > 1)"
    )


def test_output_may_have_the_name_of_a_column_that_it_reads():
    query = read_query(
        "SELECT max(day) AS day FROM data WHERE day > 1 GROUP BY kind HAVING day > 2"
    )
    assert query.sql.startswith("SELECT max(s.c0) AS o0 FROM data AS s WHERE (s.c0 > 1)")
    assert query.reads == ("day", "kind")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("SELECT a FROM data WHERE (a > 1", r"near a > 1|near .* \(line 1, column"),
        ("SELECT a\nFROM data; SELECT a FROM data", r"^; is not allowed .* \(line 2, column 10\)"),
        ("SELECT a FROM data JOIN data AS b ON true", "JOIN is not allowed"),
        ("SELECT a FROM data, data AS b", "cannot be read near ,"),
        ("SELECT sqrt(a, b) AS x FROM data", "sqrt takes 1 values"),
        ("SELECT getenv('x') AS x, a FROM data", "The function getenv is not allowed"),
        ("SELECT a FROM other", "reads from other"),
        ("SELECT b.a FROM data", "names b.a, of no source"),
        ("SELECT z AS y FROM (SELECT a FROM data)", "gives no z; it gives a"),
        ("SELECT a FROM data WHERE a LIKE '%a%a%a%a%a'", "at most 4 signs"),
        ("SELECT a FROM data WHERE a LIKE b", "a text in quotes"),
        ("SELECT a + 1 FROM data", "write AS name"),
        ("SELECT * FROM data", "Name the columns"),
        ("SELECT a, b AS a FROM data", "Two outputs are named a"),
        ("SELECT a + 1 AS b FROM data HAVING b > 2", "b is the name of an output"),
        ("SELECT 1 AS x FROM data", "reads no column"),
        ("SELECT a", "add FROM data"),
        ("SELECT a FROM data LIMIT a", "a whole number"),
        ("SELECT a FROM data LIMIT -1", "-1 must be a whole number of at most 9 digits"),
        ("SELECT CAST(a AS interval) AS x FROM data", "interval is not allowed"),
        ("SELECT quantile_cont(a, b) AS x FROM data", "b must be a number"),
        ("SELECT date_part('century', a) AS x FROM data", "century is no part"),
        ("SELECT date_part(a, b) AS x FROM data", "takes the part, as a text"),
        ("SELECT row_number() AS x, a FROM data", "row_number does not fit here"),
        ("SELECT sqrt(a) OVER () AS x FROM data", "sqrt does not fit here"),
        ("SELECT sqrt(a) FILTER (WHERE a > 1) AS x FROM data", "sqrt does not fit here"),
        ("SELECT a FROM data WHERE a IN (SELECT a FROM data)", "IN with query"),
        ("SELECT (SELECT a FROM data) AS x FROM data", "SUBQUERY is not allowed"),
        ("SELECT a FROM (SELECT a FROM data) AS t(b)", "with columns is not allowed"),
        ("WITH t AS (SELECT a FROM data) SELECT b FROM data", "does not use it"),
        ("WITH t AS (SELECT a FROM data), u AS (SELECT a FROM t) SELECT a FROM t", "u in WITH but"),
        ("WITH t AS (SELECT a FROM t) SELECT a FROM t", "it may read"),
        ("SELECT a FROM data WHERE a IN (" + ", ".join(["1"] * 300) + ")", "1 to 256 values"),
        ("SELECT 'x' || a AS x FROM data", r"\|\| is not allowed"),
        (f"SELECT '{'x' * 201}' AS x, a FROM data", "longer than 200"),
        ("SELECT 1234567890123456789 AS x, a FROM data", "at most 18 digits"),
        ("SELECT a \x00 FROM data", "control character"),
        ("SELECT 'a FROM data", "close its quotes"),
        ("SELECT a FROM data WHERE a" + " + a" * 150 + " > 1", "more than 100 operations"),
        ("SELECT " + "(" * 20 + "a" + ")" * 20 + " AS x FROM data", "nested more than 16 deep"),
        ("SELECT " + "NOT " * 1500 + "a AS x FROM data", "nested too deeply"),
        ("SELECT a" + "," * 4000 + "FROM data", "more than 3000"),
        ("SELECT a FROM data" + " " * 8192, "longer than 8192 bytes"),
        ("", "one SELECT"),
        ("SELECT a FROM data FROM data", "cannot be read"),
        ("SELECT a FROM data WHERE a[1] > 0", r"^\[ is not allowed"),
    ],
)
def test_refused_with_a_sentence(text, sentence):
    with pytest.raises(QueryError, match=sentence) as caught:
        read_query(text)
    assert str(caught.value).endswith(".")


def test_functions_and_parts_are_documented():
    document = (Path(__file__).parents[3] / "docs" / "queries.md").read_text()
    words = set(document.replace("`", " ").replace(",", " ").split())
    assert {*FUNCTIONS, *DATED, *PARTS} <= words
