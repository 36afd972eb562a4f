"""Masked aggregation of long vectors: see `parameters`, `mask`, `keys` and `checked_sum`."""
