"""Files of parcels: private, exact, flushed before they count, and bounded."""

import errno
import os
import stat

import pytest
from tests.support.parcels import content, cut

from pnyx.errors import VaultError
from pnyx.node import parcel_store
from pnyx.node.parcel_store import FileParcelStore

NAME, OTHER = b"n" * 32, b"o" * 32


@pytest.fixture
def store(tmp_path):
    opened = FileParcelStore(tmp_path / "parcels")
    opened.retain({})
    return opened


def write(store, name, data):
    for index, chunk in enumerate(cut(data)):
        store.write(name, index, chunk)


def test_files_are_private_and_of_the_exact_size(store, tmp_path):
    umask = os.umask(0)
    try:
        data = content(3, 77)
        write(store, NAME, data)
        (part,) = (tmp_path / "parcels").iterdir()
        assert part.suffix == ".part"
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        store.seal(NAME, len(data))
    finally:
        os.umask(umask)
    (sealed,) = (tmp_path / "parcels").iterdir()
    assert sealed.name == f"{NAME.hex()}.parcel"
    assert sealed.read_bytes() == data
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    assert stat.S_IMODE(sealed.parent.stat().st_mode) == 0o700


def test_data_is_flushed_before_the_name_says_so(store, monkeypatch):
    done = []
    for name in ("fsync", "rename"):
        call = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, call=call: (done.append(name), call(*args))[1]
        )
    data = content(2)
    write(store, NAME, data)
    assert done == []
    store.seal(NAME, len(data))
    assert done == ["fsync", "rename", "fsync"], "data, then the name, then the directory"


def test_data_is_flushed_on_the_way(store, monkeypatch):
    flushes = []
    monkeypatch.setattr(os, "fdatasync", flushes.append)
    write(store, NAME, content(100))
    assert len(flushes) == 100 // 32


def test_what_a_crash_leaves_is_removed_at_the_start(store, tmp_path):
    data = content(2)
    write(store, NAME, data)
    write(store, OTHER, data)
    store.seal(OTHER, len(data))
    notes = tmp_path / "parcels" / "notes.txt"
    notes.write_text("of the owner")
    (tmp_path / "parcels" / "xyz.parcel").write_text("not a name")
    again = FileParcelStore(tmp_path / "parcels")
    assert again.retain({OTHER: len(data)}) == frozenset()
    assert set(notes.parent.iterdir()) == {notes, notes.with_name(f"{OTHER.hex()}.parcel")}
    assert again.bytes_stored == len(data)


def test_the_total_is_bounded(tmp_path):
    data = content(2)
    store = FileParcelStore(tmp_path / "parcels", bytes_max=2 * len(data))
    store.retain({})
    write(store, NAME, data)
    store.seal(NAME, len(data))
    write(store, OTHER, data)
    assert store.bytes_stored == 2 * len(data)
    store.write(OTHER, 1, cut(data)[1])
    assert store.bytes_stored == 2 * len(data), "a chunk that is written again counts once"
    with pytest.raises(VaultError, match=r"more than 264144 bytes; start the node again"):
        store.write(b"p" * 32, 0, b"x")
    store.remove(NAME)
    assert store.bytes_stored == len(data)
    store.remove(OTHER)
    assert store.bytes_stored == 0
    write(store, NAME, data)


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename"])
def test_a_disk_that_fails_ends_the_node_with_a_sentence(store, monkeypatch, call):
    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    data = content(2)
    if call in ("fsync", "rename"):
        write(store, NAME, data)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(VaultError, match="cannot be read or written: no space left on device"):
        write(store, NAME, data) if call in ("open", "pwrite") else store.seal(NAME, len(data))


def test_other_failures_are_told_as_well(store, tmp_path, monkeypatch):
    data = content(2)
    write(store, NAME, data)
    store.seal(NAME, len(data))

    def fail(*_args, **_options):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        with pytest.raises(VaultError, match="input/output error"):
            store.read(NAME, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(VaultError, match="input/output error"):
            store.read(NAME, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        with pytest.raises(VaultError, match="input/output error"):
            store.remove(NAME)
    (tmp_path / "parcels" / "folder.part").mkdir()
    with pytest.raises(VaultError, match="cannot be read or written"):
        store.retain({})


def test_a_file_that_was_tampered_with_while_the_node_ran(store, tmp_path):
    data = content(2)
    for name in (NAME, OTHER):
        write(store, name, data)
        store.seal(name, len(data))
    os.truncate(tmp_path / "parcels" / f"{NAME.hex()}.parcel", len(data) - 1)
    (tmp_path / "parcels" / f"{OTHER.hex()}.parcel").unlink()
    assert store.read(OTHER, 0) is None
    for name in (NAME, OTHER):
        with pytest.raises(VaultError, match="removed or cut short"):
            list(store.chunks(name))


def test_the_bound_leaves_room_for_what_the_protocol_takes():
    from pnyx.protocol.params import DEFAULT_PARAMS

    assert 2 * DEFAULT_PARAMS.parcels_bytes_max <= parcel_store.PARCELS_BYTES_MAX
