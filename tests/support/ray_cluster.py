"""A Ray cluster of two raylets, one core each: says its address, and lives until its stdin ends.

A process of its own, because Ray leaves threads, a signal handler and an exception hook behind.
"""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}  # bytes; else a third of the memory


def main() -> None:
    """Start it, wait, and stop it."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
