"""The same sums over the same transport, with and without protection.

All nodes of a network live in one process and on one event loop, and talk over TLS on loopback, so
CPU time covers both ends of every connection and every role; wall time is what one core takes for
the work of all nodes. Folders lie in memory where that is possible: in life every node has a disk
of its own, here all would wait for one.

- `network`: who takes part: keys, certificates, folders. `work`: vectors and meters
- `protected`: rounds of a study by whole nodes, but for training
- `plain`: the same parcels to the same aggregators, without shares, masks and hashes
- `additive`: additive shares to k servers
"""
