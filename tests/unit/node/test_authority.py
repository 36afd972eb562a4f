from pathlib import Path

import pytest

from pnyx.config import Advertise, Listen
from pnyx.errors import ConfigError, InvalidCertificate, KeystoreError
from pnyx.node.authority import (
    CENSUS_DAYS,
    CERTIFICATE_DAYS,
    DAY_S,
    AuthorityDesk,
    AuthorityFiles,
    create_authority,
    enrolments,
    open_authority,
    state_of,
)
from pnyx.node.certificates import read_authority_certificate, verify_certificate
from pnyx.node.enrolment import EnrolmentRequest, create_node, make_request, verifying_crypto
from pnyx.node.keystore import KeyFile, NodeLayout
from pnyx.node.network import read_network

NOW = 1_800_000_000


@pytest.fixture
def files(tmp_path: Path) -> AuthorityFiles:
    found = AuthorityFiles(tmp_path / "authority")
    create_authority(found, KeyFile(tmp_path / "authority.key"), "testers", now=NOW)
    return found


@pytest.fixture
def desk(files: AuthorityFiles, tmp_path: Path):
    with open_authority(files, KeyFile(tmp_path / "authority.key")) as opened:
        yield opened


def request(number: int) -> EnrolmentRequest:
    return make_request(bytes([number]) * 32, "node.example.org", 7400 + number)


def enrol(desk: AuthorityDesk, count: int) -> None:
    for number in range(1, count + 1):
        desk.issue(request(number), f"Person {number}", now=NOW)


def verified(desk: AuthorityDesk, files: AuthorityFiles, pem: bytes, now: int = NOW):
    return verify_certificate(
        pem, read_authority_certificate(files.certificate.read_bytes()), now=now
    )


def test_certificate_verifies_and_hides_the_person(desk, files) -> None:
    pem = desk.issue(request(1), "Ada Lovelace", now=NOW)
    assert verified(desk, files, pem).public_key == request(1).public_key
    assert b"Ada" not in pem
    assert [e.issued.person for e in enrolments(files)] == ["Ada Lovelace"]


def test_renewal_keeps_the_node_id(desk, files) -> None:
    first = desk.issue(request(1), "Ada", now=NOW)
    later = NOW + CERTIFICATE_DAYS * DAY_S
    renewed = desk.issue(request(1), "Ada", now=later)
    assert renewed != first
    assert verified(desk, files, renewed, later + 1).node_id == verified(desk, files, first).node_id
    assert len(enrolments(files)) == 1


def test_renewal_without_a_request_keeps_key_id_and_address(desk, files) -> None:
    first = verified(desk, files, desk.issue(request(1), "Ada", now=NOW))
    later = NOW + 300 * DAY_S
    pem = desk.renew(first.node_id.hex()[:10], now=later)
    renewed = verified(desk, files, pem, later)
    assert (renewed.node_id, renewed.public_key) == (first.node_id, first.public_key)
    assert renewed.not_after == later + CERTIFICATE_DAYS * DAY_S
    (enrolment,) = enrolments(files)
    assert (enrolment.issued.host, enrolment.issued.port) == ("node.example.org", 7401)


def test_revoked_nodes_are_not_renewed(desk, files) -> None:
    desk.issue(request(1), "Ada", now=NOW)
    name = desk.revoke(enrolments(files)[0].node_id.hex(), now=NOW)
    with pytest.raises(ConfigError, match="pnyx authority list"):
        desk.renew(name.hex(), now=NOW)


def test_one_person_has_one_node(desk, files) -> None:
    desk.issue(request(1), "Ada", now=NOW)
    with pytest.raises(InvalidCertificate, match="Ada has a node already"):
        desk.issue(request(2), "Ada", now=NOW)
    with pytest.raises(InvalidCertificate, match="another person"):
        desk.issue(request(1), "Grace", now=NOW)
    assert len(enrolments(files)) == 1


def test_lost_key_is_revoked_then_replaced(desk, files) -> None:
    desk.issue(request(1), "Ada", now=NOW)
    lost = enrolments(files)[0].node_id
    assert desk.revoke(lost.hex()[:10], now=NOW) == lost
    desk.issue(request(2), "Ada", now=NOW)
    assert [state_of(e, NOW) for e in enrolments(files)] == ["revoked", "enrolled"]
    with pytest.raises(InvalidCertificate, match="was revoked"):
        desk.issue(request(1), "Grace", now=NOW)


