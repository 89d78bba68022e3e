"""Plain HTTP with an upstream: the request goes out, the answer is passed on.

aiohttp parses on both sides; targets and the fields of answers pass as the bytes that were received. What
holds for every exchange:

* bodies stream both ways in constant memory; a part is written as soon as it is read,
  and nothing is read while the other side takes no more;
* ``Content-Length`` passes where it is known, else the answer is chunked (or ends with
  the connection, for HTTP/1.0). Trailers are discarded (RFC 9110 §6.5.1), never merged;
* an answer is complete or visibly broken: if the upstream dies in the middle, the browser gets
  what there is and no end; its connection is reset only where a plain end would be one (HTTP/1.0);
* interim answers (1xx) are passed on, but not to a browser that speaks HTTP/1.0 (RFC 9110 §15.2);
* a browser that goes away cancels the exchange, also the upstream's side;
* the upstream has a second to answer ``Expect: 100-continue``, then we do: not every upstream supports it;
  a body that comes without an invitation is forwarded at once;
* a body that upstreams may leave unread is the last thing on its connection (`BODY_WITHOUT_MEANING`);
* a request is sent a second time only if its connection had been kept and turned out to be closed, and if
  either it is idempotent and has no body, or the upstream has taken no byte of it (`NotTaken`).

Status codes of our own: 400 the body, 408 the browser stalled; for those of an upstream's failure see
`bascule.gateway.plain.errors`.

Rules of this file: no field is decided here (`bascule.policy.forwarding`), no byte is
written here (`bascule.gateway.plain.response`). Reasons: docs/decisions/0003-plain-http.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import HttpVersion10, HttpVersion11, hdrs
from yarl import URL

from bascule.gateway.connections.giveway import give_way_after
from bascule.gateway.connections.patience import Patience
from bascule.gateway.listening.server import as_received
from bascule.gateway.plain.asked import PlainAsked
from bascule.gateway.plain.client import UploadBody, reporting_interim
from bascule.gateway.plain.connection import NotTaken, come_so_far
from bascule.gateway.plain.failure import BAD_ANSWER, BROKEN_OFF, TIMEOUT, describe, why_unreachable
from bascule.gateway.plain.fields import FieldsAsText
from bascule.gateway.plain.response import MalformedHead
from bascule.gateway.plain.upload import Upload
from bascule.policy.forwarding import end_to_end_fields
from bascule.policy.location import kept_inside
from bascule.protocol.body import Framing, framing_of
from bascule.protocol.http1 import BadHead, ResponseHead
from bascule.protocol.method import BODY_WITHOUT_MEANING

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.http import RawResponseMessage

    from bascule.gateway.hubactivity import HubActivity
    from bascule.gateway.plain.errors import PlainErrors
    from bascule.gateway.plain.pools import UpstreamPools
    from bascule.gateway.plain.response import BrowserSide
    from bascule.policy.fieldlines import Fields
    from bascule.policy.routes import Match
    from bascule.telemetry.accesslog import AccessLog
    from bascule.telemetry.errand import Client

__all__ = ["PlainUpstreams"]

_VERSIONS: Final = (HttpVersion11, HttpVersion10)

_BROWSERS_FIELDS: Final = frozenset({hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT})
_INVENTED: Final = (*_BROWSERS_FIELDS, hdrs.CONTENT_TYPE)
"""Fields that aiohttp adds to requests that lack them, unless told not to.

