"""A client that follows redirects of an app below a prefix ends at the page that the app meant."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.rawclient import upgrade

if TYPE_CHECKING:
    from tests.conftest import Start
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call, RawUpstream


def app(call: Call) -> None:
    """Answer as an app does that believes it is at the root."""
    address, port = call.socket.getsockname()
    where = {
        b"/": b"/login",
        b"/items": b"http://" + (call.value(b"Host") or b"") + b"/items/",
        b"/own": f"http://{address}:{port}/login".encode(),
        b"/relative": b"login",
    }.get(call.target)
    if where is None:
        lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(call.target), b"Connection: close"]
        call.send(b"\r\n".join([*lines, b"", call.target]))
    else:
        lines = [b"HTTP/1.1 302 Found", b"Location: " + where, b"Content-Length: 0", b"Connection: close"]
        call.send(b"\r\n".join([*lines, b"", b""]))


@pytest.mark.parametrize(
    ("asked", "ends"), [("", "login"), ("items", "items/"), ("own", "login"), ("relative", "login")]
)
def test_a_redirect_is_followed_to_its_page(
    bascule: Start, upstream: RawUpstream, asked: str, ends: str
) -> None:
    upstream.scripts[b"/"] = app
    route = {"name": "app", "path": "/apps/demo/", "upstream": upstream.url, "stripPrefix": True}
    address = f"{bascule({'routes': [route]}).public_url}/apps/demo/"

    with urllib.request.urlopen(address + asked, timeout=10) as page:
        assert (page.status, page.url, page.read().decode()) == (200, address + ends, f"/{ends}")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (b"", b"/apps/demo/login"),
        (b"items", b"http://front/apps/demo/items/"),
        (b"own", b"/apps/demo/login"),
        (b"relative", b"login"),
    ],
)
def test_a_redirect_in_the_place_of_a_101_leads_there_as_well(
    bascule: Start, upstream: RawUpstream, clients: Clients, asked: bytes, told: bytes
) -> None:
    upstream.scripts[b"/"] = app
    route = {"name": "app", "path": "/apps/demo/", "upstream": upstream.url, "stripPrefix": True}
    client = clients(bascule({"routes": [route]}).public_url)

    client.send(upgrade(b"/apps/demo/" + asked))
    answer = client.answer()

    assert (answer.status, answer.value(b"Location")) == (302, told)
