"""Every file that a command reads, missing, damaged or of another kind; every place it writes to.

Each case is one sentence and exit status 1, and changes nothing below the owner's directory.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import save
from tests.support.commands import (
    CATEGORY,
    COLUMNS,
    contents,
    done,
    full_disk,
    pnyx,
    refused_here,
    write_study,
)
from tests.support.place import Place

from pnyx.demo.activity import LABEL_COLUMN, owner_table
from pnyx.learning.programs import encode_program, mlp
from pnyx.node.authority import AuthorityFiles, create_authority, open_authority
from pnyx.node.enrolment import REQUEST_NAME, make_request
from pnyx.node.keystore import KeyFile

BROKEN = ("missing", "directory", "empty", "binary", "deep", "endless", "json", "text")
DAMAGE = ("empty", "halved", "begun wrong", "a directory")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("place"))
    done(*made.import_data())
    return made


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of files that are no file of ours."""
    root = tmp_path_factory.mktemp("broken")
    (root / "directory").mkdir()
    (root / "empty").touch()
    (root / "binary").write_bytes(bytes(range(256)) * 4)
    (root / "deep").write_text("x = " + "[" * 8000)
    (root / "json").write_bytes(b'{"pnyx_network":"\xff","body":"","signature":""}')
    (root / "text").write_text("One of these days.\n")
    (root / "endless").symlink_to("/dev/zero")
    for path in root.iterdir():
        if path.is_file():
            path.chmod(0o600)
    return root


@pytest.fixture(autouse=True)
def unchanged(place: Place) -> Iterator[None]:
    before = contents(place.root)
    yield
    after = contents(place.root)
    assert {path.name for path in before.keys() | after if before.get(path) != after.get(path)} == (
        set()
    )


def reading(place: Place, file: Path) -> list[tuple[object, ...]]:
    """Every command that reads a file, with this one in its place."""
    out = ("--out", place.root / "new")
    return [
        ("data", "import", place.table, "--mapping", file, *place.key),
        ("data", "query", file, "--category", CATEGORY, *place.key),
        ("data", "list", *place.here, "--key-file", file),
        ("node", "install", file, *place.here),
        ("node", "install", place.network, "--certificate", file, *place.here),
        ("study", "new", place.root / "new", "--mapping", file),
        ("study", "check", file),
        ("study", "verify", file, "--network", place.network),
        ("study", "verify", place.network, "--network", file),
        ("study", "report", *out, "--bundle", file, "--network", place.network),
        ("study", "report", *out, "--bundle", place.network, "--network", file),
        ("authority", "issue", file, "--person", "Ada", *out, *place.desk),
    ]


@pytest.mark.parametrize("kind", BROKEN)
def test_file_of_another_kind(place: Place, broken: Path, kind: str) -> None:
    for command in reading(place, broken / kind):
        if kind == "endless" and "--network" in command:
            continue  # bounded at 256 MB, which takes a second
        assert kind in refused_here(*command) or kind not in ("missing", "directory"), command


