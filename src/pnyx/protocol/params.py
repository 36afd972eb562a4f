"""Named bounds and durations of the protocol, each with its unit and its reason.

Everything that a peer can make a node do is bounded here. Durations count on the caller's
monotonic clock and only serve liveness: no safety property depends on them.
"""

import msgspec

PROTOCOL_VERSION = 1


class ProtocolParams(msgspec.Struct, frozen=True, kw_only=True):
    """Durations and bounds shared by the nodes of a network."""

    # Liveness. A leader that has a quorum waits `grace_s` for reachable stragglers.
    grace_s: float = 0.5
    # A leader that makes no progress for this long is replaced; doubles with every view.
    view_timeout_s: float = 5.0
    view_timeout_s_max: float = 60.0
    # A leader whose process is known to be unreachable is replaced sooner.
    unreachable_leader_timeout_s: float = 0.3
    # Unanswered inputs are sent again; covers messages lost on the way.
    retransmit_s: float = 2.0
    # A contributor hands the envelopes of members that gave no receipt to the aggregators.
    receipt_timeout_s: float = 3.0
    # Members wait this long for the dealings of silent dealers before they stop receiving.
    dealing_deadline_s: float = 3.0

    # What a leader sends to all members goes in parts if it is longer: it takes the leader's line a
    # tenth of a second for 20 members at 6 MB/s, where the hop that parts cost takes a thirtieth.
    parted_bytes_min: int = 32 * 1024
    # What relaying one part may take of a line, unless the message is longer than that: as long as
    # the hop at 6 MB/s, a second at 200 KB/s. Of 24 members parts have 8.5 KB then, and a list of
    # 110 KB takes 299 sendings where even shares take 529.
    part_line_bytes: int = 192 * 1024
    # A member asks for the parts that it lacks when none came for so long; doubles each time.
    part_timeout_s: float = 1.0

    # A member that saw no step end for this long gives up the attempt. Five times the longest
    # patience with one leader: f + 1 leaders in a row may fail before anybody gives up. It does not
    # grow in the second attempt: time was not what the first one lacked.
    attempt_timeout_s: float = 300.0

    # How long an epoch lasts: a coalition that can corrupt nodes of its choice, though slowly, must
    # begin anew every day, for beacon, committee and places on the ring are then others.
    epoch_length_s: float = 86_400.0
    # Epochs before the newest one for whose studies a committee still begins: who was slow to hear
    # of a manifest does so, and nobody can propose for a committee of long ago that it has picked.
    epochs_open_behind: int = 1

    # The first attempt at an actor list: ten messages one after the other, and a grace in each of
    # two regions. Each further attempt is longer, so that slow networks come to one that suffices:
    # the sixth has 15 seconds; twelve fit into the patience of a member (docs/selection.md).
    selection_attempt_s: float = 5.0
    selection_attempt_growth: float = 1.25
    # For draws the overlay lists a node's surroundings when a round opens, unless it did so lately:
    # it asks everybody there.
    node_cache_refresh_s: float = 300.0
    # How long a node stays a candidate after it was listed last: whoever is away for a while, too.
    node_cache_keep_s: float = 3600.0

    # Members lock an accepted set once they hold its sums. So much longer they bear with an attempt
    # as the sums take to all of them, over lines of aggregators on which so many bytes pass.
    sum_bytes_per_s: float = 1_000_000.0
    # Sets of one group that one member may ask an aggregator for: those of as many leaders that let
    # a set be echoed and do not get it locked.
    summed_sets_max: int = 4
    # Sums of one group that it makes for f members or fewer, who may all be corrupt: that of a
    # leader whom few members heard, and of the next. Others wait until more members ask.
    unvouched_sums_max: int = 2

    # Aggregators keep envelopes for absent members; three survive two absences.
    aggregator_count: int = 3
    # Where masked updates are verified, two thirds of the aggregators together vouch for what a
    # contributor states of its vector. Eight of twelve are corrupt in one of 40 rounds with a
    # chance of 6.5e-7 at 5 % corrupt nodes; four may be absent.
    verified_aggregator_count: int = 12

    # Gossip. Six peers reach 10^6 nodes in about eight hops, with margin for crashed ones.
    gossip_fanout: int = 6
    # Who came to hold a model tells so many: each needs a source or two beside those who made it.
    model_fanout: int = 2
    gossip_interval_s: float = 2.0
    # How long news waits for more before it is announced. In networks of thousands a tenth of a
    # second saves most messages of a thousand joins; in small ones it would only cost time.
    gossip_gather_s: float = 0.0
    gossip_request_timeout_s: float = 1.0
    gossip_announce_items_max: int = 1024
    # Names asked for, and names refused, that a node remembers: 32 bytes each. And of one peer that
    # announced them: as many as an honest one tells at a time.
    gossip_names_max: int = 65_536
    gossip_names_per_peer_max: int = 1024
    # One request of a few kilobytes brings no more than this; the rest is asked for again.
    gossip_reply_bytes_max: int = 16 * 1024 * 1024

    # Parcels. Chunks of one parcel that are asked for at a time: 1 MiB fills 20 MB/s over 50 ms.
    parcel_window_chunks: int = 8
    # Parcels that are pulled at a time, so at most 8 MiB are under way; others wait for a turn.
    parcel_fetches_max: int = 8
    # How long a fetch keeps its place while others wait, and a source its fetch while there are
    # others: no source can hold either up by trickling.
    parcel_turn_s: float = 10.0
    # A chunk that has not come by then is asked for again; a source that sent nothing is left. On
    # lines on which a chunk of 128 KiB takes longer, patience grows with what chunks take.
    parcel_request_timeout_s: float = 2.0
    parcel_request_timeout_s_max: float = 60.0
    # Chunks that may wait for one peer: what it asks for with all its fetches at this one source.
    parcel_chunks_waiting_max: int = 64
    # How often one peer may have all chunks of a parcel: it begins again after a restart, and asks
    # again for what was slow. One time more for every so many seconds that pass.
    parcel_pulls_max: int = 8
    parcel_pull_every_s: float = 60.0
    # One parcel: seven times the masked vector of 10^7 values. All parcels of a node: those of a
    # group of 200 contributors of that size, or how many there may be.
    parcel_bytes_max: int = 256 * 1024 * 1024
    parcels_bytes_max: int = 8 * 1024 * 1024 * 1024
    parcels_max: int = 4096

    # Models. The largest has 10^7 parameters of 4 bytes; so many bytes of models that a node keeps
    # only because their studies are finished: fifty of the largest. What it has a part in comes on
    # top, one model a study.
    model_bytes_max: int = 40_000_000
    models_bytes_max: int = 2 * 1024 * 1024 * 1024

    # Values of the sums of all groups of a masked round, which members hold, unmask and compare at
    # a time: 21 bytes each, so 1.7 GB: eight groups with the largest model.
    group_values_max: int = 80_000_000

    # Bounds on what peers may make a node store or do.
    message_bytes_max: int = 8 * 1024 * 1024
    # Answers to one peer's questions: a burst, twice what gossip answers with at a time, and then
    # so many bytes a second: a sixth of a line of 6 MB/s, however often it asks.
    answers_bytes_burst: int = 32 * 1024 * 1024
    answers_bytes_per_s: float = 1024 * 1024
    peers_counted_max: int = 4096
    item_bytes_max: int = 4 * 1024 * 1024
    items_per_message_max: int = 256
    early_messages_max: int = 4096
    early_bytes_max: int = 64 * 1024 * 1024
    # Evidence is gossiped up to this size; what is larger stays where it is. A wrong share of
    # a sum of 20,000 entries takes 11 shares of 80 KB from 24 members, 47 of 40 KB from 110.
    # Answers for one contribution take 1.3 MB from 1,000 members, a segment of a masked sum 1.3 MB.
    evidence_bytes_max: int = 2 * 1024 * 1024
    # Two bodies of one signer, who could pad them: two shares of 40 KB, or two close votes that
    # list 20,000 joins each, fit. Larger items of other kinds share half of the docket.
    two_bodies_bytes_max: int = 256 * 1024
    # Evidence against nodes of one census that a node keeps, in memory and on its disk: at least
    # 150 culprits. Why there is no bound for all censuses together, says `evidence.dockets`.
    docket_bytes_max: int = 64 * 1024 * 1024
    # Of one culprit, the studies of which evidence is kept that counts in them alone.
    evidence_studies_max: int = 2
    # Of a peer whose evidence failed this often no more is looked at: judging takes milliseconds.
    evidence_failures_max: int = 8
    manifests_per_proposer_max: int = 16
    # Joins of one node that arrived before the study that they name.
    joins_ahead_max: int = 16
    vector_length_max: int = 20_000


DEFAULT_PARAMS = ProtocolParams()
