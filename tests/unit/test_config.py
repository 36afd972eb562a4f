import math
import sys

import pytest

from pnyx.config import ConsentRule, NodeConfig, parse_config, read_config, write_toml
from pnyx.errors import ConfigError


def test_defaults_without_a_file(tmp_path):
    config = read_config(tmp_path / "pnyx.toml")
    assert config == NodeConfig() == parse_config(b"", "x")
    assert (config.node.serve_as_actor, config.consent.default) == (True, "ask")


def test_settings_are_read(tmp_path):
    path = tmp_path / "pnyx.toml"
    path.write_text(
        """
        [node]
        serve_as_actor = false
        log_level = "debug"
        [listen]
        host = "0.0.0.0"
        port = 0
        [advertise]
        host = "cloud.example"
        [consent]
        default = "decline"
        [[consent.rules]]
        action = "accept"
        purposes = ["dpv:AcademicResearch"]
        categories = ["activity.windows"]
        epsilon_max = 3
        [limits]
        epsilon_total_max = 10.5
        """
    )
    config = read_config(path)
    assert config.advertised_host == "cloud.example"
    assert config.listen.port == 0
    assert config.limits.epsilon_total_max == 10.5
    assert config.consent.rules == (
        ConsentRule(
            action="accept",
            purposes=("dpv:AcademicResearch",),
            categories=("activity.windows",),
            epsilon_max=3.0,
        ),
    )
    assert parse_config(write_toml(config), "again") == config


def test_the_listening_address_is_advertised_by_default():
    assert NodeConfig().advertised_host == "127.0.0.1"
    assert math.isinf(NodeConfig().limits.epsilon_total_max)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[listen]\nport = 70000",
            "x.toml: listen.port is 70000; it must be a whole number from 0 to 65535.",
        ),
        ("[listen]\nport = 99999999999999999999999", "from 0 to 65535"),
        ("[listen]\nport = true", "listen.port is True; it must be a whole number"),
        ("[listen]\nprt = 1", "listen.prt is not a setting; did you mean port."),
        ("[lisen]\nport = 1", "lisen is not a setting; did you mean listen."),
        ("colour = 1", "colour is not a setting; known here: node, listen, advertise, consent"),
        ("listen = 3", "listen is 3; it must be a table of settings"),
        ("[node]\nserve_as_actor = 1", "node.serve_as_actor is 1; it must be true or false"),
        ("[node]\nlog_level = 'loud'", "it must be one of debug, error, info, warning"),
        ("[node]\nlog_level = 1", "node.log_level is 1; it must be one of"),
        ("[node]\nnetwork = ''", "node.network is ''; it must be a text of 1 to 4096 characters"),
        ("[limits]\nepsilon_total_max = -1", "it must be a number of at least 0"),
        ("[limits]\nepsilon_total_max = nan", "epsilon_total_max is nan; it must be a number"),
        ("[limits]\nepsilon_total_max = '1'", "is '1'; it must be a number"),
        ("[[consent.rules]]", "consent.rules[0].action is missing; it must be one of"),
        ("[consent]\nrules = 3", "consent.rules is 3; it must be a list"),
        ("[[consent.rules]]\naction = 'ask'\npurposes = ['']", "rules[0].purposes[0] is ''"),
        ("[node]\nnetwork = '" + "a" * 5000 + "'", "aaa...; it must be a text of"),
        ("[listen", "x.toml is not valid TOML"),
        ('[node]\nnetwork = "a\\u0000"', r"network is 'a\x00'; it must be a text"),
        (
            "[advertise]\nhost = 'a..b'",
            "x.toml: advertise.host is 'a..b'; peers are told it, so set advertise.host to an IP "
            "address, or a host name of ASCII letters, digits, hyphens and dots (an international "
            "name in its xn-- form).",
        ),
        ("[listen]\nhost = 'fe80::1%eth0'", "listen.host is 'fe80::1%eth0'; peers are told it"),
        ("x = " + "[" * 9000, "x.toml is not valid TOML"),
        ("x = " + "9" * 5000, "x.toml is not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "x.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_that_no_floating_point_number_holds():
    """TOML writes integers of any size, and Python those of 4,300 digits at most."""
    text = '[[consent.rules]]\naction = "accept"\nepsilon_max = {}'
    largest = 2**1024 - 2**970 - 1  # rounds to the largest of 64 bits
    (rule,) = parse_config(text.format(largest).encode(), "x").consent.rules
    assert rule.epsilon_max == sys.float_info.max
    expected = r"^x: consent.rules\[0\].epsilon_max is 1\d+\.\.\., beyond what a floating-point"
    for number in (largest + 1, 10**400):
        with pytest.raises(ConfigError, match=expected):
            parse_config(text.format(number).encode(), "x")
    with pytest.raises(ConfigError, match="epsilon_max is a number of thousands of digits, beyond"):
        parse_config(text.format("0x1" + "0" * 4000).encode(), "x")


def test_too_many_rules_are_refused():
    rules = b"[[consent.rules]]\naction='ask'\n" * 1001
    with pytest.raises(ConfigError, match="1001 entries; it must be a list of 0 to 1000 entries"):
        parse_config(rules, "pnyx.toml")


def test_an_unreadable_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
    (tmp_path / "big").write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="is larger than"):
        read_config(tmp_path / "big")
    with pytest.raises(ConfigError, match="not valid TOML"):
        parse_config(b"\xff", "pnyx.toml")
