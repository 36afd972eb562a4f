"""A study's query tries to read files, to reach the network, to learn settings, or to exhaust.

Two layers, each tested alone: the language refuses the text; and the child, given the same SQL
unchecked, gives nothing away and stays within its bounds.
"""

import resource
import shutil
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pnyx.errors import QueryError
from pnyx.query import process as query_process
from pnyx.query.compile import read_query
from pnyx.query.frames import InputColumn, QueryData, QueryRows, QueryTask
from pnyx.query.grammar import parse
from pnyx.query.process import RECEIVE_BYTES, QueryProcess

MEMORY_BYTES_MAX = 256 << 20
OF_A_CHILD = 160 << 20  # what it holds before its query
CPU_SECONDS_MAX = 1
WALL_SECONDS_MAX = 20.0
SECRET = 424242.0

READS = {
    "read_csv": "SELECT * FROM read_csv('{file}', header = false)",
    "read_csv_password_file": "SELECT length(column0) FROM read_csv('/etc/passwd', header = false)",
    "read_text": "SELECT CAST(content AS DOUBLE) FROM read_text('{file}')",
    "read_blob": "SELECT octet_length(content) FROM read_blob('{file}')",
    "read_parquet": "SELECT * FROM read_parquet('{file}')",
    "read_json": "SELECT * FROM read_json('{file}')",
    "glob": "SELECT count(*) FROM glob('{folder}/*') HAVING count(*) > 0",
    "replacement_scan_of_a_text": "SELECT * FROM '{file}'",
    "replacement_scan_of_a_quoted_name": 'SELECT * FROM "{file}"',
    "replacement_scan_of_a_python_variable": "SELECT * FROM arrays",
    "replacement_scan_of_what_was_registered": "SELECT * FROM received",
    "copy_from": "COPY data FROM '{file}'",
    "attach": "ATTACH '{file}' AS other",
    "http_address": "SELECT * FROM read_csv('http://127.0.0.1:{port}/x.csv')",
    "http_replacement_scan": "SELECT * FROM 'http://127.0.0.1:{port}/x.csv'",
    "s3_address": "SELECT * FROM 's3://bucket/x.parquet'",
    "sniff_csv": "SELECT count(*) FROM sniff_csv('{file}')",
    "query": "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
    "query_table": "SELECT * FROM query_table('{file}')",
    "comment_hides_a_second_statement": "SELECT c0 FROM data -- \n; COPY data TO '{out}'",
    "comment_never_closed": "SELECT c0 FROM data /* ",
    "bracket_closed_early": "SELECT c0 FROM data) TO '{out}'; --",
    "several_statements": "SELECT c0 FROM data; SELECT c0 FROM data",
    "into_outfile": "SELECT c0 INTO OUTFILE '{out}' FROM data",
    "copy_to": "COPY data TO '{out}'",
    "copy_query_to": "COPY (SELECT c0 FROM data) TO '{out}'",
    "export_database": "EXPORT DATABASE '{out}'",
    "attach_new_file": "ATTACH '{out}' AS other",
    "install": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "force_install_from": "FORCE INSTALL spatial FROM 'http://127.0.0.1:{port}'",
}

