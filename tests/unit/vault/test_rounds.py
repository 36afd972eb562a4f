import errno
import os
import stat
from contextlib import suppress

import pytest

from pnyx.errors import VaultError
from pnyx.vault import RoundStore, rounds
from pnyx.vault.journal import Journal

STUDY = "ab" * 32


@pytest.fixture
def store(tmp_path, key):
    opened = RoundStore(tmp_path / "rounds", key)
    assert opened.load() == {}
    yield opened
    opened.close()


@pytest.fixture
def reopen(tmp_path, key, store):
    def reopened():
        store.close()
        again = RoundStore(tmp_path / "rounds", key)
        values = again.load()
        again.close()
        return values

    return reopened


def path(round_number, name="key"):
    return f"round/{STUDY}/{round_number}/{name}"


def test_what_was_applied_comes_back(store, reopen):
    store.apply([(path(1), b"one"), (path(2), b"two"), ("chain/record", bytes(4 * 2**20))])
    store.apply([(path(1), b"new"), (path(1, "share/3"), b"")])
    expected = {
        path(1): b"new",
        path(1, "share/3"): b"",
        path(2): b"two",
        "chain/record": bytes(4 * 2**20),
    }
    assert store.load() == expected
    store.apply([(path(2, "later"), b"x")])
    assert reopen() == expected | {path(2, "later"): b"x"}


def test_a_journal_longer_than_one_read_comes_back(store, reopen, monkeypatch):
    """Linux reads at most 2 GiB at once: less is no damage."""
    values = {f"chain/evidence/{at}": bytes((at,)) * 3000 for at in range(9)}
    store.apply(list(values.items()))
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read(fd, min(size, 1000), at))
    assert reopen() == values


@pytest.mark.parametrize("done", range(4))
def test_a_crash_leaves_the_first_puts_whatever_their_scopes(store, reopen, monkeypatch, done):
    """An answer is never there without the share that it was given by."""
    secret = f"secret/{STUDY}/1/late/7"
    puts = [(path(1, "stopped"), b"1"), (secret, b"share"), (path(1, "response"), b"I hold 7")]
    append, written = Journal.append, []

    def dying(journal, record):
        if len(written) == done:
            raise KeyboardInterrupt
        append(journal, record)
        written.append(record)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Journal, "append", dying)
        store.apply(puts)
    assert reopen() == dict(puts[:done])


@pytest.mark.parametrize("slash", ["", "/"])
def test_forgetting_a_round_removes_its_files(tmp_path, store, reopen, slash):
    store.apply([(path(1), b"a"), (path(2), b"b"), ("chain/r", b"c")])
    store.apply([("chain/s", b"d"), (path(1, "late"), b"e")], [f"round/{STUDY}/1{slash}"])
    assert not list(tmp_path.glob(f"rounds/round.{STUDY}.1.*"))
    assert reopen() == {path(2): b"b", "chain/r": b"c", "chain/s": b"d"}


def test_forgetting_a_study_removes_all_its_rounds(store, reopen):
    store.apply([(path(1), b"a"), (path(2), b"b"), ("round/cd/1/x", b"c")])
    store.apply([], [f"round/{STUDY}"])
    assert reopen() == {"round/cd/1/x": b"c"}


def test_forgetting_within_a_round_and_in_the_chain(store, reopen):
    store.apply(
        [(path(1, "a/1"), b"1"), (path(1, "b"), b"2"), ("chain/x/1", b"3"), ("chain/y", b"")]
    )
    store.apply([], [path(1, "a"), "chain/x"])
    assert reopen() == {path(1, "b"): b"2", "chain/y": b""}


def test_a_forget_ends_at_a_component(store):
    store.apply([(path(1), b"a"), (path(12), b"b")])
    with pytest.raises(ValueError, match="within a component"):
        store.apply([], [f"round/{STUDY}/1"])
    store.apply([], [f"round/{STUDY}/1/"])
    assert store.load() == {path(12): b"b"}


def test_a_round_can_be_written_again_after_it_was_forgotten(store, reopen):
    store.apply([(path(1), b"a")])
    store.apply([(path(1), b"b")], [f"round/{STUDY}/1"])
    store.apply([(path(1), b"c")])
    assert reopen() == {path(1): b"c"}


