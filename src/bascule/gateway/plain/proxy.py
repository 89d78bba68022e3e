"""Plain HTTP through the proxy: what becomes of each request on the public listener that is not an upgrade.

It is refused, redirected to the slash at its end, or exchanged with an upstream
(`bascule.gateway.plain.upstreams`), in which case this is the order: head → host → what holds
for every request (`bascule.policy.requestrules`) → exchange.

Status codes of our own: 400 target, host or fields, 404 no route, 405 CONNECT, TRACE and TRACK, 431 head too
large, 501 a transfer coding other than chunked, 503 too many under way, 505 not HTTP/1, 508 the request
passed through this proxy before; and those of authentication. Those of an exchange: see there.

Rules of this file: no field is decided here (`bascule.policy.forwarding`), no byte is
written here (`bascule.gateway.plain.response`). Reasons: docs/decisions/0003-plain-http.md.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, hdrs

from bascule.errors import RequestRefused
from bascule.gateway.errands import client_of
from bascule.gateway.exchanges import SOON, TOO_MANY
from bascule.gateway.listening.server import PlainProtocol, as_received
from bascule.gateway.plain.response import BrowserSide
from bascule.handover.counters import GatewayWord
from bascule.policy.clientaccount import Arrival
from bascule.policy.redirecting import slash_location
from bascule.protocol.http1 import ONLY_HTTP_1
from bascule.protocol.method import ECHOES
from bascule.protocol.path import ASTERISK, is_host

if TYPE_CHECKING:
    from aiohttp import web

    from bascule.configuration.config import Config
    from bascule.gateway.connections.proxyheader import Peer
    from bascule.gateway.exchanges import ExchangeCount
    from bascule.gateway.life import Life
    from bascule.gateway.plain.errors import PlainErrors
    from bascule.gateway.plain.upstreams import PlainUpstreams
    from bascule.policy.fieldlines import Fields
    from bascule.policy.requestrules import RequestRules
    from bascule.telemetry.accesslog import AccessLog
    from bascule.telemetry.errand import Client

__all__ = ["PlainProxy"]

_REQUESTS: Final = int(GatewayWord.HTTP_REQUESTS)

_ALLOWED: Final = ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)

_NO_METHOD: Final = "This method is not supported."

_SAFE: Final = ("GET", "HEAD")


class _LastRefused(RequestRefused):
    """A refusal that ends the connection, since we might misread what follows the request."""


class PlainProxy:
    """Relays plain HTTP to the upstreams of the route table.

    Args:
        config: The configuration.
        rules: What holds for every request, upgrades as well.
        words: The gateway's block of counters.
        access_log: One line per request that fails.
        exchanges: Counts the requests under way.
        life: Tells whether connections are kept.
        upstreams: Asks them.
        errors: Says that nothing is at an address.
    """

    def __init__(
        self,
        *,
        config: Config,
        rules: RequestRules,
        words: memoryview,
        access_log: AccessLog,
        exchanges: ExchangeCount,
        life: Life,
        upstreams: PlainUpstreams,
        errors: PlainErrors,
    ) -> None:
        self._rules = rules
        self._words = words
        self._access = access_log
        self._exchanges = exchanges
        self._life = life
        self._head_bytes = config.limits.request_head_bytes
        self._upstreams = upstreams
        self._errors = errors

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; the answer is already sent when this returns."""
        self._words[_REQUESTS] += 1
        fits = self._exchanges.begin()
        try:
            browser = BrowserSide(request)
            if not self._life.keeps:
                browser.keep_alive = False
            if fits:
                answer = await self._answer(browser)
            else:
                answer = await browser.answer(503, TOO_MANY, SOON)
            if browser.status:  # else the browser has left
                self._exchanges.answered(browser.status)
            if browser.body_is_missing:
                await browser.linger()
            return answer
        finally:
            self._exchanges.end(fits)

    async def _answer(self, browser: BrowserSide) -> web.StreamResponse:
        request = browser.request
        fields: Fields = request.raw_headers
        raw_target = as_received(request.raw_path)
        try:
            _check_first_line(request)
            self._check_fields(request)
            host = _host(request)
            if raw_target == ASTERISK:
                return await browser.answer(204, extra=_ALLOWED)
            via = [as_received(value) for value in request.headers.getall(hdrs.VIA, ())]
            match, host = self._rules.find(raw_target, host, via)
            self._rules.login(match, fields)
        except RequestRefused as refused:
            return await self._refuse(browser, refused)
        if request.method in _SAFE and (location := slash_location(raw_target, match)) is not None:
            extra = ((b"Location", location),)
            return await browser.answer(301, "This page's address ends in a slash.", extra)
        peer, client = _peer(request), self._client(request)
        arrival = Arrival(peer.address, client.address, b"https" if peer.secure else b"http", host)
        sent = self._rules.onward(match, arrival, fields, request.version.minor)
        return await self._upstreams.run(browser, match, sent, client)

    def _check_fields(self, request: web.BaseRequest) -> None:
        """Check the transfer coding, and the size of all fields together.

        Raises:
            RequestRefused: 400, 501 or 431.
        """
        # Whoever speaks HTTP/1.0 knows no transfer coding: it may have been read in another way before us.
        if request.version < HttpVersion11 and hdrs.TRANSFER_ENCODING in request.headers:  # RFC 9112 §6.1
            raise _LastRefused(400, "HTTP/1.0 has no Transfer-Encoding.")
        # aiohttp decodes only chunks, and the upstream would not be told of any other coding.
        if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
            raise _LastRefused(501, "This transfer coding is not supported.")
        if sum(map(len, chain.from_iterable(request.raw_headers))) > self._head_bytes:
            raise _LastRefused(431, "The request's fields are too large.")

    async def _refuse(self, browser: BrowserSide, refused: RequestRefused) -> web.StreamResponse:
        """Log a request that is not forwarded, and answer it."""
        status, detail = refused.status, refused.detail
        self._access.request_refused(self._client(browser.request), status, detail)
        if status == 404:
            return await self._errors.say(browser, status, detail)
        is_last = isinstance(refused, _LastRefused)
        return await browser.answer(status, detail, refused.fields, close=is_last)

    def _client(self, request: web.BaseRequest) -> Client:
        return client_of(self._rules, _peer(request).address, request.raw_headers)


def _check_first_line(request: web.BaseRequest) -> None:
    """Check version and method.

    Raises:
        RequestRefused: 505 or 405.
    """
    if request.version.major != 1:
        raise _LastRefused(505, ONLY_HTTP_1)
    if request.method == "CONNECT":
        raise _LastRefused(405, _NO_METHOD, _ALLOWED)
    if request.method in ECHOES:
        raise RequestRefused(405, _NO_METHOD, _ALLOWED)


def _host(request: web.BaseRequest) -> bytes:
    """Return the value of ``Host``; empty for none (HTTP/1.0).

    Raises:
        RequestRefused: 400, it is not valid.
    """
    host = as_received(request.headers.get(hdrs.HOST, ""))
    if not is_host(host):
        raise RequestRefused(400, "The Host field is not valid.")
    return host


def _peer(request: web.BaseRequest) -> Peer:
    """Return whose connection a request came on."""
    assert isinstance(request.protocol, PlainProtocol)
    return request.protocol.peer
