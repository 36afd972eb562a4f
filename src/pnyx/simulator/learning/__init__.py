"""Learning mode: what a study learns, for populations that no machine could run as nodes.

Owners train as their nodes would (`pnyx.learning.cohort`), their updates are clipped, rounded and
noised by the node's own functions, and the next model is computed from their sum by the function
that committees use. Left out is what does not change a sum: shares, masks, messages, failures.
"""
