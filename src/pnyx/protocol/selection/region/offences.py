"""What convicts a node that bends a draw: two words of which an honest node gives one.

A *word* is what somebody signed, by the parts of its statement. In one region of one attempt an
honest node gives at most one of each kind, whatever others do and across restarts (`enter` in
`draws`): it calls once, by one value; makes one roll of its call; and signs one random value, or
one list, that its region made. So two different ones convict before everybody that has the node's
key, however many were corrupt; they are spread as evidence (`evidence.proofs`).

    call      the setter calls by two random values
    roll      trigger or setter shows two lists of who takes part
    random    a node of R1 signs two random values
    actors    a node of R2 signs two actor lists
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.protocol.messages import TwoWords, Word
from pnyx.protocol.selection.region.messages import (
    ActorProof,
    Call,
    RandomProof,
    Region,
    Witnesses,
)
from pnyx.protocol.selection.region.selector import Verify
from pnyx.protocol.selection.region.statements import call_value, names_hash, word_statement

_Kind = Literal["random", "actors"]


class Offence(NamedTuple):
    """A node (by its id) and the two words that convict it."""

    culprit: bytes
    proof: TwoWords


def check_two_words(proof: TwoWords, context: bytes, public_key: bytes, verify: Verify) -> None:
    """Check that the node with this key gave both words. Raises ProtocolError.

    context: of the attempt at a draw that the proof names.
    """
    if proof.first.parts == proof.second.parts:
        raise RuleBroken("two words of a draw are the same")
    for word in (proof.first, proof.second):
        said = word_statement(proof.kind, context, Region(proof.region), *word.parts)
        if not verify(public_key, said, word.signature):
            raise InvalidSignature("a word of a draw was not signed by its culprit")


def two_rolls(attempt: int, region: Region, caller: bytes, first: Word, second: Word) -> Offence:
    """Two rolls of one call, each signed by its caller."""
    return Offence(caller, TwoWords("roll", attempt, region, first, second))


def two_calls(first: Call, second: Call) -> Offence | None:
    """Two calls of one region of a draw, if one node called by two values."""
    words = [Word((each.caller, call_value(each)), each.signature) for each in (first, second)]
    if first.caller != second.caller or words[0].parts == words[1].parts:
        return None
    return Offence(first.caller, TwoWords("call", first.draw.attempt, first.region, *words))


def two_values(first: RandomProof, second: RandomProof) -> Iterator[Offence]:
    """Nodes of R1 that signed both of two valid random values of one draw."""
    parts = [(each.trigger, each.value) for each in (first, second)]
    if parts[0] != parts[1]:
        yield from _signed_both("random", first, second, Region.VALUE, *parts)


def two_lists(first: ActorProof, second: ActorProof) -> Iterator[Offence]:
    """Nodes of R2 that signed both of two valid lists of one draw, and the setter of both.

    Honest nodes show one list with different signatures; that is no offence.
    """
    parts = [(p.value, p.setter, p.order, names_hash(p.actors)) for p in (first, second)]
    if parts[0] != parts[1]:
        yield from _signed_both("actors", first, second, Region.LIST, *parts)
    if first.setter == second.setter and first.value != second.value:
        words = [Word((each.setter, each.value), each.call) for each in (first, second)]
        attempt = first.draw.attempt
        yield Offence(first.setter, TwoWords("call", attempt, Region.LIST, *words))


def _signed_both(
    kind: _Kind,
    first: RandomProof | ActorProof,
    second: RandomProof | ActorProof,
    region: Region,
    said: tuple[bytes, ...],
    also: tuple[bytes, ...],
) -> Iterator[Offence]:
    others = _signatures(second.witnesses)
    for node, signature in _signatures(first.witnesses).items():
        if node in others:
            words = Word(said, signature), Word(also, others[node])
            yield Offence(node, TwoWords(kind, first.draw.attempt, region, *words))


def _signatures(witnesses: Witnesses) -> dict[bytes, bytes]:
    return {each.node: each.signature for each in witnesses}
