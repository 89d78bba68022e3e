"""Plain HTTP through the proxy: every request on the public listener that is not an upgrade.

One exchange: head → route → credentials → the upstream's answer → relay. aiohttp parses
on both sides; targets and the fields of answers pass as the bytes that were received.

What holds for every exchange:

* bodies stream both ways in constant memory; a part is written as soon as it is read,
  and nothing is read while the other side takes no more;
* ``Content-Length`` passes where it is known, else the answer is chunked (or ends with
  the connection, for HTTP/1.0). Trailers are discarded (RFC 9110 §6.5.1), never merged;
* an answer is complete or visibly broken: if the upstream dies in the middle, the browser gets
  what there is and no end; its connection is reset only where a plain end would be one (HTTP/1.0);
* a failure of an upstream is one line in the log, whatever the browser was told;
* interim answers (1xx) are passed on, but not to a browser that speaks HTTP/1.0 (RFC 9110 §15.2);
* a browser that goes away cancels the exchange, also the upstream's side;
* the upstream has a second to answer ``Expect: 100-continue``, then we do: not every upstream supports it;
  a body that comes without an invitation is forwarded at once;
* a request is sent a second time only if it is idempotent, has no body, and its
  connection had been kept and turned out to be closed.

Status codes of our own: 400 target, host or fields, 404 no route, 405 CONNECT and TRACE,
408 the browser stalled, 431 head too large, 501 a transfer coding other than chunked,
502 upstream unreachable or not HTTP, 503 too many under way or no descriptor for one more, 504 upstream
too slow, 505 not HTTP/1, 508 the request passed through this proxy before; and those of authentication. On
JupyterHub's routes an unreachable upstream is 503, by which JupyterLab knows that its server has stopped.

Rules of this file: no field is decided here (`bascule.policy.forwarding`), no byte is
written here (`bascule.gateway.plain_response`). Reasons: docs/decisions/0003-plain-http.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import HttpVersion10, HttpVersion11, hdrs
from yarl import URL

from bascule.errors import HandshakeRefused
from bascule.gateway.exchanges import TOO_MANY
from bascule.gateway.giveway import give_way
from bascule.gateway.hubpages import HubPages
from bascule.gateway.plain_client import telling, upstream_session
from bascule.gateway.plain_failure import (
    BAD_ANSWER,
    BROKEN_OFF,
    NO_ROOM,
    TIMEOUT,
    UNREACHABLE,
    describe,
    why_unreachable,
)
from bascule.gateway.plain_fields import FieldsAsText
from bascule.gateway.plain_response import BrowserSide, MalformedHead
from bascule.gateway.plain_server import PlainProtocol
from bascule.gateway.plain_upload import Upload
from bascule.handover.counters import GatewayWord
from bascule.policy.clientaddress import TrustedProxies
from bascule.policy.cookies import without_cookie
from bascule.policy.forwarding import (
    client_address_of,
    end_to_end_fields,
    forwarded_fields,
    values_of,
    with_host,
)
from bascule.policy.location import inside_prefix
from bascule.policy.redirecting import slash_location
from bascule.policy.routeconfig import AuthMode
from bascule.protocol.http1 import ONLY_HTTP_1, BadHead, ResponseHead, framing_of
from bascule.protocol.path import ASTERISK, is_host
from bascule.telemetry.accesslog import Errand

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiohttp import web
    from aiohttp.http import RawResponseMessage
    from multidict import CIMultiDict

    from bascule.gateway.announced import Peer
    from bascule.gateway.exchanges import Exchanges
    from bascule.gateway.fence import Fence
    from bascule.gateway.hub import HubLedger
    from bascule.gateway.life import Life
    from bascule.policy.config import Config
    from bascule.policy.forwarding import Fields
    from bascule.policy.routes import Match, Routes
    from bascule.telemetry.accesslog import AccessLog

__all__ = ["PlainProxy"]

_REQUESTS: Final = int(GatewayWord.HTTP_REQUESTS)
_FAILURES: Final = int(GatewayWord.HTTP_UPSTREAM_FAILURES)

_MOST_REMEMBERED: Final = 4096
"""Most upstreams remembered whose last answer was HTTP/1.0; beyond that the memory is emptied."""

_VERSIONS: Final = (HttpVersion11, HttpVersion10)

_BROWSERS_FIELDS: Final = frozenset({hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT})
_INVENTED: Final = (*_BROWSERS_FIELDS, hdrs.CONTENT_TYPE)
"""Fields that aiohttp adds to requests that lack them, unless told not to.

