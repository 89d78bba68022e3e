"""Resolves host names to addresses, and remembers them for a few seconds. A Unix socket's path is an address.

A reconnect storm asks for the same few names hundreds of times a second, and each
look-up costs a thread. Ten seconds is short beside the time a Kubernetes Service
keeps its address, and a failed look-up is not remembered at all. An answer that led nowhere is used for a
second only: a pod that was started again has another address.

A look-up cannot be ended: in a dead zone it keeps its thread until the system's own time-out, however soon
those who wait for it give up. So there is one at a time for each name, whatever the port. Names that the
operator gave are not many. Of names that a URL chose a part of there are as many as anybody likes: only half
of the threads are theirs, a quarter is one zone's, and such a look-up begins only if somebody still waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from functools import partial
from typing import Final, NamedTuple

from bascule.gateway.connections.connecting import SocketAddress, why_not_found
from bascule.gateway.connections.turns import Turns
from bascule.tasks import spawn

__all__ = ["AT_ONCE", "REMEMBER", "Address", "Resolver", "Unresolvable"]

REMEMBER: Final = 10.0
"""Seconds for which an answer is used."""

_DOUBTED: Final = 1.0
"""Seconds, from the look-up on, for which an answer is used that led nowhere: a storm of clients whose
upstream is down asks once a second."""

_MAX_NAMES: Final = 4096
"""Most names remembered: names come from route patterns, so a client can vary them."""

AT_ONCE: Final = 32
"""Most look-ups at the same time, each on a thread. A name whose zone is dead takes the system's own
time-out (10 s as a rule); libuv allows two by default, so two such names would delay all other look-ups."""

_NAMED_BY_URLS: Final = Turns(AT_ONCE // 2, AT_ONCE // 4)
"""Turns of look-ups for names of which a URL chose a part; a kind is a zone, what follows the first label.
They are the process's, as its threads are."""

Address = tuple[socket.AddressFamily, SocketAddress]


class Unresolvable(OSError):
    """The name has no address."""


class _LookUp:
    """A look-up that somebody waits for, or that has begun.

    Attributes:
        task: Returns the addresses, or why there are none.
        waiters: How many wait for it.
        has_begun: Whether the system was asked: then it cannot be ended any more.
    """

    __slots__ = ("has_begun", "task", "waiters")

    task: asyncio.Task[list[Address] | OSError]

    def __init__(self) -> None:
        self.waiters = 0
        self.has_begun = False


class _Known(NamedTuple):
    """An answer.

    Attributes:
        until: When it is used no more.
        doubted_until: The same, once it has led nowhere.
        addresses: Without a port.
    """

    until: float
    doubted_until: float
    addresses: list[Address]


class Resolver:
    """Looks names up; literal addresses never wait.

    Args:
        remember: Seconds for which an answer is used.
        flags: Flags of ``getaddrinfo``.
        named_by_urls: Turns of look-ups for names of which a URL chose a part.
    """

    def __init__(
        self, remember: float = REMEMBER, flags: int = 0, named_by_urls: Turns = _NAMED_BY_URLS
    ) -> None:
        # libuv reads this at the first look-up of the process, and uses half of its threads for look-ups.
        os.environ.setdefault("UV_THREADPOOL_SIZE", str(2 * AT_ONCE))
        self._seconds = remember
        self._flags = flags
        self._named_by_urls = named_by_urls
        self._known: dict[str, _Known] = {}
        self._asking: dict[tuple[str, bool], _LookUp] = {}

    def known(self, host: str, port: int) -> list[Address] | None:
        """Return the addresses of a host; ``None`` unless an answer is remembered."""
        known = self._known.get(host)
        if known is None or known.until <= asyncio.get_running_loop().time():
            return None
        return _at(known.addresses, port)

    def doubt(self, host: str) -> None:
        """Look a host up again soon, because none of its addresses could be connected to."""
        if (known := self._known.get(host)) is not None:
            self._known[host] = known._replace(until=min(known.until, known.doubted_until))

    async def resolve(self, host: str, port: int, *, named_by_url: bool = False) -> list[Address]:
        """Return the addresses of a host, in the order to try them.

        Args:
            host: A name, an address, or the path of a Unix socket.
            port: Part of each address.
            named_by_url: Whether a part of the name came from a request's URL.

        Raises:
            Unresolvable: The name has no address, or the look-up failed.
            OSError: This host lacks what a look-up needs.

        Cancellation: safe; a look-up that has begun goes on.
        """
        known = self.known(host, port)
        if known is not None:
            return known
        literal = _literal(host)
        if literal is not None:
            return _at(self._remember(host, [literal], float("inf"), float("inf")), port)
        key = host, named_by_url
        look_up = self._asking.get(key)
        if look_up is None:
            look_up = self._asking[key] = _LookUp()
            look_up.task = spawn(self._look_up(look_up, host, named_by_url), "look-up")
            look_up.task.add_done_callback(partial(self._forget, key, look_up))
        look_up.waiters += 1
        try:
            found = await asyncio.shield(look_up.task)
        finally:
            look_up.waiters -= 1
            if not look_up.waiters and not look_up.has_begun:
                self._forget(key, look_up)
                look_up.task.cancel()
        if isinstance(found, OSError):
            raise found
        return _at(found, port)

    def _forget(self, key: tuple[str, bool], look_up: _LookUp, _: object = None) -> None:
        """Share a look-up with nobody any more."""
        if self._asking.get(key) is look_up:
            del self._asking[key]

    async def _look_up(self, look_up: _LookUp, host: str, named_by_url: bool) -> list[Address] | OSError:
        """Ask the system when it is our turn, and remember its answer.

        If that fails, return why, and remember nothing.
        """
        loop = asyncio.get_running_loop()
        turn = self._named_by_urls.turn(host.partition(".")[2]) if named_by_url else contextlib.nullcontext()
        async with turn:
            look_up.has_begun = True
            try:
                found = await loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=self._flags)
            except (socket.gaierror, UnicodeError):
                return why_not_found() or Unresolvable("name does not resolve")
            except OSError as error:
                return error
        addresses: list[Address] = [(family, tuple(where)) for family, _, _, _, where in found]
        now = loop.time()
        return self._remember(host, addresses, now + self._seconds, now + _DOUBTED)

    def _remember(
        self, host: str, addresses: list[Address], until: float, doubted_until: float
    ) -> list[Address]:
        if len(self._known) >= _MAX_NAMES:
            self._known.clear()
        self._known[host] = _Known(until, doubted_until, addresses)
        return addresses


def _at(addresses: list[Address], port: int) -> list[Address]:
    """Return addresses with a port in its place; those of Unix sockets have none."""
    return [
        (family, where if isinstance(where, str) else (where[0], port, *where[2:]))
        for family, where in addresses
    ]


def _literal(host: str) -> Address | None:
    if host.startswith("/"):
        return socket.AF_UNIX, host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (str(address), 0)
    return socket.AF_INET6, (str(address), 0, 0, 0)
