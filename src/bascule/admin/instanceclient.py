"""Where the other instances are, and how they are asked: HTTP at their admin listeners.

Over TLS where our own admin listener speaks that, for all have the same configuration. The certificate of an
instance found through the headless service must be for the name of that service: it has no other name.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from bascule.configuration.certificate import peer_context
from bascule.configuration.endpoints import Endpoint

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from bascule.configuration.config import Config

__all__ = ["InstanceClient"]

_LINE_BYTES: Final = 1 << 20
"""Longest line of an answer that is read by lines."""

_AT_ONCE: Final = 64
"""Most connections to all instances."""


class InstanceClient:
    """The other instances: the configured list (`capacity.peers`), and the addresses of the headless service.

    Args:
        config: Its `capacity` block, and the port and TLS of the admin listeners.

    Raises:
        ConfigError: A certificate, key or CA cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._settings = config.capacity
        # A Unix socket has none; then there is no headless service either.
        self._port = config.admin.port if isinstance(config.admin, Endpoint) else 0
        # Not when it is first needed: without a descriptor left OpenSSL reads no CA, and says nothing.
        self._tls = peer_context(config.admin_tls)
        self._found: dict[Endpoint, None] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def configured(self) -> bool:
        """Whether there can be any other instance."""
        return bool(self._settings.peers) or self._settings.headless_service is not None

    async def targets(self, deadline: float) -> list[Endpoint]:
        """Return where the other instances are. A headless service lists this instance too.

        Args:
            deadline: When to stop waiting for the name service, in the loop's time.
        """
        if (service := self._settings.headless_service) is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    found = await asyncio.get_running_loop().getaddrinfo(
                        service, self._port, type=socket.SOCK_STREAM
                    )
                self._found = dict.fromkeys(Endpoint(str(address[4][0]), self._port) for address in found)
            except (OSError, TimeoutError, UnicodeError):  # the last for what can be no host name
                pass  # No answer from the name service does not mean that there are none: keep them.
        return list(dict.fromkeys(self._settings.peers) | self._found)

    def ask(
        self, method: str, target: Endpoint, path: str, **request: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request to one instance; further arguments are aiohttp's.

        Raises:
            aiohttp.ClientError: It cannot be reached.
            OSError: The same.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=_AT_ONCE, force_close=True, ssl=self._tls or True),
                read_bufsize=_LINE_BYTES // 2,  # a line may have twice that
            )
        if self._tls is None:
            return self._session.request(method, f"http://{target}{path}", allow_redirects=False, **request)
        name = None if target in self._settings.peers else self._settings.headless_service
        return self._session.request(
            method, f"https://{target}{path}", allow_redirects=False, server_hostname=name, **request
        )

    async def close(self) -> None:
        """Stop asking.

        Cancellation: safe, but the client may stay open.
        """
        if self._session is not None:
            await self._session.close()