Telling it costs as much as copying the fields, and a browser's GET lacks none of `_BROWSERS_FIELDS`.
"""

_ALLOWED: Final = ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)

_SAFE: Final = ("GET", "HEAD")
_SOON: Final = ((b"Retry-After", b"1"),)
_ANSWERS: Final = {
    NO_ROOM: (503, "This proxy cannot connect to any more applications at the moment."),
    UNREACHABLE: (502, "The application behind this address cannot be reached."),
    BAD_ANSWER: (502, "The application behind this address gave an answer that is not valid HTTP."),
    TIMEOUT: (504, "The application behind this address did not answer in time."),
}
"""Status and page for each way in which there is no answer of an upstream to begin with."""


class _BrowserStalled(Exception):
    """The browser stopped sending the body of its request."""


def _bytes(reason: str | None) -> bytes:
    """Return a reason phrase as it was received."""
    return (reason or "").encode("utf-8", "surrogateescape")


def _kept_inside(fields: Fields, match: Match, asked: CIMultiDict[str]) -> list[tuple[bytes, bytes]]:
    """Return an answer's fields with a ``Location`` that stays below the prefix that was stripped."""
    prefix, host = (
        asked.get(name, "").encode("utf-8", "surrogateescape") for name in ("X-Forwarded-Prefix", hdrs.HOST)
    )
    return [
        (
            name,
            inside_prefix(value, prefix, upstream=match.upstream.authority, host=host, target=match.target),
        )
        if name.lower() == b"location"
        else (name, value)
        for name, value in fields
    ]


def _peer(request: web.BaseRequest) -> Peer:
    """Return whose connection a request came on."""
    assert isinstance(request.protocol, PlainProtocol)
    return request.protocol.peer


