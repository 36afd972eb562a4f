import os
from pathlib import Path

import msgspec
import pytest

from pnyx.config import Advertise, ConsentRule, Listen, read_config
from pnyx.errors import ConfigError, InvalidCertificate, InvalidSignature, KeystoreError
from pnyx.node.authority import DAY_S, AuthorityFiles, create_authority, open_authority
from pnyx.node.enrolment import (
    add_consent_rule,
    check_writable,
    create_node,
    install,
    make_request,
    read_file,
    read_request,
    replace_file,
    verifying_crypto,
)
from pnyx.node.keystore import KeyFile, NodeLayout
from pnyx.node.network import read_network

NOW = 1_800_000_000


class Network:
    """An authority with six nodes, of which the first has a directory."""

    def __init__(self, root: Path, name: str) -> None:
        self.key = KeyFile(root / f"{name}.key")
        self.files = AuthorityFiles(root / name)
        create_authority(self.files, self.key, name, now=NOW)
        for number in range(2, 7):
            self.issue(make_request(bytes([number]) * 32, "", 0), f"Person {number}")

    def issue(self, request, person: str, now: int = NOW) -> bytes:
        with open_authority(self.files, self.key) as desk:
            return desk.issue(request, person, now=now)

    def publish(self, path: Path, now: int = NOW, *, restart: bool = False) -> Path:
        with open_authority(self.files, self.key) as desk:
            desk.publish(path, now=now, restart=restart)
        return path


@pytest.fixture
def network(tmp_path) -> Network:
    return Network(tmp_path, "testers")


@pytest.fixture
def layout(tmp_path) -> NodeLayout:
    found = NodeLayout(tmp_path / "node")
    create_node(
        found,
        KeyFile(tmp_path / "node.key"),
        listen=Listen(host="0.0.0.0", port=7500),
        advertise=Advertise(host="ada.example.org"),
    )
    return found


@pytest.fixture
def certificate(network, layout, tmp_path) -> Path:
    path = tmp_path / "ada.pem"
    path.write_bytes(network.issue(read_request(layout.root / "request.json"), "Ada"))
    return path


@pytest.fixture
def published(network, certificate, tmp_path) -> Path:
    return network.publish(tmp_path / "network.json")


def files_of(layout: NodeLayout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in layout.root.iterdir() if path.is_file()}


def refused(layout: NodeLayout, *arguments, **options) -> str:
    """Install what must be refused, and check that nothing changed."""
    before = files_of(layout)
    with pytest.raises((ConfigError, InvalidCertificate)) as caught:
        install(layout, *arguments, **{"now": NOW, **options})
    assert files_of(layout) == before
    return str(caught.value)


def test_new_node_states_its_address_and_keeps_its_settings(layout) -> None:
    request = read_request(layout.root / "request.json")
    assert (request.host, request.port) == ("ada.example.org", 7500)
    assert read_config(layout.config).listen == Listen(host="0.0.0.0", port=7500)
    assert (layout.root / "request.json").stat().st_mode & 0o777 == 0o600


def test_existing_node_is_not_overwritten(layout, tmp_path) -> None:
    before = files_of(layout)
    with pytest.raises(KeystoreError, match="exists already"):
        create_node(layout, KeyFile(tmp_path / "k"), listen=Listen(), advertise=Advertise())
    assert files_of(layout) == before


def test_strange_hosts_reach_the_settings_unchanged(tmp_path) -> None:
    layout = NodeLayout(tmp_path / "odd")
    host = 'quoted " and \\ back'
    advertise = Advertise(host="ada.example.org")
    create_node(layout, KeyFile(tmp_path / "k"), listen=Listen(host=host), advertise=advertise)
    assert read_config(layout.config).listen.host == host


def test_what_is_no_host_is_not_advertised(tmp_path) -> None:
    layout, advertise = NodeLayout(tmp_path / "odd"), Advertise(host="ada_home")
    with pytest.raises(ConfigError, match=r"advertise\.host is 'ada_home'; peers are told it"):
        create_node(layout, KeyFile(tmp_path / "k"), listen=Listen(), advertise=advertise)
    assert not layout.root.exists()


def test_request_that_states_no_host_is_refused(tmp_path) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(msgspec.json.encode(make_request(bytes(32), "a..b", 7400)))
    with pytest.raises(ConfigError, match=r"states the host 'a\.\.b'; it must be an IP address"):
        read_request(path)
    path.write_bytes(msgspec.json.encode(make_request(bytes(32), "", 0)))
    assert read_request(path).host == ""


def test_altered_request_is_refused(layout, tmp_path) -> None:
    request = read_request(layout.root / "request.json")
    forged = msgspec.structs.replace(request, public_key=bytes(32))
    path = tmp_path / "forged.json"
    path.write_bytes(msgspec.json.encode(forged))
    with pytest.raises(InvalidSignature, match="altered"):
        read_request(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"x" * 20_000])
def test_garbage_is_no_request(tmp_path, content) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_request(path)


def test_missing_request_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_request(tmp_path / "request.json")


def test_certificate_and_network_are_installed(layout, certificate, published) -> None:
    done = install(layout, certificate, published, now=NOW)
    assert done.network.name == "testers"
    assert not done.studies_ended
    assert layout.certificate.read_bytes() == certificate.read_bytes()
    assert (layout.root / "network.json").read_bytes() == published.read_bytes()


