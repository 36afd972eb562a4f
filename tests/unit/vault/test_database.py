import stat
import types

import pytest
import sqlcipher3.dbapi2 as sqlcipher

from pnyx.errors import VaultError
from pnyx.vault import database as database_module
from pnyx.vault.chain import HashChain
from pnyx.vault.database import ANCHOR_NAME, DATABASE_NAME, Database

CREATE = "CREATE TABLE t (a INTEGER) STRICT"


def insert(database, values):
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (0)")
        connection.execute("DELETE FROM t")
        for value in values():
            connection.execute("INSERT INTO t VALUES (?)", (value,))


@pytest.fixture
def database(tmp_path, key):
    opened = Database.open(tmp_path / "v", key)
    with opened.transaction() as connection:
        connection.execute(CREATE)
    yield opened
    opened.close()


def test_a_transaction_survives_reopening(tmp_path, key, database):
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (7)")
    database.close()
    again = Database.open(tmp_path / "v", key)
    assert again.query("SELECT a FROM t") == [(7,)]
    again.close()


def test_an_exception_undoes_the_transaction(database):
    with pytest.raises(ZeroDivisionError):
        insert(database, lambda: [7, 8, 1 // 0])
    assert database.query("SELECT a FROM t") == []


def test_a_second_process_is_refused(tmp_path, key, database):
    with pytest.raises(VaultError, match="in use by another Pnyx process; stop that one first"):
        Database.open(tmp_path / "v", key)
    assert database.query("SELECT count(*) FROM t") == [(0,)]


def test_a_wrong_key_is_refused(tmp_path, key, database):
    database.close()
    with pytest.raises(VaultError, match="The key does not fit the vault"):
        Database.open(tmp_path / "v", bytes(32))
    Database.open(tmp_path / "v", key).close()


def test_a_key_of_another_length_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="32 bytes"):
        Database.open(tmp_path / "v", b"short")


def test_a_damaged_file_is_refused(tmp_path, key, database):
    database.close()
    (tmp_path / "v" / DATABASE_NAME).write_bytes(b"x" * 8192)
    with pytest.raises(VaultError, match="is damaged"):
        Database.open(tmp_path / "v", key)


def test_a_missing_database_is_refused(tmp_path, key, database):
    database.close()
    (tmp_path / "v" / DATABASE_NAME).unlink()
    with pytest.raises(VaultError, match=r"vault\.db is missing"):
        Database.open(tmp_path / "v", key)


def test_an_emptied_database_is_refused(tmp_path, key, database):
    database.close()
    (tmp_path / "v" / DATABASE_NAME).write_bytes(b"")
    with pytest.raises(VaultError, match=r"vault\.db is empty"):
        Database.open(tmp_path / "v", key)


def test_a_missing_anchor_is_refused(tmp_path, key, database):
    database.close()
    (tmp_path / "v" / ANCHOR_NAME).unlink()
    with pytest.raises(VaultError, match=r"vault\.anchor is missing"):
        Database.open(tmp_path / "v", key)


def test_a_creation_cut_short_goes_on(tmp_path, key):
    Database.open(tmp_path / "v", key).close()
    (tmp_path / "v" / ANCHOR_NAME).unlink()
    (tmp_path / "v" / DATABASE_NAME).unlink()
    anchor = database_module.Anchor(tmp_path / "v" / ANCHOR_NAME, key)
    anchor.create()
    anchor.close()
    Database.open(tmp_path / "v", key).close()


def test_one_torn_anchor_slot_is_harmless(tmp_path, key, database):
    database.close()
    path = tmp_path / "v" / ANCHOR_NAME
    content = bytearray(path.read_bytes())
    content[512:1024] = bytes(512)
    path.write_bytes(content)
    Database.open(tmp_path / "v", key).close()


def test_a_newer_schema_is_refused(tmp_path, key, database):
    with database.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(VaultError, match=r"written by a newer Pnyx .*update Pnyx"):
        Database.open(tmp_path / "v", key)


def test_a_full_disk_changes_nothing_and_work_goes_on(database):
    database._connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(VaultError, match="the disk is full; free some space"):
        insert(database, lambda: range(100_000))
    database._connection.execute("PRAGMA max_page_count = 100000")
    insert(database, lambda: [2])
    assert database.query("SELECT a FROM t") == [(2,)]


def test_a_disk_error_stops_the_vault_until_it_is_reopened(tmp_path, key, database, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pnyx.vault.anchor.os.fdatasync", fail)
    with (
        pytest.raises(VaultError, match=r"vault\.anchor cannot be written: input/output error"),
        database.transaction() as connection,
    ):
        connection.execute("INSERT INTO t VALUES (3)")
    monkeypatch.undo()
    with pytest.raises(VaultError, match="stopped after a disk error; open it again"):
        database.query("SELECT 1")
    database.close()
    again = Database.open(tmp_path / "v", key)
    assert again.query("SELECT a FROM t") == [(3,)]
    again.close()


def test_a_closed_vault_says_so(database):
    database.close()
    database.close()
    with pytest.raises(VaultError, match="is closed; open it again"):
        database.query("SELECT 1")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SQLITE_READONLY", "check that you own its files"),
        ("SQLITE_CANTOPEN", "check that you own its files"),
        ("SQLITE_IOERR", "check the disk"),
        ("SQLITE_LOCKED", "in use"),
    ],
)
def test_errors_of_the_system_are_worded(tmp_path, code, words):
    error = types.SimpleNamespace(sqlite_errorcode=getattr(sqlcipher, code) | 256)
    assert words in str(database_module._worded(error, tmp_path))


def test_a_bug_of_ours_is_not_disguised(database):
    with pytest.raises(sqlcipher.OperationalError):
        database.query("SELECT nonsense")


def test_a_directory_that_cannot_be_made_is_worded(tmp_path, key):
    (tmp_path / "file").write_text("")
    with pytest.raises(VaultError, match="cannot be used"):
        Database.open(tmp_path / "file" / "v", key)


def test_a_database_that_cannot_be_opened_is_worded(tmp_path, key, monkeypatch):
    Database.open(tmp_path / "v", key).close()
    (tmp_path / "v" / DATABASE_NAME).unlink()
    (tmp_path / "v" / DATABASE_NAME).mkdir()
    with pytest.raises(VaultError, match="check that you own its files"):
        Database.open(tmp_path / "v", key)


def test_an_anchor_that_cannot_be_used_is_worded(tmp_path, key):
    (tmp_path / "v" / ANCHOR_NAME).mkdir(parents=True)
    with pytest.raises(VaultError, match=r"vault\.anchor cannot be written"):
        Database.open(tmp_path / "v", key)


@pytest.mark.parametrize("place", ["anchor", "database"])
def test_a_vault_that_cannot_be_created_is_worded(tmp_path, key, monkeypatch, place):
    def fail(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"pnyx.vault.{place}.create_private_file", fail)
    with pytest.raises(VaultError, match=r"cannot be .*: no space left on device"):
        Database.open(tmp_path / "v", key)


def test_history_on_disk_is_compared_with_memory(tmp_path, key):
    """Entries that another hand added are no longer this process's history, however well made."""
    database = Database.open(tmp_path / "v", key)
    chains = [HashChain(database, "h", str, lambda _entry: None) for _ in range(2)]
    chains[0].append("a")
    with pytest.raises(VaultError, match=r"history of h .* was altered"):
        chains[1].verify()
    database.close()


def test_files_are_private(tmp_path, key, database):
    assert stat.S_IMODE((tmp_path / "v").stat().st_mode) == 0o700
    for path in (tmp_path / "v").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
