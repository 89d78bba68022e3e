"""Bascule: a WebSocket-aware reverse proxy for notebooks, terminals and data apps."""

from bascule._version import __version__

__all__ = ["__version__"]
