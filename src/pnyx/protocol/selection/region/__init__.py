"""Region selection (SEP2P, EDBT 2019, repaired): actors without a list of everybody.

    point of the draw -> trigger, its owner -> region R1 makes a random value
    point of the value -> setter, its owner -> region R2 makes an order, over candidates of R3
    -> the verifiable actor list

- `ring` says where nodes stand and who knows whom; `rule` how many must take part;
- `messages` are what the nodes of a region send, `statements` what they sign;
- `caller` is the trigger or setter, `signer` a node of its region: two state machines;
- `draws` opens attempts in their time, and puts both regions together; `selector` checks lists;
- `offences` convicts whoever signed two things of which honest nodes sign one.
"""

from pnyx.protocol.selection.region.draws import DrawSession, RegionDraws
from pnyx.protocol.selection.region.messages import (
    ActorProof,
    Draw,
    RandomProof,
    Region,
    RegionMessage,
)
from pnyx.protocol.selection.region.offences import Offence, check_two_words, two_lists
from pnyx.protocol.selection.region.ring import CensusCache, NodeCache, Place, position_of
from pnyx.protocol.selection.region.rule import RegionRule, region_rule
from pnyx.protocol.selection.region.selector import RegionSelector, list_order
from pnyx.protocol.selection.region.statements import draw_context

__all__ = [
    "ActorProof",
    "CensusCache",
    "Draw",
    "DrawSession",
    "NodeCache",
    "Offence",
    "Place",
    "RandomProof",
    "Region",
    "RegionDraws",
    "RegionMessage",
    "RegionRule",
    "RegionSelector",
    "check_two_words",
    "draw_context",
    "list_order",
    "position_of",
    "region_rule",
    "two_lists",
]
