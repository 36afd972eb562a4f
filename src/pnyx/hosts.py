"""What counts as a host, for whoever states where a node is and whoever is told it.

An IPv4 or IPv6 address as `ipaddress` reads it, without a zone, which means nothing elsewhere; or a
name of RFC 1123: labels of letters, digits and inner hyphens, of 63 characters at most, 253 in all.
Names are allowed for owners whose address changes. A name whose last label is a number is none: the
system's resolver would read an address into it.

Everything else is refused where it is read, because a resolver may raise anything over it.
"""

import ipaddress
import re

HOST_CHARACTERS_MAX = 253
HOST_WORDS = (
    "an IP address, or a host name of ASCII letters, digits, hyphens and dots "
    "(an international name in its xn-- form)"
)
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*({_LABEL})")


def is_address(host: str) -> bool:
    """Whether this is an IP address, which needs no resolver."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def is_host(host: str) -> bool:
    """Whether this is an IP address or a host name."""
    if len(host) > HOST_CHARACTERS_MAX:
        return False
    name = _NAME.fullmatch(host)
    return is_address(host) if name is None or name[1].isdigit() else True
