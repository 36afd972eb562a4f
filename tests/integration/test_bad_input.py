"""Every way in which an owner can go wrong ends in one sentence, exit status 1, nothing changed."""

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.commands import (
    CATEGORY,
    COLUMNS,
    RunningNode,
    contents,
    done,
    environment,
    refused,
    refused_here,
    write_study,
)
from tests.support.place import Place

from pnyx.node.control import NodeStatus, Propose, Status, StudySummary, call
from pnyx.node.proposal import read_proposal


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def running(place: Place) -> Iterator[RunningNode]:
    node = RunningNode(place.layout.root, "--key-file", place.unlocking.path)
    try:
        node.await_started()
        yield node
    finally:
        assert node.interrupt() == 0


# --- a node that does not run yet ---------------------------------------------------------------


def test_wrong_passphrase(tmp_path: Path) -> None:
    done("node", "init", "--dir", tmp_path / "n")
    listing = ("data", "list", "--dir", tmp_path / "n")
    assert "passphrase is wrong" in refused(*listing, passphrase="wrong")
    assert "passphrase is wrong" in refused("node", "run", *listing[2:], passphrase="wrong")
    assert "empty" in refused(*listing, passphrase="")


def test_no_terminal_to_ask_for_the_passphrase(place: Place) -> None:
    command = [sys.executable, "-m", "pnyx.cli", "data", "list", "--dir", str(place.layout.root)]
    surroundings = environment("")
    del surroundings["PNYX_PASSPHRASE"]
    finished = subprocess.run(
        command, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert finished.returncode == 1
    assert "no terminal" in finished.stderr


def test_key_file_and_keyring_together(place: Place) -> None:
    assert "not both" in refused_here("data", "list", *place.key, "--keyring")


def test_wrong_kind_of_unlocking(place: Place) -> None:
    assert "key-file" in refused_here("data", "list", *place.here)


def test_creating_a_node_twice(place: Place) -> None:
    before = contents(place.root)
    assert "exists already" in refused_here("node", "init", *place.key)
    assert contents(place.root) == before


def test_no_node_there(tmp_path: Path) -> None:
    nowhere = ("--dir", tmp_path / "nowhere")
    assert "pnyx node init" in refused("node", "run", *nowhere)
    assert "is missing" in refused("data", "list", *nowhere)
    assert not (tmp_path / "nowhere").exists()


def test_expired_network_file(place: Place) -> None:
    before = contents(place.root)
    assert "expired" in refused_here("node", "install", place.expired_network, *place.here)
    assert contents(place.root) == before


def test_certificate_that_is_none(place: Place, tmp_path: Path) -> None:
    before = contents(place.root)
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    said = refused_here("node", "install", place.network, "--certificate", bad, *place.here)
    assert "not readable X.509" in said
    assert contents(place.root) == before


def test_node_without_certificate(tmp_path: Path) -> None:
    key = ("--dir", tmp_path / "n", "--key-file", tmp_path / "key")
    done("node", "init", *key)
    assert "network file" in refused("node", "run", *key)


def test_unknown_network(place: Place) -> None:
    file = place.layout.root / "network.json"
    content = file.read_bytes()
    try:
        file.write_bytes(place.expired_network.read_bytes())
        assert "expired" in refused("node", "run", *place.key)
        file.write_bytes(b"{}")
        assert "not a valid network file" in refused("node", "run", *place.key)
        file.unlink()
        assert "ask your network's authority" in refused("node", "run", *place.key)
    finally:
        file.write_bytes(content)


def test_misspelt_setting(place: Place) -> None:
    config = place.layout.config
    content = config.read_text()
    try:
        config.write_text(content.replace("port =", "prot ="))
        assert "did you mean port" in refused("node", "run", *place.key)
    finally:
        config.write_text(content)


def test_port_in_use(place: Place) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", place.port))
        squatter.listen()
        said = refused("node", "run", *place.key)
    assert str(place.port) in said
    assert not (place.layout.root / "control.sock").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace(COLUMNS[0], "renamed", 1), COLUMNS[0]),
        (lambda text: text.replace("Walking", "Flying", 1), "Flying"),
        (lambda text: text[: len(text) // 2].rsplit(",", 1)[0] + "\n", "line"),
        (lambda text: "", "empty"),
    ],
)
def test_bad_csv(place: Place, tmp_path: Path, change, expected: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(change(place.table.read_text()))
    said = refused_here(*place.import_data(bad))
    assert expected in said
    assert json.loads(done("data", "list", *place.key, "--json")) == []


def test_missing_table_and_mapping(place: Place, tmp_path: Path) -> None:
    assert "no such file" in refused_here(*place.import_data(tmp_path / "none.csv")).lower()
    lost = ("data", "import", place.table, "--mapping", tmp_path / "none.toml", *place.key)
    assert "no such file" in refused_here(*lost)


def test_full_disk(place: Place, tmp_path: Path) -> None:
    """A limit on file size stands for the disk: the vault cannot grow."""
    heading, *rows = place.table.read_text().splitlines()
    large = tmp_path / "large.csv"
    large.write_text("\n".join([heading, *rows * 20]) + "\n")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))

    finished = subprocess.run(
        [sys.executable, "-m", "pnyx.cli", *map(str, place.import_data(large))],
        env=environment("") | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert finished.returncode == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    assert "disk" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    assert json.loads(done("data", "list", *place.key, "--json")) == []


def test_full_disk_under_the_output() -> None:
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "pnyx.cli", "security", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert finished.returncode == 1
    assert "no space" in finished.stderr.lower()
    assert len(finished.stderr.strip().splitlines()) == 1


def test_query_on_ones_own_data(place: Place, tmp_path: Path) -> None:
    done(*place.import_data(place.table))
    file = tmp_path / "features.sql"
    column = COLUMNS[0]
    file.write_text(f'SELECT avg("{column}") AS mean, count(*) AS n FROM data')
    asking = ("data", "query", file, "--category", CATEGORY, *place.key)
    found = json.loads(done(*asking, "--json"))
    assert (found["rows"], found["columns"]) == (1, ["mean", "n"])
    assert "mean" in done(*asking)
    for text, expected in (
        ("SELECT nothing FROM data", "no column nothing; it has"),
        ("SELECT a FROM data; DROP TABLE data", "; is not allowed"),
        (f'SELECT "{column}" AS a FROM data WHERE sqrt(', "cannot be read near"),
        ("SELECT read_csv('/etc/passwd') AS a FROM data", "read_csv is not allowed"),
    ):
        file.write_text(text)
        assert expected in refused(*asking)
    assert "no such file" in refused("data", "query", tmp_path / "none", *asking[3:]).lower()


def test_node_not_running(place: Place) -> None:
    for command in (("node", "status"), ("node", "stop"), ("study", "list")):
        assert "pnyx node run" in refused_here(*command, *place.here)
    assert "pnyx node run" in refused_here("consent", "decline", "4f", *place.here)


def test_withdrawing_without_a_decision(place: Place) -> None:
    assert "pnyx consent list" in refused_here("consent", "withdraw", "4f", *place.key)


def test_malformed_study_file(place: Place, tmp_path: Path) -> None:
    bad = tmp_path / "study.toml"
    bad.write_text('title = "x"')
    assert "purpose is missing" in refused_here("study", "check", bad)
    assert "exists already" in refused_here("study", "new", bad)
    assert "no such file" in refused_here("study", "check", tmp_path / "none.toml")


def test_proof_that_is_none(place: Place, tmp_path: Path) -> None:
    bad = tmp_path / "bundle"
    for content in (b"", b"\x93\x01\x02"):
        bad.write_bytes(content)
        said = refused_here("study", "verify", bad, "--network", place.network)
        assert "proves nothing" in said


def test_security_figures_out_of_range() -> None:
    assert "at least 6 nodes" in refused_here("security", "--nodes", 3)
    assert "0.05 means 5 %" in refused_here("security", "--corrupted", 5)


def test_demo_out_of_range(tmp_path: Path) -> None:
    assert "--nodes" in refused_here("demo", "--nodes", 3)
    (tmp_path / "file").touch()
    assert "not empty" in refused_here("demo", "--keep", tmp_path)


# --- a node that runs ---------------------------------------------------------------------------


def test_node_already_running(place: Place, running: RunningNode) -> None:
    assert "already running" in refused("node", "run", *place.key)
    assert "already running" in refused("node", "install", place.network, *place.here)
    assert "0 of 6" in done("node", "status", *place.here)  # the others are nowhere


def test_vault_in_use(place: Place, running: RunningNode) -> None:
    assert "in use by another Pnyx process" in refused(*place.import_data())


def test_unknown_study(place: Place, running: RunningNode) -> None:
    for command in ("accept", "decline", "withdraw"):
        assert "not known here" in refused_here(
            "consent", command, "ffff", "--dir", place.layout.root
        )
    assert "not known here" in refused_here("study", "status", "zz", *place.here)


def test_too_many_proposals(place: Place, running: RunningNode, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    write_study(file, 1, 5)
    layout = place.layout
    status = call(layout, Status(), NodeStatus)
    for _ in range(16):
        proposal = read_proposal(file, status.network_id, bytes.fromhex(status.node_id))
        call(layout, Propose(proposal.manifest, proposal.model), StudySummary)
    assert "too many studies" in refused_here("study", "propose", file, *place.here)
    assert len(json.loads(done("study", "list", *place.here, "--json"))) == 16
    assert "no certified round" in refused_here(
        "study", "result", first_study(place), "--bundle", tmp_path / "b", *place.here
    )


def first_study(place: Place) -> str:
    return str(json.loads(done("study", "list", *place.here, "--json"))[0]["study"])
