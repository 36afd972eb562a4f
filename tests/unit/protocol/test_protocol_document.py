"""docs/protocol.md speaks of every message, with its tag, and of every bound."""

import re
from pathlib import Path

import msgspec
import pytest

from pnyx.protocol import messages
from pnyx.protocol.messages import GossipMessage, RoundMessage

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
STRUCTS = [
    each
    for each in vars(messages).values()
    if isinstance(each, type)
    and issubclass(each, msgspec.Struct)
    and each.__module__ == messages.__name__
]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda each: each.__name__)
def test_message_is_specified(struct):
    assert re.search(rf"`{struct.__name__}`", DOCUMENT), f"docs/protocol.md omits {struct.__name__}"


@pytest.mark.parametrize(
    "struct", [*GossipMessage.__args__, *RoundMessage.__args__], ids=lambda each: each.__name__
)
def test_tag_is_specified(struct):
    tag = struct.__struct_config__.tag
    assert f"| `{struct.__name__}` | {tag} |" in DOCUMENT


def test_tags_are_distinct():
    tags = [s.__struct_config__.tag for s in STRUCTS if s.__struct_config__.tag is not None]
    assert len(tags) == len(set(tags))
