"""One attempt of one round: its plan and the parts that nodes play in it.

- `plan`: who does what; `values`: what a committee agrees on; `services`: what roles share.
- `committee` (with `leader`, `views`, `holdings`): a committee member.
- `contributor`: a data source. `relay`: an aggregator keeping envelopes for absent members.
"""