@pytest.mark.parametrize(
    "key",
    [
        "",
        "round",
        "chain",
        "chain/",
        "round/a/1",
        "round/a/1/",
        "round/../1/x",
        "a//b/c",
        "é/a/b/c",
    ],
)
def test_keys_are_checked(store, key):
    with pytest.raises(ValueError, match="is not a key"):
        store.apply([(key, b"")])


def test_values_are_bounded(store, reopen):
    with pytest.raises(TypeError, match="is not bytes"):
        store.apply([("chain/x", "text")])
    assert reopen() == {}


def test_long_values_are_refused(store):
    with pytest.raises(ValueError, match="more than"):
        store.apply([("chain/x", bytes(rounds.VALUE_BYTES_MAX + 1))])


def test_the_chain_is_rewritten_when_most_of_it_is_old(tmp_path, store, reopen, monkeypatch):
    monkeypatch.setattr(rounds, "COMPACTION_BYTES_MIN", 100_000)
    monkeypatch.setattr(rounds, "_BATCH_BYTES", 30_000)
    for number in range(40):
        store.apply([(f"chain/model{number % 3}", bytes([number]) * 20_000)])
    assert (tmp_path / "rounds/chain.journal").stat().st_size < 300_000
    expected = {f"chain/model{n % 3}": bytes([n]) * 20_000 for n in (37, 38, 39)}
    assert store.load() == expected
    assert reopen() == expected


def test_a_second_process_is_refused(tmp_path, key, store):
    with pytest.raises(VaultError, match="in use by another Pnyx process; stop that one first"):
        RoundStore(tmp_path / "rounds", key)


def test_another_nodes_key_is_refused(tmp_path, store):
    store.apply([("chain/x", b"")])
    store.close()
    other = RoundStore(tmp_path / "rounds", bytes(32))
    with pytest.raises(VaultError, match="damaged, or of another node"):
        other.load()
    other.close()


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(VaultError, match="is closed"):
        store.apply([("chain/x", b"")])


@pytest.mark.parametrize("torn_bytes", [1, 3, 20, 45])
def test_a_torn_last_record_is_dropped(tmp_path, store, reopen, torn_bytes):
    """A crash cuts the record that was being written: it was never acknowledged."""
    store.apply([(path(1), b"a")])
    journal = tmp_path / f"rounds/round.{STUDY}.1.journal"
    before = journal.stat().st_size
    header = journal.read_bytes()[:64]
    store.apply([(path(1, "b"), b"b")])
    content = journal.read_bytes()
    journal.write_bytes(header + content[64 : before + torn_bytes])
    assert reopen() == {path(1): b"a"}
    assert journal.stat().st_size == before


def test_an_unacknowledged_whole_record_is_kept(tmp_path, store, reopen):
    store.apply([(path(1), b"a")])
    journal = tmp_path / f"rounds/round.{STUDY}.1.journal"
    header = journal.read_bytes()[:64]
    store.apply([(path(1, "b"), b"b")])
    journal.write_bytes(header + journal.read_bytes()[64:])
    assert reopen() == {path(1): b"a", path(1, "b"): b"b"}


@pytest.mark.parametrize("missing", ["key", "journal"])
def test_a_missing_file_is_refused(tmp_path, store, reopen, missing):
    store.apply([(path(1), b"a")])
    (tmp_path / f"rounds/round.{STUDY}.1.{missing}").unlink()
    with pytest.raises(VaultError, match="is missing"):
        reopen()


def test_a_creation_cut_short_is_cleared_away(tmp_path, store, reopen):
    store.apply([(path(1), b"a"), (path(2), b"b")])
    directory = tmp_path / "rounds"
    empty = (directory / f"round.{STUDY}.1.journal").read_bytes()[:64]
    (directory / f"round.{STUDY}.3.journal").write_bytes(empty)
    (directory / f"round.{STUDY}.4.journal").write_bytes(b"")
    (directory / f"round.{STUDY}.3.key.new").write_bytes(b"x")
    assert set(reopen()) == {path(1), path(2)}
    assert not list(directory.glob(f"round.{STUDY}.[34].*"))


def test_a_forget_cut_short_is_finished(tmp_path, store, reopen):
    store.apply([(path(1), b"a"), (path(2), b"b")])
    key_file = tmp_path / f"rounds/round.{STUDY}.1.key"
    key_file.write_bytes(bytes(key_file.stat().st_size))
    assert reopen() == {path(2): b"b"}
    assert not list(tmp_path.glob(f"rounds/round.{STUDY}.1.*"))


