"""What an upstream can answer to an upgrade, on the wire of a running proxy (attack list, section B).

Only a true 101 that answers the key we sent opens a session; another HTTP answer is the browser's answer;
no answer at all is a 101 and Close 1013 with a reason of its own. Each moves exactly one counter.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.deaf import deaf_port
from tests.support.figures import Figures
from tests.support.frames import TEXT, frame
from tests.support.processes import reserve_port
from tests.support.rawclient import SAMPLE_KEY, upgrade
from tests.support.rawupstream import RawUpstream, accept_for, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.rawclient import Clients, RawClient
    from tests.support.rawupstream import Call

    Ask = Callable[..., RawClient]

pytestmark = pytest.mark.usefixtures("calm")

PATIENCE = 2.0
"""Seconds the proxy waits for a connection, and for an answer."""

UNREACHABLE = b"WebSocket upstream is not reachable"

ONE_REFUSAL: dict[str, float] = {'bascule_refusals_total{reason="upstream"}': 1}
ONE_FAILURE: dict[str, float] = {"ws_upstream_connect_failures_total": 1}


@pytest.fixture(scope="module")
def blackhole() -> Iterator[int]:
    """Return a port that takes no connection: its backlog is full."""
    with deaf_port() as port:
        yield port


@pytest.fixture(scope="module")
def bascule(
    upstream: RawUpstream, blackhole: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBascule]:
    config = {
        "routes": [
            {"name": "all", "path": "/", "upstream": upstream.url},
            {"name": "refused", "path": "/refused", "upstream": f"http://127.0.0.1:{reserve_port()}"},
            {"name": "timeout", "path": "/timeout", "upstream": f"http://127.0.0.1:{blackhole}"},
            {"name": "unresolvable", "path": "/unresolvable", "upstream": "http://nobody.invalid:80"},
        ],
        "forwarders": {"count": 1},
        "limits": {
            "connectTimeout": f"{PATIENCE:g}s",
            "upstreamHandshakeTimeout": f"{PATIENCE:g}s",
            "requestHeadBytes": 81920,
            "requestFields": 40,
            "refusalHoldMax": 0,
            "closingHandshakeTimeout": "300ms",
        },
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


@pytest.fixture
def ask(bascule: RunningBascule, upstream: RawUpstream, clients: Clients) -> Ask:
    """Ask for an upgrade that the upstream answers with these bytes, and then says no more."""

    def asked(answer: bytes | Callable[[Call], object], *more: bytes) -> RawClient:
        def script(call: Call) -> None:
            if callable(answer):
                answer(call)
            else:
                call.send(answer)
            call.until_over()

        upstream.scripts[b"/asked"] = script
        client = clients(bascule.public_url)
        client.send(upgrade(b"/asked", *more))
        return client

    return asked


# -- another answer -------------------------------------------------------------------------------


BODIES = {
    "content-length": (b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "no-body": (b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("status", [200, 204, 301, 304, 401, 403, 404, 426, 429, 500, 503])
@pytest.mark.parametrize(("sent", "body"), BODIES.values(), ids=BODIES)
def test_another_answer_is_the_browsers_answer(
    bascule: RunningBascule, ask: Ask, status: int, sent: bytes, body: bytes
) -> None:  # 30
    figures = Figures(bascule)
    client = ask(b"HTTP/1.1 %d Some Reason\r\nX-Said: by upstream\r\n" % status + sent)
    answer = client.head()
    assert (answer.status, answer.reason) == (status, b"Some Reason")
    assert answer.value(b"X-Said") == b"by upstream"
    assert answer.value(b"Connection") == b"close"
    assert client.goodbye() == (b"" if status in (204, 304) else body)
    figures.settle({**ONE_REFUSAL, f'bascule_http_responses_total{{status="{status // 100}xx"}}': 1})


def test_an_answer_that_ends_with_its_connection_is_relayed_whole(ask: Ask) -> None:
    body = b"x" * 300_000

    def until_the_end(call: Call) -> None:
        call.send(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n" + body)
        call.socket.shutdown(socket.SHUT_WR)

    client = ask(until_the_end)
    assert client.head().status == 404
    assert client.goodbye() == body


@pytest.mark.parametrize("how", ["it is reset", "it takes too long"])
def test_an_answer_that_breaks_off_does_not_pass_for_whole(ask: Ask, how: str) -> None:
    arrived = threading.Event()

    def part(call: Call) -> None:
        call.send(b"HTTP/1.1 403 No\r\n\r\npart")
        if how == "it is reset":
            assert arrived.wait(10)
            call.reset()

    client = ask(part)
    assert client.head().status == 403
    client.until(lambda data: data.endswith(b"part"), "the part")
    arrived.set()
    with pytest.raises(ConnectionResetError):
        client.socket.recv(1)


def test_login_cookies_and_redirects_of_the_upstream_pass_as_they_are(ask: Ask) -> None:
    client = ask(
        b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.7:8888/login\r\n"
        b"Set-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n"
    )  # 41
    answer = client.head()
    assert answer.value(b"Location") == b"http://10.0.0.7:8888/login"
    assert answer.values(b"Set-Cookie") == [b"a=b; Path=/", b"c=d"]


def test_hop_by_hop_fields_of_an_answer_do_not_pass(ask: Ask) -> None:
    client = ask(
        b"HTTP/1.1 403 No\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: gone\r\n"
        b"Upgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-Other: stays\r\nContent-Length: 0\r\n\r\n"
    )
    answer = client.head()
    names = {name.lower() for name, _ in answer.fields}
    assert not names & {b"keep-alive", b"x-mine", b"upgrade", b"proxy-authenticate"}
    assert answer.value(b"X-Other") == b"stays"


def test_a_426_of_the_upstream_says_what_it_wants(ask: Ask) -> None:
    answer = ask(
        b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
    ).head()
    assert answer.value(b"Upgrade") == b"websocket"  # RFC 9110 §15.5.22
    assert answer.value(b"Sec-WebSocket-Version") == b"13"
    assert b", ".join(answer.values(b"Connection")) == b"upgrade, close"  # RFC 9110 §7.8


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]
)
def test_a_101_behind_an_interim_answer_opens_the_session(ask: Ask, interim: bytes) -> None:  # 34
    def script(call: Call) -> None:
        call.send(interim)
        switch(call)

    assert ask(script).head().status == 101


# -- a 101 that is none ---------------------------------------------------------------------------


def _switching(call: Call, *lines: bytes) -> None:
    call.send(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""]))


def _accept(call: Call) -> bytes:
    return b"Sec-WebSocket-Accept: " + accept_for(call.value(b"Sec-WebSocket-Key") or b"")


def _end_inside_the_head(call: Call) -> None:
    call.send(b"HTTP/1.1 101 Switch")
    call.socket.shutdown(socket.SHUT_RDWR)


def _say_something_else(call: Call) -> None:
    call.send(b"-ERR unknown command 'GET'\r\n")
    call.socket.shutdown(socket.SHUT_RDWR)


def _reset_inside_the_head(call: Call) -> None:
    call.send(b"HTTP/1.1 101 Switch")
    call.reset()


def _endlessly(call: Call, data: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            call.send(data)


FALSE_101: dict[str, Callable[[Call], object]] = {
    "31-no-upgrade": lambda call: _switching(call, b"Connection: Upgrade", _accept(call)),
    "31-no-connection": lambda call: _switching(call, b"Upgrade: websocket", _accept(call)),
    "31-another-protocol": lambda call: _switching(
        call, b"Upgrade: h2c", b"Connection: Upgrade", _accept(call)
    ),
    "32-no-accept": lambda call: _switching(call, b"Upgrade: websocket", b"Connection: Upgrade"),
    "32-accept-for-the-browsers-key": lambda call: _switching(
        call,
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_for(SAMPLE_KEY),
    ),
    "35-subprotocol-nobody-offered": lambda call: switch(call, b"Sec-WebSocket-Protocol: other"),
    "36-extension-nobody-offered": lambda call: switch(call, b"Sec-WebSocket-Extensions: x-other"),
    "malformed-head": lambda call: call.send(b"HTTP/1.1 101 OK\r\nX : y\r\n\r\n"),
    "bare-LF-everywhere": lambda call: call.send(
        b"HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n"
        + _accept(call)
        + b"\n\n"
    ),
    "bare-LF-in-another-answer": lambda call: call.send(b"HTTP/1.1 403 No\nContent-Length: 0\n\n"),
    "no-HTTP": lambda call: call.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "no-HTTP-and-no-end-of-a-head": lambda call: call.send(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no-HTTP-and-an-end": _say_something_else,
    "the-alert-of-a-server-that-speaks-TLS": lambda call: call.send(bytes.fromhex("15030100020246")),
    "39-endless-fields": lambda call: call.send(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000),
    "39-endless-field": lambda call: call.send(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000),
    "39-too-many-fields": lambda call: call.send(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 41 + b"\r\n"),
    "39-endless-interim-answers": lambda call: _endlessly(call, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "two-framings": lambda call: call.send(
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
    ),
    "unknown-coding": lambda call: call.send(b"HTTP/1.1 403 No\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
    "no-length": lambda call: call.send(b"HTTP/1.1 403 No\r\nContent-Length: -1\r\n\r\nabc"),
    "101-too-long-to-hand-over": lambda call: switch(call, *[b"A: " + b"b" * 6000] * 11),
}


@pytest.mark.parametrize("script", FALSE_101.values(), ids=FALSE_101)
def test_what_is_no_answer_to_our_handshake_is_502(
    bascule: RunningBascule, ask: Ask, script: Callable[[Call], object]
) -> None:
    figures = Figures(bascule)
    client = ask(script, b"Sec-WebSocket-Protocol: mine")
    answer = client.head()
    assert answer.status == 502
    assert b"Sec-WebSocket-Accept" not in dict(answer.fields)
    client.goodbye()
    figures.settle(ONE_REFUSAL)


def test_the_log_says_that_an_answer_has_bare_line_feeds(bascule: RunningBascule, ask: Ask) -> None:
    assert ask(FALSE_101["bare-LF-everywhere"]).head().status == 502
    line = bascule.events("session refused")[-1]
    assert (line["reason"], line["status"]) == ("upstream", 502)
    assert line["detail"] == "a bare line feed in the response head"


def test_the_upstream_gets_a_key_of_ours(upstream: RawUpstream, ask: Ask) -> None:
    before = len(upstream.calls)
    for _ in range(2):
        assert ask(switch).head().status == 101
    keys = [call.value(b"Sec-WebSocket-Key") for call in upstream.calls[before:]]
    assert len({SAMPLE_KEY, *keys}) == 3


# -- the upstream's choice ------------------------------------------------------------------------


def test_subprotocol_and_extensions_are_the_upstreams_choice(ask: Ask) -> None:
    offered = (
        b"Sec-WebSocket-Protocol: first, second",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    )
    chosen = (
        b"Sec-WebSocket-Protocol: second",
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
    )
    answer = ask(lambda call: switch(call, *chosen), *offered).head()
    assert answer.status == 101
    assert answer.value(b"Sec-WebSocket-Protocol") == b"second"
    assert answer.value(b"Sec-WebSocket-Extensions") == b"permessage-deflate; server_no_context_takeover"


def test_the_offer_travels_untouched_and_in_order(upstream: RawUpstream, ask: Ask) -> None:
    before = len(upstream.calls)
    offered = b"streamlit, token-of-a-user,  last"
    extensions = b"permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    client = ask(
        lambda call: switch(call, b"Sec-WebSocket-Protocol: streamlit"),
        b"Sec-WebSocket-Protocol: " + offered,
        b"Sec-WebSocket-Extensions: " + extensions,
    )
    assert client.head().status == 101
    (call,) = upstream.calls[before:]
    assert call.value(b"Sec-WebSocket-Protocol") == offered
    assert call.value(b"Sec-WebSocket-Extensions") == extensions


def test_nothing_is_chosen_where_the_upstream_chooses_nothing(ask: Ask) -> None:
    answer = ask(
        switch, b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Extensions: permessage-deflate"
    ).head()
    assert answer.values(b"Sec-WebSocket-Protocol") == answer.values(b"Sec-WebSocket-Extensions") == []


def test_cookies_set_with_the_101_reach_the_browser(ask: Ask) -> None:
    answer = ask(lambda call: switch(call, b"Set-Cookie: a=b", b"X-Kernel: 7")).head()
    assert (answer.value(b"Set-Cookie"), answer.value(b"X-Kernel")) == (b"a=b", b"7")


def test_a_frame_in_the_packet_of_the_101_reaches_the_browser_behind_its_101(
    ask: Ask,
) -> None:  # 37
    first = frame(TEXT, b"hello before you asked")

    def at_once(call: Call) -> None:
        key = call.value(b"Sec-WebSocket-Key") or b""
        call.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_for(key) + b"\r\n\r\n" + first * 100
        )

    client = ask(at_once)
    assert client.head().status == 101
    assert [found.raw for found in client.frames(100)] == [first] * 100


def test_an_answer_that_was_not_asked_for_opens_nothing(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 33
    def unasked(call: Call) -> None:
        _switching(call, b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: x")
        call.until_over()

    upstream.scripts[b"/unasked"] = unasked
    figures = Figures(bascule)
    client = clients(bascule.public_url)
    client.send(b"GET /unasked HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.head().status == 502
    assert "ws_connection_in_flight_count" not in figures.moved()


# -- no answer ------------------------------------------------------------------------------------


def _expect_unreachable(client: RawClient) -> None:
    answer = client.head()
    assert answer.status == 101
    said = client.refusal()
    assert (said.code, said.reason) == (1013, UNREACHABLE)


@pytest.mark.parametrize("path", [b"/refused", b"/timeout", b"/unresolvable"])
def test_an_upstream_that_cannot_be_reached_is_101_and_1013(
    bascule: RunningBascule, clients: Clients, path: bytes
) -> None:  # 38
    for _ in range(2):  # the second time its address is known
        figures = Figures(bascule)
        client = clients(bascule.public_url)
        client.send(upgrade(path, b"Sec-WebSocket-Protocol: streamlit, token"))
        answer = client.head()
        assert answer.status == 101
        assert answer.value(b"Sec-WebSocket-Protocol") == b"streamlit"
        said = client.refusal()
        assert (said.code, said.reason) == (1013, UNREACHABLE)
        figures.settle(ONE_FAILURE)


def test_a_browser_that_leaves_while_its_upstream_is_connected_to_gives_its_slot_back(
    bascule: RunningBascule, clients: Clients
) -> None:
    figures = Figures(bascule)
    for _ in range(2):
        client = clients(bascule.public_url)
        client.send(upgrade(b"/timeout"))
        eventually(lambda: bascule.in_flight == 1, 5, "it holds a slot")
        client.close()
        eventually(lambda: bascule.in_flight == 0, 5, "it is given back")
    figures.settle({'bascule_refusals_total{reason="gone"}': 2})


def _a_byte_at_a_time(call: Call) -> None:
    call.socket.settimeout(0.05)
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 10:
        call.send(bytes((byte,)))
        with contextlib.suppress(TimeoutError):
            call.receive()


NO_ANSWER: dict[str, Callable[[Call], object]] = {
    "38-never-answers": lambda call: call.until_over(),
    "39-a-byte-at-a-time": _a_byte_at_a_time,
    "40-ends-at-once": lambda call: call.socket.shutdown(socket.SHUT_RDWR),
    "40-resets": lambda call: call.reset(),
    "40-ends-inside-the-head": _end_inside_the_head,
    "40-resets-inside-the-head": _reset_inside_the_head,
}


@pytest.mark.parametrize("script", NO_ANSWER.values(), ids=NO_ANSWER)
def test_an_upstream_that_does_not_answer_is_101_and_1013(
    bascule: RunningBascule, ask: Ask, script: Callable[[Call], object]
) -> None:
    figures = Figures(bascule)
    _expect_unreachable(ask(script))
    figures.settle(ONE_FAILURE)


def test_a_lease_is_held_while_dialling_and_given_back(bascule: RunningBascule, ask: Ask) -> None:
    age = "ws_connection_in_flight_max_age_seconds"
    go: list[int] = []
    client = ask(lambda call: eventually(lambda: go or None, 30, "the test has looked"))
    # One look for both, since the lease is given back after PATIENCE: only what counts has an age.
    eventually(lambda: bascule.metric(age) > 0, 5, "the lease is taken, and has an age")
    client.close()
    go.append(1)
    eventually(lambda: bascule.in_flight == 0, 5, "the lease is given back")
    assert bascule.metric(age) == 0