Telling it costs as much as copying the fields, and a browser's GET lacks none of `_BROWSERS_FIELDS`.
"""


class _BrowserStalled(Exception):
    """The browser stopped sending the body of its request."""


class PlainUpstreams:
    """Asks upstreams, and passes their answers on.

    Args:
        pools: The connections to upstreams.
        errors: Answers where an upstream does not.
        patience: Seconds that an upstream has until its answer begins; 0 for any number.
        activity: Notes activity on JupyterHub's routes; ``None`` where we take none.
        access_log: Gets a line for each request that was answered.
    """

    def __init__(
        self,
        pools: UpstreamPools,
        errors: PlainErrors,
        patience: float,
        activity: HubActivity | None,
        access_log: AccessLog,
    ) -> None:
        self._pools = pools
        self._errors = errors
        self._access = access_log
        self._patience = patience
        self._activity = activity
        self._as_text = FieldsAsText()

    async def run(
        self, browser: BrowserSide, match: Match, fields: Fields, client: Client
    ) -> web.StreamResponse:
        """Ask the upstream and pass its answer on, or say why there is none.

        Args:
            browser: The side that asks.
            match: Where the request leads.
            fields: The fields for the upstream.
            client: Who asks, for the log.
        """
        begin = monotonic()
        asked = self._asked(browser, match, fields, client)
        try:
            answer = await self._ask(asked)
        except _BrowserStalled:
            return await browser.answer(408, "The request's body did not arrive in time.", close=True)
        except TimeoutError as error:
            return await self._errors.answer(asked, TIMEOUT, describe(error))
        except (aiohttp.ClientConnectionError, OSError) as error:
            if asked.upload is not None and browser.request.content.exception() is not None:
                return await browser.answer(400, "The request's body is not valid.", close=True)
            return await self._errors.answer(asked, why_unreachable(error), describe(error))
        except (aiohttp.ClientError, ValueError) as error:
            return await self._errors.answer(asked, BAD_ANSWER, describe(error))
        self._pools.answered(match.upstream, answer.version)
        complete = False
        try:
            response = await self._relay(asked, answer)
            complete = answer.closed
            if complete:
                method = browser.request.method
                self._access.request_answered(asked.errand, method, answer.status, monotonic() - begin)
                if answer.status < 300:
                    self._touch(match)
            return response
        finally:
            if not complete:
                answer.close()

    def _asked(self, browser: BrowserSide, match: Match, fields: Fields, client: Client) -> PlainAsked:
        """Make a request ready for its upstream; see `run`."""
        request = browser.request
        headers = self._as_text.of(fields)
        upload = None
        expects = headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        http11 = request.version >= HttpVersion11
        known10 = self._pools.speaks_http10(match.upstream)
        if expects and not (request.body_exists and http11 and not known10):
            del headers[hdrs.EXPECT]  # HTTP/1.0 knows no 100: we ask for the body ourselves
        if request.body_exists:
            if request.method in BODY_WITHOUT_MEANING:
                headers[hdrs.CONNECTION] = "close"
            touch = partial(self._touch, match)
            upload = Upload(request, browser, expects and http11, not known10, touch)
        return PlainAsked(browser, match, headers, upload, client)

    async def _ask(self, asked: PlainAsked) -> aiohttp.ClientResponse:
        """Send the request and wait for the head of the answer; pass on what comes before that.

        Raises:
            _BrowserStalled: Time ran out while the browser owed us the body.
            TimeoutError: Time ran out.
        """
        upstream, upload = asked.match.upstream, asked.upload
        session = self._pools.to(upstream)
        # The whole target is given as the path: yarl would drop the "?" of an empty query.
        url = URL.build(
            scheme=upstream.scheme,
            authority=upstream.authority.decode("ascii"),
            path=asked.match.target.decode("ascii"),
            encoded=True,
        )
        method = asked.browser.request.method
        reporting = reporting_interim(partial(self._pass_on, asked))
        usual = method == "GET" and upload is None and asked.headers.keys() >= _BROWSERS_FIELDS
        try:
            async with Patience(self._patience) as patience:
                if upload is not None:
                    upload.watch(patience)
                while True:
                    try:
                        return await session.request(
                            method,
                            url,
                            headers=asked.headers,
                            data=None if upload is None else UploadBody(upload.parts()),
                            skip_auto_headers=None if usual else _INVENTED,
                            allow_redirects=False,
                            middlewares=(reporting,),
                        )
                    except NotTaken:  # hence it was a kept connection, and the next one will be new
                        await asyncio.sleep(0)  # lets the cancelled upload stop reading
                        if upload is not None and not upload.can_begin_anew:
                            raise
        except TimeoutError:
            if upload is not None and upload.waits_for_browser:
                raise _BrowserStalled from None
            raise
        finally:
            if upload is not None:
                upload.watch(None)

    async def _pass_on(self, asked: PlainAsked, interim: RawResponseMessage) -> None:
        """Pass on an interim answer of an upstream; a 100 only if the browser waits for one."""
        with contextlib.suppress(MalformedHead, ConnectionError):
            if interim.code == 100:
                if asked.upload is not None:
                    await asked.upload.invite()
                return
            if _has_loose_name(interim.raw_headers):
                return
            fields = end_to_end_fields(interim.raw_headers, interim.code)
            await asked.browser.interim(interim.code, as_received(interim.reason or ""), fields)

    async def _relay(self, asked: PlainAsked, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass the answer on, head first, then each part of the body as it arrives."""
        browser = asked.browser
        try:
            fields, framing = _passed_on(asked, answer)
        except BadHead as error:
            return await self._errors.answer(asked, BAD_ANSWER, error.detail)
        bodiless = browser.head_only or framing.length == 0
        if browser.body_is_missing:
            browser.keep_alive = False  # an early answer: the rest of the unwanted body still follows
        try:
            first = b"" if bodiless else answer.content.read_nowait()
            whole = bodiless or answer.content.at_eof()
        except (aiohttp.ClientError, OSError) as error:
            return await self._errors.answer(asked, BAD_ANSWER, describe(error))
        try:
            await browser.start(
                answer.status, as_received(answer.reason or ""), fields, first,
                dated=hdrs.DATE in answer.headers, length_known=bodiless or framing.length > 0, whole=whole,
            )  # fmt: skip
        except MalformedHead:
            return await self._errors.answer(asked, BAD_ANSWER, "a line break or a NUL inside a line")
        except ConnectionError:
            return browser.abort()
        return browser.sent() if whole else await self._relay_rest(asked, answer.content)

    async def _relay_rest(self, asked: PlainAsked, content: aiohttp.StreamReader) -> web.StreamResponse:
        """Pass on what follows the first part of the body."""
        browser = asked.browser
        while True:
            try:
                part = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                self._errors.note(asked, BROKEN_OFF, None, describe(error))
                return await browser.break_off(come_so_far(content))
            try:
                if not part:
                    await browser.finish()
                    return browser.sent()
                await browser.write(part)
                give_way_after(len(part))
            except ConnectionError:
                return browser.abort()

    def _touch(self, match: Match) -> None:
        """Note activity if this is a route of JupyterHub."""
        if self._activity is not None and match.hub_route is not None:
            self._activity.touch(match.hub_route)


def _has_loose_name(fields: Fields) -> bool:
    """Tell whether white space follows a name: aiohttp reads ``Content-Length : 5``, and clients differ."""
    return any(name.endswith((b" ", b"\t")) for name, _ in fields)


def _passed_on(asked: PlainAsked, answer: aiohttp.ClientResponse) -> tuple[Fields, Framing]:
    """Return the fields of an answer that the browser gets, and where its body ends.

    Raises:
        BadHead: The answer cannot be passed on.
    """
    match, status = asked.match, answer.status
    if status < 200 or answer.version not in _VERSIONS:  # a 101 that no request asked for; HTTP/2.0
        raise BadHead(502, "its head is not acceptable")
    raw = list(answer.raw_headers)
    if _has_loose_name(raw):
        raise BadHead(502, "white space behind the name of a field")
    framing = framing_of(ResponseHead(answer.version.minor, status, b"", raw))
    fields = end_to_end_fields(raw, status)
    if hdrs.LOCATION in answer.headers:
        sent = asked.headers
        prefix, host = (sent.get(name, "").encode("latin-1") for name in ("X-Forwarded-Prefix", hdrs.HOST))
        fields = kept_inside(fields, match, prefix, host)
    return fields, framing
