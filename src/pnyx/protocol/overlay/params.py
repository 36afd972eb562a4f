"""Named bounds and durations of the overlay, each with its unit and its reason.

Everything that a peer can make a node send, hold or verify is bounded here. Durations count on the
caller's monotonic clock and serve liveness only.
"""

import msgspec


class OverlayParams(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and durations of one node's part in the ring."""

    # Neighbours kept on each side. With one node in five corrupted, sixteen in a row are corrupted
    # once in 10^11; half of them may leave at once and each item still has live neighbours.
    neighbours_per_side: int = 16
    # Records a side in the answer to a step of a path: enough to go on, half the bytes.
    step_records_per_side: int = 8

    # --- look-ups
    # Nodes that a look-up answers with unless told otherwise, and holders of an item.
    replication: int = 8
    # Disjoint paths of one wave. At 10^4 nodes a path takes four steps, so that one path in two
    # meets no corrupted node (0.8^4); what remains is caught by density, and by further waves.
    paths: int = 4
    # Waves of paths: one, and two more when the answer is too sparse to be true.
    waves_max: int = 3
    # Steps of one path: twice the 14 of a ring of 10^4 that had only its worst fingers.
    path_steps_max: int = 28
    # Nodes in front of the key that are asked as well: they know what stands behind it.
    margin: int = 4
    # An answer whose nodes stand this much farther apart than this node's own neighbours omits
    # some. Twelve nodes of all are that sparse once in 400, twelve corrupted ones of a fifth
    # denser than that once in 250.
    sparse_factor: float = 2.0
    # Nodes asked at a time once the paths have ended, and in one look-up altogether. An
    # enumeration asks every node of its interval.
    parallel_asks: int = 8
    asks_max: int = 160
    enumeration_asks_max: int = 4096
    # A node is asked this often before it counts as silent, where its answer matters.
    tries: int = 3
    # How long an answer is waited for: three times what answers take, between these two. More than
    # the greater of them makes no look-up of a slow network come right, and liars slow it down.
    ask_timeout_s: float = 1.5
    ask_timeout_s_max: float = 12.0
    searches_max: int = 64

    # --- upkeep
    tick_s: float = 2.0
    # Neighbours that were never heard are asked first, this many a tick.
    unheard_asks: int = 3
    # The nearest neighbours, a side, are asked this often, the others less so.
    near_per_side: int = 4
    near_refresh_s: float = 20.0
    far_refresh_s: float = 60.0
    # Nodes are told to others only if this node has heard them itself since.
    fresh_s: float = 180.0
    # Unanswered asks in a row after which a node counts as away: with one message in twenty lost,
    # once in a thousand times wrongly. Where connections break, the shell says so at once.
    failures_max: int = 3
    # Away nodes that are remembered, to be asked now and then: a healed partition joins again.
    away_max: int = 64
    away_retry_s: float = 10.0
    # Fingers: nodes kept behind each target; how often one target is looked up, while some never
    # were and afterwards.
    finger_width: int = 4
    finger_first_s: float = 3.0
    finger_refresh_s: float = 60.0
    # Nodes in the cache, beside neighbours and fingers, and how long one stays unmentioned.
    cache_max: int = 512
    cache_age_s: float = 1800.0
    join_retry_s: float = 2.0
    # Contacts that are known at most, asked at a time when joining, and stored for the next start.
    contacts_max: int = 256
    join_contacts: int = 4
    stored_contacts_max: int = 64
    contacts_store_s: float = 60.0
    # How long a node answers in the ring of the last epoch.
    overlap_s: float = 120.0

    # --- storage
    # Holders beyond the first eight that keep an item a while: who joins drops nothing at once.
    holders_slack: int = 8
    repair_s: float = 30.0
    # After a neighbour came or went, offers are made this fast.
    hasty_repair_s: float = 1.0
    republish_s: float = 900.0
    # Room for items; notes fill half of it at most (`storage`).
    items_max: int = 65_536
    items_bytes_max: int = 64 * 1024 * 1024
    notes_per_signer_max: int = 16

    # --- what peers may make this node do
    # Requests of one peer that are answered: a burst, and then so many a second.
    requests_burst: float = 64.0
    requests_per_s: float = 16.0
    peers_counted_max: int = 4096
    records_max: int = 16_384
    # Peers that cannot be reached are looked up in the storage one at a time, no more often than
    # this, and one of them this often: where much is unreachable, look-ups are not what it lacks.
    wanted_every_s: float = 5.0
    wanted_retry_s: float = 300.0
    wanted_max: int = 64


DEFAULT_OVERLAY = OverlayParams()
