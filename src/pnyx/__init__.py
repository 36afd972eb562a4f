"""Pnyx: owners of personal clouds train models together, peer to peer, with no server."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pnyx.api import Study, connect, verify
    from pnyx.learning.programs.export import export

__version__ = "0.1.0"

__all__ = ["Study", "__version__", "connect", "export", "verify"]

_PLACES = {
    "Study": "pnyx.api",
    "connect": "pnyx.api",
    "verify": "pnyx.api",
    "export": "pnyx.learning.programs.export",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """What a notebook uses, loaded when it is first asked for: `import pnyx` stays cheap."""
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