def test_a_forgotten_round_cannot_be_read_from_a_copy_of_its_journal(tmp_path, store, key):
    store.apply([(path(1), b"a")])
    journal = tmp_path / f"rounds/round.{STUDY}.1.journal"
    key_file = tmp_path / f"rounds/round.{STUDY}.1.key"
    copy = journal.read_bytes()
    held_open = os.open(key_file, os.O_RDONLY)
    store.apply([], [f"round/{STUDY}/1"])
    assert not any(os.read(held_open, 100))
    os.close(held_open)
    journal.write_bytes(copy)
    store.close()
    again = RoundStore(tmp_path / "rounds", key)
    with pytest.raises(VaultError, match="key file is missing"):
        again.load()
    again.close()


def test_a_full_disk_loses_nothing_and_work_goes_on(store, reopen, monkeypatch):
    store.apply([(path(1), b"a")])
    real = os.pwrite

    def half(descriptor, data, offset):
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:50], offset)

    monkeypatch.setattr("pnyx.vault.files.os.pwrite", half)
    with pytest.raises(VaultError, match="no space left on device; free some space"):
        store.apply([(path(1, "b"), b"b" * 60)])
    monkeypatch.undo()
    store.apply([(path(1, "c"), b"c")])
    assert reopen() == {path(1): b"a", path(1, "c"): b"c"}


def test_a_failed_flush_stops_the_store(store, reopen, monkeypatch):
    store.apply([(path(1), b"a")])

    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pnyx.vault.journal.os.fdatasync", fail)
    with pytest.raises(VaultError, match="input/output error"):
        store.apply([(path(1, "b"), b"b")])
    monkeypatch.undo()
    with pytest.raises(VaultError, match="stopped after a disk error; restart the node"):
        store.apply([(path(1, "c"), b"c")])
    assert reopen() == {path(1): b"a", path(1, "b"): b"b"}


def test_errors_of_the_system_are_worded(tmp_path, key, store, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pnyx.vault.journal.create_private_file", fail)
    with pytest.raises(VaultError, match="read-only file system"):
        store.apply([(path(1), b"a")])
    (tmp_path / "not-a-directory").write_text("")
    with pytest.raises(VaultError, match="cannot be used"):
        RoundStore(tmp_path / "not-a-directory" / "rounds", key)
    (tmp_path / "odd" / "lock").mkdir(parents=True)
    with pytest.raises(VaultError, match="cannot be written"):
        RoundStore(tmp_path / "odd", key)


@pytest.mark.parametrize("call", ["os.pread", "os.open"])
def test_a_disk_that_cannot_be_read_is_worded(tmp_path, key, store, monkeypatch, call):
    store.apply([(path(1), b"a")])
    store.close()
    again = RoundStore(tmp_path / "rounds", key)

    def fail(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(f"pnyx.vault.journal.{call}", fail)
    with pytest.raises(VaultError, match="input/output error; free some space or check the disk"):
        again.load()
    with pytest.raises(VaultError, match="input/output error"):
        again.apply([(path(2), b"b")])
    monkeypatch.undo()
    assert again.load() == {path(1): b"a"}
    again.close()


def test_a_round_that_cannot_be_erased_is_worded(store, reopen, monkeypatch):
    store.apply([(path(1), b"a")])

    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pnyx.vault.journal.os.fsync", fail)
    with pytest.raises(VaultError, match="input/output error"):
        store.apply([], [f"round/{STUDY}/1"])
    monkeypatch.undo()
    assert reopen() == {}  # the key was overwritten before the flush failed


def test_a_chain_that_cannot_be_rewritten_stays(store, reopen, monkeypatch):
    store.apply([("chain/x", bytes(1000)), ("chain/y", b"y")])
    monkeypatch.setattr(rounds, "COMPACTION_BYTES_MIN", 100)

    def fail(_path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pnyx.vault.journal.create_private_file", fail)
    with pytest.raises(VaultError, match="no space left on device"):
        store.apply([("chain/x", b"x")])
    monkeypatch.undo()
    assert reopen() == {"chain/x": b"x", "chain/y": b"y"}


def test_files_are_private_and_tell_nothing(tmp_path, store):
    store.apply([(path(1, "canary-name"), b"canary-value"), ("chain/canary-name", b"canary-value")])
    for file in (tmp_path / "rounds").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"canary" not in file.read_bytes()
    assert stat.S_IMODE((tmp_path / "rounds").stat().st_mode) == 0o700
