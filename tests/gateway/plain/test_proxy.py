"""What becomes of a request: it is refused, redirected or given to an upstream, and it is counted."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from bascule.errors import RequestRefused
from bascule.policy.login import Login
from tests.gateway.plain_support import Peer, World, answer, request_head, until

if TYPE_CHECKING:
    from collections.abc import Sequence


# -- the request ------------------------------------------------------------------------------------------


async def test_a_page_at_a_stripped_prefix_without_its_slash_is_sent_there(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, path="/apps/demo/", stripPrefix=True)
    for method in (b"GET", b"HEAD"):
        got = await front.request(b"/apps/demo?a=b", method=method)
        assert (got.status, got.value(b"Location")) == (301, b"./demo/?a=b")
    assert upstream.requests == []
    assert (await front.request(b"/apps/demo", method=b"POST")).status == 200
    assert (await front.request(b"/apps/demo/")).status == 200
    assert [asked.target for asked in upstream.requests] == [b"/", b"/"]


async def test_a_request_that_goes_nowhere_has_a_line_for_who_looks_for_it(world: World) -> None:
    front = await world.front(await world.repeating(answer()), path="/lab")
    await front.request(b"/secret/../x")
    await front.request(b"/nothing")
    assert front.log.lines == []
    assert front.log.debugged == [
        (
            "request refused",
            {"status": 400, "client": "127.0.0.1", "detail": "The path contains a dot segment."},
        ),
        (
            "request refused",
            {"status": 404, "client": "127.0.0.1", "detail": "There is nothing at this address."},
        ),
    ]


async def test_a_request_that_is_answered_has_a_line_without_its_path_for_who_looks_for_it(
    world: World,
) -> None:
    upstream = await world.repeating(answer(body=b"here"))
    front = await world.front(upstream)
    assert (await front.request(b"/secret?token=abc")).status == 200
    ((event, fields),) = front.log.debugged
    assert front.log.lines == []
    assert isinstance(fields.pop("duration_seconds"), float)
    assert (event, fields) == (
        "request answered",
        {
            "route": "r",
            "kind": "app",
            "client": "127.0.0.1",
            "upstream": f"127.0.0.1:{upstream.port}",
            "method": "GET",
            "status": 200,
        },
    )


async def test_an_upgrade_to_http2_is_served_as_plain_http(world: World) -> None:
    upstream = await world.repeating(answer(body=b"plain"))
    front = await world.front(upstream)
    peer = await front.connect()
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    assert (await peer.request(b"/one", *upgrade)).body == b"plain"
    assert await peer.ended()
    names = {name.lower() for name, _ in upstream.requests[0].fields}
    assert not names & {b"upgrade", b"connection", b"http2-settings"}


async def test_the_host_of_an_absolute_target_replaces_the_field(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    assert (await front.request(b"http://other:81/x?y")).status == 200
    assert upstream.requests[0].target == b"/x?y"
    assert upstream.requests[0].values(b"Host") == [b"other:81"]
    assert upstream.requests[0].value(b"X-Forwarded-Host") == b"other:81"


# -- old browsers, closing browsers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"a/b",
        b"user@a",
        b"a b",
        b"http://a",
        b"a:b",
        b"a:80:80",
        b"a?b",
        b"a#b",
        b"[::1",
        b'"a"',
        b"a%2",
        b"\xc3\xa9",
    ],
)
async def test_a_host_that_is_none_is_400(world: World, host: bytes) -> None:  # RFC 9112 §3.2
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert (await peer.message()).status == 400
    assert upstream.requests == []


@pytest.mark.parametrize("host", [b"", b"a", b"A_b.c.", b"127.0.0.1:", b"[::1]:8080", b"a%C3%A9:65535"])
async def test_any_host_that_is_one_is_taken(world: World, host: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert (await peer.message()).status == 200
    assert upstream.requests[0].values(b"Host") == [host]


async def test_an_http10_browser_may_keep_its_connection(world: World) -> None:
    front = await world.front(await world.repeating(answer(body=b"x")))
    peer = await front.connect()
    for _ in range(2):
        await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await peer.message()).value(b"Connection") == b"keep-alive"


async def test_a_browser_that_wants_to_close_is_closed(world: World) -> None:
    front = await world.front(await world.repeating(answer(body=b"x")))
    peer = await front.connect()
    got = await peer.request(b"/", b"Connection: close")
    assert got.value(b"Connection") == b"close"
    assert await peer.ended()


async def test_a_draining_proxy_closes_after_each_answer(world: World) -> None:
    front = await world.front(await world.repeating(answer(body=b"x")))
    peer = await front.connect()
    await peer.request(b"/")
    front.life.drain(0.0)
    assert (await peer.request(b"/")).value(b"Connection") == b"close"
    assert await peer.ended()


# -- answers of our own -----------------------------------------------------------------------------------


async def test_without_a_route_it_is_404(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, path="/lab/")
    peer = await front.connect()
    got = await peer.request(
        b"/other/<script>?token=secret", b"Accept: text/html,application/xhtml+xml,*/*;q=0.8"
    )
    assert got.status == 404
    assert got.value(b"Content-Type") == b"text/html; charset=utf-8"
    assert b"script" not in got.body
    assert b"secret" not in got.body
    assert b"other" not in got.body
    assert (await peer.request(b"/lab/")).status == 200
    assert (front.requests, front.failures, upstream.connections) == (2, 0, 1)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ([], False),
        ([b"Accept: */*"], False),
        ([b"Accept: application/json"], False),
        ([b"Accept: text/html"], True),
        ([b"Accept: text/html;q=0"], False),
        ([b"Accept: text/html;q=0.5, application/json"], False),
        ([b"Accept: application/json;q=0.5, TEXT/HTML ; q=0.9"], True),
        ([b"Accept: application/json;q=x", b"Accept: text/html;q=0.1"], True),
        ([b"Accept: application/xhtml+xml"], True),
    ],
)
async def test_programs_get_problem_details_and_browsers_a_page(
    world: World, accept: Sequence[bytes], html: bool
) -> None:
    front = await world.front(await world.repeating(answer()), path="/lab/")
    got = await front.request(b"/other", *accept)
    assert got.value(b"Cache-Control") == b"no-store"
    assert got.value(b"X-Content-Type-Options") == b"nosniff"
    if html:
        assert got.body.startswith(b"<!doctype html>")
    else:
        assert got.value(b"Content-Type") == b"application/problem+json"
        assert json.loads(got.body) == {
            "status": 404,
            "title": "Not Found",
            "detail": "There is nothing at this address.",
        }


async def test_an_error_answer_to_head_has_a_length_and_no_body(world: World) -> None:
    front = await world.front(await world.repeating(answer()), path="/lab/")
    peer = await front.connect()
    for _ in range(2):
        got = await peer.request(b"/other", method=b"HEAD")
        assert got.status == 404
        assert int(got.value(b"Content-Length") or 0) > 0


@pytest.mark.parametrize(
    "target",
    [
        b"/lab/../admin",
        b"/lab/%2e%2e/admin",
        b"/lab/..%2fadmin",
        b"//lab/x",
        b"/lab/%00",
        b"/lab/..;/x",
        b"/a\\b",
    ],
)
async def test_an_ambiguous_target_is_400_and_goes_nowhere(world: World, target: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    got = await front.request(target)
    assert got.status == 400
    assert target not in got.body
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "method",
    [b"PROPFIND", b"MKCOL", b"REPORT", b"QUERY", b"PURGE", b"VERSION-CONTROL", b"BAN", b"SETUP"],
)
async def test_a_method_that_only_the_upstream_knows_reaches_it(world: World, method: bytes) -> None:
    upstream = await world.repeating(answer(status=b"207 Multi-Status", body=b"ok"))
    peer = await (await world.front(upstream)).connect()
    assert (await peer.request(b"/a?b", b"Depth: 1", method=method)).status == 207
    await peer.send(request_head(b"/c", b"Content-Length: 4", method=method) + b"body")
    assert (await peer.message()).body == b"ok"
    await peer.send(
        request_head(b"/d", b"Transfer-Encoding: chunked", method=method) + b"3\r\nend\r\n0\r\n\r\n"
    )
    assert (await peer.message()).body == b"ok"
    assert (await peer.request(b"/e")).status == 207
    assert [asked.start_line for asked in upstream.requests] == [
        method + b" /a?b HTTP/1.1", method + b" /c HTTP/1.1", method + b" /d HTTP/1.1", b"GET /e HTTP/1.1",
    ]  # fmt: skip
    assert [asked.body for asked in upstream.requests] == [b"", b"body", b"end", b""]
    assert upstream.requests[0].value(b"Depth") == b"1"


async def test_a_later_minor_version_is_served_as_ours(world: World) -> None:  # RFC 9110 §2.5
    upstream = await world.repeating(answer(body=b"hello"))
    front = await world.front(upstream)
    peer = await front.connect()
    for _ in range(2):  # the connection is kept, as of HTTP/1.1
        await peer.send(request_head(b"/x", version=b"HTTP/1.2"))
        got = await peer.message()
        assert (got.start_line, got.body) == (b"HTTP/1.1 200 OK", b"hello")
    assert [request.start_line for request in upstream.requests] == [b"GET /x HTTP/1.1"] * 2


async def test_a_client_that_begins_with_http2_is_told_what_is_spoken(world: World) -> None:
    peer = await (await world.front(9)).connect()
    await peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    got = await peer.message()
    assert (got.status, got.body) == (505, b"Only HTTP/1 is supported.\n")
    assert await peer.ended()


async def test_connect_and_trace_are_not_served(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    for method in (b"TRACE", b"TRACK"):
        traced = await front.request(b"/", b"Cookie: secret", method=method)
        assert traced.status == 405
        assert b"secret" not in traced.body
    tunnel = await front.connect()
    await tunnel.send(b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n")
    got = await tunnel.message()
    assert (got.status, got.value(b"Allow")) == (405, b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    assert await tunnel.ended()
    assert upstream.connections == 0


async def test_options_of_the_whole_server_are_answered_here(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    for _ in range(2):
        got = await peer.request(b"*", method=b"OPTIONS")
        assert got.status == 204
        assert got.value(b"Allow") is not None
    assert upstream.connections == 0


@pytest.mark.parametrize(
    ("host", "lines", "status"),
    [(b"a b", [], 400), (b"front", [b"Transfer-Encoding: gzip, chunked"], 501)],
    ids=["host", "transfer coding"],
)
async def test_options_of_the_whole_server_need_valid_fields_too(
    world: World, host: bytes, lines: list[bytes], status: int
) -> None:
    front = await world.front(await world.repeating(answer()))
    peer = await front.connect()
    await peer.send(request_head(b"*", *lines, method=b"OPTIONS", host=host))
    assert (await peer.message()).status == status


async def test_a_loop_of_routes_is_seen(world: World) -> None:
    back: list[int] = []

    async def script(peer: Peer) -> None:
        request = await peer.message()
        via = request.value(b"Via") or b""
        reader, writer = await asyncio.open_connection("127.0.0.1", back[0])
        round_trip = await Peer(reader, writer).request(b"/", b"Via: " + via)
        writer.close()
        await peer.send(answer(status=b"%d X" % round_trip.status))

    front = await world.front(await world.upstream(script))
    back.append(front.port)
    assert (await front.request(b"/")).status == 508


async def test_two_proxies_in_a_row_are_no_loop(world: World) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    inner = await world.front(upstream)
    outer = await world.front(inner.port)
    assert (await outer.request(b"/")).body == b"x"
    assert len((upstream.requests[0].value(b"Via") or b"").split(b",")) == 2


async def test_fields_that_are_too_large_together_are_431(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, limits={"requestHeadBytes": 4096})
    got = await front.request(b"/", *(b"X-%d: %b" % (number, b"y" * 1000) for number in range(5)))
    assert got.status == 431
    assert upstream.connections == 0


# -- credentials ------------------------------------------------------------------------------------------


async def test_credentials_are_checked_and_not_passed_on(world: World) -> None:
    def authorise(cookies: list[bytes], _: object) -> Login:
        if cookies != [b"a=1; proxy_session=good; b=2"]:
            raise RequestRefused(401, "Unauthorized access.", ((b"WWW-Authenticate", b"Cookie"),))
        return Login("ada", None)

    upstream = await world.repeating(answer())
    front = await world.front(upstream, auth="session", authorise=authorise)
    refused = await front.request(b"/", b"Cookie: proxy_session=bad")
    assert (refused.status, refused.value(b"WWW-Authenticate")) == (401, b"Cookie")
    assert (await front.request(b"/", b"Cookie: a=1; proxy_session=good; b=2")).status == 200
    assert [request.value(b"Cookie") for request in upstream.requests] == [b"a=1; b=2"]


async def test_without_a_login_the_cookie_is_withheld_all_the_same(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    await front.request(b"/", b"Cookie: a=1; proxy_session=good")
    assert [request.value(b"Cookie") for request in upstream.requests] == [b"a=1"]


# -- figures ----------------------------------------------------------------------------------------------


async def test_responses_are_counted_by_the_class_of_their_status(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(request := await peer.message())
        if request.start_line.startswith(b"GET /moved"):
            await peer.send(answer(status=b"302 Found"))
        elif request.start_line.startswith(b"GET /none"):
            await peer.send(answer(status=b"404 Not Found"))

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    for target in (b"/moved", b"/none", b"/none", b"/dies"):
        await front.request(target)
    assert front.responses == {"2xx": 0, "3xx": 1, "4xx": 2, "5xx": 1}
    assert front.failures == 1


async def test_a_request_whose_client_has_left_before_its_answer_counts_no_response(world: World) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        asked.set()
        await over.wait()
        await peer.send(answer(body=b"x"))

    front = await world.front(await world.upstream(script))
    client = await front.connect()
    await client.send(request_head(b"/"))
    await asked.wait()
    client.writer.transport.abort()
    await until(lambda: not front.server.connections)
    over.set()
    await until(lambda: front.in_flight == 0)
    assert sum(front.responses.values()) == 0


def test_every_page_escapes_what_it_says() -> None:
    from bascule.gateway.listening.errorpages import error_page

    _, page = error_page(502, "<b>&", b"text/html")
    assert b"<p>&lt;b&gt;&amp;</p>" in page
    assert re.search(rb"script|src=|href=", page) is None