SETTINGS = {
    "pragma": "PRAGMA database_list",
    "pragma_function": "SELECT * FROM pragma_version()",
    "call": "CALL pragma_version()",
    "set_access": "SET enable_external_access = true",
    "set_threads": "SET threads = 4",
    "reset": "RESET lock_configuration",
    "current_setting": "SELECT length(current_setting('temp_directory')) AS x, c0 FROM data",
    "getenv": "SELECT length(getenv('HOME')) AS x, c0 FROM data",
    "duckdb_settings": "SELECT * FROM duckdb_settings()",
    "duckdb_secrets": "SELECT count(*) AS x, c0 FROM duckdb_secrets()",
    "information_schema": "SELECT table_name FROM information_schema.tables",
    "catalog_of_postgres": "SELECT relname FROM pg_class",
    "sqlite_master": "SELECT name FROM sqlite_master",
    "current_user": "SELECT current_user AS x, c0 FROM data",
    "version": "SELECT version() AS x, c0 FROM data",
    "summarize": "SUMMARIZE data",
    "describe": "DESCRIBE data",
    "explain": "EXPLAIN SELECT c0 FROM data",
    "explain_analyze": "EXPLAIN ANALYZE SELECT c0 FROM data",
    "macro": "CREATE MACRO f(a) AS a + 1",
    "macro_of_a_table": "CREATE MACRO f() AS TABLE SELECT * FROM data",
    "sequence": "CREATE SEQUENCE s",
    "nextval": "SELECT nextval('s') AS x, c0 FROM data",
    "prepare": "PREPARE p AS SELECT c0 FROM data",
    "enum_type": "CREATE TYPE mood AS ENUM ('a', 'b')",
    "cast_to_enum": "SELECT c1::ENUM('a', 'b') AS x FROM data",
    "cast_to_text": "SELECT CAST(c0 AS VARCHAR) AS x FROM data",
    "cast_to_json": "SELECT CAST(c0 AS JSON) AS x FROM data",
    "struct": "SELECT {{'a': c0}} AS x FROM data",
    "list": "SELECT [c0, c0] AS x FROM data",
    "row_of_values": "SELECT (c0, c0) AS x FROM data",
    "time_zone": "SELECT c0::TIMESTAMPTZ AT TIME ZONE 'Europe/Paris' AS x FROM data",
    "now": "SELECT now() AS x, c0 FROM data",
    "columns": "SELECT COLUMNS('.*') FROM data",
    "star": "SELECT * FROM data",
    "star_of_a_table": "SELECT data.* FROM data",
    "insert": "INSERT INTO data VALUES (1, 'x')",
    "update": "UPDATE data SET c0 = 1",
    "delete": "DELETE FROM data",
    "drop": "DROP TABLE data",
    "other_schema": "SELECT c0 FROM main.data",
    "shadowed_table": "WITH data AS (SELECT c0 FROM data) SELECT c0 FROM data",
    "table_statement": "TABLE data",
    "alias_of_columns": "SELECT a FROM data AS d(a, b)",
    "positional_reference": "SELECT #1 AS x FROM data",
    "parameter": "SELECT $1 AS x, c0 FROM data",
}

UNREPEATABLE = {
    "random": "SELECT random() AS x, c0 FROM data",
    "setseed": "SELECT setseed(0.5) AS x, c0 FROM data",
    "uuid": "SELECT uuid() AS x, c0 FROM data",
    "sample": "SELECT c0 FROM data USING SAMPLE 3",
    "tablesample": "SELECT c0 FROM data TABLESAMPLE 10%",
}

BOMBS = {
    "printf": "SELECT length(printf('%1000000000d', 1)) AS x, c0 FROM data",
    "format": "SELECT length(format('{{:>1000000000}}', c1)) AS x FROM data",
    "repeat": "SELECT length(repeat('x', 2000000000)) AS x, c0 FROM data",
    "repeat_of_repeat": "SELECT length(repeat(repeat(c1, 100000), 100000)) AS x FROM data",
    "lpad": "SELECT length(lpad(c1, 2000000000, 'x')) AS x FROM data",
    "concatenation": f"SELECT length({'||'.join(['repeat(c1, 10000000)'] * 60)}) AS x FROM data",
    "string_agg": "SELECT length(string_agg(repeat(c1, 1000000), '')) AS x FROM data",
    "list_of_numbers": "SELECT len(list(range)) AS x FROM range(1000000000)",
    "range": "SELECT count(*) AS x FROM range(1000000000000)",
    "generate_series": "SELECT count(*) AS x FROM generate_series(1, 1000000000000)",
    "unnest": "SELECT unnest(range(1000000000)) AS x FROM data",
    "cross_join": "SELECT count(*) AS x FROM data a, data b, data c, data d",
    "cross_join_sorted": "SELECT a.c0 AS x FROM data a, data b, data c ORDER BY b.c0 LIMIT 1",
    "lateral": "SELECT count(*) FROM data a, LATERAL (SELECT a.c0 FROM data b, data c, data d)",
    "recursion": "WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT a FROM t) SELECT max(a) FROM t",
    "union": " UNION ALL ".join(["SELECT c0 FROM data"] * 300),
    "values": f"VALUES {', '.join(['(1)'] * 200_000)}",
    "million_outputs": f"SELECT {', '.join(['1'] * 1_000_000)} FROM data",
    "parentheses": f"SELECT {'(' * 100_000}c0{')' * 100_000} AS x FROM data",
    "nots": f"SELECT {'NOT ' * 100_000}c0 AS x FROM data",
    "minuses": f"SELECT {'- ' * 100_000}c0 AS x FROM data",
    "sums": f"SELECT c0{' + c0' * 100_000} AS x FROM data",
    "cases": f"SELECT {'CASE WHEN c0 > 0 THEN ' * 5000}c0{' END' * 5000} AS x FROM data",
    "subqueries": f"SELECT c0 FROM {'(SELECT c0 FROM ' * 5000}data{')' * 5000}",
    "casts": f"SELECT c0{'::INT' * 50_000} AS x FROM data",
    "giant_number": f"SELECT {'9' * 1_000_000} AS x, c0 FROM data",
    "giant_text": f"SELECT '{'x' * 1_000_000}' AS x, c0 FROM data",
    "giant_list": f"SELECT c0 FROM data WHERE c0 IN ({', '.join(['1'] * 200_000)})",
    "lambda": "SELECT list_sum(list_transform(range(100000000), lambda x: x + 1)) AS x FROM data",
    "lambda_by_arrow": "SELECT list_transform([c0], x -> x + 1) AS x FROM data",
    "regular_expression": "SELECT regexp_matches(repeat('a', 30000), '(a*)*b') AS x, c0 FROM data",
    "similar_to": "SELECT c0 FROM data WHERE c1 SIMILAR TO '(a*)*b'",
    "many_wildcards": f"SELECT c0 FROM data WHERE repeat('a', 3000) LIKE '{'%a' * 1000}%b'",
    "levenshtein": "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000)) AS x FROM data",
    "hugeint_overflow": "SELECT 170141183460469231731687303715884105727::HUGEINT * 2 FROM data",
    "decimal_overflow": f"SELECT {'9' * 38}::DECIMAL(38, 0) * 10 AS x FROM data",
    "factorial": "SELECT factorial(1000000000) AS x FROM data",
    "bit_string": "SELECT length(bitstring('1', 2000000000)) AS x FROM data",
    "pivot": "PIVOT data ON c0 USING count(*)",
}

