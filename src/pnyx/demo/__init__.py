"""The demonstration: many personal clouds on one machine, on real data."""