def test_files_that_this_user_may_not_read(
    place: Place, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence by who reads them, not a page about how the command is used."""
    asked: list[object] = []

    def never(path: object, *_mode: object, **_options: object) -> bool:
        asked.append(path)
        return False

    monkeypatch.setattr(os, "access", never)
    for command in reading(place, broken / "text"):
        refused_here(*command)
    refused_here("data", "list", *place.here, "--key-file", broken / "text")
    assert not asked, "root may read everything, so a test by permissions would test nothing"


@pytest.mark.parametrize("kind", BROKEN)
def test_table_of_another_kind(place: Place, broken: Path, tmp_path: Path, kind: str) -> None:
    for suffix in (".csv", ".parquet"):
        table = tmp_path / f"table{suffix}"
        table.symlink_to(broken / kind)
        assert "table" in refused_here(*place.import_data(table))
    assert "neither .csv nor .parquet" in refused_here(*place.import_data(broken / kind))


def test_damaged_parquet(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    # Not read by pyarrow from the CSV file: that leaves a pipe that no later fork may close.
    table = owner_table(1).select([*COLUMNS, LABEL_COLUMN])
    table = table.combine_chunks().replace_schema_metadata(None)
    pyarrow.parquet.write_table(table, path, write_page_checksum=True)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:middle] + bytes(9) + whole[middle + 9 :], whole[9:]):
        path.write_bytes(content)
        assert "export it again" in refused_here(*place.import_data(path))


@pytest.mark.parametrize("kind", BROKEN)
def test_model_files_of_another_kind(broken: Path, tmp_path: Path, kind: str) -> None:
    study = tmp_path / "study.toml"
    write_study(study, 1, 5)
    text = study.read_text()
    (tmp_path / "program.json").write_bytes(encode_program(mlp((12, 8, 6))))
    table = text[text.index("[model]") : text.index("[training]")]
    for model in (
        f'program = "{broken / kind}"',
        f'program = "program.json"\nweights = "{broken / kind}"',
    ):
        study.write_text(text.replace(table, f"[model]\n{model}\n"))
        if kind != "endless" or "weights" not in model:  # bounded at 40 MB
            assert str(broken / kind) in refused_here("study", "check", study)


def test_weights_cut_short(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    write_study(study, 1, 5)
    text = study.read_text()
    table = text[text.index("[model]") : text.index("[training]")]
    program = mlp((12, 8, 6))
    (tmp_path / "p.json").write_bytes(encode_program(program))
    study.write_text(
        text.replace(table, '[model]\nprogram = "p.json"\nweights = "w.safetensors"\n')
    )
    arrays = {each.name: np.zeros(each.shape, np.float32) for each in program.parameters}
    whole = save(arrays)
    for content in (whole[:-1], whole[:20], save({})):
        (tmp_path / "w.safetensors").write_bytes(content)
        assert "w.safetensors" in refused_here("study", "check", study)


@pytest.mark.parametrize("where", ["directory", "missing/new", "empty/new", "pipe"])
def test_place_that_cannot_be_written(place: Place, broken: Path, where: str) -> None:
    path = broken / where
    if where == "pipe" and not path.exists():
        os.mkfifo(path)
    out = ("--out", path)
    request = place.layout.root / REQUEST_NAME
    report = ("study", "report", "--bundle", place.network, "--network", place.network)
    for command in (
        ("data", "export", CATEGORY, path, *place.key),
        ("study", "new", path),
        (*report, *out),
        ("authority", "issue", request, "--person", "Ada", *out, *place.desk),
        ("authority", "renew", place.node_digits, *out, *place.desk),
        ("authority", "publish", path, *place.desk),
        ("demo", "--report", path),
    ):
        assert str(path) in refused_here(*command), command
    if where != "directory":
        (broken / "kept").write_text("")
        assert "--keep" in refused_here("demo", "--keep", broken / "empty")


def test_full_disk(place: Place, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    request = place.layout.root / REQUEST_NAME
    new, key = tmp_path / "new", ("--key-file", tmp_path / "new.key")
    before = contents(tmp_path)
    for command in (
        ("study", "new", study),
        ("node", "init", "--dir", new, *key),
        ("node", "install", place.network, "--certificate", place.certificate, *place.here),
        ("authority", "init", "others", "--dir", new, *key),
        ("authority", "issue", request, "--person", "Ada", "--out", new, *place.desk),
        ("authority", "revoke", place.node_digits, *place.desk),
        ("authority", "publish", new, *place.desk),
        ("consent", "policy", "--add", "accept", *place.here),
        ("data", "example", new / "in" / "there"),
    ):
        with full_disk():
            said = refused_here(*command)
        assert "file too large" in said.lower(), command
        assert contents(tmp_path) == before, command


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_of_a_node(place: Place, damage: str) -> None:
    root = place.layout.root
    listing = ("data", "list", *place.key)
    for path in (
        place.layout.keystore,
        place.unlocking.path,
        place.layout.vault / "vault.db",
        place.layout.vault / "vault.anchor",
    ):
        assert path.name in said_of_damaged(path, damage, listing) or path.name == "vault.db"
    for name in ("network.json", "certificate.pem", REQUEST_NAME):
        said_of_damaged(
            root / name, damage, ("node", "install", root / "network.json", *place.here)
        )


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_of_an_authority(place: Place, damage: str) -> None:
    publish = ("authority", "publish", place.root / "new", *place.desk)
    for name in ("keystore.json", "authority.pem", "enrolments.jsonl", "census.bin"):
        assert name in said_of_damaged(place.root / "authority" / name, damage, publish)


def said_of_damaged(path: Path, damage: str, command: tuple[object, ...]) -> str:
    whole = path.read_bytes()
    path.unlink()
    try:
        match damage:
            case "empty":
                path.touch(0o600)
            case "halved":
                path.write_bytes(whole[: len(whole) // 2])
            case "begun wrong":
                path.write_bytes(bytes([whole[0] ^ 0xFF]) * 600 + whole[600:])
            case "a directory":
                path.mkdir(0o700)
        if path.is_file():
            path.chmod(0o600)
        before = contents(path.parent)
        said = refused_here(*command)
        assert contents(path.parent) == before
        return said
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(whole)
        path.chmod(0o600)


def test_files_of_another_network(place: Place, tmp_path: Path) -> None:
    files, key = AuthorityFiles(tmp_path / "authority"), KeyFile(tmp_path / "key")
    create_authority(files, key, "others", now=place.now)
    with open_authority(files, key) as desk:
        for number in range(1, 7):
            request = make_request(bytes([number]) * 32, "127.0.0.1", 1)
            foreign = desk.issue(request, f"Person {number}", now=place.now)
        desk.publish(tmp_path / "network.json", now=place.now)
    (tmp_path / "foreign.pem").write_bytes(foreign)
    install = ("node", "install", *place.here)
    said = refused_here(*install, place.network, "--certificate", tmp_path / "foreign.pem")
    assert "not signed by this network's authority" in said
    assert "not signed by this" in refused_here(*install, tmp_path / "network.json")
    neither = (tmp_path / "network.json", "--certificate", tmp_path / "foreign.pem")
    assert "belongs to another node" in refused_here(*install, *neither)


def test_network_file_of_another_version(place: Place, tmp_path: Path) -> None:
    later = tmp_path / "network.json"
    content = json.loads(place.network.read_bytes())
    for change in ({"checkpoint": ""}, {"body": "k2E="}, {"signature": 7}):
        later.write_text(json.dumps(content | change))
        assert "update Pnyx" in refused_here("node", "install", later, *place.here)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("data", "show", "a\x1b[31m\nb"), "no collection"),
        (("data", "export", "none", "/tmp/none"), "no collection"),
        (("consent", "policy", "--epsilon-max", "1"), "give --add"),
        (("consent", "policy", "--add", "ask", "--purpose", ""), "1 to 200 characters"),
    ],
)
def test_arguments_that_fit_nothing(place: Place, command: tuple[str, ...], said: str) -> None:
    here = place.key if command[0] == "data" else place.here
    assert said in refused_here(*command, *here)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("revoke", "zz"), "0 enrolled nodes"),
        (("renew", "", "--out", "new"), "7 enrolled nodes"),
        (("publish", "new", "--corrupted", "2"), "0.05 means 5 %"),
        (("init", "again"), "exists already"),
        (("init", "a\nb"), "printable"),
    ],
)
def test_authority_arguments(
    place: Place, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(place.root)
    assert said in refused_here("authority", *command, *place.desk)


def test_publishing_says_when_a_network_is_too_small_for_what_it_fears(
    place: Place, tmp_path: Path
) -> None:
    publish = ("authority", "publish", tmp_path / "new.json", "--json", "--dir")
    desk = tmp_path / "authority"
    shutil.copytree(place.root / "authority", desk)
    bold = pnyx(*publish, desk, *place.desk[2:])
    found = json.loads(bold.stdout)
    assert (found["alpha_met"], found["exposure_probability"]) == (True, 0.0)
    assert found["committee"]["size"] == 6
    assert "Beware" not in bold.stderr
    wary = pnyx(*publish, desk, *place.desk[2:], "--corrupted", 0.5)
    found = json.loads(wary.stdout)
    assert not found["alpha_met"]
    assert found["exposure_probability"] > 0.9
    assert "Beware: With 4 nodes of the network corrupted" in wary.stderr
    assert "each owner's decision." in wary.stderr


def test_commands_without_a_node_or_an_authority(place: Place, tmp_path: Path) -> None:
    empty = ("--dir", tmp_path)
    unlocked = (*empty, "--key-file", place.unlocking.path)
    for command in (
        ("node", "install", place.network, *empty),
        ("node", "run", *unlocked),
        ("node", "status", *empty),
        ("study", "propose", place.mapping, *empty),
        ("study", "report", "4f", "--out", tmp_path / "new", *empty),
        ("data", "list", *unlocked),
        ("data", "ledger", *unlocked),
        ("consent", "list", *unlocked),
        ("authority", "list", *empty),
        ("authority", "publish", tmp_path / "new", *unlocked),
    ):
        said = refused_here(*command)
        assert any(hint in said for hint in ("init", "node run")), command
    assert list(tmp_path.iterdir()) == []
