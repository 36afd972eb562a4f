"""Secure aggregation: `encoding` of integers into field slots, `direct` packed Shamir shares."""