ATTACKS = READS | SETTINGS | UNREPEATABLE | BOMBS


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What attacks aim at: a file, a new file, and a port that must hear nothing."""
    folder: Path = tmp_path_factory.mktemp("owner")
    file = folder / "secret.csv"
    file.write_text(f"{SECRET}\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield {
            "file": file,
            "folder": folder,
            "out": folder / "stolen",
            "port": server.getsockname()[1],
            "server": server,
        }


def written(sql: str, places) -> str:
    return sql if len(sql) > 10_000 else sql.format(**places)


@pytest.mark.parametrize("sql", ATTACKS.values(), ids=ATTACKS.keys())
def test_language_refuses(sql, places):
    started = time.monotonic()
    with pytest.raises(QueryError) as caught:
        read_query(written(sql, places))
    assert time.monotonic() - started < 1.0
    assert len(str(caught.value)) < 400


def run(sql: str) -> tuple[QueryRows | QueryError, int]:
    """Run SQL that nobody checked; return what came of it and the child's peak memory."""
    numbers = InputColumn("float", np.arange(1000, dtype="<f8").tobytes())
    texts = InputColumn("text", ["ab"] * 1000)
    data = QueryData((numbers, texts), MEMORY_BYTES_MAX, CPU_SECONDS_MAX)
    child = QueryProcess(data, QueryTask(sql, 1, -1, 1 << 16))
    peak = 0
    deadline = time.monotonic() + WALL_SECONDS_MAX
    try:
        child.connection.sendall(child.request)
        while not child.hear_confinement(child.connection.recv(RECEIVE_BYTES)):
            pass
        child.connection.sendall(child.question)
        child.connection.settimeout(0.02)
        answer = None
        while answer is None:
            assert time.monotonic() < deadline, "the child outlived its bound on CPU time"
            peak = max(peak, peak_memory(child.process_id))
            try:
                answer = child.hear_rows(child.connection.recv(RECEIVE_BYTES))
            except TimeoutError:
                continue
        return answer, peak
    except QueryError as error:
        return error, peak
    finally:
        child.end()


def peak_memory(process_id: int) -> int:
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in status.splitlines() if "VmHWM" in line)


@pytest.mark.parametrize("sql", READS.values(), ids=READS.keys())
def test_child_reads_and_writes_no_file_and_opens_no_connection(sql, places):
    outcome, _ = run(written(sql, places))
    assert isinstance(outcome, QueryError)
    assert not places["out"].exists()
    with pytest.raises(BlockingIOError):
        places["server"].accept()


# Those that the child could answer, or obey; the others differ in their text alone.
OBEYED = (
    *(
        "pragma",
        "call",
        "set_access",
        "set_threads",
        "current_setting",
        "getenv",
        "duckdb_settings",
    ),
    *("information_schema", "summarize", "explain_analyze", "macro", "nextval", "insert", "drop"),
)


@pytest.mark.parametrize("sql", [SETTINGS[name] for name in OBEYED], ids=OBEYED)
def test_child_tells_no_setting_and_changes_none(sql, places):
    outcome, _ = run(written(sql, places))
    if isinstance(outcome, QueryRows):  # a query that is only odd, over the table alone
        assert "data" in sql
        assert outcome.rows <= 1000


