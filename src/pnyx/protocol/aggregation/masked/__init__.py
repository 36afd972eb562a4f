"""Masked aggregation of long vectors: one masked vector a contributor, one short key shared.

    parameters    parameter sets: which rings are safe, what they hold, how a vector is cut
    coding        values into residues, and the exact decoding of a sum
    keys          masking keys, each derived for one vector
    mask          masking, adding and unmasking, segment by segment
    segments      segments and sums as bytes
    checked_sum   linear hashes, by which anybody checks a sum
    vectors       all of it on whole vectors, as the roles of a round need it

Import the module that is needed. docs/protocol.md, section 19, is the specification.
"""
