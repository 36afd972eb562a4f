"""Masked aggregation of long vectors: one masked vector a contributor, one short key shared.

    parameters    parameter sets: which rings are safe, what they hold, how a vector is cut
    coding        values into residues, and the exact decoding of a sum
    keys          masking keys: derived, shared with the committee, summed, decoded
    mask          masking, adding and unmasking, chunk by chunk
    chunks        chunks and sums on the wire, under a Merkle root
    checked_sum   claims with a linear hash, by which anybody checks a sum

Import the module that is needed. docs/protocol.md, section 19, is the specification.
"""