EXPLODING = (
    *("printf", "format", "repeat_of_repeat", "lpad", "concatenation", "string_agg", "unnest"),
    *("list_of_numbers", "range", "cross_join", "recursion", "million_outputs", "parentheses"),
    *("subqueries", "lambda", "regular_expression", "many_wildcards", "bit_string"),
)


@pytest.mark.parametrize("sql", [BOMBS[name] for name in EXPLODING], ids=EXPLODING)
def test_child_stays_within_memory_and_time(sql, places):
    _, peak = run(written(sql, places))
    assert peak < MEMORY_BYTES_MAX + OF_A_CHILD


# Neither the language nor a lock of DuckDB is left: any statement, with any setting, is obeyed.
UNLOCKED = """
import sys
sys.path.insert(0, sys.argv[1])
from pnyx.query import child
from pnyx.query.frames import QueryRows
from pnyx.sandbox import Confinement, confinement

def obey(connection, task):
    for statement in connection.extract_statements(task.sql):
        found = connection.execute(statement).fetchall()
    return QueryRows(len(found), ())

child._SETTINGS = {"threads": "1", "async_threads": "0", "autoinstall_known_extensions": "false"}
child._lock_settings = lambda connection: None
child._run = obey
"""
DEFENCES = {
    "all": "",
    "filter": "confinement.landlock.restrict = lambda *_, **__: 0\n"
    "confinement.Limits.impose = lambda self: False\n",
    "landlock": "confinement._filter_calls = lambda *_: False\n"
    "confinement.Limits.impose = lambda self: False\n",
    "none": "nothing = Confinement(landlock_version=0, system_calls=False, limits=False)\n"
    "child.confine = lambda *_, **__: nothing\n",
}
AGAINST_FILES = (
    *("read_csv", "read_csv_password_file", "read_text", "read_blob", "glob", "sniff_csv"),
    *("replacement_scan_of_a_text", "query", "copy_from", "copy_to", "copy_query_to"),
    *("export_database", "attach_new_file"),
)


@pytest.fixture
def unlocked(monkeypatch):
    """Run SQL in a child without DuckDB's locks, that keeps some of the sandbox's defences."""

    def run_with(defences: str, sql: str, more: str = "") -> QueryRows | QueryError:
        script = f"{UNLOCKED}{DEFENCES[defences]}{more}\nchild.main()"
        monkeypatch.setattr(query_process, "_START", script)
        return run(sql)[0]

    return run_with


@pytest.mark.parametrize("name", AGAINST_FILES)
def test_sandbox_bars_files_when_duckdb_does_not(name, places, unlocked):
    sql = written(READS[name], places).replace("COPY data FROM", "COPY copied FROM")
    gained = {defences: gains(defences, sql, places["out"], unlocked) for defences in DEFENCES}
    assert gained == {"all": False, "filter": False, "landlock": False, "none": True}


def gains(defences, sql: str, out: Path, unlocked) -> bool:
    """Whether a statement reads anything, or leaves a file."""
    outcome = unlocked(defences, f"CREATE TABLE copied (a DOUBLE); {sql}")
    written_there = out.exists()
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    return written_there or (isinstance(outcome, QueryRows) and outcome.rows > 0)


def test_sandbox_bars_the_network_when_duckdb_does_not(tmp_path, unlocked):
    with socket.create_server(("127.0.0.1", 0)) as server:
        sql = (
            f"SET home_directory = '{tmp_path}'; SET extension_directory = '{tmp_path}'; "
            f"FORCE INSTALL spatial FROM 'http://127.0.0.1:{server.getsockname()[1]}'"
        )
        called = []
        listening = threading.Thread(target=hang_up_on_callers, args=(server, called))
        listening.start()
        for defences in ("all", "filter"):
            assert isinstance(unlocked(defences, sql), QueryError)
            assert not called
        assert isinstance(unlocked("none", sql), QueryError)  # it calls, and is not answered
        server.shutdown(socket.SHUT_RDWR)
        listening.join()
        assert called, "no attack"


def hang_up_on_callers(server: socket.socket, called: list[object]) -> None:
    with suppress(OSError):  # the server is shut down
        while True:
            caller, address = server.accept()
            called.append(address)
            caller.close()


TAKEN_OVER = {
    "socket": "socket.socket()",
    "unix_socket": "socket.socket(socket.AF_UNIX)",
    "thread": "threading.Thread(target=int).start()",
    "process": "os.fork()",
    "program": "os.execv('/bin/true', ['true'])",
    "signal": "os.kill(os.getppid(), 0)",
    "descriptor": "os.pipe()",
}


