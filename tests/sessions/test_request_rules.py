"""Of two refusals that fit a request, an upgrade and a plain request get the same one, in the same words."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.rawclient import upgrade
from tests.support.rawupstream import RawUpstream, page_or_echo, run_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Clients

pytestmark = pytest.mark.usefixtures("calm")

LOOP = b"The request came back to this proxy: the routes form a loop."
NOTHING = b"There is nothing at this address."
DOTS = b"The path contains a dot segment."
LOGIN = b"Unauthorized access."
FOREIGN = b"Origin: https://evil.example"


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with run_upstream() as running:
        running.scripts[b"/open"] = page_or_echo
        yield running


@pytest.fixture(scope="module")
def bascule(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    home = tmp_path_factory.mktemp("bascule")
    (home / "key").write_text(secrets.token_hex(64))
    config = {
        "routes": [
            {"name": "open", "path": "/open", "upstream": upstream.url},
            {"name": "closed", "path": "/closed", "upstream": upstream.url, "auth": "session"},
        ],
        "forwarders": {"count": 1},
        "auth": {"session": {"keyFile": str(home / "key")}},
    }
    with run_bascule(home, config) as running:
        yield running


@pytest.fixture
def our_via(bascule: RunningBascule, upstream: RawUpstream, clients: Clients) -> bytes:
    """Return the line by which the proxy knows its own requests."""
    client = clients(bascule.public_url)
    client.send(b"GET /open HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().status == 200
    via = upstream.calls[-1].value(b"Via")
    assert via is not None
    return b"Via: " + via


@pytest.mark.parametrize("is_upgrade", [True, False], ids=["upgrade", "plain"])
@pytest.mark.parametrize(
    ("target", "loops", "status", "said"),
    [
        (b"/closed/../x", True, 508, LOOP),
        (b"/nowhere", True, 508, LOOP),
        (b"/closed", True, 508, LOOP),
        (b"/closed/../x", False, 400, DOTS),
        (b"/nowhere", False, 404, NOTHING),
        (b"/closed", False, 401, LOGIN),
    ],
    ids=["loop-unreadable", "loop-nowhere", "loop-closed", "unreadable", "nowhere", "closed"],
)
def test_a_loop_comes_before_the_route_and_the_route_before_credentials(
    bascule: RunningBascule,
    clients: Clients,
    our_via: bytes,
    is_upgrade: bool,
    target: bytes,
    loops: bool,
    status: int,
    said: bytes,
) -> None:
    more = [our_via] if loops else []
    client = clients(bascule.public_url)
    if is_upgrade:
        client.send(upgrade(target, *more))
    else:
        client.send(b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: front", *more, b"", b""]))
    answer = client.answer()
    assert answer.status == status
    assert said in answer.body


@pytest.mark.parametrize("is_upgrade", [True, False], ids=["upgrade", "plain"])
def test_a_host_that_is_none_comes_before_the_loop(
    bascule: RunningBascule, clients: Clients, our_via: bytes, is_upgrade: bool
) -> None:
    client = clients(bascule.public_url)
    if is_upgrade:
        client.send(upgrade(b"/open", our_via, host=b"a/b@c"))
    else:
        client.send(b"GET /open HTTP/1.1\r\nHost: a/b@c\r\n%b\r\n\r\n" % our_via)
    assert client.answer().status == 400


@pytest.mark.parametrize(("target", "status"), [(b"/nowhere", 404), (b"/open", 403), (b"/closed", 403)])
def test_the_origin_of_an_upgrade_comes_behind_its_route_and_before_its_credentials(
    bascule: RunningBascule, clients: Clients, target: bytes, status: int
) -> None:
    client = clients(bascule.public_url)
    client.send(upgrade(target, FOREIGN))
    assert client.answer().status == status
