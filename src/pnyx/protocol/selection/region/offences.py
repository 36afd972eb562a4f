"""What convicts a node that bends a draw: two words of which an honest node gives one.

A word is what somebody signed, by the parts of its statement. Whoever has two different ones of a
kind, for one region of one draw, convinces everybody that knows the signer's key.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.protocol.messages import Digest, NodeId, Signature
from pnyx.protocol.selection.region.messages import Region
from pnyx.protocol.selection.region.ring import NodeCache
from pnyx.protocol.selection.region.selector import Verify
from pnyx.protocol.selection.region.statements import word_statement

Kind = Literal["call", "roll", "lock"]


class Word(msgspec.Struct, frozen=True, array_like=True):
    """A signed statement: a call, a roll or a lock, by what it hashes."""

    parts: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=4)]
    signature: Signature


class Offence(msgspec.Struct, frozen=True, array_like=True, tag=155):
    """Two words of one node in one region of one draw."""

    culprit: NodeId
    kind: Kind
    context: Digest
    region: Region
    first: Word
    second: Word


def convicted_by(offence: Offence, cache: NodeCache, verify: Verify) -> bytes:
    """The node that an offence convicts. Raises ProtocolError when it convicts nobody."""
    if offence.first.parts == offence.second.parts:
        raise RuleBroken("two words of a draw are the same")
    place = cache.find(offence.culprit)
    for word in (offence.first, offence.second):
        said = word_statement(offence.kind, offence.context, offence.region, *word.parts)
        if place is None or not verify(place.public_key, said, word.signature):
            raise InvalidSignature("a word of a draw was not signed by its culprit")
    return offence.culprit
