"""A URL that names the host of its upstream leads neither into this host nor to our own listeners (45).

Names mean what a file says that is the /etc/hosts of this proxy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.network import own_addresses
from tests.support.rawclient import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Clients

HERE = "10.9.8.7"
"""An address of this host that is not on its loopback."""
UNREACHABLE = b"WebSocket upstream is not reachable"
PORT = 8081
NAMES = {
    "inside": ("127.0.0.1", "a loopback address"),
    "nowhere": ("0.0.0.0", "an unspecified address"),
    "metadata": ("169.254.169.254", "a link-local address"),
    "self": (HERE, "a listener of our own"),
}


@pytest.fixture(scope="module")
def bascule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    """Run one whose admin listener is at the port that URLs lead to, at every address of this host."""
    home = tmp_path_factory.mktemp("bascule")
    names = home / "hosts"
    names.write_text("".join(f"{address} {name}\n" for name, (address, _) in NAMES.items()))
    config = {
        "admin": f"0.0.0.0:{PORT}",
        "routes": [
            {
                "name": "apps",
                "path": "/apps/{app}/",
                "upstream": f"http://{{app}}:{PORT}",
                "where": {"app": "[a-z0-9-]+"},
                "stripPrefix": True,
            },
            {"name": "one", "path": "/one/", "upstream": f"http://inside:{PORT}", "stripPrefix": True},
        ],
        "limits": {"connectTimeout": "5s"},
    }
    mount = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(names))
    with own_addresses(f"{HERE}/24"), run_bascule(home, config, under=mount) as running:
        yield running


def refused_plainly(clients: Clients, bascule: RunningBascule, request: bytes) -> None:
    client = clients(bascule.public_url)
    client.send(request + b" HTTP/1.1\r\nHost: front\r\nX-Bascule-Admin: 1\r\nContent-Length: 0\r\n\r\n")
    assert client.answer().status == 502


@pytest.mark.parametrize("name", NAMES)
def test_45_no_session_leads_there(bascule: RunningBascule, clients: Clients, name: str) -> None:
    before = len(bascule.events("session refused"))
    client = clients(bascule.public_url)
    client.send(upgrade(b"/apps/%b/sessions" % name.encode()))
    assert client.head().status == 101
    said = client.refusal()
    assert (said.code, said.reason) == (1013, UNREACHABLE)
    line = bascule.all_events("session refused", before + 1)[-1]
    assert (line["reason"], line["detail"]) == ("unreachable", f"name resolves to {NAMES[name][1]}")


@pytest.mark.parametrize("name", NAMES)
def test_45_no_plain_request_does(bascule: RunningBascule, clients: Clients, name: str) -> None:
    before = len(bascule.events("request failed"))
    for request in (b"GET /apps/%b/sessions", b"POST /apps/%b/drain"):
        refused_plainly(clients, bascule, request % name.encode())
    for line in bascule.all_events("request failed", before + 2)[-2:]:
        assert (line["reason"], line["detail"]) == ("unreachable", f"name resolves to {NAMES[name][1]}")
    assert bascule.metric("ws_draining") == 0


def test_45_nor_on_a_connection_that_was_made_for_a_host_which_the_operator_named(
    bascule: RunningBascule, clients: Clients
) -> None:
    client = clients(bascule.public_url)
    client.send(b"GET /one/healthz HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().status == 200
    client.send(b"GET /apps/inside/healthz HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().status == 502
