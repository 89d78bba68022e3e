"""A session does not outlive the login: ``auth.session.closeAtExpiry``, and a logout that says so."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import jwt
import pytest

from tests.support.proctree import gateway, gateways
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients, RawClient
    from tests.support.rawupstream import RawUpstream

KEY = "k" * 64
OVER = (1008, b"The login has expired")


@pytest.fixture
def auth(tmp_path: Path) -> dict[str, object]:
    key = tmp_path / "key"
    key.write_text(KEY)
    return {"session": {"keyFile": str(key), "closeAtExpiry": True, "leeway": "1s"}}


@pytest.fixture
def proxy(bascule: Start, upstream: RawUpstream, auth: dict[str, object]) -> RunningBascule:
    route = {"name": "lab", "path": "/", "upstream": upstream.url, "auth": "session"}
    return bascule({"routes": [route], "auth": auth})


def _opened(proxy: RunningBascule, clients: Clients, lasts: int, user: str = "ada") -> RawClient:
    """Open a session with a token that lasts for so many seconds, or up to one less: it names a whole one."""
    claims = {"sub": user, "aud": "PROXY", "exp": int(time.time()) + lasts}
    client = clients(proxy.public_url)
    client.open(b"/", b"Cookie: proxy_session=" + jwt.encode(claims, KEY, algorithm="HS512").encode())
    return client


def _works(client: RawClient) -> bool:
    client.say(b"hello")
    return client.reply().payload == b"hello"


def test_it_is_closed_when_the_token_is_no_longer_good_and_others_go_on(
    proxy: RunningBascule, clients: Clients
) -> None:
    expires = int(time.time()) + 2
    short, long = _opened(proxy, clients, 2), _opened(proxy, clients, 3600)
    assert _works(short)
    said = short.reply()
    assert (said.code, said.reason) == OVER
    assert time.time() >= expires + 1, "a token is good for leeway after its expiry"
    short.close()
    (line,) = eventually(lambda: proxy.events("session ended"), 5, "it has its line")
    assert (line["ended_by"], line["cause"], line["user"]) == ("proxy", "expired", "ada")
    assert proxy.metric("bascule_sessions_ended_total", cause="expired", ended_by="proxy") == 1
    assert _works(long)


def test_a_later_gateway_knows_when_it_is_over(proxy: RunningBascule, clients: Clients) -> None:
    client = _opened(proxy, clients, 2)
    killed = gateway(proxy)
    os.kill(killed, signal.SIGKILL)
    said = client.reply()
    assert (said.code, said.reason) == OVER
    assert killed not in gateways(proxy)


def test_it_counts_for_sessions_that_are_open_when_it_is_set(
    bascule: Start, upstream: RawUpstream, auth: dict[str, object], clients: Clients
) -> None:
    session = auth["session"]
    assert isinstance(session, dict)
    off = {"session": {**session, "closeAtExpiry": False, "leeway": 0}}
    route = {"name": "lab", "path": "/", "upstream": upstream.url, "auth": "session"}
    proxy = bascule({"routes": [route], "auth": off})
    client = _opened(proxy, clients, 2)
    time.sleep(2.5)  # what is tested is that nothing happens meanwhile
    assert _works(client)
    proxy.goes_over(7, auth=auth)
    said = client.reply()
    assert (said.code, said.reason) == OVER


def test_a_logout_can_end_all_of_a_users_sessions_at_once(proxy: RunningBascule, clients: Clients) -> None:
    *adas, graces = (_opened(proxy, clients, 3600, user) for user in ("ada", "ada", "grace"))
    order = urllib.request.Request(
        f"{proxy.admin_url}/sessions?user=ada&reason=signed%20out",
        method="DELETE",
        headers={"X-Bascule-Admin": "1"},
    )
    with urllib.request.urlopen(order, timeout=10) as answer:
        assert json.load(answer)["closed"] == 2
    for client in adas:
        said = client.reply()
        assert (said.code, said.reason) == (1008, b"signed out")
    assert _works(graces)
