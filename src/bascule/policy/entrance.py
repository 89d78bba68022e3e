"""The path of the page that a person who has just started the proxy can open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.configuration.config import Config

__all__ = ["entrance"]


def entrance(config: Config) -> str:
    """Return the path to open first: ``/`` if it is served, or nothing else is known, else the first route's.

    Routes that capture a part of the path are passed over: what they lead to, only their users know.
    """
    paths = [route.path for route in config.routes if "{" not in route.path]
    if "/" in paths or config.hub.enabled or not paths:
        return "/"
    return paths[0]