class PlainProxy:
    """Relays plain HTTP to the upstreams of the route table.

    Args:
        config: The configuration.
        routes: Where a target leads.
        words: The gateway's block of counters.
        access_log: One line per request that fails.
        exchanges: Counts the requests under way.
        life: Tells whether connections are kept.
        upstream_tls: The TLS context for upstreams.
        fence: Says which addresses a host may have that a URL named.
        authorise: Called for routes that need credentials, with the values of ``Cookie`` and the match;
            raises `HandshakeRefused`.
        hub: Notes activity on JupyterHub's routes.

    Attributes:
        via: Our element of ``Via`` for requests received with HTTP/1.1.
    """

    def __init__(
        self,
        config: Config,
        routes: Routes,
        words: memoryview,
        access_log: AccessLog,
        exchanges: Exchanges,
        life: Life,
        upstream_tls: ssl.SSLContext,
        fence: Fence,
        *,
        authorise: Callable[[list[bytes], Match], object],
        hub: HubLedger | None = None,
    ) -> None:
        self._routes = routes
        self._words = words
        self._access = access_log
        self._exchanges = exchanges
        self._authorise = authorise
        self._hub = hub
        self._tls = upstream_tls
        self._fence = fence
        self._trusted = TrustedProxies(config.trusted_proxies)
        self._head_bytes = config.limits.request_head_bytes
        self._connect_timeout = config.limits.connect_timeout
        self._patience = config.limits.http_upstream_timeout
        self._withheld = config.auth.session.withheld
        self._pseudonym = f"bascule-{secrets.token_hex(4)}"
        self._via10 = b"1.0 " + self._pseudonym.encode()
        self.via = b"1.1 " + self._pseudonym.encode()
        error_target = config.hub.error_target if config.hub.enabled else None
        self._hub_pages = None if error_target is None else HubPages(error_target, self.via)
        self._as_text = FieldsAsText()
        self._speaks_http10: set[bytes] = set()
        self._session: aiohttp.ClientSession | None = None
        self._fenced: aiohttp.ClientSession | None = None
        self._life = life

    async def start(self) -> None:
        """Open the pools of upstream connections.

        A request whose URL named the host gets no connection that was made for one whose host the operator
        named, and which no fence has seen.
        """
        self._session = upstream_session(self._connect_timeout, self._tls)
        self._fenced = upstream_session(self._connect_timeout, self._tls, self._fence)

    async def close(self) -> None:
        """Close all upstream connections."""
        sessions, self._session, self._fenced = (self._session, self._fenced), None, None
        for session in sessions:
            if session is not None:
                await session.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; the answer is already sent when this returns."""
        self._words[_REQUESTS] += 1
        fits = self._exchanges.begin()
        try:
            browser = BrowserSide(request)
            if not self._life.keeps:
                browser.keep_alive = False
            if fits:
                answer = await self._answer(request, browser)
            else:
                answer = await browser.answer(503, TOO_MANY, _SOON)
            if browser.status:  # else the browser has left
                self._exchanges.answered(browser.status)
            if browser.body_is_missing:
                await browser.linger()
            return answer
        finally:
            self._exchanges.end(fits)

    async def _answer(self, request: web.BaseRequest, browser: BrowserSide) -> web.StreamResponse:
        if request.version.major != 1:
            return await self._refuse(request, browser, 505, ONLY_HTTP_1, close=True)
        if request.method in ("CONNECT", "TRACE"):
            is_tunnel = request.method == "CONNECT"
            return await self._refuse(
                request, browser, 405, "This method is not supported.", _ALLOWED, close=is_tunnel
            )
        raw_target = request.raw_path.encode("utf-8", "surrogateescape")
        if raw_target == ASTERISK:
            return await browser.answer(204, extra=_ALLOWED)
        fields: Fields = request.raw_headers
        known = request.headers
        # aiohttp decodes only chunks, and the upstream would not be told of any other coding.
        if known.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
            return await self._refuse(
                request, browser, 501, "This transfer coding is not supported.", close=True
            )
        if sum(map(len, chain.from_iterable(fields))) > self._head_bytes:
            return await self._refuse(
                request, browser, 431, "The request's fields are too large.", close=True
            )
        if hdrs.VIA in known and any(self._pseudonym in via for via in known.getall(hdrs.VIA)):
            return await self._refuse(
                request, browser, 508, "The request came back to this proxy: the routes form a loop."
            )
        host = known.get(hdrs.HOST, "").encode("utf-8", "surrogateescape")
        if not is_host(host):
            return await self._refuse(request, browser, 400, "The Host field is not valid.")
        try:
            match = self._routes.match(raw_target, host)
            if match is None:
                return await self._refuse(request, browser, 404, "There is nothing at this address.")
            if match.authority is not None:
                host = match.authority
                fields = with_host(fields, host)
            if match.route.auth is not AuthMode.NONE:
                self._authorise(values_of(fields, b"cookie"), match)
            if self._withheld is not None:
                fields = without_cookie(fields, self._withheld)
        except HandshakeRefused as refusal:
            extra = tuple((name.encode(), value.encode()) for name, value in refusal.fields)
            return await self._refuse(request, browser, refusal.status, refusal.detail, extra)
        if request.method in _SAFE and (location := slash_location(raw_target, match)) is not None:
            extra = ((b"Location", location),)
            return await browser.answer(301, "This page's address ends in a slash.", extra)
        return await self._exchange(request, browser, match, fields, host)

    async def _refuse(
        self,
        request: web.BaseRequest,
        browser: BrowserSide,
        status: int,
        detail: str,
        extra: Fields = (),
        *,
        close: bool = False,
    ) -> web.StreamResponse:
        """Log a request that is not forwarded, and answer it."""
        self._access.request_refused(self._client(request), status, detail)
        if status == 404:
            return await self._say(request, browser, status, detail)
        return await browser.answer(status, detail, extra, close=close)

    def _client(self, request: web.BaseRequest) -> str:
        return client_address_of(_peer(request).address, request.raw_headers, self._trusted)

    async def _exchange(
        self,
        request: web.BaseRequest,
        browser: BrowserSide,
        match: Match,
        fields: Fields,
        host: bytes,
    ) -> web.StreamResponse:
        """Ask the upstream and pass its answer on, or say why there is none."""
        headers = self._headers(request, match, fields, host)
        upload = None
        expects = headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        http11 = request.version >= HttpVersion11
        known10 = match.upstream.authority in self._speaks_http10
        if expects and not (request.body_exists and http11 and not known10):
            del headers[hdrs.EXPECT]  # HTTP/1.0 knows no 100: we ask for the body ourselves
        if request.body_exists:
            upload = Upload(request, browser, expects and http11, not known10)
            self._touch(match)
        try:
            answer = await self._ask(request, browser, match, headers, upload)
        except _BrowserStalled:
            return await browser.answer(408, "The request's body did not arrive in time.", close=True)
        except TimeoutError as error:
            return await self._failed(request, browser, match, TIMEOUT, describe(error))
        except (aiohttp.ClientConnectionError, OSError) as error:
            if upload is not None and request.content.exception() is not None:
                return await browser.answer(400, "The request's body is not valid.", close=True)
            return await self._failed(request, browser, match, why_unreachable(error), describe(error))
        except (aiohttp.ClientError, ValueError) as error:
            return await self._failed(request, browser, match, BAD_ANSWER, describe(error))
        if answer.version == HttpVersion10:
            if len(self._speaks_http10) >= _MOST_REMEMBERED:
                self._speaks_http10.clear()
            self._speaks_http10.add(match.upstream.authority)
        elif known10:
            self._speaks_http10.discard(match.upstream.authority)
        complete = False
        try:
            response = await self._relay(request, browser, match, answer, headers)
            complete = answer.closed
            if complete and answer.status < 300:
                self._touch(match)
            return response
        finally:
            if not complete:
                answer.close()

    def _headers(
        self, request: web.BaseRequest, match: Match, fields: Fields, host: bytes
    ) -> CIMultiDict[str]:
        """Return the fields for the upstream."""
        peer = _peer(request)
        sent = forwarded_fields(
            peer.address,
            self._trusted,
            fields,
            b"https" if peer.secure else b"http",
            host,
            match.prefix,
            self.via if request.version >= HttpVersion11 else self._via10,
        )
        return self._as_text.of(sent)

    async def _ask(
        self,
        request: web.BaseRequest,
        browser: BrowserSide,
        match: Match,
        headers: CIMultiDict[str],
        upload: Upload | None,
    ) -> aiohttp.ClientResponse:
        """Send the request and wait for the head of the answer; pass on what comes before that.

        Raises:
            _BrowserStalled: Time ran out while the browser owed us the body.
            TimeoutError: Time ran out.
        """
        upstream = match.upstream
        session = self._fenced if upstream.named_by_url else self._session
        assert session is not None, "start() was not called"
        # The whole target is given as the path: yarl would drop the "?" of an empty query.
        url = URL.build(
            scheme=upstream.scheme,
            authority=upstream.authority.decode("ascii"),
            path=match.target.decode("ascii"),
            encoded=True,
        )
        usual = request.method == "GET" and upload is None and headers.keys() >= _BROWSERS_FIELDS
        try:
            async with asyncio.timeout(self._patience or None) as deadline:
                if upload is not None:
                    upload.watch(deadline, self._patience)
                return await session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=None if upload is None else upload.parts(),
                    skip_auto_headers=None if usual else _INVENTED,
                    allow_redirects=False,
                    middlewares=(telling(partial(self._pass_on, browser, upload)),),
                )
        except TimeoutError:
            if upload is not None and upload.waits_for_browser:
                raise _BrowserStalled from None
            raise
        finally:
            if upload is not None:
                upload.watch(None, 0.0)

    async def _pass_on(
        self, browser: BrowserSide, upload: Upload | None, interim: RawResponseMessage
    ) -> None:
        """Pass on an interim answer of an upstream; a 100 only if the browser waits for one."""
        with contextlib.suppress(MalformedHead, ConnectionError):
            if interim.code == 100:
                if upload is not None:
                    await upload.invite()
                return
            fields = end_to_end_fields(interim.raw_headers, interim.code)
            await browser.interim(interim.code, _bytes(interim.reason), fields)

    async def _relay(
        self,
        request: web.BaseRequest,
        browser: BrowserSide,
        match: Match,
        answer: aiohttp.ClientResponse,
        asked: CIMultiDict[str],
    ) -> web.StreamResponse:
        """Pass the answer on, head first, then each part of the body as it arrives.

        Args:
            request: The browser's.
            browser: Its side.
            match: Where it led.
            answer: The upstream's.
            asked: The fields that the upstream was sent.
        """
        status = answer.status
        if status < 200 or answer.version not in _VERSIONS:  # a 101 that no request asked for; HTTP/2.0
            return await self._failed(request, browser, match, BAD_ANSWER, "its head is not acceptable")
        raw = list(answer.raw_headers)
        try:
            framing = framing_of(ResponseHead(answer.version.minor, status, b"", raw))
        except BadHead as error:
            return await self._failed(request, browser, match, BAD_ANSWER, error.detail)
        fields = end_to_end_fields(raw, status)
        if match.prefix and hdrs.LOCATION in answer.headers and match.hub_route is None:
            fields = _kept_inside(fields, match, asked)
        bodiless = browser.head_only or framing.length == 0
        if browser.body_is_missing:
            browser.keep_alive = False  # an early answer: the rest of the unwanted body still follows
        content = answer.content
        try:
            first = b"" if bodiless else content.read_nowait()
            whole = bodiless or content.at_eof()
        except (aiohttp.ClientError, OSError) as error:
            return await self._failed(request, browser, match, BAD_ANSWER, describe(error))
        try:
            await browser.start(
                status, _bytes(answer.reason), fields, first,
                dated=hdrs.DATE in answer.headers, length_known=bodiless or framing.length > 0, whole=whole,
            )  # fmt: skip
        except MalformedHead:
            return await self._failed(request, browser, match, BAD_ANSWER, "a line break inside a field")
        except ConnectionError:
            return browser.abort()
        if whole:
            return browser.sent()
        while True:
            try:
                part = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                self._note_failure(request, match, BROKEN_OFF, None, describe(error))
                return await browser.break_off(content._read_nowait(-1))
            try:
                if not part:
                    await browser.finish()
                    return browser.sent()
                await browser.write(part)
                give_way(len(part))
            except ConnectionError:
                return browser.abort()

    async def _failed(
        self, request: web.BaseRequest, browser: BrowserSide, match: Match, reason: str, detail: str
    ) -> web.StreamResponse:
        """Answer for an upstream that gave no answer, or was not asked."""
        status, page = _ANSWERS[reason]
        if reason is NO_ROOM:
            self._exchanges.refused()
            self._log_failure(request, match, reason, status, detail)
            return await browser.answer(status, page, _SOON)  # no room, either, to ask JupyterHub for a page
        if reason == UNREACHABLE and match.hub_route is not None:
            status = 503
        self._note_failure(request, match, reason, status, detail)
        return await self._say(request, browser, status, page)

    async def _say(
        self, request: web.BaseRequest, browser: BrowserSide, status: int, detail: str
    ) -> web.StreamResponse:
        """Answer with an error, in JupyterHub's words where it has any."""
        if self._hub_pages is not None and self._session is not None:
            page = await self._hub_pages.page(self._session, status, request.raw_path)
            if page is not None:
                return await browser.answer_with(status, *page)
        return await browser.answer(status, detail)

    def _touch(self, match: Match) -> None:
        """Note activity if this is a route of JupyterHub."""
        if self._hub is not None and match.hub_route is not None:
            self._hub.touch(match.hub_route)

    def _note_failure(
        self, request: web.BaseRequest, match: Match, reason: str, status: int | None, detail: str
    ) -> None:
        self._words[_FAILURES] += 1
        self._log_failure(request, match, reason, status, detail)

    def _log_failure(
        self, request: web.BaseRequest, match: Match, reason: str, status: int | None, detail: str
    ) -> None:
        route = match.route
        whose = Errand(route.name, route.kind, self._client(request), match.upstream.endpoint, None)
        self._access.request_failed(reason, whose, status=status, detail=detail)
