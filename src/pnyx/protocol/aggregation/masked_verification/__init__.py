"""Masked contributions that prove a bound on their norm, in one message (experimental).

    bounds       what is proven, the inequalities, and how shares are laid out
    sketch       the projection P, forwards and transposed
    proof        the contributor: sketch, shares, and the published vector
    answers      a member: reading its shares, and its answers to the one challenge
    verdicts     judging contributions from the members' answers

The mode is `aggregation.verification` on a sketch: the same range step, tests and decoding. It is
experimental until cryptographers from outside have reviewed it.
"""
