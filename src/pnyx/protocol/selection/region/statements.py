"""What is signed in a draw: a short hash for each kind, so that none passes for another."""

from collections.abc import Iterable, Sequence

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.selection.region.messages import (
    Call,
    Choice,
    Dealt,
    Draw,
    Presence,
    Receipt,
    Region,
)

NO_VALUE = bytes(32)


def draw_context(draw: Draw) -> bytes:
    """Names a draw by everything that it is for."""
    return digest("pnyx/region/draw", codec.encode(draw))


def point_of(context: bytes, value: bytes = NO_VALUE) -> int:
    """The point whose owner calls: of R1 by the draw alone, of R2 by R1's value."""
    kind = "pnyx/region/trigger" if value == NO_VALUE else "pnyx/region/setter"
    return int.from_bytes(digest(kind, context, value), "big")


def word_statement(kind: str, context: bytes, region: Region, *parts: bytes) -> bytes:
    """What is signed for a word of this kind in one region of a draw."""
    return b"pnyx/region/" + digest(f"pnyx/region/{kind}", context, bytes([region]), *parts)


def call_statement(context: bytes, region: Region, caller: bytes, value: bytes) -> bytes:
    """A caller's word that it calls: part of what its region makes, so the centre is its own."""
    return word_statement("call", context, region, caller, value)


def call_value(call: Call) -> bytes:
    """R1's value in a call for R2."""
    return NO_VALUE if call.before is None else call.before.value


def names_hash(names: Iterable[bytes]) -> bytes:
    """Names a list of node ids."""
    return digest("pnyx/region/names", *names)


def presence_statement(presence: Presence, call: bytes) -> bytes:
    """A node's word that it takes part in the call with this signature."""
    return word_statement(
        "presence",
        presence.context,
        presence.region,
        call,
        presence.node,
        presence.key,
        names_hash(presence.additions),
    )


def roll_hash(call: Call, presences: Sequence[Presence]) -> bytes:
    """Names a roll, with the call and the candidates that belong to it."""
    return digest(
        "pnyx/region/roll",
        call.signature,
        names_hash(call.candidates),
        *(presence.signature for presence in presences),
    )


def roll_statement(context: bytes, region: Region, roll: bytes) -> bytes:
    """A caller's word on who takes part; it gives one for a region of a draw."""
    return word_statement("roll", context, region, roll)


def deal_statement(context: bytes, region: Region, roll: bytes, dealt: Dealt) -> bytes:
    """A dealer's word on its commitment."""
    return word_statement(
        "deal", context, region, roll, dealt.dealer.to_bytes(4, "big"), dealt.root
    )


def sealing_info(context: bytes, region: Region, roll: bytes, dealer: int, member: int) -> bytes:
    """Binds a sealed share to the draw, the roll, the dealer and the receiver."""
    return word_statement(
        "share", context, region, roll, dealer.to_bytes(4, "big"), member.to_bytes(4, "big")
    )


def offer_hash(roll: bytes, dealings: Sequence[Dealt]) -> bytes:
    """Names the commitments that are offered."""
    return digest("pnyx/region/offer", roll, *(dealt.signature for dealt in dealings))


def receipt_statement(receipt: Receipt, offer: bytes) -> bytes:
    """A node's word on which of the offered secrets it holds."""
    held = b"".join(place.to_bytes(4, "big") for place in receipt.held)
    member = receipt.member.to_bytes(4, "big")
    return word_statement("receipt", receipt.context, receipt.region, offer, member, held)


def choice_hash(offer: bytes, choice: Choice) -> bytes:
    """Names the secrets that count."""
    return digest(
        "pnyx/region/choice", offer, b"".join(d.to_bytes(4, "big") for d in choice.dealers)
    )


def lock_statement(context: bytes, region: Region, roll: bytes, choice: bytes) -> bytes:
    """A node's word that it fixes a choice; it gives one for a region of a draw."""
    return word_statement("lock", context, region, roll, choice)


def value_of(context: bytes, region: Region, choice: bytes, secrets: Iterable[bytes]) -> bytes:
    """What the chosen secrets, in the order of their dealers, come to."""
    return digest("pnyx/region/value", context, bytes([region]), choice, *secrets)


def random_statement(context: bytes, trigger: bytes, value: bytes) -> bytes:
    """What the nodes of R1 sign of the value that they made."""
    return word_statement("random", context, Region.VALUE, trigger, value)


def actors_statement(
    context: bytes, value: bytes, setter: bytes, order: bytes, actors: Iterable[bytes]
) -> bytes:
    """What the nodes of R2 sign of the list that they made."""
    return word_statement("actors", context, Region.LIST, value, setter, order, names_hash(actors))


def ordered(order: bytes, candidates: Iterable[bytes]) -> list[bytes]:
    """Candidates as the setter's randomness orders them."""
    return sorted(candidates, key=lambda node: digest("pnyx/region/order", order, node))
