"""The cap of each user beside the pod's: whom the login cookie names, and which of the two is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients, RawClient
    from tests.support.rawupstream import RawUpstream


KEY = "k" * 64
FULL = b"WebSocket session cap reached (maxSessionsPerApp)"
USER_FULL = b"WebSocket session cap of this user reached (maxSessionsPerUser)"


@pytest.fixture
def proxy(bascule: Start, upstream: RawUpstream, tmp_path: Path) -> RunningBascule:
    """Run a proxy with room for three, of which one user may have two."""
    key = tmp_path / "key"
    key.write_text(KEY)
    return bascule(
        {
            "routes": [
                {"name": "known", "path": "/known", "upstream": upstream.url, "auth": "session"},
                {"name": "anybody", "path": "/anybody", "upstream": upstream.url},
            ],
            "auth": {"session": {"keyFile": str(key)}},
            "websocketProxy": {"maxSessionsPerApp": 3},
            "limits": {"maxSessionsPerUser": 2},
        }
    )


def _login(user: str) -> bytes:
    claims = {"sub": user, "aud": "PROXY", "exp": int(time.time()) + 3600}
    return b"Cookie: proxy_session=" + jwt.encode(claims, KEY, algorithm="HS512").encode()


def _works(client: RawClient) -> bool:
    client.say(b"hello")
    return client.reply().payload == b"hello"


def _opened(proxy: RunningBascule, clients: Clients, user: str) -> RawClient:
    client = clients(proxy.public_url)
    client.open(b"/known", _login(user))
    return client


def test_a_user_is_whom_the_cookie_names_and_is_counted_across_a_reload(
    proxy: RunningBascule, clients: Clients
) -> None:
    assert all(_works(_opened(proxy, clients, "ada")) for _ in range(2))
    said = _opened(proxy, clients, "ada").reply()
    assert (said.code, said.reason) == (1013, USER_FULL)

    proxy.goes_over(4)
    assert _opened(proxy, clients, "ada").reply().reason == USER_FULL
    assert _works(_opened(proxy, clients, "grace"))
    stranger = clients(proxy.public_url)
    stranger.open(b"/anybody", _login("ada"))
    assert _works(stranger)
    assert proxy.metric("bascule_refusals_total", reason="user_cap") == 2
    assert proxy.metric("ws_connection_rejections_total") == 0


def test_a_full_pod_is_full_for_whoever_has_all_of_the_own_sessions_too(
    proxy: RunningBascule, clients: Clients
) -> None:
    assert all(_works(_opened(proxy, clients, user)) for user in ("ada", "ada", "grace"))
    for user in ("ada", "grace"):
        said = _opened(proxy, clients, user).reply()
        assert (said.code, said.reason) == (1013, FULL)
    assert proxy.metric("ws_connection_rejections_total") == 2
    assert proxy.metric("bascule_refusals_total", reason="user_cap") == 0
