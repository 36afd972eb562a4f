import pytest

from pnyx.errors import ConfigError
from pnyx.node.transport import TransportLimits
from pnyx.node.transport.admission import Admission, address_group


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
        ("not an address", "192.0.2.1", False),
    ],
)
def test_address_groups(one: str, other: str, same: bool) -> None:
    assert (address_group(one) == address_group(other)) is same


def test_oldest_stranger_of_the_address_makes_room() -> None:
    admission: Admission[str] = Admission(TransportLimits(handshakes_per_address_max=2))
    assert admission.arrive("other", "192.0.2.9") is None
    assert admission.arrive("a", "192.0.2.1") is None
    assert admission.arrive("b", "192.0.2.1") is None
    assert admission.arrive("c", "192.0.2.1") == "a"
    admission.leave("a")
    assert len(admission) == 3


def test_oldest_stranger_of_all_makes_room() -> None:
    admission: Admission[str] = Admission(TransportLimits(handshakes_max=2))
    assert admission.arrive("a", "192.0.2.1") is None
    assert admission.arrive("b", "192.0.2.2") is None
    assert admission.arrive("c", "192.0.2.3") == "a"


def test_authenticated_connections_are_safe_from_strangers() -> None:
    admission: Admission[str] = Admission(TransportLimits(connections_per_address_max=2))
    for name in "ab":
        assert admission.arrive(name, "192.0.2.1") is None
        admission.authenticated(name)
        admission.authenticated(name)  # repeating changes nothing
    assert admission.arrive("c", "192.0.2.1") == "c"
    admission.leave("c")
    admission.leave("c")
    admission.leave("a")
    assert admission.arrive("d", "192.0.2.1") is None
    assert len(admission) == 2


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [({"idle_s": 0.0}, "idle_s must be above zero"), ({"frame_bytes_max": 2**31}, "below 2")],
)
def test_senseless_limits(bad: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TransportLimits(**bad)


def test_sweep_interval_follows_the_shortest_deadline() -> None:
    assert TransportLimits().sweep_s == 0.5
    assert TransportLimits(handshake_s=0.4).sweep_s == pytest.approx(0.1)
