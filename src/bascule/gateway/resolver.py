"""Resolves host names to addresses, and remembers them for a few seconds. A Unix socket's path is an address.

A reconnect storm asks for the same few names hundreds of times a second, and each
look-up costs a thread. Ten seconds is short beside the time a Kubernetes Service
keeps its address, and a failed look-up is not remembered at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from typing import Final

from bascule.gateway.connecting import why_not_found
from bascule.tasks import spawn

REMEMBER: Final = 10.0
"""Seconds for which an answer is used."""

MAX_NAMES: Final = 4096
"""Most names remembered: names come from route patterns, so a client can vary them."""

AT_ONCE: Final = 32
"""Most look-ups at the same time, each on a thread. A name whose zone is dead takes the system's own
time-out (10 s as a rule); libuv allows two by default, so two such names would delay all other look-ups."""

SocketAddress = tuple[object, ...] | str
"""What ``connect`` takes; a text is the path of a Unix socket."""

Address = tuple[socket.AddressFamily, SocketAddress]


class Unresolvable(OSError):
    """The name has no address."""


class Resolver:
    """Looks names up; literal addresses never wait."""

    def __init__(self) -> None:
        # libuv reads this at the first look-up of the process, and uses half of its threads for look-ups.
        os.environ.setdefault("UV_THREADPOOL_SIZE", str(2 * AT_ONCE))
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[list[Address] | OSError]] = {}

    def known(self, host: str, port: int) -> list[Address] | None:
        """Return the addresses of a host; ``None`` unless an answer is remembered."""
        known = self._known.get((host, port))
        if known is None or known[0] <= asyncio.get_running_loop().time():
            return None
        return known[1]

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host, in the order to try them.

        Raises:
            Unresolvable: The name has no address, or the look-up failed.
            OSError: This host lacks what a look-up needs.
        """
        known = self.known(host, port)
        if known is not None:
            return known
        literal = _literal(host, port)
        if literal is not None:
            return self._remember(host, port, [literal], float("inf"))
        # One look-up at a time for each name: a dead zone must not take every thread there is.
        asking = self._asking.get((host, port))
        if asking is None:
            asking = self._asking[host, port] = spawn(self._look_up(host, port), "look-up")
            asking.add_done_callback(lambda _: self._asking.pop((host, port), None))
        found = await asyncio.shield(asking)
        if isinstance(found, OSError):
            raise found
        return found

    async def _look_up(self, host: str, port: int) -> list[Address] | OSError:
        """Ask the system, and remember its answer; if that fails, return why, and remember nothing."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            return why_not_found() or Unresolvable("name does not resolve")
        except OSError as error:
            return error
        addresses: list[Address] = [(family, tuple(where)) for family, _, _, _, where in found]
        return self._remember(host, port, addresses, loop.time() + REMEMBER)

    def _remember(self, host: str, port: int, addresses: list[Address], until: float) -> list[Address]:
        if len(self._known) >= MAX_NAMES:
            self._known.clear()
        self._known[host, port] = (until, addresses)
        return addresses


def _literal(host: str, port: int) -> Address | None:
    if host.startswith("/"):
        return socket.AF_UNIX, host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (str(address), port)
    return socket.AF_INET6, (str(address), port, 0, 0)
