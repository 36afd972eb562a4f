"""The protocol core, without input or output.

Read `machine` first (events in, effects out), then `study` (the chain of records) and `round` (one
attempt of one round). `docs/protocol.md` is the specification.
"""
