"""Masked contributions that prove a bound on their norm, in one message (experimental).

    bounds        what is proven, and the inequalities
    sketch        the projection P, forwards and transposed
    commitments   what binds the shares of a key, and all others, to the contribution
    proof         the contributor: sketch, shares, and the published vector
    key_weights   what a member needs of public data to answer the challenge

Layout of the shares, answers and verdicts are those of `aggregation.verification`, in which the
digits of the sketch take the place of an update. The mode is experimental until cryptographers from
outside have reviewed it.
"""

from pnyx.protocol.aggregation.masked_verification._choice import load_sketches

__all__ = ["load_sketches"]
