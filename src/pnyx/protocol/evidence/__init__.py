"""What convicts a node before anybody, and what follows: see `proofs` and `docket`."""
