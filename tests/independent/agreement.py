"""What both verifiers answer to the same bundle."""

from tests.independent import verifier
from tests.independent.forge import AUTHORITY, census_bytes, folk
from tests.support.town import NETWORK, People

from pnyx.errors import ProtocolError
from pnyx.node.bundle import read_bundle, verify_bundle

NOW = 1


def first_believes(content: bytes, persons: People | None = None) -> bool:
    """The first verifier's answer. Anything but a ProtocolError would be a fault of its own."""
    try:
        verify_bundle(read_bundle(content), (persons or folk()).census, AUTHORITY)
    except ProtocolError:
        return False
    return True


def findings(content: bytes, persons: People | None = None) -> list[verifier.Finding]:
    census = census_bytes(persons or folk())
    return verifier.verify(content, census, NETWORK, AUTHORITY.public_key, NOW)


def agree(content: bytes, persons: People | None = None) -> bool:
    """Fail unless both verifiers answer the same; tell what they answered.

    What signatures imply (`implied`) is no part of the first one's answer.
    """
    believed = first_believes(content, persons)
    wrong = [each for each in findings(content, persons) if not each.implied]
    assert believed == (not wrong), wrong or "only the first verifier refuses"
    return believed


def sign(index: int, body: bytes) -> bytes:
    return folk().cryptos[index].sign(b"pnyx/1/" + NETWORK + body)