def test_another_nodes_certificate_is_refused(layout, network, published, tmp_path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(network.issue(make_request(b"o" * 32, "", 0), "Grace"))
    assert "another node" in refused(layout, other, published)


def test_another_networks_certificate_is_refused(layout, published, tmp_path) -> None:
    stranger = Network(tmp_path, "strangers")
    path = tmp_path / "foreign.pem"
    path.write_bytes(stranger.issue(read_request(layout.root / "request.json"), "Ada"))
    assert "not signed by this network's authority" in refused(layout, path, published)


def test_expired_certificate_is_refused(layout, network, tmp_path) -> None:
    network.issue(make_request(b"o" * 32, "", 0), "Grace")
    path = tmp_path / "old.pem"
    request = read_request(layout.root / "request.json")
    path.write_bytes(network.issue(request, "Ada", now=NOW - 400 * DAY_S))
    published = network.publish(tmp_path / "network.json")
    assert "expired" in refused(layout, path, published)


def test_expired_network_file_is_refused(layout, certificate, published) -> None:
    assert "expired" in refused(layout, certificate, published, now=NOW + 31 * DAY_S)


def test_node_outside_the_census_is_refused(layout, network, tmp_path) -> None:
    network.issue(make_request(b"o" * 32, "", 0), "Grace")
    early = network.publish(tmp_path / "early.json")
    path = tmp_path / "ada.pem"
    path.write_bytes(network.issue(read_request(layout.root / "request.json"), "Ada"))
    assert "not in the network file's census" in refused(layout, path, early)


def test_first_installation_needs_a_certificate(layout, published) -> None:
    assert "certificate" in refused(layout, None, published)


def test_another_network_is_refused(layout, certificate, published, tmp_path) -> None:
    install(layout, certificate, published, now=NOW)
    stranger = Network(tmp_path, "strangers")
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(stranger.issue(read_request(layout.root / "request.json"), "Ada"))
    file = stranger.publish(tmp_path / "strangers.json")
    assert "belongs to the network testers" in refused(layout, foreign, file)


def test_older_census_is_refused(layout, network, certificate, published, tmp_path) -> None:
    newer = network.publish(tmp_path / "newer.json")
    install(layout, certificate, newer, now=NOW)
    assert "older" in refused(layout, None, published)


def test_a_successor_ends_no_study(layout, network, certificate, published, tmp_path) -> None:
    install(layout, certificate, published, now=NOW)
    layout.rounds.mkdir()
    first = read_network(published, verifying_crypto(), now=NOW)
    for number in (1, 2):
        done = install(layout, None, network.publish(tmp_path / "newer.json"), now=NOW)
        assert not done.studies_ended
        assert done.network.first.root == first.census.root
        assert done.network.census.body.number == number
        assert len(done.network.signed) == 2
    assert layout.rounds.exists()


def test_a_network_that_starts_anew_ends_studies_only_when_told(
    layout, network, certificate, published, tmp_path
) -> None:
    install(layout, certificate, published, now=NOW)
    assert not install(layout, None, published, now=NOW).studies_ended
    layout.rounds.mkdir()
    (layout.rounds / "chain.journal").touch()
    newer = network.publish(tmp_path / "newer.json", restart=True)
    assert "--end-studies" in refused(layout, None, newer)
    assert install(layout, None, newer, now=NOW, end_studies=True).studies_ended
    assert not layout.rounds.exists()
    assert (layout.root / "rounds-before-census-1" / "chain.journal").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"pnyx_network":"x","body":"","signature":""}'])
def test_garbage_is_no_network_file(layout, certificate, tmp_path, content) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    assert "not a valid network file" in refused(layout, certificate, path)


def test_files_are_replaced_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ConfigError, match="cannot be written"):
        replace_file(tmp_path / "missing" / "file", b"three")


def test_large_files_are_refused_unread(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11)
    with pytest.raises(ConfigError, match="larger than 10"):
        read_file(path, 10, "The file")


RULE = ConsentRule(action="accept", purposes=("dpv:Research", 'odd "one"'), epsilon_max=2.5)


def test_standing_answers_are_added_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "pnyx.toml"
    path.write_text('# mine\n[consent]\ndefault = "decline"  # unless I say so\n')
    add_consent_rule(path, RULE)
    policy = add_consent_rule(path, ConsentRule(action="ask", categories=("a.b",)))
    assert policy.rules == (RULE, ConsentRule(action="ask", categories=("a.b",)))
    assert read_config(path).consent == policy
    assert path.read_text().startswith("# mine\n")
    assert "# unless I say so" in path.read_text()


def test_no_standing_answer_is_added_to_settings_with_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "pnyx.toml"
    path.write_text('[consent]\ndefault = "perhaps"\n')
    with pytest.raises(ConfigError, match="perhaps"):
        add_consent_rule(path, RULE)
    assert path.read_text() == '[consent]\ndefault = "perhaps"\n'


def test_place_that_cannot_be_written_is_found_out_before(tmp_path) -> None:
    check_writable(tmp_path / "new.html")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="is a directory"):
        check_writable(tmp_path)
    with pytest.raises(ConfigError, match="no such file or directory"):
        check_writable(tmp_path / "gone" / "new.html")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a file"):
        check_writable(tmp_path / "pipe")


def test_device_or_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a file"):
        replace_file(tmp_path / "pipe", b"content")
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1
