"""The ring overlay: nodes find each other, and what the ring stores, although some of them lie.

    positions   where nodes and keys stand
    records     what is believed of a node: its own signed record
    table       neighbours, fingers and cache of one node
    search      look-ups over disjoint paths, and complete enumeration of an interval
    asking      questions under way, and what peers may ask
    upkeep      whom to ask next so that the ring stays in order
    ring        one node's place on the ring of one epoch
    storage     items that prove themselves; holder: putting, getting, repair
    machine     all of it for one node: events in, effects out

`docs/overlay.md` is the specification.
"""