@pytest.mark.parametrize("act", TAKEN_OVER.values(), ids=TAKEN_OVER.keys())
@pytest.mark.parametrize("defences", ["all", "filter"])
def test_child_that_is_taken_over_is_ended_at_its_first_try(defences, act, unlocked):
    """As if an error in DuckDB ran an attacker's code."""
    more = f"import os, socket, threading\nchild._run = lambda *_: {act}\n"
    outcome = unlocked(defences, "", more)
    assert "asked the system for what no query needs" in str(outcome)


def test_memory_of_a_query_is_never_executable(unlocked):
    more = (
        "import mmap\n"
        "def run(*_):\n"
        "    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | {more})\n"
        "    return QueryRows(0, ())\n"
        "child._run = run\n"
    )
    private = more.replace("mmap.mmap(-1, 4096, ", "mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | 0x20, ")
    assert isinstance(unlocked("all", "", private.format(more=0)), QueryRows)
    outcome = unlocked("filter", "", private.format(more="mmap.PROT_EXEC"))
    assert isinstance(outcome, QueryError)


@pytest.mark.parametrize("defences", ["filter", "landlock", "none"])
def test_query_is_not_sent_where_the_sandbox_is_required_and_incomplete(defences, monkeypatch):
    script = f"{UNLOCKED}{DEFENCES[defences]}\nchild.main()"
    monkeypatch.setattr(query_process, "_START", script)
    for sandbox in ("require", "best"):
        column = InputColumn("int", bytes(8))
        data = QueryData((column,), MEMORY_BYTES_MAX, CPU_SECONDS_MAX)
        child = QueryProcess(data, QueryTask("", 1, -1, 1), sandbox)
        try:
            child.connection.sendall(child.request)
            received = child.connection.recv(RECEIVE_BYTES)
            if sandbox == "best":
                assert child.hear_confinement(received)
            else:
                with pytest.raises(QueryError, match=r"sandbox is reduced: .*; the query was not"):
                    child.hear_confinement(received)
            assert child.confinement is not None
            assert not child.confinement.full
        finally:
            child.end()


def test_child_knows_nothing_of_the_node(monkeypatch):
    """No variable of the environment, and no descriptor but its channel."""
    looking = (
        "import sys; sys.path.insert(0, sys.argv[1]); import os; from pnyx.query import child\n"
        "held = [int(name) for name in os.listdir('/proc/self/fd')]\n"
        "kinds = {os.readlink(f'/proc/self/fd/{n}').partition(':')[0] for n in held if n > 2 "
        "and os.path.exists(f'/proc/self/fd/{n}')}\n"
        "assert set(os.environ) <= {'OPENBLAS_NUM_THREADS', 'LC_CTYPE'}, os.environ\n"
        "assert not kinds, kinds\n"
        "assert os.getcwd() == '/'\n"
        "child.main()"
    )
    monkeypatch.setenv("PNYX_PASSPHRASE", "secret")
    monkeypatch.setattr(query_process, "_START", looking)
    with Path("/etc/hostname").open():
        outcome, _ = run("SELECT c0 FROM data")
    assert isinstance(outcome, QueryRows)


OPENINGS = [
    *("(", "f(", "CASE WHEN ", "NOT ", "- ", "CAST(", "(SELECT ", "a IN (", "(WITH t AS (", "row("),
    *("struct(", "array[", "[", "{", "x -> ", "a BETWEEN 1 AND ", "f() OVER (ORDER BY ", "map {"),
    *("FROM data, (", "FROM (", "a::INT(", "a::TIMESTAMP(", "INTERVAL ", "EXTRACT(", "f(DISTINCT "),
    *(
        "a.*LIMIT like (",
        "SELECT a.*LIMIT BIGINT(",
        "a.",
        "a LIKE ",
        "a IS ",
        "1 + (",
        "(1, ",
        "EXISTS (",
        "TRY_CAST(",
        "SELECT a::INT(SELECT ",
    ),
]


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("depth", [16, 1000])
def test_nothing_takes_long_to_parse(opening, depth):
    """Nested types and joins take the parser time exponential in their depth."""
    started = time.process_time()
    for start in ("SELECT ", "SELECT a FROM ", "SELECT a FROM data WHERE "):
        with suppress(QueryError):
            parse((start + opening * depth)[:8192])
    assert time.process_time() - started < 3.0


def test_limits_of_this_process_are_untouched():
    """Limits belong to the child: the node must go on opening files."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 100
