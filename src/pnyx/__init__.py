"""Pnyx: owners of personal clouds train models together, peer to peer, with no server."""

__version__ = "0.1.0"