@pytest.mark.parametrize("digits", ["", "zz", "0123456789"])
def test_revoking_an_unknown_node_changes_nothing(desk, files, digits) -> None:
    enrol(desk, 2)
    with pytest.raises(ConfigError, match="enrolled nodes"):
        desk.revoke(digits, now=NOW)
    assert not any(e.revoked for e in enrolments(files))


def test_published_network_lists_enrolled_nodes(desk, files, tmp_path) -> None:
    enrol(desk, 8)
    desk.revoke(enrolments(files)[0].node_id.hex(), now=NOW)
    census = desk.publish(tmp_path / "network.json", now=NOW)
    network = read_network(tmp_path / "network.json", verifying_crypto(), now=NOW)
    assert network.census.root == census.root
    assert len(census) == 7
    assert census.body.valid_until == NOW + CENSUS_DAYS * DAY_S
    assert {c.port for c in network.contacts} == set(range(7402, 7409))
    assert census.index_of(enrolments(files)[0].node_id) is None


def test_expired_certificates_leave_the_census(desk, files, tmp_path) -> None:
    enrol(desk, 6)
    desk.issue(request(7), "Person 7", now=NOW - CERTIFICATE_DAYS * DAY_S)
    assert len(desk.publish(tmp_path / "network.json", now=NOW)) == 6
    assert state_of(enrolments(files)[6], NOW) == "expired"


def test_censuses_form_a_chain(desk, tmp_path) -> None:
    enrol(desk, 6)
    first = desk.publish(tmp_path / "network.json", now=NOW)
    second = desk.publish(tmp_path / "network.json", now=NOW + 40 * DAY_S)
    assert (first.body.number, second.body.number) == (0, 1)
    assert second.body.previous == first.root


def test_no_two_censuses_carry_one_number_when_the_file_cannot_be_written(desk, tmp_path) -> None:
    enrol(desk, 6)
    with pytest.raises(ConfigError, match="cannot be written"):
        desk.publish(tmp_path, now=NOW)
    assert desk.publish(tmp_path / "network.json", now=NOW).body.number == 0


def test_too_few_nodes_are_refused(desk, tmp_path) -> None:
    enrol(desk, 5)
    with pytest.raises(ConfigError, match="at least 6 nodes"):
        desk.publish(tmp_path / "network.json", now=NOW)
    assert not (tmp_path / "network.json").exists()


def test_a_line_cut_off_by_a_crash_is_ignored_and_replaced(desk, files) -> None:
    enrol(desk, 1)
    whole = files.enrolments.read_bytes()
    files.enrolments.write_bytes(whole + b'{"event":"issued","per')
    assert len(enrolments(files)) == 1
    desk.issue(request(2), "Person 2", now=NOW)
    assert [e.issued.person for e in enrolments(files)] == ["Person 1", "Person 2"]


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b'{"event":"revoked","public_key":"AAAA","at":1}\n']
)
def test_a_damaged_list_is_refused(desk, files, line) -> None:
    enrol(desk, 1)
    files.enrolments.write_bytes(line + files.enrolments.read_bytes())
    with pytest.raises(ConfigError, match="damaged in line 1"):
        enrolments(files)


def test_authority_is_used_by_one_process_at_a_time(desk, files, tmp_path) -> None:
    with (
        pytest.raises(ConfigError, match="in use"),
        open_authority(files, KeyFile(tmp_path / "authority.key")),
    ):
        pass


def test_wrong_key_file_is_refused(files, tmp_path) -> None:
    create_node(
        NodeLayout(tmp_path / "node"),
        KeyFile(tmp_path / "other.key"),
        listen=Listen(),
        advertise=Advertise(),
    )
    with (
        pytest.raises(KeystoreError, match="does not belong"),
        open_authority(files, KeyFile(tmp_path / "other.key")),
    ):
        pass


@pytest.mark.parametrize("name", ["", "n" * 65])
def test_a_name_out_of_range_creates_nothing(tmp_path, name) -> None:
    files = AuthorityFiles(tmp_path / "new")
    with pytest.raises(ConfigError, match="1 to 64"):
        create_authority(files, KeyFile(tmp_path / "k"), name, now=NOW)
    assert not files.root.exists()


def test_list_that_lacks_a_node_of_the_census_is_refused(tmp_path) -> None:
    files, key = AuthorityFiles(tmp_path / "authority"), KeyFile(tmp_path / "key")
    create_authority(files, key, "testers", now=NOW)
    with open_authority(files, key) as desk:
        enrol(desk, 6)
        desk.publish(tmp_path / "network.json", now=NOW)
    lines = files.enrolments.read_bytes().splitlines(keepends=True)
    files.enrolments.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ConfigError, match="lacks nodes of the last census"):
        open_authority(files, key).__enter__()
