"""Names that lead to where an upstream named by a URL may not be."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from tests.support.network import own_addresses

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pytest

HERE = "10.9.8.7"
"""An address of this host that is not on its loopback, inside `at_home`."""


def at_home() -> AbstractContextManager[tuple[str, ...]]:
    """Put this thread on a network of its own, where this host has the address `HERE`."""
    return own_addresses(f"{HERE}/24")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let every name mean these addresses; an address means itself, since asyncio looks that up as well."""

    async def resolve(name: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        found = (name,) if name[0].isdigit() or ":" in name else hosts
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0))
            if ":" in host
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in found
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


def nobody_came(listening: socket.socket) -> bool:
    """Tell whether nobody has connected to a listening socket."""
    listening.setblocking(False)
    try:
        listening.accept()
    except BlockingIOError:
        return True
    return False
