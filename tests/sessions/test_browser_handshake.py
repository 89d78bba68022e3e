"""Attacks on the opening handshake from the browser's side, on the wire of a running proxy.

Section A of the attack list; its numbers are in the ids. Every row fixes the status. Common to all: the
connection ends, the upstream hears nothing, exactly one counter moves, and one log line says what happened
without repeating what was sent.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.sessions.handshakes import EARLY, FIELDS, asks, narrow, refused_handshakes
from tests.support.figures import Figures
from tests.support.rawclient import SAMPLE_KEY, upgrade
from tests.support.rawupstream import RawUpstream, switch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call

pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture(scope="module")
def bascule(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    with narrow(upstream, tmp_path_factory.mktemp("bascule")) as running:
        yield running


def replaced(name: bytes, *lines: bytes) -> bytes:
    return upgrade(b"/", *lines, without=(name,))


def key(raw: bytes) -> bytes:
    return b"Sec-WebSocket-Key: " + raw


REFUSED = {
    "1-no-host": (replaced(b"host"), 400),
    "1-two-hosts": (upgrade(b"/", b"Host: other"), 400),
    "1-empty-host": (replaced(b"host", b"Host:"), 400),
    "1-no-host-at-all": (replaced(b"host", b"Host: a/b@c"), 400),
    "2-no-connection": (replaced(b"connection"), 400),
    "2-keep-alive": (replaced(b"connection", b"Connection: keep-alive"), 400),
    "3-notupgrade": (replaced(b"connection", b"Connection: notupgrade"), 400),
    "4-h2c-and-websocket": (replaced(b"upgrade", b"Upgrade: h2c, websocket"), 400),
    "4-two-upgrades": (upgrade(b"/", b"Upgrade: websocket"), 400),
    "5-version-7": (replaced(b"sec-websocket-version", b"Sec-WebSocket-Version: 7"), 426),
    "5-version-8": (replaced(b"sec-websocket-version", b"Sec-WebSocket-Version: 8"), 426),
    "5-version-12": (replaced(b"sec-websocket-version", b"Sec-WebSocket-Version: 12"), 426),
    "5-version-14": (replaced(b"sec-websocket-version", b"Sec-WebSocket-Version: 14"), 426),
    "5-no-version": (replaced(b"sec-websocket-version"), 426),
    "5-two-versions": (upgrade(b"/", b"Sec-WebSocket-Version: 13"), 426),
    "6-no-key": (replaced(b"sec-websocket-key"), 400),
    "6-empty-key": (replaced(b"sec-websocket-key", key(b"")), 400),
    "6-15-bytes": (replaced(b"sec-websocket-key", key(base64.b64encode(bytes(15)))), 400),
    "6-17-bytes": (replaced(b"sec-websocket-key", key(base64.b64encode(bytes(17)))), 400),
    "6-two-keys": (upgrade(b"/", key(SAMPLE_KEY)), 400),
    "6-CRLF-in-key": (replaced(b"sec-websocket-key", key(SAMPLE_KEY[:9] + b"\r\n" + SAMPLE_KEY[9:])), 400),
    "7-POST": (upgrade(start=b"POST / HTTP/1.1"), 405),
    "7-PUT": (upgrade(start=b"PUT / HTTP/1.1"), 405),
    "7-CONNECT": (upgrade(start=b"CONNECT / HTTP/1.1"), 405),
    "7-HEAD": (upgrade(start=b"HEAD / HTTP/1.1"), 405),
    "7-OPTIONS": (upgrade(start=b"OPTIONS / HTTP/1.1"), 405),
    "8-HTTP/1.0": (upgrade(start=b"GET / HTTP/1.0"), 400),
    "8-HTTP/0.9": (upgrade(start=b"GET /"), 400),
    "8-HTTP/2.0": (upgrade(start=b"GET / HTTP/2.0"), 505),
    "9-content-length": (upgrade(b"/", b"Content-Length: 5") + b"hello", 400),
    "10-chunked": (upgrade(b"/", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "11-both": (upgrade(b"/", b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "12-content-length-twice": (upgrade(b"/", b"Content-Length: 0", b"Content-Length: 0"), 400),
    "12-content-length-negative": (upgrade(b"/", b"Content-Length: -1"), 400),
    "12-content-length-plus": (upgrade(b"/", b"Content-Length: +5"), 400),
    "12-content-length-huge": (upgrade(b"/", b"Content-Length: " + b"9" * 30), 400),
    "13-obs-fold": (upgrade(b"/", b"X-A: b", b" c"), 400),
    "14-bare-LF": (upgrade(b"/", b"X-A: b\nX-C: d"), 400),
    "14-bare-LF-everywhere": (upgrade().replace(b"\r\n", b"\n"), 400),
    "14-CR-without-LF": (upgrade(b"/", b"X-A: b\rX-C: d"), 400),
    "15-space-before-colon": (upgrade(b"/", b"X-A : b"), 400),
    "16-NUL": (upgrade(b"/", b"X-A: b\x00c"), 400),
    "16-control-byte": (upgrade(b"/", b"X-A: b\x1bc"), 400),
    "18-one-field-too-many": (upgrade(b"/", *[b"X-A: b"] * (FIELDS - 4)), 431),
    "18-head-too-large": (upgrade(b"/", *[b"X-A: " + b"b" * 1000] * 20), 431),
    "18-one-field-of-a-megabyte": (upgrade(b"/", b"X-A: " + b"b" * 1_000_000), 431),
    "25-authority-form": (upgrade(b"front:80"), 400),
    "25-asterisk": (upgrade(b"*"), 400),
    "25-absolute-form-of-another-scheme": (upgrade(b"ftp://front/"), 400),
    "26-fragment": (upgrade(b"/a#b"), 400),
    "26-space": (upgrade(b"/a b"), 400),
    "26-no-ASCII": (upgrade("/é".encode()), 400),
    "42-dot-segment": (upgrade(b"/a/../b"), 400),
    "no-route-has-our-own-paths": (upgrade(b"/.bascule/x"), 404),
    "50-foreign-origin": (upgrade(b"/", b"Origin: https://evil.example"), 403),
    "50-null-origin": (upgrade(b"/", b"Origin: null"), 403),
    "50-two-origins": (upgrade(b"/", b"Origin: http://front", b"Origin: https://evil.example"), 403),
    "22-too-many-early-bytes": (upgrade() + b"x" * (EARLY + 1), 400),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_handshake_has_its_status(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients, request_bytes: bytes, status: int
) -> None:
    figures = Figures(bascule)
    heard = upstream.connections
    before = len(refused_handshakes(bascule))
    client = clients(bascule.public_url)
    with contextlib.suppress(ConnectionError):  # who is slow with a megabyte is answered and cut meanwhile
        client.send(request_bytes)
    answer = client.head()
    assert answer.status == status
    # RFC 9110 §15.5.22: a 426 must have Upgrade, and §7.8: whoever sends that names it in Connection.
    assert answer.value(b"Upgrade") == (b"websocket" if status == 426 else None)
    assert answer.value(b"Connection") == (b"close, upgrade" if status == 426 else b"close")
    client.goodbye()
    assert upstream.connections == heard
    figures.settle({'bascule_refusals_total{reason="handshake"}': 1})
    (line,) = refused_handshakes(bascule)[before:]
    assert line["status"] == status


def test_426_names_the_version_and_405_the_method(bascule: RunningBascule, clients: Clients) -> None:
    client = clients(bascule.public_url)
    client.send(REFUSED["5-version-8"][0])
    assert client.head().value(b"Sec-WebSocket-Version") == b"13"
    client = clients(bascule.public_url)
    client.send(REFUSED["7-POST"][0])
    assert client.head().value(b"Allow") == b"GET"


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(replaced(b"upgrade", b"Upgrade: h2c"), id="4-h2c"),
        pytest.param(replaced(b"upgrade"), id="4-no-upgrade"),
    ],
)
def test_an_upgrade_to_something_else_is_a_plain_request_without_the_upgrade(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients, request_bytes: bytes
) -> None:
    """RFC 9110 §7.8: a server may ignore Upgrade. The token must not reach the upstream (h2c smuggling)."""

    def plain(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    upstream.scripts[b"/"] = plain
    before = len(upstream.calls)
    client = clients(bascule.public_url)
    client.send(request_bytes)
    assert client.head().status == 200
    (call,) = upstream.calls[before:]
    assert call.values(b"Upgrade") == []
    assert b"upgrade" not in (call.value(b"Connection") or b"").lower()


def test_a_field_on_two_lines_that_misleads_nobody_reaches_the_upstream(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    upstream.scripts[b"/twice"] = switch
    before = len(upstream.calls)
    client = clients(bascule.public_url)
    client.send(upgrade(b"/twice", b"User-Agent: first", b"User-Agent: second"))
    assert client.head().status == 101
    (call,) = upstream.calls[before:]
    assert call.values(b"User-Agent") == [b"first", b"second"]


@pytest.mark.parametrize(
    ("request_bytes", "name"),
    [
        (upgrade(b"/", b"Host: other"), b"Host"),
        (upgrade(b"/", b"Content-Length: 0", b"Content-Length: 0"), b"Content-Length"),
        (upgrade(b"/", b"Transfer-Encoding: chunked"), b"Transfer-Encoding"),
        (REFUSED["6-two-keys"][0], b"Sec-WebSocket-Key"),
        (REFUSED["5-two-versions"][0], b"Sec-WebSocket-Version"),
    ],
)
def test_a_field_that_must_not_be_there_twice_is_named(
    bascule: RunningBascule, clients: Clients, request_bytes: bytes, name: bytes
) -> None:
    client = clients(bascule.public_url)
    client.send(request_bytes)
    assert name in client.answer().body


def test_something_that_looks_like_a_websocket_is_refused(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    heard = upstream.connections
    client = clients(bascule.public_url)
    client.send(replaced(b"upgrade", b"Upgrade: websocketX"))  # 4
    answer = client.answer()
    assert answer.status == 400
    assert answer.body == b"The Upgrade field must be websocket and nothing else.\n"
    assert answer.value(b"Server") == b"bascule"
    client.goodbye()
    assert upstream.connections == heard


def test_what_the_proxy_itself_answers_does_not_tell_what_it_is_made_of(
    bascule: RunningBascule, clients: Clients
) -> None:
    client = clients(bascule.public_url)
    client.send(b"GET /.bascule/capacity HTTP/1.1\r\nHost: front\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.value(b"Server")) == (200, b"bascule")


def test_a_head_that_grows_beyond_its_limit_before_it_says_what_it_wants_is_431(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    figures = Figures(bascule)
    heard = upstream.connections
    client = clients(bascule.public_url)
    client.send(b"GET /" + b"a" * 65536)  # 26
    assert client.head().status == 431
    client.goodbye()
    assert upstream.connections == heard
    assert figures.moved() == {}  # nobody knows that it was an upgrade


@pytest.mark.parametrize(
    "name", ["13-obs-fold", "14-bare-LF", "18-one-field-too-many", "7-POST", "5-version-8"]
)
def test_a_wrong_handshake_on_a_kept_alive_connection_has_the_same_status(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients, name: str
) -> None:
    def plain(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream.scripts[b"/plain"] = plain
    request_bytes, status = REFUSED[name]
    client = clients(bascule.public_url)
    client.send(b"GET /plain HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().body == b"ok"
    figures = Figures(bascule)
    client.send(request_bytes)
    assert client.head().status == status
    client.goodbye()
    figures.settle({'bascule_refusals_total{reason="handshake"}': 1})


# -- what is taken --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(b"X_Forwarded_For: 6.6.6.6", id="17-underscore"),
        pytest.param(b"Expect: 100-continue", id="27-expect"),
        pytest.param(
            b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99999", id="28-bad-bits"
        ),
        pytest.param(
            b"Sec-WebSocket-Extensions: " + b", ".join(b"x-%d" % n for n in range(100)),
            id="28-100-extensions",
        ),
        pytest.param(b"Content-Length: 0", id="content-length-0"),
    ],
)
def test_harmless_oddities_open_a_session(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients, more: bytes
) -> None:
    call = asks(upstream, b"/asks")
    clients(bascule.public_url).open(b"/asks", more)
    name = more.partition(b":")[0]
    passes = name.lower().startswith(b"sec-websocket-extensions")
    assert bool(call().values(name)) is passes


def test_absolute_form_is_understood(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    call = asks(upstream, b"/asks")
    clients(bascule.public_url).open(b"http://front/asks/25?q")
    assert call().target == b"/asks/25?q"


def test_the_host_of_an_absolute_target_replaces_the_host_field(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    call = asks(upstream, b"/asks")
    # The page is of the host that was asked, so its origin is not a foreign one.
    clients(bascule.public_url).open(b"http://other:99/asks", b"Origin: http://other:99")
    assert call().values(b"Host") == [b"other:99"]
    assert call().values(b"X-Forwarded-Host") == [b"other:99"]


def test_a_client_cannot_nominate_protected_fields(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 24
    call = asks(upstream, b"/asks")
    client = clients(bascule.public_url)
    client.send(
        upgrade(
            b"/asks",
            b"Connection: Upgrade, X-Forwarded-For, Authorization, X-Mine",
            b"Authorization: Bearer abc",
            b"X-Mine: goes",
            b"X-Other: stays",
            without=(b"connection",),
        )
    )
    assert client.head().status == 101
    asked = call()
    assert asked.value(b"Authorization") == b"Bearer abc"
    assert asked.value(b"X-Forwarded-For") == b"127.0.0.1"
    assert asked.values(b"X-Mine") == []
    assert asked.value(b"X-Other") == b"stays"


# -- time -----------------------------------------------------------------------------------------


def test_a_head_that_comes_a_byte_at_a_time_has_a_deadline_for_the_whole(
    bascule: RunningBascule, clients: Clients
) -> None:  # 19
    client = clients(bascule.public_url)
    request = upgrade(b"/", b"X-Pad: " + b"x" * 500)
    client.socket.settimeout(0.02)
    ended = False
    for byte in request[:400]:
        try:
            client.socket.sendall(bytes((byte,)))
            ended = client.socket.recv(1) == b""
        except TimeoutError:
            continue
        except ConnectionError:
            ended = True
        break
    assert ended


def test_idle_half_open_handshakes_keep_nobody_out_and_are_bounded(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 20
    asks(upstream, b"/asks")
    silent = [clients(bascule.public_url) for _ in range(60)]
    for client in silent:
        client.send(b"GET / HTTP/1.1\r\n")
    clients(bascule.public_url).open(b"/asks")
    assert bascule.in_flight >= 1
    # Only as many as the limit says wait for their deadline; the others had to go at once.
    gone = [client for client in silent if not client.silent(0.01)]
    assert len(gone) >= 60 - 20
