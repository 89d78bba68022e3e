"""One exchange, both heads: what arrives at the upstream and what comes back."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from tests.gateway.plain_support import Peer, World, answer, request_head, until

# -- the request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/?",
        b"/a?",
        b"/a?b?c",
        b"/a/",
        b"/a%20b",
        b"/%7Euser/%41",
        b"/%c3%a9/%C3%A9",
        b"/files/a%2Fb.ipynb",
        b"/v2/git/https%3A%2F%2Fhost%2Frepo/main",
        b"/url/https://host//x//",
        b"/a;v=1/b",
        b"/a+b%2Bc",
        b"/a?x=%00%2e%2e%2f&y=%zz&%",
        b"/a?x=../../..//y&z=;",
        b"/a?q='\"<>[]{}|^`\\",
        b"/@user:pw/~!$&'()*+,=",
        b"/a?" + b"x" * 8000,
    ],
)
async def test_the_target_reaches_the_upstream_byte_for_byte(world: World, target: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    assert (await front.request(target)).status == 200
    assert upstream.requests[0].start_line == b"GET %b HTTP/1.1" % target


async def test_a_stripped_prefix_is_told_in_a_field(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, path="/apps/{name}/", where={"name": "[a-z]+"}, stripPrefix=True)
    await front.request(b"/apps/demo/static/x%20y?a=%2F")
    assert upstream.requests[0].target == b"/static/x%20y?a=%2F"
    assert upstream.requests[0].value(b"X-Forwarded-Prefix") == b"/apps/demo"


@pytest.mark.parametrize(
    ("outer", "location", "told"),
    [
        pytest.param(b"", b"/login", b"/apps/demo/login", id="path"),
        pytest.param(b"", b"http://127.0.0.1:PORT/login", b"/apps/demo/login", id="own address"),
        pytest.param(b"", b"http://front/items/", b"http://front/apps/demo/items/", id="slash"),
        pytest.param(b"", b"https://elsewhere.example/", b"https://elsewhere.example/", id="elsewhere"),
        pytest.param(b"/outer/", b"/login", b"/outer/apps/demo/login", id="behind another"),
        pytest.param(b"/outer", b"/outer/apps/demo/x", b"/outer/apps/demo/x", id="told"),
        pytest.param(
            b"/caf\xc3\xa9", b"/login", b"/caf\xc3\xa9/apps/demo/login", id="behind one not in ASCII"
        ),
        pytest.param(b"/caf\xe9", b"/caf\xe9/apps/demo/x", b"/caf\xe9/apps/demo/x", id="told so"),
    ],
)
async def test_a_redirect_stays_below_a_stripped_prefix(
    world: World, outer: bytes, location: bytes, told: bytes
) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        where = location.replace(b"PORT", b"%d" % upstream.port)
        await peer.send(answer(b"location: " + where, b"X: /login", status=b"307 Temporary Redirect"))

    upstream = await world.upstream(script)
    front = await world.front(upstream, path="/apps/demo/", stripPrefix=True, trusted=["127.0.0.1"])
    got = await front.request(b"/apps/demo/items?x=1", b"X-Forwarded-Prefix: " + outer)
    assert got.fields[:2] == [(b"location", told), (b"X", b"/login")]


async def test_a_redirect_of_an_upstream_that_knows_its_prefix_passes_as_it_is(world: World) -> None:
    upstream = await world.repeating(answer(b"Location: /login", status=b"302 Found"))
    front = await world.front(upstream, path="/apps/demo/")
    assert (await front.request(b"/apps/demo/x")).value(b"Location") == b"/login"


async def test_fields_reach_the_upstream_unmerged_and_in_order(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    lines = [
        b"X-One: 1",
        b"Cookie: a=1; b=\xc3\xa9",
        b"x-one: 2",
        b"X-Empty:",
        b"Authorization: Basic eDp5",
        b"X-One: 3",
    ]
    await front.request(b"/", *lines)
    sent = upstream.requests[0]
    assert sent.fields[:7] == [
        (b"Host", b"front"),
        (b"X-One", b"1"),
        (b"Cookie", b"a=1; b=\xc3\xa9"),
        (b"X-One", b"2"),
        (b"X-Empty", b""),
        (b"Authorization", b"Basic eDp5"),
        (b"X-One", b"3"),
    ]


async def test_fields_whose_names_differ_in_case_only_all_reach_the_upstream(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    await front.request(b"/", b"Cookie: a=1", b"cookie: b=2")
    assert upstream.requests[0].values(b"Cookie") == [b"a=1", b"b=2"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
async def test_nothing_is_added_but_what_is_said_about_the_client(world: World, method: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    await front.request(b"/", method=method)
    names = [name for name, _ in upstream.requests[0].fields]
    if method == b"DELETE":
        names.remove(b"Content-Length")  # 0, as RFC 9110 §8.6 recommends
    assert names == [
        b"Host",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Real-IP",
        b"X-Forwarded-Host",
        b"Via",
    ]
    assert upstream.requests[0].value(b"Host") == b"front"
    assert upstream.requests[0].value(b"X-Forwarded-For") == b"127.0.0.1"


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"PATCH"])
async def test_a_browsers_request_gets_no_content_type(world: World, method: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    await front.request(b"/", b"Accept: a", b"Accept-Encoding: b", b"User-Agent: c", method=method)
    assert upstream.requests[0].value(b"Content-Type") is None
    assert upstream.requests[0].value(b"Accept-Encoding") == b"b"


async def test_fields_of_a_trusted_proxy_are_kept_and_appended_to(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, trusted=["127.0.0.0/8"])
    await front.request(b"/", b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https")
    assert upstream.requests[0].value(b"X-Forwarded-For") == b"203.0.113.9, 127.0.0.1"
    assert upstream.requests[0].value(b"X-Forwarded-Proto") == b"https"
    assert upstream.requests[0].value(b"X-Real-IP") == b"203.0.113.9"


async def test_hop_by_hop_fields_stay_here(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    lines = [b"Connection: keep-alive, X-Hop, Authorization", b"X-Hop: 1", b"TE: trailers", b"Keep-Alive: 5"]
    await front.request(b"/", *lines, b"Authorization: x", b"Proxy-Authorization: y", b"X_Real_IP: z")
    names = {name.lower() for name, _ in upstream.requests[0].fields}
    assert b"authorization" in names
    assert not names & {b"connection", b"x-hop", b"te", b"keep-alive", b"proxy-authorization", b"x_real_ip"}


HIGH = bytes(range(0x80, 0x100))


@pytest.mark.parametrize(
    ("method", "body"),
    [(b"GET", b""), (b"POST", b"body"), (b"POST", b"x" * 200_000)],
    ids=["none", "short", "long"],
)
async def test_a_field_value_of_any_bytes_reaches_the_upstream_as_it_is(
    world: World, method: bytes, body: bytes
) -> None:
    """RFC 9110 §5.5: obs-text is opaque. A cookie that was no UTF-8 locked its user out of every page."""
    upstream = await world.repeating(answer())
    peer = await (await world.front(upstream)).connect()
    lines = [b"Cookie: name=M\xfcller; b=\xc3\xa9", b"X-High: " + HIGH, b"Content-Length: %d" % len(body)]
    for _ in range(2):  # the connection to the upstream is kept
        await peer.send(request_head(b"/", *lines, method=method) + body)
        assert (await peer.message()).status == 200
    assert upstream.connections == 1
    for sent in upstream.requests:
        assert sent.value(b"Cookie") == b"name=M\xfcller; b=\xc3\xa9"
        assert sent.value(b"X-High") == HIGH
        assert sent.body == body


async def test_a_field_value_of_any_bytes_goes_with_a_body_that_is_to_be_invited(world: World) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        upstream.requests.append(head)
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.exactly(4) == b"body"
        await peer.send(answer())

    upstream = await world.upstream(script)
    peer = await (await world.front(upstream)).connect()
    lines = [b"Expect: 100-continue", b"Content-Length: 4", b"X-High: " + HIGH]
    await peer.send(request_head(b"/", *lines, method=b"POST"))
    assert (await peer.head()).status == 100
    await peer.send(b"body")
    assert (await peer.message()).status == 200
    assert upstream.requests[0].value(b"X-High") == HIGH


async def test_a_field_value_of_any_bytes_reaches_the_browser_as_it_is(world: World) -> None:
    upstream = await world.repeating(answer(b"Set-Cookie: name=M\xfcller", b"X-High: " + HIGH))
    got = await (await world.front(upstream)).request(b"/")
    assert got.value(b"Set-Cookie") == b"name=M\xfcller"
    assert got.value(b"X-High") == HIGH


async def test_connections_to_the_upstream_are_reused(world: World) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    front = await world.front(upstream)
    for _ in range(5):
        await front.request(b"/")
    assert upstream.connections == 1


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.message()
            await peer.send(answer(body=request.target))

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(b"".join(request_head(b"/%d" % number) for number in range(5)))
    assert [(await peer.message()).body for _ in range(5)] == [b"/%d" % number for number in range(5)]


# -- the answer -------------------------------------------------------------------------------------------


async def test_the_answer_passes_as_it_was_sent(world: World) -> None:
    lines = [
        b"Date: Mon, 01 Jan 2024 00:00:00 GMT",
        b"SERVER: TornadoServer/6",
        b"Set-Cookie: a=1; Path=/; HttpOnly",
        b"set-cookie: b=\xe9; Expires=Wed, 21 Oct 2015 07:28:00 GMT",
        b"Set-Cookie: a=2",
        b"X-Odd:  spaced  value  ",
        b"Content-Encoding: gzip",
        b"Location: http://elsewhere/%7e?a=b#c",
    ]
    upstream = await world.repeating(answer(*lines, status=b"299 Strangely Fine", body=b"not gzip at all"))
    front = await world.front(upstream)
    got = await front.request(b"/")
    assert got.start_line == b"HTTP/1.1 299 Strangely Fine"
    assert got.fields == [
        (b"Date", b"Mon, 01 Jan 2024 00:00:00 GMT"),
        (b"SERVER", b"TornadoServer/6"),
        (b"Set-Cookie", b"a=1; Path=/; HttpOnly"),
        (b"set-cookie", b"b=\xe9; Expires=Wed, 21 Oct 2015 07:28:00 GMT"),
        (b"Set-Cookie", b"a=2"),
        (b"X-Odd", b"spaced  value"),
        (b"Content-Encoding", b"gzip"),
        (b"Location", b"http://elsewhere/%7e?a=b#c"),
        (b"Content-Length", b"15"),
    ]
    assert got.body == b"not gzip at all"


async def test_nothing_is_added_to_an_answer_but_the_date(world: World) -> None:
    front = await world.front(await world.repeating(answer(body=b"x")))
    got = await front.request(b"/")
    assert [name for name, _ in got.fields] == [b"Content-Length", b"Date"]
    assert parsedate_to_datetime((got.value(b"Date") or b"").decode()).tzinfo is not None


async def test_hop_by_hop_fields_of_the_answer_stay_here(world: World) -> None:
    lines = [
        b"Connection: X-Hop",
        b"X-Hop: 1",
        b"Keep-Alive: timeout=5",
        b"Proxy-Authenticate: Basic",
        b"Upgrade: h2c",
    ]
    front = await world.front(await world.repeating(answer(*lines, b"Date: x", body=b"x")))
    assert (await front.request(b"/")).fields == [(b"Date", b"x"), (b"Content-Length", b"1")]


@pytest.mark.parametrize(
    ("lines", "connection"), [([], [b"upgrade"]), ([b"Connection: close"], [b"upgrade", b"close"])]
)
async def test_a_426_of_the_upstream_says_what_it_wants(
    world: World, lines: list[bytes], connection: list[bytes]
) -> None:
    sent = answer(b"Connection: Upgrade", b"Upgrade: websocket", status=b"426 Upgrade Required")
    got = await (await world.front(await world.repeating(sent))).request(b"/", *lines)
    assert got.status == 426
    assert got.value(b"Upgrade") == b"websocket"  # RFC 9110 §15.5.22
    assert got.values(b"Connection") == connection  # RFC 9110 §7.8


async def test_a_head_answer_keeps_its_length_and_has_no_body(world: World) -> None:
    head = answer(b"Date: x", b"Content-Length: 12345", body=None)
    upstream = await world.repeating(head)
    front = await world.front(upstream)
    peer = await front.connect()
    got = await peer.request(b"/", method=b"HEAD")
    assert got.fields == [(b"Date", b"x"), (b"Content-Length", b"12345")]
    assert (await peer.request(b"/", method=b"HEAD")).status == 200
    assert upstream.connections == 1


async def test_a_head_answer_without_length_gets_none(world: World) -> None:
    front = await world.front(
        await world.repeating(answer(b"Date: x", b"Transfer-Encoding: chunked", body=None))
    )
    peer = await front.connect()
    for _ in range(2):
        assert (await peer.request(b"/", method=b"HEAD")).fields == [(b"Date", b"x")]


@pytest.mark.parametrize(
    ("status", "lines", "fields"),
    [
        (b"204 No Content", [], []),
        (b"204 No Content", [b"Content-Length: 0"], []),
        (b"304 Not Modified", [b'ETag: "x"'], [(b"ETag", b'"x"')]),
        (b"304 Not Modified", [b"Content-Length: 999"], [(b"Content-Length", b"999")]),
    ],
)
async def test_answers_without_a_body_keep_the_connection(
    world: World, status: bytes, lines: list[bytes], fields: list[tuple[bytes, bytes]]
) -> None:
    front = await world.front(await world.repeating(answer(b"Date: x", *lines, status=status, body=None)))
    peer = await front.connect()
    for _ in range(2):
        got = await peer.request(b"/")
        assert got.start_line == b"HTTP/1.1 " + status
        assert got.fields == [(b"Date", b"x"), *fields]


async def test_ranges_pass_both_ways(world: World) -> None:
    part = answer(
        b"Content-Range: bytes 2-4/10", b"Accept-Ranges: bytes", status=b"206 Partial Content", body=b"cde"
    )
    upstream = await world.repeating(part)
    front = await world.front(upstream)
    got = await front.request(b"/", b"Range: bytes=2-4", b'If-Range: "x"')
    assert (got.status, got.body, got.value(b"Content-Range")) == (206, b"cde", b"bytes 2-4/10")
    assert upstream.requests[0].value(b"Range") == b"bytes=2-4"
    assert upstream.requests[0].value(b"If-Range") == b'"x"'


async def test_a_chunked_answer_stays_chunked_and_loses_its_trailers(world: World) -> None:
    chunked = answer(b"Transfer-Encoding: chunked", b"Trailer: X-Sum", body=None)
    chunked += b"3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 1\r\nSet-Cookie: evil=1\r\nExpires: 0\r\n\r\n"
    front = await world.front(await world.repeating(chunked))
    peer = await front.connect()
    for _ in range(2):
        got = await peer.request(b"/")
        assert got.body == b"abcdefg"
        assert got.trailers == []
        assert not got.values(b"Set-Cookie")
        assert not got.values(b"Trailer")
        assert not got.values(b"Expires")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",  # of RFC 2616; other proxies take it
    ],
)
async def test_an_answer_that_ends_with_the_connection_becomes_chunked(world: World, head: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(head + b"old ")
        await peer.send(b"style")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    for _ in range(2):
        got = await peer.request(b"/")
        assert got.start_line == b"HTTP/1.1 200 OK"
        assert got.value(b"Transfer-Encoding") == b"chunked"
        assert got.body == b"old style"


async def test_redirects_are_the_browsers_business(world: World) -> None:
    upstream = await world.repeating(answer(b"Location: /elsewhere", status=b"302 Found"))
    front = await world.front(upstream)
    assert (await front.request(b"/")).status == 302
    assert len(upstream.requests) == 1


async def test_an_http10_browser_gets_a_body_that_ends_with_the_connection(world: World) -> None:
    upstream = await world.repeating(
        answer(b"Transfer-Encoding: chunked", body=None) + b"3\r\nabc\r\n0\r\n\r\n"
    )
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    got = await peer.message()
    assert got.body == b"abc"
    assert got.value(b"Connection") == b"close"
    assert got.value(b"Transfer-Encoding") is None
    assert upstream.requests[0].value(b"X-Forwarded-Host") is None
    assert (upstream.requests[0].value(b"Via") or b"").startswith(b"1.0 ")


# -- figures ----------------------------------------------------------------------------------------------


async def test_requests_and_failures_are_counted(world: World) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    front = await world.front(upstream)
    await front.request(b"/")
    await front.request(b"/")
    assert (front.requests, front.failures) == (2, 0)
    await until(lambda: front.requests == 2)
