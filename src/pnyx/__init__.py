"""Pnyx: owners of personal clouds train models together, peer to peer, with no server."""

__version__ = "0.1.0"

__all__ = ["__version__", "export"]


def __getattr__(name: str) -> object:
    """`pnyx.export`, loaded when it is first asked for: it needs torch's tracer."""
    if name == "export":
        from pnyx.learning.programs.export import export

        return export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
