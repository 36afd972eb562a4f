"""Cryptographic and algebraic building blocks: pure functions of their arguments.

    codec       canonical, bounded MessagePack for typed records
    hashing     domain-separated SHA-256 and Merkle trees
    signature   Ed25519 and quorum certificates
    envelope    HPKE envelopes bound to a context
    field       vectors over the prime fields of the aggregation
    sharing     packed Shamir sharing and Reed-Solomon decoding
    sampling    deterministic, exactly uniform draws from a seed
    compiled    how inner loops are compiled, where there are some
    ring        polynomials modulo X^n + 1 for masked sums, their errors, and a linear hash

Import the module that is needed (`from pnyx.primitives.hashing import digest`): nothing is
re-exported here, so that a caller pays only for the libraries it uses.
"""
