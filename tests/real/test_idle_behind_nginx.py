"""An idle terminal stays connected behind an nginx that cuts silent connections.

nginx's ``proxy_read_timeout`` is 5 s here (60 s by default), and nobody but the proxy's heartbeat
says anything for six times as long.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from tests.support.bascule import RunningBascule
from tests.support.jupyter import Jupyter
from tests.support.labpage import open_lab, open_terminal, type_into_terminal
from tests.support.nginx import run_nginx
from tests.support.waiting import eventually_async, throughout

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

READ_TIMEOUT = "proxy_read_timeout 5s;"
IDLE = 30.0


async def test_a_terminal_left_idle_for_30_s_is_typed_into_in_the_same_session(
    jupyter: Jupyter, bascule: Callable[..., RunningBascule], chromium: Browser, tmp_path: Path
) -> None:
    proxy = bascule({"websocketProxy": {"heartbeatIntervalMs": 1000}, "routes": [jupyter.route()]})
    before, after = jupyter.root / "before-idle.txt", jupyter.root / "after-idle.txt"
    before.unlink(missing_ok=True)
    after.unlink(missing_ok=True)
    with run_nginx(tmp_path, proxy.public_url, location=READ_TIMEOUT) as ingress:
        page, log = await open_lab(chromium, jupyter, ingress)
        await open_terminal(page)
        await type_into_terminal(page, f"KEPT=$((6*7)); echo $KEPT > {before}")
        await eventually_async(before.exists, 30, "the terminal works")
        sessions = {row["id"] for row in proxy.sessions()}
        beats = proxy.metric("bascule_heartbeats_total")

        def unchanged() -> None:
            assert {row["id"] for row in proxy.sessions()} == sessions, "a session ended or began"
            assert len(log.to("/terminals/websocket/")) == 1, "the terminal's socket was opened again"

        await throughout(IDLE, unchanged)

        await type_into_terminal(page, f"echo $KEPT > {after}")
        await eventually_async(after.exists, 15, "the terminal still works")
        await eventually_async(lambda: after.read_text() == "42\n", 5, "it is the same shell")
        unchanged()
        assert len(log.live("/terminals/websocket/")) == 1
        assert proxy.metric("bascule_heartbeats_total") - beats >= IDLE / 2 * len(sessions)


async def test_a_browser_answers_pings_by_itself(
    jupyter: Jupyter, bascule: Callable[..., RunningBascule], chromium: Browser, tmp_path: Path
) -> None:
    proxy = bascule(
        {
            "websocketProxy": {"heartbeatIntervalMs": 500},
            "limits": {"pongTimeout": "2s"},
            "routes": [jupyter.route()],
        }
    )
    with run_nginx(tmp_path, proxy.public_url, location=READ_TIMEOUT) as ingress:
        page, log = await open_lab(chromium, jupyter, ingress)
        await open_terminal(page)
        sessions = {row["id"] for row in proxy.sessions()}
        assert len(log.live("/terminals/websocket/")) == 1

        def unchanged() -> None:
            assert {row["id"] for row in proxy.sessions()} == sessions, "a session ended or began"

        await throughout(8.0, unchanged)
        answers = proxy.metric("bascule_frames_total", direction="inbound", opcode="pong")
        assert answers >= len(sessions) * 8


async def test_without_a_heartbeat_the_same_nginx_cuts_the_terminal(
    jupyter: Jupyter, bascule: Callable[..., RunningBascule], tmp_path: Path
) -> None:
    """Show that the test above can fail."""
    proxy = bascule({"websocketProxy": {"heartbeatIntervalMs": 0}, "routes": [jupyter.route()]})
    with run_nginx(tmp_path, proxy.public_url, location=READ_TIMEOUT) as ingress:
        name = (await jupyter.call(ingress, "POST", "terminals"))["name"]
        async with connect(
            jupyter.socket(ingress, f"terminals/websocket/{name}"),
            additional_headers=jupyter.fields,
            ping_interval=None,
        ) as terminal:
            assert json.loads(await terminal.recv()) == ["setup", {}]

            async def cut() -> bool:
                try:
                    await terminal.recv()
                except ConnectionClosedError:
                    return True
                return False

            await eventually_async(cut, 20, "nginx cuts the silent connection")
            assert terminal.close_code == 1006
