"""An upgrade may arrive on a connection that has carried plain requests.

nginx with ``keepalive`` in its ``upstream`` block keeps connections to the proxy open and sends the
next request, whatever it is, over one of them.
"""

from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from tests.support.bascule import RunningBascule
from tests.support.echo import run_echo
from tests.support.nginx import run_nginx
from tests.support.tap import run_tap

pytestmark = pytest.mark.real

PLAIN_REQUESTS = 3


async def test_an_upgrade_follows_plain_requests_on_nginxs_kept_connection(
    bascule: Callable[..., RunningBascule], tmp_path: Path
) -> None:
    with run_echo() as echo:
        proxy = bascule({"routes": [{"name": "echo", "path": "/", "upstream": echo}]})
        async with run_tap(proxy.public_url) as tap:
            with run_nginx(tmp_path, tap.url, upstream="keepalive 4;") as ingress:
                async with aiohttp.ClientSession() as client:
                    for _ in range(PLAIN_REQUESTS):
                        async with client.get(f"{ingress}/plain") as answer:
                            assert answer.status == 426  # the echo server's own answer, relayed
                            await answer.read()
                assert tap.connections == 1, "nginx did not keep the connection, so nothing is shown"

                async with connect(ingress.replace("http", "ws", 1)) as session:
                    await session.send("over the kept connection")
                    assert await session.recv() == "over the kept connection"
                assert tap.connections == 1, "the upgrade came on a connection of its own"
